/* SPDX-License-Identifier: MIT */
/* What a run says of itself: each entry goes into its history and from there to all that show it;
 * the first and the last line of train_log.jsonl; the progress hook. */
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "train/trainer.h"

/* ---- the first line of train_log.jsonl ---- */

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

static void write_resume(nbi_json_writer *w, const nbi_run *run)
{
    if (!run->resume.dir)
        return;
    nbi_jw_member_i64(w, "resumed_from_step", run->first_step);
    nbi_jw_key(w, "forced");
    nbi_jw_array(w);
    for (size_t i = 0; i < run->forced.n; i++)
        nbi_jw_str(w, run->forced.v[i]);
    nbi_jw_array_end(w);
}

/* One set, or a map of them by name. */
static void write_evals(nbi_json_writer *w, const nbi_run *run)
{
    const nbi_eval_sets *s = &run->evals;
    if (s->n == 0)
        return;
    if (!s->v[0].name) {
        write_data(w, "eval_data", s->v[0].data);
        return;
    }
    nbi_jw_key(w, "eval_data");
    nbi_jw_object(w);
    for (size_t i = 0; i < s->n; i++)
        write_data(w, s->v[i].name, s->v[i].data);
    nbi_jw_object_end(w);
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
    s.warmup_steps = (double)run->warmup;
    s.eval_on_start = nbi_run_evaluates_first(run);
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
    write_resume(w, run);
    write_data(w, "data", run->data);
    write_evals(w, run);
    nbi_jw_key(w, "settings");
    nbi_jw_raw(w, settings);
    nbi_jw_member_f64(w, "seconds_to_first_step", nbi_clock_process());
    nbi_jw_member_i64(w, "planned_peak_bytes", (int64_t)run->plan.memory.peak);
    nbi_train_log_end(run->train_log);
    nbi_free(settings);
    return NB_OK;
}

/* ---- entries ---- */

/* An entry of the history as a line of train_log.jsonl. */
static void write_line(const nbi_run *run, const nbi_entry *e)
{
    const nbi_history *h = &run->history;
    nbi_json_writer *w = nbi_train_log_begin(run->train_log);
    nbi_jw_member_i64(w, "step", e->step);
    nbi_jw_member_f64(w, "epoch", e->epoch);
    for (size_t i = e->first; i < e->first + e->n; i++)
        nbi_history_write(w, &h->numbers.v[i]);
    nbi_train_log_end(run->train_log);
}

typedef struct named {
    const char *name;
    double value;
    bool count;
} named;

static nb_status add_entry(nbi_run *run, nbi_entry_kind kind, int64_t step, const named *v,
                           size_t n, nb_error *err)
{
    NBI_TRY(nbi_history_begin(&run->history, kind, step, run->at.epoch_done, err));
    for (size_t i = 0; i < n; i++)
        NBI_TRY(nbi_history_add(&run->history, v[i].name, v[i].value, v[i].count, err));
    if (run->train_log) /* what comes before it is open is written when it opens */
        write_line(run, nbi_history_last(&run->history));
    nbi_watch_entries(run->watch);
    return NB_OK;
}
#define ADD_ENTRY(run, kind, v, err)                                                               \
    add_entry(run, kind, run->at.step, v, sizeof(v) / sizeof *(v), err)

nb_status nbi_run_log_step(nbi_run *run, nb_error *err)
{
    nbi_progress *at = &run->at;
    nbi_window *c = &run->window;
    const double now = nbi_clock(), seconds = now - c->since - (run->aside - c->aside);
    run->tokens_per_second = seconds > 0 ? (double)c->tokens / seconds : 0;
    const named v[] = {{"loss", at->window_loss / (double)at->window_steps},
                       {"grad_norm", run->grad_norm},
                       {"learning_rate", run->lr},
                       {"tokens", (double)run->tokens, true},
                       {"tokens_per_second", run->tokens_per_second}};
    at->window_loss = 0;
    at->window_steps = 0;
    at->last_log = at->step;
    *c = (nbi_window){.since = now, .aside = run->aside};
    return ADD_ENTRY(run, NBI_ENTRY_TRAIN, v, err);
}

