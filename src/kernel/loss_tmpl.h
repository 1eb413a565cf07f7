/* SPDX-License-Identifier: MIT */
/* Cross-entropy with its gradient in place. */
#ifndef NB_LOSS_TMPL_H
#define NB_LOSS_TMPL_H

#include <assert.h>
#include <math.h>
#include "kernel/variants.h"
#include "kernel/vecmath.h"

enum { SUM_VECTORS = 16 }; /* vectors summed in f32 before the sum goes on in f64 */

NBI_INLINE vf load_or(const float *p, int64_t i, int64_t n, float fill)
{
    if (n - i >= NBI_W)
        return vf_load(p + i);
    float t[NBI_W];
    for (int j = 0; j < NBI_W; j++)
        t[j] = i + j < n ? p[i + j] : fill;
    return vf_load(t);
}

static float row_max(const float *x, int64_t n)
{
    vf m = vf_set1(-INFINITY);
    for (int64_t i = 0; i < n; i += NBI_W)
        m = vf_max(load_or(x, i, n, -INFINITY), m); /* NaN leaves m */
    return vf_max_lane(m);
}

static double row_sum_exp(const float *x, int64_t n, float max)
{
    double sum = 0;
    const vf m = vf_set1(max);
    for (int64_t i = 0; i < n; i += SUM_VECTORS * NBI_W) {
        const int64_t to = i + SUM_VECTORS * NBI_W < n ? i + SUM_VECTORS * NBI_W : n;
        vf s = vf_zero();
        for (int64_t j = i; j < to; j += NBI_W)
            s += vf_exp(load_or(x, j, n, -INFINITY) - m);
        sum += (double)vf_sum(s);
    }
    return sum;
}

/* True when `target` is the first place of the maximum. */
static bool is_first_max(const float *x, int64_t target, float max)
{
    if (!(x[target] == max))
        return false;
    for (int64_t i = 0; i < target; i++)
        if (x[i] == max)
            return false;
    return true;
}

static void cross_entropy_row(const nb_cross_entropy_args *a, int64_t r)
{
    float *x = a->logits + r * a->v;
    const int32_t target = a->target[r];
    if (target == NB_IGNORE_INDEX) {
        a->nll[r] = 0.0f;
        if (a->hit)
            a->hit[r] = 0;
        if (a->want_grad)
            memset(x, 0, (size_t)a->v * sizeof(float));
        return;
    }
    assert(target >= 0 && target < a->v);
    const float max = row_max(x, a->v);
    /* NaN, +inf and rows of -inf only make the sum NaN */
    const double sum = row_sum_exp(x, a->v, max);
    a->nll[r] = (float)(log(sum) + ((double)max - (double)x[target]));
    if (a->hit)
        a->hit[r] = sum == sum && is_first_max(x, target, max);
    if (!a->want_grad)
        return;
    const vf m = vf_set1(max), inv = vf_set1((float)((double)a->grad_scale / sum));
    for (int64_t i = 0; i < a->v; i += NBI_W) {
        int l = a->v - i < NBI_W ? (int)(a->v - i) : NBI_W;
        vf_store_n(x + i, vf_exp(vf_load_n(x + i, l) - m) * inv, l);
    }
    x[target] -= a->grad_scale;
}

void NBI_ISA(cross_entropy)(const nb_cross_entropy_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 2 * a->rows * a->v)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        cross_entropy_row(a, r);
}

#endif
