/* SPDX-License-Identifier: MIT */
/* Recipes: every setting of a run in one record, filled from YAML, flags and defaults by one table
 * of keys (recipe_keys.c) that also feeds --help, the documentation and the checks. */
#ifndef NB_RECIPE_INTERNAL_H
#define NB_RECIPE_INTERNAL_H

#include "adapter/adapter.h"
#include "data/dataset.h"
#include "nibble/recipe.h"
#include "optim/optim.h"
#include "optim/schedule.h"

typedef enum nb_method { NB_METHOD_QLORA, NB_METHOD_LORA, NB_METHOD_FULL } nb_method;
/* As asked for; AUTO and F16 leave the choice to the machine. */
typedef enum nb_compute_choice {
    NB_COMPUTE_ASK_AUTO,
    NB_COMPUTE_ASK_F32,
    NB_COMPUTE_ASK_BF16,
    NB_COMPUTE_ASK_F16
} nb_compute_choice;
typedef enum nb_strategy {
    NB_STRATEGY_NO,
    NB_STRATEGY_STEPS,
    NB_STRATEGY_EPOCH,
    NB_STRATEGY_BEST /* of saving only: after evaluations that are better than all before */
} nb_strategy;
/* What follows when a step gives numbers that are not finite, or a loss that jumps. */
typedef enum nb_reaction { NB_REACT_WARN, NB_REACT_SKIP, NB_REACT_STOP } nb_reaction;

/* A file of rows, by name when there are several. */
typedef struct nb_named_file {
    const char *name; /* NULL: the only one, given without a name */
    const char *path;
} nb_named_file;

/* Strings live in the arena. Negative or NULL = not given unless said otherwise. */
struct nb_recipe {
    nbi_arena arena;
    const char *path; /* of the YAML file, for messages; NULL without one */

    /* model */
    const char *model, *revision;
    const char *tokenizer; /* folder; NULL: the model's */
    nb_method method;      /* given, or derived: load_in_4bit -> qlora */
    nb_quant_config quant;
    nb_compute_choice compute_dtype, torch_dtype; /* as given; use `compute` */
    bool bf16, fp16;                              /* as given; use `compute` */
    nb_compute compute; /* after resolving auto, bf16, fp16, bnb_4bit_compute_dtype */
    int threads;
    const char *cpumask;
    int checkpointing;           /* gradient_checkpointing: -1 auto, 0, 1 */
    const char *memory_limit;    /* as given; NULL: the machine's */
    const char *time_budget;     /* as given */
    const char *quantized_cache; /* folder */

    /* data */
    const char *data;
    const char *eval_data; /* the first of eval_sets; NULL: none */
    struct {
        const nb_named_file *v;
        size_t n;
    } eval_sets;
    nb_data_config data_config;
    int64_t eval_rows; /* rows to split off for evaluation; 0: none */
    double eval_fraction;
    const char *sample_order;
    bool shuffle;
    bool packing;
    bool group_by_length;
    int64_t max_tokens_per_batch; /* 0: batches count rows */

    /* adapter */
    nb_lora_config lora;
    const char *init_adapter, *adapter; /* adapter: for eval and generate */

    /* optimisation */
    const char *optim, *schedule;
    const char *schedule_kwargs; /* a JSON object; NULL: none */
    nb_optim_config optim_config;
    double learning_rate, max_grad_norm, neftune_alpha;
    double warmup_ratio;
    double warmup_steps; /* from 1 on wins over the ratio; below, a ratio that wins */
    int64_t batch, eval_batch, accumulation;
    double epochs;
    int64_t max_steps; /* > 0 wins over epochs */
    uint64_t seed;

    /* logging, evaluation, saving */
    const char *output_dir;
    bool probe;
    nb_strategy logging_strategy, eval_strategy, save_strategy;
    double logging_every, eval_every, save_every;  /* as given: updates, below 1 a part of all */
    int64_t logging_steps, eval_steps, save_steps; /* 0: a part of a number not yet known */
    int64_t save_total_limit;
    bool logging_first_step;
    bool eval_on_start;
    double eval_delay;     /* updates or epochs, as eval_strategy counts */
    const char *metric;    /* metric_for_best_model; NULL: the loss of the first set */
    int greater_is_better; /* -1: by the metric's name */
    bool load_best;
    int64_t patience; /* evaluations without improvement; 0: never ends early */
    double patience_threshold;
    struct {
        const char *const *v;
        size_t n;
        bool file; /* v[0] names a file of prompts or rows */
    } sample_prompts;
    int64_t sample_max_new_tokens;
    nb_reaction on_nonfinite, on_spike;
    int64_t max_skipped;
    double spike_zscore;    /* 0: not looked for */
    bool eval_loss_trainer; /* eval_loss_reduction: trainer */
    const char *resume;     /* resume_from_checkpoint as given: "true" or a folder */
    bool resume_force;
    bool exit_on_full_disk;
    int64_t disk_full_retry; /* seconds */
    nb_dtype save_dtype;     /* of full models; adapters are f32 */
    bool tensorboard;        /* report_to */
    bool report_html;
    const char *on_event; /* command for /bin/sh; NULL: none */

    struct nb_recipe_note *notes; /* lines to be said once: keys without effect */
    bool said;
    unsigned char *given;         /* [number of keys]: set by file or flag */
    struct nbi_key_state *states; /* [number of keys]: who set a key last */
    uint32_t generation;          /* of the file being read */
};

/* Turns steps given as a part of all into numbers of updates; NB_CONFIG when they do not fit each
 * other. Called once the number of updates is known. */
nb_status nb_recipe_resolve_steps(nb_recipe *r, int64_t total, nb_error *err) NB_MUST_CHECK;
/* Whether a key (by its own name, not an alias) was set by file or flag. */
bool nb_recipe_given(const nb_recipe *r, const char *key);
/* Lines of advice about settings outside the usual range, and those that depend on how many rows
 * the training set has; called by the trainer. */
void nb_recipe_advise(const nb_recipe *r, const nb_log *log);
void nb_recipe_advise_rows(const nb_recipe *r, int64_t rows, const nb_log *log);

#endif
