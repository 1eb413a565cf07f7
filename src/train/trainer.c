/* SPDX-License-Identifier: MIT */
/* nb_train: epochs, and what happens between the updates. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "train/trainer.h"
#include "train/trainer_state.h"

void nbi_run_keep_schedule(nbi_run *run)
{
    const double *s = run->schedule.state;
    run->at.schedule_0 = s[0];
    run->at.schedule_1 = s[1];
    run->at.schedule_2 = s[2];
    run->at.schedule_3 = s[3];
}

void nbi_run_restore_schedule(nbi_run *run)
{
    const nbi_progress *at = &run->at;
    const double s[NB_SCHEDULE_STATE] = {at->schedule_0, at->schedule_1, at->schedule_2,
                                         at->schedule_3};
    memcpy(run->schedule.state, s, sizeof(s));
}

static bool due(const nbi_run *run, nb_strategy s, int64_t every)
{
    const nbi_progress *at = &run->at;
    /* a run that ends within an epoch ends that too */
    if (s == NB_STRATEGY_EPOCH)
        return at->epoch_end || at->stopped || at->step == run->total;
    return s == NB_STRATEGY_STEPS && every > 0 && at->step % every == 0;
}

/* Nothing else would be logged of a run of fewer steps than a line takes. */
static bool log_due(const nbi_run *run)
{
    const nb_recipe *r = run->r;
    const nbi_progress *at = &run->at;
    return due(run, r->logging_strategy, r->logging_steps) ||
           (at->step == 1 && r->logging_first_step) ||
           (at->step == run->total && at->last_log < 0 && r->logging_strategy != NB_STRATEGY_NO);
}

static bool eval_due(const nbi_run *run)
{
    const nb_recipe *r = run->r;
    bool last = run->at.step == run->total && r->eval_strategy == NB_STRATEGY_STEPS;
    double done = r->eval_strategy == NB_STRATEGY_EPOCH ? run->at.epoch_done : (double)run->at.step;
    return (last || due(run, r->eval_strategy, r->eval_steps)) && r->eval_delay <= done;
}

/* The last step is a checkpoint too when it may be the best one; else the result holds it. */
static bool save_due(const nbi_run *run)
{
    const nb_recipe *r = run->r;
    bool ends = run->at.step == run->total || run->at.stopped;
    if (r->save_strategy == NB_STRATEGY_BEST)
        return run->improved;
    return due(run, r->save_strategy, r->save_steps) ||
           (ends && r->load_best && r->save_strategy == NB_STRATEGY_STEPS);
}

static void count_step(nbi_run *run)
{
    nbi_progress *at = &run->at;
    at->tokens_seen += run->tokens;
    run->window.tokens += run->tokens;
    if (at->step == 1)
        run->result.first_loss = run->loss;
    run->result.last_loss = run->loss;
    if (run->left_out)
        return;
    at->window_loss += run->loss;
    at->window_steps++;
    at->loss_sum += run->loss;
}

/* What is due after an update, as far as it was not done: a resumed run begins here. */
static nb_status rest_of_step(nbi_run *run, nb_error *err)
{
    if (eval_due(run)) {
        NBI_TRY(nbi_run_evaluate(run, err));
        NBI_TRY(nbi_run_sample(run, err));
    }
    return save_due(run) ? nbi_run_checkpoint(run, err) : NB_OK;
}

static nb_status after_step(nbi_run *run, nb_error *err)
{
    const bool logged = log_due(run);
    count_step(run);
    if (run->at.step == run->first_step + 1)
        nbi_run_estimate_again(run);
    run->improved = false;
    if (logged)
        NBI_TRY(nbi_run_log_step(run, err));
    nbi_run_tell(run, NAN, logged);
    return rest_of_step(run, err);
}

static nb_status push_micro(nbi_run *run, nb_error *err)
{
    nbi_group *g = &run->group;
    const size_t *at = run->epoch.starts.v + run->at.next;
    nbi_micro m = {(uint32_t)run->at.epoch_index, g->rows.n, at[1] - at[0]};
    if (!nbi_array_reserve(&g->rows, m.n) || !nbi_array_push(&g->v, m))
        return nbi_fail_nomem(err, "a batch", m.n * sizeof(uint32_t));
    memcpy(g->rows.v + g->rows.n, run->epoch.rows + at[0], m.n * sizeof(uint32_t));
    g->rows.n += m.n;
    return NB_OK;
}

static nb_status make_epoch(nbi_run *run, nb_error *err)
{
    run->at.next = 0;
    return nbi_epoch_make(&run->epoch, &run->batching, (uint32_t)run->at.epoch_index, err);
}

/* Counted in epochs, a run ends each of them with an update of what is left, as the Trainer does.
 * Counted in steps (max_steps), the micro-batches go on over the end of an epoch, so that every
 * update accumulates the same number of them. */
static nb_status next_group(nbi_run *run, nb_error *err)
{
    nbi_group *g = &run->group;
    bool spans = run->r->max_steps > 0;
    g->v.n = g->rows.n = 0;
    g->epoch_end = false;
    while ((int64_t)g->v.n < run->batching.accumulation && (spans || !g->epoch_end)) {
        if (run->at.next == (int64_t)run->epoch.n_batches) {
            run->at.epoch_index++;
            NBI_TRY(make_epoch(run, err));
        }
        NBI_TRY(push_micro(run, err));
        g->epoch_end = ++run->at.next == (int64_t)run->epoch.n_batches || g->epoch_end;
    }
    return NB_OK;
}

