/* SPDX-License-Identifier: MIT */
/* RMSNorm and its gradient. */
#ifndef NB_NORM_TMPL_H
#define NB_NORM_TMPL_H

#include <assert.h>
#include <math.h>
#include "kernel/variants.h"
#include "kernel/vec_typed.h"

enum {
    STRIP_MAX = 1024, /* columns one task of a sum over rows takes at most */
    SUM_ROWS = 8      /* rows it adds before the sums go back to memory */
};

/* Columns a task of a sum over rows takes: whole cache lines, and a part for each thread. Each
 * column's sum is its own, so this is part of no result. */
static int64_t strip_columns(const nb_queue *q, int64_t d)
{
    const int64_t share = (d / q->threads + 63) / 64 * 64;
    return share < 64 ? 64 : share > STRIP_MAX ? STRIP_MAX : share;
}

NBI_INLINE void add_square(vd sum[2], const void *x, const nb_dtype X, int64_t i, int l)
{
    const vf v = vf_load_t(x, X, i, l);
    vd_add_mul(sum, v, v);
}

typedef struct norm_row {
    const void *x, *next;
    void *y;
    float *copy;
    const float *w;
    vf rstd, offset;
} norm_row;

NBI_INLINE vf norm_of(const norm_row *n, const nb_dtype X, const bool copy, int64_t i, int l)
{
    const vf w = vf_load_t(n->w, NB_DT_F32, i, l) + n->offset, x = vf_load_t(n->x, X, i, l);
    if (copy)
        vf_store_t(n->copy, NB_DT_F32, i, x, l);
    return x * n->rstd * w;
}

NBI_INLINE void norm_vector(const norm_row *n, const nb_dtype X, const nb_dtype Y, const bool copy,
                            int64_t i, int l)
{
    vf_store_t(n->y, Y, i, norm_of(n, X, copy, i, l), l);
}

/* The next row is fetched meanwhile: its sum of squares comes before anything else of it. */
NBI_INLINE void norm_pair(const norm_row *n, const nb_dtype X, const nb_dtype Y, const bool copy,
                          int64_t i)
{
    prefetch_pair(n->next, X, i);
    vf2_store_ordered(n->y, Y, i,
                      (vf2){norm_of(n, X, copy, i, NBI_W), norm_of(n, X, copy, i + NBI_W, NBI_W)});
}

NBI_INLINE void norm_row_typed(const nb_rmsnorm_args *a, const nb_dtype X, const nb_dtype Y,
                               int64_t r)
{
    const void *x = nb_elem(a->x, X, r * a->d);
    vd sum[2] = {{0}, {0}};
    NBI_EACH_VECTOR(0, a->d, add_square, sum, x, X);
    const float rstd = (float)(1.0 / sqrt(vd_sum(sum) / (double)a->d + (double)a->eps));
    const norm_row n = {.x = x,
                        .next = nb_elem(x, X, r + 1 < a->rows ? a->d : 0),
                        .y = nb_elem(a->y, Y, r * a->d),
                        .copy = a->copy ? a->copy + r * a->d : NULL,
                        .w = a->w,
                        .rstd = vf_set1(rstd),
                        .offset = vf_set1(a->w_offset)};
    if (a->copy)
        NBI_EACH_PAIR(0, a->d, norm_pair, norm_vector, &n, X, Y, true);
    else
        NBI_EACH_PAIR(0, a->d, norm_pair, norm_vector, &n, X, Y, false);
    if (a->rstd)
        a->rstd[r] = rstd;
}

void NBI_ISA(rmsnorm)(const nb_rmsnorm_args *a)
{
    assert(a->x != a->y || a->x_dtype == a->y_dtype);
    assert(!a->copy || (a->copy != a->x && a->copy != a->y));
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        NBI_FOR_DTYPE(a->x_dtype, X, NBI_FOR_DTYPE(a->y_dtype, Y, norm_row_typed(a, X, Y, r)));
}

typedef struct norm_dw {
    vd (*sum)[2];
    int64_t at, d, rows; /* first element in the first of a few rows; length and number of rows */
    const void *x, *dy;
    const float *rstd;
} norm_dw;

NBI_INLINE void norm_dw_vector(const norm_dw *n, const nb_dtype X, const nb_dtype D, int64_t i,
                               int l)
{
    vd s0 = n->sum[i / NBI_W][0], s1 = n->sum[i / NBI_W][1];
    for (int64_t r = 0; r < n->rows; r++) {
        const vf dy = vf_load_t(n->dy, D, n->at + r * n->d + i, l);
        const vf x = vf_load_t(n->x, X, n->at + r * n->d + i, l);
        const vd rstd = (vd){0} + (double)n->rstd[r];
        s0 += vd_low(dy) * vd_low(x) * rstd;
        s1 += vd_high(dy) * vd_high(x) * rstd;
    }
    n->sum[i / NBI_W][0] = s0;
    n->sum[i / NBI_W][1] = s1;
}

