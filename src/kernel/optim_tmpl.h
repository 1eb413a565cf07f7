/* SPDX-License-Identifier: MIT */
#ifndef NB_OPTIM_TMPL_H
#define NB_OPTIM_TMPL_H

#include <math.h>
#include "kernel/variants.h"
#include "kernel/vec.h"

enum { STEP_SPAN = 8192, SUMSQ_SPAN = 65536 };

/* In the order of operations of torch.optim.AdamW, scalars rounded to f32 where it rounds them. */
void NBI_ISA(adamw)(const nb_adamw_args *a)
{
    const double c1 = 1.0 - pow(a->beta1, (double)a->step);
    const double c2 = 1.0 - pow(a->beta2, (double)a->step);
    const vf shrink = vf_set1((float)(1.0 - a->lr * a->weight_decay));
    const vf gs = vf_set1((float)a->grad_scale), lerp = vf_set1((float)(1.0 - a->beta1));
    const vf b2 = vf_set1((float)a->beta2), b2c = vf_set1((float)(1.0 - a->beta2));
    const vf root = vf_set1((float)sqrt(c2)), eps = vf_set1((float)a->eps);
    const vf step = vf_set1((float)(-a->lr / c1));
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 2 * a->n)) schedule(static)
    for (int64_t i0 = 0; i0 < a->n; i0 += STEP_SPAN) {
        const int64_t to = i0 + STEP_SPAN < a->n ? i0 + STEP_SPAN : a->n;
        for (int64_t i = i0; i < to; i += NBI_W) {
            int l = to - i < NBI_W ? (int)(to - i) : NBI_W;
            vf g = vf_load_n(a->grad + i, l) * gs, w = vf_load_n(a->w + i, l) * shrink;
            vf m = vf_load_n(a->m + i, l), v = vf_load_n(a->v + i, l) * b2;
            m += lerp * (g - m);
            v += b2c * g * g;
            vf denom = vf_sqrt(v) / root + eps;
            w += step * m / denom;
            vf_store_n(a->m + i, m, l);
            vf_store_n(a->v + i, v, l);
            vf_store_n(a->w + i, w, l);
        }
    }
}

void NBI_ISA(sumsq)(const nb_sumsq_args *a)
{
    /* spans grow with n, so that their sums fit the scratch memory */
    const int64_t room = (int64_t)(NB_SCRATCH_BYTES / sizeof(double));
    int64_t span = SUMSQ_SPAN;
    while ((a->n + span - 1) / span > room)
        span *= 2;
    const int64_t parts = (a->n + span - 1) / span;
    double *part = nb_queue_scratch(a->q, 0), sum = 0;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->n)) schedule(static)
    for (int64_t i = 0; i < parts; i++) {
        const float *x = a->x + i * span;
        part[i] = dot_f64(x, x, i + 1 < parts ? span : a->n - i * span);
    }
    for (int64_t i = 0; i < parts; i++)
        sum += part[i];
    *a->out = sum;
}

#endif
