/* SPDX-License-Identifier: MIT */
/* Linear layers: y = x W^T + b over stored weights, with sites. */
#ifndef NB_LINEAR_H
#define NB_LINEAR_H

#include "nn/site.h"

#define NB_LINEAR_MAX_SITES 4
#define NB_LINEAR_MAX_TOGETHER 4 /* layers with the same input in one call */
#define NB_LINEAR_MAX_TERMS 8    /* low-rank terms in one product; further hooks are called */

typedef struct nb_linear {
    nb_qtensor w;      /* [out, in] */
    const float *bias; /* f32 [out] or NULL */
    float *dw; /* [out, in] f32, += when the weight is trained (then w is dense F32), else NULL */
    float *dbias; /* [out], += when the bias is trained, else NULL */
    int n_sites;
    nb_site *sites[NB_LINEAR_MAX_SITES];
} nb_linear;

/* True when a backward pass has anything to add here: a trained weight or bias, or a hook. */
bool nb_linear_trains(const nb_linear *l);
/* y[m, out] (= or +=) x W^T + b with the hooks of each site. `c` describes the call with y = the
 * whole output (stride ldy). accumulate: y += (residual connection in place). */
void nb_linear_forward(const nb_linear *l, const nb_site_call *c, bool accumulate);
/* The same for n layers with the same x, assigning: what their hooks do with x is done at once. */
void nb_linear_forward_all(const nb_linear *const *l, nb_site_call *c, int n);
/* True when the backward pass can do without x at first: nb_linear_backward with c->x = NULL, then
 * nb_linear_backward_input with x for the gradients that need it. */
bool nb_linear_takes_input_later(const nb_linear *l);
void nb_linear_backward_input(const nb_linear *l, const nb_site_call *c);
/* dx (= or +=, c->dx may be NULL) dy W; dw += dy^T x; dbias += column sums; with the hooks of each
 * site. c->dy = the whole output gradient. */
void nb_linear_backward(const nb_linear *l, const nb_site_call *c, bool accumulate);
/* The same for n layers with the same x, dx being the sum of theirs (assigned). */
void nb_linear_backward_all(const nb_linear *const *l, nb_site_call *c, int n);

#endif
