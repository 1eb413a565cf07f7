/* SPDX-License-Identifier: MIT */
/* Learning-rate schedules by HF's names and options: one registry (schedule.c), the curves of
 * transformers/optimization.py in schedule_curves.c. */
#ifndef NB_SCHEDULE_H
#define NB_SCHEDULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nibble/status.h"

enum { NB_SCHEDULE_STATE = 4 };

/* lr_scheduler_kwargs; NAN: not given. Each schedule reads its own. */
typedef struct nb_schedule_options {
    double num_cycles, power, lr_end, timescale;
    double min_lr, min_lr_rate, warmup_lr_rate;
    double num_stable_steps, num_decay_steps, min_lr_ratio;
    int warmup_type, decay_type; /* linear, cosine, 1-sqrt */
    int mode, threshold_mode;    /* min, max; rel, abs */
    double factor, patience, threshold, cooldown, eps;
} nb_schedule_options;

typedef struct nb_schedule nb_schedule;
typedef struct nb_schedule_kind nb_schedule_kind;

/* Plain data without pointers to own; copy it as you like. */
struct nb_schedule {
    const nb_schedule_kind *kind;
    nb_schedule_options o;
    double base;           /* learning_rate */
    int64_t warmup, total; /* updates */
    /* reduce_lr_on_plateau: rate, best metric, bad evaluations, evaluations of cool-down left */
    double state[NB_SCHEDULE_STATE];
};

/* kwargs: a JSON object as text ("{\"num_cycles\": 2}"), NULL or "" for none. NB_CONFIG when the
 * name, an option or a value is not known or they do not go together, with the nearest name. */
nb_status nb_schedule_init(nb_schedule *s, const char *name, const char *kwargs, double base,
                           int64_t warmup, int64_t total, nb_error *err) NB_MUST_CHECK;
/* The rate of update `step` (0-based). */
double nb_schedule_rate(const nb_schedule *s, int64_t step);
/* Tells the metric of an evaluation; only reduce_lr_on_plateau listens. */
void nb_schedule_metric(nb_schedule *s, double metric);
bool nb_schedule_wants_metric(const nb_schedule *s);
/* "linear, cosine, ..." */
void nb_schedule_list(char *buf, size_t size);

#endif
