/* SPDX-License-Identifier: MIT */
/* The vector of the instruction set a file is compiled for: NBI_W floats. Kernels are written once
 * on top of it (the *_tmpl.h files) and instantiated per instruction set; a file that includes this
 * header defines NBI_ISA(name), the name of its instance, first.
 *
 * Arithmetic is written with the operators of the compilers' vector extension. Fused multiply-add
 * is only ever asked for by name (vf_fma); without one in hardware it rounds twice. */
#ifndef NB_VEC_H
#define NB_VEC_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include "tensor/half.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NBI_W 16
#include <immintrin.h>
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define NBI_W 8
#include <immintrin.h>
#else
#define NBI_W 4
#endif

#define NBI_INLINE static inline __attribute__((always_inline))
/* One copy a file, whether or not it needs it. */
#define NBI_OUTLINE static __attribute__((noinline, unused))

typedef float vf __attribute__((vector_size(4 * NBI_W)));
typedef int32_t vi __attribute__((vector_size(4 * NBI_W)));
typedef uint32_t vu __attribute__((vector_size(4 * NBI_W)));
typedef uint64_t vq __attribute__((vector_size(4 * NBI_W)));
typedef float vf_mem __attribute__((vector_size(4 * NBI_W), aligned(4), may_alias));
typedef double vd __attribute__((vector_size(4 * NBI_W)));

NBI_INLINE vf vf_load(const float *p)
{
    return *(const vf_mem *)p;
}

NBI_INLINE void vf_store(float *p, vf v)
{
    *(vf_mem *)p = v;
}

/* Keeps a loaded vector from being loaded again at each use. */
#if NBI_W == 16
#define NBI_IN_REGISTER(v) __asm__("" : "+v"(v))
#elif NBI_W == 8
#define NBI_IN_REGISTER(v) __asm__("" : "+x"(v))
#else
#define NBI_IN_REGISTER(v) ((void)(v))
#endif

/* Bits where m is all ones from a, else from b. */
NBI_INLINE vf vf_select(vi m, vf a, vf b)
{
    return (vf)((m & (vi)a) | (~m & (vi)b));
}

#if NBI_W == 16

NBI_INLINE vf vf_set1(float x)
{
    return (vf)_mm512_set1_ps(x);
}
NBI_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
/* The first n lanes (0 <= n <= NBI_W), zeros in the others. */
NBI_INLINE vf vf_load_n(const float *p, int n)
{
    return (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
}
NBI_INLINE void vf_store_n(float *p, vf v, int n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
}
NBI_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m512i w = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i_u *)p));
    return (vf)_mm512_castsi512_ps(_mm512_slli_epi32(w, 16));
}
/* The first n elements, zeros in the other lanes. */
NBI_INLINE vf vf_load_bf16_n(const uint16_t *p, int n)
{
    __m256i h = _mm256_maskz_loadu_epi16((__mmask16)((1u << n) - 1u), p);
    return (vf)_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}
