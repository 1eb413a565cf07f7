/* SPDX-License-Identifier: MIT */
/* The blocked product everything dense is built from: packing into panels and a register-tiled
 * micro-kernel (Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008).
 *
 * A panel holds `width` rows of an operand, transposed: element (row r, index k) at [k*width + r].
 * Panels of A are NBI_MR wide, panels of B NBI_NR; rows beyond the operand are zero. Every element
 * of a product is summed over k in ascending order with one accumulator, whichever tile it is in.
 */
#ifndef NB_GEMM_TMPL_H
#define NB_GEMM_TMPL_H

#include "kernel/intmath.h"
#include "kernel/panel_tmpl.h"
#include "kernel/vec_transpose.h"
#include "kernel/vec_typed.h"

#define NBI_NR (2 * NBI_W)
#if NBI_W == 16
#define NBI_MR 12
#elif NBI_W == 8
#define NBI_MR 6
#else
#define NBI_MR 4
#endif

/* A matrix by rows and inner index, as a product reads it. */
typedef struct operand {
    const void *p; /* element (r, k) at p[r*rs + k*cs], when w is NULL */
    int64_t rs, cs;
    const nb_qtensor *w; /* else element (row0 + r, k) of W, or with `swap` (row0 + k, r) */
    int64_t row0;
    bool swap;
    bool narrow; /* p is bf16, else f32 */
    bool bf16;   /* round while packing */
} operand;

/* dtype F32 or BF16 */
static inline operand strided_as(const void *p, nb_dtype dtype, int64_t rs, int64_t cs)
{
    operand o = {p, rs, cs, NULL, 0, false, dtype == NB_DT_BF16, false};
    return o;
}

static inline operand strided(const float *p, int64_t rs, int64_t cs)
{
    return strided_as(p, NB_DT_F32, rs, cs);
}

/* Address of element i of p. */
static inline const void *element(const void *p, bool narrow, int64_t i)
{
    return (const unsigned char *)p + i * (narrow ? 2 : 4);
}

