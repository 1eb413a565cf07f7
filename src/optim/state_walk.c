/* SPDX-License-Identifier: MIT */
#include "optim/state_walk.h"

#include <string.h>

nbi_state_walk nbi_state_walk_begin(const nb_optim_kind *kind, const nb_optim_config *config,
                                    const nb_param_list *params)
{
    return (nbi_state_walk){.kind = kind, .config = config, .params = params};
}

bool nbi_state_walk_next(nbi_state_walk *w)
{
    int64_t at = w->from + w->n;
    while (w->i < w->params->n && at >= w->params->v[w->i]->n) {
        w->i++;
        at = 0;
    }
    if (w->i == w->params->n)
        return false;
    const int64_t all = w->params->v[w->i]->n, left = all - at;
    w->from = at;
    w->n = left < NB_OPTIM_PIECE || w->kind->whole ? left : NB_OPTIM_PIECE;
    w->small = all < w->kind->small_n;
    w->states = w->small ? w->kind->small : w->kind->states;
    if (w->kind->shape) {
        memset(w->shaped, 0, sizeof(w->shaped));
        w->kind->shape(w->config, w->params->v[w->i], w->shaped);
        w->states = w->shaped;
    }
    for (int j = 0; w->states[j].name; j++) {
        w->offset[j] = w->end;
        w->end += (nbi_state_bytes(&w->states[j], w->n) + 63) / 64 * 64;
    }
    return true;
}

const nb_optim_state *nb_optim_states(const nb_optim *o, size_t i)
{
    const nb_optim_kind *k = o->choice->kind;
    if (o->shaped)
        return o->shaped + i * (NB_OPTIM_STATES + 1);
    return o->params->v[i]->n < k->small_n ? k->small : k->states;
}

/* One of out and in is NULL. */
static void copy_state(const nb_optim *o, size_t i, int j, void *out, const void *in)
{
    nbi_state_walk w = nbi_state_walk_begin(o->choice->kind, &o->config, o->params);
    while (nbi_state_walk_next(&w) && w.i <= i) {
        if (w.i != i)
            continue;
        const nb_optim_state *s = &w.states[j];
        const int64_t at = w.from / s->block;
        const size_t bytes = nbi_state_bytes(s, w.n);
        if (out)
            memcpy(nb_elem(out, s->dtype, at), o->data + w.offset[j], bytes);
        else
            memcpy(o->data + w.offset[j], nb_elem(in, s->dtype, at), bytes);
        if (o->choice->paged)
            nbi_pagefile_drop(&o->pages, w.offset[0], w.end);
    }
}

void nb_optim_get_state(const nb_optim *o, size_t i, int j, void *values)
{
    copy_state(o, i, j, values, NULL);
}

void nb_optim_set_state(nb_optim *o, size_t i, int j, const void *values)
{
    copy_state(o, i, j, NULL, values);
}
