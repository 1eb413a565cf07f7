/* SPDX-License-Identifier: MIT */
/* Normalisation, gated activations, rotation and the small element-wise operations. */
#ifndef NB_ROWWISE_TMPL_H
#define NB_ROWWISE_TMPL_H

#include <assert.h>
#include "kernel/variants.h"
#include "kernel/vecmath.h"

/* Columns one task of a sum over rows takes; a cache line or more, and part of no result. */
enum { STRIP = 64, SPAN = 4096 };

static inline int lanes_left(int64_t i, int64_t n)
{
    return n - i < NBI_W ? (int)(n - i) : NBI_W;
}

void NBI_ISA(rmsnorm)(const nb_rmsnorm_args *a)
{
    const int64_t d = a->d;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++) {
        const float *x = ((const float *)a->x) + r * d;
        float *y = ((float *)a->y) + r * d;
        const float rstd = (float)(1.0 / sqrt(dot_f64(x, x, d) / (double)d + (double)a->eps));
        const vf s = vf_set1(rstd), off = vf_set1(a->w_offset);
        for (int64_t i = 0; i < d; i += NBI_W) {
            int l = lanes_left(i, d);
            vf_store_n(y + i, vf_load_n(x + i, l) * s * (vf_load_n(a->w + i, l) + off), l);
        }
        if (a->rstd)
            a->rstd[r] = rstd;
    }
}

/* dw[c0..c1) += sum over rows of dy * x * rstd, rows in ascending order, in f64. */
static void rmsnorm_dw(const nb_rmsnorm_bwd_args *a, int64_t c0, int64_t c1)
{
    double sum[STRIP] = {0};
    for (int64_t r = 0; r < a->rows; r++) {
        const float *x = ((const float *)a->x) + r * a->d, *dy = ((const float *)a->dy) + r * a->d;
        const double rstd = (double)a->rstd[r];
        for (int64_t c = c0; c < c1; c++)
            sum[c - c0] += (double)dy[c] * (double)x[c] * rstd;
    }
    for (int64_t c = c0; c < c1; c++)
        a->dw[c] += (float)sum[c - c0];
}

/* dx = rstd * (g - x * rstd^2 * mean(g x)),  g = dy * (w + w_offset) */
static void rmsnorm_dx(const nb_rmsnorm_bwd_args *a, int64_t r)
{
    const int64_t d = a->d;
    const float *x = ((const float *)a->x) + r * d, *dy = ((const float *)a->dy) + r * d,
                rstd = a->rstd[r];
    float *dx = ((float *)a->dx) + r * d;
    const vf off = vf_set1(a->w_offset);
    vd s[2] = {{0}, {0}};
    for (int64_t i = 0; i < d; i += NBI_W) {
        int l = lanes_left(i, d);
        vd_add_mul(s, vf_load_n(dy + i, l) * (vf_load_n(a->w + i, l) + off), vf_load_n(x + i, l));
    }
    const double mean = vd_sum(s) / (double)d;
    const vf c = vf_set1((float)(mean * (double)rstd * (double)rstd)), rs = vf_set1(rstd);
    for (int64_t i = 0; i < d; i += NBI_W) {
        int l = lanes_left(i, d);
        vf g = vf_load_n(dy + i, l) * (vf_load_n(a->w + i, l) + off);
        vf v = rs * (g - vf_load_n(x + i, l) * c);
        vf_store_n(dx + i, a->accumulate ? vf_load_n(dx + i, l) + v : v, l);
    }
}

void NBI_ISA(rmsnorm_bwd)(const nb_rmsnorm_bwd_args *a)
{
    if (a->dw) { /* first: dx may be dy */
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
        for (int64_t c = 0; c < a->d; c += STRIP)
            rmsnorm_dw(a, c, c + STRIP < a->d ? c + STRIP : a->d);
    }
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        rmsnorm_dx(a, r);
}

#define NBI_GELU_C 0.797884561f /* sqrt(2/pi) */
#define NBI_GELU_K 0.044715f

/* act(g) and its derivative. gelu_tanh(g) = g sigmoid(2u), u = c (g + k g^3). */
NBI_INLINE void activate(const nb_act act, vf g, vf *value, vf *slope)
{
    if (act == NB_ACT_SILU) {
        vf s = vf_sigmoid(g);
        *value = g * s;
        *slope = s + g * s * (1.0f - s);
    } else if (act == NB_ACT_GELU_TANH) {
        vf g2 = g * g;
        vf s = vf_sigmoid(
            g * vf_fma(g2, vf_set1(2.0f * NBI_GELU_C * NBI_GELU_K), vf_set1(2.0f * NBI_GELU_C)));
        vf du = vf_fma(g2, vf_set1(6.0f * NBI_GELU_C * NBI_GELU_K), vf_set1(2.0f * NBI_GELU_C));
        *value = g * s;
        *slope = s + g * s * (1.0f - s) * du;
    } else {
        for (int i = 0; i < NBI_W; i++) {
            float phi = 0.5f * erfcf(-g[i] * 0.707106781f);
            (*value)[i] = g[i] * phi;
            (*slope)[i] = phi + g[i] * 0.398942280f * expf(-0.5f * g[i] * g[i]);
        }
    }
}

