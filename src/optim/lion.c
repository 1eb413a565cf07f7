/* SPDX-License-Identifier: MIT */
/* Lion of bitsandbytes, its moment in f32 or in 8 bits; names of the states as it saves them. */
#include "optim/optim_kinds.h"

static void lion_step(const nb_optim *o, const nb_optim_piece *p)
{
    const nb_optim_config *c = &o->config;
    o->exec->k.lion(&(nb_lion_args){.q = o->exec->q,
                                    .n = p->n,
                                    .w = p->param->value + p->from,
                                    .m = p->state[0],
                                    .grad = p->param->grad + p->from,
                                    .grad_scale = p->grad_scale,
                                    .lr = p->lr,
                                    .beta1 = c->beta1,
                                    .beta2 = c->beta2,
                                    .weight_decay = nbi_optim_decay(o, p->param)});
}

static void lion8_step(const nb_optim *o, const nb_optim_piece *p)
{
    nb_optim8_args a = nbi_optim8_args(o, p);
    a.m_scale = p->small ? NULL : p->state[1];
    o->exec->k.lion8(&a);
}

const nb_optim_kind nbi_optim_lion = {
    .bit = NBI_TAKES_LION, .states = {{"state1", NB_DT_F32, 1}}, .step = lion_step};
const nb_optim_kind nbi_optim_lion8 = {
    .bit = NBI_TAKES_LION,
    .states = {{"state1", NB_DT_U8, 1}, {"absmax1", NB_DT_F32, NB_OPTIM8_BLOCK}},
    .small_n = NBI_OPTIM8_SMALL,
    .small = {{"state1", NB_DT_F32, 1}},
    .step = lion8_step,
    .wants_books = true};
