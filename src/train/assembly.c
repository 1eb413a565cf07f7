/* SPDX-License-Identifier: MIT */
#include "train/assembly.h"

#include <stdlib.h>
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "model/hub_cache.h"
#include "train/row_layout.h"

static bool any_given(const nb_recipe *r, const char *const *keys)
{
    for (; *keys; keys++)
        if (nb_recipe_given(r, *keys))
            return true;
    return false;
}

static nb_status adopt_model(nb_recipe *r, const char *dir, const nb_lora_config *c,
                             const nb_adapter_note *note, nb_error *err)
{
    const char *base = NULL;
    char *found = NULL;
    if (note->base_dir && nbi_path_is_dir(note->base_dir))
        base = note->base_dir;
    else if (c->base_model)
        base = c->base_model;
    if (!base || nb_hub_resolve(base, r->revision, &found, NULL) != NB_OK)
        return nbi_fail(err, NB_NOTFOUND,
                        "adapter %s was made for the base %s, which is not there; name it (model)",
                        dir, base ? base : "(not recorded)");
    nbi_free(found);
    r->model = nbi_arena_strndup(&r->arena, base, strlen(base));
    return r->model ? NB_OK : nbi_fail_nomem(err, "a path", strlen(base));
}

static const char *held_as(const nb_quant_config *q)
{
    if (!q->load_in_4bit)
        return "16/32-bit";
    if (q->kind == NB_QK_FP4)
        return q->double_quant ? "fp4 with double quantisation" : "fp4";
    return q->double_quant ? "nf4 with double quantisation" : "nf4";
}

static void adopt_base(nb_recipe *r, const char *dir, const nb_adapter_note *note,
                       const nb_log *log)
{
    static const char *const quant_keys[] = {"load_in_4bit", "bnb_4bit_quant_type",
                                             "bnb_4bit_use_double_quant", "method", NULL};
    static const char *const compute_keys[] = {"compute_dtype", "bf16", "fp16", "torch_dtype",
                                               NULL};
    const nb_quant_config *was = &note->quant;
    if (was->block == 0)
        return; /* no nibble.json: made elsewhere */
    if (!any_given(r, quant_keys))
        r->quant = *was;
    else if (r->quant.load_in_4bit != was->load_in_4bit ||
             (was->load_in_4bit &&
              (r->quant.kind != was->kind || r->quant.double_quant != was->double_quant)))
        nbi_log(log, NB_LOG_WARN, "adapter %s was trained on a %s base; it is held as %s now", dir,
                held_as(was), held_as(&r->quant));
    if (!any_given(r, compute_keys))
        r->compute = note->compute;
}

nb_status nbi_recipe_adopt(nb_recipe *r, const char *adapter_dir, bool layout, const nb_log *log,
                           nb_error *err)
{
    nb_lora_config config;
    nb_adapter_note note;
    NBI_TRY(nb_adapter_read_config(adapter_dir, &config, &note, err));
    nb_status st = r->model ? NB_OK : adopt_model(r, adapter_dir, &config, &note, err);
    if (st == NB_OK)
        adopt_base(r, adapter_dir, &note, log);
    if (st == NB_OK && layout && note.layout_json)
        st = nbi_row_layout_adopt(r, note.layout_json, err);
    nb_lora_config_free(&config);
    nb_adapter_note_free(&note);
    return st;
}

static const struct {
    const char *name;
    unsigned flags;
} levels[] = {
    {"ref", 0},
    {"avx2", NB_CPU_AVX2},
    {"avx512", NB_CPU_AVX2 | NB_CPU_AVX512},
    {"avx512bf16", NB_CPU_AVX2 | NB_CPU_AVX512 | NB_CPU_AVX512BF16},
    {"amx", NB_CPU_AVX2 | NB_CPU_AVX512 | NB_CPU_AVX512BF16 | NB_CPU_AMX},
};

nb_status nbi_cpumask_parse(const char *mask, unsigned *flags, nb_error *err)
{
    *flags = nb_cpu_best_flags();
    if (!mask || !*mask || strcmp(mask, "all") == 0 || strcmp(mask, "auto") == 0)
        return NB_OK;
    unsigned allowed = 0;
    for (const char *s = mask; *s;) {
        size_t n = strcspn(s, ", "), i = 0, count = sizeof(levels) / sizeof(*levels);
        while (i < count && (strlen(levels[i].name) != n || memcmp(levels[i].name, s, n) != 0))
            i++;
        if (i == count)
            return nbi_fail(err, NB_CONFIG,
                            "cpumask: \"%s\" is not known, expected one of ref, avx2, avx512, "
                            "avx512bf16, amx",
                            mask);
        allowed |= levels[i].flags;
        s += n;
        s += strspn(s, ", ");
    }
    *flags = nb_cpu_flags() & allowed; /* asked for: also what is not worth it here */
    return NB_OK;
}

