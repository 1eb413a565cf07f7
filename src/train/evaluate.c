/* SPDX-License-Identifier: MIT */
/* nb_evaluate: the loss of a model, with an adapter or without, on a data set. */
#include <string.h>
#include "base/fail.h"
#include "base/log.h"
#include "train/assembly.h"
#include "train/epoch_plan.h"
#include "train/evaluator.h"

/* Tokens of one pass unless a row is longer. */
#define PASS_TOKENS 2048

typedef struct evaluation {
    nbi_assembly parts;
    nb_dataset *data;
    nb_workspace *ws;
    nb_batch_buffer batch;
    int64_t max_rows;
} evaluation;

/* The rows in the layout of the adapter's training; when they do not have it, as the recipe says.
 */
static nb_status load_data(evaluation *e, const nb_recipe *r, const nb_data_config *given,
                           const nb_log *log, nb_error *err)
{
    const char *path = r->data ? r->data : r->eval_data;
    int64_t vocab = e->parts.model->config.vocab;
    nb_error first = {NB_OK, ""};
    if (!path)
        return nbi_fail(err, NB_CONFIG, "data: not given; name the file of rows (--data FILE)");
    nb_data_config layout = r->data_config;
    layout.stop = given->stop;
    nb_status st = nb_dataset_load(&e->data, path, &layout, e->parts.tok, vocab, log, &first);
    if (st == NB_DATA && given->format != layout.format) {
        nbi_log(log, NB_LOG_NOTE, "%s is not in the layout of the adapter's training (%s)", path,
                first.message);
        return nb_dataset_load(&e->data, path, given, e->parts.tok, vocab, log, err);
    }
    if (st != NB_OK && err)
        *err = first;
    return st;
}

static nb_status open_evaluation(evaluation *e, nb_recipe *r, const nb_train_hooks *hooks,
                                 nb_error *err)
{
    const nb_log *log = hooks ? hooks->log : NULL;
    NBI_TRY(nb_recipe_finish(r, log, err));
    nb_data_config given = r->data_config;
    given.stop = hooks ? hooks->stop : NULL;
    if (r->adapter)
        NBI_TRY(nbi_recipe_adopt(r, r->adapter, true, log, err));
    NBI_TRY(nbi_assembly_open(&e->parts, r, false, log, err));
    if (r->adapter)
        NBI_TRY(nb_adapter_load(&e->parts.adapter, e->parts.model, r->adapter, r->seed, false, log,
                                err));
    NBI_TRY(load_data(e, r, &given, log, err));
    NBI_TRY(nbi_trained_rows(e->data, "evaluation", log, err));
    e->max_rows = e->data->max_tokens > PASS_TOKENS ? e->data->max_tokens : PASS_TOKENS;
    if (e->max_rows > e->data->total_tokens)
        e->max_rows = e->data->total_tokens;
    return nb_workspace_open(&e->ws, e->parts.model, &(nb_pass_plan){.max_rows = e->max_rows}, err);
}

static void close_evaluation(evaluation *e)
{
    nb_workspace_close(&e->ws);
    nb_batch_free(&e->batch);
    nb_dataset_close(&e->data);
    nbi_assembly_close(&e->parts);
}

/* ---- saving logits ---- */

/* Streams the logits of all rows in order: one row's forward pass at a time, a few of its tokens'
 * logits in memory. Elements are asked for in ascending order. */
typedef struct logit_stream {
    evaluation *e;
    size_t row;        /* whose forward pass is in the workspace; (size_t)-1: none */
    int64_t row_begin; /* its first token */
    float *block;      /* [block_tokens, V] from token block_begin on */
    int64_t block_begin, block_n, block_tokens;
} logit_stream;

static nb_status next_row(logit_stream *s, nb_error *err)
{
    const nb_dataset *d = s->e->data;
    s->row_begin += s->row == (size_t)-1 ? 0 : d->rows[s->row].n;
    s->row++;
    uint32_t row = (uint32_t)s->row;
    NBI_TRY(nb_batch_make(&s->e->batch, d, &row, 1, 0, err));
    nb_model_forward(s->e->parts.model, s->e->ws, &s->e->batch.batch, NULL, false);
    return NB_OK;
}

