/* SPDX-License-Identifier: MIT */
/* nb_train: epochs, and what happens between the updates. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "train/trainer.h"

/* ---- train_log.jsonl ---- */

static void write_machine(nbi_json_writer *w, const nb_model *m)
{
    char flags[128], brand[64];
    nb_cpu_describe(nb_cpu_flags(), flags, brand);
    nbi_jw_key(w, "versions");
    nbi_jw_object(w);
    nbi_jw_member_str(w, "nibble", nb_version());
    nbi_jw_member_str(w, "compiler", __VERSION__);
    nbi_jw_object_end(w);
    nbi_jw_member_str(w, "cpu", brand);
    nbi_jw_member_str(w, "cpu_flags", flags);
    nbi_jw_member_i64(w, "threads", m->exec.q->threads);
    nbi_jw_member_str(w, "kernels", m->exec.k.qmatmul_variant);
    nbi_jw_member_str(w, "compute_dtype", m->exec.compute == NB_COMPUTE_BF16 ? "bf16" : "f32");
}

static void write_data(nbi_json_writer *w, const char *key, const nb_dataset *d)
{
    if (!d)
        return;
    nbi_jw_key(w, key);
    nbi_jw_object(w);
    nbi_jw_member_str(w, "path", d->path);
    nbi_jw_member_str(w, "sha256", d->sha256);
    nbi_jw_member_i64(w, "rows", (int64_t)d->n);
    nbi_jw_member_i64(w, "dropped_rows", (int64_t)d->n_dropped);
    nbi_jw_member_i64(w, "truncated_rows", (int64_t)d->n_truncated);
    nbi_jw_member_i64(w, "tokens", d->total_tokens);
    nbi_jw_member_i64(w, "trained_tokens", d->trained_tokens);
    nbi_jw_object_end(w);
}

/* The loss before is part of the result unless it was declined. */
static bool evaluates_first(const nbi_run *run)
{
    return run->eval && (run->r->eval_on_start || !nb_recipe_given(run->r, "eval_on_start"));
}

/* The settings in force: what adapter, model folder and machine decided in place of the recipe.
 * Borrows from the run. */
static nb_recipe in_force(const nbi_run *run)
{
    const nb_model *m = run->parts.model;
    nb_recipe s = *run->r;
    s.quant = m->quant;
    if (s.method == NB_METHOD_LORA && s.quant.load_in_4bit)
        s.method = NB_METHOD_QLORA;
    if (run->parts.adapter)
        s.lora = run->parts.adapter->config;
    s.compute = m->exec.compute;
    s.compute_dtype = s.compute == NB_COMPUTE_BF16 ? NB_COMPUTE_ASK_BF16 : NB_COMPUTE_ASK_F32;
    s.threads = m->exec.q->threads;
    s.data_config.format = run->data->format;
    s.warmup_steps = run->warmup;
    s.eval_on_start = evaluates_first(run);
    return s;
}

static nb_status log_header(nbi_run *run, nb_error *err)
{
    char *settings = NULL;
    int64_t trained = 0;
    nb_recipe values = in_force(run);
    NBI_TRY(nb_recipe_json(&values, &settings, err));
    for (size_t i = 0; i < run->params->n; i++)
        trained += run->params->v[i]->n;
    nbi_json_writer *w = nbi_train_log_begin(run->train_log);
    write_machine(w, run->parts.model);
    nbi_jw_member_i64(w, "seed", (int64_t)run->r->seed);
    nbi_jw_member_i64(w, "trainable_parameters", trained);
    nbi_jw_member_i64(w, "total_parameters",
                      run->parts.model->n_parameters + (run->full ? 0 : trained));
    nbi_jw_member_i64(w, "total_steps", run->total);
    nbi_jw_member_i64(w, "warmup_steps", run->warmup);
    write_data(w, "data", run->data);
    write_data(w, "eval_data", run->eval);
    nbi_jw_key(w, "settings");
    nbi_jw_raw(w, settings);
    nbi_jw_member_f64(w, "seconds_to_first_step", nbi_clock_process());
    nbi_jw_member_i64(w, "planned_peak_bytes", (int64_t)run->plan.memory.peak);
    nbi_train_log_end(run->train_log);
    nbi_free(settings);
    return NB_OK;
}

