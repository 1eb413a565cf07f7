/* SPDX-License-Identifier: MIT */
/* Quantisation on vectors, the same bits as ref/quant_ref.c: codes are found by binary searches
 * whose tables sit in registers (4 bit) or in the first-level cache (8 bit). */
#ifndef NB_QUANT_TMPL_H
#define NB_QUANT_TMPL_H

#include <assert.h>
#include "kernel/quant_block.h"
#include "kernel/variants.h"
#include "kernel/vec.h"

#if NBI_W == 16
/* table[i], 0 <= i < 8 */
NBI_INLINE vf vf_pick8(vf table, vi i)
{
    return (vf)_mm512_permutexvar_ps((__m512i)i, (__m512)table);
}
/* 2 * i + (a > b) */
NBI_INLINE vi vi_descend(vi i, vf a, vf b)
{
    const __m512i twice = (__m512i)(i + i);
    const __mmask16 m = _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ);
    return (vi)_mm512_mask_add_epi32(twice, m, twice, _mm512_set1_epi32(1));
}
/* NBI_W codes to NBI_W / 2 bytes, the first of two in the high nibble. */
NBI_INLINE void store_nibbles(uint8_t *p, vi code)
{
    const __m512i c = (__m512i)code;
    const __m512i both = _mm512_or_si512(_mm512_slli_epi64(c, 4), _mm512_srli_epi64(c, 32));
    _mm_storel_epi64((__m128i_u *)p, _mm512_cvtepi64_epi8(both));
}
#elif NBI_W == 8
NBI_INLINE vf vf_pick8(vf table, vi i)
{
    return (vf)_mm256_permutevar8x32_ps((__m256)table, (__m256i)i);
}
NBI_INLINE vi vi_descend(vi i, vf a, vf b)
{
    return i + i - (a > b);
}
NBI_INLINE void store_nibbles(uint8_t *p, vi code)
{
    const __m256i c = (__m256i)code;
    const __m256i both = _mm256_or_si256(_mm256_slli_epi64(c, 4), _mm256_srli_epi64(c, 32));
    const __m256i pick =
        _mm256_setr_epi8(0, 8, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 8,
                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i v = _mm256_shuffle_epi8(both, pick);
    const int32_t bytes =
        _mm_cvtsi128_si32(_mm_or_si128(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)));
    memcpy(p, &bytes, 4);
}
#else
#error "the version without vectors is ref/quant_ref.c"
#endif

NBI_INLINE vi vi_set1(int32_t x)
{
    return (vi){0} + x;
}

/* ---- 4 bit ---- */

/* The thresholds by level of the search, and the codes (as integers) by their rank. */
typedef struct search4 {
    vf level[4];
    vbook code;
} search4;

static inline search4 search4_make(nb_qkind kind)
{
    const float *t = kind == NB_QK_NF4 ? nb_thresholds_nf4 : nb_thresholds_fp4;
    const uint8_t *sorted = kind == NB_QK_NF4 ? nb_sorted_code_nf4 : nb_sorted_code_fp4;
    float level[4][16] = {{0}};
    float code[16]; /* bits of integers */
    search4 s;
    for (int l = 0; l < 4; l++) {
        for (int i = 0; i < 1 << l; i++)
            level[l][i] = t[(2 * i + 1) * (8 >> l) - 1];
        s.level[l] = vf_load(level[l]);
    }
    for (int i = 0; i < 16; i++)
        code[i] = nb_f32_from_bits(sorted[i]);
    s.code = vbook_load(code);
    return s;
}

/* Element types the loops below are instantiated for. */
NBI_INLINE vf load4(nb_dtype dtype, const void *x, int64_t i)
{
    if (dtype == NB_DT_F32)
        return vf_load((const float *)x + i);
    const uint16_t *h = (const uint16_t *)x + i;
    return dtype == NB_DT_BF16 ? vf_load_bf16(h) : vf_load_f16(h);
}

/* Largest of the lanes, as unsigned numbers without a sign bit. */
NBI_INLINE vi vi_larger(vi a, vi b)
{
    const vi m = a > b;
    return (m & a) | (~m & b);
}

NBI_INLINE float absmax4(nb_dtype dtype, const void *x, int64_t from, int64_t n)
{
    vi top = {0};
    for (int64_t i = 0; i < n; i += NBI_W)
        top = vi_larger(top, (vi)load4(dtype, x, from + i) & 0x7fffffff);
    NBI_FOLD_ALL(top, vi_larger);
    return nb_f32_from_bits((uint32_t)top[0]);
}

