/* SPDX-License-Identifier: MIT */
/* trainer_state.json: where a run stands and all it has logged, under the Trainer's keys, so that
 * scripts that plot those files plot these. What the Trainer writes as a bare NaN is the text "NaN"
 * here, as everywhere in our JSON. Private to train/. */
#ifndef NBI_TRAINER_STATE_H
#define NBI_TRAINER_STATE_H

#include "train/trainer.h"

#define NBI_TRAINER_STATE "trainer_state.json"

/* The file's text; `checkpoint`: of the checkpoint of this step, else of output_dir. */
nb_status nbi_trainer_state_text(const nbi_run *run, bool checkpoint, nbi_strbuf *out,
                                 nb_error *err) NB_MUST_CHECK;
/* dir/trainer_state.json, whole or not at all; replaces one that is there. */
nb_status nbi_trainer_state_write(const nbi_run *run, const char *dir, nb_error *err) NB_MUST_CHECK;
/* Appends the log_history of dir/trainer_state.json to an empty history: the same kinds, names,
 * order and bits that were written. NB_FORMAT, with file, entry and what was expected, for anything
 * else than whole entries in ascending order up to global_step; then the history is to be freed.
 * global_step (may be NULL) receives the file's. */
nb_status nbi_trainer_state_read(const char *dir, nbi_history *history, int64_t *global_step,
                                 nb_error *err) NB_MUST_CHECK;

#endif
