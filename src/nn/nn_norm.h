/* SPDX-License-Identifier: MIT */
/* RMSNorm with a weight. */
#ifndef NB_NN_NORM_H
#define NB_NN_NORM_H

#include "kernel/kernel.h"

typedef struct nb_norm {
    const float *w; /* [d]; NULL: there is no such norm */
    float *dw;      /* [d] += in the backward pass, NULL when frozen */
    int64_t d;
    float eps;
    nb_dtype dtype;   /* of the input and of the gradients of input and output */
    nb_dtype y_dtype; /* of the output */
} nb_norm;

/* y[rows, d] = norm of x; y may be x when the dtypes are equal. rstd[rows] for the backward pass,
 * may be NULL. */
void nb_norm_forward(const nb_norm *n, const nb_exec *exec, int64_t rows, const void *x, void *y,
                     float *rstd);
/* The same; copy[rows, d] gets x as f32 in the same pass. copy may be x when x is f32. */
void nb_norm_forward_copy(const nb_norm *n, const nb_exec *exec, int64_t rows, const void *x,
                          void *y, float *rstd, float *copy);
/* dx[rows, d] (= or +=) gradient of x, the forward input; dx may be dy when not accumulating. */
void nb_norm_backward(const nb_norm *n, const nb_exec *exec, int64_t rows, const void *x,
                      const float *rstd, const void *dy, void *dx, bool accumulate);

#endif
