/* SPDX-License-Identifier: MIT */
/* The one decoder block: x + attention(norm(x)), then + mlp(norm(...)). */
#ifndef NB_BLOCK_H
#define NB_BLOCK_H

#include "model/workspace.h"

/* The norm after the last block, with output in `act`. */
nb_norm nbi_final_norm(const nb_model *m, nb_dtype act);
/* Block i of the model from a->x to a->out. normed [m, D] (act dtype) is scratch. */
void nbi_block_forward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                       void *normed);
/* The lowest block that the backward pass has to reach: 0 when the embedding trains, `layers` when
 * nothing in any block does. */
int64_t nbi_lowest_block(const nb_model *m);
/* True when a gradient is wanted below the output head. */
bool nbi_model_trains_below_head(const nb_model *m);
/* dres [m, D]: gradient of the output on entry, with want_dx of the input on return. Parameter
 * gradients are added. What the block did not keep (a->mode) is computed again first. normed,
 * dnormed [m, D] are scratch. */
void nbi_block_backward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                        void *normed, float *dnormed, float *dres, bool want_dx);

#endif
