/* SPDX-License-Identifier: MIT */
/* A rendered row to ids and labels, cut to length. */
#ifndef NBI_MASK_H
#define NBI_MASK_H

#include "data/schema.h"

/* Memory of one worker, reused from row to row. */
typedef struct nbi_masker {
    nb_encoding text, prompt;
    NBI_ARRAY(int32_t) labels;
} nbi_masker;

typedef struct nbi_masked {
    const int32_t *ids, *labels; /* in the masker or the rendering */
    int64_t n, n_trained;        /* n_trained: at positions >= 1 */
    bool any_label;              /* a label anywhere */
    bool truncated, spelled_bos; /* the text spells its own BOS, which is not doubled */
} nbi_masked;

/* Appends the eos where the format wants it, tokenises, masks, then cuts. */
nb_status nbi_mask_row(const nbi_layout *l, nbi_rendering *r, nbi_masker *m, nbi_masked *out,
                       nb_error *err) NB_MUST_CHECK;
void nbi_masker_free(nbi_masker *m);

#endif
