/* SPDX-License-Identifier: MIT */
/* Arrays of F32 or BF16 off any alignment, with guard bytes on both sides. Include after
 * kernel_util.h. */
#ifndef NBT_TYPED_UTIL_H
#define NBT_TYPED_UTIL_H

#include "tensor/dtype.h"

enum { NBT_GUARD = 64, NBT_GUARD_BYTE = 0xa5 };

typedef struct nbt_typed {
    unsigned char *mem;
    void *p; /* an element's size off 64 bytes */
    int64_t n;
    nb_dtype t;
} nbt_typed;

static const nb_dtype nbt_act_dtypes[] = {NB_DT_F32, NB_DT_BF16};

/* x as t. Where t is BF16, x must hold bf16 values (nbt_round) to come out as it went in. */
NBT_UNUSED static nbt_typed nbt_typed_of(const float *x, int64_t n, nb_dtype t)
{
    const size_t size = nb_dtype_size(t), bytes = (size_t)n * size;
    nbt_typed y = {nbi_calloc(NBI_MEM_OTHER, bytes + 3 * NBT_GUARD, 1), NULL, n, t};
    memset(y.mem, NBT_GUARD_BYTE, bytes + 3 * NBT_GUARD);
    y.p = y.mem + NBT_GUARD + size;
    for (int64_t i = 0; i < n; i++) {
        const uint16_t h = nb_f32_to_bf16(x[i]);
        if (t == NB_DT_BF16)
            memcpy(nb_elem(y.p, t, i), &h, 2);
        else
            memcpy(nb_elem(y.p, t, i), &x[i], 4);
    }
    return y;
}

NBT_UNUSED static float nbt_typed_at(const nbt_typed *y, int64_t i)
{
    float f;
    uint16_t h;
    if (y->t == NB_DT_F32) {
        memcpy(&f, nb_elem(y->p, y->t, i), 4);
        return f;
    }
    memcpy(&h, nb_elem(y->p, y->t, i), 2);
    return nb_bf16_to_f32(h);
}

/* Checks the guards and gives the memory back. */
NBT_UNUSED static void nbt_typed_free(nbt_typed *y)
{
    const size_t size = nb_dtype_size(y->t), end = NBT_GUARD + size + (size_t)y->n * size;
    for (size_t i = 0; i < NBT_GUARD + size; i++)
        assert_int_equal(y->mem[i], NBT_GUARD_BYTE);
    for (size_t i = end; i < (size_t)y->n * size + 3 * NBT_GUARD; i++)
        assert_int_equal(y->mem[i], NBT_GUARD_BYTE);
    nbi_free(y->mem);
}

/* x rounded to what t holds, in place. */
NBT_UNUSED static void nbt_round(float *x, int64_t n, nb_dtype t)
{
    for (int64_t i = 0; i < n && t == NB_DT_BF16; i++)
        x[i] = nb_round_bf16(x[i]);
}

/* got is want, rounded once to its dtype: the same bits, or NaN in both. */
NBT_UNUSED static void nbt_typed_equal(const char *what, const nbt_typed *got, const float *want)
{
    for (int64_t i = 0; i < got->n; i++) {
        const float g = nbt_typed_at(got, i);
        const float w = got->t == NB_DT_BF16 ? nb_round_bf16(want[i]) : want[i];
        if (isnan(w) ? !isnan(g) : nb_f32_bits(g) != nb_f32_bits(w))
            fail_msg("%s: element %lld is %.9g, not %.9g", what, (long long)i, (double)g,
                     (double)w);
    }
}

#endif
