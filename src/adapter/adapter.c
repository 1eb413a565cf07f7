/* SPDX-License-Identifier: MIT */
#include "adapter/adapter.h"

#include <math.h>
#include <string.h>
#include "adapter/adapter_priv.h"
#include "adapter/lora.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/rng.h"

static void param_free(nb_param *p)
{
    if (!p)
        return;
    nbi_free(p->name);
    nbi_free(p->value);
    nbi_free(p->grad);
    nbi_free(p);
}

void nb_adapter_close(nb_adapter **out)
{
    nb_adapter *a = out ? *out : NULL;
    if (!a)
        return;
    for (size_t i = 0; i < a->n_sites; i++)
        nbi_lora_detach(&a->sites[i]);
    for (size_t i = 0; i < a->params.n; i++)
        param_free(a->params.v[i]);
    nbi_array_free(&a->params);
    if (a->shared)
        nbi_free(a->shared->rows);
    nbi_free(a->shared);
    nbi_free(a->sites);
    nb_lora_config_free(&a->config);
    nbi_free(a);
    *out = NULL;
}

static nb_status param_new(nb_param **out, const char *module, const char *suffix, int64_t rows,
                           int64_t cols, bool sketch, bool trainable, nb_error *err)
{
    size_t n, bytes;
    nbi_strbuf name = {0};
    *out = NULL;
    if (!nbi_mul_size((size_t)rows, (size_t)cols, &n) || !nbi_mul_size(n, sizeof(float), &bytes))
        return nbi_fail(err, NB_LIMIT, "adapter matrix %s.%s of %lld x %lld is too large", module,
                        suffix, (long long)rows, (long long)cols);
    nb_param *p = nbi_calloc(NBI_MEM_ADAPTER, 1, sizeof(*p));
    if (!p)
        return nbi_fail_nomem(err, "adapter", sizeof(*p));
    nbi_strbuf_printf(&name, NBI_PEFT_PREFIX "%s.%s", module, suffix);
    p->name = name.failed ? NULL : nbi_strdup(NBI_MEM_ADAPTER, nbi_strbuf_str(&name));
    nbi_strbuf_free(&name);
    p->rank = 2;
    p->shape[0] = rows;
    p->shape[1] = cols;
    p->n = (int64_t)n;
    if (sketch && p->name) {
        *out = p;
        return NB_OK;
    }
    p->value = nbi_calloc(NBI_MEM_ADAPTER, n, sizeof(float));
    p->grad = trainable ? nbi_calloc(NBI_MEM_GRADIENTS, n, sizeof(float)) : NULL;
    if (!p->name || !p->value || (trainable && !p->grad)) {
        param_free(p);
        return nbi_fail_nomem(err, "adapter matrices", 2 * bytes);
    }
    *out = p;
    return NB_OK;
}

static nb_status add_param(nb_adapter *a, nb_param **slot, const char *module, const char *suffix,
                           int64_t rows, int64_t cols, bool trainable, nb_error *err)
{
    NBI_TRY(param_new(slot, module, suffix, rows, cols, a->sketch, trainable, err));
    if (!nbi_array_push(&a->params, *slot)) {
        param_free(*slot);
        return nbi_fail_nomem(err, "adapter", sizeof(*slot));
    }
    a->n_parameters += (*slot)->n;
    return NB_OK;
}

static nb_status add_site(nb_adapter *a, nb_site *site, bool trainable, nb_error *err)
{
    struct nb_lora_site *s = &a->sites[a->n_sites];
    double scale;
    NBI_TRY(nb_targets_rank(&a->config, site->name, &s->r, &scale, err));
    s->scale = (float)scale;
    s->site = site;
    s->shared = a->shared;
    s->index = (uint32_t)(site - a->model->sites);
    NBI_TRY(add_param(a, &s->a, site->name, "lora_A.weight", s->r, site->in, trainable, err));
    NBI_TRY(add_param(a, &s->b, site->name, "lora_B.weight", site->rows, s->r, trainable, err));
    nbi_lora_attach(s);
    a->n_sites++;
    return NB_OK;
}

static nb_status open_shared(nb_adapter *a, nb_error *err)
{
    struct nb_lora_shared *s = a->shared;
    int64_t in = 0;
    if (s->dropout <= 0)
        return NB_OK;
    for (size_t i = 0; i < a->n_sites; i++)
        in = a->sites[i].site->in > in ? a->sites[i].site->in : in;
    a->scratch_bytes = (size_t)in * NBI_LORA_CHUNK * sizeof(float);
    if (a->sketch)
        return NB_OK;
    s->rows = nbi_calloc(NBI_MEM_SCRATCH, (size_t)in * NBI_LORA_CHUNK, sizeof(float));
    return s->rows ? NB_OK : nbi_fail_nomem(err, "adapter scratch", a->scratch_bytes);
}

