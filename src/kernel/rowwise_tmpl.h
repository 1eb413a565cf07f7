/* SPDX-License-Identifier: MIT */
/* Rotation and the small element-wise operations; norms and gated activations come along. */
#ifndef NB_ROWWISE_TMPL_H
#define NB_ROWWISE_TMPL_H

#include <assert.h>
#include "kernel/glu_tmpl.h"
#include "kernel/norm_tmpl.h"

enum { ROPE_STRIP = 128 }; /* elements of a half head turned at a time */

typedef struct rope_turn {
    void *x;
    int64_t half;
    float c[ROPE_STRIP], s[ROPE_STRIP];
} rope_turn;

NBI_INLINE void rope_vector(const rope_turn *t, const nb_dtype T, int64_t at, int64_t j, int l)
{
    const int64_t lo = at + j, hi = lo + t->half;
    const vf u = vf_load_t(t->x, T, lo, l), v = vf_load_t(t->x, T, hi, l);
    const vf c = vf_load_t(t->c, NB_DT_F32, j, l), s = vf_load_t(t->s, NB_DT_F32, j, l);
    vf_store_t(t->x, T, lo, u * c - v * s, l);
    vf_store_t(t->x, T, hi, v * c + u * s, l);
}

NBI_INLINE void rope_pair(const rope_turn *t, const nb_dtype T, int64_t at, int64_t j)
{
    vf2 lo, hi;
    vf *first[] = {&lo.a, &lo.b}, *second[] = {&hi.a, &hi.b};
    for (int k = 0; k < 2; k++) {
        const int64_t i = at + j + k * NBI_W;
        const vf u = vf_load_t(t->x, T, i, NBI_W), v = vf_load_t(t->x, T, i + t->half, NBI_W);
        const vf c = vf_load(t->c + j + k * NBI_W), s = vf_load(t->s + j + k * NBI_W);
        *first[k] = u * c - v * s;
        *second[k] = v * c + u * s;
    }
    vf2_store_ordered(t->x, T, at + j, lo);
    vf2_store_ordered(t->x, T, at + j + t->half, hi);
}

/* Elements j0..j0+n-1 of each half of the heads of row r of t->x. */
NBI_INLINE void rope_heads(const nb_rope_args *a, const rope_turn *t, const nb_dtype T,
                           int64_t heads, int64_t r, int64_t j0, int64_t n)
{
    for (int64_t h = 0; h < heads; h++)
        NBI_EACH_PAIR(0, n, rope_pair, rope_vector, t, T, (r * heads + h) * a->p + j0);
}

static void rope_strip(const nb_rope_args *a, int64_t r, int64_t j0, int64_t n)
{
    rope_turn t;
    t.x = a->x;
    t.half = a->half;
    const float *cs = a->cs + (r * a->half + j0) * 2, sign = a->inverse ? -1.0f : 1.0f;
    for (int64_t j = 0; j < n; j++) {
        t.c[j] = cs[2 * j];
        t.s[j] = sign * cs[2 * j + 1];
    }
    NBI_FOR_DTYPE(a->dtype, T, rope_heads(a, &t, T, a->heads, r, j0, n));
    if (!a->x2)
        return;
    t.x = a->x2;
    NBI_FOR_DTYPE(a->dtype, T, rope_heads(a, &t, T, a->heads2, r, j0, n));
}

void NBI_ISA(rope)(const nb_rope_args *a)
{
    assert(2 * a->half <= a->p);
#pragma omp parallel for schedule(static)                                                          \
    num_threads(nb_queue_threads(a->q, a->rows * a->half * (a->heads + (a->x2 ? a->heads2 : 0))))
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t j = 0; j < a->half; j += ROPE_STRIP)
            rope_strip(a, r, j, a->half - j < ROPE_STRIP ? a->half - j : ROPE_STRIP);
}

NBI_INLINE void axpy_vector(const nb_axpy_args *a, const bool accumulate, int64_t i, int l)
{
    vf v = vf_set1(a->alpha) * vf_load_t(a->x, NB_DT_F32, i, l);
    if (accumulate)
        v = vf_load_t(a->y, NB_DT_F32, i, l) + v;
    vf_store_t(a->y, NB_DT_F32, i, v, l);
}

void NBI_ISA(axpy)(const nb_axpy_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->n)) schedule(static)
    for (int64_t i = 0; i < a->n; i += SPAN) {
        const int64_t to = i + SPAN < a->n ? i + SPAN : a->n;
        if (a->accumulate)
            NBI_EACH_VECTOR(i, to, axpy_vector, a, true);
        else
            NBI_EACH_VECTOR(i, to, axpy_vector, a, false);
    }
}

NBI_INLINE void bias_vector(void *y, const float *b, const nb_dtype T, int64_t i, int l)
{
    vf_store_t(y, T, i, vf_load_t(y, T, i, l) + vf_load_t(b, NB_DT_F32, i, l), l);
}

NBI_INLINE void bias_pair(void *y, const float *b, const nb_dtype T, int64_t i)
{
    const vf2 v = {vf_load_t(y, T, i, NBI_W) + vf_load(b + i),
                   vf_load_t(y, T, i + NBI_W, NBI_W) + vf_load(b + i + NBI_W)};
    vf2_store_ordered(y, T, i, v);
}

NBI_INLINE void bias_row(const nb_bias_args *a, const nb_dtype T, int64_t r)
{
    void *y = nb_elem(a->y, T, r * a->ldy);
    NBI_EACH_PAIR(0, a->d, bias_pair, bias_vector, y, a->b, T);
}

void NBI_ISA(bias)(const nb_bias_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        NBI_FOR_DTYPE(a->dtype, T, bias_row(a, T, r));
}

typedef struct bias_sums {
    vd (*sum)[2];
    const void *dy;
    int64_t at, ld, rows;
} bias_sums;

NBI_INLINE void bias_bwd_vector(const bias_sums *b, const nb_dtype T, int64_t i, int l)
{
    vd s[2] = {b->sum[i / NBI_W][0], b->sum[i / NBI_W][1]};
    for (int64_t r = 0; r < b->rows; r++)
        vd_add(s, vf_load_t(b->dy, T, b->at + r * b->ld + i, l));
    b->sum[i / NBI_W][0] = s[0];
    b->sum[i / NBI_W][1] = s[1];
}

/* db[c0..c0+n) += sum over rows in ascending order. */
NBI_INLINE void bias_bwd_strip(const nb_bias_bwd_args *a, const nb_dtype T, int64_t c0, int64_t n)
{
    vd sum[STRIP_MAX / NBI_W][2];
    memset(sum, 0, sizeof(sum));
    for (int64_t r = 0; r < a->rows; r += SUM_ROWS) {
        const int64_t rows = a->rows - r < SUM_ROWS ? a->rows - r : SUM_ROWS;
        const bias_sums b = {sum, a->dy, r * a->ldy + c0, a->ldy, rows};
        NBI_EACH_VECTOR(0, n, bias_bwd_vector, &b, T);
    }
    const double *s = (const double *)sum;
    for (int64_t c = 0; c < n; c++)
        a->db[c0 + c] += (float)s[c];
}

void NBI_ISA(bias_bwd)(const nb_bias_bwd_args *a)
{
    const int64_t strip = strip_columns(a->q, a->d);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t c = 0; c < a->d; c += strip)
        NBI_FOR_DTYPE(a->dtype, T, bias_bwd_strip(a, T, c, a->d - c < strip ? a->d - c : strip));
}

#endif
