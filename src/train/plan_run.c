/* SPDX-License-Identifier: MIT */
/* From a recipe and its rows to a plan. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/quantity.h"
#include "train/assembly.h"
#include "train/evaluator.h"
#include "train/plan.h"

/* Without data, rows are as long as tutorials cut theirs. */
#define ASSUMED_LENGTH 512

nb_status nbi_plan_limits(nbi_plan *p, nb_error *err)
{
    const nb_recipe *r = p->r;
    uint64_t asked, own = nbi_mem_rss();
    bool known = nbi_meminfo_read(&p->machine, "");
    p->budget = 0;
    if (r->time_budget && !nbi_parse_duration(r->time_budget, &p->budget))
        return nbi_fail(err, NB_CONFIG,
                        "time_budget: \"%s\" is no time, expected one such as 90m, 2h or 1h30m",
                        r->time_budget);
    p->limit = known ? p->machine.available + own : UINT64_MAX;
    p->limit_text =
        p->machine.group ? "free in this process's control group" : "free on this machine";
    if (!r->memory_limit)
        return NB_OK;
    if (!nbi_parse_bytes(r->memory_limit, p->machine.total, &asked))
        return nbi_fail(
            err, NB_CONFIG,
            "memory_limit: \"%s\" is no size, expected one such as 6GiB, 6000MB or 80%%",
            r->memory_limit);
    /* who names a limit may take what others use now, but not more than there is */
    p->limit = known ? p->machine.total : UINT64_MAX;
    p->limit_text = p->machine.group ? "the limit of this process's control group"
                                     : "the memory of this machine";
    if (asked <= p->limit) {
        p->limit = asked;
        p->limit_text = "memory_limit";
    }
    return NB_OK;
}

/* ---- rows ---- */

/* Pieces of the mapped embedding. */
typedef struct windows {
    unsigned char *seen;
    uint64_t n, row_bytes, begin; /* begin: of the embedding in its first piece */
} windows;

static void mark(windows *w, const nb_example *row)
{
    for (int64_t j = 0; j < row->n; j++) {
        uint64_t at = w->begin + (uint64_t)row->ids[j] * w->row_bytes;
        uint64_t last = (at + w->row_bytes - 1) / NBI_PLAN_WINDOW;
        for (uint64_t i = at / NBI_PLAN_WINDOW; i <= last && i < w->n; i++)
            w->seen[i] = 1;
    }
}

/* The rows of the steps: a run that ends within the first epoch does not read all. */
static nb_status mark_training(windows *w, const nbi_plan *p, int64_t updates, nb_error *err)
{
    nbi_epoch e = {0};
    nb_status st = nbi_epoch_make(&e, p->batching, 0, err);
    if (st != NB_OK) {
        nbi_epoch_free(&e);
        return st;
    }
    int64_t batches = updates * p->batching->accumulation;
    bool part = p->r->max_steps > 0 && batches < (int64_t)e.n_batches;
    size_t n = part ? e.starts.v[batches] : 0;
    for (size_t i = 0; i < n; i++)
        mark(w, &p->data->rows[e.rows[i]]);
    nbi_epoch_free(&e);
    for (size_t i = 0; !part && i < p->data->n; i++)
        mark(w, &p->data->rows[i]);
    return NB_OK;
}

/* The pieces of the embedding that the rows' tokens lie in. */
static nb_status count_windows(nbi_plan *p, int64_t updates, nb_error *err)
{
    const nb_model_config *c = &p->config;
    nb_model_load how = {.quant = p->spec.quant};
    nb_model *sketch;
    nb_sketch_bytes b;
    if (!p->data || p->spec.method == NB_METHOD_FULL)
        return NB_OK;
    NBI_TRY(nb_model_sketch(&sketch, c, p->spec.dir, &how, &b, err));
    nb_model_close(&sketch);
    windows w = {.row_bytes = b.embed_row, .begin = b.embed_at % NBI_PLAN_WINDOW};
    w.n = (uint64_t)c->vocab * w.row_bytes / NBI_PLAN_WINDOW + 2;
    w.seen = nbi_calloc(NBI_MEM_SCRATCH, w.n, 1);
    if (!w.seen)
        return nbi_fail_nomem(err, "a plan", w.n);
    nb_status st = mark_training(&w, p, updates, err);
    for (size_t s = 0; s < nbi_plan_n_evals(p); s++)
        for (size_t i = 0; i < p->evals->v[s].data->n; i++)
            mark(&w, &p->evals->v[s].data->rows[i]);
    for (uint64_t i = 0; i < w.n; i++)
        p->spec.embed_windows += w.seen[i];
    nbi_free(w.seen);
    return st;
}