/* Whole blocks [b0, b1). */
NBI_INLINE void quantize4_run(const nb_quantize4_args *a, const nb_dtype dtype, const bool permute,
                              int64_t b0, int64_t b1)
{
    const search4 s = search4_make(a->kind);
    for (int64_t b = b0; b < b1; b++) {
        const int64_t from = b * a->block;
        const float absmax = absmax4(dtype, a->x, from, a->block);
        const vf factor = vf_set1(1.0f / (absmax < quant4_tiny ? quant4_tiny : absmax));
        uint8_t *codes = a->codes + from / 2;
        a->absmax[b] = absmax;
        for (int64_t i = 0; i < a->block; i += NBI_W) {
            const vf v = load4(dtype, a->x, from + i) * factor;
            vi at = vi_descend((vi){0}, v, vf_set1(s.level[0][0]));
            for (int l = 1; l < 4; l++)
                at = vi_descend(at, v, vf_pick8(s.level[l], at));
            store_nibbles(codes + i / 2, permute ? (vi)vf_book(s.code, (vu)at) : at);
        }
    }
}

/* A copy of the loop for each dtype and kind, so that neither is asked for inside. */
static inline void quantize4_blocks(const nb_quantize4_args *a, int64_t b0, int64_t b1)
{
    const bool permute = a->kind == NB_QK_FP4; /* NF4's book is sorted */
    if (a->dtype == NB_DT_BF16 && !permute)
        quantize4_run(a, NB_DT_BF16, false, b0, b1);
    else if (a->dtype == NB_DT_F16 && !permute)
        quantize4_run(a, NB_DT_F16, false, b0, b1);
    else if (a->dtype == NB_DT_F32 && !permute)
        quantize4_run(a, NB_DT_F32, false, b0, b1);
    else if (a->dtype == NB_DT_BF16)
        quantize4_run(a, NB_DT_BF16, true, b0, b1);
    else if (a->dtype == NB_DT_F16)
        quantize4_run(a, NB_DT_F16, true, b0, b1);
    else
        quantize4_run(a, NB_DT_F32, true, b0, b1);
}

void NBI_ISA(quantize4)(const nb_quantize4_args *a)
{
    enum { RUN = 64 }; /* blocks a task takes */
    assert(a->kind == NB_QK_NF4 || a->kind == NB_QK_FP4);
    assert(a->block > 0 && a->block % 32 == 0 && nb_dtype_is_dense_float(a->dtype));
    const int64_t whole = a->n / a->block;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->n)) schedule(static)
    for (int64_t b = 0; b < whole; b += RUN)
        quantize4_blocks(a, b, b + RUN < whole ? b + RUN : whole);
    if (whole * a->block < a->n)
        quant4_block(a, whole);
}

/* ---- 8 bit ---- */

/* The entry nearest to x, as nearest8 of ref/quant_ref.c. */
NBI_INLINE vi nearest8(const float book[256], vf x)
{
    vi pivot = vi_set1(127), below = vi_set1(0), above = vi_set1(255);
    for (int step = 64; step > 0; step /= 2) {
        const vi up = x > vf_gather(book, pivot);
        below = (up & pivot) | (~up & below);
        above = (up & above) | (~up & pivot);
        pivot += (up & (2 * step)) - step;
    }
    const vf here = vf_gather(book, pivot);
    const vi up = x > here, other = (up & above) | (~up & below);
    const vf middle = (vf_gather(book, other) + here) * 0.5f;
    const vi take = (up & (x > middle)) | (~up & (x < middle));
    return (take & other) | (~take & pivot);
}

#define NBI_LANE(i) (i)

static inline void quantize8_block(const nb_quantize8_args *a, int64_t b)
{
    const int64_t from = b * a->block, to = from + a->block < a->n ? from + a->block : a->n;
    const vi lane = {NBI_LANES(NBI_LANE)};
    const vf offset = vf_set1(a->offset);
    vf top = vf_zero();
    for (int64_t i = from; i < to; i += NBI_W) {
        const int l = to - i < NBI_W ? (int)(to - i) : NBI_W;
        const vi d = (vi)(vf_load_n(a->x + i, l) - offset) & 0x7fffffff & (lane < l);
        top = vf_max((vf)d, top); /* NaN does not count, as in the reference */
    }
    const float absmax = vf_max_lane(top);
    const vf factor = vf_set1(absmax > 0.0f ? 1.0f / absmax : 0.0f);
    a->absmax[b] = absmax;
    for (int64_t i = from; i < to; i += NBI_W) {
        const int l = to - i < NBI_W ? (int)(to - i) : NBI_W;
        const vi code = nearest8(a->book, (vf_load_n(a->x + i, l) - offset) * factor);
        if (l == NBI_W) {
            vi_store_u8(a->codes + i, code);
        } else {
            uint8_t last[NBI_W];
            vi_store_u8(last, code);
            memcpy(a->codes + i, last, (size_t)l);
        }
    }
}

void NBI_ISA(quantize8)(const nb_quantize8_args *a)
{
    const int64_t blocks = (a->n + a->block - 1) / a->block;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 4 * a->n)) schedule(static)
    for (int64_t b = 0; b < blocks; b++)
        quantize8_block(a, b);
}

#endif
