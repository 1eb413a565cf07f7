/* SPDX-License-Identifier: MIT */
/* What a product fetches while it multiplies: the memory that it reads or writes next, in pieces
 * too far apart for the hardware to foresee. */
#ifndef NB_BFETCH_TMPL_H
#define NB_BFETCH_TMPL_H

#include "kernel/bpanel_tmpl.h"

/* Pieces of `bytes` bytes, `step` apart, fetched line by line: first the first line of each. */
typedef struct fetch {
    const char *p;
    int64_t step, rows;
    int64_t row, line; /* the next one to be fetched */
    int64_t left;      /* lines */
} fetch;

static inline fetch fetch_rows(const void *p, int64_t step, int64_t rows, int64_t bytes)
{
    fetch f = {.p = p, .step = step, .rows = rows};
    f.left = rows * ((bytes + LINE_BYTES - 1) / LINE_BYTES);
    return f;
}

/* The next n lines, to the second level. */
static inline void fetch_lines(fetch *f, int64_t n)
{
    n = min_i64(n, f->left);
    f->left -= n;
    for (; n > 0; n--) {
        _mm_prefetch(f->p + f->row * f->step + f->line, _MM_HINT_T1);
        if (++f->row == f->rows) {
            f->row = 0;
            f->line += LINE_BYTES;
        }
    }
}

/* Rows r0..r0+rows-1 of an operand, inner indices k0..k0+n-1. */
static fetch fetch_source(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n)
{
    if (s->w) { /* two codes a byte */
        const unsigned char *codes = s->w->data;
        const int64_t half = s->w->k / 2;
        return s->swap ? fetch_rows(codes + (s->row0 + k0) * half + r0 / 2, half, n, rows / 2)
                       : fetch_rows(codes + (s->row0 + r0) * half + k0 / 2, half, rows, n / 2);
    }
    const int64_t size = (int64_t)nb_dtype_size(s->dtype);
    if (s->cs == 1)
        return fetch_rows(at(s, r0, k0), s->rs * size, rows, n * size);
    if (s->rs == 1)
        return fetch_rows(at(s, r0, k0), s->cs * size, n, rows * size);
    return (fetch){0};
}

#endif
