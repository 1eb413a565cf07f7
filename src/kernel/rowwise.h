/* SPDX-License-Identifier: MIT */
/* Element- and row-wise operations. Buffers are row-major, contiguous unless a stride is named, and
 * f32 unless a dtype is named, which is F32 (the default) or BF16; arithmetic is f32 in both, and a
 * result is rounded once. Threads split rows; sums over rows (dw, db) use a partition fixed by the
 * problem size. */
#ifndef NB_ROWWISE_H
#define NB_ROWWISE_H

#include "device/device.h"
#include "tensor/dtype.h"
#include <stdbool.h>
#include <stdint.h>

/* y[i,:] = x[i,:] * rstd[i] * (w + w_offset), rstd[i] = 1/sqrt(mean(x[i,:]^2) + eps)   (RMSNorm,
 * Zhang & Sennrich 2019). x, y [rows, d]; w [d]; rstd [rows], may be NULL. y may be x of
 * the same dtype. The sum of squares is taken in f64. copy [rows, d] f32 (NULL: none) gets x
 * itself, for what is added to it to stand beside x; it is neither x nor y. */
typedef struct nb_rmsnorm_args {
    nb_queue *q;
    int64_t rows, d;
    const void *x;
    const float *w;
    float w_offset, eps;
    void *y;
    float *rstd;
    nb_dtype x_dtype, y_dtype;
    float *copy;
} nb_rmsnorm_args;
typedef void nb_rmsnorm_fn(const nb_rmsnorm_args *a);

/* dx (= or +=) gradient of the above; dw[d] += sum over rows (NULL: not wanted). dx may be dy of
 * the same dtype when not accumulating. */
typedef struct nb_rmsnorm_bwd_args {
    nb_queue *q;
    int64_t rows, d;
    const void *x;
    const float *w, *rstd;
    const void *dy;
    float w_offset;
    void *dx;
    bool accumulate;
    float *dw;
    nb_dtype x_dtype, dy_dtype, dx_dtype;
} nb_rmsnorm_bwd_args;
typedef void nb_rmsnorm_bwd_fn(const nb_rmsnorm_bwd_args *a);

typedef enum nb_act { NB_ACT_SILU, NB_ACT_GELU_TANH, NB_ACT_GELU_ERF } nb_act;

/* h = act(g) * u, all [n]. h may be g or u. */
typedef struct nb_glu_args {
    nb_queue *q;
    nb_act act;
    int64_t n;
    const void *g, *u;
    void *h;
    nb_dtype dtype; /* of all three */
} nb_glu_args;
typedef void nb_glu_fn(const nb_glu_args *a);

/* dg = dh * u * act'(g), du = dh * act(g), and h = act(g) * u again, bit for bit as nb_glu gives it
 * (NULL: not wanted). Any of dg, du, h may be the same buffer as dh, g or u. */
typedef struct nb_glu_bwd_args {
    nb_queue *q;
    nb_act act;
    int64_t n;
    const void *g, *u, *dh;
    void *dg, *du, *h;
    nb_dtype dtype; /* of all six */
} nb_glu_bwd_args;
typedef void nb_glu_bwd_fn(const nb_glu_bwd_args *a);

/* Rotation tables: cs[i][j] = {cos, sin}(positions[i] * inv_freq[j]) * scale; cs [rows, half, 2].
 * The angle is an f32 product, as in every implementation that models are trained and served with
 * (at position 1000 its rounding moves a loss by 1e-5); sine and cosine are taken in f64. */
typedef struct nb_rope_table_args {
    nb_queue *q;
    int64_t rows, half;
    const int32_t *positions;
    const float *inv_freq;
    float scale;
    float *cs;
} nb_rope_table_args;
typedef void nb_rope_table_fn(const nb_rope_table_args *a);

/* In place on x [rows, heads, p]: the first 2*half elements of each head turn, element j with
 * j + half ("half" kind). inverse: by the negative angle, which is the gradient. x2 [rows, heads2,
 * p] (NULL: none) turns by the same angles. */
typedef struct nb_rope_args {
    nb_queue *q;
    int64_t rows, heads, p, half;
    void *x;
    const float *cs;
    bool inverse;
    nb_dtype dtype; /* of x and x2 */
    void *x2;
    int64_t heads2;
} nb_rope_args;
typedef void nb_rope_fn(const nb_rope_args *a);

/* y[i] (= or +=) alpha * x[i], n elements; y may be x. */
typedef struct nb_axpy_args {
    nb_queue *q;
    int64_t n;
    float alpha;
    const float *x;
    float *y;
    bool accumulate;
} nb_axpy_args;
typedef void nb_axpy_fn(const nb_axpy_args *a);

/* y[i,:] += b, y [rows, d] row stride ldy. */
typedef struct nb_bias_args {
    nb_queue *q;
    int64_t rows, d;
    const float *b;
    void *y;
    int64_t ldy;
    nb_dtype dtype; /* of y */
} nb_bias_args;
typedef void nb_bias_fn(const nb_bias_args *a);

/* db[d] += sum over rows of dy [rows, d], row stride ldy, summed in f64 per partition. */
typedef struct nb_bias_bwd_args {
    nb_queue *q;
    int64_t rows, d;
    const void *dy;
    int64_t ldy;
    float *db;
    nb_dtype dtype; /* of dy */
} nb_bias_bwd_args;
typedef void nb_bias_bwd_fn(const nb_bias_bwd_args *a);

/* y (= or +=) keep ? x / (1 - p) : 0 over [rows, d]. Kept iff the philox uniform of (seed, site,
 * epoch, example[i], token[i], channel) >= p: a pure function, so packing, accumulation and
 * resuming leave the mask as it is, and the gradient is the same call on dy. y may be x of the same
 * dtype. */
typedef struct nb_dropout_args {
    nb_queue *q;
    int64_t rows, d;
    const void *x;
    void *y;
    float p;
    uint64_t seed;
    uint32_t site, epoch;
    const int32_t *example; /* [rows] */
    const int32_t *token;   /* [rows] position in the example */
    nb_dtype x_dtype, y_dtype;
    int64_t ldx, ldy; /* row strides, 0: d */
    bool accumulate;
} nb_dropout_args;
typedef void nb_dropout_fn(const nb_dropout_args *a);

#endif
