/* SPDX-License-Identifier: MIT */
/* Optimizers and learning-rate schedules: one registry each. */
#ifndef NB_OPTIM_H
#define NB_OPTIM_H

#include "kernel/kernel.h"
#include "tensor/param.h"

typedef struct nb_optim_config {
    double beta1, beta2, eps, weight_decay;
    bool decay_all; /* decay on biases and norms too */
} nb_optim_config;

typedef struct nb_optim nb_optim;

/* An optimizer: one file and one line in optim.c. */
typedef struct nb_optim_kind {
    const char *name; /* "adamw_torch" */
    /* f32 state tensors a parameter: names for checkpoints ("exp_avg", "exp_avg_sq") */
    int n_states;
    const char *const *state_names;
    void (*step)(nb_optim *o, const nb_param *p, float *const *states, double lr,
                 double grad_scale);
} nb_optim_kind;

struct nb_optim {
    const nb_optim_kind *kind;
    nb_optim_config config;
    const nb_exec *exec;
    const nb_param_list *params; /* borrowed, fixed */
    float **states;              /* [params->n * kind->n_states], zeroed at open */
    int64_t step;                /* updates done */
};

/* By name or alias, NULL when unknown. *note (may be NULL): what differs from what the name
 * promises, for the log, or NULL. */
const nb_optim_kind *nb_optim_find(const char *name, const char **note);
/* Bytes of state for these parameters. */
size_t nb_optim_state_bytes(const nb_optim_kind *kind, const nb_param_list *params);
/* HF's names; aliases resolve to the same kind ("adamw_torch_fused", "adamw_hf"). NB_CONFIG with
 * the list when unknown. */
nb_status nb_optim_open(nb_optim **out, const char *name, const nb_optim_config *config,
                        const nb_exec *exec, const nb_param_list *params,
                        nb_error *err) NB_MUST_CHECK;
void nb_optim_close(nb_optim **o);
/* One update of all parameters with gradients multiplied by grad_scale. */
void nb_optim_update(nb_optim *o, double lr, double grad_scale);
void nb_optim_zero_grads(const nb_param_list *params);
/* Global 2-norm over all gradients in f64, summed in parameter order. */
double nb_grad_norm(const nb_exec *exec, const nb_param_list *params);
/* min(1, max_norm / (norm + 1e-6)), 1 when max_norm <= 0 (torch.nn.utils.clip_grad_norm_). */
double nb_clip_scale(double norm, double max_norm);

/* Learning rate at update `step` (0-based) of `total`, as a factor of the base rate: HF's lambdas.
 */
typedef double nb_schedule_fn(int64_t step, int64_t warmup, int64_t total);
/* "linear", "cosine", "constant", "constant_with_warmup"; NULL when unknown. */
nb_schedule_fn *nb_schedule_find(const char *name);
void nb_schedule_list(char *buf, size_t size);

#endif
