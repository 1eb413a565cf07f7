/* SPDX-License-Identifier: MIT */
/* Opening all parts of a run, in an order that finds mistakes before anything takes long. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fail.h"
#include "base/log.h"
#include "base/quantity.h"
#include "train/resume.h"
#include "train/row_layout.h"
#include "train/trainer.h"

static nb_status check_recipe(nb_recipe *r, const nb_log *log, nb_error *err)
{
    NBI_TRY(nb_recipe_finish(r, log, err));
    nb_recipe_advise(r, log);
    if (r->init_adapter && r->method == NB_METHOD_FULL)
        return nbi_fail(err, NB_CONFIG,
                        "init_adapter: full fine-tuning has no adapter; drop the key or choose "
                        "method lora or qlora");
    if (r->init_adapter)
        NBI_TRY(nbi_recipe_adopt(r, r->init_adapter, false, log, err));
    if (!r->data)
        return nbi_fail(err, NB_CONFIG, "data: not given; name the file of rows (--data FILE)");
    if (!r->output_dir)
        return nbi_fail(err, NB_CONFIG, "output_dir: not given; name the folder for the results");
    return NB_OK;
}

/* Room first, so that a set that was read is in the list. */
static nb_status open_evals(nbi_run *run, const nb_data_config *rows, nb_error *err)
{
    const nb_recipe *r = run->r;
    const bool split = r->eval_rows > 0 || r->eval_fraction > 0;
    const size_t n = split ? 1 : r->eval_sets.n;
    if (n > 0 && !nbi_array_reserve(&run->evals, n))
        return nbi_fail_nomem(err, "the evaluation sets", n * sizeof(nbi_eval_set));
    for (size_t i = 0; i < n; i++) {
        nbi_eval_set *s = &run->evals.v[i];
        *s = (nbi_eval_set){.name = split ? NULL : r->eval_sets.v[i].name};
        if (split)
            NBI_TRY(nb_dataset_split(run->data, r->eval_rows, r->eval_fraction, r->seed, &s->data,
                                     err));
        else
            NBI_TRY(nb_dataset_load(&s->data, r->eval_sets.v[i].path, rows, run->parts.tok,
                                    run->plan.config.vocab, run->log, err));
        run->evals.n++;
    }
    return NB_OK;
}

static nb_status open_data(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    int64_t vocab = run->plan.config.vocab;
    nb_data_config rows = r->data_config;
    rows.stop = run->hooks->stop;
    NBI_TRY(nb_dataset_load(&run->data, r->data, &rows, run->parts.tok, vocab, run->log, err));
    NBI_TRY(open_evals(run, &rows, err));
    if (run->data->n == 0)
        return nbi_fail(err, NB_DATA, "%s: no row is left for training", r->data);
    NBI_TRY(nbi_trained_rows(run->data, "training", run->log, err));
    for (size_t i = 0; i < run->evals.n; i++)
        NBI_TRY(nbi_trained_rows(run->evals.v[i].data, "evaluation", run->log, err));
    run->order = (nb_order){.seed = r->seed, .shuffle = r->shuffle};
    if (r->sample_order)
        NBI_TRY(nb_order_read(&run->order, r->sample_order, run->data->n, err));
    return NB_OK;
}

static nb_status plan_updates(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    if (r->batch < 1 || r->accumulation < 1)
        return nbi_fail(err, NB_CONFIG,
                        "per_device_train_batch_size %lld and gradient_accumulation_steps %lld: "
                        "expected at least 1",
                        (long long)r->batch, (long long)r->accumulation);
    NBI_TRY(nbi_run_choose_metric(run, err));
    run->batching = nbi_batching_of(r, run->data, &run->order, run->log);
    NBI_TRY(nbi_total_updates(&run->batching, r->epochs, r->max_steps, &run->total, err));
    NBI_TRY(nb_recipe_resolve_steps(run->r, run->total, err));
    NBI_TRY(nbi_find_longest(&run->batching, r->epochs, r->max_steps, &run->longest, err));
    run->batching.longest = run->longest.tokens;
    run->warmup = nbi_warmup_steps(r->warmup_steps, r->warmup_ratio, run->total);
    NBI_TRY(nb_schedule_init(&run->schedule, r->schedule, r->schedule_kwargs, r->learning_rate,
                             run->warmup, run->total, err));
    nbi_run_keep_schedule(run);
    return NB_OK;
}

