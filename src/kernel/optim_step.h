/* SPDX-License-Identifier: MIT */
#ifndef NB_OPTIM_STEP_H
#define NB_OPTIM_STEP_H

#include "device/device.h"
#include "tensor/codebook.h"
#include <stdint.h>

/* AdamW with decoupled decay (Loshchilov & Hutter 2019), one step on one tensor:
 *   g = grad * grad_scale;  w -= lr * weight_decay * w
 *   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *   w -= lr * (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps),   t = step (1-based)
 * in the order of torch.optim.AdamW. All f32 [n]. */
typedef struct nb_adamw_args {
    nb_queue *q;
    int64_t n;
    float *w, *m, *v;
    const float *grad;
    double grad_scale;
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;
} nb_adamw_args;
typedef void nb_adamw_fn(const nb_adamw_args *a);

/* AdamW of bitsandbytes ("8-bit optimizers via block-wise quantization", Dettmers et al. 2022), one
 * step on one tensor whose moments are held in 8 bits:
 *   m = m_book[code] * m_scale of its block, v likewise;  g = grad * grad_scale
 *   m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
 *   w -= lr c2/c1 * m / (sqrt(v) + c2 eps),  c1 = 1-b1^t, c2 = sqrt(1-b2^t), t = step (1-based)
 *   w -= lr * weight_decay * w   (after the update, unlike adamw above)
 * and m, v are encoded again: scale = largest magnitude of the block, nearest entries (halfway
 * between two, either), except that a negative m never becomes 0. w and grad f32 [n]; m and v codes
 * [n] with one scale a block of NB_ADAMW8_BLOCK, or, with m_scale and v_scale NULL, f32 [n]. NaN in
 * grad ends up in w. A tensor may be done in parts that start at a multiple of the block. */
enum { NB_ADAMW8_BLOCK = 256 };
typedef struct nb_adamw8_args {
    nb_queue *q;
    int64_t n;
    float *w;
    void *m, *v;
    float *m_scale, *v_scale;           /* [ceil(n / NB_ADAMW8_BLOCK)] */
    const nb_dynamic8 *m_book, *v_book; /* signed, unsigned */
    const float *grad;
    double grad_scale;
    double lr, beta1, beta2, eps, weight_decay;
    int64_t step;
} nb_adamw8_args;
typedef void nb_adamw8_fn(const nb_adamw8_args *a);

/* Sum of squares in f64 over a partition fixed by n. NaN and Inf carry through. */
typedef struct nb_sumsq_args {
    nb_queue *q;
    int64_t n;
    const float *x;
    double *out;
} nb_sumsq_args;
typedef void nb_sumsq_fn(const nb_sumsq_args *a);

#endif
