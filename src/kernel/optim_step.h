/* SPDX-License-Identifier: MIT */
#ifndef NB_OPTIM_STEP_H
#define NB_OPTIM_STEP_H

#include "device/device.h"
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

/* Sum of squares in f64 over a partition fixed by n. NaN and Inf carry through. */
typedef struct nb_sumsq_args {
    nb_queue *q;
    int64_t n;
    const float *x;
    double *out;
} nb_sumsq_args;
typedef void nb_sumsq_fn(const nb_sumsq_args *a);

#endif
