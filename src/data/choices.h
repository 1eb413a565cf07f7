/* SPDX-License-Identifier: MIT */
/* Rows of multiple choice: the fields of a layout without its answer, `choices` (or `options`) with
 * a list of texts, and `answer` (or `label`, `correct`) that says which one is right: its number
 * from 0, its letter from A, or its text. */
#ifndef NBI_CHOICES_H
#define NBI_CHOICES_H

#include "data/schema.h"

/* nb_data_config.choice: which of its choices a row answers with. */
enum { NBI_CHOICE_NONE = 0, NBI_CHOICE_RIGHT = -1 }; /* else a number from 1 */

typedef struct nbi_choices {
    const nbi_json *list; /* n texts */
    int64_t n, right;     /* right: from 0 */
} nbi_choices;

/* Does the row have a list of choices? */
bool nbi_choices_there(const nbi_json *row);
/* NB_DATA with file, line and field when they are not two texts or more with one that is right. */
nb_status nbi_choices_read(const nbi_row *row, nbi_choices *out, nb_error *err) NB_MUST_CHECK;
/* The format of such a row by its fields; AUTO when none fits. */
nb_data_format nbi_choices_format(const nbi_json *row);
/* Puts choice c->choice where a row of c->format has its answer; the last one when the row has
 * fewer. NB_UNSUPPORTED when the format has no place for it. */
nb_status nbi_choices_put(const nb_data_config *c, const nbi_row *row, nbi_arena *arena,
                          nbi_json *object, nb_error *err) NB_MUST_CHECK;

#endif
