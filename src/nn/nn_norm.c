/* SPDX-License-Identifier: MIT */
#include "nn/nn_norm.h"

void nb_norm_forward(const nb_norm *n, const nb_exec *exec, int64_t rows, const void *x, void *y,
                     float *rstd)
{
    nb_norm_forward_copy(n, exec, rows, x, y, rstd, NULL);
}

void nb_norm_forward_copy(const nb_norm *n, const nb_exec *exec, int64_t rows, const void *x,
                          void *y, float *rstd, float *copy)
{
    exec->k.rmsnorm(&(nb_rmsnorm_args){.q = exec->q,
                                       .rows = rows,
                                       .d = n->d,
                                       .x = x,
                                       .w = n->w,
                                       .w_offset = 0.0f,
                                       .eps = n->eps,
                                       .y = y,
                                       .rstd = rstd,
                                       .x_dtype = n->dtype,
                                       .y_dtype = n->y_dtype,
                                       .copy = copy == x ? NULL : copy});
}

void nb_norm_backward(const nb_norm *n, const nb_exec *exec, int64_t rows, const void *x,
                      const float *rstd, const void *dy, void *dx, bool accumulate)
{
    exec->k.rmsnorm_bwd(&(nb_rmsnorm_bwd_args){.q = exec->q,
                                               .rows = rows,
                                               .d = n->d,
                                               .x = x,
                                               .w = n->w,
                                               .rstd = rstd,
                                               .dy = dy,
                                               .w_offset = 0.0f,
                                               .dx = dx,
                                               .accumulate = accumulate,
                                               .dw = n->dw,
                                               .x_dtype = n->dtype,
                                               .dy_dtype = n->dtype,
                                               .dx_dtype = n->dtype});
}
