/* SPDX-License-Identifier: MIT */
/* AdamW and Lion with moments in 8 bits. A block is decoded and stepped in one walk, which also
 * finds its largest magnitudes, and encoded in a second one. Only single operations, so that all
 * instruction sets give the same bits. */
#ifndef NB_OPTIM8_TMPL_H
#define NB_OPTIM8_TMPL_H

#include <math.h>
#include "kernel/optim_tmpl.h"

enum { OPTIM8_SPAN = 32 * NB_OPTIM8_BLOCK };

typedef struct adamw8_step {
    vf gs, b1, b1c, b2, b2c, eps, rate, shrink;
} adamw8_step;

NBI_INLINE adamw8_step adamw8_scalars(const nb_optim8_args *a)
{
    const double c1 = 1.0 - pow(a->beta1, (double)a->step);
    const double c2 = sqrt(1.0 - pow(a->beta2, (double)a->step));
    adamw8_step s = {.gs = vf_set1((float)a->grad_scale),
                     .b1 = vf_set1((float)a->beta1),
                     .b1c = vf_set1((float)(1.0 - a->beta1)),
                     .b2 = vf_set1((float)a->beta2),
                     .b2c = vf_set1((float)(1.0 - a->beta2)),
                     .eps = vf_set1((float)(c2 * a->eps)),
                     .rate = vf_set1((float)(-a->lr * c2 / c1)),
                     .shrink = vf_set1((float)(1.0 - a->lr * a->weight_decay))};
    return s;
}

/* One vector: new m and v in place, the new weight comes back. */
NBI_INLINE vf adamw8_move(const adamw8_step *s, vf w, vf *m, vf *v, vf grad)
{
    const vf g = grad * s->gs;
    *m = *m * s->b1 + s->b1c * g;
    *v = *v * s->b2 + s->b2c * g * g;
    return (w + s->rate * (*m / (vf_sqrt(*v) + s->eps))) * s->shrink;
}

/* table[group] of each lane. */
NBI_INLINE vf entry8(const float table[16], vi group)
{
    return vf_book(vbook_load(table), (vu)group);
}

/* Values of codes. A number c = 2^g (1 + i/n), made of the entry's number, has its group as
 * exponent and i/n as mantissa. */
NBI_INLINE vf optim8_decode(const nb_dynamic8 *t, const uint8_t *codes, bool is_signed)
{
    const vf x = __builtin_convertvector((vi)vu_load_u8(codes) + (is_signed ? -127 : 1), vf);
    const vf c = is_signed ? vf_max(vf_abs(x + x), vf_set1(1.0f)) : x;
    const vi group = ((vi)c >> 23) - 127;
    const vf part = (vf)(((vi)c & 0x7fffff) | 0x3f800000) - 1.0f;
    const vf y = entry8(t->from, group) + entry8(t->range, group) * part;
    return is_signed ? (vf)((vi)y | ((vi)x & (vi)vf_set1(-0.0f))) : y;
}

/* Codes of x / scale, where scale = 1 / (up * inverse). */
NBI_INLINE void optim8_encode(const nb_dynamic8 *t, uint8_t *codes, vf x, vf up, vf inverse,
                              bool is_signed)
{
    const vf one = vf_set1(1.0f), to_even = vf_set1(0x1.8p23f);
    const vf q = x * up * inverse, y = vf_min(vf_abs(q), one);
    vi group = {0};
    for (int g = 0; g + 1 < NB_DYNAMIC8_GROUPS; g++)
        group -= y >= vf_set1(t->bound[g]);
    const vf first = entry8(t->first, group), from = entry8(t->from, group);
    /* the entry below, and whether y lies beyond halfway to the next */
    const vf i = ((y - from) * entry8(t->per, group) - 0.5f) + to_even - to_even;
    const vf middle = from + entry8(t->step, group) * (i + 0.5f);
    vf c = first + i + vf_select(y > middle, one, vf_zero());
    c = vf_min(vf_max(c, first), entry8(t->last, group));
    if (is_signed) {
        const vf minus = vf_zero() - vf_min(vf_max(c, one), vf_set1(127.0f));
        c = vf_select(q < 0.0f, minus, c) + 127.0f;
    }
    vi_store_u8(codes, (vi)(c + 0x1p23f));
}

typedef struct optim8_block {
    float *w;
    const float *grad;
    uint8_t *m, *v;
    float *m_scale, *v_scale;
} optim8_block;

/* Powers of two and a reciprocal that take x to x / scale, subnormal scales included. */
NBI_INLINE void optim8_inverse(float scale, vf *up, vf *inverse)
{
    const float p = scale < 0x1p-64f ? 0x1p64f : 1.0f;
    *up = vf_set1(p);
    *inverse = vf_set1(scale > 0.0f ? 1.0f / (scale * p) : 0.0f);
}

/* Moments of one block, decoded; v is there for AdamW alone. */
typedef struct optim8_moments {
    vf m[NB_OPTIM8_BLOCK / NBI_W], v[NB_OPTIM8_BLOCK / NBI_W];
} optim8_moments;

/* Encodes moments whose largest magnitudes are in the lanes of `top`. */
NBI_INLINE void optim8_put(const nb_dynamic8 *book, uint8_t *codes, float *scale, const vf *x,
                           vf top, bool is_signed)
{
    vf up, inverse;
    *scale = vf_max_lane(top);
    optim8_inverse(*scale, &up, &inverse);
    for (int j = 0; j < NB_OPTIM8_BLOCK / NBI_W; j++)
        optim8_encode(book, codes + j * NBI_W, x[j], up, inverse, is_signed);
}

