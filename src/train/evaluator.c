/* SPDX-License-Identifier: MIT */
#include "train/evaluator.h"

#include <math.h>
#include "base/clock.h"
#include "base/fail.h"

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

/* Rows [first, first + n) in one pass. */
static nb_status pass(const nbi_eval_setup *e, size_t first, size_t n, sums *s, nb_error *err)
{
    uint32_t rows[256];
    for (size_t i = 0; i < n; i++)
        rows[i] = (uint32_t)(first + i);
    NBI_TRY(nb_batch_make(e->batch, e->data, rows, n, 0, err));
    const nb_batch *b = &e->batch->batch;
    nb_model_forward(e->model, e->ws, b, NULL, false);
    nb_loss loss = nb_model_loss(e->model, e->ws, b, 0, false, NULL);
    if (!isfinite(loss.sum))
        return nbi_fail(err, NB_NUMERIC,
                        "evaluation: the loss of rows %zu to %zu of %s is not finite", first,
                        first + n - 1, e->data->path);
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

/* How many rows from `first` fit one pass without going beyond their group. */
static size_t take(const nbi_eval_setup *e, size_t first)
{
    int64_t tokens = 0, left = e->group - (int64_t)first % e->group;
    size_t n = 0;
    while (first + n < e->data->n && (int64_t)n < left && n < 256) {
        tokens += e->data->rows[first + n].n;
        if (n > 0 && tokens > e->max_rows)
            break;
        n++;
    }
    return n;
}

nb_status nbi_evaluate_set(const nbi_eval_setup *e, nb_eval_result *result, nb_error *err)
{
    sums s = {0};
    double begin = nbi_clock();
    for (size_t i = 0; i < e->data->n;) {
        if (e->hooks && e->hooks->stop && *e->hooks->stop)
            return nbi_fail(err, NB_INTERRUPTED, "interrupted while evaluating");
        size_t n = take(e, i);
        NBI_TRY(pass(e, i, n, &s, err));
        i += n;
        if (i == e->data->n || (int64_t)i % e->group == 0)
            end_group(&s);
    }
    double mean = s.loss / (double)(s.tokens > 0 ? s.tokens : 1);
    *result =
        (nb_eval_result){.loss = e->mean_of_batches ? s.weighted / (double)s.rows : mean,
                         .perplexity = exp(mean),
                         .token_accuracy = (double)s.hits / (double)(s.tokens > 0 ? s.tokens : 1),
                         .trained_tokens = s.tokens,
                         .rows = s.rows,
                         .tokens = s.all_tokens,
                         .seconds = nbi_clock() - begin};
    return NB_OK;
}