static nb_status build(nb_adapter *a, const nb_lora_config *config, uint64_t seed, bool trainable,
                       bool strict, nb_error *err)
{
    nb_site **sites;
    size_t n;
    NBI_TRY(nb_lora_config_copy(&a->config, config, err));
    if (!(config->dropout >= 0 && config->dropout < 1))
        return nbi_fail(err, NB_CONFIG, "lora_dropout is %g, expected 0 <= p < 1", config->dropout);
    a->shared = nbi_calloc(NBI_MEM_ADAPTER, 1, sizeof(*a->shared));
    if (!a->shared)
        return nbi_fail_nomem(err, "adapter", sizeof(*a->shared));
    a->shared->seed = seed;
    a->shared->dropout = (float)config->dropout;
    NBI_TRY(nb_targets_find(a->model, config, strict, &sites, &n, err));
    a->sites = nbi_calloc(NBI_MEM_ADAPTER, n, sizeof(*a->sites));
    nb_status st = a->sites ? NB_OK : nbi_fail_nomem(err, "adapter", n * sizeof(*a->sites));
    for (size_t i = 0; st == NB_OK && i < n; i++)
        st = add_site(a, sites[i], trainable, err);
    nbi_free(sites);
    return st == NB_OK ? open_shared(a, err) : st;
}

static nb_status make(nb_adapter **out, nb_model *m, const nb_lora_config *config, uint64_t seed,
                      bool sketch, bool trainable, bool strict, nb_error *err)
{
    *out = NULL;
    nb_adapter *a = nbi_calloc(NBI_MEM_ADAPTER, 1, sizeof(*a));
    if (!a)
        return nbi_fail_nomem(err, "adapter", sizeof(*a));
    a->model = m;
    a->sketch = sketch;
    nb_status st = build(a, config, seed, trainable, strict, err);
    if (st != NB_OK)
        nb_adapter_close(&a);
    *out = a;
    return st;
}

nb_status nbi_adapter_build(nb_adapter **out, nb_model *m, const nb_lora_config *config,
                            uint64_t seed, bool trainable, bool strict, nb_error *err)
{
    return make(out, m, config, seed, false, trainable, strict, err);
}

nb_status nb_adapter_sketch(nb_adapter **out, nb_model *m, const nb_lora_config *config,
                            bool strict, nb_error *err)
{
    return make(out, m, config, 0, true, true, strict, err);
}

/* FNV-1a: the random stream of a matrix depends on its name alone. */
static uint64_t name_key(const char *s)
{
    uint64_t h = 14695981039346656037u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return h;
}

nb_status nb_adapter_new_lora(nb_adapter **out, nb_model *m, const nb_lora_config *config,
                              uint64_t seed, bool trainable, nb_error *err)
{
    NBI_TRY(nbi_adapter_build(out, m, config, seed, trainable, true, err));
    nb_adapter *a = *out;
    const int threads = m->exec.q ? m->exec.q->threads : 1;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t i = 0; i < a->n_sites; i++) {
        nb_param *p = a->sites[i].a;
        nbi_rng rng;
        nbi_rng_init(&rng, seed, NBI_RNG_INIT, name_key(p->name));
        float bound = (float)(1.0 / sqrt((double)p->shape[1]));
        for (int64_t j = 0; j < p->n; j++)
            p->value[j] = (2.0f * nbi_rng_f32(&rng) - 1.0f) * bound;
    }
    return NB_OK;
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

static bool is_covered(const nb_adapter *a, const nb_site *s)
{
    for (size_t i = 0; i < a->n_sites; i++)
        if (a->sites[i].site == s)
            return true;
    return false;
}

/* Skipped sites whose name ends like that of site i: how many of how many, and is i the first? */
static bool count_like(const nb_adapter *a, size_t i, size_t *skipped, size_t *all)
{
    const nb_model *m = a->model;
    const char *name = last_part(m->sites[i].name);
    *skipped = *all = 0;
    for (size_t j = 0; j < m->n_sites; j++) {
        if (strcmp(name, last_part(m->sites[j].name)) != 0)
            continue;
        if (j < i)
            return false;
        ++*all;
        *skipped += !is_covered(a, &m->sites[j]);
    }
    return true;
}

void nb_adapter_coverage(const nb_adapter *a, nbi_strbuf *out)
{
    const nb_model *m = a->model;
    nbi_strbuf_printf(out, "adapters on %zu of %zu linear weights", a->n_sites, m->n_sites);
    const char *between = "; without one: ";
    for (size_t i = 0; i < m->n_sites; i++) {
        size_t skipped, all;
        if (!count_like(a, i, &skipped, &all) || skipped == 0)
            continue;
        nbi_strbuf_printf(out, "%s%s", between, last_part(m->sites[i].name));
        if (skipped < all)
            nbi_strbuf_printf(out, " (%zu of %zu)", skipped, all);
        else if (all > 1)
            nbi_strbuf_printf(out, " (all %zu)", all);
        between = ", ";
    }
}
