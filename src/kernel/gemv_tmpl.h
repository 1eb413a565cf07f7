/* SPDX-License-Identifier: MIT */
/* Products of few rows (generation), at the speed of memory: each row of the weight is read once,
 * in order, and multiplied with all rows of x by dot products. 4-bit codes are looked up in
 * registers and the scale of a block multiplies the block's sum. A dot product is summed in an
 * order that depends on its length alone. */
#ifndef NB_GEMV_TMPL_H
#define NB_GEMV_TMPL_H

#include "kernel/gemm_tmpl.h"
#include "kernel/matmul.h"

/* Inner indices at a time; rows of x, and those that share one reading of a weight's row. */
enum { GEMV_K = 16384, GEMV_ROWS = NB_FEW_ROWS, GEMV_SHARE = 4 };
/* How many bytes ahead of their use lines are fetched: to the second cache level so early that the
 * latency of memory is covered, the hardware stops at each page; codes then to the first level. */
enum { GEMV_FAR = 8192, GEMV_NEAR = 1024 };
/* 4 bit: elements of which a vector of 32-bit words holds the codes, and the least block. */
enum { GEMV_CHUNK = 8 * NBI_W, GEMV_UNIT = 64, GEMV_UNITS = GEMV_K / GEMV_UNIT };

/* What one thread works with. Rows of the weight are taken NBI_W at a time. */
typedef struct gemv_scratch {
    float x[GEMV_ROWS * GEMV_K];
    vf sums[GEMV_ROWS][NBI_W];
    float scales[NBI_W * GEMV_UNITS];
    float row[GEMV_K]; /* a weight's row that is not read in place */
} gemv_scratch;

/* Fetches the line `ahead` bytes behind p, which may lie behind the end, to the second level. */
NBI_INLINE void gemv_fetch(const void *p, int ahead)
{
    __builtin_prefetch((const void *)((uintptr_t)p + (uintptr_t)ahead), 0, 2);
}

/* ---- dense rows ---- */

typedef enum gemv_type { GEMV_F32, GEMV_BF16, GEMV_F16 } gemv_type;

NBI_INLINE vf gemv_load(const void *w, const gemv_type t, int64_t i)
{
    if (t == GEMV_F32)
        return vf_load((const float *)w + i);
    return t == GEMV_BF16 ? vf_load_bf16((const uint16_t *)w + i)
                          : vf_load_f16((const uint16_t *)w + i);
}

/* The last l < NBI_W elements. */
NBI_INLINE vf gemv_load_n(const void *w, const gemv_type t, int64_t i, int l)
{
    uint16_t h[NBI_W] = {0};
    if (t == GEMV_F32)
        return vf_load_n((const float *)w + i, l);
    memcpy(h, (const uint16_t *)w + i, (size_t)l * sizeof(*h));
    return t == GEMV_BF16 ? vf_load_bf16(h) : vf_load_f16(h);
}

