/* SPDX-License-Identifier: MIT */
#include "optim/optim.h"

#include <string.h>
#include <math.h>
#include "base/fail.h"
#include "optim/optim_kinds.h"
#include "optim/state_walk.h"

/* Pages behind the walk are let go in runs of this size. */
#define DROP_RUN ((size_t)4 << 20)
/* A run not yet dropped, the piece at hand at four bytes an element for two states, and the pages
 * that the ends of both share with others. */
_Static_assert(DROP_RUN + 2 * 4 * NB_OPTIM_PIECE + (1u << 18) <= NB_OPTIM_PAGED_RESIDENT,
               "resident part of paged state");
_Static_assert(NB_OPTIM_PIECE % NB_OPTIM8_BLOCK == 0, "pieces are whole blocks");

static size_t region_bytes(const nb_optim_choice *choice, const nb_optim_config *c,
                           const nb_param_list *params)
{
    nbi_state_walk w = nbi_state_walk_begin(choice->kind, c, params);
    while (nbi_state_walk_next(&w)) {
    }
    return w.end;
}

static size_t books_bytes(const nb_optim_kind *kind)
{
    return kind->wants_books ? 2 * sizeof(nb_dynamic8) : 0;
}

static size_t shaped_bytes(const nb_optim_kind *kind, const nb_param_list *params)
{
    return kind->shape ? params->n * (NB_OPTIM_STATES + 1) * sizeof(nb_optim_state) : 0;
}

static size_t scratch_bytes(const nb_optim_kind *kind, const nb_param_list *params)
{
    int64_t most = 0;
    for (size_t i = 0; kind->scratch && i < params->n; i++) {
        const int64_t n = kind->scratch(params->v[i]);
        most = n > most ? n : most;
    }
    return (size_t)most * sizeof(float);
}

nb_optim_bytes nb_optim_memory(const nb_optim_choice *choice, const nb_optim_config *config,
                               const nb_param_list *params)
{
    const nb_optim_kind *k = choice->kind;
    nb_optim_config c = *config;
    if (nb_optim_settle(&c, choice, NULL) != NB_OK) {
        c.args = NULL;
        (void)!nb_optim_settle(&c, choice, NULL);
    }
    const size_t all = region_bytes(choice, &c, params);
    const size_t aside = books_bytes(k) + shaped_bytes(k, params) + scratch_bytes(k, params);
    if (!choice->paged)
        return (nb_optim_bytes){all + aside, 0};
    return (nb_optim_bytes){(all < NB_OPTIM_PAGED_RESIDENT ? all : NB_OPTIM_PAGED_RESIDENT) + aside,
                            all};
}

/* *out stays NULL for 0 bytes. */
static nb_status take(void *out, size_t bytes, nb_error *err)
{
    void *p = bytes > 0 ? nbi_calloc(NBI_MEM_OPTIMIZER, bytes, 1) : NULL;
    memcpy(out, &p, sizeof(p));
    return p || bytes == 0 ? NB_OK : nbi_fail_nomem(err, "optimizer state", bytes);
}

static nb_status open_aside(nb_optim *o, nb_error *err)
{
    const nb_optim_kind *k = o->choice->kind;
    NBI_TRY(take(&o->books, books_bytes(k), err));
    NBI_TRY(take(&o->shaped, shaped_bytes(k, o->params), err));
    NBI_TRY(take(&o->scratch, scratch_bytes(k, o->params), err));
    if (o->books) {
        nb_dynamic8_init(&o->books[0], true);
        nb_dynamic8_init(&o->books[1], false);
    }
    for (size_t i = 0; o->shaped && i < o->params->n; i++)
        k->shape(&o->config, o->params->v[i], o->shaped + i * (NB_OPTIM_STATES + 1));
    return NB_OK;
}

static nb_status open_state(nb_optim *o, const char *page_dir, nb_error *err)
{
    const size_t bytes = region_bytes(o->choice, &o->config, o->params);
    NBI_TRY(open_aside(o, err));
    if (!o->choice->paged || bytes == 0)
        return take(&o->data, bytes, err);
    NBI_TRY(nbi_pagefile_open(&o->pages, page_dir, bytes, "pages of the optimizer", err));
    o->data = o->pages.data;
    return NB_OK;
}

