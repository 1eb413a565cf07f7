/* SPDX-License-Identifier: MIT */
#ifndef NB_OPTIM_TMPL_H
#define NB_OPTIM_TMPL_H

#include <math.h>
#include "kernel/variants.h"
#include "kernel/vec.h"

enum { STEP_SPAN = 8192, SUMSQ_SPAN = 65536 };

/* Elements from..to of a step whose arguments and rounded scalars are a and s. */
typedef void optim_span(const void *a, const void *s, int64_t from, int64_t to);

NBI_OUTLINE void each_span(const nb_queue *q, int64_t n, int64_t size, optim_span *fn,
                           const void *a, const void *s)
{
#pragma omp parallel for num_threads(nb_queue_threads(q, 2 * n)) schedule(static)
    for (int64_t from = 0; from < n; from += size)
        fn(a, s, from, from + size < n ? from + size : n);
}

/* Lanes of the vector at i of ..to. */
NBI_INLINE int lanes_at(int64_t i, int64_t to)
{
    return to - i < NBI_W ? (int)(to - i) : NBI_W;
}

typedef struct adamw_scalars {
    vf shrink, gs, lerp, b2, b2c, root, eps, step, l2;
} adamw_scalars;

NBI_OUTLINE void adamw_span(const void *args, const void *scalars, int64_t from, int64_t to)
{
    const nb_adamw_args *a = args;
    const adamw_scalars *s = scalars;
    for (int64_t i = from; i < to; i += NBI_W) {
        const int l = lanes_at(i, to);
        vf g = vf_load_n(a->grad + i, l) * s->gs, w = vf_load_n(a->w + i, l);
        if (a->l2)
            g += s->l2 * w;
        else
            w *= s->shrink;
        vf m = vf_load_n(a->m + i, l), v = vf_load_n(a->v + i, l) * s->b2;
        m += s->lerp * (g - m);
        v += s->b2c * g * g;
        const vf denom = vf_sqrt(v) / s->root + s->eps;
        w += s->step * m / denom;
        vf_store_n(a->m + i, m, l);
        vf_store_n(a->v + i, v, l);
        vf_store_n(a->w + i, w, l);
    }
}

/* In the order of operations of torch.optim.AdamW, scalars rounded to f32 where it rounds them. */
void NBI_ISA(adamw)(const nb_adamw_args *a)
{
    const double c1 = 1.0 - pow(a->beta1, (double)a->step);
    const double c2 = 1.0 - pow(a->beta2, (double)a->step);
    const adamw_scalars s = {.shrink = vf_set1((float)(1.0 - a->lr * a->weight_decay)),
                             .gs = vf_set1((float)a->grad_scale),
                             .lerp = vf_set1((float)(1.0 - a->beta1)),
                             .b2 = vf_set1((float)a->beta2),
                             .b2c = vf_set1((float)(1.0 - a->beta2)),
                             .root = vf_set1((float)sqrt(c2)),
                             .eps = vf_set1((float)a->eps),
                             .step = vf_set1((float)(-a->lr / c1)),
                             .l2 = vf_set1((float)a->weight_decay)};
    each_span(a->q, a->n, STEP_SPAN, adamw_span, a, &s);
}

typedef struct sgd_scalars {
    vf gs, decay, momentum, keep, rate;
} sgd_scalars;

NBI_OUTLINE void sgd_span(const void *args, const void *scalars, int64_t from, int64_t to)
{
    const nb_sgd_args *a = args;
    const sgd_scalars *s = scalars;
    const bool decays = a->weight_decay != 0, first = a->step == 1;
    for (int64_t i = from; i < to; i += NBI_W) {
        const int l = lanes_at(i, to);
        vf g = vf_load_n(a->grad + i, l) * s->gs;
        const vf w = vf_load_n(a->w + i, l);
        if (decays)
            g += s->decay * w;
        if (a->m) {
            const vf m = first ? g : vf_load_n(a->m + i, l) * s->momentum + s->keep * g;
            vf_store_n(a->m + i, m, l);
            g = a->nesterov ? g + s->momentum * m : m;
        }
        vf_store_n(a->w + i, w + s->rate * g, l);
    }
}

void NBI_ISA(sgd)(const nb_sgd_args *a)
{
    const sgd_scalars s = {.gs = vf_set1((float)a->grad_scale),
                           .decay = vf_set1((float)a->weight_decay),
                           .momentum = vf_set1((float)a->momentum),
                           .keep = vf_set1((float)(1.0 - a->dampening)),
                           .rate = vf_set1((float)-a->lr)};
    each_span(a->q, a->n, STEP_SPAN, sgd_span, a, &s);
}

typedef struct lion_scalars {
    vf gs, b1, b1c, b2, b2c, rate, shrink;
} lion_scalars;

NBI_INLINE lion_scalars lion_rounded(double grad_scale, double lr, double beta1, double beta2,
                                     double weight_decay)
{
    return (lion_scalars){.gs = vf_set1((float)grad_scale),
                          .b1 = vf_set1((float)beta1),
                          .b1c = vf_set1((float)(1.0 - beta1)),
                          .b2 = vf_set1((float)beta2),
                          .b2c = vf_set1((float)(1.0 - beta2)),
                          .rate = vf_set1((float)lr),
                          .shrink = vf_set1((float)(1.0 - lr * weight_decay))};
}

/* One vector: new m in place, the new weight comes back. */
NBI_INLINE vf lion_move(const lion_scalars *s, vf w, vf *m, vf grad)
{
    const vf g = grad * s->gs, x = *m * s->b1 + s->b1c * g;
    /* 0 and NaN stay what they are */
    const vf step = vf_select(x > 0.0f, s->rate, vf_select(x < 0.0f, -s->rate, x));
    *m = *m * s->b2 + s->b2c * g;
    return w * s->shrink - step;
}

NBI_OUTLINE void lion_span(const void *args, const void *scalars, int64_t from, int64_t to)
{
    const nb_lion_args *a = args;
    for (int64_t i = from; i < to; i += NBI_W) {
        const int l = lanes_at(i, to);
        vf m = vf_load_n(a->m + i, l);
        const vf w = lion_move(scalars, vf_load_n(a->w + i, l), &m, vf_load_n(a->grad + i, l));
        vf_store_n(a->w + i, w, l);
        vf_store_n(a->m + i, m, l);
    }
}

void NBI_ISA(lion)(const nb_lion_args *a)
{
    const lion_scalars s = lion_rounded(a->grad_scale, a->lr, a->beta1, a->beta2, a->weight_decay);
    each_span(a->q, a->n, STEP_SPAN, lion_span, a, &s);
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
