/* SPDX-License-Identifier: MIT */
#include "train/epoch_plan.h"

#include <math.h>
#include "base/fail.h"
#include "base/log.h"

nb_status nbi_trained_rows(const nb_dataset *d, const char *use, const nb_log *log, nb_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < d->n; i++)
        n += d->rows[i].n_trained == 0;
    if (n == d->n)
        return nbi_fail(err, NB_DATA,
                        "%s: none of the %zu rows for %s has a trained token after its first one; "
                        "nothing predicts the first token",
                        d->path, n, use);
    if (n > 0)
        nbi_log(log, NB_LOG_WARN,
                "%s: %zu row%s left out of %s: only the first token is trained, and nothing "
                "predicts the first token",
                d->path, n, n > 1 ? "s" : "", use);
    return NB_OK;
}

void nbi_epoch_free(nbi_epoch *e)
{
    nbi_free(e->rows);
    nbi_array_free(&e->starts);
    *e = (nbi_epoch){0};
}

/* Is a micro-batch full before row i is added? Counts packs and their tokens. */
typedef struct filling {
    int64_t packs, tokens;
} filling;

static bool starts_new(filling *f, const nbi_batching *b, int64_t tokens)
{
    bool joins = b->packing && f->packs > 0 && f->tokens + tokens <= b->pack_tokens;
    if (joins) {
        f->tokens += tokens;
        return false;
    }
    f->tokens = tokens;
    if (f->packs == b->batch)
        f->packs = 0;
    return f->packs++ == 0;
}

static nb_status order_rows(nbi_epoch *e, const nbi_batching *b, uint32_t epoch, nb_error *err)
{
    size_t n, kept = 0;
    NBI_TRY(nb_order_epoch(b->order, epoch, b->data->n, e->rows, &n, err));
    for (size_t i = 0; i < n; i++)
        if (b->data->rows[e->rows[i]].n_trained > 0)
            e->rows[kept++] = e->rows[i];
    e->n_rows = kept;
    if (kept == 0)
        return nbi_fail(err, NB_DATA, "epoch %u: none of its %zu rows has a trained token", epoch,
                        n);
    return NB_OK;
}

nb_status nbi_epoch_make(nbi_epoch *e, const nbi_batching *b, uint32_t epoch, nb_error *err)
{
    size_t n = b->data->n;
    filling f = {0, 0};
    if (e->cap < n) {
        uint32_t *rows = nbi_realloc(NBI_MEM_OTHER, e->rows, n * sizeof(*rows));
        if (!rows)
            return nbi_fail_nomem(err, "the order of the rows", n * sizeof(*rows));
        e->rows = rows;
        e->cap = n;
    }
    NBI_TRY(order_rows(e, b, epoch, err));
    e->starts.n = 0;
    for (size_t i = 0; i < e->n_rows; i++)
        if (starts_new(&f, b, b->data->rows[e->rows[i]].n) && !nbi_array_push(&e->starts, i))
            return nbi_fail_nomem(err, "the order of the rows", n * sizeof(size_t));
    e->n_batches = e->starts.n;
    if (!nbi_array_push(&e->starts, e->n_rows))
        return nbi_fail_nomem(err, "the order of the rows", n * sizeof(size_t));
    return NB_OK;
}

static nb_status updates_of(nbi_epoch *e, const nbi_batching *b, uint32_t epoch, int64_t *updates,
                            nb_error *err)
{
    NBI_TRY(nbi_epoch_make(e, b, epoch, err));
    *updates = ((int64_t)e->n_batches + b->accumulation - 1) / b->accumulation;
    return NB_OK;
}

/* Every line of a sample_order file has rows to train on. */
static nb_status check_order(const nbi_batching *b, nb_error *err)
{
    nbi_epoch e = {0};
    nb_status st = NB_OK;
    for (size_t i = 0; st == NB_OK && i + 1 < b->order->fixed_start.n; i++)
        st = nbi_epoch_make(&e, b, (uint32_t)i, err);
    nbi_epoch_free(&e);
    return st;
}

nb_status nbi_total_updates(const nbi_batching *b, double epochs, int64_t max_steps, int64_t *total,
                            nb_error *err)
{
    nbi_epoch e = {0};
    nb_status st = NB_OK;
    int64_t updates = 0, sum = 0;
    bool varies = b->packing || b->order->fixed_start.n > 0;
    *total = max_steps;
    if (max_steps > 0)
        return check_order(b, err);
    if (!(epochs > 0 && epochs <= 1e6))
        return nbi_fail(err, NB_CONFIG, "num_train_epochs is %g, expected more than 0", epochs);
    for (uint32_t i = 0; st == NB_OK && (double)i < epochs; i++) {
        if (i == 0 || varies)
            st = updates_of(&e, b, i, &updates, err);
        double part = epochs - (double)i;
        sum += part >= 1 ? updates : (int64_t)ceil(part * (double)updates - 1e-9);
    }
    nbi_epoch_free(&e);
    *total = sum > 0 ? sum : 1;
    return st;
}

int64_t nbi_batching_max_tokens(const nbi_batching *b)
{
    if (!b->packing)
        return nb_batch_max_tokens(b->data, b->batch);
    int64_t pack = b->data->max_tokens > b->pack_tokens ? b->data->max_tokens : b->pack_tokens;
    int64_t all = b->data->total_tokens;
    return pack > all / b->batch ? all : pack * b->batch;
}

int64_t nbi_warmup_steps(int64_t steps, double ratio, int64_t total)
{
    if (steps > 0 || !(ratio > 0))
        return steps > 0 ? steps : 0;
    return (int64_t)ceil(ratio * (double)total);
}