static nb_status new_adapter(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    nbi_assembly *p = &run->parts;
    if (r->init_adapter)
        NBI_TRY(
            nb_adapter_load(&p->adapter, p->model, r->init_adapter, r->seed, true, run->log, err));
    else
        NBI_TRY(nb_adapter_new_lora(&p->adapter, p->model, &r->lora, r->seed, true, err));
    run->params = &p->adapter->params;
    nb_lora_config *c = &p->adapter->config;
    nbi_free(c->base_model);
    c->base_model = nbi_strdup(NBI_MEM_OTHER, r->model);
    return c->base_model ? NB_OK : nbi_fail_nomem(err, "a path", 0);
}

/* What nibble.json will say. */
static nb_status make_note(nbi_run *run, nb_error *err)
{
    const nb_model *m = run->parts.model;
    nb_adapter_note *n = &run->note;
    char *full = realpath(run->parts.dir, NULL);
    n->quant = m->quant;
    n->compute = m->exec.compute;
    n->base_dir = nbi_strdup(NBI_MEM_OTHER, full ? full : run->parts.dir);
    free(full); /* from the C library */
    if (!n->base_dir)
        return nbi_fail_nomem(err, "a path", 0);
    return nbi_row_layout_json(run->r, run->data->format, &n->layout_json, err);
}

static nb_status open_model(nbi_run *run, nb_error *err)
{
    nbi_assembly *p = &run->parts;
    p->stream = run->plan.memory.stream;
    p->stop = run->hooks->stop;
    NBI_TRY(nbi_assembly_load(p, run->r, run->full, run->log, err));
    if (run->full)
        run->params = &p->model->params;
    else
        NBI_TRY(new_adapter(run, err));
    return make_note(run, err);
}

static nb_status say_parameters(const nbi_run *run, nb_error *err)
{
    const nbi_assembly *p = &run->parts;
    int64_t trained = 0, all = p->model->n_parameters;
    for (size_t i = 0; i < run->params->n; i++)
        trained += run->params->v[i]->n;
    all += run->full ? 0 : trained;
    char a[32], b[32];
    nbi_format_grouped(trained, a);
    nbi_format_grouped(all, b);
    nbi_log(run->log, NB_LOG_INFO, "trainable params: %s || all params: %s || trainable%%: %.4f", a,
            b, 100.0 * (double)trained / (double)all);
    if (run->full)
        return NB_OK;
    nbi_strbuf text = {0};
    nb_adapter_coverage(p->adapter, &text);
    nb_status st = nbi_strbuf_check(&text, err);
    if (st == NB_OK)
        nbi_log(run->log, NB_LOG_INFO, "%s", nbi_strbuf_str(&text));
    nbi_strbuf_free(&text);
    return st;
}

static void say_memory(const nbi_run *run)
{
    char text[400] = "";
    size_t n = 0, sum = 0;
    for (int t = 0; t < NBI_MEMTAG_COUNT && n < sizeof(text); t++) {
        size_t bytes = nbi_mem_current((nbi_memtag)t);
        sum += bytes;
        if (bytes >= 1u << 17)
            n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s %.1f", n ? ", " : "",
                                  nbi_memtag_text((nbi_memtag)t), (double)bytes / 1048576);
    }
    nbi_log(run->log, NB_LOG_INFO, "memory: %.1f MiB (%s), beside the mapped files",
            (double)sum / 1048576, text);
}

static nb_status open_engine(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    nb_model *m = run->parts.model;
    NBI_TRY(nb_optim_open(&run->optim, r->optim, &r->optim_config, &m->exec, run->params,
                          r->output_dir, err));
    m->neftune_alpha = r->neftune_alpha;
    m->neftune_seed = r->seed;
    run->max_rows = run->plan.spec.max_rows;
    nb_pass_plan pass = {
        .max_rows = run->max_rows, .training = true, .recompute = run->plan.memory.recompute};
    nb_status st = nb_workspace_open(&run->ws, m, &pass, err);
    if (st == NB_NOMEM)
        return nbi_fail_prefix(err, st,
                               "a micro-batch of up to %lld tokens (lower "
                               "per_device_train_batch_size and raise gradient_accumulation_steps, "
                               "or lower max_seq_length)",
                               (long long)run->max_rows);
    return st;
}

