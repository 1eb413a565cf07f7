/* SPDX-License-Identifier: MIT */
/* A training run in progress. The parts: run_setup.c opens everything, trainer.c drives the epochs,
 * step.c makes one update, evaluate.c measures, checkpoint.c saves, output_dir.c keeps the output
 * folder, run_log.c says what happens, estimate.c foretells the time. Private to train/. */
#ifndef NBI_TRAINER_H
#define NBI_TRAINER_H

#include "nibble/train.h"
#include "train/assembly.h"
#include "train/epoch_plan.h"
#include "train/evaluator.h"
#include "train/history.h"
#include "train/identity.h"
#include "train/notes.h"
#include "train/plan.h"
#include "train/samples.h"
#include "train/train_log.h"
#include "train/watch.h"

/* The micro-batches of one update. They may lie in two epochs: see next_group in trainer.c. */
typedef struct nbi_micro {
    uint32_t epoch;
    size_t first, n; /* rows.v[first .. first + n) */
} nbi_micro;
typedef struct nbi_group {
    NBI_ARRAY(nbi_micro) v;
    NBI_ARRAY(uint32_t) rows;
    bool epoch_end; /* holds the last micro-batch of an epoch */
} nbi_group;

/* The numbers that decide how a run goes on, beside parameters, optimizer and history. A checkpoint
 * saves and restores every field of this list, so that a new one needs no other place.
 * X(C type, kind in the file, name) */
#define NBI_PROGRESS_MAP(X)                                                                        \
    X(int64_t, I64, step)        /* updates done */                                                \
    X(int64_t, I64, epoch_index) /* of the next micro-batch */                                     \
    X(int64_t, I64, next)        /* its number in that epoch */                                    \
    X(double, F64, epoch_done)   /* epochs so far, with the part of this one */                    \
    X(bool, BOOL, epoch_end)     /* the last update was the last of an epoch */                    \
    X(bool, BOOL, moved)         /* an update with a rate above 0 was made */                      \
    X(double, F64, window_loss)  /* sum over the steps since the last logged one */                \
    X(int64_t, I64, window_steps)                                                                  \
    X(double, F64, loss_sum)     /* over all updates */                                            \
    X(int64_t, I64, tokens_seen) /* of all rows trained on */                                      \
    X(double, F64, best_metric)  /* of the evaluations after the first update */                   \
    X(int64_t, I64, best_step)   /* -1: none yet */                                                \
    X(double, F64, schedule_0)   /* nb_schedule.state */                                           \
    X(double, F64, schedule_1)                                                                     \
    X(double, F64, schedule_2)                                                                     \
    X(double, F64, schedule_3)                                                                     \
    X(int64_t, I64, bad_evals)   /* in a row that were no improvement */                           \
    X(bool, BOOL, stopped)       /* early, for want of improvement */                              \
    X(int64_t, I64, skipped)     /* updates left out */                                            \
    X(int64_t, I64, skipped_row) /* in a row, up to the last step */                               \
    X(double, F64, spike_mean)   /* running mean and variance of the loss: guard.c */              \
    X(double, F64, spike_var)                                                                      \
    X(int64_t, I64, spike_n)                                                                       \
    X(int64_t, I64, last_sample) /* step, -1: none yet */                                          \
    X(int64_t, I64, last_log)    /* step, -1: none yet */                                          \
    X(int64_t, I64, last_eval)   /* step, -1: none yet */                                          \
    X(int64_t, I64, last_save)

typedef struct nbi_progress {
#define NBI_PROGRESS_FIELD(type, kind, name) type name;
    NBI_PROGRESS_MAP(NBI_PROGRESS_FIELD)
#undef NBI_PROGRESS_FIELD
} nbi_progress;

/* What the speed of a logged step is measured over; of this process alone. */
typedef struct nbi_window {
    int64_t tokens;
    double since, aside; /* clock when it began, and nbi_run.aside then */
} nbi_window;

/* Which kind of result an earlier run in the output folder made, by its train_log.jsonl. */
typedef enum nbi_earlier { NBI_EARLIER_NONE, NBI_EARLIER_ADAPTER, NBI_EARLIER_FULL } nbi_earlier;

