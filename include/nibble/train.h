/* SPDX-License-Identifier: MIT */
/* Training and evaluation by recipe. */
#ifndef NIBBLE_TRAIN_H
#define NIBBLE_TRAIN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include "nibble/recipe.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* What a run tells while it goes on. */
typedef struct nb_train_progress {
    int64_t step, total_steps; /* optimizer updates done, planned */
    double epoch;
    double loss, grad_norm, learning_rate; /* of the last step */
    double tokens_per_second;
    double seconds, seconds_left; /* since the first step; estimate */
    double eval_loss;             /* NaN unless this is an evaluation */
    const char *eval_set;         /* its name; NULL when there is one set without a name */
    bool logged;                  /* the step is one that train_log.jsonl holds */
} nb_train_progress;

typedef struct nb_train_hooks {
    /* After each step and each evaluation; may be NULL. */
    void (*progress)(void *user, const nb_train_progress *p);
    void *user;
    /* Polled in every loop; when it becomes non-zero the run saves and ends with NB_INTERRUPTED.
     * May be NULL. */
    const volatile sig_atomic_t *stop;
    const nb_log *log; /* may be NULL */
} nb_train_hooks;

typedef struct nb_train_result {
    int64_t steps;
    double first_loss, last_loss;
    double eval_loss_before, eval_loss_after; /* NaN when not evaluated */
    uint64_t peak_rss;                        /* bytes */
    char output_dir[512];
} nb_train_result;

/* Runs the recipe to its end: loads, trains, evaluates, saves. result may be NULL. */
nb_status nb_train(nb_recipe *r, const nb_train_hooks *hooks, nb_train_result *result,
                   nb_error *err) NB_MUST_CHECK;

/* A frozen base model kept in memory from one run to the next: loaded by the first, used again by
 * those that hold the same model in the same way, else replaced. Full fine-tuning loads its own. */
typedef struct nb_base nb_base;
nb_status nb_base_new(nb_base **out, nb_error *err) NB_MUST_CHECK;
void nb_base_close(nb_base **base);
/* nb_train on a base that outlives the run; NULL: none. */
nb_status nb_train_with_base(nb_base *base, nb_recipe *r, const nb_train_hooks *hooks,
                             nb_train_result *result, nb_error *err) NB_MUST_CHECK;

typedef struct nb_eval_result {
    double loss, perplexity, token_accuracy;
    int64_t trained_tokens, rows, tokens;
    double seconds;
} nb_eval_result;

/* Answers that a model gave to rows, as shares and means over `rows`. */
typedef struct nb_answer_scores {
    int64_t rows;                  /* answered; rows without a question are left out */
    double exact;                  /* the wanted answer but for white space around it */
    double rouge1, rouge2, rougel; /* mean F measures */
    double json;                   /* a JSON value */
    double matches;                /* the pattern matches somewhere; NaN without one */
    double markers;                /* hold a marker of the layout: "### Response:" */
    double stopped;                /* ended by themselves */
    double seconds;
    int64_t tokens; /* generated */
} nb_answer_scores;

/* Rows of multiple choice: the choice that the model finds most probable as the answer. */
typedef struct nb_choice_scores {
    int64_t rows;
    double accuracy;            /* by log-likelihood */
    double accuracy_normalised; /* by log-likelihood a byte of the choice's text */
    double chance;              /* share right when guessing */
} nb_choice_scores;

typedef struct nb_eval_options {
    const char *save_logits; /* safetensors file: `logits` f32 [total tokens, V] in row order and
                              * `segments` int64 [rows + 1]; NULL: none */
    const char *examples;    /* JSON lines: one a row, in file order; NULL: none */
    bool answers;            /* answer each row greedily and score it */
    int64_t max_new_tokens;  /* of an answer */
    int64_t answer_rows;     /* the first so many rows only; 0: all */
    const char *pattern;     /* regular expression; NULL: none */
    bool compare;            /* the base without the adapter as well */
} nb_eval_options;
void nb_eval_options_default(nb_eval_options *o);

/* Of the model as the recipe says, and with `compare` of its base. */
typedef struct nb_eval_report {
    nb_eval_result loss;
    nb_answer_scores answers; /* rows = 0 unless asked for */
    nb_choice_scores choices; /* rows = 0 unless the rows have choices */
} nb_eval_report;

/* Evaluates recipe's model (+ `adapter`) on `data`. options may be NULL. `base` may be NULL unless
 * options->compare. */
nb_status nb_evaluate(nb_recipe *r, const nb_eval_options *options, const nb_train_hooks *hooks,
                      nb_eval_report *report, nb_eval_report *base, nb_error *err) NB_MUST_CHECK;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