static double evaluations(const nbi_plan *p, int64_t updates, int64_t epochs)
{
    const nb_recipe *r = p->r;
    double n = 1; /* at the end */
    if (nbi_plan_n_evals(p) == 0)
        return 0;
    if (r->eval_strategy == NB_STRATEGY_STEPS && r->eval_steps > 0)
        n = ceil((double)updates / (double)r->eval_steps);
    else if (r->eval_strategy == NB_STRATEGY_EPOCH)
        n = (double)(epochs > 0 ? epochs : 1);
    return n + (r->eval_on_start || !nb_recipe_given(r, "eval_on_start"));
}

static void sum_work(nbi_plan *p, int64_t updates)
{
    nbi_workload *w = &p->work;
    int64_t window = p->config.sliding_window;
    *w = (nbi_workload){.steps = (double)updates};
    if (!p->data) {
        double rows = (double)(p->r->batch * p->r->accumulation), n = (double)p->length;
        double seen = window > 0 && window < p->length ? (double)window : n;
        w->steps = p->whole_run ? (double)p->r->max_steps : 1;
        rows *= w->steps;
        w->run = (nbi_token_sums){rows, rows * n, rows * n, rows * n * seen};
        w->batch_tokens = (double)p->r->batch * n;
        w->micro_batches = (double)p->r->accumulation * w->steps;
        return;
    }
    nbi_token_sums one = {0};
    nbi_token_sums_add(&one, p->data, window, 1);
    double micro = (double)p->batching->batch,
           rows_step = micro * (double)p->batching->accumulation;
    double mean = one.tokens / fmax(one.rows, 1);
    if (p->batching->packing)
        rows_step *= fmax(1, (double)p->batching->pack_tokens / fmax(mean, 1));
    double epochs =
        p->r->max_steps > 0 ? (double)updates * rows_step / fmax(one.rows, 1) : p->r->epochs;
    w->run = (nbi_token_sums){one.rows * epochs, one.tokens * epochs, one.trained * epochs,
                              one.squares * epochs};
    w->batch_tokens =
        p->batching->packing ? micro * (double)p->batching->pack_tokens : micro * mean;
    w->micro_batches = w->run.tokens / fmax(w->batch_tokens, 1);
    for (size_t i = 0; i < nbi_plan_n_evals(p); i++)
        nbi_token_sums_add(&w->eval, p->evals->v[i].data, window, 1);
    if (nbi_plan_n_evals(p) > 0) {
        double group = (double)(p->r->eval_batch > 0 ? p->r->eval_batch : NBI_EVAL_BATCH);
        w->eval_passes =
            fmax(ceil(w->eval.rows / group), w->eval.tokens / fmax((double)p->spec.max_rows, 1));
    }
    w->evaluations = evaluations(p, updates, (int64_t)ceil(epochs - 1e-9));
}

static void set_length(nbi_plan *p)
{
    const nb_recipe *r = p->r;
    p->assumed = !p->data;
    p->whole_run = p->data || r->max_steps > 0;
    if (p->data) {
        p->length = p->data->max_tokens;
        return;
    }
    p->length = r->data_config.max_seq_length > 0 ? r->data_config.max_seq_length : ASSUMED_LENGTH;
    if (p->length > p->config.max_positions && p->config.max_positions > 0)
        p->length = p->config.max_positions;
}

/* ---- the plan ---- */

