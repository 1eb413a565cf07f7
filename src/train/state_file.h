/* SPDX-License-Identifier: MIT */
/* The tensors of a checkpoint beside adapter and model: optimizer.safetensors with every state of
 * every parameter in its stored form ("<parameter>.<state>"), and master.safetensors with the f32
 * values of a fully trained model whose own file has 16 bits. Both are written and read piece by
 * piece. */
#ifndef NBI_STATE_FILE_H
#define NBI_STATE_FILE_H

#include "format/safetensors.h"
#include "optim/optim.h"

#define NBI_OPTIM_FILE "optimizer.safetensors"
#define NBI_MASTER_FILE "master.safetensors"

nb_status nbi_state_write_optim(const nb_optim *o, const char *dir, nb_error *err) NB_MUST_CHECK;
/* Also opens it when a state is missing, of another dtype or size: NB_MISMATCH by name. */
nb_status nbi_state_read_optim(nb_optim *o, const char *dir, nb_error *err) NB_MUST_CHECK;
nb_status nbi_state_write_master(const nb_param_list *params, const char *dir,
                                 nb_error *err) NB_MUST_CHECK;
/* The values of all parameters from dir/file, f32 tensors of their names. */
nb_status nbi_state_read_values(const nb_param_list *params, const char *dir, const char *file,
                                nb_error *err) NB_MUST_CHECK;

#endif
