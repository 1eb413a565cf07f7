/* SPDX-License-Identifier: MIT */
/* A log that remembers its warnings, for the page of the run, and passes every line on. */
#ifndef NBI_NOTES_H
#define NBI_NOTES_H

#include "base/arena.h"
#include "nibble/log.h"

#define NBI_NOTES_MAX 200

typedef struct nbi_notes {
    nb_log log; /* hand this on */
    const nb_log *to;
    nbi_arena arena;
    const char *warnings[NBI_NOTES_MAX]; /* each once, in their order */
    size_t n;
} nbi_notes;

/* `to` may be NULL and outlives the notes, which must not be moved. Returns the log to use. */
const nb_log *nbi_notes_open(nbi_notes *notes, const nb_log *to);
void nbi_notes_close(nbi_notes *notes);

#endif
