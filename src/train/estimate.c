/* SPDX-License-Identifier: MIT */
/* How long a step and the run will take. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/quantity.h"
#include "train/trainer.h"

/* A trial of the first micro-batch may cost so many operations, about a second of a small machine.
 */
#define TRIAL_FLOPS 4e10

/* Products a token goes through in training, in forward passes: forward, input gradient and, when
 * the weights are trained, weight gradient. */
static double passes(const nbi_run *run)
{
    return run->full ? 3 : 2;
}

/* Evaluations still to come after `step` updates. */
static double evaluations_left(const nbi_run *run, int64_t step)
{
    const nb_recipe *r = run->r;
    if (run->evals.n == 0)
        return 0;
    double n = 0;
    if (r->eval_strategy == NB_STRATEGY_STEPS && r->eval_steps > 0)
        n = (double)(run->total / r->eval_steps - step / r->eval_steps);
    else if (r->eval_strategy == NB_STRATEGY_EPOCH && run->epoch.n_batches > 0)
        n = floor((double)(run->total - step) * (double)run->batching.accumulation /
                  (double)run->epoch.n_batches);
    return n < 1 ? 1 : n;
}

/* Seconds a token by a forward and backward pass of the first micro-batch, whose gradients are
 * dropped. */
static double trial_seconds(nbi_run *run, nb_error *err, nb_status *st)
{
    nb_loss loss;
    size_t n = run->epoch.starts.v[1] - run->epoch.starts.v[0];
    double begin = nbi_clock();
    *st = nbi_run_micro_batch(run, run->epoch.rows, n, 0, 1, &loss, err);
    return (nbi_clock() - begin) / (double)(run->batch.batch.m > 0 ? run->batch.batch.m : 1);
}

static double first_tokens(const nbi_run *run)
{
    double n = 0;
    for (size_t i = run->epoch.starts.v[0]; i < run->epoch.starts.v[1]; i++)
        n += (double)run->data->rows[run->epoch.rows[i]].n;
    return n;
}

static void say(const nbi_run *run, double step, double rest, const char *first)
{
    char a[32], b[32], c[64] = "";
    nbi_format_duration(step, a);
    nbi_format_duration(rest, b);
    if (run->evals.n > 0) {
        double n = evaluations_left(run, run->at.step);
        snprintf(c, sizeof(c), ", %.0f evaluation%s included", n, n == 1 ? "" : "s");
    }
    nbi_log(run->log, NB_LOG_INFO, "%s takes about %s, the run about %s (%lld steps%s)", first, a,
            b, (long long)run->total, c);
}

/* One micro-batch of another epoch than the one at hand; *n receives its rows. */
static nb_status try_batch(nbi_run *run, const nbi_longest *at, size_t *n, nb_error *err)
{
    nbi_epoch e = {0};
    nb_loss loss;
    nb_status st = nbi_epoch_make(&e, &run->batching, at->epoch, err);
    if (st == NB_OK) {
        const size_t *starts = e.starts.v + at->batch;
        *n = starts[1] - starts[0];
        st = nbi_run_micro_batch(run, e.rows + starts[0], *n, at->epoch, 1, &loss, err);
    }
    nbi_epoch_free(&e);
    return st;
}

nb_status nbi_run_probe(nbi_run *run, nb_error *err)
{
    char time[32], peak[32], planned[32];
    size_t n = 0;
    const double begin = nbi_clock();
    NBI_TRY(try_batch(run, &run->longest, &n, err));
    nb_optim_zero_grads(run->params);
    const double seconds = nbi_clock() - begin;
    run->probe_seconds = seconds / (double)run->batch.batch.m;
    nbi_format_duration(seconds, time);
    nbi_log(run->log, NB_LOG_INFO,
            "probe: the longest batch (%lld tokens, %zu row%s) takes %s; peak memory so far %s, "
            "planned %s",
            (long long)run->batch.batch.m, n, n == 1 ? "" : "s", time,
            nbi_format_bytes((double)nbi_mem_rss_peak(), peak),
            nbi_format_bytes((double)run->plan.memory.peak, planned));
    return NB_OK;
}

/* By a measurement or a trial of what this run does: seconds a token. */
static nb_status token_seconds(nbi_run *run, double *token, nb_error *err)
{
    nb_status st = NB_OK;
    const nb_eval_result *e = &run->eval_result;
    if (run->probe_seconds > 0)
        *token = run->probe_seconds;
    else if (run->at.last_eval >= 0 && e->tokens >= 64)
        *token = e->seconds / (double)e->tokens * passes(run);
    else
        *token = trial_seconds(run, err, &st);
    return st;
}

/* A budget is advice: who started the run may have time after all. */
static void compare_budget(const nbi_run *run, double seconds)
{
    char time[32];
    if (run->plan.budget > 0 && seconds > run->plan.budget)
        nbi_log(run->log, NB_LOG_WARN,
                "that is more than time_budget %s; nibble plan with the same settings proposes "
                "what would fit",
                nbi_format_duration(run->plan.budget, time));
}

nb_status nbi_run_estimate(nbi_run *run, nb_error *err)
{
    nbi_plan *p = &run->plan;
    double updates = ceil((double)run->epoch.n_batches / (double)run->batching.accumulation);
    bool measured =
        run->probe_seconds > 0 || (run->at.last_eval >= 0 && run->eval_result.tokens >= 64);
    if (!measured && first_tokens(run) * 3 * p->memory.products > TRIAL_FLOPS) {
        NBI_TRY(nbi_rates_of_model(&p->rates, run->parts.model, run->ws, err));
        nbi_time_plan_make(&p->time, &p->memory, &p->config, run->full, &p->work, &p->rates);
        say(run, p->time.step, p->time.run, "a step");
        compare_budget(run, p->time.run);
        return NB_OK;
    }
    double token;
    NBI_TRY(token_seconds(run, &token, err));
    double step = token * (double)run->data->total_tokens / updates;
    double eval = token / passes(run) * (double)nbi_eval_sets_tokens(&run->evals);
    double rest =
        step * (double)(run->total - run->first_step) + eval * evaluations_left(run, run->at.step);
    say(run, step, rest, "a step");
    compare_budget(run, rest);
    return NB_OK;
}

double nbi_run_seconds_left(const nbi_run *run)
{
    double spent = nbi_clock() - run->begin - run->aside;
    const int64_t done = run->at.step - run->first_step;
    double step = done > 0 ? spent / (double)done : 0;
    double eval = run->at.last_eval >= 0 ? run->eval_result.seconds : 0;
    if (run->at.step >= run->total)
        return run->at.last_eval == run->at.step ? 0 : eval;
    return step * (double)(run->total - run->at.step) + eval * evaluations_left(run, run->at.step);
}

void nbi_run_estimate_again(const nbi_run *run)
{
    double spent = nbi_clock() - run->begin - run->aside;
    say(run, spent / (double)(run->at.step - run->first_step),
        spent + run->aside + nbi_run_seconds_left(run), "measured: a step");
}
