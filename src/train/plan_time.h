/* SPDX-License-Identifier: MIT */
/* How much a run computes and how long that takes here. */
#ifndef NBI_PLAN_TIME_H
#define NBI_PLAN_TIME_H

#include "train/memory_plan.h"

/* What passes through the model. Sums over rows: tokens, trained ones, squared lengths (for the
 * attention, with a window the part it sees). */
typedef struct nbi_token_sums {
    double rows, tokens, trained, squares;
} nbi_token_sums;

typedef struct nbi_workload {
    nbi_token_sums run;  /* of all steps together */
    nbi_token_sums eval; /* of one evaluation */
    double steps, evaluations;
    double batch_tokens;  /* of a usual micro-batch */
    double micro_batches; /* of the run */
    double eval_passes;   /* of one evaluation */
} nbi_workload;

/* Measured here: operations a second of this run's products and of its attention, bytes a second of
 * what is only read and written. */
typedef struct nbi_rates {
    double products, attention, memory;
    const char *kernel; /* the variant that was measured */
    double disk;        /* bytes a second that weights are streamed at; 0: not asked for */
    bool disk_measured; /* or assumed */
} nbi_rates;

typedef struct nbi_time_plan {
    double useful, again;         /* operations of a mean step; `again`: computed a second time */
    double step, evaluation, run; /* seconds; run: all steps and evaluations */
    double in_memory, reading; /* seconds of a step without streaming; of reading in it, which goes
                                * on beside the products */
} nbi_time_plan;

/* Rows of a data set added to the sums; `times` counts each so often. */
void nbi_token_sums_add(nbi_token_sums *s, const nb_dataset *d, int64_t window, double times);

/* Measures products of the run's kind (4-bit or dense weights, forward and input gradient, its
 * compute type, its threads) and attention, in well under a second. */
nb_status nbi_rates_measure(nbi_rates *r, const nb_model_config *c, const nb_quant_config *quant,
                            nb_compute compute, unsigned cpu_flags, int threads,
                            double batch_tokens, nb_error *err) NB_MUST_CHECK;

/* The same with the weights and threads of a loaded model, in little memory and 0.1 s. The room of
 * `ws` is overwritten. */
nb_status nbi_rates_of_model(nbi_rates *r, const nb_model *m, const nb_workspace *ws,
                             nb_error *err) NB_MUST_CHECK;

/* The rate at which the weights of `dir` come from their disk: measured, or assumed where that
 * cannot be done (dir may be NULL). */
void nbi_rates_disk(nbi_rates *r, const char *dir);

void nbi_time_plan_make(nbi_time_plan *t, const nbi_memory_plan *m, const nb_model_config *c,
                        bool full, const nbi_workload *w, const nbi_rates *r);

#endif
