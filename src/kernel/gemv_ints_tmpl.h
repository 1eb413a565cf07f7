/* SPDX-License-Identifier: MIT */
/* 4-bit codes times x in 16-bit integers, for products that compute in bf16: a lookup and a
 * multiplication of integers do twice as many weights as of floats. x becomes fixed point, each
 * unit of GEMV_UNIT indices with its own power of two (bf16 numbers down to 1/128 of the unit's
 * largest stay exact), the code book 14 bits; the sum over a chunk is exact. Errors: of x at most
 * 2^-15 of its unit's largest magnitude, of a weight at most 2^-14 of its block's absmax. */
#ifndef NB_GEMV_INTS_TMPL_H
#define NB_GEMV_INTS_TMPL_H

#include "kernel/gemm_tmpl.h"

/* Elements of which a vector of 32-bit words holds the codes; floats from a chunk of x in integers
 * to the next; the least block. */
enum { GEMV_CHUNK = 8 * NBI_W, GEMV_INTS_STEP = 5 * NBI_W, GEMV_UNIT = 64 };
/* |book| in integers: eight products with |x| <= 32768 fit 32 bits. A multiple of 192, by which the
 * values of FP4 are whole. */
enum { GEMV_BOOK_MAX = 8064 };

typedef int16_t vh __attribute__((vector_size(4 * NBI_W)));

/* Elements of two vectors in turn. */
#if NBI_W == 16
#define GEMV_HALVES(F)                                                                             \
    F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7), F(8), F(9), F(10), F(11), F(12), F(13), F(14), \
        F(15), F(16), F(17), F(18), F(19), F(20), F(21), F(22), F(23), F(24), F(25), F(26), F(27), \
        F(28), F(29), F(30), F(31)
#else
#define GEMV_HALVES(F) NBI_LANES(F), F(8), F(9), F(10), F(11), F(12), F(13), F(14), F(15)
#endif
#define GEMV_EVEN(i) (2 * (i))
#define GEMV_ODD(i) (2 * (i) + 1)

#if NBI_W == 16
#define GEMV_INTS 1
/* The book twice: an index has five bits. */
typedef struct gemv_book {
    __m512i t;
} gemv_book;

static inline gemv_book gemv_book_load(const int16_t book[16])
{
    return (gemv_book){_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i_u *)book))};
}

/* Values of a chunk's codes: vector j has elements 4l + (j ^ 1). */
NBI_INLINE void gemv_values(gemv_book b, vu words, vi out[4])
{
    const __m512i w = (__m512i)words;
    out[0] = (vi)_mm512_permutexvar_epi16(w, b.t);
    out[1] = (vi)_mm512_permutexvar_epi16(_mm512_srli_epi16(w, 4), b.t);
    out[2] = (vi)_mm512_permutexvar_epi16(_mm512_srli_epi16(w, 8), b.t);
    out[3] = (vi)_mm512_permutexvar_epi16(_mm512_srli_epi16(w, 12), b.t);
}

/* A chunk's elements in the order of gemv_values. */
NBI_INLINE void gemv_arrange(const vh in[4], vh out[4])
{
    const vh even0 = __builtin_shufflevector(in[0], in[1], GEMV_HALVES(GEMV_EVEN));
    const vh even1 = __builtin_shufflevector(in[2], in[3], GEMV_HALVES(GEMV_EVEN));
    const vh odd0 = __builtin_shufflevector(in[0], in[1], GEMV_HALVES(GEMV_ODD));
    const vh odd1 = __builtin_shufflevector(in[2], in[3], GEMV_HALVES(GEMV_ODD));
    out[0] = __builtin_shufflevector(odd0, odd1, GEMV_HALVES(GEMV_EVEN));
    out[1] = __builtin_shufflevector(even0, even1, GEMV_HALVES(GEMV_EVEN));
    out[2] = __builtin_shufflevector(odd0, odd1, GEMV_HALVES(GEMV_ODD));
    out[3] = __builtin_shufflevector(even0, even1, GEMV_HALVES(GEMV_ODD));
}

