/* SPDX-License-Identifier: MIT */
/* Gated activations and their gradient. */
#ifndef NB_GLU_TMPL_H
#define NB_GLU_TMPL_H

#include "kernel/variants.h"
#include "kernel/vec_typed.h"
#include "kernel/vecmath.h"

enum { AHEAD = 1024, SPAN = 4096 }; /* elements one task takes */

#define NBI_GELU_C 0.797884561f /* sqrt(2/pi) */
#define NBI_GELU_K 0.044715f

/* act(g) and its derivative. gelu_tanh(g) = g sigmoid(2u), u = c (g + k g^3). */
NBI_INLINE void activate(const nb_act act, vf g, vf *value, vf *slope)
{
    if (act == NB_ACT_SILU) {
        vf s = vf_sigmoid(g);
        *value = g * s;
        *slope = vf_fma(*value, 1.0f - s, s);
    } else if (act == NB_ACT_GELU_TANH) {
        vf g2 = g * g;
        vf s = vf_sigmoid(
            g * vf_fma(g2, vf_set1(2.0f * NBI_GELU_C * NBI_GELU_K), vf_set1(2.0f * NBI_GELU_C)));
        vf du = vf_fma(g2, vf_set1(6.0f * NBI_GELU_C * NBI_GELU_K), vf_set1(2.0f * NBI_GELU_C));
        *value = g * s;
        *slope = vf_fma(*value * (1.0f - s), du, s);
    } else {
        vf bell, phi = vf_normal(g, &bell);
        *value = g * phi;
        *slope = vf_fma(g * 0.398942280f, bell, phi);
    }
}

NBI_INLINE vf glu_of(const nb_act act, vf g, vf u)
{
    vf value, slope;
    activate(act, g, &value, &slope);
    return value * u;
}

NBI_INLINE void glu_pair(const nb_act act, const nb_glu_args *a, const nb_dtype T, int64_t i)
{
    prefetch_pair(a->g, T, i + AHEAD);
    prefetch_pair(a->u, T, i + AHEAD);
    const vf2 g = vf2_load_t(a->g, T, i), u = vf2_load_t(a->u, T, i);
    vf2_store_t(a->h, T, i, (vf2){glu_of(act, g.a, u.a), glu_of(act, g.b, u.b)});
}

NBI_INLINE void glu_vector(const nb_act act, const nb_glu_args *a, const nb_dtype T, int64_t i,
                           int l)
{
    vf_store_t(a->h, T, i, glu_of(act, vf_load_t(a->g, T, i, l), vf_load_t(a->u, T, i, l)), l);
}

typedef struct glu_grads {
    vf dg, du, h;
} glu_grads;

NBI_INLINE glu_grads glu_bwd_of(const nb_act act, vf g, vf u, vf dh)
{
    vf value, slope;
    activate(act, g, &value, &slope);
    return (glu_grads){dh * u * slope, dh * value, value * u};
}

NBI_INLINE void glu_bwd_pair(const nb_act act, const nb_glu_bwd_args *a, const bool want_h,
                             const nb_dtype T, int64_t i)
{
    prefetch_pair(a->g, T, i + AHEAD);
    prefetch_pair(a->u, T, i + AHEAD);
    prefetch_pair(a->dh, T, i + AHEAD);
    const vf2 g = vf2_load_t(a->g, T, i), u = vf2_load_t(a->u, T, i), d = vf2_load_t(a->dh, T, i);
    const glu_grads x = glu_bwd_of(act, g.a, u.a, d.a), y = glu_bwd_of(act, g.b, u.b, d.b);
    vf2_store_t(a->dg, T, i, (vf2){x.dg, y.dg});
    vf2_store_t(a->du, T, i, (vf2){x.du, y.du});
    if (want_h)
        vf2_store_t(a->h, T, i, (vf2){x.h, y.h});
}

NBI_INLINE void glu_bwd_vector(const nb_act act, const nb_glu_bwd_args *a, const bool want_h,
                               const nb_dtype T, int64_t i, int l)
{
    const glu_grads x = glu_bwd_of(act, vf_load_t(a->g, T, i, l), vf_load_t(a->u, T, i, l),
                                   vf_load_t(a->dh, T, i, l));
    vf_store_t(a->dg, T, i, x.dg, l);
    vf_store_t(a->du, T, i, x.du, l);
    if (want_h)
        vf_store_t(a->h, T, i, x.h, l);
}

NBI_INLINE void glu_span(const nb_act act, const nb_glu_args *a, const nb_dtype T, int64_t from,
                         int64_t to)
{
    NBI_EACH_PAIR(from, to, glu_pair, glu_vector, act, a, T);
}

NBI_INLINE void glu_bwd_span(const nb_act act, const nb_glu_bwd_args *a, const nb_dtype T,
                             int64_t from, int64_t to)
{
    if (a->h)
        NBI_EACH_PAIR(from, to, glu_bwd_pair, glu_bwd_vector, act, a, true, T);
    else
        NBI_EACH_PAIR(from, to, glu_bwd_pair, glu_bwd_vector, act, a, false, T);
}

/* A switch outside of the loop, so that each activation has its own. */
#define NBI_FOR_ACT(act, call, ...)                                                                \
    do {                                                                                           \
        if ((act) == NB_ACT_SILU)                                                                  \
            call(NB_ACT_SILU, __VA_ARGS__);                                                        \
        else if ((act) == NB_ACT_GELU_TANH)                                                        \
            call(NB_ACT_GELU_TANH, __VA_ARGS__);                                                   \
        else                                                                                       \
            call(NB_ACT_GELU_ERF, __VA_ARGS__);                                                    \
    } while (0)

void NBI_ISA(glu)(const nb_glu_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 4 * a->n)) schedule(static)
    for (int64_t i = 0; i < a->n; i += SPAN) {
        const int64_t to = i + SPAN < a->n ? i + SPAN : a->n;
        NBI_FOR_DTYPE(a->dtype, T, NBI_FOR_ACT(a->act, glu_span, a, T, i, to));
    }
}

void NBI_ISA(glu_bwd)(const nb_glu_bwd_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 4 * a->n)) schedule(static)
    for (int64_t i = 0; i < a->n; i += SPAN) {
        const int64_t to = i + SPAN < a->n ? i + SPAN : a->n;
        NBI_FOR_DTYPE(a->dtype, T, NBI_FOR_ACT(a->act, glu_bwd_span, a, T, i, to));
    }
}

#endif
