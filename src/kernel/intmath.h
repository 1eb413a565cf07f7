/* SPDX-License-Identifier: MIT */
/* The integer arithmetic of blocks and tiles. */
#ifndef NB_INTMATH_H
#define NB_INTMATH_H

#include <stdint.h>

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t round_up(int64_t x, int64_t to)
{
    return (x + to - 1) / to * to;
}

/* Tiles of `size` that cover n. */
static inline int64_t tiles(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

#endif
