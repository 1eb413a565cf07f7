/* SPDX-License-Identifier: MIT */
#include "optim/optim_kinds.h"

static void sgd_states(const nb_optim_config *c, const nb_param *p,
                       nb_optim_state states[NB_OPTIM_STATES + 1])
{
    (void)p;
    if (c->o.momentum != 0)
        states[0] = (nb_optim_state){"momentum_buffer", NB_DT_F32, 1};
}

static void sgd_step(const nb_optim *o, const nb_optim_piece *p)
{
    const nb_optim_options *c = &o->config.o;
    o->exec->k.sgd(&(nb_sgd_args){.q = o->exec->q,
                                  .n = p->n,
                                  .w = p->param->value + p->from,
                                  .m = p->state[0],
                                  .grad = p->param->grad + p->from,
                                  .grad_scale = p->grad_scale,
                                  .lr = p->lr,
                                  .momentum = c->momentum,
                                  .dampening = c->dampening,
                                  .weight_decay = nbi_optim_decay(o, p->param),
                                  .nesterov = c->nesterov,
                                  .step = o->step});
}

const nb_optim_kind nbi_optim_sgd = {.bit = NBI_TAKES_SGD, .shape = sgd_states, .step = sgd_step};
