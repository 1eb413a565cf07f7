/* SPDX-License-Identifier: MIT */
/* 4-bit weights straight from their codes into squares of pairs (bpanel_tmpl.h), every value
 * book[code] * absmax in f32, rounded to bf16 once. */
#ifndef NB_BDECODE_TMPL_H
#define NB_BDECODE_TMPL_H

#include "kernel/bpanel_tmpl.h"

/* Rows of a weight whose blocks do not straddle rows nor begin inside a chunk. */
static inline bool decodes_fast(const nb_qtensor *w)
{
    return w->k % w->block == 0 && w->block % CHUNK == 0 && w->k < INT32_MAX;
}

static inline int log2_i64(int64_t x)
{
    return __builtin_ctzll((unsigned long long)x);
}

/* Scales of blocks b..b+n-1, n <= 16; zeros behind. */
NBI_INLINE __m512 scales16(const nb_qtensor *w, int64_t b, int64_t n)
{
    const __mmask16 m = first16(n);
    if (w->absmax)
        return _mm512_maskz_loadu_ps(m, w->absmax + b);
    const int shift = log2_i64(w->nested_block);
    const __m512i codes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, w->absmax_codes + b));
    const __m512 value = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, codes, w->nested_book, 4);
    const float *nested = w->nested_absmax + (b >> shift);
    __m512 size = _mm512_set1_ps(nested[0]);
    if ((b + n - 1) >> shift != b >> shift) {
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i place =
            _mm512_add_epi32(lane, _mm512_set1_epi32((int)(b & (w->nested_block - 1))));
        size = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m,
                                        _mm512_srli_epi32(place, (unsigned)shift), nested, 4);
    }
    return _mm512_maskz_add_ps(m, _mm512_mul_ps(value, size), _mm512_set1_ps(w->nested_offset));
}

/* out[b - b0][16]: scales of blocks b0..b0+n-1 of each of `rows` rows from `row` on. */
NBI_OUTLINE void scale_columns(const nb_qtensor *w, int64_t row, int64_t rows, int64_t b0,
                               int64_t n, float *out)
{
    const int64_t per_row = w->k >> log2_i64(w->block);
    for (int64_t b = 0; b < n; b += SIDE) {
        __m512i t[SIDE];
        for (int64_t r = 0; r < SIDE; r++)
            t[r] = r < rows ? _mm512_castps_si512(
                                  scales16(w, (row + r) * per_row + b0 + b, min_i64(SIDE, n - b)))
                            : _mm512_setzero_si512();
        turn(t);
        for (int64_t i = 0; i < SIDE && b + i < n; i++)
            _mm512_store_si512(out + (b + i) * SIDE, t[i]);
    }
}

/* A byte of codes is two neighbours of a row, which is one pair: the chunk of 16 rows is turned as
 * codes, 8 values a unit, and looked up in its final place. Rows row..row+rows-1 (at most 16),
 * `chunks` chunks from column k0 (a multiple of CHUNK) on, squares `step` bytes apart; scales as
 * scale_columns writes them for the block of k0 and those that follow. */
NBI_OUTLINE void decode_forward(const nb_qtensor *w, int64_t row, int64_t rows, int64_t k0,
                                int64_t chunks, const float *scales, unsigned char *dst,
                                int64_t step)
{
    const int shift = log2_i64(w->block);
    const __m512 book = _mm512_loadu_ps(w->book);
    const __m512i twice0 = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    const __m512i twice1 =
        _mm512_set_epi32(15, 15, 14, 14, 13, 13, 12, 12, 11, 11, 10, 10, 9, 9, 8, 8);
    const __m512i nibble = _mm512_set1_epi64(4); /* the high nibble first */
    const unsigned char *codes = (const unsigned char *)w->data + (row * w->k + k0) / 2;
    for (int64_t c = 0; c < chunks; c += 4, codes += LINE_BYTES) {
        const int64_t here = min_i64(4, chunks - c);
        const __mmask16 m = first16(4 * here);
        __m512i t[SIDE];
#pragma GCC unroll 16
        for (int r = 0; r < SIDE; r++)
            t[r] = r < rows ? _mm512_maskz_loadu_epi32(m, codes + r * (w->k / 2))
                            : _mm512_setzero_si512();
        turn(t);
        for (int64_t q = 0; q < here; q++) {
            const int64_t block = ((k0 + (c + q) * CHUNK) >> shift) - (k0 >> shift);
            const __m512 s = _mm512_load_ps(scales + block * SIDE);
            const __m512 s0 = _mm512_permutexvar_ps(twice0, s);
            const __m512 s1 = _mm512_permutexvar_ps(twice1, s);
            unsigned char *out = dst + (c + q) * step;
#pragma GCC unroll 4
            for (int d = 0; d < 4; d++) {
                const __m512i x = _mm512_permutexvar_epi32(twice0, t[4 * q + d]);
                const __m512i y = _mm512_permutexvar_epi32(twice1, t[4 * q + d]);
#pragma GCC unroll 4
                for (int b = 0; b < 4; b++) {
                    const __m512i by = _mm512_add_epi32(nibble, _mm512_set1_epi32(8 * b));
                    const __m512 v0 = _mm512_permutexvar_ps(_mm512_srlv_epi32(x, by), book);
                    const __m512 v1 = _mm512_permutexvar_ps(_mm512_srlv_epi32(y, by), book);
                    _mm512_store_si512(out + (4 * d + b) * LINE_BYTES,
                                       round2(_mm512_mul_ps(v1, s1), _mm512_mul_ps(v0, s0)));
                }
            }
        }
    }
}

/* Scales of rows row..row+rows-1 in the `width` blocks (1, 2, 4, 8 or 16) from block b0 of each row
 * on: out[rows][width], room for whole vectors. Blocks beyond the row are anything. */