static inline float read_one(const void *p, bool narrow, int64_t i)
{
    return narrow ? nb_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

/* A square of pack_rows: kn values of `rows` rows, `room` columns of the panel. Called with
 * constants where that matters. */
NBI_INLINE void pack_square(const void *src, const bool narrow, int64_t rs, const int rows,
                            const int kn, const int room, int64_t width, bool bf16, float *dst)
{
    vf t[NBI_W];
#pragma GCC unroll 16
    for (int r = 0; r < NBI_W; r++) {
        if (r >= rows)
            t[r] = vf_zero();
        else
            t[r] = vf_load_t(src, narrow ? NB_DT_BF16 : NB_DT_F32, r * rs, kn);
    }
    if (bf16) {
#pragma GCC unroll 16
        for (int r = 0; r < NBI_W; r++)
            t[r] = vf_round_bf16(t[r]);
    }
    transpose(t);
#pragma GCC unroll 16
    for (int j = 0; j < NBI_W; j++) {
        if (j >= kn)
            break;
        if (room == NBI_W)
            vf_store(dst + j * width, t[j]);
        else
            vf_store_n(dst + j * width, t[j], room);
    }
}

/* `rows` rows (at most NBI_W are taken) of contiguous values, n of each, into the columns
 * at..at+room-1 of a panel; missing rows become zeros. */
NBI_INLINE void pack_rows_of(const void *src, const bool narrow, int64_t rs, int64_t rows,
                             int64_t n, int64_t width, int64_t at, bool bf16, float *dst)
{
    const int room = (int)min_i64(NBI_W, width - at), have = (int)min_i64(NBI_W, rows);
    int64_t k = 0;
    dst += at;
    if (have == NBI_W && room == NBI_W)
        for (; k + NBI_W <= n; k += NBI_W)
            pack_square(element(src, narrow, k), narrow, rs, NBI_W, NBI_W, NBI_W, width, bf16,
                        dst + k * width);
    else if (NBI_MR < NBI_W && have == NBI_MR && room == NBI_MR)
        for (; k + NBI_W <= n; k += NBI_W)
            pack_square(element(src, narrow, k), narrow, rs, NBI_MR, NBI_W, NBI_MR, width, bf16,
                        dst + k * width);
    for (; k < n; k += NBI_W)
        pack_square(element(src, narrow, k), narrow, rs, have, (int)min_i64(NBI_W, n - k), room,
                    width, bf16, dst + k * width);
}

static inline void pack_rows(const void *src, bool narrow, int64_t rs, int64_t rows, int64_t n,
                             int64_t width, int64_t at, bool bf16, float *dst)
{
    if (narrow)
        pack_rows_of(src, true, rs, rows, n, width, at, false, dst);
    else
        pack_rows_of(src, false, rs, rows, n, width, at, bf16, dst);
}

/* n lines of a panel whose source is contiguous along the panel's width; lines `cs` apart. */
NBI_INLINE void pack_lines_of(const void *src, const bool narrow, int64_t cs, int64_t rows,
                              int64_t n, int64_t width, bool bf16, float *dst)
{
    for (int64_t at = 0; at < width; at += NBI_W) {
        const int have = (int)(rows - at < 0 ? 0 : min_i64(NBI_W, rows - at));
        const int room = (int)min_i64(NBI_W, width - at);
        float *to = dst + at;
        for (int64_t k = 0; k < n; k++, to += width) {
            vf v = vf_load_t(src, narrow ? NB_DT_BF16 : NB_DT_F32, at + k * cs, have);
            if (bf16)
                v = vf_round_bf16(v);
            if (room == NBI_W)
                vf_store(to, v);
            else
                vf_store_n(to, v, room);
        }
    }
}

static inline void pack_lines(const void *src, bool narrow, int64_t cs, int64_t rows, int64_t n,
                              int64_t width, bool bf16, float *dst)
{
    if (narrow)
        pack_lines_of(src, true, cs, rows, n, width, false, dst);
    else
        pack_lines_of(src, false, cs, rows, n, width, bf16, dst);
}

static inline void pack_any(const operand *o, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                            int64_t width, float *dst)
{
    for (int64_t k = 0; k < n; k++) {
        for (int64_t r = 0; r < width; r++) {
            float v =
                r < rows ? read_one(o->p, o->narrow, (r0 + r) * o->rs + (k0 + k) * o->cs) : 0.0f;
            dst[k * width + r] = o->bf16 ? nb_round_bf16(v) : v;
        }
    }
}

/* A panel of W rows: decoded row by row into tmp [NBI_W][n], then transposed. */
static inline void pack_weight_rows(const operand *o, int64_t r0, int64_t rows, int64_t k0,
                                    int64_t n, int64_t width, float *tmp, float *dst)
{
    for (int64_t at = 0; at < width; at += NBI_W) {
        int64_t have = rows - at < 0 ? 0 : min_i64(NBI_W, rows - at);
        for (int64_t r = 0; r < have; r++)
            decode_row(o->w, o->row0 + r0 + at + r, k0, n, tmp + r * n);
        pack_rows(tmp, false, n, have, n, width, at, o->bf16, dst);
    }
}

static inline void pack_panel(const operand *o, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                              int64_t width, float *dst)
{
    if (o->cs == 1) {
        for (int64_t at = 0; at < width; at += NBI_W)
            pack_rows(element(o->p, o->narrow, (r0 + at) * o->rs + k0), o->narrow, o->rs,
                      rows - at < 0 ? 0 : rows - at, n, width, at, o->bf16, dst);
    } else if (o->rs == 1) {
        pack_lines(element(o->p, o->narrow, r0 + k0 * o->cs), o->narrow, o->cs, rows, n, width,
                   o->bf16, dst);
    } else {
        pack_any(o, r0, rows, k0, n, width, dst);
    }
}

/* Rows r0..r0+rows-1, inner indices k0..k0+n-1 of a strided `o` as panels of `width`. */
NBI_OUTLINE void pack(const operand *o, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                      int64_t width, float *dst)
{
    for (; rows > 0; rows -= width, r0 += width, dst += width * n)
        pack_panel(o, r0, min_i64(width, rows), k0, n, width, dst);
}

/* The same of a weight. tmp: NBI_W * n floats, at least NBI_NR. */
NBI_OUTLINE void pack_weight(const operand *o, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                             int64_t width, float *tmp, float *dst)
{
    for (; rows > 0; rows -= width, r0 += width, dst += width * n) {
        const int64_t have = min_i64(width, rows);
        if (!o->swap) {
            pack_weight_rows(o, r0, have, k0, n, width, tmp, dst);
            continue;
        }
        for (int64_t k = 0; k < n; k++) {
            decode_row(o->w, o->row0 + k0 + k, r0, have, tmp);
            pack_lines(tmp, false, 0, have, 1, width, o->bf16, dst + k * width);
        }
    }
}

/* c[mr, cols] = (add ? c : 0) + alpha * (panel a)(panel b)^T; (nv-1)*W < cols <= nv*W; row stride
 * ldb of b, readable up to whole vectors. */
NBI_INLINE void micro(const int mr, const int nv, int64_t n, const float *a, const float *b,
                      int64_t ldb, float *c, int64_t ldc, int cols, float alpha, bool add)
{
    vf acc[NBI_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        acc[i][0] = acc[i][1] = vf_zero();
    for (int64_t k = 0; k < n; k++, a += NBI_MR, b += ldb) {
        vf b0 = vf_load(b), b1 = nv > 1 ? vf_load(b + NBI_W) : vf_zero();
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf x = vf_set1(a[i]);
            acc[i][0] = vf_fma(x, b0, acc[i][0]);
            if (nv > 1)
                acc[i][1] = vf_fma(x, b1, acc[i][1]);
        }
    }
    const vf al = vf_set1(alpha);
    const bool whole = cols == nv * NBI_W;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        float *ci = c + i * ldc;
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++) {
            vf r = acc[i][v] * al;
            if (whole || v + 1 < nv) {
                vf_store(ci + v * NBI_W, add ? vf_load(ci + v * NBI_W) + r : r);
            } else {
                int left = cols - v * NBI_W;
                vf_store_n(ci + v * NBI_W, add ? vf_load_n(ci + v * NBI_W, left) + r : r, left);
            }
        }
    }
}

