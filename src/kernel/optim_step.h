/* SPDX-License-Identifier: MIT */
#ifndef NB_OPTIM_STEP_H
#define NB_OPTIM_STEP_H

#include "device/device.h"
#include "tensor/codebook.h"
#include <stdbool.h>
#include <stdint.h>

/* AdamW with decoupled decay (Loshchilov & Hutter 2019), one step on one tensor:
 *   g = grad * grad_scale;  w -= lr * weight_decay * w
 *   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *   w -= lr * (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps),   t = step (1-based)
 * in the order of torch.optim.AdamW. With l2 that of torch.optim.Adam: g += weight_decay * w takes
 * the place of the decay. All f32 [n]. */
typedef struct nb_adamw_args {
    nb_queue *q;
    int64_t n;
    float *w, *m, *v;
    const float *grad;
    double grad_scale;
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;
    bool l2;
} nb_adamw_args;
typedef void nb_adamw_fn(const nb_adamw_args *a);

/* torch.optim.SGD, one step on one tensor:
 *   g = grad * grad_scale + weight_decay * w
 *   m = momentum m + (1-dampening) g, but m = g when step is 1
 *   w -= lr * m, or lr * (g + momentum m) with nesterov
 * All f32 [n]; m NULL without momentum, then w -= lr * g. */
typedef struct nb_sgd_args {
    nb_queue *q;
    int64_t n;
    float *w, *m;
    const float *grad;
    double grad_scale;
    double lr, momentum, dampening, weight_decay;
    bool nesterov;
    int64_t step;
} nb_sgd_args;
typedef void nb_sgd_fn(const nb_sgd_args *a);

/* Lion ("Symbolic discovery of optimization algorithms", Chen et al. 2023) in the order of
 * bitsandbytes, one step on one tensor:
 *   g = grad * grad_scale;  w -= lr * weight_decay * w
 *   w -= lr * sign(b1 m + (1-b1) g);  m = b2 m + (1-b2) g
 * All f32 [n]. The sign of 0 is 0, NaN ends up in w. */
typedef struct nb_lion_args {
    nb_queue *q;
    int64_t n;
    float *w, *m;
    const float *grad;
    double grad_scale;
    double lr, beta1, beta2, weight_decay;
} nb_lion_args;
typedef void nb_lion_fn(const nb_lion_args *a);

/* Adafactor (Shazeer & Stern 2018) in the order of transformers.optimization.Adafactor, one step on
 * one matrix w [rows, cols], row-major, with the second moment held as a mean a row and a column:
 *   g = grad * grad_scale
 *   row = beta2 row + (1-beta2) mean over columns of (g^2 + eps), col likewise over rows
 *   u = g / sqrt(row / mean(row)) / sqrt(col)
 *   u *= lr / max(1, rms(u) / clip);  m = b1 m + (1-b1) u, u = m unless m is NULL
 *   w -= lr * weight_decay * w;  w -= u
 * A vector of n elements is the one row of a matrix whose `row` is NULL: col [n] is then the second
 * moment itself. Means are summed in f64 in an order fixed by the shape. */
typedef struct nb_adafactor_args {
    nb_queue *q;
    int64_t rows, cols;
    float *w, *m;      /* [rows, cols] */
    float *row, *col;  /* [rows], [cols] */
    float *factor;     /* [cols], lost */
    const float *grad; /* [rows, cols] */
    double grad_scale;
    double lr, beta1, beta2, eps, clip, weight_decay;
} nb_adafactor_args;
typedef void nb_adafactor_fn(const nb_adafactor_args *a);

/* Steps of bitsandbytes ("8-bit optimizers via block-wise quantization", Dettmers et al. 2022) on
 * one tensor whose moments are held in 8 bits. adamw8: m = m_book[code] * m_scale of its block, v
 * likewise;  g = grad * grad_scale m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2 w -= lr c2/c1 * m /
 * (sqrt(v) + c2 eps),  c1 = 1-b1^t, c2 = sqrt(1-b2^t), t = step (1-based) w -= lr * weight_decay *
 * w   (after the update, unlike adamw above) lion8: as lion above with m in 8 bits; v, v_scale,
 * v_book, eps and step are not looked at. Then m, v are encoded again: scale = largest magnitude of
 * the block, nearest entries (halfway between two, either), except that a negative m never becomes
 * 0. w and grad f32 [n]; m and v codes [n] with one scale a block of NB_OPTIM8_BLOCK, or, with
 * m_scale and v_scale NULL, f32 [n]. NaN in grad ends up in w. A tensor may be done in parts that
 * start at a multiple of the block. */
enum { NB_OPTIM8_BLOCK = 256 };
typedef struct nb_optim8_args {
    nb_queue *q;
    int64_t n;
    float *w;
    void *m, *v;
    float *m_scale, *v_scale;           /* [ceil(n / NB_OPTIM8_BLOCK)] */
    const nb_dynamic8 *m_book, *v_book; /* signed, unsigned */
    const float *grad;
    double grad_scale;
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;
} nb_optim8_args;
typedef void nb_optim8_fn(const nb_optim8_args *a);

/* Sum of squares in f64 over a partition fixed by n. NaN and Inf carry through. */
typedef struct nb_sumsq_args {
    nb_queue *q;
    int64_t n;
    const float *x;
    double *out;
} nb_sumsq_args;
typedef void nb_sumsq_fn(const nb_sumsq_args *a);

#endif