/* The checkpoint that a run goes on from; see resume.h. */
typedef struct nbi_resume {
    char *dir;       /* NULL: the run begins afresh */
    nbi_arena arena; /* of `state` */
    nbi_json *state; /* its nibble_state.json */
    int64_t step;
} nbi_resume;

enum { NBI_METRIC_MAX = 128 }; /* bytes of "eval_<set>_<number>" */

struct nbi_run {
    nb_recipe *r;
    const nb_train_hooks *hooks; /* never NULL */
    const nb_log *log;
    nbi_notes notes; /* what `log` goes through */

    nbi_assembly parts;
    nbi_plan plan;
    nb_dataset *data;
    nbi_eval_sets evals;
    nbi_samples samples;
    nb_order order;
    nbi_batching batching;
    nbi_longest longest;         /* micro-batch */
    const nb_param_list *params; /* what is trained: the adapter's or the model's */
    nb_optim *optim;
    nb_schedule schedule;
    nb_workspace *ws;
    int64_t max_rows; /* tokens the workspace takes */
    nb_batch_buffer batch;
    nb_adapter_note note;
    nbi_train_log *train_log;
    nbi_watch *watch; /* NULL before the log is open */
    int lock;         /* of the output folder; -1: none */
    bool created;     /* the output folder is new */
    nbi_earlier earlier;
    nbi_resume resume;
    nbi_identity identity;
    char run_id[17];          /* the same in all processes of a run */
    NBI_ARRAY(char *) forced; /* what resume_force let pass, each with its step */
    bool full;                /* full fine-tuning */

    int64_t total, warmup;       /* updates */
    int64_t first_step;          /* updates done when this process began */
    char metric[NBI_METRIC_MAX]; /* that tells the best step; "" without evaluations */
    bool greater;                /* is better */
    bool improved;               /* this step's evaluation is the best so far */
    bool best_loaded;            /* the parameters are those of at.best_step */
    bool left_out;               /* the last step made no update */
    nbi_progress at;
    nbi_history history;
    nbi_epoch epoch;            /* number at.epoch_index */
    nbi_group group;            /* of the update at hand */
    double loss, grad_norm, lr; /* of the last update */
    int64_t tokens;             /* tokens of the last update */
    nbi_window window;
    double begin; /* clock at the first step */
    double aside; /* seconds spent on evaluations and checkpoints since then */
    double tokens_per_second;
    double probe_seconds;       /* a token, of the probe; 0: none was made */
    nb_eval_result eval_result; /* the last one */
    NBI_ARRAY(int64_t) saved;   /* checkpoints of this run in output_dir, oldest first */
    nb_train_result result;
};

/* Rows of an evaluated batch. */
static inline int64_t nbi_run_eval_group(const nbi_run *run)
{
    return run->r->eval_batch > 0 ? run->r->eval_batch : NBI_EVAL_BATCH;
}

static inline bool nbi_run_stopped(const nbi_run *run)
{
    return run->hooks->stop && *run->hooks->stop;
}

/* The first half of opening: tokenizer, rows, order, updates; fills run->plan up to the rows.
 * run->plan.config is read and run->parts begun. */
