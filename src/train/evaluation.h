/* SPDX-License-Identifier: MIT */
/* An evaluation by recipe and its parts: evaluate.c opens it and takes the losses, eval_logits.c
 * saves logits, eval_choices.c ranks the choices of rows that have some, eval_examples.c answers
 * the rows and writes a line for each. Private to train/. */
#ifndef NBI_EVALUATION_H
#define NBI_EVALUATION_H

#include "train/assembly.h"
#include "train/evaluator.h"

/* The loss of one row. */
typedef struct nbi_row_loss {
    double sum;
    int64_t tokens, hits;
} nbi_row_loss;

/* Results with the adapter and, when compared, without it. */
enum { NBI_WITH, NBI_BASE, NBI_SIDES };

typedef struct nbi_evaluation {
    nbi_assembly parts;
    nb_dataset *data;
    nb_workspace *ws;
    nb_batch_buffer batch;
    int64_t max_rows;
    const nb_eval_options *o;    /* never NULL */
    const nb_train_hooks *hooks; /* may be NULL */
    nb_data_config layout;       /* that the rows were read with */
    int sides;
    nbi_row_loss *rows[NBI_SIDES]; /* [data->n] when examples are wanted */
    nb_eval_report report[NBI_SIDES];
} nbi_evaluation;

/* o->save_logits. */
nb_status nbi_eval_logits(nbi_evaluation *e, nb_error *err) NB_MUST_CHECK;
/* Rows with choices: report[].choices. The data set holds the right ones. */
nb_status nbi_eval_choices(nbi_evaluation *e, nb_error *err) NB_MUST_CHECK;
/* Does the first row of a file have choices? *format: what its fields look like. A file that cannot
 * be read has none; the loading of the rows says why. */
bool nbi_eval_has_choices(const char *path, nb_data_format *format);
/* o->answers and o->examples: report[].answers and the file. */
nb_status nbi_eval_examples(nbi_evaluation *e, nb_error *err) NB_MUST_CHECK;

#endif
