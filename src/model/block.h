/* SPDX-License-Identifier: MIT */
/* The one decoder block: x + attention(norm(x)), then + mlp(norm(...)). */
#ifndef NB_BLOCK_H
#define NB_BLOCK_H

#include "model/workspace.h"

/* The norm after the last block. */
nb_norm nbi_final_norm(const nb_model *m);
/* Block i of the model from a->x to a->out. normed [m, D] is scratch. */
void nbi_block_forward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                       float *normed);
/* True when anything in block i trains. */
bool nbi_block_trains(const nb_model *m, int64_t i);
/* True when a gradient is wanted below the output head. */
bool nbi_model_trains_below_head(const nb_model *m);
/* dres [m, D]: gradient of the output on entry, with want_dx of the input on return. Parameter
 * gradients are added. normed, dnormed [m, D] are scratch. */
void nbi_block_backward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                        float *normed, float *dnormed, float *dres, bool want_dx);

#endif
