/* SPDX-License-Identifier: MIT */
/* Operands of bf16 products, packed.
 *
 * The inner dimension is cut into chunks of 32 indices. A square is 16 rows of an operand by one
 * chunk, 16 registers, in one of two forms:
 *
 *   rows   register r holds the chunk of row r: 32 values of bf16
 *   pairs  register p holds, for each of the 16 rows, indices 2p and 2p + 1 side by side
 *
 * The left operand of a product is packed as rows, the right one as pairs; each is the transpose of
 * the other in units of 4 bytes. Values outside the operand are zero. Needs AVX-512 BF16. */
#ifndef NB_BPANEL_TMPL_H
#define NB_BPANEL_TMPL_H

#include <immintrin.h>
#include "kernel/panel_tmpl.h"

enum { CHUNK = 32, SIDE = 16, LINE_BYTES = 64, SQUARE_BYTES = SIDE * LINE_BYTES };

/* A matrix by rows and inner index. */
typedef struct source {
    const void *p; /* element (r, k) at p[r*rs + k*cs], when w is NULL */
    nb_dtype dtype;
    int64_t rs, cs;
    const nb_qtensor *w; /* else a 4-bit weight: (row0 + r, k), or with `swap` (row0 + k, r) */
    int64_t row0;
    bool swap;
    float scale; /* of values in f32, before they are rounded */
} source;