/* The low half of each lane. */
NBI_INLINE void vu_store_low16(uint16_t *p, vu v)
{
    _mm256_storeu_si256((__m256i_u *)p, _mm512_cvtepi32_epi16((__m512i)v));
}
NBI_INLINE void vu_store_low16_n(uint16_t *p, vu v, int n)
{
    _mm512_mask_cvtepi32_storeu_epi16(p, (__mmask16)((1u << n) - 1u), (__m512i)v);
}
NBI_INLINE vf vf_load_f16(const uint16_t *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i_u *)p));
}
/* book[code] of NBI_W nibbles, high nibble of each byte first. */
NBI_INLINE vf vf_lookup4(const uint8_t *p, const float book[16])
{
    __m128i b = _mm_loadl_epi64((const __m128i_u *)p), low = _mm_set1_epi8(15);
    __m128i c = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), low), _mm_and_si128(b, low));
    return (vf)_mm512_permutexvar_ps(_mm512_cvtepu8_epi32(c), _mm512_loadu_ps(book));
}
/* A table of 16 values in registers, and its values at the lowest four bits of each lane. */
typedef struct vbook {
    vf v;
} vbook;
NBI_INLINE vbook vbook_load(const float book[16])
{
    return (vbook){vf_load(book)};
}
NBI_INLINE vf vf_book(vbook b, vu index)
{
    return (vf)_mm512_permutexvar_ps((__m512i)index, (__m512)b.v);
}
/* table[index] */
NBI_INLINE vf vf_gather(const float *table, vi index)
{
    return (vf)_mm512_i32gather_ps((__m512i)index, table, 4);
}
NBI_INLINE vu vu_load_u8(const uint8_t *p)
{
    return (vu)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i_u *)p));
}
NBI_INLINE vf vf_sqrt(vf x)
{
    return (vf)_mm512_sqrt_ps((__m512)x);
}
/* Products of the lower halves of 64-bit lanes. */
NBI_INLINE vq vq_mul_low(vq a, vq b)
{
    return (vq)_mm512_mul_epu32((__m512i)a, (__m512i)b);
}
/* x where a >= b, else 0. */
NBI_INLINE vf vf_where_ge(vu a, vu b, vf x)
{
    return (vf)_mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask((__m512i)a, (__m512i)b), (__m512)x);
}
/* The lower and the upper half of the lanes, widened. */
NBI_INLINE vd vd_low(vf v)
{
    return (vd)_mm512_cvtps_pd(_mm512_castps512_ps256((__m512)v));
}
NBI_INLINE vd vd_high(vf v)
{
    return (vd)_mm512_cvtps_pd(_mm512_extractf32x8_ps((__m512)v, 1));
}
/* c + a * b of widened numbers: their product is exact, so this rounds once, fused or not. */
NBI_INLINE vd vd_fma_exact(vd a, vd b, vd c)
{
    return (vd)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
/* Lanes whose upper half is the nearest bf16 number, ties to even, of what is no NaN or one whose
 * lower half is 0, as in all that comes of bf16 numbers and the processor's own NaN. */
NBI_INLINE vu vu_round_bf16_of_bf16(vf x)
{
    const __m512i u = (__m512i)x, r = _mm512_add_epi32(u, _mm512_set1_epi32(0x7fff));
    const __mmask16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
    return (vu)_mm512_mask_add_epi32(r, odd, r, _mm512_set1_epi32(1));
}
/* The same of any numbers, NaN kept. */
NBI_INLINE vu vu_round_bf16(vf x)
{
    const __mmask16 nan = _mm512_cmp_ps_mask((__m512)x, (__m512)x, _CMP_UNORD_Q);
    return (vu)_mm512_mask_or_epi32((__m512i)vu_round_bf16_of_bf16(x), nan, (__m512i)x,
                                    _mm512_set1_epi32(0x400000));
}
/* The upper halves of the lanes of a, then of b. */
NBI_INLINE void vu2_store_high16(uint16_t *p, vu a, vu b)
{
    const __m512i even =
        _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 30, 28, 26, 24,
                         22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i both = _mm512_mask_blend_epi16(0xaaaaaaaau, (__m512i)(a >> 16), (__m512i)b);
    _mm512_storeu_si512(p, _mm512_permutexvar_epi16(even, both));
}
/* Where a > b, a; else b (b when either is NaN). */
NBI_INLINE vf vf_max(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}
NBI_INLINE vf vf_min(vf a, vf b)
{
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
}
#define NBI_LANES(F)                                                                               \
    F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7), F(8), F(9), F(10), F(11), F(12), F(13), F(14), \
        F(15)

#elif NBI_W == 8