/* dw[c0..c1) += sum over rows of dy * x * rstd, rows in ascending order, in f64. */
NBI_INLINE void norm_dw_strip(const nb_rmsnorm_bwd_args *a, const nb_dtype X, const nb_dtype D,
                              int64_t c0, int64_t c1)
{
    vd sum[STRIP_MAX / NBI_W][2];
    memset(sum, 0, sizeof(sum));
    for (int64_t r = 0; r < a->rows; r += SUM_ROWS) {
        const int64_t rows = a->rows - r < SUM_ROWS ? a->rows - r : SUM_ROWS;
        const norm_dw n = {sum, r * a->d + c0, a->d, rows, a->x, a->dy, a->rstd + r};
        NBI_EACH_VECTOR(0, c1 - c0, norm_dw_vector, &n, X, D);
    }
    const double *s = (const double *)sum;
    for (int64_t c = c0; c < c1; c++)
        a->dw[c] += (float)s[c - c0];
}

typedef struct norm_dx {
    const void *x, *dy, *next_x, *next_dy;
    const float *w;
    void *dx;
    vf offset, rstd, c;
    vd sum[2];
} norm_dx;

NBI_INLINE vf norm_dx_g(const norm_dx *n, const nb_dtype D, int64_t i, int l)
{
    return vf_load_t(n->dy, D, i, l) * (vf_load_t(n->w, NB_DT_F32, i, l) + n->offset);
}

NBI_INLINE void norm_dx_sum(norm_dx *n, const nb_dtype X, const nb_dtype D, int64_t i, int l)
{
    vd_add_mul(n->sum, norm_dx_g(n, D, i, l), vf_load_t(n->x, X, i, l));
}

NBI_INLINE vf norm_dx_of(const norm_dx *n, const nb_dtype X, const nb_dtype D, const nb_dtype G,
                         const bool accumulate, int64_t i, int l)
{
    const vf v = n->rstd * (norm_dx_g(n, D, i, l) - vf_load_t(n->x, X, i, l) * n->c);
    return accumulate ? vf_load_t(n->dx, G, i, l) + v : v;
}

NBI_INLINE void norm_dx_vector(const norm_dx *n, const nb_dtype X, const nb_dtype D,
                               const nb_dtype G, const bool accumulate, int64_t i, int l)
{
    vf_store_t(n->dx, G, i, norm_dx_of(n, X, D, G, accumulate, i, l), l);
}

NBI_INLINE void norm_dx_pair(const norm_dx *n, const nb_dtype X, const nb_dtype D, const nb_dtype G,
                             const bool accumulate, int64_t i)
{
    prefetch_pair(n->next_x, X, i);
    prefetch_pair(n->next_dy, D, i);
    vf2_store_ordered(n->dx, G, i,
                      (vf2){norm_dx_of(n, X, D, G, accumulate, i, NBI_W),
                            norm_dx_of(n, X, D, G, accumulate, i + NBI_W, NBI_W)});
}

/* dx = rstd * (g - x * rstd^2 * mean(g x)),  g = dy * (w + w_offset) */
NBI_INLINE void norm_dx_row(const nb_rmsnorm_bwd_args *a, const nb_dtype X, const nb_dtype D,
                            const nb_dtype G, int64_t r)
{
    const int64_t d = a->d;
    const double rstd = (double)a->rstd[r];
    const int64_t at = r * d, next = r + 1 < a->rows ? at + d : at;
    norm_dx n = {.x = nb_elem(a->x, X, at),
                 .dy = nb_elem(a->dy, D, at),
                 .next_x = nb_elem(a->x, X, next),
                 .next_dy = nb_elem(a->dy, D, next),
                 .w = a->w,
                 .dx = nb_elem(a->dx, G, at),
                 .offset = vf_set1(a->w_offset),
                 .rstd = vf_set1(a->rstd[r])};
    NBI_EACH_VECTOR(0, d, norm_dx_sum, &n, X, D);
    n.c = vf_set1((float)(vd_sum(n.sum) / (double)d * rstd * rstd));
    if (a->accumulate)
        NBI_EACH_PAIR(0, d, norm_dx_pair, norm_dx_vector, &n, X, D, G, true);
    else
        NBI_EACH_PAIR(0, d, norm_dx_pair, norm_dx_vector, &n, X, D, G, false);
}

void NBI_ISA(rmsnorm_bwd)(const nb_rmsnorm_bwd_args *a)
{
    assert(a->dx != a->dy || (a->dx_dtype == a->dy_dtype && !a->accumulate));
    if (a->dw) { /* first: dx may be dy */
        const int64_t strip = strip_columns(a->q, a->d);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
        for (int64_t c = 0; c < a->d; c += strip) {
            const int64_t c1 = c + strip < a->d ? c + strip : a->d;
            NBI_FOR_DTYPE(a->x_dtype, X,
                          NBI_FOR_DTYPE(a->dy_dtype, D, norm_dw_strip(a, X, D, c, c1)));
        }
    }
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        NBI_FOR_DTYPE(a->x_dtype, X,
                      NBI_FOR_DTYPE(a->dy_dtype, D,
                                    NBI_FOR_DTYPE(a->dx_dtype, G, norm_dx_row(a, X, D, G, r))));
}

#endif
