/* SPDX-License-Identifier: MIT */
/* Growing array of one element type:  NBI_ARRAY(int32_t) ids = {0};  */
#ifndef NBI_ARRAY_H
#define NBI_ARRAY_H

#include "base/alloc.h"

#define NBI_ARRAY(type)                                                                            \
    struct {                                                                                       \
        type *v;                                                                                   \
        size_t n, cap;                                                                             \
    }

/* Room for `extra` more elements; false when there is no memory (the array stays valid). */
#define nbi_array_reserve(a, extra)                                                                \
    nbi_array_grow_((void **)&(a)->v, sizeof *(a)->v, (a)->n, &(a)->cap, (extra))
/* Appends `value`; false when there is no memory. */
#define nbi_array_push(a, value)                                                                   \
    (nbi_array_reserve((a), 1) ? ((a)->v[(a)->n++] = (value), true) : false)
#define nbi_array_free(a) (nbi_free((a)->v), (a)->v = NULL, (a)->n = (a)->cap = 0)

bool nbi_array_grow_(void **v, size_t elem, size_t n, size_t *cap, size_t extra);

#endif
