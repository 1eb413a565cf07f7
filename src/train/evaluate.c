/* SPDX-License-Identifier: MIT */
/* nb_evaluate: a model, with an adapter or without, on a data set. */
#include <string.h>
#include "base/fail.h"
#include "base/log.h"
#include "data/choices.h"
#include "train/epoch_plan.h"
#include "train/evaluation.h"

/* Tokens of one pass unless a row is longer. */
#define PASS_TOKENS 2048

/* The rows in the layout of the adapter's training; when they do not have it, as the recipe says.
 */
static nb_status load_data(nbi_evaluation *e, const nb_recipe *r, const nb_data_config *given,
                           const nb_log *log, nb_error *err)
{
    const char *path = r->data ? r->data : r->eval_data;
    int64_t vocab = e->parts.model->config.vocab;
    nb_error first = {NB_OK, ""};
    if (!path)
        return nbi_fail(err, NB_CONFIG, "data: not given; name the file of rows (--data FILE)");
    nb_data_format format = NB_DATA_AUTO;
    nb_data_config own = *given;
    e->layout = r->data_config;
    e->layout.stop = given->stop;
    if (nbi_eval_has_choices(path, &format)) {
        e->layout.choice = own.choice = NBI_CHOICE_RIGHT;
        own.format = own.format == NB_DATA_AUTO ? format : own.format;
        e->layout.format = e->layout.format == NB_DATA_AUTO ? format : e->layout.format;
    }
    nb_status st = nb_dataset_load(&e->data, path, &e->layout, e->parts.tok, vocab, log, &first);
    if (st == NB_DATA && own.format != e->layout.format) {
        nbi_log(log, NB_LOG_NOTE, "%s is not in the layout of the adapter's training (%s)", path,
                first.message);
        e->layout = own;
        return nb_dataset_load(&e->data, path, &own, e->parts.tok, vocab, log, err);
    }
    if (st != NB_OK && err)
        *err = first;
    return st;
}

static nb_status open_evaluation(nbi_evaluation *e, nb_recipe *r, nb_error *err)
{
    const nb_train_hooks *hooks = e->hooks;
    const nb_log *log = hooks ? hooks->log : NULL;
    NBI_TRY(nb_recipe_finish(r, log, err));
    if (e->o->compare && !r->adapter)
        return nbi_fail(err, NB_CONFIG,
                        "compare: there is no adapter to compare the base with; "
                        "name one (--adapter DIR)");
    nb_data_config given = r->data_config;
    given.stop = hooks ? hooks->stop : NULL;
    if (r->adapter)
        NBI_TRY(nbi_recipe_adopt(r, r->adapter, true, log, err));
    e->parts.stop = given.stop;
    NBI_TRY(nbi_assembly_open(&e->parts, r, false, log, err));
    if (r->adapter)
        NBI_TRY(nbi_assembly_adapt(&e->parts, r->adapter, log, err));
    NBI_TRY(load_data(e, r, &given, log, err));
    NBI_TRY(nbi_trained_rows(e->data, "evaluation", log, err));
    e->max_rows = e->data->max_tokens > PASS_TOKENS ? e->data->max_tokens : PASS_TOKENS;
    if (e->max_rows > e->data->total_tokens)
        e->max_rows = e->data->total_tokens;
    return nb_workspace_open(&e->ws, e->parts.model, &(nb_pass_plan){.max_rows = e->max_rows}, err);
}

static void close_evaluation(nbi_evaluation *e)
{
    nb_workspace_close(&e->ws);
    nb_batch_free(&e->batch);
    for (int i = 0; i < NBI_SIDES; i++)
        nbi_free(e->rows[i]);
    nb_dataset_close(&e->data);
    nbi_assembly_close(&e->parts);
}

static void keep_row(void *user, uint32_t row, const nb_loss *loss)
{
    nbi_row_loss *rows = user;
    rows[row] = (nbi_row_loss){loss->sum, loss->tokens, loss->hits};
}

static nb_status take_losses(nbi_evaluation *e, const nb_recipe *r, int side, nb_error *err)
{
    nbi_eval_setup s = {.model = e->parts.model,
                        .ws = e->ws,
                        .max_rows = e->max_rows,
                        .batch = &e->batch,
                        .data = e->data,
                        .group = r->eval_batch > 0 ? r->eval_batch : 8,
                        .mean_of_batches = r->eval_loss_trainer,
                        .hooks = e->hooks};
    if (e->o->examples) {
        s.user = e->rows[side] = nbi_calloc(NBI_MEM_OTHER, e->data->n, sizeof(nbi_row_loss));
        s.on_row = keep_row;
        if (!s.user)
            return nbi_fail_nomem(err, "losses", e->data->n * sizeof(nbi_row_loss));
    }
    nbi_assembly_use_adapter(&e->parts, side == NBI_WITH);
    nb_status st = nbi_evaluate_set(&s, &e->report[side].loss, err);
    nbi_assembly_use_adapter(&e->parts, true);
    return st;
}

static nb_status evaluate(nbi_evaluation *e, nb_recipe *r, nb_error *err)
{
    NBI_TRY(open_evaluation(e, r, err));
    for (int side = 0; side < e->sides; side++)
        NBI_TRY(take_losses(e, r, side, err));
    if (e->layout.choice != NBI_CHOICE_NONE)
        NBI_TRY(nbi_eval_choices(e, err));
    if (e->o->save_logits)
        NBI_TRY(nbi_eval_logits(e, err));
    return e->o->answers || e->o->examples ? nbi_eval_examples(e, err) : NB_OK;
}

void nb_eval_options_default(nb_eval_options *o)
{
    *o = (nb_eval_options){.max_new_tokens = 128};
}

nb_status nb_evaluate(nb_recipe *r, const nb_eval_options *options, const nb_train_hooks *hooks,
                      nb_eval_report *report, nb_eval_report *base, nb_error *err)
{
    nb_eval_options plain;
    nb_eval_options_default(&plain);
    nbi_evaluation e = {.o = options ? options : &plain, .hooks = hooks};
    e.sides = e.o->compare ? NBI_SIDES : 1;
    nb_status st = evaluate(&e, r, err);
    if (report)
        *report = e.report[NBI_WITH];
    if (base)
        *base = e.report[NBI_BASE];
    close_evaluation(&e);
    return st;
}
