/* SPDX-License-Identifier: MIT */
/* What follows when a step goes wrong: numbers that are not finite, and losses that jump above
 * what the run has seen so far. The statistics live in nbi_progress, so that a resumed run judges
 * as one that was never stopped. */
#include <math.h>
#include <stdio.h>
#include "base/fail.h"
#include "base/log.h"
#include "train/trainer.h"

/* The running mean and variance of the loss: plain averages of the first steps, then exponential
 * ones over about 1 / RATE steps. */
#define RATE 0.05
/* Steps before anything is judged. */
#define WARM_UP 10
/* A loss varies from batch to batch by its nature; less than this, in parts of the mean and in
 * nats, is never taken for the spread. */
#define LEAST_PART 0.05
#define LEAST_NATS 0.05

static double spread(const nbi_progress *at)
{
    return fmax(sqrt(at->spike_var), fmax(LEAST_PART * fabs(at->spike_mean), LEAST_NATS));
}

/* A jump enters the statistics as the largest loss that is none, so that one bad batch does not
 * hide the next, while a level that stays is accepted in the end. */
static void learn(nbi_progress *at, double loss, double most)
{
    double x = fmin(loss, most), rate = fmax(RATE, 1.0 / (double)(at->spike_n + 1));
    double d = x - at->spike_mean;
    at->spike_mean += rate * d;
    at->spike_var = (1 - rate) * (at->spike_var + rate * d * d);
    at->spike_n++;
}

static nb_status leave_out(nbi_run *run, const char *why, nb_error *err)
{
    nbi_progress *at = &run->at;
    if (at->skipped_row >= run->r->max_skipped)
        return nbi_fail(err, NB_NUMERIC,
                        "step %lld: %s; %lld updates in a row were left out already "
                        "(max_skipped_steps). Lower learning_rate, or check the data",
                        (long long)at->step + 1, why, (long long)at->skipped_row);
    at->skipped_row++;
    at->skipped++;
    run->left_out = true;
    nbi_log(run->log, NB_LOG_WARN, "step %lld: %s; no update is made (%lld in a row, at most %lld)",
            (long long)at->step + 1, why, (long long)at->skipped_row,
            (long long)run->r->max_skipped);
    return NB_OK;
}

nb_status nbi_run_react_nonfinite(nbi_run *run, nb_error *err)
{
    const nb_error found = *err;
    if (run->r->on_nonfinite != NB_REACT_SKIP)
        return err->code;
    NBI_TRY(leave_out(run, found.message, err));
    return nbi_run_log_trouble(run, "nonfinite_skipped", (double)run->at.skipped, NAN, NAN, err);
}

nb_status nbi_run_check_spike(nbi_run *run, nb_error *err)
{
    nbi_progress *at = &run->at;
    const nb_recipe *r = run->r;
    char why[160];
    double sd = spread(at), mean = at->spike_mean, z = (run->loss - mean) / sd;
    if (r->spike_zscore <= 0)
        return NB_OK;
    bool jump = at->spike_n >= WARM_UP && z > r->spike_zscore;
    learn(at, run->loss, at->spike_n >= WARM_UP ? mean + r->spike_zscore * sd : INFINITY);
    if (!jump)
        return NB_OK;
    snprintf(why, sizeof(why), "the loss jumps to %.4g from about %.4g (%.1f deviations)",
             run->loss, mean, z);
    NBI_TRY(nbi_run_log_trouble(run, "spike_loss", run->loss, mean, z, err));
    if (r->on_spike == NB_REACT_STOP)
        return nbi_fail(err, NB_NUMERIC,
                        "step %lld: %s; its update is not made, on_spike is stop. Look at the rows "
                        "of this step, or lower learning_rate",
                        (long long)at->step + 1, why);
    if (r->on_spike == NB_REACT_SKIP)
        return leave_out(run, why, err);
    nbi_log(run->log, NB_LOG_WARN, "step %lld: %s", (long long)at->step + 1, why);
    return NB_OK;
}
