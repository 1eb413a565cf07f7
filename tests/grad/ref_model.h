/* SPDX-License-Identifier: MIT */
/* The decoder by its plain formulas in double, written without looking at speed or at the library's
 * layers: what the tests differentiate numerically. */
#ifndef REF_MODEL_H
#define REF_MODEL_H

#include "model/model.h"

typedef struct ref_tensor {
    char name[64];
    double *v; /* [n] the tests change these */
    int64_t n;
    const float *grad; /* where the library adds its gradient; NULL when frozen */
} ref_tensor;

typedef struct ref_block {
    double *attn_norm, *mlp_norm, *q_norm, *k_norm;
    double *q, *k, *v, *o, *gate, *up, *down;
    double *qb, *kb, *vb, *ob, *gateb, *upb, *downb;
} ref_block;

typedef struct ref_model {
    const nb_model_config *c;
    ref_block *blocks;
    double *embed, *final_norm, *head;
    ref_tensor *tensors; /* tied ones once */
    size_t n;
} ref_model;

/* Copies (decodes) the model's weights. */
ref_model *ref_open(const nb_model *m);
void ref_close(ref_model *r);
/* Tensor that holds the copy of a linear layer's weight. */
double *ref_weight(ref_model *r, int layer, const char *linear);
/* Sum of -log p over the rows with a target. Outputs may be NULL: hidden [layers+1][m, D] residual
 * stream, final [m, D], logits [m, V]. */
double ref_loss(const ref_model *r, const nb_batch *b, double *hidden, double *final,
                double *logits);

#endif
