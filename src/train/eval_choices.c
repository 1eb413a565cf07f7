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
    size_t first; /* lengths.v[first .. first + n): bytes of its choices */
    double best, best_normalised;
    int64_t pick, pick_normalised;
} candidate;

typedef struct ranking {
    nbi_evaluation *e;
    nbi_rowsource src;
    candidate *rows; /* by row of the file */
    NBI_ARRAY(int64_t) lengths;
    nb_dataset *data; /* of the choice at hand */
    int64_t k, most;  /* that choice, from 0; choices of the row that has most */
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

static nb_status note_row(ranking *x, candidate *row, const nbi_choices *c, nb_error *err)
{
    row->n = c->n;
    row->right = c->right;
    row->first = x->lengths.n;
    x->most = c->n > x->most ? c->n : x->most;
    for (const nbi_json *v = c->list->first; v; v = v->next)
        if (!nbi_array_push(&x->lengths, (int64_t)v->text_len))
            return nbi_fail_nomem(err, "choices", sizeof(int64_t));
    return NB_OK;
}

/* What the file says of its rows. */
static nb_status read_rows(ranking *x, nb_error *err)
{
    nbi_arena arena;
    nb_status st = NB_OK;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    for (size_t i = 0; st == NB_OK && i < x->src.records.n; i++) {
        nbi_json *v = NULL;
        nbi_choices c;
        st = nbi_rowsource_row(&x->src, i, &arena, &v, err);
        const nbi_row row = {.path = x->e->data->path, .line = x->src.records.v[i].line, .v = v};
        if (st == NB_OK)
            st = nbi_choices_read(&row, &c, err);
        if (st == NB_OK)
            st = note_row(x, &x->rows[i], &c, err);
        nbi_arena_free(&arena);
    }
    return st;
}

static void take(void *user, uint32_t row, const nb_loss *loss)
{
    ranking *x = user;
    const int64_t i = x->data->rows[row].row;
    candidate *c = &x->rows[i];
    if (x->k >= c->n)
        return;
    const double p = -loss->sum, normalised = p / (double)x->lengths.v[c->first + (size_t)x->k];
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
    nb_status st = x.rows ? read_rows(&x, err)
                          : nbi_fail_nomem(err, "choices", x.src.records.n * sizeof(*x.rows));
    for (int side = 0; st == NB_OK && side < e->sides; side++)
        st = rank_side(&x, side, err);
    nbi_free(x.rows);
    nbi_array_free(&x.lengths);
    nbi_rowsource_close(&x.src);
    return st;
}
