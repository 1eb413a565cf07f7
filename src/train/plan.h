/* SPDX-License-Identifier: MIT */
/* The plan of a run: memory, work and time, what it is compared with, and what would fit. The
 * parts: memory_plan.c and plan_recompute.c count bytes, plan_time.c operations and seconds,
 * plan_run.c takes it all from a recipe and its rows, plan_fit.c looks for settings that fit,
 * plan_report.c prints. Private to train/. */
#ifndef NBI_PLAN_H
#define NBI_PLAN_H

#include "base/meminfo.h"
#include "nibble/plan.h"
#include "train/epoch_plan.h"
#include "train/evaluator.h"
#include "train/plan_time.h"

typedef struct nbi_plan {
    const nb_recipe *r; /* borrowed */
    nb_model_config config;
    bool has_config;
    bool can_train; /* false: the family can be planned only */
    nbi_plan_spec spec;
    nb_lora_config adopted; /* of init_adapter */
    bool has_adopted;
    nbi_memory_plan memory;

    /* rows; all borrowed, NULL without data */
    const nb_dataset *data;
    const nbi_eval_sets *evals; /* NULL or empty: nothing is evaluated */
    const nbi_batching *batching;
    int64_t session_tokens; /* of samples during the run; 0: there are none */
    int64_t length;         /* longest row; without data the one assumed */
    bool assumed;           /* there is no data */
    bool whole_run;         /* the number of steps is known: by data or max_steps */

    nbi_workload work;
    unsigned cpu_flags;
    nbi_rates rates;
    nbi_time_plan time; /* zeros until measured */

    nbi_meminfo machine;
    uint64_t limit;         /* most memory that may be used */
    const char *limit_text; /* what sets it */
    double budget;          /* time_budget in seconds, 0: none */
} nbi_plan;

/* memory_limit and time_budget of the recipe and what the machine has: fills limit, limit_text and
 * budget. NB_CONFIG for values that are no sizes or times. */
nb_status nbi_plan_limits(nbi_plan *p, nb_error *err) NB_MUST_CHECK;
/* The plan of p->config and the rows; `updates` of the whole run. p->config is read and p->r, data,
 * eval and batching are set. */
nb_status nbi_plan_make(nbi_plan *p, const char *dir, int64_t updates, nb_error *err) NB_MUST_CHECK;
/* Measures and fills p->rates and p->time. */
nb_status nbi_plan_measure(nbi_plan *p, nb_error *err) NB_MUST_CHECK;
void nbi_plan_free(nbi_plan *p);
static inline size_t nbi_plan_n_evals(const nbi_plan *p)
{
    return p->evals ? p->evals->n : 0;
}
static inline bool nbi_plan_fits(const nbi_plan *p)
{
    return p->memory.peak <= p->limit;
}
/* NB_LIMIT with the settings that would fit, unless it fits. */
nb_status nbi_plan_check(const nbi_plan *p, nb_error *err) NB_MUST_CHECK;

/* ---- plan_fit.c ---- */

/* The plan with some settings changed; -1 or NULL: as it is. */
typedef struct nbi_change {
    int64_t max_length, batch, max_tokens, lora_r;
    int checkpointing; /* -2: as it is */
    const char *optim;
    int method;  /* an nb_method */
    bool cached; /* a quantized_cache */
    bool free;   /* no limit: nothing is streamed or, by itself, computed again */
} nbi_change;
extern const nbi_change nbi_no_change;

typedef struct nbi_proposal {
    char text[160]; /* the settings, as in a recipe */
    uint64_t peak;
    double run;  /* seconds, 0: not known */
    bool stream; /* with streamed weights */
} nbi_proposal;
#define NBI_MAX_PROPOSALS 10

/* Tokens of the longest micro-batch or evaluated row under a change. */
int64_t nbi_plan_max_rows(const nbi_plan *p, const nbi_change *c);
/* Memory and, when it was measured, time under a change. */
nb_status nbi_plan_changed(const nbi_plan *p, const nbi_change *c, nbi_memory_plan *m,
                           nbi_time_plan *t, nb_error *err) NB_MUST_CHECK;
/* Settings that fit p->limit, the mildest first, each alone; when none does, the last entry is all
 * that can be done together. Returns how many; 0: nothing fits. */
size_t nbi_plan_fit_memory(const nbi_plan *p, nbi_proposal v[NBI_MAX_PROPOSALS]);
/* Settings whose run fits p->budget. */
size_t nbi_plan_fit_time(const nbi_plan *p, nbi_proposal v[NBI_MAX_PROPOSALS]);

/* ---- plan_report.c ---- */

nb_status nbi_plan_report(const nbi_plan *p, nb_plan_form form, nbi_strbuf *out,
                          nb_error *err) NB_MUST_CHECK;

#endif
