/* SPDX-License-Identifier: MIT */
/* Optimizers: one registry, in optim_names.c. */
#ifndef NB_OPTIM_H
#define NB_OPTIM_H

#include "base/pagefile.h"
#include "kernel/kernel.h"
#include "tensor/param.h"

/* What optim_args says, in force once nb_optim_settle was called. */
typedef struct nb_optim_options {
    double momentum, dampening; /* sgd */
    bool nesterov;
    double factor_eps[2]; /* adafactor: of squares, of the size of a tensor */
    double clip_threshold, decay_rate;
    double first_moment; /* 0: none is kept */
    bool scale_parameter, relative_step, warmup_init;
} nb_optim_options;

/* What the user decides. Zeros behind decay_all are fine. */
typedef struct nb_optim_config {
    double beta1, beta2, eps, weight_decay;
    bool decay_all;        /* decay on biases and norms too */
    double loraplus_ratio; /* LoRA+: rate of the B matrices over that of the others; 0: 1 */
    const char *args;      /* optim_args: "momentum=0.9, nesterov=true"; NULL: none */
    nb_optim_options o;    /* from args; not for the caller */
} nb_optim_config;

typedef struct nb_optim nb_optim;

enum {
    NB_OPTIM_STATES = 4,
    /* elements of a tensor that are stepped at once; a multiple of every state's block */
    NB_OPTIM_PIECE = 1 << 18
};
/* Most bytes of paged state that are resident at any time, whatever its size. */
#define NB_OPTIM_PAGED_RESIDENT ((size_t)8 << 20)

/* One state of a tensor of n elements: ceil(n / block) values, zero at the start. */
typedef struct nb_optim_state {
    const char *name; /* for checkpoints: "exp_avg"; NULL ends a list */
    nb_dtype dtype;
    int64_t block;
} nb_optim_state;

/* A run of elements of one tensor with its states. */
typedef struct nb_optim_piece {
    const nb_param *param;
    int64_t from, n;              /* from is a multiple of NB_OPTIM_PIECE */
    bool small;                   /* states are kind->small */
    void *state[NB_OPTIM_STATES]; /* of this piece, 64-byte aligned */
    double lr, grad_scale;
} nb_optim_piece;

/* An optimizer: one file, and its names in optim_names.c. */
typedef struct nb_optim_kind {
    unsigned bit; /* in the table of options, see optim_kinds.h */
    nb_optim_state states[NB_OPTIM_STATES + 1];
    int64_t small_n; /* tensors of fewer elements hold `small` instead; 0: none do */
    nb_optim_state small[NB_OPTIM_STATES + 1];
    /* Instead of `states` where they depend on settings or on the shape of the tensor. Zeroed. */
    void (*shape)(const nb_optim_config *c, const nb_param *p,
                  nb_optim_state states[NB_OPTIM_STATES + 1]);
    bool whole; /* a piece is a whole tensor; never paged */
    /* f32 numbers of scratch memory that a step on this tensor needs; NULL: none */
    int64_t (*scratch)(const nb_param *p);
    void (*step)(const nb_optim *o, const nb_optim_piece *p);
    /* Its own rate for update o->step + 1; NULL: the one it is given. */
    double (*rate)(const nb_optim *o, double lr);
    bool wants_books;
} nb_optim_kind;

/* What a name stands for. Paged: the same updates bit for bit, but the state lives in a file. */
typedef struct nb_optim_choice {
    const char *name; /* as users type it: "paged_adamw_8bit" */
    const nb_optim_kind *kind;
    bool paged;
} nb_optim_choice;

/* Memory of an optimizer: NB_MEM_OPTIMIZER or mapped bytes that stay, and bytes on disk. */
typedef struct nb_optim_bytes {
    size_t resident, paged;
} nb_optim_bytes;

struct nb_optim {
    const nb_optim_choice *choice;
    nb_optim_config config; /* settled */
    const nb_exec *exec;
    const nb_param_list *params; /* borrowed, fixed */
    unsigned char *data;         /* all states: see state_walk.h */
    nbi_pagefile pages;          /* holds data when the choice is paged */
    nb_dynamic8 *books;          /* signed, unsigned; NULL unless the kind wants them */
    nb_optim_state *shaped;      /* [params][NB_OPTIM_STATES + 1] where the kind has `shape` */
    float *scratch;              /* of a step */
    int64_t step;                /* updates done */
    const nb_param *bad;         /* of the last update: what is not finite; NULL: all is */
    const char *bad_what;        /* the name of a state, or "value" */
};

/* By HF's name, NULL when unknown; several names stand for the same ("adamw_torch_fused"). */
const nb_optim_choice *nb_optim_find(const char *name);
/* The same; NB_CONFIG with the nearest name and the list. */
nb_status nb_optim_choose(const nb_optim_choice **choice, const char *name,
                          nb_error *err) NB_MUST_CHECK;
/* "adamw_torch, adamw_torch_fused, ..." */
void nb_optim_list(char *buf, size_t size);
/* Fills c->o, and betas and eps, from c->args over the choice's defaults. NB_CONFIG names the
 * option and the nearest one. Settling twice is fine. */
nb_status nb_optim_settle(nb_optim_config *c, const nb_optim_choice *choice,
                          nb_error *err) NB_MUST_CHECK;
/* What nb_optim_open will take for these parameters; only their n, rank and shape are looked at.
 * Options that do not settle count as not given. */
nb_optim_bytes nb_optim_memory(const nb_optim_choice *choice, const nb_optim_config *config,
                               const nb_param_list *params);
/* page_dir: folder for the file of paged state, may be NULL for the others. NB_CONFIG when name or
 * options are unknown; NB_IO when the disk has no room. */
nb_status nb_optim_open(nb_optim **out, const char *name, const nb_optim_config *config,
                        const nb_exec *exec, const nb_param_list *params, const char *page_dir,
                        nb_error *err) NB_MUST_CHECK;
void nb_optim_close(nb_optim **o);
/* The rate that the next update will use when it is told `lr`: another one only where the optimizer
 * makes its own (adafactor with relative_step). */
double nb_optim_rate(const nb_optim *o, double lr);
/* One update of all parameters with gradients multiplied by grad_scale. NB_IO when the disk of
 * paged state fails, NB_NUMERIC with the tensor when a value or state is not finite afterwards;
 * parameters and state are then unusable. */
nb_status nb_optim_update(nb_optim *o, double lr, double grad_scale, nb_error *err) NB_MUST_CHECK;
/* The states that parameter i holds: a list that ends with a NULL name. */
const nb_optim_state *nb_optim_states(const nb_optim *o, size_t i);
/* Copies state j of parameter i out or in; *values holds all its elements. These and `step` are all
 * that an optimizer remembers. */
void nb_optim_get_state(const nb_optim *o, size_t i, int j, void *values);
void nb_optim_set_state(nb_optim *o, size_t i, int j, const void *values);
/* The same for its values [first, first + n); `values` holds those alone. */
void nb_optim_get_part(const nb_optim *o, size_t i, int j, int64_t first, int64_t n, void *values);
void nb_optim_set_part(nb_optim *o, size_t i, int j, int64_t first, int64_t n, const void *values);

void nb_optim_zero_grads(const nb_param_list *params);
/* Global 2-norm over all gradients in f64, summed in parameter order. */
double nb_grad_norm(const nb_exec *exec, const nb_param_list *params);
/* min(1, max_norm / (norm + 1e-6)), 1 when max_norm <= 0 (torch.nn.utils.clip_grad_norm_). */
double nb_clip_scale(double norm, double max_norm);

#endif
