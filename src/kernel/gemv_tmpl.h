/* SPDX-License-Identifier: MIT */
/* Products of few rows (generation), at the speed of memory: each row of the weight is read once,
 * in order, and multiplied with all rows of x by dot products. A dot product is summed in an order
 * that depends on its length alone. */
#ifndef NB_GEMV_TMPL_H
#define NB_GEMV_TMPL_H

#include "kernel/gemv_codes_tmpl.h"

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

/* sums[i + r][at] = lanes of x_i . w_r for rows i < m of x, GEMV_K apart, and r < rows of w, `step`
 * elements apart, one of both 1; four chains a row. */
NBI_INLINE void gemv_dense(const int m, const int rows, const gemv_type t, const float *x,
                           const void *w, int64_t step, int64_t n, vf sums[GEMV_ROWS][NBI_W],
                           int64_t at)
{
    vf s[GEMV_SHARE][4];
#pragma GCC unroll 4
    for (int i = 0; i < m * rows; i++)
        s[i][0] = s[i][1] = s[i][2] = s[i][3] = vf_zero();
    int64_t k = 0;
    for (; k + 4 * NBI_W <= n; k += 4 * NBI_W) {
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++)
            for (int line = 0; line < 4 * NBI_W * (t == GEMV_F32 ? 4 : 2); line += 64)
                gemv_fetch((const unsigned char *)element(w, t != GEMV_F32, r * step + k) + line);
#pragma GCC unroll 4
        for (int u = 0; u < 4; u++) {
#pragma GCC unroll 4
            for (int r = 0; r < rows; r++) {
                const vf v = gemv_load(w, t, r * step + k + u * NBI_W);
#pragma GCC unroll 4
                for (int i = 0; i < m; i++)
                    s[i + r][u] = vf_fma(vf_load(x + i * GEMV_K + k + u * NBI_W), v, s[i + r][u]);
            }
        }
    }
    for (; k < n; k += NBI_W) {
        const int l = (int)min_i64(NBI_W, n - k);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const int64_t to = r * step + k;
            const vf v = l == NBI_W ? gemv_load(w, t, to) : gemv_load_n(w, t, to, l);
#pragma GCC unroll 4
            for (int i = 0; i < m; i++)
                s[i + r][0] = vf_fma(vf_load(x + i * GEMV_K + k), v, s[i + r][0]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < m * rows; i++)
        sums[i][at] = (s[i][0] + s[i][1]) + (s[i][2] + s[i][3]);
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

/* Whether gemv_row finds every row where it is; *step elements apart. */
static inline bool gemv_in_place(const operand *b, int64_t *step)
{
    *step = b->w ? b->w->k : b->rs;
    return b->w ? b->w->kind == NB_QK_DENSE : b->cs == 1 && (b->narrow || !b->bf16);
}

NBI_INLINE void gemv_share(const int m, const int rows, const gemv_type t, const float *x,
                           const void *w, int64_t step, int64_t n, vf sums[GEMV_ROWS][NBI_W],
                           int64_t at)
{
    if (t == GEMV_F32)
        gemv_dense(m, rows, GEMV_F32, x, w, step, n, sums, at);
    else if (t == GEMV_BF16)
        gemv_dense(m, rows, GEMV_BF16, x, w, step, n, sums, at);
    else
        gemv_dense(m, rows, GEMV_F16, x, w, step, n, sums, at);
}

/* Rows j..j+rows-1 of b, n inner indices from k on, with m rows of x. With apart > 0, which asks
 * for m = 1 and rows in place, GEMV_STREAMS times as many, each time so many further. */
static void gemv_rows(int64_t m, const operand *b, int64_t j, int64_t rows, int64_t apart,
                      int64_t k, int64_t n, gemv_scratch *z)
{
    int64_t step;
    gemv_in_place(b, &step);
    for (int64_t r = 0; r < rows; r++) {
        gemv_type t;
        const void *w = gemv_row(b, j + r, k, n, z->row, &t);
        const float *x = z->x;
        if (apart > 0) {
            gemv_share(1, GEMV_STREAMS, t, x, w, apart * step, n, z->sums, r);
            continue;
        }
        for (int64_t i = 0; i < m; i += GEMV_SHARE, x += GEMV_SHARE * GEMV_K) {
            if (m - i == 1)
                gemv_share(1, 1, t, x, w, 0, n, z->sums + i, r);
            else if (m - i == 2)
                gemv_share(2, 1, t, x, w, 0, n, z->sums + i, r);
            else if (m - i == 3)
                gemv_share(3, 1, t, x, w, 0, n, z->sums + i, r);
            else
                gemv_share(4, 1, t, x, w, 0, n, z->sums + i, r);
        }
    }
}

/* How x lies in scratch. */
typedef enum gemv_order {
    GEMV_IN_ORDER,
    GEMV_PANELS, /* a chunk's elements of the same place in a word side by side */
    GEMV_INTEGERS
} gemv_order;

/* Elements at, at + cs, ... n of them, in order, then zeros up to `room`. */
static void gemv_input_row(const operand *a, int64_t at, int64_t n, int64_t room, float *x)
{
    int64_t t = 0;
    for (; a->cs == 1 && t + NBI_W <= n; t += NBI_W) {
        const vf v = vf_load_t(a->p, a->narrow ? NB_DT_BF16 : NB_DT_F32, at + t, NBI_W);
        vf_store(x + t, a->bf16 && !a->narrow ? vf_round_bf16(v) : v);
    }
    for (; t < room; t++) {
        const float v = t < n ? read_one(a->p, a->narrow, at + t * a->cs) : 0.0f;
        x[t] = a->bf16 ? nb_round_bf16(v) : v;
    }
}

static void gemv_input_panels(const operand *a, int64_t at, int64_t n, float *x)
{
    for (int64_t t = 0; a->cs == 1 && t < n; t += GEMV_CHUNK)
        pack_rows(element(a->p, a->narrow, at + t), a->narrow, 8, min_i64(NBI_W, (n - t) / 8), 8,
                  NBI_W, 0, a->bf16, x + t);
    for (int64_t t = 0; a->cs != 1 && t < round_up(n, GEMV_CHUNK); t++) {
        const float v = t < n ? read_one(a->p, a->narrow, at + t * a->cs) : 0.0f;
        const int64_t in = t % GEMV_CHUNK;
        x[t - in + in % 8 * NBI_W + in / 8] = a->bf16 ? nb_round_bf16(v) : v;
    }
}

/* Indices [k, k + n) of the m rows of a into z->x, zeros behind their ends; `size` of an integer of
 * the code book. */
static void gemv_inputs(const operand *a, int64_t m, int64_t k, int64_t n, gemv_order order,
                        float size, gemv_scratch *z)
{
    for (int64_t i = 0; i < m; i++) {
        float *x = z->x + i * GEMV_K;
        const int64_t at = i * a->rs + k * a->cs;
        if (order == GEMV_PANELS)
            gemv_input_panels(a, at, n, x);
        else
            gemv_input_row(a, at, n, round_up(n, order == GEMV_INTEGERS ? GEMV_CHUNK : NBI_W), x);
        if (order == GEMV_INTEGERS)
            gemv_to_ints(x, n, size);
    }
}

/* The layout of x for the rows of b; *size is that of the code book's integers. */
static gemv_order gemv_order_of(const operand *b, float *size, gemv_scratch *z)
{
    *size = 0.0f;
    if (!b->w || !gemv_has_units(b->w))
        return GEMV_IN_ORDER;
    if (b->bf16)
        *size = gemv_book_ints(b->w->book, z->book);
    return *size != 0.0f ? GEMV_INTEGERS : GEMV_PANELS;
}

/* A product of few rows that is being made: c[m, n] (= or +=) alpha * ... */
typedef struct gemv_result {
    float *c;
    int64_t ldc;
    vf alpha;
    bool add;
} gemv_result;

/* The sums of `rows` rows of a weight with row i of x, as the columns from j on of row i. */
static void gemv_store(const gemv_result *to, int64_t i, int64_t j, int rows, vf sums[NBI_W])
{
    float *c = to->c + i * to->ldc + j;
    vf s = vf_sum_rows(sums) * to->alpha;
    if (to->add)
        s += vf_load_n(c, rows);
    vf_store_n(c, s, rows);
}

/* The product of inner indices [k, k + kn) with x in z, rows [row, row + n) of b. */
static void gemv_inner(const operand *b, gemv_order order, int64_t m, int64_t row, int64_t n,
                       int64_t k, int64_t kn, const gemv_result *to, gemv_scratch *z)
{
    const bool ints = order == GEMV_INTEGERS, codes = order != GEMV_IN_ORDER;
    int64_t j = 0, step;
    if (m == 1 && (codes ? gemv_scales_in_place(b->w) : gemv_in_place(b, &step))) {
        const int64_t apart = n / (GEMV_STREAMS * NBI_W) * NBI_W;
        for (; j < apart; j += NBI_W) {
            if (codes)
                gemv_codes(1, b->w, ints, b->row0 + row + j, NBI_W, apart, k, kn, z);
            else
                gemv_rows(1, b, row + j, NBI_W, apart, k, kn, z);
            for (int t = 0; t < GEMV_STREAMS; t++)
                gemv_store(to, 0, j + t * apart, NBI_W, z->sums[t]);
        }
        j = GEMV_STREAMS * apart;
    }
    for (; j < n; j += NBI_W) {
        const int rows = (int)min_i64(NBI_W, n - j);
        if (codes)
            gemv_codes(m, b->w, ints, b->row0 + row + j, rows, 0, k, kn, z);
        else
            gemv_rows(m, b, row + j, rows, 0, k, kn, z);
        for (int64_t i = 0; i < m; i++)
            gemv_store(to, i, j, rows, z->sums[i]);
    }
}

/* c[m, n] (= or +=) alpha * a[m, k] * (rows [row, row + n) of b)^T, m <= GEMV_ROWS. */
static void gemv(const operand *a, const operand *b, int64_t m, int64_t row, int64_t n, int64_t k,
                 float alpha, bool add, float *c, int64_t ldc, gemv_scratch *z)
{
    float size;
    const gemv_order order = gemv_order_of(b, &size, z);
    gemv_result to = {c, ldc, vf_set1(alpha), add};
    for (int64_t k0 = 0; k0 < k; k0 += GEMV_K, to.add = true) {
        const int64_t kn = min_i64(GEMV_K, k - k0);
        gemv_inputs(a, m, k0, kn, order, size, z);
        gemv_inner(b, order, m, row, n, k0, kn, &to, z);
    }
}

#endif