/* Sums of products of neighbouring 16-bit integers. */
NBI_INLINE vi vi_dot16(vi a, vi b)
{
    return (vi)_mm512_madd_epi16((__m512i)a, (__m512i)b);
}

NBI_INLINE vf vf_from_int(vi a)
{
    return (vf)_mm512_cvtepi32_ps((__m512i)a);
}

/* The nearest integers of a, then b, within 16 bits. */
NBI_INLINE vh vh_from_floats(vf a, vf b)
{
    const __m256i low = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32((__m512)a));
    const __m256i high = _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32((__m512)b));
    return (vh)_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}
#elif NBI_W == 8
#define GEMV_INTS 1
/* Lower and upper bytes of the values. */
typedef struct gemv_book {
    __m256i low, high;
} gemv_book;

static inline gemv_book gemv_book_load(const int16_t book[16])
{
    uint8_t low[16], high[16];
    for (int i = 0; i < 16; i++) {
        low[i] = (uint8_t)book[i];
        high[i] = (uint8_t)((uint16_t)book[i] >> 8);
    }
    const __m128i l = _mm_loadu_si128((const __m128i_u *)low);
    const __m128i h = _mm_loadu_si128((const __m128i_u *)high);
    return (gemv_book){_mm256_broadcastsi128_si256(l), _mm256_broadcastsi128_si256(h)};
}

/* Vectors 0 and 1: the high nibbles, which are the even elements, of the lower and upper halves of
 * each 16 bytes; 2 and 3: the low nibbles. */
NBI_INLINE void gemv_values(gemv_book b, vu words, vi out[4])
{
    const __m256i w = (__m256i)words, mask = _mm256_set1_epi8(15);
    const __m256i index[2] = {_mm256_and_si256(_mm256_srli_epi16(w, 4), mask),
                              _mm256_and_si256(w, mask)};
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++) {
        const __m256i low = _mm256_shuffle_epi8(b.low, index[i]);
        const __m256i high = _mm256_shuffle_epi8(b.high, index[i]);
        out[2 * i] = (vi)_mm256_unpacklo_epi8(low, high);
        out[2 * i + 1] = (vi)_mm256_unpackhi_epi8(low, high);
    }
}

#define GEMV_FIRST(i) ((i) % 8 + (i) / 8 * 16)
#define GEMV_SECOND(i) ((i) % 8 + (i) / 8 * 16 + 8)

NBI_INLINE void gemv_arrange(const vh in[4], vh out[4])
{
    const vh even0 = __builtin_shufflevector(in[0], in[1], GEMV_HALVES(GEMV_EVEN));
    const vh even1 = __builtin_shufflevector(in[2], in[3], GEMV_HALVES(GEMV_EVEN));
    const vh odd0 = __builtin_shufflevector(in[0], in[1], GEMV_HALVES(GEMV_ODD));
    const vh odd1 = __builtin_shufflevector(in[2], in[3], GEMV_HALVES(GEMV_ODD));
    out[0] = __builtin_shufflevector(even0, even1, GEMV_HALVES(GEMV_FIRST));
    out[1] = __builtin_shufflevector(even0, even1, GEMV_HALVES(GEMV_SECOND));
    out[2] = __builtin_shufflevector(odd0, odd1, GEMV_HALVES(GEMV_FIRST));
    out[3] = __builtin_shufflevector(odd0, odd1, GEMV_HALVES(GEMV_SECOND));
}

NBI_INLINE vi vi_dot16(vi a, vi b)
{
    return (vi)_mm256_madd_epi16((__m256i)a, (__m256i)b);
}

NBI_INLINE vf vf_from_int(vi a)
{
    return (vf)_mm256_cvtepi32_ps((__m256i)a);
}

NBI_INLINE vh vh_from_floats(vf a, vf b)
{
    const __m256i w =
        _mm256_packs_epi32(_mm256_cvtps_epi32((__m256)a), _mm256_cvtps_epi32((__m256)b));
    return (vh)_mm256_permute4x64_epi64(w, 0xd8);
}
#else
#define GEMV_INTS 0
#endif

