/* SPDX-License-Identifier: MIT */
#include "adapter/targets.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "adapter/pattern.h"
#include "base/checked.h"
#include "base/fail.h"

#define MAX_RANK 65536

/* path == name, or path ends with "." + name. */
static bool name_matches(const char *path, const char *name)
{
    size_t n = strlen(path), k = strlen(name);
    if (k > n || strcmp(path + n - k, name) != 0)
        return false;
    return k == n || (path[n - k - 1] == '.');
}

static const char *last_part(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot ? dot + 1 : path;
}

/* Compiled forms of everything a configuration matches with. */
typedef struct matcher {
    const nb_lora_config *config;
    nbi_regex *targets, *exclude;
    nbi_regex **layers; /* [n_layers] patterns with the layer's number as group 1 */
    size_t n_layers;
} matcher;

static void matcher_close(matcher *f)
{
    nbi_regex_close(&f->targets);
    nbi_regex_close(&f->exclude);
    for (size_t i = 0; i < f->n_layers; i++)
        nbi_regex_close(&f->layers[i]);
    nbi_free(f->layers);
}

static nb_status open_layers(matcher *f, nb_error *err)
{
    const nb_lora_config *c = f->config;
    size_t n = c->layers_pattern.n ? c->layers_pattern.n : 1;
    if (c->layers.n == 0)
        return NB_OK;
    f->layers = nbi_calloc(NBI_MEM_OTHER, n, sizeof(*f->layers));
    if (!f->layers)
        return nbi_fail_nomem(err, "layer patterns", n * sizeof(*f->layers));
    nbi_strbuf text = {0};
    nb_status st = NB_OK;
    for (; st == NB_OK && f->n_layers < n; f->n_layers += st == NB_OK) {
        nbi_strbuf_clear(&text);
        nbi_strbuf_printf(&text, ".*\\.%s\\.(\\d+)\\.",
                          c->layers_pattern.n ? c->layers_pattern.v[f->n_layers] : "[^.]*");
        st = nbi_strbuf_check(&text, err);
        if (st == NB_OK)
            st = nbi_regex_open(&f->layers[f->n_layers], nbi_strbuf_str(&text), err);
        if (st != NB_OK)
            nbi_fail_prefix(err, st, "layers_pattern");
    }
    nbi_strbuf_free(&text);
    return st;
}

static nb_status matcher_open(matcher *f, const nb_lora_config *c, nb_error *err)
{
    nb_status st = NB_OK;
    *f = (matcher){.config = c};
    if (c->targets_regex && c->layers.n)
        return nbi_fail(err, NB_CONFIG,
                        "layers_to_transform needs target_modules as a list of names, not as a "
                        "regular expression (\"%s\")",
                        c->targets_regex);
    if (c->targets_regex) {
        st = nbi_regex_open(&f->targets, c->targets_regex, err);
        if (st != NB_OK)
            return nbi_fail_prefix(err, st, "target_modules");
    }
    if (c->exclude_regex) {
        st = nbi_regex_open(&f->exclude, c->exclude_regex, err);
        if (st != NB_OK)
            nbi_fail_prefix(err, st, "exclude_modules");
    }
    if (st == NB_OK)
        st = open_layers(f, err);
    if (st != NB_OK)
        matcher_close(f);
    return st;
}

static nb_status excluded(matcher *f, const char *path, bool *yes, nb_error *err)
{
    const nb_lora_config *c = f->config;
    *yes = false;
    if (f->exclude)
        return nbi_regex_test(f->exclude, path, true, yes, NULL, err);
    for (size_t i = 0; i < c->exclude.n && !*yes; i++)
        *yes = name_matches(path, c->exclude.v[i]);
    return NB_OK;
}

static nb_status layer_wanted(matcher *f, const char *path, bool *yes, nb_error *err)
{
    const nb_lora_config *c = f->config;
    bool found = false;
    size_t at[2];
    int64_t layer = 0;
    for (size_t i = 0; i < f->n_layers && !found; i++)
        NBI_TRY(nbi_regex_test(f->layers[i], path, false, &found, at, err));
    *yes = false;
    if (!found || !nbi_parse_i64(path + at[0], at[1] - at[0], &layer))
        return NB_OK;
    for (size_t i = 0; i < c->layers.n && !*yes; i++)
        *yes = c->layers.v[i] == layer;
    return NB_OK;
}

static nb_status wanted(matcher *f, const nb_site *s, bool *yes, nb_error *err)
{
    const nb_lora_config *c = f->config;
    bool out;
    *yes = false;
    NBI_TRY(excluded(f, s->name, &out, err));
    if (out)
        return NB_OK;
    if (f->targets)
        return nbi_regex_test(f->targets, s->name, true, yes, NULL, err);
    *yes = c->all_linear && !s->is_head;
    for (size_t i = 0; i < c->targets.n; i++) {
        if (strcmp(s->name, c->targets.v[i]) == 0) {
            *yes = true;
            return NB_OK;
        }
        *yes = *yes || name_matches(s->name, c->targets.v[i]);
    }
    return *yes && c->layers.n ? layer_wanted(f, s->name, yes, err) : NB_OK;
}