nb_status nbi_run_open_rows(nbi_run *run, nb_error *err)
{
    NBI_TRY(open_data(run, err));
    NBI_TRY(plan_updates(run, err));
    run->plan.data = run->data;
    run->plan.evals = &run->evals;
    run->plan.batching = &run->batching;
    NBI_TRY(nbi_samples_read(run, err));
    run->plan.session_tokens = nbi_samples_tokens(run);
    return NB_OK;
}

static void say_streaming(nbi_run *run)
{
    nbi_plan *p = &run->plan;
    const nbi_memory_plan *m = &p->memory;
    char bytes[32], rate[32], time[32];
    nbi_rates_disk(&p->rates, p->spec.dir);
    double read = m->read_forward + m->read_backward;
    nbi_log(run->log, NB_LOG_NOTE,
            "the weights do not fit: each layer is read from the file when it is needed, %s a "
            "micro-batch, %s at %s a second (the disk, %s) where memory does not hold the file",
            nbi_format_bytes(read, bytes), nbi_format_duration(read / p->rates.disk, time),
            nbi_format_bytes(p->rates.disk, rate), p->rates.disk_measured ? "measured" : "assumed");
}

/* All memory is known here, before the weights are touched; a run that does not fit ends. */
static nb_status plan_memory(nbi_run *run, nb_error *err)
{
    nbi_plan *p = &run->plan;
    char peak[32], limit[32];
    NBI_TRY(nbi_plan_make(p, run->parts.dir, run->total, err));
    NBI_TRY(nbi_plan_check(p, err));
    nbi_log(run->log, NB_LOG_INFO, "planned peak memory: %s of %s (%s), reached in %s",
            nbi_format_bytes((double)p->memory.peak, peak),
            nbi_format_bytes((double)p->limit, limit), p->limit_text,
            nbi_plan_phase_text(p->memory.peak_phase));
    if (p->memory.stream)
        say_streaming(run);
    return NB_OK;
}

nb_status nbi_run_open(nbi_run *run, nb_error *err)
{
    NBI_TRY(check_recipe(run->r, run->log, err));
    run->full = run->r->method == NB_METHOD_FULL;
    run->plan.r = run->r;
    run->plan.can_train = true;
    NBI_TRY(nbi_plan_limits(&run->plan, err));
    NBI_TRY(nbi_output_open(run, err));
    NBI_TRY(nbi_resume_find(run, err));
    NBI_TRY(nbi_resume_name(run, err));
    NBI_TRY(nbi_assembly_begin(&run->parts, run->r, run->log, err));
    NBI_TRY(nb_config_read(&run->plan.config, run->parts.dir, err));
    run->plan.has_config = true;
    NBI_TRY(nbi_run_open_rows(run, err));
    nb_recipe_advise_rows(run->r, (int64_t)run->data->n, run->log);
    NBI_TRY(nbi_identity_make(&run->identity, run->r, run->parts.dir, run->data, &run->evals, err));
    NBI_TRY(nbi_resume_check(run, err));
    NBI_TRY(plan_memory(run, err));
    NBI_TRY(open_model(run, err));
    NBI_TRY(nbi_run_preflight(run, err));
    NBI_TRY(open_engine(run, err));
    NBI_TRY(nbi_resume_load(run, err));
    NBI_TRY(nbi_samples_open(run, err));
    NBI_TRY(say_parameters(run, err));
    say_memory(run);
    return NB_OK;
}

void nbi_run_close(nbi_run *run)
{
    nbi_watch_close(&run->watch);
    nbi_train_log_close(&run->train_log);
    nb_workspace_close(&run->ws);
    nb_optim_close(&run->optim);
    nb_batch_free(&run->batch);
    nbi_epoch_free(&run->epoch);
    nbi_history_free(&run->history);
    nbi_array_free(&run->group.v);
    nbi_array_free(&run->group.rows);
    nb_order_free(&run->order);
    nbi_samples_free(&run->samples);
    nbi_eval_sets_free(&run->evals);
    nb_dataset_close(&run->data);
    nb_adapter_note_free(&run->note);
    nbi_array_free(&run->saved);
    nbi_resume_close(run);
    nbi_plan_free(&run->plan);
    nbi_assembly_close(&run->parts);
    nbi_output_close(run);
}
