/* SPDX-License-Identifier: MIT */
/* Cross-entropy with its gradient in place. A row is cut into blocks: each is read once for its
 * maximum and, while it is in the nearest cache, turned into exp(x - maximum) with their sum, so
 * that the gradient needs no exp of its own but a factor per block. Blocks depend on v alone, and
 * so do the bits of the results, whether threads split rows or blocks. */
#ifndef NB_LOSS_TMPL_H
#define NB_LOSS_TMPL_H

#include <assert.h>
#include <float.h>
#include <math.h>
#include "kernel/variants.h"
#include "kernel/vec_typed.h"
#include "kernel/vecmath.h"

enum {
    LOSS_BLOCK = 2048,     /* elements: half of the nearest cache */
    LOSS_BLOCKS_MAX = 256, /* of a row; blocks of longer rows are longer */
    LOSS_SUM_VECTORS = 16, /* vectors summed in f32 before the sum goes on in f64 */
    LOSS_ROWS_EACH = 8     /* threads share rows when there are fewer for each */
};

/* What is known of a block. */
typedef struct loss_part {
    double sum; /* of exp(x - max) */
    float max;  /* NaN left out */
} loss_part;

/* What is known of the target of a row. */
typedef struct loss_target {
    float x;
    bool first; /* it is the first maximum of its block */
} loss_target;

static int64_t loss_block(int64_t v)
{
    int64_t block = LOSS_BLOCK;
    while ((v + block - 1) / block > LOSS_BLOCKS_MAX)
        block *= 2;
    return block;
}

NBI_INLINE vf load_or(const float *p, int l, float fill)
{
    if (l == NBI_W)
        return vf_load(p);
    float t[NBI_W];
    for (int j = 0; j < NBI_W; j++)
        t[j] = j < l ? p[j] : fill;
    return vf_load(t);
}

NBI_INLINE void max_vector(vf *m, const float *x, int64_t i, int l)
{
    *m = vf_max(load_or(x + i, l, -INFINITY), *m); /* NaN leaves m */
}

static float block_max(const float *x, int64_t n)
{
    vf m[4];
    for (int c = 0; c < 4; c++)
        m[c] = vf_set1(-INFINITY);
    int64_t i = 0;
    for (; i + 4 * NBI_W <= n; i += 4 * NBI_W)
        for (int c = 0; c < 4; c++)
            max_vector(&m[c], x, i + c * NBI_W, NBI_W);
    NBI_EACH_VECTOR(i, n, max_vector, &m[0], x);
    return vf_max_lane(vf_max(vf_max(m[0], m[1]), vf_max(m[2], m[3])));
}

NBI_INLINE void exp_vector(vf *sum, float *x, vf max, const bool keep, int64_t i, int l)
{
    __builtin_prefetch(x + i + LOSS_BLOCK); /* the next block, or the next row's first */
    const vf e = vf_exp_low(load_or(x + i, l, -INFINITY) - max);
    *sum += e;
    if (keep)
        vf_store_t(x, NB_DT_F32, i, e, l);
}

/* Sum of exp(x - max); x becomes them where `keep`. */
NBI_INLINE double block_sum_exp(float *x, int64_t n, float max, const bool keep)
{
    vd sum[2] = {{0}, {0}};
    const vf m = vf_set1(max);
    for (int64_t i = 0; i < n; i += LOSS_SUM_VECTORS * NBI_W) {
        const int64_t left = n - i;
        vf s = vf_zero();
        NBI_EACH_VECTOR(0, left < LOSS_SUM_VECTORS * NBI_W ? left : LOSS_SUM_VECTORS * NBI_W,
                        exp_vector, &s, x + i, m, keep);
        vd_add(sum, s);
    }
    return vd_sum(sum);
}

static bool is_first_max(const float *x, int64_t at, float max)
{
    if (!(x[at] == max))
        return false;
    for (int64_t i = 0; i < at; i++)
        if (x[i] == max)
            return false;
    return true;
}

/* Block from.. of row r. */
static void loss_measure(const nb_cross_entropy_args *a, int64_t r, int64_t from, int64_t n,
                         loss_part *part, loss_target *t)
{
    float *x = a->logits + r * a->v + from;
    const int64_t at = a->target[r] - from;
    part->max = block_max(x, n);
    if (at >= 0 && at < n)
        *t = (loss_target){x[at], is_first_max(x, at, part->max)};
    /* a block of -inf only adds nothing */
    const float base = part->max > -FLT_MAX ? part->max : -FLT_MAX;
    part->sum = a->want_grad ? block_sum_exp(x, n, base, true) : block_sum_exp(x, n, base, false);
}

/* Puts the blocks of row r together: nll and hit, and in place of each block's sum the factor that
 * makes gradients of its numbers. */
static void loss_combine(const nb_cross_entropy_args *a, int64_t r, int64_t block, loss_part *part,
                         loss_target t)
{
    const int64_t blocks = (a->v + block - 1) / block, own = a->target[r] / block;
    float max = -INFINITY;
    bool first = t.first;
    for (int64_t b = 0; b < blocks; b++) {
        max = part[b].max > max ? part[b].max : max;
        if (b != own)
            first = first && (b < own ? part[b].max < t.x : part[b].max <= t.x);
    }
    /* NaN, +inf and rows of -inf only make the sum NaN */
    double sum = max > -INFINITY ? 0 : NAN, share[LOSS_BLOCKS_MAX];
    for (int64_t b = 0; b < blocks; b++) {
        share[b] = part[b].max == max ? 1 : exp((double)part[b].max - (double)max);
        sum += part[b].sum * share[b];
    }
    a->nll[r] = (float)(log(sum) + ((double)max - (double)t.x));
    if (a->hit)
        a->hit[r] = sum == sum && first;
    for (int64_t b = 0; b < blocks; b++) {
        const double factor = (double)a->grad_scale / sum * share[b];
        part[b].sum = fabs(factor) < (double)FLT_MIN ? 0 : factor;
    }
}