/* "q_proj, k_proj, ..." of the model, each once. */
static void list_names(const nb_model *m, nbi_strbuf *out)
{
    for (size_t i = 0; i < m->n_sites; i++) {
        const char *name = last_part(m->sites[i].name);
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = strcmp(name, last_part(m->sites[j].name)) == 0;
        if (!seen)
            nbi_strbuf_printf(out, "%s%s", out->n ? ", " : "", name);
    }
}

static nb_status fail_unmatched(const nb_model *m, const char *what, nb_error *err)
{
    nbi_strbuf names = {0};
    list_names(m, &names);
    nb_status st = nbi_strbuf_check(&names, err);
    if (st == NB_OK)
        st = nbi_fail(err, NB_CONFIG,
                      "target_modules: %s matches no linear layer of the model; it has %s "
                      "(or use all-linear)",
                      what, nbi_strbuf_str(&names));
    nbi_strbuf_free(&names);
    return st;
}

static nb_status check_names(const nb_model *m, const nb_lora_config *c, nb_error *err)
{
    for (size_t i = 0; i < c->targets.n; i++) {
        bool found = false;
        for (size_t j = 0; j < m->n_sites && !found; j++)
            found = name_matches(m->sites[j].name, c->targets.v[i]);
        if (!found) {
            char what[200];
            snprintf(what, sizeof(what), "\"%.180s\"", c->targets.v[i]);
            return fail_unmatched(m, what, err);
        }
    }
    return NB_OK;
}

static nb_status collect(nb_model *m, const nb_lora_config *c, nb_site **list, size_t *n,
                         nb_error *err)
{
    matcher f;
    NBI_TRY(matcher_open(&f, c, err));
    nb_status st = NB_OK;
    for (size_t i = 0; st == NB_OK && i < m->n_sites; i++) {
        bool yes = false;
        st = wanted(&f, &m->sites[i], &yes, err);
        if (yes)
            list[(*n)++] = &m->sites[i];
    }
    matcher_close(&f);
    return st;
}

nb_status nb_targets_find(nb_model *m, const nb_lora_config *c, bool strict, nb_site ***sites,
                          size_t *n, nb_error *err)
{
    *sites = NULL;
    *n = 0;
    if (strict)
        NBI_TRY(check_names(m, c, err));
    nb_site **list = nbi_calloc(NBI_MEM_OTHER, m->n_sites + 1, sizeof(*list));
    if (!list)
        return nbi_fail_nomem(err, "the list of target modules", m->n_sites * sizeof(*list));
    nb_status st = collect(m, c, list, n, err);
    if (st == NB_OK && *n == 0)
        st = fail_unmatched(m, "the setting (with layers_to_transform and exclude_modules)", err);
    if (st != NB_OK) {
        nbi_free(list);
        *n = 0;
        return st;
    }
    *sites = list;
    return NB_OK;
}

/* PEFT's get_pattern_key: the first key that matches the end of the path. */
static nb_status first_match(const nb_pattern *v, size_t n, const char *which, const char *module,
                             double *value, nb_error *err)
{
    nbi_strbuf text = {0};
    nb_status st = NB_OK;
    bool found = false;
    for (size_t i = 0; st == NB_OK && i < n && !found; i++) {
        nbi_strbuf_clear(&text);
        nbi_strbuf_printf(&text, "(.*\\.)?(%s)$", v[i].key);
        st = nbi_strbuf_check(&text, err);
        if (st == NB_OK)
            st = nbi_regex_fullmatch(nbi_strbuf_str(&text), module, &found, err);
        if (st != NB_OK)
            nbi_fail_prefix(err, st, "%s", which);
        else if (found)
            *value = v[i].value;
    }
    nbi_strbuf_free(&text);
    return st;
}

nb_status nb_targets_rank(const nb_lora_config *c, const char *module, int64_t *rank, double *scale,
                          nb_error *err)
{
    double r = (double)c->r, alpha = c->alpha;
    NBI_TRY(first_match(c->rank_pattern.v, c->rank_pattern.n, "rank_pattern", module, &r, err));
    NBI_TRY(
        first_match(c->alpha_pattern.v, c->alpha_pattern.n, "alpha_pattern", module, &alpha, err));
    if (!(r >= 1 && r <= MAX_RANK) || r != floor(r))
        return nbi_fail(err, NB_CONFIG,
                        "rank of %s is %g, expected a whole number from 1 to %d (lora_r or "
                        "rank_pattern)",
                        module, r, MAX_RANK);
    if (!isfinite(alpha) || alpha <= 0)
        return nbi_fail(err, NB_CONFIG, "lora_alpha of %s is %g, expected more than 0", module,
                        alpha);
    *rank = (int64_t)r;
    *scale = c->rslora ? alpha / sqrt(r) : alpha / r;
    return NB_OK;
}
