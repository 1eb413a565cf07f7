/* SPDX-License-Identifier: MIT */
/* Loss over a whole data set. */
#ifndef NBI_EVALUATOR_H
#define NBI_EVALUATOR_H

#include "base/array.h"
#include "nibble/train.h"
#include "data/loader.h"
#include "model/model.h"

/* Rows of a batch where the recipe names no number, as the Trainer has it. */
#define NBI_EVAL_BATCH 8

/* A set of rows that a run evaluates. */
typedef struct nbi_eval_set {
    const char *name; /* NULL: the only one, given without a name; borrowed */
    nb_dataset *data; /* owned */
} nbi_eval_set;
typedef NBI_ARRAY(nbi_eval_set) nbi_eval_sets;
/* Tokens of all sets, and of the longest row. */
int64_t nbi_eval_sets_tokens(const nbi_eval_sets *s);
int64_t nbi_eval_sets_longest(const nbi_eval_sets *s);
void nbi_eval_sets_free(nbi_eval_sets *s);

typedef struct nbi_eval_setup {
    nb_model *model;
    nb_workspace *ws;
    int64_t max_rows; /* tokens the workspace takes; at least the longest row */
    nb_batch_buffer *batch;
    const nb_dataset *data; /* rows without a trained token are left out: nbi_trained_rows */
    int64_t group;          /* rows of a batch as the Trainer counts them */
    bool
        mean_of_batches; /* average of batch means weighted by examples instead of the token mean */
    const nb_train_hooks *hooks;
    /* Called with each row and its loss; rows are then computed one by one. May be NULL. */
    void (*on_row)(void *user, uint32_t row, const nb_loss *loss);
    void *user;
} nbi_eval_setup;

/* result->loss by the chosen reduction; everything else over all trained tokens. NB_INTERRUPTED,
 * NB_NUMERIC when the loss is not finite. */
nb_status nbi_evaluate_set(const nbi_eval_setup *s, nb_eval_result *result,
                           nb_error *err) NB_MUST_CHECK;

#endif