nb_status nbi_run_open_rows(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Opens all parts; on failure nbi_run_close cleans up. */
nb_status nbi_run_open(nbi_run *run, nb_error *err) NB_MUST_CHECK;
void nbi_run_close(nbi_run *run);

/* The parts of nb_train: an empty run; what comes before the first step of an open one; the next
 * update and all that follows it. */
void nbi_run_init(nbi_run *run, nb_recipe *r, const nb_train_hooks *hooks);
nb_status nbi_run_start(nbi_run *run, nb_error *err) NB_MUST_CHECK;
nb_status nbi_run_advance(nbi_run *run, nb_error *err) NB_MUST_CHECK;

/* Makes and locks the output folder; says what an earlier run left there. */
nb_status nbi_output_open(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Unlocks it, and removes it when this run made it and put nothing there. */
void nbi_output_close(nbi_run *run);
/* After the final files are in place: removes those of the other kind (adapter or model) that an
 * earlier run made, so that the folder holds one result; said in a line. */
void nbi_output_clear_other(const nbi_run *run);

/* One update from the micro-batches of run->group. NB_NUMERIC names step and place; NB_INTERRUPTED
 * when asked to stop (the update is not made). */
nb_status nbi_run_step(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Forward and backward pass of one micro-batch; gradients are added with `grad_scale`. */
nb_status nbi_run_micro_batch(nbi_run *run, const uint32_t *rows, size_t n, uint32_t epoch,
                              double grad_scale, nb_loss *loss, nb_error *err) NB_MUST_CHECK;

/* Runs the longest micro-batch of the run forward and backward, drops its gradients, and says what
 * it took. */
nb_status nbi_run_probe(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Says how long a step and the run will take: before the first step from the probe, an evaluation,
 * a trial or a measured product, whichever is cheap; and again once a step was measured. */
nb_status nbi_run_estimate(nbi_run *run, nb_error *err) NB_MUST_CHECK;
void nbi_run_estimate_again(const nbi_run *run);
/* Seconds until the end by what was measured so far. */
double nbi_run_seconds_left(const nbi_run *run);

/* The state of the schedule into run->at, and back after a checkpoint was read. */
void nbi_run_keep_schedule(nbi_run *run);
void nbi_run_restore_schedule(nbi_run *run);

static inline bool nbi_run_goes_on(const nbi_run *run)
{
    return run->at.step < run->total && !run->at.stopped;
}

/* ---- guard.c ---- */

/* After NB_NUMERIC with the reason in *err: by on_nonfinite the update is left out (NB_OK), or not.
 */
nb_status nbi_run_react_nonfinite(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Before the update: looks for a jump of run->loss and does what on_spike says. */
nb_status nbi_run_check_spike(nbi_run *run, nb_error *err) NB_MUST_CHECK;

/* ---- run_eval.c, best.c ---- */

/* The name of a number of an evaluation: "eval_loss", "eval_<set>_loss". */
void nbi_eval_number_name(const nbi_eval_set *s, const char *number, char out[NBI_METRIC_MAX]);
/* Which number tells the best step; NB_CONFIG with the names when there is no such one. */
nb_status nbi_run_choose_metric(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* With load_best_model_at_end: the parameters become those of the best step's checkpoint. */
nb_status nbi_run_load_best(nbi_run *run, nb_error *err) NB_MUST_CHECK;

/* The loss before the first step is part of the result unless it was declined. */
bool nbi_run_evaluates_first(const nbi_run *run);
/* Opens train_log.jsonl: its first line, and what was logged before. */
nb_status nbi_run_log_open(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Entries of the history, and where they are shown: a logged step, the evaluation just made. */
nb_status nbi_run_log_step(nbi_run *run, nb_error *err) NB_MUST_CHECK;
nb_status nbi_run_log_eval(nbi_run *run, const nbi_eval_set *s, const nb_eval_result *e,
                           nb_error *err) NB_MUST_CHECK;
/* Of the step at hand; mean and zscore: NaN when it is no jump. */
nb_status nbi_run_log_trouble(nbi_run *run, const char *name, double value, double mean,
                              double zscore, nb_error *err) NB_MUST_CHECK;
/* The last entry: what the whole run was. */
nb_status nbi_run_log_end(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* The Trainer's estimate of the operations so far: six a token and weight. */
double nbi_run_operations(const nbi_run *run);
/* Tells the progress hook. eval_loss: NaN unless an evaluation was just made. */
void nbi_run_tell(const nbi_run *run, double eval_loss, bool logged);
void nbi_run_tell_eval(const nbi_run *run, const nbi_eval_set *s, double loss);

/* Evaluates all sets, logs, tells the progress hook, and judges: at.best_step, at.stopped. Nothing
 * when this step is evaluated already. */
nb_status nbi_run_evaluate(nbi_run *run, nb_error *err) NB_MUST_CHECK;

/* output_dir/checkpoint-<step>, complete; older ones of this run beyond save_total_limit go. */
nb_status nbi_run_checkpoint(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* The final adapter or model in output_dir itself. */
nb_status nbi_run_save_final(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Is the output folder writable and is there room? */
nb_status nbi_run_preflight(nbi_run *run, nb_error *err) NB_MUST_CHECK;

#endif