/* An adapter to start from says its own ranks and targets. */
static nb_status adopt_adapter(nbi_plan *p, nb_error *err)
{
    const nb_recipe *r = p->r;
    if (!r->init_adapter || r->method == NB_METHOD_FULL)
        return NB_OK;
    NBI_TRY(nb_adapter_read_config(r->init_adapter, &p->adopted, NULL, err));
    p->has_adopted = true;
    p->spec.lora = &p->adopted;
    p->spec.from_adapter = true;
    return NB_OK;
}

nb_status nbi_plan_make(nbi_plan *p, const char *dir, int64_t updates, nb_error *err)
{
    const nb_recipe *r = p->r;
    NBI_TRY(nbi_cpumask_parse(r->cpumask, &p->cpu_flags, err));
    set_length(p);
    p->spec = (nbi_plan_spec){.config = &p->config,
                              .dir = dir,
                              .method = r->method,
                              .quant = r->quant,
                              .cached = r->quantized_cache != NULL,
                              .lora = &r->lora,
                              .optim = r->optim,
                              .optim_config = &r->optim_config,
                              .compute = r->compute,
                              .save_dtype = r->save_dtype,
                              .threads = r->threads,
                              .checkpointing = r->checkpointing,
                              .session_tokens = p->session_tokens,
                              .data_rows = (int64_t)(p->data ? p->data->n : 0)};
    for (size_t i = 0; i < nbi_plan_n_evals(p); i++)
        p->spec.data_rows += (int64_t)p->evals->v[i].data->n;
    NBI_TRY(adopt_adapter(p, err));
    NBI_TRY(count_windows(p, updates, err));
    p->spec.max_rows = nbi_plan_max_rows(p, &nbi_no_change);
    sum_work(p, updates);
    nbi_mem_trim();
    p->spec.process = nbi_mem_rss();
    p->spec.process_peak = nbi_mem_rss_peak();
    NBI_TRY(nbi_plan_limits(p, err));
    p->spec.limit = p->limit;
    return nbi_memory_plan_make(&p->memory, &p->spec, err);
}

nb_status nbi_plan_measure(nbi_plan *p, nb_error *err)
{
    nb_quant_config quant = p->config.has_quant ? p->config.quant : p->r->quant;
    NBI_TRY(nbi_rates_measure(&p->rates, &p->config, &quant, p->r->compute, p->cpu_flags,
                              p->r->threads, p->work.batch_tokens, err));
    if (p->memory.stream || !nbi_plan_fits(p))
        nbi_rates_disk(&p->rates, p->spec.dir);
    nbi_time_plan_make(&p->time, &p->memory, &p->config, p->r->method == NB_METHOD_FULL, &p->work,
                       &p->rates);
    return NB_OK;
}

void nbi_plan_free(nbi_plan *p)
{
    nbi_memory_plan_free(&p->memory);
    if (p->has_adopted)
        nb_lora_config_free(&p->adopted);
    p->has_adopted = false;
    if (p->has_config)
        nb_config_free(&p->config);
    p->has_config = false;
}

nb_status nbi_plan_check(const nbi_plan *p, nb_error *err)
{
    char need[32], have[32], size[32];
    nbi_proposal v[NBI_MAX_PROPOSALS];
    nbi_strbuf text = {0};
    if (nbi_plan_fits(p))
        return NB_OK;
    nbi_strbuf_printf(
        &text, "this run takes %s (in %s, up to %lld tokens a micro-batch), but %s is %s",
        nbi_format_bytes((double)p->memory.peak, need), nbi_plan_phase_text(p->memory.peak_phase),
        (long long)p->spec.max_rows, p->limit_text, nbi_format_bytes((double)p->limit, have));
    size_t n = nbi_plan_fit_memory(p, v);
    for (size_t i = 0; i < n; i++)
        nbi_strbuf_printf(&text, "%s%s (%s%s)", i ? "; " : "; what would fit: ", v[i].text,
                          nbi_format_bytes((double)v[i].peak, size),
                          v[i].stream ? ", weights streamed" : "");
    if (n == 0)
        nbi_strbuf_puts(&text, "; no setting makes it fit: use a smaller model");
    nb_status st = nbi_fail(err, NB_LIMIT, "%s", nbi_strbuf_str(&text));
    nbi_strbuf_free(&text);
    return st;
}
