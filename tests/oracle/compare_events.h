/* SPDX-License-Identifier: MIT */
/* The event files of a run beside the numbers that the reference's event file holds. */
#ifndef ORACLE_COMPARE_EVENTS_H
#define ORACLE_COMPARE_EVENTS_H

#include "event_reader.h"

/* The nearest of the numbers with this tag and step; NaN: there is none. */
static double nearest_event(const event_scalars *s, const char *tag, double step, double want)
{
    double best = NAN;
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->v[i].tag, tag) && (double)s->v[i].step == step &&
            !(fabs((double)s->v[i].value - want) >= fabs(best - want)))
            best = (double)s->v[i].value;
    return best;
}

/* Each tag of the reference that does not hold a time, point by point; the largest difference
 * relative to max(1, |value|) goes to *worst. Returns the number of points compared. */
NBT_UNUSED static int64_t compare_events(const nbi_json *scalars, const char *output_dir,
                                         double *worst)
{
    static const char *const tags[] = {"train/loss", "train/grad_norm", "train/learning_rate",
                                       "train/epoch", "eval/loss"};
    static event_scalars got;
    int64_t n = 0;
    got = read_run_events(output_dir);
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        const nbi_json *list = nbi_json_get(scalars, tags[i]);
        assert_non_null(list);
        for (const nbi_json *e = list->first; e; e = e->next, n++) {
            double want = oracle_number(e, "value", NAN);
            double found = nearest_event(&got, tags[i], oracle_number(e, "step", -1), want);
            *worst = oracle_worse(*worst, fabs(found - want) / fmax(1, fabs(want)));
        }
    }
    return n;
}

#endif
