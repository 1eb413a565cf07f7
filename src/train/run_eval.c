/* SPDX-License-Identifier: MIT */
/* Evaluations of a run: its sets one after the other, the step that is best so far, and whether
 * the run ends because nothing improves. The rules are the Trainer's. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "train/trainer.h"

/* Numbers of an evaluation that may decide; all but the accuracy are better when less. */
static const char *const deciders[] = {"loss", "perplexity", "token_accuracy"};
enum { DECIDERS = sizeof(deciders) / sizeof(*deciders) };

/* The loss before is part of the result unless it was declined. */
bool nbi_run_evaluates_first(const nbi_run *run)
{
    return run->evals.n > 0 && (run->r->eval_on_start || !nb_recipe_given(run->r, "eval_on_start"));
}

void nbi_eval_number_name(const nbi_eval_set *s, const char *number, char out[NBI_METRIC_MAX])
{
    if (s->name)
        snprintf(out, NBI_METRIC_MAX, "eval_%s_%s", s->name, number);
    else
        snprintf(out, NBI_METRIC_MAX, "eval_%s", number);
}

/* ---- which step is best ---- */

static bool is_number_of(const nbi_run *run, const char *name)
{
    char known[NBI_METRIC_MAX];
    for (size_t i = 0; i < run->evals.n; i++)
        for (int j = 0; j < DECIDERS; j++) {
            nbi_eval_number_name(&run->evals.v[i], deciders[j], known);
            if (strcmp(known, name) == 0)
                return true;
        }
    return false;
}

static nb_status fail_metric(const nbi_run *run, nb_error *err)
{
    char known[NBI_METRIC_MAX];
    nbi_strbuf list = {0};
    for (size_t i = 0; i < run->evals.n; i++)
        for (int j = 0; j < DECIDERS; j++) {
            nbi_eval_number_name(&run->evals.v[i], deciders[j], known);
            nbi_strbuf_printf(&list, "%s%s", list.n ? ", " : "", known);
        }
    nb_status st = nbi_fail(err, NB_CONFIG,
                            "metric_for_best_model: \"%s\" is no number of an evaluation of this "
                            "run, expected one of %s",
                            run->r->metric, list.n ? nbi_strbuf_str(&list) : "none: no rows");
    nbi_strbuf_free(&list);
    return st;
}

nb_status nbi_run_choose_metric(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    const char *given = r->metric;
    if (run->evals.n == 0 && !given)
        return NB_OK;
    if (!given)
        nbi_eval_number_name(&run->evals.v[0], "loss", run->metric);
    else if (snprintf(run->metric, NBI_METRIC_MAX, "%s%s",
                      strncmp(given, "eval_", 5) == 0 ? "" : "eval_", given) >= NBI_METRIC_MAX ||
             !is_number_of(run, run->metric))
        return fail_metric(run, err);
    run->greater = r->greater_is_better < 0 ? !nbi_ends_with(run->metric, "loss") &&
                                                  !nbi_ends_with(run->metric, "perplexity")
                                            : r->greater_is_better != 0;
    return NB_OK;
}

/* Compared with the best one before it, as EarlyStoppingCallback does. */
static void count_patience(nbi_run *run, double value, bool better)
{
    nbi_progress *at = &run->at;
    const nb_recipe *r = run->r;
    bool enough =
        at->best_step < 0 || (better && fabs(value - at->best_metric) > r->patience_threshold);
    at->bad_evals = enough ? 0 : at->bad_evals + 1;
    if (r->patience == 0 || at->bad_evals < r->patience || at->stopped)
        return;
    at->stopped = true;
    nbi_log(run->log, NB_LOG_NOTE,
            "step %lld: %s did not improve in %lld evaluation%s (best %.6g, step %lld): the "
            "training ends here (early_stopping_patience)",
            (long long)at->step, run->metric, (long long)at->bad_evals,
            at->bad_evals == 1 ? "" : "s", at->best_metric, (long long)at->best_step);
}

/* The evaluation before the first update belongs to no checkpoint. */
static void judge(nbi_run *run, double value)
{
    nbi_progress *at = &run->at;
    if (at->step == 0)
        return;
    bool better =
        at->best_step < 0 || (run->greater ? value > at->best_metric : value < at->best_metric);
    count_patience(run, value, better);
    if (!better)
        return;
    at->best_metric = value;
    at->best_step = at->step;
    run->improved = true;
}

/* ---- evaluating ---- */

static nb_status all_sets(nbi_run *run, nb_eval_result *results, nb_error *err)
{
    for (size_t i = 0; i < run->evals.n; i++) {
        nbi_eval_setup s = {.model = run->parts.model,
                            .ws = run->ws,
                            .max_rows = run->max_rows,
                            .batch = &run->batch,
                            .data = run->evals.v[i].data,
                            .group = nbi_run_eval_group(run),
                            .mean_of_batches = run->r->eval_loss_trainer,
                            .hooks = run->hooks};
        NBI_TRY(nbi_evaluate_set(&s, &results[i], err));
    }
    return NB_OK;
}

/* What all sets took; the losses are those of the first. */
static nb_eval_result sum_of(const nb_eval_result *results, size_t n)
{
    nb_eval_result all = results[0];
    for (size_t i = 1; i < n; i++) {
        all.trained_tokens += results[i].trained_tokens;
        all.rows += results[i].rows;
        all.tokens += results[i].tokens;
        all.seconds += results[i].seconds;
    }
    return all;
}

static nb_status take_results(nbi_run *run, const nb_eval_result *results, nb_error *err)
{
    double value = NAN;
    run->eval_result = sum_of(results, run->evals.n);
    for (size_t i = 0; i < run->evals.n; i++) {
        NBI_TRY(nbi_run_log_eval(run, &run->evals.v[i], &results[i], err));
        double v = nbi_history_value(&run->history, nbi_history_last(&run->history), run->metric);
        value = isnan(v) ? value : v;
    }
    if (run->at.step == 0)
        run->result.eval_loss_before = results[0].loss;
    else
        run->result.eval_loss_after = results[0].loss;
    if (run->at.step > 0) /* the one before the first step does not count, as in the Trainer */
        nb_schedule_metric(&run->schedule, results[0].loss);
    nbi_run_keep_schedule(run);
    judge(run, value);
    for (size_t i = 0; i < run->evals.n; i++)
        nbi_run_tell_eval(run, &run->evals.v[i], results[i].loss);
    return NB_OK;
}

/* Nothing is logged until all sets are through, so that an evaluation is repeated as a whole when
 * it was interrupted. */
nb_status nbi_run_evaluate(nbi_run *run, nb_error *err)
{
    double begin = nbi_clock();
    if (run->evals.n == 0 || run->at.last_eval == run->at.step)
        return NB_OK;
    nb_eval_result *results = nbi_calloc(NBI_MEM_OTHER, run->evals.n, sizeof(*results));
    if (!results)
        return nbi_fail_nomem(err, "evaluations", run->evals.n * sizeof(*results));
    nb_status st = all_sets(run, results, err);
    if (st == NB_OK) {
        run->at.last_eval = run->at.step;
        run->aside += nbi_clock() - begin;
        st = take_results(run, results, err);
    }
    nbi_free(results);
    return st;
}