nb_status nbi_run_advance(nbi_run *run, nb_error *err)
{
    const nbi_progress before = run->at;
    nb_status st = next_group(run, err);
    if (st == NB_OK)
        st = nbi_run_step(run, err);
    if (st != NB_OK) {
        run->at = before; /* an update that was not made takes no batches */
        return st;
    }
    run->at.epoch_end = run->group.epoch_end;
    run->at.epoch_done =
        (double)run->at.epoch_index + (double)run->at.next / (double)run->epoch.n_batches;
    return after_step(run, err);
}

/* Saves what there is when the run is asked to stop. */
static nb_status interrupted(nbi_run *run, nb_error *err)
{
    if (run->at.step == 0)
        return nbi_fail(err, NB_INTERRUPTED,
                        "interrupted before the first step was done; nothing "
                        "to save");
    NBI_TRY(nbi_run_checkpoint(run, err));
    return nbi_fail(err, NB_INTERRUPTED, "interrupted after step %lld; saved in %s/checkpoint-%lld",
                    (long long)run->at.step, run->r->output_dir, (long long)run->at.step);
}

/* The place in the epoch that the checkpoint says; other data (resume_force) may have fewer. */
static nb_status enter_epoch(nbi_run *run, nb_error *err)
{
    const int64_t next = run->at.next;
    NBI_TRY(make_epoch(run, err));
    run->at.next = next < (int64_t)run->epoch.n_batches ? next : (int64_t)run->epoch.n_batches;
    return NB_OK;
}

nb_status nbi_run_start(nbi_run *run, nb_error *err)
{
    nbi_run_restore_schedule(run);
    if (!run->resume.dir && nbi_run_evaluates_first(run))
        NBI_TRY(nbi_run_evaluate(run, err));
    if (!run->resume.dir)
        NBI_TRY(nbi_run_sample(run, err));
    NBI_TRY(enter_epoch(run, err));
    if (run->r->probe)
        NBI_TRY(nbi_run_probe(run, err));
    NBI_TRY(nbi_run_estimate(run, err));
    run->begin = nbi_clock();
    run->aside = 0;
    run->window = (nbi_window){.since = run->begin};
    NBI_TRY(nbi_run_log_open(run, err));
    return run->resume.dir ? rest_of_step(run, err) : NB_OK;
}

static nb_status drive(nbi_run *run, nb_error *err)
{
    nb_status st = nbi_run_start(run, err);
    while (st == NB_OK && nbi_run_goes_on(run))
        st = nbi_run_advance(run, err);
    if (st == NB_INTERRUPTED && nbi_run_goes_on(run))
        return interrupted(run, err);
    if (st != NB_OK && st != NB_INTERRUPTED)
        return st;
    if (st == NB_OK)
        NBI_TRY(nbi_run_load_best(run, err));
    NBI_TRY(nbi_run_save_final(run, err));
    if (st == NB_INTERRUPTED)
        return nbi_fail(err, NB_INTERRUPTED, "interrupted after the last step; the result is in %s",
                        run->r->output_dir);
    if (!run->best_loaded)
        NBI_TRY(nbi_run_evaluate(run, err));
    NBI_TRY(nbi_run_sample(run, err));
    NBI_TRY(nbi_run_log_end(run, err));
    return nbi_trainer_state_write(run, run->r->output_dir, err);
}

static void finish(nbi_run *run)
{
    nb_train_result *r = &run->result;
    r->steps = run->at.step;
    r->peak_rss = nbi_mem_rss_peak();
    snprintf(r->output_dir, sizeof(r->output_dir), "%s", run->r->output_dir);
}

void nbi_run_init(nbi_run *run, nb_recipe *r, const nb_train_hooks *hooks)
{
    static const nb_train_hooks none = {0};
    *run = (nbi_run){
        .r = r,
        .hooks = hooks ? hooks : &none,
        .log = hooks ? hooks->log : NULL,
        .lock = -1,
        .at = {.last_eval = -1,
               .last_save = -1,
               .last_log = -1,
               .last_sample = -1,
               .best_metric = NAN,
               .best_step = -1},
        .result = {
            .first_loss = NAN, .last_loss = NAN, .eval_loss_before = NAN, .eval_loss_after = NAN}};
    nbi_history_init(&run->history);
    run->log = nbi_notes_open(&run->notes, run->log);
}

nb_status nb_train(nb_recipe *r, const nb_train_hooks *hooks, nb_train_result *result,
                   nb_error *err)
{
    return nb_train_with_base(NULL, r, hooks, result, err);
}

nb_status nb_train_with_base(nb_base *base, nb_recipe *r, const nb_train_hooks *hooks,
                             nb_train_result *result, nb_error *err)
{
    nbi_run run;
    nbi_run_init(&run, r, hooks);
    run.parts.base = base;
    nb_status st = nbi_run_open(&run, err);
    if (st == NB_OK)
        st = drive(&run, err);
    if (st == NB_OK)
        finish(&run);
    if (result)
        *result = run.result;
    nbi_watch_end(&run, st, err);
    nbi_run_close(&run);
    nbi_notes_close(&run.notes);
    return st;
}
