/* SPDX-License-Identifier: MIT */
/* The merges of a BPE model: which neighbours join, how early, and to what. */
#ifndef NBI_BPE_PAIRS_H
#define NBI_BPE_PAIRS_H

#include "text/token_model.h"

#define NBI_NO_PAIR UINT64_MAX

typedef struct nbi_pair {
    uint64_t key; /* left << 32 | right; NBI_NO_PAIR: free */
    uint32_t rank;
    int32_t result;
} nbi_pair;

/* Open addressing, at most half full. */
typedef struct nbi_pairs {
    nbi_pair *slots;
    size_t mask;
    unsigned shift;
} nbi_pairs;

/* From spec->merges. NB_FORMAT when a merge makes no token of the vocabulary. */
nb_status nbi_pairs_build(nbi_pairs *p, nbi_load *l, const nbi_model_spec *spec) NB_MUST_CHECK;
void nbi_pairs_free(nbi_pairs *p);

static inline size_t nbi_pairs_slot(const nbi_pairs *p, uint64_t key)
{
    return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> p->shift);
}

/* NULL: they do not join. */
static inline const nbi_pair *nbi_pairs_find(const nbi_pairs *p, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (size_t i = nbi_pairs_slot(p, key);; i = (i + 1) & p->mask) {
        if (p->slots[i].key == key)
            return &p->slots[i];
        if (p->slots[i].key == NBI_NO_PAIR)
            return NULL;
    }
}

#endif
