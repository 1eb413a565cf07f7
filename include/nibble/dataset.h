/* SPDX-License-Identifier: MIT */
/* Data sets as the model sees them. */
#ifndef NIBBLE_DATASET_H
#define NIBBLE_DATASET_H

#include <stddef.h>
#include <stdint.h>
#include "nibble/recipe.h"
#include "nibble/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* The rows of a recipe's `data`, rendered, tokenised and masked exactly as `train` uses them. */
typedef struct nb_preview nb_preview;

typedef struct nb_preview_row {
    int64_t row, line;           /* 0-based data row, 1-based line in the file */
    const char *text;            /* rendered text; NULL for pre-tokenised rows */
    size_t text_len;             /* in bytes; NULs of the row are part of it */
    const int32_t *ids, *labels; /* labels are not shifted; -100: no loss */
    int64_t n, n_trained;
    bool truncated;
    const char *dropped; /* reason, NULL for a used row */
} nb_preview_row;

typedef struct nb_preview_summary {
    const char *format; /* the one used, found when the recipe says auto */
    int64_t rows, used, dropped, truncated, tokens, trained_tokens, max_tokens;
} nb_preview_summary;

nb_status nb_preview_open(nb_preview **out, nb_recipe *r, const nb_log *log,
                          nb_error *err) NB_MUST_CHECK;
void nb_preview_close(nb_preview **p);
void nb_preview_get_summary(const nb_preview *p, nb_preview_summary *s);
/* Row i of the file order, used and dropped ones together; false past the end. Borrowed. */
bool nb_preview_get(const nb_preview *p, size_t i, nb_preview_row *row);
/* NULL for pre-tokenised data without a tokenizer. Borrowed. */
const nb_tokenizer *nb_preview_tokenizer(const nb_preview *p);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