NBI_INLINE vf vf_set1(float x)
{
    return (vf)_mm256_set1_ps(x);
}
NBI_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
NBI_INLINE __m256i vf_first_n(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
NBI_INLINE vf vf_load_n(const float *p, int n)
{
    return (vf)_mm256_maskload_ps(p, vf_first_n(n));
}
NBI_INLINE void vf_store_n(float *p, vf v, int n)
{
    _mm256_maskstore_ps(p, vf_first_n(n), (__m256)v);
}
NBI_INLINE vf vf_load_bf16(const uint16_t *p)
{
    __m256i w = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i_u *)p));
    return (vf)_mm256_castsi256_ps(_mm256_slli_epi32(w, 16));
}
NBI_INLINE void vu_store_low16(uint16_t *p, vu v)
{
    __m256i low = _mm256_and_si256((__m256i)v, _mm256_set1_epi32(0xffff));
    __m256i h = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
    _mm_storeu_si128((__m128i_u *)p, _mm256_castsi256_si128(h));
}
NBI_INLINE vf vf_load_f16(const uint16_t *p)
{
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i_u *)p));
}
NBI_INLINE vf vf_lookup4(const uint8_t *p, const float book[16])
{
    int32_t bytes;
    memcpy(&bytes, p, 4);
    __m128i b = _mm_cvtsi32_si128(bytes), low = _mm_set1_epi8(15);
    __m128i c = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(b, 4), low), _mm_and_si128(b, low));
    __m256i idx = _mm256_cvtepu8_epi32(c);
    __m256 lo = _mm256_permutevar8x32_ps(_mm256_loadu_ps(book), idx);
    __m256 hi = _mm256_permutevar8x32_ps(_mm256_loadu_ps(book + 8), idx);
    /* bit 3 of the index becomes the sign bit that blendv looks at */
    return (vf)_mm256_blendv_ps(lo, hi, _mm256_castsi256_ps(_mm256_slli_epi32(idx, 28)));
}
typedef struct vbook {
    vf low, high;
} vbook;
NBI_INLINE vbook vbook_load(const float book[16])
{
    return (vbook){vf_load(book), vf_load(book + 8)};
}
NBI_INLINE vf vf_book(vbook b, vu index)
{
    __m256 low = _mm256_permutevar8x32_ps((__m256)b.low, (__m256i)index);
    __m256 high = _mm256_permutevar8x32_ps((__m256)b.high, (__m256i)index);
    return (vf)_mm256_blendv_ps(low, high,
                                _mm256_castsi256_ps(_mm256_slli_epi32((__m256i)index, 28)));
}
NBI_INLINE vf vf_gather(const float *table, vi index)
{
    return (vf)_mm256_i32gather_ps(table, (__m256i)index, 4);
}
NBI_INLINE vu vu_load_u8(const uint8_t *p)
{
    return (vu)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i_u *)p));
}
NBI_INLINE vf vf_sqrt(vf x)
{
    return (vf)_mm256_sqrt_ps((__m256)x);
}
NBI_INLINE vq vq_mul_low(vq a, vq b)
{
    return (vq)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
NBI_INLINE vd vd_low(vf v)
{
    return (vd)_mm256_cvtps_pd(_mm256_castps256_ps128((__m256)v));
}
NBI_INLINE vd vd_high(vf v)
{
    return (vd)_mm256_cvtps_pd(_mm256_extractf128_ps((__m256)v, 1));
}
NBI_INLINE vd vd_fma_exact(vd a, vd b, vd c)
{
    return (vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
NBI_INLINE vf vf_max(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}
NBI_INLINE vf vf_min(vf a, vf b)
{
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
}
#define NBI_LANES(F) F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7)

#else

NBI_INLINE vf vf_set1(float x)
{
    vf v = {x, x, x, x};
    return v;
}
NBI_INLINE vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}
NBI_INLINE vf vf_load_n(const float *p, int n)
{
    vf v = {0, 0, 0, 0};
    for (int i = 0; i < n; i++)
        v[i] = p[i];
    return v;
}
NBI_INLINE void vf_store_n(float *p, vf v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = v[i];
}
NBI_INLINE vf vf_load_bf16(const uint16_t *p)
{
    vf v = {nb_bf16_to_f32(p[0]), nb_bf16_to_f32(p[1]), nb_bf16_to_f32(p[2]), nb_bf16_to_f32(p[3])};
    return v;
}
NBI_INLINE void vu_store_low16(uint16_t *p, vu v)
{
    for (int i = 0; i < NBI_W; i++)
        p[i] = (uint16_t)v[i];
}
NBI_INLINE vf vf_load_f16(const uint16_t *p)
{
    vf v = {nb_f16_to_f32(p[0]), nb_f16_to_f32(p[1]), nb_f16_to_f32(p[2]), nb_f16_to_f32(p[3])};
    return v;
}
NBI_INLINE vf vf_lookup4(const uint8_t *p, const float book[16])
{
    vf v = {book[p[0] >> 4], book[p[0] & 15], book[p[1] >> 4], book[p[1] & 15]};
    return v;
}
typedef struct vbook {
    const float *p;
} vbook;
NBI_INLINE vbook vbook_load(const float book[16])
{
    return (vbook){book};
}
NBI_INLINE vf vf_book(vbook b, vu i)
{
    vf v = {b.p[i[0] & 15], b.p[i[1] & 15], b.p[i[2] & 15], b.p[i[3] & 15]};
    return v;
}
NBI_INLINE vf vf_gather(const float *table, vi i)
{
    vf v = {table[i[0]], table[i[1]], table[i[2]], table[i[3]]};
    return v;
}
NBI_INLINE vu vu_load_u8(const uint8_t *p)
{
    vu v = {p[0], p[1], p[2], p[3]};
    return v;
}
NBI_INLINE vf vf_sqrt(vf x)
{
    for (int i = 0; i < NBI_W; i++)
        x[i] = __builtin_sqrtf(x[i]);
    return x;
}
NBI_INLINE vq vq_mul_low(vq a, vq b)
{
    return (a & 0xffffffffu) * (b & 0xffffffffu);
}
NBI_INLINE vd vd_low(vf v)
{
    vd r = {(double)v[0], (double)v[1]};
    return r;
}
NBI_INLINE vd vd_high(vf v)
{
    vd r = {(double)v[2], (double)v[3]};
    return r;
}
NBI_INLINE vd vd_fma_exact(vd a, vd b, vd c)
{
    return c + a * b;
}
NBI_INLINE vf vf_max(vf a, vf b)
{
    return vf_select(a > b, a, b);
}
NBI_INLINE vf vf_min(vf a, vf b)
{
    return vf_select(a < b, a, b);
}
#define NBI_LANES(F) F(0), F(1), F(2), F(3)

#endif

#if NBI_W != 16
NBI_INLINE vf vf_where_ge(vu a, vu b, vf x)
{
    return (vf)((vi)x & (a >= b));
}
NBI_INLINE vf vf_load_bf16_n(const uint16_t *p, int n)
{
    uint16_t t[NBI_W] = {0};
    for (int i = 0; i < n; i++)
        t[i] = p[i];
    return vf_load_bf16(t);
}
NBI_INLINE void vu_store_low16_n(uint16_t *p, vu v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint16_t)v[i];
}
#endif

NBI_INLINE vf vf_zero(void)
{
    return (vf){0};
}

/* Lanes of a and b in turn, from the lower (upper) halves. */
#define NBI_LOW_LANE(i) ((i) / 2 + ((i) % 2) * NBI_W)
#define NBI_HIGH_LANE(i) ((i) / 2 + ((i) % 2) * NBI_W + NBI_W / 2)
NBI_INLINE vf vf_zip_low(vf a, vf b)
{
    return __builtin_shufflevector(a, b, NBI_LANES(NBI_LOW_LANE));
}
NBI_INLINE vf vf_zip_high(vf a, vf b)
{
    return __builtin_shufflevector(a, b, NBI_LANES(NBI_HIGH_LANE));
}

/* Lane i of the result is lane i + n. */
#define NBI_DOWN_8(i) (((i) + 8) % NBI_W)
#define NBI_DOWN_4(i) (((i) + 4) % NBI_W)
#define NBI_DOWN_2(i) (((i) + 2) % NBI_W)
#define NBI_DOWN_1(i) (((i) + 1) % NBI_W)
#define NBI_FOLD(v, n, op) (v) = op((v), __builtin_shufflevector((v), (v), NBI_LANES(NBI_DOWN_##n)))
#if NBI_W == 16
#define NBI_FOLD_ALL(v, op)                                                                        \
    NBI_FOLD(v, 8, op);                                                                            \
    NBI_FOLD(v, 4, op);                                                                            \
    NBI_FOLD(v, 2, op);                                                                            \
    NBI_FOLD(v, 1, op)
#elif NBI_W == 8
#define NBI_FOLD_ALL(v, op)                                                                        \
    NBI_FOLD(v, 4, op);                                                                            \
    NBI_FOLD(v, 2, op);                                                                            \
    NBI_FOLD(v, 1, op)
#else
#define NBI_FOLD_ALL(v, op)                                                                        \
    NBI_FOLD(v, 2, op);                                                                            \
    NBI_FOLD(v, 1, op)
#endif

/* Sum of the lanes in pairs: a fixed order. */
NBI_INLINE float vf_sum(vf v)
{
#define NBI_ADD(a, b) ((a) + (b))
    NBI_FOLD_ALL(v, NBI_ADD);
#undef NBI_ADD
    return v[0];
}

NBI_INLINE float vf_max_lane(vf v)
{
    NBI_FOLD_ALL(v, vf_max);
    return v[0];
}

/* Lane i: the sum of the lanes of t[i], each as vf_sum takes it. Overwrites t. */
NBI_INLINE vf vf_sum_rows(vf t[NBI_W])
{
#pragma GCC unroll 4
    for (int half = NBI_W / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int i = 0; i < half; i++)
            t[i] = vf_zip_low(t[i], t[i + half]) + vf_zip_high(t[i], t[i + half]);
    return t[0];
}

/* sum[0..1] += v, widened. */
NBI_INLINE void vd_add(vd sum[2], vf v)
{
    sum[0] += vd_low(v);
    sum[1] += vd_high(v);
}

/* sum[0..1] += a * b, exact products. */
NBI_INLINE void vd_add_mul(vd sum[2], vf a, vf b)
{
    sum[0] = vd_fma_exact(vd_low(a), vd_low(b), sum[0]);
    sum[1] = vd_fma_exact(vd_high(a), vd_high(b), sum[1]);
}

NBI_INLINE double vd_sum(const vd sum[2])
{
    vd v = sum[0] + sum[1];
    double s = 0;
    for (int i = 0; i < NBI_W / 2; i++)
        s += v[i];
    return s;
}

/* x . y with exact products, summed in f64. */
NBI_OUTLINE double dot_f64(const float *x, const float *y, int64_t n)
{
    vd s[2] = {{0}, {0}};
    int64_t i = 0;
    for (; i + NBI_W <= n; i += NBI_W)
        vd_add_mul(s, vf_load(x + i), vf_load(y + i));
    if (i < n)
        vd_add_mul(s, vf_load_n(x + i, (int)(n - i)), vf_load_n(y + i, (int)(n - i)));
    return vd_sum(s);
}

#if NBI_W != 16
NBI_INLINE vu vu_round_bf16_of_bf16(vf x)
{
    const vu u = (vu)x;
    return u + 0x7fffu + ((u >> 16) & 1u);
}
NBI_INLINE vu vu_round_bf16(vf x)
{
    return (vu)vf_select(x == x, (vf)vu_round_bf16_of_bf16(x), (vf)((vu)x | 0x400000u));
}
NBI_INLINE void vu2_store_high16(uint16_t *p, vu a, vu b)
{
    vu_store_low16(p, a >> 16);
    vu_store_low16(p + NBI_W, b >> 16);
}
#endif
/* The low byte of each lane. */
NBI_INLINE void vi_store_u8(uint8_t *p, vi v)
{
#if NBI_W == 16
    _mm_storeu_si128((__m128i_u *)p, _mm512_cvtepi32_epi8((__m512i)v));
#elif NBI_W == 8
    const __m256i low = _mm256_and_si256((__m256i)v, _mm256_set1_epi32(255));
    const __m256i w = _mm256_packus_epi32(low, low);
    const __m128i h = _mm_unpacklo_epi64(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storel_epi64((__m128i_u *)p, _mm_packus_epi16(h, h));
#else
    for (int i = 0; i < NBI_W; i++)
        p[i] = (uint8_t)v[i];
#endif
}

NBI_INLINE vf vf_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

/* Nearest bf16 values, ties to even, NaN kept. */
NBI_INLINE vf vf_round_bf16(vf x)
{
    return (vf)(vu_round_bf16(x) & 0xffff0000u);
}

NBI_INLINE void vf_store_bf16(uint16_t *p, vf x)
{
    vu_store_low16(p, vu_round_bf16(x) >> 16);
}

NBI_INLINE void vf_store_bf16_n(uint16_t *p, vf x, int n)
{
    vu_store_low16_n(p, vu_round_bf16(x) >> 16, n);
}

#endif
