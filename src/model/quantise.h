/* SPDX-License-Identifier: MIT */
/* Writing the 4-bit form of a model whose files are open (nbi_model_begin) by m->quant. */
#ifndef NBI_QUANTISE_H
#define NBI_QUANTISE_H

#include "model/model.h"

/* A bitsandbytes folder: weights, config.json, tokenizer. `into` exists (a base/safedir temporary).
 * Memory holds one 4-bit weight at a time. */
nb_status nbi_quantise_folder(nb_model *m, const char *into, nb_error *err) NB_MUST_CHECK;

#endif