NBI_INLINE void scale_pair(const float *x, void *y, const nb_dtype T, vf factor, int64_t i)
{
    vf2_store_ordered(y, T, i, (vf2){vf_load(x + i) * factor, vf_load(x + i + NBI_W) * factor});
}

NBI_INLINE void scale_vector(const float *x, void *y, const nb_dtype T, vf factor, int64_t i, int l)
{
    vf_store_t(y, T, i, vf_load_t(x, NB_DT_F32, i, l) * factor, l);
}

/* Gradients of a block from its exponentials: in their places, or as bf16 numbers from the row's
 * first byte on (then the blocks before this one have been read). */
NBI_INLINE void loss_gradient(const nb_cross_entropy_args *a, const nb_dtype T, int64_t r,
                              int64_t from, int64_t n, const loss_part *part)
{
    float *row = a->logits + r * a->v;
    const float *x = row + from;
    void *y = T == NB_DT_BF16 ? (void *)((uint16_t *)(void *)row + from) : (void *)(row + from);
    const float factor = (float)part->sum;
    const int64_t at = a->target[r] - from;
    const float target = at >= 0 && at < n ? x[at] * factor - a->grad_scale : 0;
    NBI_EACH_PAIR(0, n, scale_pair, scale_vector, x, y, T, vf_set1(factor));
    if (at >= 0 && at < n && T == NB_DT_BF16)
        ((uint16_t *)y)[at] = nb_f32_to_bf16(target);
    else if (at >= 0 && at < n)
        ((float *)y)[at] = target;
}

static void loss_ignore(const nb_cross_entropy_args *a, int64_t r)
{
    a->nll[r] = 0.0f;
    if (a->hit)
        a->hit[r] = 0;
    if (a->want_grad)
        memset(a->logits + r * a->v, 0, (size_t)a->v * nb_dtype_size(a->grad_dtype));
}

/* A part of a row's work: measuring, or the gradient. */
static void loss_block_of(const nb_cross_entropy_args *a, int64_t r, int64_t block, int64_t b,
                          bool gradient, loss_part *part, loss_target *t)
{
    const int64_t from = b * block, n = a->v - from < block ? a->v - from : block;
    if (a->target[r] == NB_IGNORE_INDEX)
        return;
    if (gradient)
        NBI_FOR_DTYPE(a->grad_dtype, T, loss_gradient(a, T, r, from, n, &part[b]));
    else
        loss_measure(a, r, from, n, &part[b], t);
}

static void loss_finish(const nb_cross_entropy_args *a, int64_t r, int64_t block, loss_part *part,
                        loss_target t)
{
    if (a->target[r] == NB_IGNORE_INDEX)
        loss_ignore(a, r);
    else
        loss_combine(a, r, block, part, t);
}

static void loss_by_rows(const nb_cross_entropy_args *a, int64_t block, int64_t blocks)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 2 * a->rows * a->v)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++) {
        loss_part part[LOSS_BLOCKS_MAX];
        loss_target t = {0, false};
        for (int64_t b = 0; b < blocks; b++)
            loss_block_of(a, r, block, b, false, part, &t);
        loss_finish(a, r, block, part, t);
        for (int64_t b = 0; a->want_grad && b < blocks; b++)
            loss_block_of(a, r, block, b, true, part, &t);
    }
}

/* The same with blocks split; one row after the other. */
static void loss_by_blocks(const nb_cross_entropy_args *a, int64_t block, int64_t blocks)
{
    loss_part part[LOSS_BLOCKS_MAX];
    const int threads = nb_queue_threads(a->q, 2 * a->v);
    /* bf16 gradients take the place of numbers of earlier blocks */
    const int threads2 = a->grad_dtype == NB_DT_BF16 ? 1 : threads;
    for (int64_t r = 0; r < a->rows; r++) {
        loss_target t = {0, false};
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int64_t b = 0; b < blocks; b++)
            loss_block_of(a, r, block, b, false, part, &t);
        loss_finish(a, r, block, part, t);
        if (!a->want_grad)
            continue;
#pragma omp parallel for num_threads(threads2) schedule(static)
        for (int64_t b = 0; b < blocks; b++)
            loss_block_of(a, r, block, b, true, part, &t);
    }
}

void NBI_ISA(cross_entropy)(const nb_cross_entropy_args *a)
{
    const int64_t block = loss_block(a->v), blocks = (a->v + block - 1) / block;
    for (int64_t r = 0; r < a->rows; r++)
        assert(a->target[r] == NB_IGNORE_INDEX || (a->target[r] >= 0 && a->target[r] < a->v));
    if (a->rows < LOSS_ROWS_EACH * a->q->threads && blocks >= a->q->threads)
        loss_by_blocks(a, block, blocks);
    else
        loss_by_rows(a, block, blocks);
}

#endif
