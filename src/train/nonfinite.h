/* SPDX-License-Identifier: MIT */
/* Where numbers that are not finite came from. Only looked for once there are some. Private to
 * train/. */
#ifndef NBI_NONFINITE_H
#define NBI_NONFINITE_H

#include "train/trainer.h"

/* NB_NUMERIC for the last forward pass, whose loss is not finite: the first place in it (the
 * embeddings, a block, the output head) and, where a weight or a scale there is the cause, its
 * name. */
nb_status nbi_fail_loss(const nbi_run *run, const nb_loss *loss, nb_error *err);
/* NB_NUMERIC for gradients whose norm is not finite: the first tensor. */
nb_status nbi_fail_norm(const nbi_run *run, nb_error *err);

#endif
