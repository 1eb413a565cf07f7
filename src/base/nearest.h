/* SPDX-License-Identifier: MIT */
/* Which known name a wrong one most likely stands for. nb_name_distance itself is in
 * nibble/recipe.h. */
#ifndef NBI_NEAREST_H
#define NBI_NEAREST_H

#include <stddef.h>

/* Zero-initialise but for `name`; `best` is NULL while nothing near was offered. */
typedef struct nbi_nearest {
    const char *name; /* the wrong one */
    const char *best;
    size_t distance;
} nbi_nearest;

/* Takes `known` when it is nearer than what is held and at most a third of the name away. */
void nbi_nearest_offer(nbi_nearest *n, const char *known);

#endif