nb_status nb_optim_open(nb_optim **out, const char *name, const nb_optim_config *config,
                        const nb_exec *exec, const nb_param_list *params, const char *page_dir,
                        nb_error *err)
{
    const nb_optim_choice *choice;
    nb_optim_config settled = *config;
    *out = NULL;
    NBI_TRY(nb_optim_choose(&choice, name, err));
    NBI_TRY(nb_optim_settle(&settled, choice, err));
    if (choice->paged && !page_dir)
        return nbi_fail(err, NB_CONFIG, "optim: %s needs a folder for its pages", name);
    nb_optim *o = nbi_calloc(NBI_MEM_OPTIMIZER, 1, sizeof(*o));
    if (!o)
        return nbi_fail_nomem(err, "optimizer", sizeof(*o));
    *o = (nb_optim){.choice = choice, .config = settled, .exec = exec, .params = params};
    o->config.args = NULL; /* borrowed, and no longer needed */
    nb_status st = open_state(o, page_dir, err);
    if (st == NB_OK)
        *out = o;
    else
        nb_optim_close(&o);
    return st;
}

void nb_optim_close(nb_optim **out)
{
    nb_optim *o = out ? *out : NULL;
    if (!o)
        return;
    if (o->data != o->pages.data)
        nbi_free(o->data);
    nbi_pagefile_close(&o->pages);
    nbi_free(o->books);
    nbi_free(o->shaped);
    nbi_free(o->scratch);
    nbi_free(o);
    *out = NULL;
}

double nb_optim_rate(const nb_optim *o, double lr)
{
    const nb_optim_kind *k = o->choice->kind;
    return k->rate ? k->rate(o, lr) : lr;
}

nb_status nb_optim_update(nb_optim *o, double lr, double grad_scale, nb_error *err)
{
    nbi_state_walk w = nbi_state_walk_begin(o->choice->kind, &o->config, o->params);
    const bool paged = o->pages.data != NULL;
    size_t kept = 0; /* where the part not yet let go begins */
    lr = nb_optim_rate(o, lr);
    o->step++;
    o->bad = NULL;
    while (nbi_state_walk_next(&w)) {
        nb_optim_piece p = {.param = o->params->v[w.i],
                            .from = w.from,
                            .n = w.n,
                            .small = w.small,
                            .lr = lr * nbi_optim_ratio(o, o->params->v[w.i]),
                            .grad_scale = grad_scale};
        for (int j = 0; w.states[j].name; j++)
            p.state[j] = o->data + w.offset[j];
        if (paged)
            nbi_pagefile_fetch(&o->pages, w.offset[0], w.end);
        o->choice->kind->step(o, &p);
        nbi_optim_watch(o, &p, w.states);
        if (paged && w.end - kept >= DROP_RUN) {
            nbi_pagefile_drop(&o->pages, kept, w.end);
            kept = w.end;
        }
    }
    if (paged) {
        nbi_pagefile_drop(&o->pages, 0, o->pages.size);
        NBI_TRY(nbi_pagefile_check(&o->pages, err));
    }
    if (o->bad)
        return nbi_fail(err, NB_NUMERIC,
                        "the update left a %s of %s that is not finite; nothing is saved of it. "
                        "Lower learning_rate, or set max_grad_norm",
                        o->bad_what, o->bad->name);
    return NB_OK;
}

void nb_optim_zero_grads(const nb_param_list *params)
{
    for (size_t i = 0; i < params->n; i++)
        memset(params->v[i]->grad, 0, (size_t)params->v[i]->n * sizeof(float));
}

double nb_grad_norm(const nb_exec *exec, const nb_param_list *params)
{
    double sum = 0;
    for (size_t i = 0; i < params->n; i++) {
        double one = 0;
        nb_sumsq_args a = {exec->q, params->v[i]->n, params->v[i]->grad, &one};
        exec->k.sumsq(&a);
        sum += one;
    }
    return sqrt(sum);
}

double nb_clip_scale(double norm, double max_norm)
{
    double s = max_norm / (norm + 1e-6);
    return max_norm > 0 && s < 1 ? s : 1;
}
