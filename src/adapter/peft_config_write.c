/* SPDX-License-Identifier: MIT */
/* Writing adapter_config.json: few keys, sorted, so that any release of PEFT reads it. */
#include <math.h>
#include <string.h>
#include "adapter/adapter_priv.h"
#include "base/safefile.h"

static void write_number(nbi_json_writer *w, double v)
{
    if (v == floor(v) && fabs(v) < 1e15)
        nbi_jw_i64(w, (int64_t)v);
    else
        nbi_jw_f64(w, v);
}

static void write_names(nbi_json_writer *w, const char *key, char *const *v, size_t n,
                        const char *single)
{
    nbi_jw_key(w, key);
    if (single) {
        nbi_jw_str(w, single);
    } else if (n == 0) {
        nbi_jw_null(w);
    } else {
        nbi_jw_array(w);
        for (size_t i = 0; i < n; i++)
            nbi_jw_str(w, v[i]);
        nbi_jw_array_end(w);
    }
}

/* In the order given, which decides what matches first. */
static void write_pattern(nbi_json_writer *w, const char *key, const nb_pattern *v, size_t n)
{
    nbi_jw_key(w, key);
    nbi_jw_object(w);
    for (size_t i = 0; i < n; i++) {
        nbi_jw_key(w, v[i].key);
        write_number(w, v[i].value);
    }
    nbi_jw_object_end(w);
}

/* all-linear as the names it stood for (PEFT does so too), each once. */
static void write_found(nbi_json_writer *w, const nb_adapter *a)
{
    nbi_jw_key(w, "target_modules");
    nbi_jw_array(w);
    for (size_t i = 0; i < a->n_sites; i++) {
        const char *name = nbi_module_name(a, i);
        bool seen = false;
        for (size_t j = 0; j < i && !seen; j++)
            seen = strcmp(name, nbi_module_name(a, j)) == 0;
        if (!seen)
            nbi_jw_str(w, name);
    }
    nbi_jw_array_end(w);
}

static void write_layers(nbi_json_writer *w, const nb_lora_config *c)
{
    write_names(w, "layers_pattern", c->layers_pattern.v, c->layers_pattern.n, NULL);
    nbi_jw_key(w, "layers_to_transform");
    if (c->layers.n == 0) {
        nbi_jw_null(w);
        return;
    }
    nbi_jw_array(w);
    for (size_t i = 0; i < c->layers.n; i++)
        nbi_jw_i64(w, c->layers.v[i]);
    nbi_jw_array_end(w);
}

static void write_flag(nbi_json_writer *w, const char *key, bool v)
{
    nbi_jw_key(w, key);
    nbi_jw_bool(w, v);
}

static void write_null(nbi_json_writer *w, const char *key)
{
    nbi_jw_key(w, key);
    nbi_jw_null(w);
}

static void write_config(nbi_json_writer *w, const nb_adapter *a)
{
    const nb_lora_config *c = &a->config;
    nbi_jw_object(w);
    write_pattern(w, "alpha_pattern", c->alpha_pattern.v, c->alpha_pattern.n);
    write_null(w, "auto_mapping");
    write_names(w, "base_model_name_or_path", NULL, 0, c->base_model);
    write_names(w, "bias", NULL, 0, "none");
    write_names(w, "exclude_modules", c->exclude.v, c->exclude.n, c->exclude_regex);
    write_flag(w, "fan_in_fan_out", false);
    write_flag(w, "inference_mode", true);
    write_flag(w, "init_lora_weights", true);
    write_layers(w, c);
    nbi_jw_key(w, "lora_alpha");
    write_number(w, c->alpha);
    nbi_jw_key(w, "lora_dropout");
    nbi_jw_f64(w, c->dropout);
    write_null(w, "modules_to_save");
    write_names(w, "peft_type", NULL, 0, "LORA");
    nbi_jw_key(w, "r");
    nbi_jw_i64(w, c->r);
    write_pattern(w, "rank_pattern", c->rank_pattern.v, c->rank_pattern.n);
    write_null(w, "revision");
    if (c->all_linear)
        write_found(w, a);
    else
        write_names(w, "target_modules", c->targets.v, c->targets.n, c->targets_regex);
    write_names(w, "task_type", NULL, 0, "CAUSAL_LM");
    write_flag(w, "use_dora", false);
    write_flag(w, "use_rslora", c->rslora);
    nbi_jw_object_end(w);
}

nb_status nbi_peft_config_write(const nb_adapter *a, const char *path, nb_error *err)
{
    nbi_strbuf text = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &text, 2, true);
    write_config(&w, a);
    nb_status st = nbi_strbuf_check(&text, err);
    if (st == NB_OK)
        st = nbi_write_file(path, text.s, text.n, err);
    nbi_strbuf_free(&text);
    return st;
}