#if GEMV_INTS
/* x of one chunk: its numbers, and each lane's scale, that of the book included. */
typedef struct gemv_ints {
    vh x[4];
    vf scale;
} gemv_ints;

_Static_assert(sizeof(gemv_ints) == GEMV_INTS_STEP * sizeof(float), "step");
_Static_assert(GEMV_INTS_STEP <= GEMV_CHUNK, "takes the place of the floats");

/* The book in integers, and what one of them is worth; 0 when the book is no usual one. */
static inline float gemv_book_ints(const float book[16], int16_t out[16])
{
    float most = 0;
    for (int i = 0; i < 16; i++)
        most = __builtin_fabsf(book[i]) <= most ? most : __builtin_fabsf(book[i]);
    if (!(most > 0x1p-60f && most < 0x1p60f))
        return 0.0f;
    const float up = GEMV_BOOK_MAX / most;
    for (int i = 0; i < 16; i++)
        out[i] = (int16_t)(book[i] * up + (book[i] < 0 ? -0.5f : 0.5f));
    return most / GEMV_BOOK_MAX;
}

NBI_INLINE vi vi_max(vi a, vi b)
{
    const vi m = a > b;
    return (a & m) | (b & ~m);
}

/* One unit of x to integers, unit / (2 NBI_W) vectors; returns their scale, NaN when not all of x
 * is finite. */
NBI_INLINE float gemv_unit(const float *x, vh *out)
{
    vi most = {0};
    for (int t = 0; t < GEMV_UNIT; t += NBI_W)
        most = vi_max((vi)vf_load(x + t) & 0x7fffffff, most);
    NBI_FOLD_ALL(most, vi_max);
    /* the largest is below 2^(e+1), times 2^(14-e) below 2^15 */
    const int exponent = most[0] >> 23, e = exponent - 127 < -112 ? -112 : exponent - 127;
    const vf up = vf_set1(nb_f32_from_bits((uint32_t)(127 + 14 - e) << 23));
    for (int t = 0; t < GEMV_UNIT; t += 2 * NBI_W)
        out[t / (2 * NBI_W)] = vh_from_floats(vf_load(x + t) * up, vf_load(x + t + NBI_W) * up);
    return exponent == 255 ? __builtin_nanf("") : nb_f32_from_bits((uint32_t)(127 + e - 14) << 23);
}

/* n elements of x (a multiple of the unit, zeros behind them up to a chunk) become chunks of
 * integers in their own place, GEMV_INTS_STEP floats apart; `size` from gemv_book_ints. */
static inline void gemv_to_ints(float *x, int64_t n, float size)
{
    float *to = x;
    for (int64_t c = 0; c < n; c += GEMV_CHUNK, x += GEMV_CHUNK, to += GEMV_INTS_STEP) {
        vh q[4];
        gemv_ints out;
        vf scale = vf_set1(gemv_unit(x, q) * size);
#if NBI_W == 16
        const vf second = vf_set1(gemv_unit(x + GEMV_UNIT, q + 2) * size);
        scale = (vf)_mm512_mask_blend_ps(0xff00, (__m512)scale, (__m512)second);
#endif
        gemv_arrange(q, out.x);
        out.scale = scale;
        memcpy(to, &out, sizeof(out));
    }
}

/* One chunk: s += scale * (book[codes] . x) */
NBI_INLINE vf gemv_int_chunk(const vi values[4], vf scale, const float *x, vf s)
{
    vi sum[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        vi v;
        memcpy(&v, x + j * NBI_W, sizeof(v));
        sum[j] = vi_dot16(values[j], v);
    }
    const vf all = vf_from_int((sum[0] + sum[1]) + (sum[2] + sum[3]));
    return vf_fma(scale * vf_load(x + 4 * NBI_W), all, s);
}
#else
static inline float gemv_book_ints(const float book[16], int16_t out[16])
{
    (void)book, (void)out;
    return 0.0f;
}

static inline void gemv_to_ints(float *x, int64_t n, float size)
{
    (void)x, (void)n, (void)size;
}
#endif

#endif
