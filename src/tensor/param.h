/* SPDX-License-Identifier: MIT */
/* What an optimizer sees: a trained tensor with its gradient. Adapters and fully trained modules
 * hand out lists of them; the trainer does not know where they come from. */
#ifndef NB_PARAM_H
#define NB_PARAM_H

#include "base/array.h"

typedef struct nb_param {
    char *name; /* as saved: "model.layers.0.mlp.up_proj.weight" or PEFT's name; owned */
    int rank;   /* 1 or 2 */
    int64_t shape[2];
    int64_t n;     /* elements */
    float *value;  /* f32 [n], owned by whoever made the parameter */
    float *grad;   /* f32 [n]; += by backward passes, zeroed by the trainer */
    bool no_decay; /* biases and norms: no weight decay unless decay_all */
} nb_param;

typedef NBI_ARRAY(nb_param *) nb_param_list;

#endif