static void log_step(nbi_run *run)
{
    nbi_window *v = &run->window;
    double now = nbi_clock(), seconds = now - v->since - (run->aside - v->aside);
    run->tokens_per_second = seconds > 0 ? (double)v->tokens / seconds : 0;
    nbi_json_writer *w = nbi_train_log_begin(run->train_log);
    nbi_jw_member_i64(w, "step", run->step);
    nbi_jw_member_f64(w, "epoch", run->epoch_done);
    nbi_jw_member_f64(w, "loss", v->loss_sum / (double)v->steps);
    nbi_jw_member_f64(w, "grad_norm", run->grad_norm);
    nbi_jw_member_f64(w, "learning_rate", run->lr);
    nbi_jw_member_i64(w, "tokens", run->tokens);
    nbi_jw_member_f64(w, "tokens_per_second", run->tokens_per_second);
    nbi_train_log_end(run->train_log);
    *v = (nbi_window){.since = now, .aside = run->aside};
}

static void log_eval(nbi_run *run)
{
    const nb_eval_result *e = &run->eval_result;
    nbi_json_writer *w = nbi_train_log_begin(run->train_log);
    nbi_jw_member_i64(w, "step", run->step);
    nbi_jw_member_f64(w, "epoch", run->epoch_done);
    nbi_jw_member_f64(w, "eval_loss", e->loss);
    nbi_jw_member_f64(w, "eval_perplexity", e->perplexity);
    nbi_jw_member_f64(w, "eval_token_accuracy", e->token_accuracy);
    nbi_jw_member_i64(w, "eval_tokens", e->trained_tokens);
    nbi_jw_member_f64(w, "eval_seconds", e->seconds);
    nbi_train_log_end(run->train_log);
}

/* The last line: was the plan kept? */
static void log_end(nbi_run *run)
{
    nbi_json_writer *w = nbi_train_log_begin(run->train_log);
    nbi_jw_member_i64(w, "steps", run->step);
    nbi_jw_member_f64(w, "seconds", nbi_clock() - run->begin);
    nbi_jw_member_i64(w, "peak_bytes", (int64_t)nbi_mem_rss_peak());
    nbi_jw_member_i64(w, "planned_peak_bytes", (int64_t)run->plan.memory.peak);
    nbi_train_log_end(run->train_log);
}

/* ---- between the updates ---- */

static void tell(const nbi_run *run, double eval_loss, bool logged)
{
    if (!run->hooks->progress)
        return;
    nb_train_progress p = {.step = run->step,
                           .total_steps = run->total,
                           .epoch = run->epoch_done,
                           .loss = run->loss,
                           .grad_norm = run->grad_norm,
                           .learning_rate = run->lr,
                           .tokens_per_second = run->tokens_per_second,
                           .seconds = run->step > 0 ? nbi_clock() - run->begin : 0,
                           .seconds_left = run->step > 0 ? nbi_run_seconds_left(run) : 0,
                           .eval_loss = eval_loss,
                           .logged = logged};
    run->hooks->progress(run->hooks->user, &p);
}

nb_status nbi_run_evaluate(nbi_run *run, nb_error *err)
{
    double begin = nbi_clock();
    if (!run->eval || run->last_eval == run->step)
        return NB_OK;
    nbi_eval_setup s = {.model = run->parts.model,
                        .ws = run->ws,
                        .max_rows = run->max_rows,
                        .batch = &run->batch,
                        .data = run->eval,
                        .group = run->r->eval_batch > 0 ? run->r->eval_batch : 8,
                        .mean_of_batches = run->r->eval_loss_trainer,
                        .hooks = run->hooks};
    NBI_TRY(nbi_evaluate_set(&s, &run->eval_result, err));
    run->last_eval = run->step;
    run->aside += nbi_clock() - begin;
    if (run->train_log)
        log_eval(run);
    if (run->step == 0)
        run->result.eval_loss_before = run->eval_result.loss;
    else
        run->result.eval_loss_after = run->eval_result.loss;
    tell(run, run->eval_result.loss, true);
    return NB_OK;
}

static bool due(nb_strategy s, int64_t every, int64_t step, bool epoch_end)
{
    if (s == NB_STRATEGY_EPOCH)
        return epoch_end;
    return s == NB_STRATEGY_STEPS && every > 0 && step % every == 0;
}

static nb_status after_step(nbi_run *run, bool epoch_end, nb_error *err)
{
    const nb_recipe *r = run->r;
    run->window.loss_sum += run->loss;
    run->window.steps++;
    run->window.tokens += run->tokens;
    if (run->step == 1) {
        run->result.first_loss = run->loss;
        nbi_run_estimate_again(run);
    }
    run->result.last_loss = run->loss;
    /* the last step is always one of the lines, however few steps there are */
    bool last = run->step == run->total && r->logging_strategy != NB_STRATEGY_NO;
    bool logged = last || due(r->logging_strategy, r->logging_steps, run->step, epoch_end);
    if (logged)
        log_step(run);
    tell(run, NAN, logged);
    int64_t eval_steps = r->eval_steps > 0 ? r->eval_steps : r->logging_steps;
    if (due(r->eval_strategy, eval_steps, run->step, epoch_end))
        NBI_TRY(nbi_run_evaluate(run, err));
    if (due(r->save_strategy, r->save_steps, run->step, epoch_end))
        NBI_TRY(nbi_run_checkpoint(run, err));
    return NB_OK;
}

