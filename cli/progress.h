/* SPDX-License-Identifier: MIT */
/* What a run prints: one live line on a terminal, plain lines elsewhere. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "args.h"

typedef struct cli_progress {
    bool live;           /* stderr is a terminal that moves its cursor */
    bool shown;          /* a live line stands on the screen */
    double last;         /* clock of the last drawing */
    double step_seconds; /* of late, a moving mean; 0: none yet */
    double step_clock;   /* when the last step was told */
    int64_t step;        /* that step */
} cli_progress;

void cli_progress_init(cli_progress *p);
/* For nb_train_hooks.progress; user is the cli_progress. */
void cli_progress_step(void *user, const nb_train_progress *s);
/* A log sink that does not tear the live line; `user` is the cli_progress. */
void cli_progress_log(void *user, nb_log_level level, const char *line);
/* Ends the live line. */
void cli_progress_end(cli_progress *p);

/* The live line into buf[n], at most columns - 1 characters of ASCII: what matters least is left
 * out first. memory: resident bytes, 0: unknown; step_seconds: 0: unknown. */
void cli_progress_text(const nb_train_progress *s, double memory, double step_seconds, int columns,
                       char *buf, size_t n);

#endif
