/* SPDX-License-Identifier: MIT */
/* nibble_state.json of a checkpoint: where the run stands and what it was made from. The tensors of
 * the optimizer lie beside it (state_file.h), the log in trainer_state.json. */
#ifndef NBI_RUN_STATE_H
#define NBI_RUN_STATE_H

#include "base/json.h"
#include "train/trainer.h"

#define NBI_RUN_STATE "nibble_state.json"

/* Into the folder of a checkpoint that is being made. */
nb_status nbi_run_state_write(const nbi_run *run, const char *dir, nb_error *err) NB_MUST_CHECK;
/* Reads the file of a checkpoint into `arena`; NB_UNSUPPORTED when another version wrote it. */
nb_status nbi_run_state_read(const char *dir, nbi_arena *arena, nbi_json **state,
                             nb_error *err) NB_MUST_CHECK;
/* Every field of NBI_PROGRESS_MAP; NB_FORMAT names one that is missing or of another kind. */
nb_status nbi_run_state_progress(const nbi_json *state, nbi_progress *at,
                                 nb_error *err) NB_MUST_CHECK;
/* Puts progress, results and what was forced before into the run. The optimizer must be open. */
nb_status nbi_run_state_restore(nbi_run *run, const nbi_json *state, nb_error *err) NB_MUST_CHECK;
/* Which run the checkpoint belongs to; "" when it does not say. */
const char *nbi_run_state_run(const nbi_json *state);

/* Appends one text for each thing in which the run at hand differs from the one that made the
 * checkpoint: "key: was A, is B". Rows must be open. Settings that may change are not compared. */
nb_status nbi_run_state_compare(const nbi_run *run, const nbi_json *state, nbi_strbuf *out,
                                size_t *n, nb_error *err) NB_MUST_CHECK;

#endif
