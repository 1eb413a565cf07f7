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

#endif
