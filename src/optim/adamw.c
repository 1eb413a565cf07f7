/* SPDX-License-Identifier: MIT */
#include "optim/optim_kinds.h"

static void adamw_step(nb_optim *o, const nb_param *p, float *const *states, double lr,
                       double grad_scale)
{
    const nb_optim_config *c = &o->config;
    nb_adamw_args a = {.q = o->exec->q,
                       .n = p->n,
                       .w = p->value,
                       .m = states[0],
                       .v = states[1],
                       .grad = p->grad,
                       .grad_scale = grad_scale,
                       .lr = lr,
                       .beta1 = c->beta1,
                       .beta2 = c->beta2,
                       .eps = c->eps,
                       .weight_decay = p->no_decay && !c->decay_all ? 0 : c->weight_decay,
                       .step = o->step};
    o->exec->k.adamw(&a);
}

static const char *const names[] = {"exp_avg", "exp_avg_sq"};

const nb_optim_kind nbi_optim_adamw = {"adamw_torch", 2, names, adamw_step};
