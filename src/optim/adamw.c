/* SPDX-License-Identifier: MIT */
/* AdamW, and Adam, whose decay is part of the gradient. */
#include "optim/optim_kinds.h"

static void adam_step(const nb_optim *o, const nb_optim_piece *p, bool l2)
{
    const nb_optim_config *c = &o->config;
    nb_adamw_args a = {.q = o->exec->q,
                       .n = p->n,
                       .w = p->param->value + p->from,
                       .m = p->state[0],
                       .v = p->state[1],
                       .grad = p->param->grad + p->from,
                       .grad_scale = p->grad_scale,
                       .lr = p->lr,
                       .beta1 = c->beta1,
                       .beta2 = c->beta2,
                       .eps = c->eps,
                       .weight_decay = nbi_optim_decay(o, p->param),
                       .step = o->step};
    a.l2 = l2 && a.weight_decay != 0;
    o->exec->k.adamw(&a);
}

static void decoupled(const nb_optim *o, const nb_optim_piece *p)
{
    adam_step(o, p, false);
}

static void coupled(const nb_optim *o, const nb_optim_piece *p)
{
    adam_step(o, p, true);
}

#define MOMENTS                                                                                    \
    {"exp_avg", NB_DT_F32, 1},                                                                     \
    {                                                                                              \
        "exp_avg_sq", NB_DT_F32, 1                                                                 \
    }

const nb_optim_kind nbi_optim_adamw = {
    .bit = NBI_TAKES_ADAM, .states = {MOMENTS}, .step = decoupled};
const nb_optim_kind nbi_optim_adam = {.bit = NBI_TAKES_ADAM, .states = {MOMENTS}, .step = coupled};