/* Brings the logits of `token` into the block. */
static nb_status load_block(logit_stream *s, int64_t token, nb_error *err)
{
    const nb_dataset *d = s->e->data;
    while (s->row == (size_t)-1 || token >= s->row_begin + d->rows[s->row].n)
        NBI_TRY(next_row(s, err));
    int64_t left = s->row_begin + d->rows[s->row].n - token;
    s->block_begin = token;
    s->block_n = left < s->block_tokens ? left : s->block_tokens;
    nb_model_logits(s->e->parts.model, s->e->ws, token - s->row_begin, s->block_n, s->block);
    return NB_OK;
}

static nb_status fill(void *user, size_t entry, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    logit_stream *s = user;
    int64_t v = s->e->parts.model->config.vocab;
    float *out = buf;
    (void)entry;
    while (n > 0) {
        int64_t token = i0 / v;
        if (token < s->block_begin || token >= s->block_begin + s->block_n)
            NBI_TRY(load_block(s, token, err));
        int64_t at = i0 - s->block_begin * v, have = s->block_n * v - at;
        int64_t take = n < have ? n : have;
        memcpy(out, s->block + at, (size_t)take * sizeof(*out));
        out += take;
        i0 += take;
        n -= take;
    }
    return NB_OK;
}

static nb_status save_logits_file(evaluation *e, const char *path, int64_t *starts, nb_error *err)
{
    const nb_dataset *d = e->data;
    int64_t v = e->parts.model->config.vocab;
    logit_stream s = {.e = e, .row = (size_t)-1, .block_tokens = 1 + (1 << 20) / v};
    starts[0] = 0;
    for (size_t i = 0; i < d->n; i++)
        starts[i + 1] = starts[i] + d->rows[i].n;
    s.block = nbi_alloc(NBI_MEM_IO, (size_t)(s.block_tokens * v) * sizeof(float));
    if (!s.block)
        return nbi_fail_nomem(err, "logits", (size_t)(s.block_tokens * v) * sizeof(float));
    nb_st_entry entries[2] = {
        {"logits", NB_DT_F32, 2, {starts[d->n], v}, NULL},
        {"segments", NB_DT_I64, 1, {(int64_t)d->n + 1}, starts},
    };
    nb_status st = nb_safetensors_write(path, entries, 2, fill, &s, err);
    nbi_free(s.block);
    return st;
}

static nb_status save_logits(evaluation *e, const char *path, nb_error *err)
{
    int64_t *starts = nbi_calloc(NBI_MEM_IO, e->data->n + 1, sizeof(*starts));
    if (!starts)
        return nbi_fail_nomem(err, "segments", (e->data->n + 1) * sizeof(*starts));
    nb_status st = save_logits_file(e, path, starts, err);
    nbi_free(starts);
    return st;
}

nb_status nb_evaluate(nb_recipe *r, const char *save_logits_to, const nb_train_hooks *hooks,
                      nb_eval_result *result, nb_error *err)
{
    evaluation e = {0};
    nb_eval_result local;
    nb_status st = open_evaluation(&e, r, hooks, err);
    if (st == NB_OK) {
        nbi_eval_setup s = {.model = e.parts.model,
                            .ws = e.ws,
                            .max_rows = e.max_rows,
                            .batch = &e.batch,
                            .data = e.data,
                            .group = r->eval_batch > 0 ? r->eval_batch : 8,
                            .mean_of_batches = r->eval_loss_trainer,
                            .hooks = hooks};
        st = nbi_evaluate_set(&s, result ? result : &local, err);
    }
    if (st == NB_OK && save_logits_to)
        st = save_logits(&e, save_logits_to, err);
    close_evaluation(&e);
    return st;
}
