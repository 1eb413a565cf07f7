/* SPDX-License-Identifier: MIT */
#include "nn/nn_norm.h"

void nb_norm_forward(const nb_norm *n, const nb_exec *exec, int64_t rows, const float *x, float *y,
                     float *rstd)
{
    exec->k.rmsnorm(&(nb_rmsnorm_args){.q = exec->q,
                                       .rows = rows,
                                       .d = n->d,
                                       .x = x,
                                       .w = n->w,
                                       .w_offset = 0.0f,
                                       .eps = n->eps,
                                       .y = y,
                                       .rstd = rstd});
}

void nb_norm_backward(const nb_norm *n, const nb_exec *exec, int64_t rows, const float *x,
                      const float *rstd, const float *dy, float *dx, bool accumulate)
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
                                               .dw = n->dw});
}
