/* SPDX-License-Identifier: MIT */
/* The optimizers there are, one a file. */
#ifndef NBI_OPTIM_KINDS_H
#define NBI_OPTIM_KINDS_H

#include <string.h>
#include "optim/optim.h"

/* Who takes which option, in optim_names.c. */
enum { NBI_TAKES_ADAM = 1, NBI_TAKES_LION = 2, NBI_TAKES_SGD = 4, NBI_TAKES_ADAFACTOR = 8 };

extern const nb_optim_kind nbi_optim_adamw, nbi_optim_adam, nbi_optim_adamw8, nbi_optim_sgd,
    nbi_optim_lion, nbi_optim_lion8, nbi_optim_adafactor;

/* Tensors of fewer elements keep f32 moments beside 8-bit ones. */
#define NBI_OPTIM8_SMALL 4096
/* What the 8-bit steps have in common; the second moment and the scales are not set. */
nb_optim8_args nbi_optim8_args(const nb_optim *o, const nb_optim_piece *p);

/* After a piece was stepped, while it is still in the caches: notes the first number in its states
 * or values that is not finite in o->bad. Codes of 8-bit states are always numbers; their scales
 * are looked at. (finite.c) */
void nbi_optim_watch(nb_optim *o, const nb_optim_piece *p, const nb_optim_state *states);

/* Weight decay of a parameter: biases and norms have none unless asked for. */
static inline double nbi_optim_decay(const nb_optim *o, const nb_param *p)
{
    return p->no_decay && !o->config.decay_all ? 0 : o->config.weight_decay;
}

/* Its rate over the common one (LoRA+, Hayou et al. 2024). */
static inline double nbi_optim_ratio(const nb_optim *o, const nb_param *p)
{
    const double ratio = o->config.loraplus_ratio;
    return ratio > 0 && p->name && strstr(p->name, ".lora_B.") ? ratio : 1;
}

#endif
