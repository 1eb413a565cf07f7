/* SPDX-License-Identifier: MIT */
/* Products of a wide matrix with thin ones: what adapters of low rank compute beside the base. */
#ifndef NB_THIN_H
#define NB_THIN_H

#include "kernel/matmul.h"

/* One pair of thin products with y[M, N]; either result may be NULL.
 *
 *   c[M, r]  = alpha * y * b              b element (j, i) at b[j*b_rs + i*b_cs], 0 <= j < N
 *   d[N, r] += alpha * y^T * h            d element (j, i) at d[j*d_rs + i*d_cs], one of them 1
 *
 * c and h are row-major with row strides ldc and ldh; c may be h itself (h is read first). */
typedef struct nb_thin_term {
    int64_t r;
    const float *b;
    int64_t b_rs, b_cs;
    float *c;
    int64_t ldc;
    const float *h;
    int64_t ldh;
    float *d;
    int64_t d_rs, d_cs;
    float alpha;
} nb_thin_term;

/* All terms at once, so that y is read as seldom as can be. y row stride ldy, F32 or BF16; nothing
 * but c and h of one term overlaps. Operands are rounded to bf16 when compute is BF16, sums are f32
 * in an order that depends on M, N and nothing else: tolerance NB_TOL_DOT(N or M, compute). A row
 * of c does not depend on the other rows where no term has d. */
typedef struct nb_thin_args {
    nb_queue *q;
    int64_t m, n;
    const void *y;
    int64_t ldy;
    nb_dtype y_dtype; /* F32 (0) or BF16 */
    const nb_thin_term *terms;
    int64_t n_terms;
    nb_compute compute;
} nb_thin_args;
typedef void nb_thin_fn(const nb_thin_args *a);

#endif
