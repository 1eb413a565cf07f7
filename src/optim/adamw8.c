/* SPDX-License-Identifier: MIT */
/* AdamW of bitsandbytes with moments in 8 bits, a scale for every 256; names of the states as it
 * saves them. Like there, tensors below 4096 elements keep f32 moments. */
#include "optim/optim_kinds.h"

nb_optim8_args nbi_optim8_args(const nb_optim *o, const nb_optim_piece *p)
{
    const nb_optim_config *c = &o->config;
    return (nb_optim8_args){.q = o->exec->q,
                            .n = p->n,
                            .w = p->param->value + p->from,
                            .m = p->state[0],
                            .m_book = &o->books[0],
                            .v_book = &o->books[1],
                            .grad = p->param->grad + p->from,
                            .grad_scale = p->grad_scale,
                            .lr = p->lr,
                            .beta1 = c->beta1,
                            .beta2 = c->beta2,
                            .eps = c->eps,
                            .weight_decay = nbi_optim_decay(o, p->param),
                            .step = o->step};
}

static void adamw8_step(const nb_optim *o, const nb_optim_piece *p)
{
    nb_optim8_args a = nbi_optim8_args(o, p);
    a.v = p->state[1];
    a.m_scale = p->small ? NULL : p->state[2];
    a.v_scale = p->small ? NULL : p->state[3];
    o->exec->k.adamw8(&a);
}

const nb_optim_kind nbi_optim_adamw8 = {
    .bit = NBI_TAKES_ADAM,
    .states = {{"state1", NB_DT_U8, 1},
               {"state2", NB_DT_U8, 1},
               {"absmax1", NB_DT_F32, NB_OPTIM8_BLOCK},
               {"absmax2", NB_DT_F32, NB_OPTIM8_BLOCK}},
    .small_n = NBI_OPTIM8_SMALL,
    .small = {{"state1", NB_DT_F32, 1}, {"state2", NB_DT_F32, 1}},
    .step = adamw8_step,
    .wants_books = true};