typedef void micro_fn(int64_t n, const float *a, const float *b, int64_t ldb, float *c, int64_t ldc,
                      int cols, float alpha, bool add);

#define NBI_MICRO(mr, nv)                                                                          \
    static __attribute__((noinline)) void micro_##mr##_##nv(                                       \
        int64_t n, const float *a, const float *b, int64_t ldb, float *c, int64_t ldc, int cols,   \
        float alpha, bool add)                                                                     \
    {                                                                                              \
        micro(mr, nv, n, a, b, ldb, c, ldc, cols, alpha, add);                                     \
    }
#define NBI_MICROS(mr) NBI_MICRO(mr, 1) NBI_MICRO(mr, 2)
NBI_MICROS(1)
NBI_MICROS(2)
NBI_MICROS(3)
NBI_MICROS(4)
#if NBI_MR > 4
NBI_MICROS(5)
NBI_MICROS(6)
#endif
#if NBI_MR > 6
NBI_MICROS(7)
NBI_MICROS(8)
NBI_MICROS(9)
NBI_MICROS(10)
NBI_MICROS(11)
NBI_MICROS(12)
#endif
#define NBI_MICRO_ROW(mr)                                                                          \
    {                                                                                              \
        micro_##mr##_1, micro_##mr##_2                                                             \
    }

static micro_fn *const micro_table[NBI_MR][2] = {
    NBI_MICRO_ROW(1),  NBI_MICRO_ROW(2),  NBI_MICRO_ROW(3), NBI_MICRO_ROW(4),
#if NBI_MR > 4
    NBI_MICRO_ROW(5),  NBI_MICRO_ROW(6),
#endif
#if NBI_MR > 6
    NBI_MICRO_ROW(7),  NBI_MICRO_ROW(8),  NBI_MICRO_ROW(9), NBI_MICRO_ROW(10),
    NBI_MICRO_ROW(11), NBI_MICRO_ROW(12),
#endif
};

/* c[m, cols] = (add ? c : 0) + alpha * A B^T with inner length n, A packed. NBI_NR columns of B^T
 * stand at b, the next at b + step; row stride ldb. */
static inline void multiply_strips(int64_t m, int64_t cols, int64_t n, const float *a,
                                   const float *b, int64_t ldb, int64_t step, float *c, int64_t ldc,
                                   float alpha, bool add)
{
    for (int64_t j = 0; j < cols; j += NBI_NR, b += step) {
        int jn = (int)min_i64(NBI_NR, cols - j);
        for (int64_t i = 0; i < m; i += NBI_MR) {
            int64_t in = min_i64(NBI_MR, m - i);
            micro_table[in - 1][jn > NBI_W](n, a + i * n, b, ldb, c + i * ldc + j, ldc, jn, alpha,
                                            add);
        }
    }
}

/* The same with B packed. */
static inline void multiply_panels(int64_t m, int64_t cols, int64_t n, const float *a,
                                   const float *b, float *c, int64_t ldc, float alpha, bool add)
{
    multiply_strips(m, cols, n, a, b, NBI_NR, NBI_NR * n, c, ldc, alpha, add);
}

#endif
