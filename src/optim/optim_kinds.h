/* SPDX-License-Identifier: MIT */
/* The optimizers there are, one a file. */
#ifndef NBI_OPTIM_KINDS_H
#define NBI_OPTIM_KINDS_H

#include "optim/optim.h"

extern const nb_optim_kind nbi_optim_adamw;

#endif
