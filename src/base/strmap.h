/* SPDX-License-Identifier: MIT */
/* Hash map from byte strings (any content) to int64_t. Seeded hash; keys are borrowed, not copied:
 * they must outlive the map. */
#ifndef NBI_STRMAP_H
#define NBI_STRMAP_H

#include "base/alloc.h"

typedef struct nbi_strmap_slot {
    const char *key; /* NULL: free */
    uint32_t len;
    uint32_t hash;
    int64_t value;
} nbi_strmap_slot;

typedef struct nbi_strmap {
    nbi_strmap_slot *slots;
    size_t cap, n; /* cap is a power of two or 0 */
} nbi_strmap;

/* false: no memory. */
bool nbi_strmap_reserve(nbi_strmap *m, size_t n);
/* Inserts or replaces. *existed (may be NULL) tells which. false: no memory. */
bool nbi_strmap_put(nbi_strmap *m, const char *key, size_t len, int64_t value, bool *existed);
/* true and *value (may be NULL) when found. */
bool nbi_strmap_get(const nbi_strmap *m, const char *key, size_t len, int64_t *value);
void nbi_strmap_free(nbi_strmap *m);

#endif
