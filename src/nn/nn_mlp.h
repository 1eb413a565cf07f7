/* SPDX-License-Identifier: MIT */
/* The gated feed-forward part of a block: y += down(act(gate(x)) * up(x)). */
#ifndef NB_NN_MLP_H
#define NB_NN_MLP_H

#include "nn/pass.h"

typedef struct nb_mlp {
    const nb_linear *gate, *up, *down;
    nb_act act;
} nb_mlp;

/* Buffers of one layer, all [m, F] of the pass's act dtype. */
typedef struct nb_mlp_acts {
    void *gate, *up; /* the backward pass reads them */
    void *h;         /* act(gate) * up; scratch, may be gate in inference */
    void *dh;        /* backward scratch */
} nb_mlp_acts;

/* x [m, D] (act dtype) is the normed input; y [m, D] is added to. */
void nb_mlp_forward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x,
                    float *y);
/* The first part of it alone: gate and up. */
void nb_mlp_project(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x);
/* dy [m, D] is the gradient of y. dx [m, D] = gradient of x; NULL: not wanted. Parameter gradients
 * are added. x is read only when gate or up train; all buffers are overwritten. */
void nb_mlp_backward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x,
                     const float *dy, float *dx);

#endif
