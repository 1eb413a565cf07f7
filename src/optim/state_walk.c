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

/* Values [first, first + n); one of out and in is NULL. */
static void copy_part(const nb_optim *o, size_t i, int j, int64_t first, int64_t n, void *out,
                      const void *in)
{
    nbi_state_walk w = nbi_state_walk_begin(o->choice->kind, &o->config, o->params);
    while (nbi_state_walk_next(&w) && w.i <= i) {
        if (w.i != i)
            continue;
        const nb_optim_state *s = &w.states[j];
        const int64_t at = w.from / s->block, end = at + nbi_state_count(s, w.n);
        const int64_t from = at > first ? at : first, to = end < first + n ? end : first + n;
        if (from >= to)
            continue;
        const size_t bytes = (size_t)(to - from) * nb_dtype_size(s->dtype);
        void *mine = nb_elem(o->data + w.offset[j], s->dtype, from - at);
        if (out)
            memcpy(nb_elem(out, s->dtype, from - first), mine, bytes);
        else
            memcpy(mine, nb_elem(in, s->dtype, from - first), bytes);
        if (o->choice->paged)
            nbi_pagefile_drop(&o->pages, w.offset[0], w.end);
    }
}

void nb_optim_get_part(const nb_optim *o, size_t i, int j, int64_t first, int64_t n, void *values)
{
    copy_part(o, i, j, first, n, values, NULL);
}

void nb_optim_set_part(nb_optim *o, size_t i, int j, int64_t first, int64_t n, const void *values)
{
    copy_part(o, i, j, first, n, NULL, values);
}

void nb_optim_get_state(const nb_optim *o, size_t i, int j, void *values)
{
    copy_part(o, i, j, 0, INT64_MAX / 2, values, NULL);
}

void nb_optim_set_state(nb_optim *o, size_t i, int j, const void *values)
{
    copy_part(o, i, j, 0, INT64_MAX / 2, NULL, values);
}
