/* SPDX-License-Identifier: MIT */
/* Loss over a whole data set. */
#ifndef NBI_EVALUATOR_H
#define NBI_EVALUATOR_H

#include "nibble/train.h"
#include "data/loader.h"
#include "model/model.h"

/* Rows of a batch where the recipe names no number, as the Trainer has it. */
#define NBI_EVAL_BATCH 8

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
