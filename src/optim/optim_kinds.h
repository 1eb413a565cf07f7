/* SPDX-License-Identifier: MIT */
/* The optimizers there are, one a file. */
#ifndef NBI_OPTIM_KINDS_H
#define NBI_OPTIM_KINDS_H

#include "optim/optim.h"

extern const nb_optim_kind nbi_optim_adamw, nbi_optim_adamw8;

/* Weight decay of a parameter: biases and norms have none unless asked for. */
static inline double nbi_optim_decay(const nb_optim *o, const nb_param *p)
{
    return p->no_decay && !o->config.decay_all ? 0 : o->config.weight_decay;
}

#endif
