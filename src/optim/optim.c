/* SPDX-License-Identifier: MIT */
#include "optim/optim.h"

#include <string.h>
#include <math.h>
#include "base/fail.h"
#include "base/strbuf.h"
#include "optim/optim_kinds.h"

/* Names as users type them. An alias computes the same updates; a `note` says what differs. */
static const struct {
    const char *name;
    const nb_optim_kind *kind;
    const char *note;
} registry[] = {
    {"adamw_torch", &nbi_optim_adamw, NULL},
    {"adamw_torch_fused", &nbi_optim_adamw, NULL},
    {"adamw_hf", &nbi_optim_adamw, NULL},
    {"adamw", &nbi_optim_adamw, NULL},
    {"paged_adamw", &nbi_optim_adamw, NULL},
    {"paged_adamw_32bit", &nbi_optim_adamw, NULL},
    {"adamw_8bit", &nbi_optim_adamw, "its moments are held in 32 bits"},
    {"adamw_bnb_8bit", &nbi_optim_adamw, "its moments are held in 32 bits"},
    {"paged_adamw_8bit", &nbi_optim_adamw, "its moments are held in 32 bits"},
};
#define N_NAMES (sizeof(registry) / sizeof(*registry))

const nb_optim_kind *nb_optim_find(const char *name, const char **note)
{
    for (size_t i = 0; i < N_NAMES; i++) {
        if (strcmp(name, registry[i].name) == 0) {
            if (note)
                *note = registry[i].note;
            return registry[i].kind;
        }
    }
    return NULL;
}

static nb_status fail_unknown(const char *name, nb_error *err)
{
    nbi_strbuf names = {0};
    for (size_t i = 0; i < N_NAMES; i++)
        nbi_strbuf_printf(&names, "%s%s", i ? ", " : "", registry[i].name);
    nb_status st = nbi_fail(err, NB_CONFIG, "optim: \"%s\" is not known, expected one of %s", name,
                            nbi_strbuf_str(&names));
    nbi_strbuf_free(&names);
    return st;
}

size_t nb_optim_state_bytes(const nb_optim_kind *kind, const nb_param_list *params)
{
    size_t n = 0;
    for (size_t i = 0; i < params->n; i++)
        n += (size_t)params->v[i]->n * sizeof(float);
    return n * (size_t)kind->n_states;
}

nb_status nb_optim_open(nb_optim **out, const char *name, const nb_optim_config *config,
                        const nb_exec *exec, const nb_param_list *params, nb_error *err)
{
    const nb_optim_kind *kind = nb_optim_find(name, NULL);
    *out = NULL;
    if (!kind)
        return fail_unknown(name, err);
    nb_optim *o = nbi_calloc(NBI_MEM_OPTIMIZER, 1, sizeof(*o));
    if (!o)
        return nbi_fail_nomem(err, "optimizer", sizeof(*o));
    *o = (nb_optim){.kind = kind, .config = *config, .exec = exec, .params = params};
    size_t per = (size_t)kind->n_states;
    o->states = nbi_calloc(NBI_MEM_OPTIMIZER, params->n * per + 1, sizeof(*o->states));
    bool ok = o->states != NULL;
    for (size_t i = 0; ok && i < params->n * per; i++) {
        o->states[i] = nbi_calloc(NBI_MEM_OPTIMIZER, (size_t)params->v[i / per]->n, sizeof(float));
        ok = o->states[i] != NULL;
    }
    if (!ok) {
        nb_optim_close(&o);
        return nbi_fail_nomem(err, "optimizer moments", nb_optim_state_bytes(kind, params));
    }
    *out = o;
    return NB_OK;
}

void nb_optim_close(nb_optim **out)
{
    nb_optim *o = out ? *out : NULL;
    if (!o)
        return;
    if (o->states)
        for (size_t i = 0; i < o->params->n * (size_t)o->kind->n_states; i++)
            nbi_free(o->states[i]);
    nbi_free(o->states);
    nbi_free(o);
    *out = NULL;
}

void nb_optim_update(nb_optim *o, double lr, double grad_scale)
{
    o->step++;
    for (size_t i = 0; i < o->params->n; i++)
        o->kind->step(o, o->params->v[i], o->states + i * (size_t)o->kind->n_states, lr,
                      grad_scale);
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
