/* SPDX-License-Identifier: MIT */
/* What people look at while a run goes on and afterwards, beside train_log.jsonl: event files for
 * TensorBoard, report.html, and the command of on_event. Nothing here can fail a run: what cannot
 * be shown is said once. */
#ifndef NBI_WATCH_H
#define NBI_WATCH_H

#include "nibble/status.h"

typedef struct nbi_run nbi_run;
typedef struct nbi_watch nbi_watch;

/* Opens what the recipe asks for; train_log.jsonl is open and has its first line. NULL (without
 * memory) is fine for the other functions. The run outlives it. */
nbi_watch *nbi_watch_open(const nbi_run *run);
/* Shows the entries of the history that were not shown yet. */
void nbi_watch_entries(nbi_watch *w);
/* A checkpoint is complete. */
void nbi_watch_saved(nbi_watch *w, const char *path);
/* The run ends with this status (err: its message, when it is not NB_OK), however far it came. */
void nbi_watch_end(const nbi_run *run, nb_status st, const nb_error *err);
void nbi_watch_close(nbi_watch **w);

#endif
