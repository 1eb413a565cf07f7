/* SPDX-License-Identifier: MIT */
/* The schedules there are. Private to optim/. */
#ifndef NBI_SCHEDULE_KINDS_H
#define NBI_SCHEDULE_KINDS_H

#include "optim/schedule.h"

/* Rate of update `step` as a factor of the base rate: HF's lambdas. */
typedef double nbi_curve(const nb_schedule *s, int64_t step);
nbi_curve nbi_curve_linear, nbi_curve_cosine, nbi_curve_restarts, nbi_curve_polynomial,
    nbi_curve_inverse_sqrt, nbi_curve_constant, nbi_curve_constant_warmup, nbi_curve_cosine_min,
    nbi_curve_cosine_warmup_min, nbi_curve_stable_decay, nbi_curve_plateau;

struct nb_schedule_kind {
    const char *name;
    unsigned bit; /* in the table of options */
    nbi_curve *curve;
    /* Completes and checks the options; NULL: nothing to do. */
    nb_status (*check)(nb_schedule *s, nb_error *err);
    bool wants_metric;
};

#endif
