/* SPDX-License-Identifier: MIT */
/* One batch on its way through the layers: what every layer needs besides its own weights. */
#ifndef NB_PASS_H
#define NB_PASS_H

#include "nn/linear.h"

typedef struct nb_pass {
    const nb_exec *exec;
    const nb_batch *batch;
    nb_dtype act;  /* of what layers hand to each other: inputs of products, q, k, v, gate, up */
    bool training; /* hooks keep their state and drop out */
    bool again;    /* a part of the forward pass done once more for the backward pass */
    const float *rope; /* [m, P/2, 2] cosine and sine of each row's angles */
    const nb_attn_segment *segments;
    int64_t n_segments;
} nb_pass;

/* A call of a linear layer on all rows with input x [m, in]; outputs and gradients with their
 * dtypes are set by the caller. Dropout keys are there in training only. */
static inline nb_site_call nb_pass_call(const nb_pass *p, const void *x, int64_t in)
{
    const nb_batch *b = p->batch;
    return (nb_site_call){.exec = p->exec,
                          .batch = b,
                          .row0 = 0,
                          .m = b->m,
                          .example = p->training ? b->example : NULL,
                          .token = p->training ? b->positions : NULL,
                          .x = x,
                          .ldx = in,
                          .x_dtype = p->act,
                          .training = p->training,
                          .again = p->again};
}

#endif
