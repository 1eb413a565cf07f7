/* SPDX-License-Identifier: MIT */
#include "adapter/targets.h"

#include "base/fail.h"

void nb_lora_config_default(nb_lora_config *c)
{
    *c = (nb_lora_config){.r = 16, .alpha = 32};
}

static void free_texts(char **v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        nbi_free(v[i]);
}

static void free_patterns(nb_pattern *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        nbi_free(v[i].key);
}

void nb_lora_config_free(nb_lora_config *c)
{
    free_texts(c->targets.v, c->targets.n);
    free_texts(c->exclude.v, c->exclude.n);
    free_texts(c->layers_pattern.v, c->layers_pattern.n);
    free_patterns(c->rank_pattern.v, c->rank_pattern.n);
    free_patterns(c->alpha_pattern.v, c->alpha_pattern.n);
    nbi_array_free(&c->targets);
    nbi_array_free(&c->exclude);
    nbi_array_free(&c->layers);
    nbi_array_free(&c->layers_pattern);
    nbi_array_free(&c->rank_pattern);
    nbi_array_free(&c->alpha_pattern);
    nbi_free(c->targets_regex);
    nbi_free(c->exclude_regex);
    nbi_free(c->base_model);
    nb_lora_config_default(c);
}

/* Appends a copy of each element; false: no memory (what was copied stays in the list). */
#define COPY_TEXTS(to, from, ok)                                                                   \
    for (size_t i_ = 0; (ok) && i_ < (from)->n; i_++) {                                            \
        char *s_ = nbi_strdup(NBI_MEM_OTHER, (from)->v[i_]);                                       \
        (ok) = s_ && nbi_array_push((to), s_);                                                     \
        if (!(ok))                                                                                 \
            nbi_free(s_);                                                                          \
    }

#define COPY_PATTERNS(to, from, ok)                                                                \
    for (size_t i_ = 0; (ok) && i_ < (from)->n; i_++) {                                            \
        nb_pattern p_ = {nbi_strdup(NBI_MEM_OTHER, (from)->v[i_].key), (from)->v[i_].value};       \
        (ok) = p_.key && nbi_array_push((to), p_);                                                 \
        if (!(ok))                                                                                 \
            nbi_free(p_.key);                                                                      \
    }

static bool copy_text(char **to, const char *from)
{
    *to = from ? nbi_strdup(NBI_MEM_OTHER, from) : NULL;
    return !from || *to;
}

nb_status nb_lora_config_copy(nb_lora_config *to, const nb_lora_config *from, nb_error *err)
{
    bool ok = true;
    *to = (nb_lora_config){.r = from->r,
                           .alpha = from->alpha,
                           .dropout = from->dropout,
                           .rslora = from->rslora,
                           .all_linear = from->all_linear};
    COPY_TEXTS(&to->targets, &from->targets, ok);
    COPY_TEXTS(&to->exclude, &from->exclude, ok);
    COPY_TEXTS(&to->layers_pattern, &from->layers_pattern, ok);
    COPY_PATTERNS(&to->rank_pattern, &from->rank_pattern, ok);
    COPY_PATTERNS(&to->alpha_pattern, &from->alpha_pattern, ok);
    for (size_t i = 0; ok && i < from->layers.n; i++)
        ok = nbi_array_push(&to->layers, from->layers.v[i]);
    ok = ok && copy_text(&to->targets_regex, from->targets_regex) &&
         copy_text(&to->exclude_regex, from->exclude_regex) &&
         copy_text(&to->base_model, from->base_model);
    if (ok)
        return NB_OK;
    nb_lora_config_free(to);
    return nbi_fail_nomem(err, "adapter settings", 0);
}