NBI_OUTLINE void scale_rows(const nb_qtensor *w, int64_t row, int64_t rows, int64_t b0,
                            int64_t width, float *out)
{
    const int64_t per_row = w->k >> log2_i64(w->block), n = min_i64(width, per_row - b0);
    const int shift = log2_i64(width), per = SIDE >> shift;
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i from_first =
        _mm512_add_epi32(_mm512_mullo_epi32(_mm512_srli_epi32(lane, (unsigned)shift),
                                            _mm512_set1_epi32((int)per_row)),
                         _mm512_and_si512(lane, _mm512_set1_epi32((int)width - 1)));
    for (int64_t r = 0; r < rows; r += per, out += SIDE) {
        const int64_t first = (row + r) * per_row + b0;
        const int here = (int)min_i64(per, rows - r);
        float sizes[SIDE] = {0};
        uint8_t codes[SIDE] = {0};
        for (int i = 0; i < here; i++) {
            const int64_t b = first + i * per_row;
            if (w->absmax)
                memcpy(sizes + i * width, w->absmax + b, (size_t)n * sizeof(float));
            else if (n == 4) /* the usual width: no call */
                memcpy(codes + i * width, w->absmax_codes + b, 4);
            else
                memcpy(codes + i * width, w->absmax_codes + b, (size_t)n);
        }
        if (w->absmax) {
            _mm512_store_ps(out, _mm512_loadu_ps(sizes));
            continue;
        }
        const __mmask16 m = first16(here * width);
        const __m512i code = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)codes));
        const __m512i place = _mm512_srli_epi32(
            _mm512_add_epi32(from_first, _mm512_set1_epi32((int)(first & (w->nested_block - 1)))),
            (unsigned)log2_i64(w->nested_block));
        const int64_t end = (w->n * per_row - 1) >> log2_i64(w->nested_block);
        const float *nested = w->nested_absmax + (first >> log2_i64(w->nested_block));
        const __m512i most =
            _mm512_set1_epi32((int)min_i64(end - (first >> log2_i64(w->nested_block)), INT32_MAX));
        const __m512 size = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m,
                                                     _mm512_min_epi32(place, most), nested, 4);
        const __m512 value = _mm512_i32gather_ps(code, w->nested_book, 4);
        _mm512_store_ps(
            out, _mm512_add_ps(_mm512_mul_ps(value, size), _mm512_set1_ps(w->nested_offset)));
    }
}

/* 16 columns of two rows: words of both nibbles in turn choose from a table of both rows. */
NBI_INLINE __m512i lookup_pair(const unsigned char *p, const unsigned char *q, __m512i table)
{
    /* bytes 0..7 are the first row's, 8..15 the second's; each is spread to the words of its two
     * columns */
    const __m512i spread =
        _mm512_set_epi64((long long)0x800f8007800f8007ull, (long long)0x800e8006800e8006ull,
                         (long long)0x800d8005800d8005ull, (long long)0x800c8004800c8004ull,
                         (long long)0x800b8003800b8003ull, (long long)0x800a8002800a8002ull,
                         (long long)0x8009800180098001ull, (long long)0x8008800080088000ull);
    const __m512i by = _mm512_set1_epi64(0x00040004);
    const __m512i low = _mm512_set1_epi16(15), second = _mm512_set1_epi32(0x00100000);
    int64_t a, b;
    memcpy(&a, p, 8);
    memcpy(&b, q, 8);
    __m512i v = _mm512_mask_set1_epi64(_mm512_set1_epi64(a), 0xaa, b);
    v = _mm512_srlv_epi16(_mm512_shuffle_epi8(v, spread), by);
    v = _mm512_ternarylogic_epi32(v, low, second, 0xea); /* (v & low) | second */
    return _mm512_permutexvar_epi16(v, table);
}

/* The other orientation: the inner index runs over rows of the weight. Rows row..row+n-1 (at most
 * 32; zeros behind), `cols` columns (32 or 64, within one block) from col on. scales[step * i]: of
 * row + i. Squares of 16 columns stand SQUARE_BYTES apart, those of columns 32.. at `next`. */
NBI_INLINE void decode_backward(const nb_qtensor *w, int64_t row, int64_t n, int64_t col,
                                const int cols, const float *scales, int64_t step,
                                unsigned char *dst, unsigned char *next)
{
    const __m512 book = _mm512_loadu_ps(w->book);
    const int64_t bytes = w->k / 2;
    const unsigned char *codes = (const unsigned char *)w->data + (row * w->k + col) / 2;
    for (int64_t i = 0; i < CHUNK; i += 2, codes += 2 * bytes, scales += 2 * step) {
        if (i >= n) {
            for (int g = 0; g < cols / SIDE; g++)
                _mm512_store_si512((g < 2 ? dst : next) + (g % 2) * SQUARE_BYTES +
                                       i / 2 * LINE_BYTES,
                                   _mm512_setzero_si512());
            continue;
        }
        const bool both = i + 1 < n;
        const __m512 s0 = _mm512_set1_ps(scales[0]);
        const __m512 s1 = both ? _mm512_set1_ps(scales[step]) : _mm512_setzero_ps();
        const __m512i table = round2(_mm512_mul_ps(book, s1), _mm512_mul_ps(book, s0));
        const unsigned char *second = both ? codes + bytes : codes;
#pragma GCC unroll 4
        for (int g = 0; g < cols / SIDE; g++)
            _mm512_store_si512((g < 2 ? dst : next) + (g % 2) * SQUARE_BYTES + i / 2 * LINE_BYTES,
                               lookup_pair(codes + 8 * g, second + 8 * g, table));
    }
}

#endif
