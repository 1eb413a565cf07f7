/* SPDX-License-Identifier: MIT */
#ifndef NBI_MESSAGES_H
#define NBI_MESSAGES_H

#include "base/array.h"
#include "data/schema.h"

typedef NBI_ARRAY(nbi_message) nbi_message_list;

/* Appends the {"role", "content"} objects of a list; texts stay in the row. NB_DATA names the field
 * and the message. */
nb_status nbi_messages_read(const nbi_row *row, const char *field, nbi_message_list *list,
                            nb_error *err) NB_MUST_CHECK;
/* Renders with the tokenizer's template and sets the mask for `train_on` (ASSISTANT, LAST, ALL). */
nb_status nbi_messages_render(const nbi_layout *l, const nbi_row *row, const nbi_message_list *list,
                              nbi_rendering *out, nb_error *err) NB_MUST_CHECK;
/* Refuses "tools" that a template would have to show. */
nb_status nbi_messages_refuse_tools(const nbi_row *row, nb_error *err) NB_MUST_CHECK;

#endif
