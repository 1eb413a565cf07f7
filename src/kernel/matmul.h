/* SPDX-License-Identifier: MIT */
/* Matrix products. One blocked design: operands are packed into panels (a panel decoder per weight
 * kind), micro-kernels multiply panels. Work is split over M and N only and each element is summed
 * over k in one fixed order, so results do not depend on the number of threads. */
#ifndef NB_MATMUL_H
#define NB_MATMUL_H

#include "device/device.h"
#include "tensor/qtensor.h"

/* Precision of the operands inside a product; sums are f32 in both. BF16: both operands are rounded
 * to bf16 (nearest even) when packed. */
typedef enum nb_compute { NB_COMPUTE_F32, NB_COMPUTE_BF16 } nb_compute;

/* c[M, N] (= or +=) alpha * a[M, K] * b[N, K]^T
 *
 *   a  element (i, k) at a[i*a_rs + k*a_cs]
 *   b  element (j, k) at b[j*b_rs + k*b_cs]
 *   c  row-major, row stride ldc; overlaps neither a nor b
 *
 * Each is F32 (the default) or BF16; sums are f32 and rounded once when c is BF16 (accumulating
 * adds in f32 to the widened c). Any orientation of a row-major matrix by its two strides. M, N may
 * be 0; K = 0 gives 0 (or leaves c when accumulating). Tolerance: NB_TOL_DOT(K, compute). */
typedef struct nb_matmul_args {
    nb_queue *q;
    int64_t m, n, k;
    const void *a;
    int64_t a_rs, a_cs;
    const void *b;
    int64_t b_rs, b_cs;
    void *c;
    int64_t ldc;
    float alpha;
    bool accumulate;
    nb_compute compute;
    nb_dtype a_dtype, b_dtype, c_dtype; /* F32 (0) or BF16 */
} nb_matmul_args;
typedef void nb_matmul_fn(const nb_matmul_args *a);

/* Rows [row0, row0+rows) of x and y use rows [w_row0, w_row0+w_rows) of w's logical matrix. */
typedef struct nb_qgroup {
    const nb_qtensor *w;
    int64_t w_row0, w_rows;
    int64_t row0, rows;
} nb_qgroup;

/* A contribution of low rank that a product sums together with its own: r more inner indices.
 *
 *   y[:, col0 .. col0+cols) += alpha * h[M, r] * l[cols, r]^T
 *
 *   h  f32 row stride ldh, rows as those of x;  l  f32, element (j, i) at l[j*l_rs + i*l_cs]
 * Computed like the product: both rounded to bf16 when compute is BF16. */
typedef struct nb_lowrank {
    const float *h;
    int64_t ldh, r;
    const float *l;
    int64_t l_rs, l_cs;
    int64_t col0, cols;
    float alpha;
} nb_lowrank;

/* Rows up to which a product is one of generation, bound by reading the weight. */
#define NB_FEW_ROWS 8

/* The frozen-base product of every linear layer, forward and input gradient, from the same codes.
 *
 *   forward    (backward = false): y[M, w_rows] (= or +=) x[M, K] * w^T
 *   backward   (backward = true):  y[M, K]      (= or +=) x[M, w_rows] * w       (x is dy, y is dx)
 *
 *   x row stride ldx, y row stride ldy, no overlap; each F32 (the default) or BF16, sums are f32
 * and rounded once when y is BF16. Groups do not overlap in rows. `extra` (n_extra of them) is
 * added to every row of the groups. Decoded in f32 as book[code] * absmax, then rounded to bf16
 * when compute is BF16; but forward, groups of at most NB_FEW_ROWS rows leave W as it is stored and
 * may multiply the sum over a block with its absmax; with BF16 then also in fixed point: x to 2^-15
 * of the largest of 64 neighbours (one that is not finite makes the sum NaN), code values to 2^-14.
 */
typedef struct nb_qmatmul_args {
    nb_queue *q;
    const nb_qgroup *groups;
    int64_t n_groups;
    bool backward;
    const void *x;
    int64_t ldx;
    void *y;
    int64_t ldy;
    bool accumulate;
    nb_compute compute;
    nb_dtype x_dtype, y_dtype; /* F32 (0) or BF16 */
    const nb_lowrank *extra;
    int64_t n_extra;
    /* A further forward product with the same x (ldx, dtype, compute, rows of the groups), whose
     * results overlap nothing of this one; NULL: none. Same bits as in a call of its own, but x is
     * packed once for all. */
    const struct nb_qmatmul_args *next;
} nb_qmatmul_args;
typedef void nb_qmatmul_fn(const nb_qmatmul_args *a);

/* out[rows, cols] = logical W[row0.., col0..] in f32, row stride ldo. The decoder that products use
 * tile by tile; also the way to look at a weight. */
typedef struct nb_decode_args {
    nb_queue *q;
    const nb_qtensor *w;
    int64_t row0, rows, col0, cols;
    float *out;
    int64_t ldo;
} nb_decode_args;
typedef void nb_decode_fn(const nb_decode_args *a);

/* |error| of one element of a dot product over K against exact arithmetic, relative to
 * sum |a_i b_i|: rounding of the operands plus K roundings of the sum that average out. */
#define NB_TOL_DOT(K, compute)                                                                     \
    (((compute) == NB_COMPUTE_BF16 ? 0x1p-8 : 0.0) +                                               \
     0x1p-24 * (4.0 + 2.0 * __builtin_sqrt((double)(K))))

#endif
