/* SPDX-License-Identifier: MIT */
/* The attention part of a block: projections, optional per-head norms, rotation, attention, output
 * projection. */
#ifndef NB_NN_ATTENTION_H
#define NB_NN_ATTENTION_H

#include "nn/nn_norm.h"
#include "nn/pass.h"

typedef struct nb_attn {
    const nb_linear *q, *k, *v, *o;
    nb_norm q_norm, k_norm; /* of each head, before the rotation; both or neither (w NULL) */
    int64_t heads, kv_heads, p;
    int64_t window; /* 0: none */
} nb_attn;

/* Buffers of one layer: H*P and G*P elements of the pass's act dtype a row for queries resp. keys
 * and values; statistics are f32. */
typedef struct nb_attn_acts {
    void *q_proj, *k_proj;  /* outputs of the projections: kept when there are head norms, else the
                             * same buffers as q and k */
    void *q, *k, *v;        /* as attention uses them; remade from q_proj and k_proj in the backward
                             * pass when there are head norms */
    float *q_rstd, *k_rstd; /* [m, H], [m, G]; only with head norms, NULL in inference */
    const void *keys, *values; /* what the segments' key rows count from: k and v, or a cache */
    void *out;                 /* [m, H*P] */
    float *lse;                /* [m, H], NULL in inference */
    /* backward scratch */
    void *dout, *dq, *dk, *dv; /* as out, q, k, v */
    float *delta;              /* [m, H] */
} nb_attn_acts;

/* x [m, D] (act dtype) is the normed input; y [m, D] is added to. */
void nb_attn_forward(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s, const void *x,
                     float *y);
/* The first part of it alone: q, k and v as attention uses them. */
void nb_attn_project(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s, const void *x);
/* True when something before the output projection trains. */
bool nb_attn_trains_inside(const nb_attn *l);
/* dy [m, D] is the gradient of y. dx [m, D] = gradient of x; NULL: not wanted. Parameter gradients
 * are added. x is read only when q, k or v train. */
void nb_attn_backward(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s, const void *x,
                      const float *dy, float *dx);

#endif
