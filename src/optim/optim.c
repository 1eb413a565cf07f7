/* SPDX-License-Identifier: MIT */
#include "optim/optim.h"

#include <string.h>
#include <math.h>
#include <stdio.h>
#include "base/fail.h"
#include "optim/optim_kinds.h"
#include "optim/state_walk.h"

/* Pages behind the walk are let go in runs of this size. */
#define DROP_RUN ((size_t)4 << 20)
/* A run not yet dropped, the piece at hand at four bytes an element for two states, and the pages
 * that the ends of both share with others. */
_Static_assert(DROP_RUN + 2 * 4 * NB_OPTIM_PIECE + (1u << 18) <= NB_OPTIM_PAGED_RESIDENT,
               "resident part of paged state");
_Static_assert(NB_OPTIM_PIECE % NB_ADAMW8_BLOCK == 0, "pieces are whole blocks");

static const nb_optim_choice choices[] = {
    {"adamw_torch", &nbi_optim_adamw, false},      {"adamw_torch_fused", &nbi_optim_adamw, false},
    {"adamw_hf", &nbi_optim_adamw, false},         {"adamw", &nbi_optim_adamw, false},
    {"adamw_8bit", &nbi_optim_adamw8, false},      {"adamw_bnb_8bit", &nbi_optim_adamw8, false},
    {"paged_adamw", &nbi_optim_adamw, true},       {"paged_adamw_32bit", &nbi_optim_adamw, true},
    {"paged_adamw_8bit", &nbi_optim_adamw8, true},
};
#define N_CHOICES (sizeof(choices) / sizeof(*choices))

const nb_optim_choice *nb_optim_find(const char *name)
{
    for (size_t i = 0; i < N_CHOICES; i++)
        if (strcmp(name, choices[i].name) == 0)
            return &choices[i];
    return NULL;
}

void nb_optim_list(char *buf, size_t size)
{
    size_t n = 0;
    if (size)
        buf[0] = 0;
    for (size_t i = 0; i < N_CHOICES && n < size; i++) {
        int k = snprintf(buf + n, size - n, "%s%s", i ? ", " : "", choices[i].name);
        n += k > 0 ? (size_t)k : 0;
    }
}

static size_t region_bytes(const nb_optim_choice *choice, const nb_param_list *params)
{
    nbi_state_walk w = nbi_state_walk_begin(choice->kind, params);
    while (nbi_state_walk_next(&w)) {
    }
    return w.end;
}

nb_optim_bytes nb_optim_memory(const nb_optim_choice *choice, const nb_param_list *params)
{
    const size_t all = region_bytes(choice, params);
    const size_t books = choice->kind->wants_books ? 2 * sizeof(nb_dynamic8) : 0;
    if (!choice->paged)
        return (nb_optim_bytes){all + books, 0};
    return (nb_optim_bytes){(all < NB_OPTIM_PAGED_RESIDENT ? all : NB_OPTIM_PAGED_RESIDENT) + books,
                            all};
}

static nb_status open_state(nb_optim *o, const char *page_dir, nb_error *err)
{
    const size_t bytes = region_bytes(o->choice, o->params);
    if (o->choice->kind->wants_books) {
        o->books = nbi_alloc(NBI_MEM_OPTIMIZER, 2 * sizeof(*o->books));
        if (!o->books)
            return nbi_fail_nomem(err, "optimizer", 2 * sizeof(*o->books));
        nb_dynamic8_init(&o->books[0], true);
        nb_dynamic8_init(&o->books[1], false);
    }
    if (o->choice->paged && bytes > 0) {
        NBI_TRY(nbi_pagefile_open(&o->pages, page_dir, bytes, "pages of the optimizer", err));
        o->data = o->pages.data;
        return NB_OK;
    }
    o->data = nbi_calloc(NBI_MEM_OPTIMIZER, bytes, 1);
    return o->data ? NB_OK : nbi_fail_nomem(err, "optimizer state", bytes);
}

nb_status nb_optim_open(nb_optim **out, const char *name, const nb_optim_config *config,
                        const nb_exec *exec, const nb_param_list *params, const char *page_dir,
                        nb_error *err)
{
    const nb_optim_choice *choice = nb_optim_find(name);
    char names[300];
    *out = NULL;
    if (!choice) {
        nb_optim_list(names, sizeof(names));
        return nbi_fail(err, NB_CONFIG, "optim: \"%s\" is not known, expected one of %s", name,
                        names);
    }
    if (choice->paged && !page_dir)
        return nbi_fail(err, NB_CONFIG, "optim: %s needs a folder for its pages", name);
    nb_optim *o = nbi_calloc(NBI_MEM_OPTIMIZER, 1, sizeof(*o));
    if (!o)
        return nbi_fail_nomem(err, "optimizer", sizeof(*o));
    *o = (nb_optim){.choice = choice, .config = *config, .exec = exec, .params = params};
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
    nbi_free(o);
    *out = NULL;
}

nb_status nb_optim_update(nb_optim *o, double lr, double grad_scale, nb_error *err)
{
    nbi_state_walk w = nbi_state_walk_begin(o->choice->kind, o->params);
    const bool paged = o->pages.data != NULL;
    size_t kept = 0; /* where the part not yet let go begins */
    o->step++;
    while (nbi_state_walk_next(&w)) {
        nb_optim_piece p = {.param = o->params->v[w.i],
                            .from = w.from,
                            .n = w.n,
                            .small = w.small,
                            .lr = lr,
                            .grad_scale = grad_scale};
        for (int j = 0; w.states[j].name; j++)
            p.state[j] = o->data + w.offset[j];
        if (paged)
            nbi_pagefile_fetch(&o->pages, w.offset[0], w.end);
        o->choice->kind->step(o, &p);
        if (paged && w.end - kept >= DROP_RUN) {
            nbi_pagefile_drop(&o->pages, kept, w.end);
            kept = w.end;
        }
    }
    if (!paged)
        return NB_OK;
    nbi_pagefile_drop(&o->pages, 0, o->pages.size);
    return nbi_pagefile_check(&o->pages, err);
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
