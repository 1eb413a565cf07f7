/* SPDX-License-Identifier: MIT */
/* Which rows make which micro-batch of an epoch, and how many updates a run has. */
#ifndef NBI_EPOCH_PLAN_H
#define NBI_EPOCH_PLAN_H

#include "data/loader.h"
#include "train/recipe.h"

/* What the division into batches depends on. */
typedef struct nbi_batching {
    const nb_dataset *data;
    const nb_order *order;
    int64_t batch, accumulation;
    bool packing; /* `batch` counts packs: runs of rows of at most pack_tokens together */
    int64_t pack_tokens;
    int64_t max_tokens; /* > 0: a micro-batch also ends before it holds more tokens than this; a row
                         * longer than that (or than pack_tokens) is one by itself */
    bool by_length;     /* rows of similar length stand together: nbi_epoch_make */
    int64_t longest;    /* tokens of the longest micro-batch of the run; 0: not known */
} nbi_batching;

/* From the keys of a recipe: batch size, packing, max_tokens_per_batch. With packing and a budget
 * of tokens a micro-batch is one pack of that many and the batch size has no effect. Says when rows
 * are longer than the budget. */
nbi_batching nbi_batching_of(const nb_recipe *r, const nb_dataset *data, const nb_order *order,
                             const nb_log *log);

/* A row is trained when a token of it has something before it to be predicted from. The data layer
 * keeps rows whose only label stands at their first token; epochs and evaluations leave them out,
 * so that every batch has a token to learn from. Says how many there are; NB_DATA when there are no
 * others. `use`: "training" or "evaluation", for the message. */
nb_status nbi_trained_rows(const nb_dataset *d, const char *use, const nb_log *log,
                           nb_error *err) NB_MUST_CHECK;

/* One epoch: micro-batch i holds rows[starts[i] .. starts[i+1]). Zero-initialise; reused. */
typedef struct nbi_epoch {
    uint32_t *rows;
    size_t n_rows, cap;
    NBI_ARRAY(size_t) starts;
    size_t n_batches;
} nbi_epoch;

/* The trained rows in order. by_length: the order of HF's LengthGroupedSampler over that order:
 * runs of 50 batches (fewer, so that there are at least four runs), each sorted by falling length,
 * rows of one length as they stood; then the first row changes places with the longest of all.
 * NB_DATA when the epoch has none. */
nb_status nbi_epoch_make(nbi_epoch *e, const nbi_batching *b, uint32_t epoch,
                         nb_error *err) NB_MUST_CHECK;
void nbi_epoch_free(nbi_epoch *e);

/* Updates of the whole run, as the Trainer counts them: each epoch ends with a short group of its
 * own, a part of an epoch is rounded up; max_steps > 0 wins. */
nb_status nbi_total_updates(const nbi_batching *b, double epochs, int64_t max_steps, int64_t *total,
                            nb_error *err) NB_MUST_CHECK;
/* A micro-batch of a run. */
typedef struct nbi_longest {
    int64_t tokens;
    uint32_t epoch;
    size_t batch;
} nbi_longest;
/* The longest micro-batch of the run, the first of them: orders are functions of the seed, so this
 * is exact. Where going through all epochs would take long, `tokens` is what no order can exceed,
 * and the place that of the longest one found. */
nb_status nbi_find_longest(const nbi_batching *b, double epochs, int64_t max_steps,
                           nbi_longest *out, nb_error *err) NB_MUST_CHECK;
/* Tokens of the longest micro-batch: b->longest, or what no order can exceed while that is not
 * known. */
int64_t nbi_batching_max_tokens(const nbi_batching *b);
/* Number of warm-up updates: `steps`, which below 1 is a part of all, else `ratio` of all. */
int64_t nbi_warmup_steps(double steps, double ratio, int64_t total);

#endif
