/* SPDX-License-Identifier: MIT */
#include "train/evaluator.h"

#include <math.h>
#include "base/clock.h"
#include "base/fail.h"

int64_t nbi_eval_sets_tokens(const nbi_eval_sets *s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        n += s->v[i].data->total_tokens;
    return n;
}

int64_t nbi_eval_sets_longest(const nbi_eval_sets *s)
{
    int64_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->v[i].data->max_tokens > n)
            n = s->v[i].data->max_tokens;
    return n;
}

void nbi_eval_sets_free(nbi_eval_sets *s)
{
    for (size_t i = 0; i < s->n; i++)
        nb_dataset_close(&s->v[i].data);
    nbi_array_free(s);
}

typedef struct sums {
    double loss;       /* over all trained tokens */
    double weighted;   /* batch means times their examples */
    double group_loss; /* of the batch at hand */
    int64_t group_tokens, group_rows;
    int64_t tokens, hits, all_tokens, rows;
} sums;

static void end_group(sums *s)
{
    if (s->group_tokens > 0)
        s->weighted += s->group_loss / (double)s->group_tokens * (double)s->group_rows;
    s->group_loss = 0;
    s->group_tokens = s->group_rows = 0;
}

static nb_status pass(const nbi_eval_setup *e, const uint32_t *rows, size_t n, sums *s,
                      nb_error *err)
{
    NBI_TRY(nb_batch_make(e->batch, e->data, rows, n, 0, err));
    const nb_batch *b = &e->batch->batch;
    nb_model_forward(e->model, e->ws, b, NULL, false);
    nb_loss loss = nb_model_loss(e->model, e->ws, b, 0, false, NULL);
    if (!isfinite(loss.sum))
        return nbi_fail(err, NB_NUMERIC,
                        "evaluation: the loss of rows %u to %u of %s is not finite", rows[0],
                        rows[n - 1], e->data->path);
    if (e->on_row)
        e->on_row(e->user, rows[0], &loss);
    s->loss += loss.sum;
    s->group_loss += loss.sum;
    s->group_tokens += loss.tokens;
    s->tokens += loss.tokens;
    s->hits += loss.hits;
    s->all_tokens += b->m;
    s->rows += (int64_t)n;
    s->group_rows += (int64_t)n;
    return NB_OK;
}

/* How many of the `left` rows fit one pass. */
static size_t take(const nbi_eval_setup *e, const uint32_t *rows, size_t left)
{
    int64_t tokens = 0;
    size_t n = 0;
    while (n < left) {
        tokens += e->data->rows[rows[n]].n;
        if (n > 0 && (tokens > e->max_rows || e->on_row))
            break;
        n++;
    }
    return n;
}

/* The batches of the Trainer one after the other, each in as many passes as it takes. */
static nb_status all_groups(const nbi_eval_setup *e, const uint32_t *rows, size_t n, sums *s,
                            nb_error *err)
{
    size_t group = (size_t)e->group;
    for (size_t i = 0; i < n;) {
        size_t left = group - i % group;
        if (e->hooks && e->hooks->stop && *e->hooks->stop)
            return nbi_fail(err, NB_INTERRUPTED, "interrupted while evaluating");
        size_t k = take(e, rows + i, left < n - i ? left : n - i);
        NBI_TRY(pass(e, rows + i, k, s, err));
        i += k;
        if (i == n || i % group == 0)
            end_group(s);
    }
    return NB_OK;
}

nb_status nbi_evaluate_set(const nbi_eval_setup *e, nb_eval_result *result, nb_error *err)
{
    sums s = {0};
    double begin = nbi_clock();
    size_t n = 0;
    uint32_t *rows = nbi_alloc(NBI_MEM_OTHER, (e->data->n + 1) * sizeof(*rows));
    if (!rows)
        return nbi_fail_nomem(err, "the list of rows", (e->data->n + 1) * sizeof(*rows));
    for (size_t i = 0; i < e->data->n; i++)
        if (e->data->rows[i].n_trained > 0)
            rows[n++] = (uint32_t)i;
    nb_status st = all_groups(e, rows, n, &s, err);
    nbi_free(rows);
    NBI_TRY(st);
    double mean = s.loss / (double)(s.tokens > 0 ? s.tokens : 1);
    *result = (nb_eval_result){
        .loss = e->mean_of_batches ? s.weighted / (double)(s.rows > 0 ? s.rows : 1) : mean,
        .perplexity = exp(mean),
        .token_accuracy = (double)s.hits / (double)(s.tokens > 0 ? s.tokens : 1),
        .trained_tokens = s.tokens,
        .rows = s.rows,
        .tokens = s.all_tokens,
        .seconds = nbi_clock() - begin};
    return NB_OK;
}
