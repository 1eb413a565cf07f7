/* SPDX-License-Identifier: MIT */
/* The gated feed-forward part of a block: y += down(act(gate(x)) * up(x)). */
#ifndef NB_NN_MLP_H
#define NB_NN_MLP_H

#include "nn/pass.h"

typedef struct nb_mlp {
    const nb_linear *gate, *up, *down;
    nb_act act;
} nb_mlp;

/* Buffers of one layer, all [m, F]. */
typedef struct nb_mlp_acts {
    float *gate, *up; /* kept for the backward pass */
    float *h;         /* act(gate) * up; scratch, may be gate in inference */
    float *dh;        /* backward scratch */
} nb_mlp_acts;

/* x [m, D] is the normed input; y [m, D] is added to. */
void nb_mlp_forward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const float *x,
                    float *y);
/* dy [m, D] is the gradient of y. dx [m, D] = gradient of x; NULL: not wanted. Parameter gradients
 * are added. x is read only when gate or up train; h and dh are overwritten. */
void nb_mlp_backward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const float *x,
                     const float *dy, float *dx);

#endif