nb_status nbi_run_log_eval(nbi_run *run, const nbi_eval_set *set, const nb_eval_result *e,
                           nb_error *err)
{
    enum { N = 7 };
    const double seconds = fmax(e->seconds, 1e-9);
    const int64_t group = nbi_run_eval_group(run);
    const int64_t batches = (e->rows + group - 1) / group;
    char names[N][NBI_METRIC_MAX];
    named v[N] = {{"loss", e->loss},
                  {"perplexity", e->perplexity},
                  {"token_accuracy", e->token_accuracy},
                  {"tokens", (double)e->trained_tokens, true},
                  {"runtime", e->seconds},
                  {"samples_per_second", (double)e->rows / seconds},
                  {"steps_per_second", (double)batches / seconds}};
    for (int i = 0; i < N; i++) {
        nbi_eval_number_name(set, v[i].name, names[i]);
        v[i].name = names[i];
    }
    return ADD_ENTRY(run, NBI_ENTRY_EVAL, v, err);
}

nb_status nbi_run_log_trouble(nbi_run *run, const char *name, double value, double mean,
                              double zscore, nb_error *err)
{
    const named v[] = {{name, value, isnan(mean)}, {"spike_mean", mean}, {"spike_zscore", zscore}};
    return add_entry(run, NBI_ENTRY_TROUBLE, run->at.step + 1, v, isnan(mean) ? 1 : 3, err);
}

double nbi_run_operations(const nbi_run *run)
{
    const nb_model *m = run->parts.model;
    return m ? 6.0 * (double)run->at.tokens_seen * (double)m->n_parameters : 0;
}

/* Rows the run has trained on, each as often as it did: what there is in whole epochs, or what
 * max_steps asks for, as the Trainer counts. */
static double samples(const nbi_run *run)
{
    const nb_recipe *r = run->r;
    if (r->max_steps > 0)
        return (double)run->at.step * (double)(r->batch * r->accumulation);
    return (double)run->data->n * run->at.epoch_done;
}

nb_status nbi_run_log_end(nbi_run *run, nb_error *err)
{
    const double seconds = fmax(nbi_clock() - run->begin, 1e-9), steps = (double)run->at.step;
    const named v[] = {{"train_loss", run->at.loss_sum / fmax(steps - (double)run->at.skipped, 1)},
                       {"train_runtime", seconds},
                       {"train_samples_per_second", samples(run) / seconds},
                       {"train_steps_per_second", steps / seconds},
                       {"train_tokens", (double)run->at.tokens_seen, true},
                       {"total_flos", nbi_run_operations(run)},
                       {"peak_bytes", (double)nbi_mem_rss_peak(), true},
                       {"planned_peak_bytes", (double)run->plan.memory.peak, true}};
    return ADD_ENTRY(run, NBI_ENTRY_END, v, err);
}

nb_status nbi_run_log_open(nbi_run *run, nb_error *err)
{
    NBI_TRY(nbi_train_log_open(&run->train_log, run->r->output_dir, run->log, err));
    NBI_TRY(log_header(run, err));
    /* the evaluation before the first step; of a resumed run all that led to its checkpoint */
    for (size_t i = 0; i < run->history.entries.n; i++)
        write_line(run, &run->history.entries.v[i]);
    run->watch = nbi_watch_open(run);
    nbi_watch_entries(run->watch);
    return NB_OK;
}

/* ---- the progress hook ---- */

static nb_train_progress progress(const nbi_run *run)
{
    return (nb_train_progress){.step = run->at.step,
                               .total_steps = run->total,
                               .epoch = run->at.epoch_done,
                               .loss = run->loss,
                               .grad_norm = run->grad_norm,
                               .learning_rate = run->lr,
                               .tokens_per_second = run->tokens_per_second,
                               .seconds = run->at.step > 0 ? nbi_clock() - run->begin : 0,
                               .seconds_left = run->at.step > 0 ? nbi_run_seconds_left(run) : 0,
                               .eval_loss = NAN};
}

void nbi_run_tell(const nbi_run *run, double eval_loss, bool logged)
{
    if (!run->hooks->progress)
        return;
    nb_train_progress p = progress(run);
    p.eval_loss = eval_loss;
    p.logged = logged;
    run->hooks->progress(run->hooks->user, &p);
}

void nbi_run_tell_eval(const nbi_run *run, const nbi_eval_set *s, double loss)
{
    if (!run->hooks->progress)
        return;
    nb_train_progress p = progress(run);
    p.eval_loss = loss;
    p.eval_set = s->name;
    p.logged = true;
    run->hooks->progress(run->hooks->user, &p);
}
