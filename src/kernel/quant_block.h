/* SPDX-License-Identifier: MIT */
/* One block of 4-bit quantisation, element by element: the whole of the reference version, and what
 * the vector versions do with a short last block. */
#ifndef NB_QUANT_BLOCK_H
#define NB_QUANT_BLOCK_H

#include "kernel/quant.h"
#include "tensor/codebook.h"
#include "tensor/half.h"

static const float quant4_tiny = 1e-38f;

static inline float quant4_element(const nb_quantize4_args *a, int64_t i)
{
    if (a->dtype == NB_DT_F32)
        return ((const float *)a->x)[i];
    if (a->dtype == NB_DT_BF16)
        return nb_bf16_to_f32(((const uint16_t *)a->x)[i]);
    return nb_f16_to_f32(((const uint16_t *)a->x)[i]);
}

static inline unsigned quant4_code(nb_qkind kind, float s)
{
    const bool nf4 = kind == NB_QK_NF4;
    const float *thresholds = nf4 ? nb_thresholds_nf4 : nb_thresholds_fp4;
    unsigned n = 0;
    for (int i = 0; i < 15; i++)
        n += thresholds[i] < s;
    return nf4 ? nb_sorted_code_nf4[n] : nb_sorted_code_fp4[n];
}

/* Block b, which may be the short last one. The largest magnitude is found among the bits, whose
 * order is that of the numbers with infinity and NaN on top. */
static inline void quant4_block(const nb_quantize4_args *a, int64_t b)
{
    const int64_t from = b * a->block, to = from + a->block < a->n ? from + a->block : a->n;
    const bool whole = to - from == a->block;
    uint32_t top = 0;
    for (int64_t i = from; i < to; i++) {
        const uint32_t bits = nb_f32_bits(quant4_element(a, i)) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    const float absmax = nb_f32_from_bits(top);
    const float divisor = absmax < quant4_tiny ? quant4_tiny : absmax, factor = 1.0f / divisor;
    a->absmax[b] = whole ? absmax : divisor;
    for (int64_t i = from; i < to; i += 2) {
        unsigned code[2];
        for (int j = 0; j < 2; j++) {
            const float v = i + j < to ? quant4_element(a, i + j) : 0.0f;
            code[j] = quant4_code(a->kind, whole ? v * factor : v / divisor);
        }
        a->codes[i / 2] = (uint8_t)(code[0] << 4 | code[1]);
    }
}

#endif
