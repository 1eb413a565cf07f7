/* SPDX-License-Identifier: MIT */
#include "train/notes.h"

#include <string.h>

static void remember(nbi_notes *notes, const char *line)
{
    for (size_t i = 0; i < notes->n; i++)
        if (strcmp(notes->warnings[i], line) == 0)
            return;
    const char *copy =
        notes->n < NBI_NOTES_MAX ? nbi_arena_strndup(&notes->arena, line, strlen(line)) : NULL;
    if (copy)
        notes->warnings[notes->n++] = copy;
}

static void take(void *user, nb_log_level level, const char *line)
{
    nbi_notes *notes = user;
    if (level == NB_LOG_WARN)
        remember(notes, line);
    if (notes->to && notes->to->write)
        notes->to->write(notes->to->user, level, line);
}

const nb_log *nbi_notes_open(nbi_notes *notes, const nb_log *to)
{
    *notes = (nbi_notes){.log = {take, notes}, .to = to};
    nbi_arena_init(&notes->arena, NBI_MEM_OTHER);
    return &notes->log;
}

void nbi_notes_close(nbi_notes *notes)
{
    nbi_arena_free(&notes->arena);
    notes->n = 0;
}