NBI_INLINE void glu_span(const nb_act act, const nb_glu_args *a, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += NBI_W) {
        int l = lanes_left(i, to);
        vf value, slope;
        activate(act, vf_load_n(((const float *)a->g) + i, l), &value, &slope);
        vf_store_n(((float *)a->h) + i, value * vf_load_n(((const float *)a->u) + i, l), l);
    }
}

NBI_INLINE void glu_bwd_span(const nb_act act, const nb_glu_bwd_args *a, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += NBI_W) {
        int l = lanes_left(i, to);
        vf value, slope, dh = vf_load_n(((const float *)a->dh) + i, l),
                         u = vf_load_n(((const float *)a->u) + i, l);
        activate(act, vf_load_n(((const float *)a->g) + i, l), &value, &slope);
        vf_store_n(((float *)a->dg) + i, dh * u * slope, l);
        vf_store_n(((float *)a->du) + i, dh * value, l);
    }
}

/* A switch outside of the loop, so that each activation has its own. */
#define NBI_FOR_ACT(act, call)                                                                     \
    do {                                                                                           \
        if ((act) == NB_ACT_SILU)                                                                  \
            call(NB_ACT_SILU, a, i, to);                                                           \
        else if ((act) == NB_ACT_GELU_TANH)                                                        \
            call(NB_ACT_GELU_TANH, a, i, to);                                                      \
        else                                                                                       \
            call(NB_ACT_GELU_ERF, a, i, to);                                                       \
    } while (0)

void NBI_ISA(glu)(const nb_glu_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 4 * a->n)) schedule(static)
    for (int64_t i = 0; i < a->n; i += SPAN) {
        const int64_t to = i + SPAN < a->n ? i + SPAN : a->n;
        NBI_FOR_ACT(a->act, glu_span);
    }
}

void NBI_ISA(glu_bwd)(const nb_glu_bwd_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 4 * a->n)) schedule(static)
    for (int64_t i = 0; i < a->n; i += SPAN) {
        const int64_t to = i + SPAN < a->n ? i + SPAN : a->n;
        NBI_FOR_ACT(a->act, glu_bwd_span);
    }
}

/* Elements j0..j0+n-1 of each half of every head of one row; n <= STRIP. */
static void rope_strip(const nb_rope_args *a, int64_t r, int64_t j0, int64_t n)
{
    float c[STRIP], s[STRIP];
    const float *cs = a->cs + (r * a->half + j0) * 2;
    for (int64_t j = 0; j < n; j++) {
        c[j] = cs[2 * j];
        s[j] = a->inverse ? -cs[2 * j + 1] : cs[2 * j + 1];
    }
    for (int64_t h = 0; h < a->heads; h++) {
        float *x = (float *)a->x + (r * a->heads + h) * a->p + j0, *y = x + a->half;
        for (int64_t j = 0; j < n; j += NBI_W) {
            int l = lanes_left(j, n);
            vf u = vf_load_n(x + j, l), v = vf_load_n(y + j, l);
            vf cj = vf_load_n(c + j, l), sj = vf_load_n(s + j, l);
            vf_store_n(x + j, u * cj - v * sj, l);
            vf_store_n(y + j, v * cj + u * sj, l);
        }
    }
}

void NBI_ISA(rope)(const nb_rope_args *a)
{
    assert(2 * a->half <= a->p);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->heads * a->half))         \
    schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t j = 0; j < a->half; j += STRIP)
            rope_strip(a, r, j, a->half - j < STRIP ? a->half - j : STRIP);
}

void NBI_ISA(axpy)(const nb_axpy_args *a)
{
    const vf al = vf_set1(a->alpha);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->n)) schedule(static)
    for (int64_t i0 = 0; i0 < a->n; i0 += SPAN) {
        const int64_t to = i0 + SPAN < a->n ? i0 + SPAN : a->n;
        for (int64_t i = i0; i < to; i += NBI_W) {
            int l = lanes_left(i, to);
            vf v = al * vf_load_n(a->x + i, l);
            vf_store_n(a->y + i, a->accumulate ? vf_load_n(a->y + i, l) + v : v, l);
        }
    }
}

void NBI_ISA(bias)(const nb_bias_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++) {
        float *y = ((float *)a->y) + r * a->ldy;
        for (int64_t i = 0; i < a->d; i += NBI_W) {
            int l = lanes_left(i, a->d);
            vf_store_n(y + i, vf_load_n(y + i, l) + vf_load_n(a->b + i, l), l);
        }
    }
}

void NBI_ISA(bias_bwd)(const nb_bias_bwd_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t c0 = 0; c0 < a->d; c0 += STRIP) {
        const int64_t n = a->d - c0 < STRIP ? a->d - c0 : STRIP;
        double sum[STRIP] = {0};
        for (int64_t r = 0; r < a->rows; r++)
            for (int64_t c = 0; c < n; c++)
                sum[c] += (double)((const float *)a->dy)[r * a->ldy + c0 + c];
        for (int64_t c = 0; c < n; c++)
            a->db[c0 + c] += (float)sum[c];
    }
}

#endif
