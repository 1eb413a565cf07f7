/* SPDX-License-Identifier: MIT */
/* Vectors of F32 or BF16 arrays. A kernel is an inline function of its dtypes that NBI_FOR_DTYPE
 * instantiates for each, so that no loop asks for a dtype. */
#ifndef NB_VEC_TYPED_H
#define NB_VEC_TYPED_H

#include "kernel/vec.h"
#include "tensor/dtype.h"

/* Runs the statement with T, a constant, equal to t (F32 or BF16). */
#define NBI_FOR_DTYPE(t, T, ...)                                                                   \
    do {                                                                                           \
        if ((t) == NB_DT_BF16) {                                                                   \
            const nb_dtype T = NB_DT_BF16;                                                         \
            __VA_ARGS__;                                                                           \
        } else {                                                                                   \
            const nb_dtype T = NB_DT_F32;                                                          \
            __VA_ARGS__;                                                                           \
        }                                                                                          \
    } while (0)

/* Calls body(..., i, l) for the vectors at i = from, from + NBI_W, ... below `to`; l is NBI_W, a
 * constant to the compiler, but for the last one. body is NBI_INLINE. */
#define NBI_EACH_VECTOR(from, to, body, ...)                                                       \
    do {                                                                                           \
        int64_t at_ = (from);                                                                      \
        const int64_t end_ = (to);                                                                 \
        for (; at_ + NBI_W <= end_; at_ += NBI_W)                                                  \
            body(__VA_ARGS__, at_, NBI_W);                                                         \
        if (at_ < end_)                                                                            \
            body(__VA_ARGS__, at_, (int)(end_ - at_));                                             \
    } while (0)

/* Elements i .. i + n - 1 (1 <= n <= NBI_W), zeros in the other lanes. */
NBI_INLINE vf vf_load_t(const void *p, const nb_dtype t, int64_t i, int n)
{
    if (t == NB_DT_BF16) {
        const uint16_t *h = (const uint16_t *)p + i;
        return n == NBI_W ? vf_load_bf16(h) : vf_load_bf16_n(h, n);
    }
    const float *f = (const float *)p + i;
    return n == NBI_W ? vf_load(f) : vf_load_n(f, n);
}

NBI_INLINE void vf_store_t(void *p, const nb_dtype t, int64_t i, vf v, int n)
{
    if (t == NB_DT_BF16) {
        uint16_t *h = (uint16_t *)p + i;
        if (n == NBI_W)
            vf_store_bf16(h, v);
        else
            vf_store_bf16_n(h, v, n);
        return;
    }
    float *f = (float *)p + i;
    if (n == NBI_W)
        vf_store(f, v);
    else
        vf_store_n(f, v, n);
}

/* The vectors of 2 NBI_W elements. */
typedef struct vf2 {
    vf a, b;
} vf2;

/* Elements i .. i + 2 NBI_W - 1 for work on elements alone, all of one dtype: an F32 array's in
 * order; a BF16 array's even ones in a and odd ones in b, which costs no permutation. */
NBI_INLINE vf2 vf2_load_t(const void *p, const nb_dtype t, int64_t i)
{
    vf2 v;
    if (t == NB_DT_BF16) {
        vu w;
        memcpy(&w, (const uint16_t *)p + i, sizeof(w));
        v.a = (vf)(w << 16);
        v.b = (vf)(w & 0xffff0000u);
    } else {
        v.a = vf_load((const float *)p + i);
        v.b = vf_load((const float *)p + i + NBI_W);
    }
    return v;
}

/* Puts what was computed from such vectors alone where vf2_load_t found them. */
NBI_INLINE void vf2_store_t(void *p, const nb_dtype t, int64_t i, vf2 v)
{
    if (t == NB_DT_BF16) {
        const vu a = vu_round_bf16_of_bf16(v.a), b = vu_round_bf16_of_bf16(v.b);
        const vu w = a >> 16 | (b & 0xffff0000u);
        memcpy((uint16_t *)p + i, &w, sizeof(w));
    } else {
        vf_store((float *)p + i, v.a);
        vf_store((float *)p + i + NBI_W, v.b);
    }
}

/* The next 2 NBI_W elements in order. */
NBI_INLINE void vf2_store_ordered(void *p, const nb_dtype t, int64_t i, vf2 v)
{
    if (t == NB_DT_BF16) {
        vu2_store_high16((uint16_t *)p + i, vu_round_bf16(v.a), vu_round_bf16(v.b));
    } else {
        vf_store((float *)p + i, v.a);
        vf_store((float *)p + i + NBI_W, v.b);
    }
}

/* Fetches the cache lines of 2 NBI_W elements. */
NBI_INLINE void prefetch_pair(const void *p, const nb_dtype t, int64_t i)
{
    const char *c = (const char *)p + i * (t == NB_DT_BF16 ? 2 : 4);
    for (int64_t b = 0; b < 2 * NBI_W * (t == NB_DT_BF16 ? 2 : 4); b += 64)
        __builtin_prefetch(c + b);
}

/* As NBI_EACH_VECTOR, with pair(..., i) for each 2 NBI_W elements as long as there are as many. */
#define NBI_EACH_PAIR(from, to, pair, body, ...)                                                   \
    do {                                                                                           \
        int64_t i_ = (from);                                                                       \
        for (; i_ + 2 * NBI_W <= (to); i_ += 2 * NBI_W)                                            \
            pair(__VA_ARGS__, i_);                                                                 \
        NBI_EACH_VECTOR(i_, to, body, __VA_ARGS__);                                                \
    } while (0)

#endif