static nb_status open_tokenizer(nbi_assembly *a, const nb_recipe *r, const nb_log *log,
                                nb_error *err)
{
    const char *dir = r->tokenizer ? r->tokenizer : a->dir;
    char *path = nbi_path_join(dir, "tokenizer.json");
    if (!path)
        return nbi_fail_nomem(err, "a path", strlen(dir));
    bool there = nbi_path_exists(path);
    nbi_free(path);
    if (!there && !r->tokenizer)
        return NB_OK;
    return nb_tokenizer_open(&a->tok, dir, log, err);
}

nb_status nbi_assembly_begin(nbi_assembly *a, const nb_recipe *r, const nb_log *log, nb_error *err)
{
    *a = (nbi_assembly){.base = a->base, .stop = a->stop};
    if (!r->model)
        return nbi_fail(err, NB_CONFIG,
                        "model: not given; name the folder of a Hugging Face model (--model DIR)");
    nb_status st = nb_hub_resolve(r->model, r->revision, &a->dir, err);
    if (st == NB_OK)
        st = open_tokenizer(a, r, log, err);
    if (st != NB_OK)
        nbi_assembly_close(a);
    return st;
}

static bool same_load(const nb_model_load *a, const nb_model_load *b)
{
    const nb_quant_config *p = &a->quant, *q = &b->quant;
    return a->threads == b->threads && a->compute == b->compute && a->cpu_flags == b->cpu_flags &&
           p->load_in_4bit == q->load_in_4bit &&
           (!p->load_in_4bit ||
            (p->kind == q->kind && p->double_quant == q->double_quant && p->block == q->block));
}

static void drop_model(nb_base *b)
{
    nb_model_close(&b->model);
    nbi_free(b->dir);
    b->dir = NULL;
}

/* The model of the base, loaded there when it has another or none. */
static nb_status share(nbi_assembly *a, const nb_model_load *how, const nb_log *log, nb_error *err)
{
    nb_base *b = a->base;
    if (!b->model || strcmp(b->dir, a->dir) != 0 || !same_load(&b->how, how)) {
        drop_model(b);
        b->dir = nbi_strdup(NBI_MEM_OTHER, a->dir);
        if (!b->dir)
            return nbi_fail_nomem(err, "a path", strlen(a->dir));
        NBI_TRY(nb_model_open(&b->model, a->dir, how, log, err));
        b->how = *how;
        b->how.quantized_cache = NULL;
    }
    a->model = b->model;
    return NB_OK;
}

nb_status nb_base_new(nb_base **out, nb_error *err)
{
    *out = nbi_calloc(NBI_MEM_OTHER, 1, sizeof(**out));
    return *out ? NB_OK : nbi_fail_nomem(err, "a base model", sizeof(**out));
}

void nb_base_close(nb_base **b)
{
    if (!*b)
        return;
    drop_model(*b);
    nbi_free(*b);
    *b = NULL;
}

nb_status nbi_assembly_load(nbi_assembly *a, const nb_recipe *r, bool trainable, const nb_log *log,
                            nb_error *err)
{
    nb_model_load how = {.threads = r->threads,
                         .compute = r->compute,
                         .quant = r->quant,
                         .quantized_cache = r->quantized_cache,
                         .trainable = trainable};
    how.stream = a->stream;
    how.stop = a->stop;
    NBI_TRY(nbi_cpumask_parse(r->cpumask, &how.cpu_flags, err));
    if (!a->base || trainable || how.stream)
        return nb_model_open(&a->model, a->dir, &how, log, err);
    return share(a, &how, log, err);
}

nb_status nbi_assembly_open(nbi_assembly *a, const nb_recipe *r, bool trainable, const nb_log *log,
                            nb_error *err)
{
    NBI_TRY(nbi_assembly_begin(a, r, log, err));
    nb_status st = nbi_assembly_load(a, r, trainable, log, err);
    if (st != NB_OK)
        nbi_assembly_close(a);
    return st;
}

nb_status nbi_assembly_adapt(nbi_assembly *a, const char *dir, const nb_log *log, nb_error *err)
{
    const size_t n = a->model->n_sites;
    NBI_TRY(nb_adapter_load(&a->adapter, a->model, dir, 0, false, log, err));
    a->aside = nbi_calloc(NBI_MEM_OTHER, n, sizeof(*a->aside));
    return a->aside ? NB_OK : nbi_fail_nomem(err, "the adapter", n * sizeof(*a->aside));
}

void nbi_assembly_use_adapter(nbi_assembly *a, bool on)
{
    if (!a->aside || on == !a->off)
        return;
    for (size_t i = 0; i < a->model->n_sites; i++) {
        nb_hook *present = a->model->sites[i].hooks;
        a->model->sites[i].hooks = a->aside[i];
        a->aside[i] = present;
    }
    a->off = !on;
}

void nbi_assembly_close(nbi_assembly *a)
{
    nbi_assembly_use_adapter(a, true); /* the adapter detaches its own hooks */
    nbi_free(a->aside);
    a->aside = NULL;
    nb_adapter_close(&a->adapter);
    if (a->base && a->model == a->base->model)
        a->model = NULL;
    nb_model_close(&a->model);
    nb_tokenizer_close(&a->tok);
    nbi_free(a->dir);
    a->dir = NULL;
}