/* Steps a whole block. */
typedef void optim8_whole(const nb_optim8_args *a, const void *s, const optim8_block *b);

NBI_OUTLINE void adamw8_whole(const nb_optim8_args *a, const void *scalars, const optim8_block *b)
{
    const adamw8_step *s = scalars;
    optim8_moments x;
    vf m_top = vf_zero(), v_top = vf_zero();
    const vf m_scale = vf_set1(*b->m_scale), v_scale = vf_set1(*b->v_scale);
    for (int j = 0, i = 0; i < NB_OPTIM8_BLOCK; j++, i += NBI_W) {
        vf mj = optim8_decode(a->m_book, b->m + i, true) * m_scale;
        vf vj = optim8_decode(a->v_book, b->v + i, false) * v_scale;
        vf_store(b->w + i, adamw8_move(s, vf_load(b->w + i), &mj, &vj, vf_load(b->grad + i)));
        m_top = vf_max(vf_abs(mj), m_top);
        v_top = vf_max(vj, v_top);
        x.m[j] = mj;
        x.v[j] = vj;
    }
    optim8_put(a->m_book, b->m, b->m_scale, x.m, m_top, true);
    optim8_put(a->v_book, b->v, b->v_scale, x.v, v_top, false);
}

NBI_OUTLINE void lion8_whole(const nb_optim8_args *a, const void *s, const optim8_block *b)
{
    vf m[NB_OPTIM8_BLOCK / NBI_W], top = vf_zero();
    const vf scale = vf_set1(*b->m_scale);
    for (int j = 0, i = 0; i < NB_OPTIM8_BLOCK; j++, i += NBI_W) {
        m[j] = optim8_decode(a->m_book, b->m + i, true) * scale;
        vf_store(b->w + i, lion_move(s, vf_load(b->w + i), &m[j], vf_load(b->grad + i)));
        top = vf_max(vf_abs(m[j]), top);
    }
    optim8_put(a->m_book, b->m, b->m_scale, m, top, true);
}

/* A short last block, done as a whole one with zeros behind it. */
NBI_OUTLINE void optim8_short(const nb_optim8_args *a, const void *s, const optim8_block *b, int n,
                              optim8_whole *whole)
{
    float w[NB_OPTIM8_BLOCK] = {0}, grad[NB_OPTIM8_BLOCK] = {0};
    uint8_t m[NB_OPTIM8_BLOCK], v[NB_OPTIM8_BLOCK];
    memset(m, 127, sizeof(m));
    memset(v, 0, sizeof(v));
    memcpy(w, b->w, (size_t)n * sizeof(float));
    memcpy(grad, b->grad, (size_t)n * sizeof(float));
    memcpy(m, b->m, (size_t)n);
    if (b->v)
        memcpy(v, b->v, (size_t)n);
    whole(a, s, &(optim8_block){w, grad, m, v, b->m_scale, b->v_scale});
    memcpy(b->w, w, (size_t)n * sizeof(float));
    memcpy(b->m, m, (size_t)n);
    if (b->v)
        memcpy(b->v, v, (size_t)n);
}

NBI_INLINE void optim8_codes(const nb_optim8_args *a, const void *s, int64_t from, int64_t to,
                             optim8_whole *whole)
{
    for (int64_t i = from; i < to; i += NB_OPTIM8_BLOCK) {
        const int64_t k = i / NB_OPTIM8_BLOCK;
        const optim8_block b = {a->w + i,
                                a->grad + i,
                                (uint8_t *)a->m + i,
                                a->v ? (uint8_t *)a->v + i : NULL,
                                a->m_scale + k,
                                a->v ? a->v_scale + k : NULL};
        if (to - i >= NB_OPTIM8_BLOCK)
            whole(a, s, &b);
        else
            optim8_short(a, s, &b, (int)(to - i), whole);
    }
}

NBI_OUTLINE void adamw8_codes(const void *a, const void *s, int64_t from, int64_t to)
{
    optim8_codes(a, s, from, to, adamw8_whole);
}

NBI_OUTLINE void lion8_codes(const void *a, const void *s, int64_t from, int64_t to)
{
    optim8_codes(a, s, from, to, lion8_whole);
}

NBI_OUTLINE void adamw8_floats(const void *args, const void *s, int64_t from, int64_t to)
{
    const nb_optim8_args *a = args;
    float *ms = a->m, *vs = a->v;
    for (int64_t i = from; i < to; i += NBI_W) {
        const int l = lanes_at(i, to);
        vf m = vf_load_n(ms + i, l), v = vf_load_n(vs + i, l);
        vf_store_n(a->w + i,
                   adamw8_move(s, vf_load_n(a->w + i, l), &m, &v, vf_load_n(a->grad + i, l)), l);
        vf_store_n(ms + i, m, l);
        vf_store_n(vs + i, v, l);
    }
}

void NBI_ISA(adamw8)(const nb_optim8_args *a)
{
    const adamw8_step s = adamw8_scalars(a);
    each_span(a->q, a->n, OPTIM8_SPAN, a->m_scale ? adamw8_codes : adamw8_floats, a, &s);
}

void NBI_ISA(lion8)(const nb_optim8_args *a)
{
    const lion_scalars s = lion_rounded(a->grad_scale, a->lr, a->beta1, a->beta2, a->weight_decay);
    const nb_lion_args small = {.n = a->n, .w = a->w, .m = a->m, .grad = a->grad};
    if (a->m_scale)
        each_span(a->q, a->n, OPTIM8_SPAN, lion8_codes, a, &s);
    else
        each_span(a->q, a->n, OPTIM8_SPAN, lion_span, &small, &s);
}

#endif