static inline source strided(const void *p, nb_dtype dtype, int64_t rs, int64_t cs)
{
    source s = {p, dtype, rs, cs, NULL, 0, false, 1.0f};
    return s;
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t round_up(int64_t x, int64_t to)
{
    return (x + to - 1) / to * to;
}

NBI_INLINE __mmask16 first16(int64_t n)
{
    return (__mmask16)((1u << n) - 1u);
}

NBI_INLINE __mmask32 first32(int64_t n)
{
    return (__mmask32)((1ull << n) - 1u);
}

/* 16 values of `high` over 16 of `low`, rounded to nearest even. */
NBI_INLINE __m512i round2(__m512 high, __m512 low)
{
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* [16 words | 16 words] -> the words of both halves in turn. */
NBI_INLINE __m512i interleave(__m512i v)
{
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                         21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, v);
}

/* n <= 16 values as f32. */
NBI_INLINE __m512 load16(const void *p, nb_dtype dtype, int64_t n)
{
    if (dtype == NB_DT_F32)
        return _mm512_maskz_loadu_ps(first16(n), p);
    const __m256i h = _mm256_maskz_loadu_epi16(first16(n), p);
    if (dtype == NB_DT_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* n <= 32 values in a row, in bf16. */
NBI_INLINE __m512i load32(const void *p, nb_dtype dtype, int64_t n, __m512 scale)
{
    if (dtype == NB_DT_BF16)
        return _mm512_maskz_loadu_epi16(first32(n), p);
    const __m512 low = load16(p, dtype, min_i64(n, 16));
    const __m512 high = n > 16 ? load16(nb_elem(p, dtype, 16), dtype, n - 16) : _mm512_setzero_ps();
    return round2(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale));
}

/* n <= 16 values of each of two lines, in pairs; NULL: a line of zeros. */
NBI_INLINE __m512i load_pair(const void *p, const void *q, nb_dtype dtype, int64_t n, __m512 scale)
{
    if (dtype == NB_DT_BF16) {
        __m256i low = _mm256_maskz_loadu_epi16(first16(n), p), high = _mm256_setzero_si256();
        if (q)
            high = _mm256_maskz_loadu_epi16(first16(n), q);
        return interleave(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
    }
    const __m512 low = load16(p, dtype, n);
    const __m512 high = q ? load16(q, dtype, n) : _mm512_setzero_ps();
    return interleave(round2(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale)));
}

/* The transpose of 16 x 16 units of 4 bytes. */
NBI_INLINE void turn(__m512i t[SIDE])
{
    __m512i u[SIDE];
#pragma GCC unroll 8
    for (int i = 0; i < SIDE; i += 2) {
        u[i] = _mm512_unpacklo_epi32(t[i], t[i + 1]);
        u[i + 1] = _mm512_unpackhi_epi32(t[i], t[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < SIDE; i += 4) {
        t[i] = _mm512_unpacklo_epi64(u[i], u[i + 2]);
        t[i + 1] = _mm512_unpackhi_epi64(u[i], u[i + 2]);
        t[i + 2] = _mm512_unpacklo_epi64(u[i + 1], u[i + 3]);
        t[i + 3] = _mm512_unpackhi_epi64(u[i + 1], u[i + 3]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        u[i] = _mm512_shuffle_i32x4(t[i], t[i + 4], 0x88);
        u[i + 4] = _mm512_shuffle_i32x4(t[i], t[i + 4], 0xdd);
        u[i + 8] = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0x88);
        u[i + 12] = _mm512_shuffle_i32x4(t[i + 8], t[i + 12], 0xdd);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        t[i] = _mm512_shuffle_i32x4(u[i], u[i + 8], 0x88);
        t[i + 8] = _mm512_shuffle_i32x4(u[i], u[i + 8], 0xdd);
    }
}

static inline const void *at(const source *s, int64_t r, int64_t k)
{
    return nb_elem(s->p, s->dtype, r * s->rs + k * s->cs);
}

/* Rows one after the other in memory: 1 <= rows <= 16, 1 <= n <= 32. */
NBI_INLINE void load_rows(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                          nb_dtype dtype, __m512i t[SIDE])
{
    const __m512 scale = _mm512_set1_ps(s->scale);
#pragma GCC unroll 16
    for (int r = 0; r < SIDE; r++)
        t[r] = r < rows ? load32(at(s, r0 + r, k0), dtype, n, scale) : _mm512_setzero_si512();
}

NBI_INLINE void load_pairs(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                           nb_dtype dtype, __m512i t[SIDE])
{
    const __m512 scale = _mm512_set1_ps(s->scale);
#pragma GCC unroll 16
    for (int p = 0; p < SIDE; p++) {
        const int64_t k = 2 * p;
        if (dtype == NB_DT_F32 && n == CHUNK) { /* as in pack_wide */
            _mm_prefetch(at(s, r0 + 2 * SIDE, k0 + k), _MM_HINT_T1);
            _mm_prefetch(at(s, r0 + 2 * SIDE, k0 + k + 1), _MM_HINT_T1);
        }
        t[p] = k >= n ? _mm512_setzero_si512()
                      : load_pair(at(s, r0, k0 + k), k + 1 < n ? at(s, r0, k0 + k + 1) : NULL,
                                  dtype, rows, scale);
    }
}

/* Any strides, any alignment of codes: element by element, as rows. */
NBI_OUTLINE void gather_rows(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                             __m512i t[SIDE])
{
    float f[SIDE][CHUNK], line[SIDE];
    if (s->w && !s->swap) {
        for (int64_t r = 0; r < rows; r++)
            decode_row(s->w, s->row0 + r0 + r, k0, n, f[r]);
    }
    for (int64_t k = 0; k < n && !(s->w && !s->swap); k++) {
        if (s->w)
            decode_row(s->w, s->row0 + k0 + k, r0, rows, line);
        for (int64_t r = 0; r < rows; r++) {
            if (s->w)
                f[r][k] = line[r];
            else if (s->dtype == NB_DT_F32)
                f[r][k] = *(const float *)at(s, r0 + r, k0 + k) * s->scale;
            else
                f[r][k] = nb_bf16_to_f32(*(const uint16_t *)at(s, r0 + r, k0 + k));
        }
    }
    for (int64_t r = 0; r < SIDE; r++)
        t[r] = r < rows ? load32(f[r], NB_DT_F32, n, _mm512_set1_ps(1.0f)) : _mm512_setzero_si512();
}

/* One dtype and the whole square known at compile time where that matters. */
#define NBI_LOAD_SQUARE(load, s, r0, rows, k0, n, t)                                               \
    do {                                                                                           \
        const bool whole = (rows) == SIDE && (n) == CHUNK;                                         \
        if ((s)->dtype == NB_DT_BF16 && whole)                                                     \
            load(s, r0, SIDE, k0, CHUNK, NB_DT_BF16, t);                                           \
        else if ((s)->dtype == NB_DT_F32 && whole)                                                 \
            load(s, r0, SIDE, k0, CHUNK, NB_DT_F32, t);                                            \
        else                                                                                       \
            load(s, r0, rows, k0, n, (s)->dtype, t);                                               \
    } while (0)

/* Rows r0..r0+rows-1 (1 to 16), indices k0..k0+n-1 (1 to 32) in the form asked for. */
NBI_INLINE void load_square(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                            bool pairs, __m512i t[SIDE])
{
    bool have_pairs = false;
    if (!s->w && s->cs == 1) {
        NBI_LOAD_SQUARE(load_rows, s, r0, rows, k0, n, t);
    } else if (!s->w && s->rs == 1) {
        NBI_LOAD_SQUARE(load_pairs, s, r0, rows, k0, n, t);
        have_pairs = true;
    } else {
        gather_rows(s, r0, rows, k0, n, t);
    }
    if (pairs != have_pairs)
        turn(t);
}

/* `lines` (at most 16) rows of the operand as rows, LINE_BYTES each. */
NBI_OUTLINE void pack_rows(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                           int lines, unsigned char *dst)
{
    __m512i t[SIDE];
    load_square(s, r0, rows, k0, n, false, t);
    for (int r = 0; r < lines; r++)
        _mm512_store_si512(dst + r * LINE_BYTES, t[r]);
}

NBI_OUTLINE void pack_pairs(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                            unsigned char *dst)
{
    __m512i t[SIDE];
    load_square(s, r0, rows, k0, n, true, t);
#pragma GCC unroll 16
    for (int p = 0; p < SIDE; p++)
        _mm512_store_si512(dst + p * LINE_BYTES, t[p]);
}

/* True when two squares side by side, 32 rows that lie beside each other in memory and a whole
 * chunk, can be packed by pack_wide. */
static inline bool packs_wide(const source *s, int64_t rows, int64_t n)
{
    return !s->w && s->dtype == NB_DT_BF16 && s->rs == 1 && s->cs != 1 && rows >= 2 * SIDE &&
           n >= CHUNK;
}

/* Two squares from whole lines of the cache: with half lines, strides of a power of two would let
 * each line be fetched twice. */
NBI_OUTLINE void pack_wide(const source *s, int64_t r0, int64_t k0, bool pairs, unsigned char *dst)
{
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(SIDE));
    __m512i t[SIDE], u[SIDE];
#pragma GCC unroll 16
    for (int p = 0; p < SIDE; p++) {
        const __m512i a = _mm512_loadu_si512(at(s, r0, k0 + 2 * p));
        const __m512i b = _mm512_loadu_si512(at(s, r0, k0 + 2 * p + 1));
        if (!pairs) { /* the next lines: too far apart for the hardware to foresee */
            _mm_prefetch(at(s, r0 + 2 * SIDE, k0 + 2 * p), _MM_HINT_T1);
            _mm_prefetch(at(s, r0 + 2 * SIDE, k0 + 2 * p + 1), _MM_HINT_T1);
        }
        t[p] = _mm512_permutex2var_epi16(a, low, b);
        u[p] = _mm512_permutex2var_epi16(a, high, b);
    }
    if (!pairs) {
        turn(t);
        turn(u);
    }
#pragma GCC unroll 16
    for (int p = 0; p < SIDE; p++) {
        _mm512_store_si512(dst + p * LINE_BYTES, t[p]);
        _mm512_store_si512(dst + SQUARE_BYTES + p * LINE_BYTES, u[p]);
    }
}

#endif
