/* SPDX-License-Identifier: MIT */
#include "optim/optim_kinds.h"

static void adamw_step(const nb_optim *o, const nb_optim_piece *p)
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
    o->exec->k.adamw(&a);
}

const nb_optim_kind nbi_optim_adamw = {
    .states = {{"exp_avg", NB_DT_F32, 1}, {"exp_avg_sq", NB_DT_F32, 1}}, .step = adamw_step};
