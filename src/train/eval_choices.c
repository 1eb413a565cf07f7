/* SPDX-License-Identifier: MIT */
/* Rows of multiple choice: each choice in turn stands where the answer does, and the one whose
 * tokens the model finds most probable is its answer. */
#include <math.h>
#include "base/fail.h"
#include "data/choices.h"
#include "data/rowsource.h"
#include "train/evaluation.h"

/* A row, and the best choice so far. */
typedef struct candidate {
    int64_t n, right;
    double best, best_normalised;
    int64_t pick, pick_normalised;
} candidate;

typedef struct ranking {
    nbi_evaluation *e;
    nbi_rowsource src;
    candidate *rows;  /* by row of the file */
    nb_dataset *data; /* of the choice at hand */
    int64_t k, most;  /* choice, from 0; choices of the row that has most */
    int64_t *lengths; /* bytes of choice k, by row of the file */
} ranking;

bool nbi_eval_has_choices(const char *path, nb_data_format *format)
{
    nbi_rowsource src;
    nbi_arena arena;
    nbi_json *v = NULL;
    if (nbi_rowsource_open(&src, path, 1, NULL, NULL, NULL) != NB_OK)
        return false;
    nbi_arena_init(&arena, NBI_MEM_IO);
    bool there = src.records.n > 0 && nbi_rowsource_row(&src, 0, &arena, &v, NULL) == NB_OK &&
                 nbi_choices_there(v);
    *format = there ? nbi_choices_format(v) : NB_DATA_AUTO;
    nbi_arena_free(&arena);
    nbi_rowsource_close(&src);
    return there;
}

/* What the file says of row i; the length of choice k too. */
static nb_status read_row(ranking *x, size_t i, nb_error *err)
{
    nbi_arena arena;
    nbi_json *v = NULL;
    nbi_choices c;
    nbi_arena_init(&arena, NBI_MEM_IO);
    nb_status st = nbi_rowsource_row(&x->src, i, &arena, &v, err);
    const nbi_row row = {.path = x->e->data->path, .line = x->src.records.v[i].line, .v = v};
    if (st == NB_OK)
        st = nbi_choices_read(&row, &c, err);
    if (st == NB_OK) {
        x->rows[i].n = c.n;
        x->rows[i].right = c.right;
        x->most = c.n > x->most ? c.n : x->most;
        x->lengths[i] = x->k < c.n ? (int64_t)nbi_json_at(c.list, (size_t)x->k)->text_len : 0;
    }
    nbi_arena_free(&arena);
    return st;
}

static void take(void *user, uint32_t row, const nb_loss *loss)
{
    ranking *x = user;
    const int64_t i = x->data->rows[row].row;
    candidate *c = &x->rows[i];
    if (x->k >= c->n)
        return;
    const double p = -loss->sum, normalised = p / (double)x->lengths[i];
    if (x->k == 0 || p > c->best) {
        c->best = p;
        c->pick = x->k;
    }
    if (x->k == 0 || normalised > c->best_normalised) {
        c->best_normalised = normalised;
        c->pick_normalised = x->k;
    }
}

/* The log-likelihoods of choice k of all rows, on one side. */
static nb_status rank_choice(ranking *x, nb_workspace *ws, int64_t max_rows, nb_error *err)
{
    nb_eval_result result;
    nbi_eval_setup s = {.model = x->e->parts.model,
                        .ws = ws,
                        .max_rows = max_rows,
                        .batch = &x->e->batch,
                        .data = x->data,
                        .group = 1,
                        .hooks = x->e->hooks,
                        .on_row = take,
                        .user = x};
    return nbi_evaluate_set(&s, &result, err);
}

static void finish(ranking *x, nb_choice_scores *out)
{
    const nb_dataset *d = x->e->data;
    *out = (nb_choice_scores){.rows = (int64_t)d->n};
    for (size_t i = 0; i < d->n; i++) {
        const candidate *c = &x->rows[d->rows[i].row];
        out->accuracy += c->pick == c->right;
        out->accuracy_normalised += c->pick_normalised == c->right;
        out->chance += 1.0 / (double)c->n;
    }
    out->accuracy /= (double)d->n;
    out->accuracy_normalised /= (double)d->n;
    out->chance /= (double)d->n;
}

/* Loads the rows with choice k and ranks it. */
static nb_status one_choice(ranking *x, nb_error *err)
{
    nbi_evaluation *e = x->e;
    nb_workspace *ws = NULL;
    nb_data_config c = e->layout;
    c.choice = x->k + 1;
    c.no_eos = true; /* what ends an answer is no part of a choice */
    for (size_t i = 0; i < x->src.records.n; i++)
        NBI_TRY(read_row(x, i, err));
    NBI_TRY(nb_dataset_load(&x->data, e->data->path, &c, e->parts.tok, e->parts.model->config.vocab,
                            NULL, err));
    const int64_t longest = x->data->max_tokens;
    nb_status st =
        nb_workspace_open(&ws, e->parts.model, &(nb_pass_plan){.max_rows = longest}, err);
    if (st == NB_OK)
        st = rank_choice(x, ws, longest, err);
    nb_workspace_close(&ws);
    nb_dataset_close(&x->data);
    return st;
}

static nb_status rank_side(ranking *x, int side, nb_error *err)
{
    nbi_evaluation *e = x->e;
    nb_status st = NB_OK;
    x->most = 1;
    nbi_assembly_use_adapter(&e->parts, side == NBI_WITH);
    for (x->k = 0; st == NB_OK && x->k < x->most; x->k++)
        st = one_choice(x, err);
    nbi_assembly_use_adapter(&e->parts, true);
    if (st == NB_OK)
        finish(x, &e->report[side].choices);
    return st;
}

nb_status nbi_eval_choices(nbi_evaluation *e, nb_error *err)
{
    ranking x = {.e = e};
    NBI_TRY(nbi_rowsource_open(&x.src, e->data->path, e->layout.max_rows,
                               e->hooks ? e->hooks->stop : NULL, NULL, err));
    x.rows = nbi_calloc(NBI_MEM_OTHER, x.src.records.n, sizeof(*x.rows));
    x.lengths = nbi_calloc(NBI_MEM_OTHER, x.src.records.n, sizeof(*x.lengths));
    nb_status st = x.rows && x.lengths
                       ? NB_OK
                       : nbi_fail_nomem(err, "choices", x.src.records.n * sizeof(*x.rows));
    for (int side = 0; st == NB_OK && side < e->sides; side++)
        st = rank_side(&x, side, err);
    nbi_free(x.rows);
    nbi_free(x.lengths);
    nbi_rowsource_close(&x.src);
    return st;
}
