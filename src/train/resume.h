/* SPDX-License-Identifier: MIT */
/* Going on from a checkpoint: which one, whether it fits, and loading it. Private to train/. */
#ifndef NBI_RESUME_H
#define NBI_RESUME_H

#include "train/trainer.h"

/* Checkpoints of a folder by their names, steps ascending. */
typedef NBI_ARRAY(int64_t) nbi_steps;
nb_status nbi_checkpoints_list(const char *dir, nbi_steps *out, nb_error *err) NB_MUST_CHECK;
/* dir/checkpoint-<step>, a new string; NULL: no memory. */
char *nbi_checkpoint_path(const char *dir, int64_t step);

/* What resume_from_checkpoint asks for: finds the newest intact checkpoint (said when newer ones
 * are not), or begins afresh (said). NB_FORMAT when there are checkpoints but none is intact. */
nb_status nbi_resume_find(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* With rows and identity at hand: NB_MISMATCH lists what differs, unless it is forced. */
nb_status nbi_resume_check(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* With model and optimizer open: values, state of the optimizer, history, progress. */
nb_status nbi_resume_load(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Names the run, or takes the name of the one that goes on. */
nb_status nbi_resume_name(nbi_run *run, nb_error *err) NB_MUST_CHECK;
void nbi_resume_close(nbi_run *run);

#endif
