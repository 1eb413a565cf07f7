/* SPDX-License-Identifier: MIT */
#include "train/epoch_plan.h"

#include <math.h>
#include <stdlib.h>
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

nbi_batching nbi_batching_of(const nb_recipe *r, const nb_dataset *data, const nb_order *order,
                             const nb_log *log)
{
    const int64_t budget = r->max_tokens_per_batch, cut = r->data_config.max_seq_length;
    nbi_batching b = {.data = data,
                      .order = order,
                      .batch = r->packing && budget > 0 ? 1 : r->batch,
                      .accumulation = r->accumulation,
                      .packing = r->packing,
                      .by_length = r->group_by_length,
                      .pack_tokens = budget > 0 ? budget
                                     : cut > 0  ? cut
                                                : data->max_tokens,
                      .max_tokens = r->packing ? 0 : budget};
    int64_t n = 0;
    for (size_t i = 0; budget > 0 && i < data->n; i++)
        n += data->rows[i].n > budget;
    if (n > 0)
        nbi_log(log, NB_LOG_NOTE,
                "max_tokens_per_batch %lld: %lld row%s longer (up to %lld tokens), each a "
                "micro-batch by itself; max_seq_length would cut them",
                (long long)budget, (long long)n, n > 1 ? "s are" : " is",
                (long long)data->max_tokens);
    return b;
}

/* The micro-batch being filled: packs (or rows), tokens of the last pack, tokens of all. */
typedef struct filling {
    int64_t packs, pack, tokens;
} filling;

/* Adds a row; true when it is the first of a new micro-batch. */
static bool starts_new(filling *f, const nbi_batching *b, int64_t tokens)
{
    f->tokens += tokens;
    if (b->packing && f->packs > 0 && f->pack + tokens <= b->pack_tokens) {
        f->pack += tokens;
        return false;
    }
    f->pack = tokens;
    f->packs++;
    if (f->packs > 1 && f->packs <= b->batch && !(b->max_tokens > 0 && f->tokens > b->max_tokens))
        return false;
    f->packs = 1;
    f->tokens = tokens;
    return true;
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

static int falling(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

/* Sorts rows[n] by falling length; keys [n] and copy [n] are lost. Rows of one length keep their
 * order. */
static void sort_run(const nb_dataset *d, uint32_t *rows, size_t n, uint64_t *keys, uint32_t *copy)
{
    for (size_t i = 0; i < n; i++) {
        keys[i] = (uint64_t)d->rows[rows[i]].n << 32 | (uint32_t)(UINT32_MAX - i);
        copy[i] = rows[i];
    }
    qsort(keys, n, sizeof(*keys), falling);
    for (size_t i = 0; i < n; i++)
        rows[i] = copy[UINT32_MAX - (uint32_t)keys[i]];
}

static nb_status group_rows(nbi_epoch *e, const nbi_batching *b, nb_error *err)
{
    const size_t n = e->n_rows, batch = (size_t)b->batch;
    size_t runs = n / (batch * 4), longest = 0;
    runs = runs > 50 ? 50 : runs < 1 ? 1 : runs;
    const size_t step = runs * batch < n ? runs * batch : n;
    uint64_t *keys = nbi_alloc(NBI_MEM_OTHER, step * (sizeof(*keys) + sizeof(uint32_t)));
    if (!keys)
        return nbi_fail_nomem(err, "the order of the rows", step * sizeof(*keys));
    for (size_t i = 0; i < n; i += step) {
        sort_run(b->data, e->rows + i, n - i < step ? n - i : step, keys,
                 (uint32_t *)(void *)(keys + step));
        if (b->data->rows[e->rows[i]].n > b->data->rows[e->rows[longest]].n)
            longest = i;
    }
    nbi_free(keys);
    const uint32_t first = e->rows[0];
    e->rows[0] = e->rows[longest];
    e->rows[longest] = first;
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
    if (b->by_length)
        NBI_TRY(group_rows(e, b, err));
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
    bool varies = b->packing || b->max_tokens > 0 || b->order->fixed_start.n > 0;
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

/* What no order can exceed. */
static int64_t bound(const nbi_batching *b)
{
    int64_t all = b->data->total_tokens, longest = b->data->max_tokens;
    if (b->packing) {
        int64_t pack = longest > b->pack_tokens ? longest : b->pack_tokens;
        return pack > all / b->batch ? all : pack * b->batch;
    }
    int64_t most = nb_batch_max_tokens(b->data, b->batch);
    int64_t budget = b->max_tokens > longest ? b->max_tokens : longest;
    return b->max_tokens > 0 && budget < most ? budget : most;
}

int64_t nbi_batching_max_tokens(const nbi_batching *b)
{
    return b->longest > 0 ? b->longest : bound(b);
}

/* The longest of the first n micro-batches of an epoch; true when it is as long as one can be. */
static bool search_epoch(const nbi_epoch *e, const nbi_batching *b, uint32_t epoch, int64_t n,
                         int64_t most, nbi_longest *out)
{
    for (size_t i = 0; i < e->n_batches && (int64_t)i < n; i++) {
        int64_t tokens = 0;
        for (size_t j = e->starts.v[i]; j < e->starts.v[i + 1]; j++)
            tokens += b->data->rows[e->rows[j]].n;
        if (tokens > out->tokens)
            *out = (nbi_longest){tokens, epoch, i};
        if (tokens >= most)
            return true;
    }
    return false;
}

nb_status nbi_find_longest(const nbi_batching *b, double epochs, int64_t max_steps,
                           nbi_longest *out, nb_error *err)
{
    const int64_t most = bound(b), lines = (int64_t)b->order->fixed_start.n - 1;
    /* epochs that differ from each other, and a second's worth of them */
    const double differ = lines > 0 ? (double)lines : b->order->shuffle ? INFINITY : 1;
    const double affordable = 1 + (b->by_length ? 5e6 : 5e7) / (double)b->data->n;
    int64_t left = max_steps > 0 ? max_steps * b->accumulation : INT64_MAX;
    nbi_epoch e = {0};
    nb_status st = NB_OK;
    bool found = false;
    uint32_t i = 0;
    *out = (nbi_longest){0};
    for (; st == NB_OK && !found && left > 0 && (max_steps > 0 || (double)i < epochs) &&
           (double)i < differ && (double)i < affordable;
         i++) {
        st = nbi_epoch_make(&e, b, i, err);
        if (st != NB_OK)
            break;
        const double part = max_steps > 0 ? 1 : epochs - (double)i;
        const int64_t updates = ((int64_t)e.n_batches + b->accumulation - 1) / b->accumulation;
        const int64_t n =
            part >= 1 ? left : (int64_t)ceil(part * (double)updates - 1e-9) * b->accumulation;
        found = search_epoch(&e, b, i, n, most, out);
        left -= max_steps > 0 ? (int64_t)e.n_batches : 0;
    }
    nbi_epoch_free(&e);
    if (st == NB_OK && !found && (double)i >= affordable)
        out->tokens = most;
    return st;
}

int64_t nbi_warmup_steps(double steps, double ratio, int64_t total)
{
    if (steps >= 1)
        return (int64_t)steps;
    if (steps > 0)
        ratio = steps;
    if (!(ratio > 0))
        return 0;
    return (int64_t)ceil(ratio * (double)total);
}