/* sums[i] = lanes of x_i . w for rows i < m of x, GEMV_K apart; four chains a row. */
NBI_INLINE void gemv_dense(const int m, const gemv_type t, const float *x, const void *w, int64_t n,
                           vf sums[GEMV_ROWS][NBI_W], int64_t at)
{
    vf s[GEMV_SHARE][4];
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        s[i][0] = s[i][1] = s[i][2] = s[i][3] = vf_zero();
    int64_t k = 0;
    for (; k + 4 * NBI_W <= n; k += 4 * NBI_W) {
        for (int line = 0; line < 4 * NBI_W * (t == GEMV_F32 ? 4 : 2); line += 64)
            gemv_fetch(element(w, t != GEMV_F32, k), GEMV_FAR + line);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
            const vf v = gemv_load(w, t, k + u * NBI_W);
#pragma GCC unroll 4
            for (int i = 0; i < m; i++)
                s[i][u] = vf_fma(vf_load(x + i * GEMV_K + k + u * NBI_W), v, s[i][u]);
        }
    }
    for (; k < n; k += NBI_W) {
        const int l = (int)min_i64(NBI_W, n - k);
        const vf v = l == NBI_W ? gemv_load(w, t, k) : gemv_load_n(w, t, k, l);
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            s[i][0] = vf_fma(vf_load(x + i * GEMV_K + k), v, s[i][0]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        sums[i][at] = (s[i][0] + s[i][1]) + (s[i][2] + s[i][3]);
}

/* ---- rows of 4-bit codes ---- */

/* Whether a weight's rows are read by gemv_codes: they begin and end with units, each of one scale.
 */
static inline bool gemv_has_units(const nb_qtensor *w)
{
    return w->kind != NB_QK_DENSE && w->k % GEMV_UNIT == 0 && w->block >= GEMV_UNIT;
}

/* Scales of blocks b..b+n-1 with double quantisation, as nb_qtensor_absmax makes them. Looked up
 * one by one: vector gathers take three times as long. */
static inline void gemv_nested(const nb_qtensor *w, int64_t b, int64_t n, float *out)
{
    const int shift = __builtin_ctzll((unsigned long long)w->nested_block);
    const vf offset = vf_set1(w->nested_offset);
    const uint8_t *codes = w->absmax_codes + b;
    for (int64_t i = 0; i < n; i++) {
        size_t code = codes[i];
        __asm__("" : "+r"(code)); /* else it becomes a gather */
        out[i] = w->nested_book[code];
    }
    while (n > 0) {
        const int64_t run = min_i64(n, (((b >> shift) + 1) << shift) - b);
        const vf scale = vf_set1(w->nested_absmax[b >> shift]);
        for (int64_t i = 0; i < run; i += NBI_W) {
            const int l = (int)min_i64(NBI_W, run - i);
            vf_store_n(out + i, vf_load_n(out + i, l) * scale + offset, l);
        }
        b += run;
        out += run;
        n -= run;
    }
}

/* Scales of the n units from element f of the flat codes on. */
static inline void gemv_scales(const nb_qtensor *w, int64_t f, int64_t n, float *to)
{
    if (w->block == GEMV_UNIT)
        gemv_nested(w, f / GEMV_UNIT, n, to);
    else
        for (int64_t u = 0; u < n; u++)
            to[u] = nb_qtensor_absmax(w, (f + u * GEMV_UNIT) / w->block);
}

/* Fetches the statistics of n elements from f on, which may lie behind the end: the rows after the
 * present ones, a stream too slow for the hardware to notice. */
static inline void gemv_fetch_scales(const nb_qtensor *w, int64_t f, int64_t n)
{
    const int64_t size = w->absmax ? 4 : 1;
    const uintptr_t p = w->absmax ? (uintptr_t)w->absmax : (uintptr_t)w->absmax_codes;
    const int64_t from = f / w->block * size, to = (f + n) / w->block * size;
    for (int64_t i = from; i < to; i += 64)
        __builtin_prefetch((const void *)(p + (uintptr_t)i));
}

/* Each lane's scale: those of the chunk's units, the first at s; `half`: of the first unit only. */
NBI_INLINE vf gemv_lane_scales(const float *s, const bool half)
{
#if NBI_W == 16
    const vf second = half ? vf_zero() : vf_set1(s[1]);
    return (vf)_mm512_mask_blend_ps(0xff00, (__m512)vf_set1(s[0]), (__m512)second);
#else
    (void)half;
    return vf_set1(s[0]);
#endif
}

/* One chunk: s[i] += scale * (book[codes] . x_i). Word l holds elements 8l..8l+7, its bits 4j..4j+3
 * element 8l + (j ^ 1), the high nibble of each byte being the first; x as gemv_inputs lays it. */
NBI_INLINE void gemv_chunk(const int m, vbook book, vu words, vf scale, const float *x, vf *s)
{
    vf part[GEMV_SHARE][2]; /* two sums, so that additions wait less for each other */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const vf low = vf_book(book, words >> (8 * j)), high = vf_book(book, words >> (8 * j + 4));
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            const float *u = x + i * GEMV_K + 2 * j * NBI_W;
            const vf first = vf_load(u), second = vf_load(u + NBI_W);
            part[i][0] = j == 0 ? first * high : vf_fma(first, high, part[i][0]);
            part[i][1] = j == 0 ? second * low : vf_fma(second, low, part[i][1]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        s[i] = vf_fma(scale, part[i][0] + part[i][1], s[i]);
}

/* The first n bytes at p, zeros behind them. */
NBI_INLINE vu gemv_words(const uint8_t *p, int64_t n)
{
    uint8_t some[GEMV_CHUNK / 2] = {0};
    vu v;
    memcpy(some, p, (size_t)n);
    memcpy(&v, some, sizeof(v));
    return v;
}

/* sums[i][r] = lanes of x_i . (row r of n elements, n a multiple of the unit), codes `step` bytes
 * and scales `units` apart. */
NBI_INLINE void gemv_codes_of(const int m, const float book[16], const uint8_t *p, int64_t step,
                              const float *scales, int64_t units, int64_t rows, int64_t n,
                              const float *x, vf sums[GEMV_ROWS][NBI_W])
{
    const vbook b = vbook_load(book);
    for (int64_t r = 0; r < rows; r++, p += step, scales += units) {
        vf s[GEMV_SHARE];
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            s[i] = vf_zero();
        int64_t k = 0;
        for (; k + GEMV_CHUNK <= n; k += GEMV_CHUNK) {
            vu words;
            memcpy(&words, p + k / 2, sizeof(words));
            NBI_IN_REGISTER(words);
            if (k % 128 == 0) {
                gemv_fetch(p + k / 2, GEMV_FAR);
                __builtin_prefetch((const void *)((uintptr_t)(p + k / 2) + GEMV_NEAR));
            }
            gemv_chunk(m, b, words, gemv_lane_scales(scales + k / GEMV_UNIT, false), x + k, s);
        }
        if (k < n)
            gemv_chunk(m, b, gemv_words(p + k / 2, (n - k) / 2),
                       gemv_lane_scales(scales + k / GEMV_UNIT, true), x + k, s);
#pragma GCC unroll 4
        for (int i = 0; i < m; i++)
            sums[i][r] = s[i];
    }
}

/* Rows j..j+rows-1 of w, n elements from k on, with m rows of x. */
static void gemv_codes(int64_t m, const nb_qtensor *w, int64_t j, int64_t rows, int64_t k,
                       int64_t n, gemv_scratch *z)
{
    const int64_t f = j * w->k + k, step = w->k / 2;
    const uint8_t *p = (const uint8_t *)w->data + f / 2;
    const float *scales = z->scales;
    int64_t units = n / GEMV_UNIT;
    if (w->block == GEMV_UNIT && w->absmax) {
        scales = w->absmax + f / GEMV_UNIT;
        units = w->k / GEMV_UNIT;
    } else if (n == w->k) {
        gemv_scales(w, f, rows * units, z->scales);
    } else {
        for (int64_t r = 0; r < rows; r++)
            gemv_scales(w, f + r * w->k, units, z->scales + r * units);
    }
    gemv_fetch_scales(w, f + rows * w->k, rows * w->k);
    const float *x = z->x;
    for (int64_t i = 0; i < m; i += GEMV_SHARE, x += GEMV_SHARE * GEMV_K) {
        if (m - i == 1)
            gemv_codes_of(1, w->book, p, step, scales, units, rows, n, x, z->sums + i);
        else if (m - i == 2)
            gemv_codes_of(2, w->book, p, step, scales, units, rows, n, x, z->sums + i);
        else if (m - i == 3)
            gemv_codes_of(3, w->book, p, step, scales, units, rows, n, x, z->sums + i);
        else
            gemv_codes_of(4, w->book, p, step, scales, units, rows, n, x, z->sums + i);
    }
}

/* ---- rows of either kind ---- */

/* Row j of b, n inner indices from k on, as gemv_dense reads it: where it is, or read into `row`.
 */
static inline const void *gemv_row(const operand *b, int64_t j, int64_t k, int64_t n, float *row,
                                   gemv_type *type)
{
    *type = GEMV_F32;
    if (b->w && b->w->kind == NB_QK_DENSE) {
        *type = b->w->dtype == NB_DT_BF16  ? GEMV_BF16
                : b->w->dtype == NB_DT_F16 ? GEMV_F16
                                           : GEMV_F32;
        return element(b->w->data, *type != GEMV_F32, (b->row0 + j) * b->w->k + k);
    }
    if (b->w) {
        decode_row(b->w, b->row0 + j, k, n, row);
        return row;
    }
    const int64_t at = j * b->rs + k * b->cs;
    if (b->cs == 1 && (b->narrow || !b->bf16)) {
        *type = b->narrow ? GEMV_BF16 : GEMV_F32;
        return element(b->p, b->narrow, at);
    }
    for (int64_t t = 0; t < n; t++) {
        const float v = read_one(b->p, b->narrow, at + t * b->cs);
        row[t] = b->bf16 ? nb_round_bf16(v) : v;
    }
    return row;
}

NBI_INLINE void gemv_share(const int m, const gemv_type t, const float *x, const void *w, int64_t n,
                           vf sums[GEMV_ROWS][NBI_W], int64_t at)
{
    if (t == GEMV_F32)
        gemv_dense(m, GEMV_F32, x, w, n, sums, at);
    else if (t == GEMV_BF16)
        gemv_dense(m, GEMV_BF16, x, w, n, sums, at);
    else
        gemv_dense(m, GEMV_F16, x, w, n, sums, at);
}

/* Rows j..j+rows-1 of b, n inner indices from k on, with m rows of x. */
static void gemv_rows(int64_t m, const operand *b, int64_t j, int64_t rows, int64_t k, int64_t n,
                      gemv_scratch *z)
{
    for (int64_t r = 0; r < rows; r++) {
        gemv_type t;
        const void *w = gemv_row(b, j + r, k, n, z->row, &t);
        const float *x = z->x;
        for (int64_t i = 0; i < m; i += GEMV_SHARE, x += GEMV_SHARE * GEMV_K) {
            if (m - i == 1)
                gemv_share(1, t, x, w, n, z->sums + i, r);
            else if (m - i == 2)
                gemv_share(2, t, x, w, n, z->sums + i, r);
            else if (m - i == 3)
                gemv_share(3, t, x, w, n, z->sums + i, r);
            else
                gemv_share(4, t, x, w, n, z->sums + i, r);
        }
    }
}

/* Indices [k, k + n) of the m rows of a into z->x, zeros behind their ends: in order, or for codes
 * as panels of the elements with the same place in a word. */
static void gemv_inputs(const operand *a, int64_t m, int64_t k, int64_t n, bool codes,
                        gemv_scratch *z)
{
    for (int64_t i = 0; i < m; i++) {
        float *x = z->x + i * GEMV_K;
        const int64_t at = i * a->rs + k * a->cs;
        for (int64_t t = 0; codes && a->cs == 1 && t < n; t += GEMV_CHUNK)
            pack_rows(element(a->p, a->narrow, at + t), a->narrow, 8, min_i64(NBI_W, (n - t) / 8),
                      8, NBI_W, 0, a->bf16, x + t);
        if (codes && a->cs == 1)
            continue;
        for (int64_t t = 0; t < round_up(n, codes ? GEMV_CHUNK : NBI_W); t++) {
            const float v = t < n ? read_one(a->p, a->narrow, at + t * a->cs) : 0.0f;
            const int64_t in = t % GEMV_CHUNK, to = t - in + in % 8 * NBI_W + in / 8;
            x[codes ? to : t] = a->bf16 ? nb_round_bf16(v) : v;
        }
    }
}

/* c[m, n] (= or +=) alpha * a[m, k] * (rows [row, row + n) of b)^T, m <= GEMV_ROWS. */
static void gemv(const operand *a, const operand *b, int64_t m, int64_t row, int64_t n, int64_t k,
                 float alpha, bool add, float *c, int64_t ldc, gemv_scratch *z)
{
    const bool codes = b->w && gemv_has_units(b->w);
    const vf al = vf_set1(alpha);
    for (int64_t k0 = 0; k0 < k; k0 += GEMV_K, add = true) {
        const int64_t kn = min_i64(GEMV_K, k - k0);
        gemv_inputs(a, m, k0, kn, codes, z);
        for (int64_t j = 0; j < n; j += NBI_W) {
            const int rows = (int)min_i64(NBI_W, n - j);
            if (codes)
                gemv_codes(m, b->w, b->row0 + row + j, rows, k0, kn, z);
            else
                gemv_rows(m, b, row + j, rows, k0, kn, z);
            for (int64_t i = 0; i < m; i++) {
                float *to = c + i * ldc + j;
                vf s = vf_sum_rows(z->sums[i]) * al;
                if (add)
                    s += vf_load_n(to, rows);
                vf_store_n(to, s, rows);
            }
        }
    }
}

#endif