static nb_status push_micro(nbi_run *run, nb_error *err)
{
    nbi_group *g = &run->group;
    const size_t *at = run->epoch.starts.v + run->next;
    nbi_micro m = {run->epoch_index, g->rows.n, at[1] - at[0]};
    if (!nbi_array_reserve(&g->rows, m.n) || !nbi_array_push(&g->v, m))
        return nbi_fail_nomem(err, "a batch", m.n * sizeof(uint32_t));
    memcpy(g->rows.v + g->rows.n, run->epoch.rows + at[0], m.n * sizeof(uint32_t));
    g->rows.n += m.n;
    return NB_OK;
}

static nb_status make_epoch(nbi_run *run, nb_error *err)
{
    run->next = 0;
    return nbi_epoch_make(&run->epoch, &run->batching, run->epoch_index, err);
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
        if (run->next == run->epoch.n_batches) {
            run->epoch_index++;
            NBI_TRY(make_epoch(run, err));
        }
        NBI_TRY(push_micro(run, err));
        g->epoch_end = ++run->next == run->epoch.n_batches || g->epoch_end;
    }
    return NB_OK;
}

static nb_status update(nbi_run *run, nb_error *err)
{
    NBI_TRY(next_group(run, err));
    NBI_TRY(nbi_run_step(run, err));
    run->epoch_done = (double)run->epoch_index + (double)run->next / (double)run->epoch.n_batches;
    return after_step(run, run->group.epoch_end, err);
}

/* Saves what there is when the run is asked to stop. */
static nb_status interrupted(nbi_run *run, nb_error *err)
{
    if (run->step == 0)
        return nbi_fail(err, NB_INTERRUPTED,
                        "interrupted before the first step was done; nothing "
                        "to save");
    NBI_TRY(nbi_run_checkpoint(run, err));
    return nbi_fail(err, NB_INTERRUPTED, "interrupted after step %lld; saved in %s/checkpoint-%lld",
                    (long long)run->step, run->r->output_dir, (long long)run->step);
}

static nb_status start(nbi_run *run, nb_error *err)
{
    if (evaluates_first(run))
        NBI_TRY(nbi_run_evaluate(run, err));
    NBI_TRY(make_epoch(run, err));
    if (run->r->probe)
        NBI_TRY(nbi_run_probe(run, err));
    NBI_TRY(nbi_run_estimate(run, err));
    NBI_TRY(nbi_train_log_open(&run->train_log, run->r->output_dir, run->log, err));
    run->begin = nbi_clock();
    run->aside = 0;
    run->window = (nbi_window){.since = run->begin};
    NBI_TRY(log_header(run, err));
    if (run->last_eval == 0)
        log_eval(run);
    return NB_OK;
}

static nb_status drive(nbi_run *run, nb_error *err)
{
    nb_status st = start(run, err);
    while (st == NB_OK && run->step < run->total)
        st = update(run, err);
    if (st == NB_INTERRUPTED && run->step < run->total)
        return interrupted(run, err);
    if (st != NB_OK && st != NB_INTERRUPTED)
        return st;
    NBI_TRY(nbi_run_save_final(run, err));
    if (st == NB_INTERRUPTED)
        return nbi_fail(err, NB_INTERRUPTED, "interrupted after the last step; the result is in %s",
                        run->r->output_dir);
    NBI_TRY(nbi_run_evaluate(run, err));
    log_end(run);
    return NB_OK;
}

static void finish(nbi_run *run)
{
    nb_train_result *r = &run->result;
    r->steps = run->step;
    r->peak_rss = nbi_mem_rss_peak();
    snprintf(r->output_dir, sizeof(r->output_dir), "%s", run->r->output_dir);
}

nb_status nb_train(nb_recipe *r, const nb_train_hooks *hooks, nb_train_result *result,
                   nb_error *err)
{
    static const nb_train_hooks none = {0};
    nbi_run run = {
        .r = r,
        .hooks = hooks ? hooks : &none,
        .log = hooks ? hooks->log : NULL,
        .lock = -1,
        .last_eval = -1,
        .last_save = -1,
        .result = {
            .first_loss = NAN, .last_loss = NAN, .eval_loss_before = NAN, .eval_loss_after = NAN}};
    nb_status st = nbi_run_open(&run, err);
    if (st == NB_OK)
        st = drive(&run, err);
    if (st == NB_OK)
        finish(&run);
    if (result)
        *result = run.result;
    nbi_run_close(&run);
    return st;
}
