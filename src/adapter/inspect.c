/* SPDX-License-Identifier: MIT */
/* `nibble inspect`: what a path is, as text or JSON (include/nibble/inspect.h). */
#include "nibble/inspect.h"

#include <string.h>

#include "adapter/adapter.h"
#include "base/fail.h"
#include "base/json_text.h"
#include "base/mapfile.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "nibble/tokenizer.h"

/* Everything is collected as JSON; the text form is made from the same tree, so the two agree. */
typedef struct report {
    nbi_strbuf out;
    nbi_json_writer w;
    bool tensors;
} report;

static bool has_file(const char *dir, const char *name)
{
    char *p = nbi_path_join(dir, name);
    bool yes = p && nbi_path_exists(p);
    nbi_free(p);
    return yes;
}

static void write_tensors(report *r, const nb_safetensors *st)
{
    int64_t bytes = 0, per_dtype[NB_DT_COUNT] = {0};
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        bytes += (int64_t)t->bytes;
        per_dtype[t->dtype] += (int64_t)t->bytes;
    }
    nbi_jw_key(&r->w, "tensors");
    nbi_jw_i64(&r->w, (int64_t)nb_safetensors_count(st));
    nbi_jw_key(&r->w, "bytes");
    nbi_jw_i64(&r->w, bytes);
    nbi_jw_key(&r->w, "bytes_by_dtype");
    nbi_jw_object(&r->w);
    for (int d = 0; d < NB_DT_COUNT; d++) {
        if (!per_dtype[d])
            continue;
        nbi_jw_key(&r->w, nb_dtype_name((nb_dtype)d));
        nbi_jw_i64(&r->w, per_dtype[d]);
    }
    nbi_jw_object_end(&r->w);
    if (!r->tensors)
        return;
    nbi_jw_key(&r->w, "tensor_list");
    nbi_jw_array(&r->w);
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        nbi_strbuf line = {0};
        nbi_strbuf_printf(&line, "%s %s [", t->name, nb_dtype_name(t->dtype));
        for (int d = 0; d < t->rank; d++)
            nbi_strbuf_printf(&line, d ? ", %lld" : "%lld", (long long)t->shape[d]);
        nbi_strbuf_puts(&line, "]");
        nbi_jw_str(&r->w, nbi_strbuf_str(&line));
        nbi_strbuf_free(&line);
    }
    nbi_jw_array_end(&r->w);
}

static nb_status write_folder_tensors(report *r, const char *dir, const char *stem, nb_error *err)
{
    nb_safetensors *st = NULL;
    NBI_TRY(nb_safetensors_open_dir(&st, dir, stem, err));
    write_tensors(r, st);
    nb_safetensors_close(&st);
    return NB_OK;
}

static void write_quant(report *r, const nb_quant_config *q)
{
    nbi_strbuf s = {0};
    if (q->load_in_4bit)
        nbi_strbuf_printf(&s, "%s, blocks of %lld%s", nb_qkind_name(q->kind), (long long)q->block,
                          q->double_quant ? ", double quantisation" : "");
    else
        nbi_strbuf_puts(&s, "none");
    nbi_jw_key(&r->w, "quantisation");
    nbi_jw_str(&r->w, nbi_strbuf_str(&s));
    nbi_strbuf_free(&s);
}

static void write_int(report *r, const char *key, int64_t v)
{
    nbi_jw_key(&r->w, key);
    nbi_jw_i64(&r->w, v);
}

/* A folder may hold the description of a model alone (`nibble init` makes the weights). */
static nb_status write_weights(report *r, const char *dir, nb_error *err)
{
    if (has_file(dir, "model.safetensors") || has_file(dir, "model.safetensors.index.json"))
        return write_folder_tensors(r, dir, "model", err);
    nbi_jw_key(&r->w, "weights");
    nbi_jw_null(&r->w);
    return NB_OK;
}

/* What cannot be trained can still be looked at. */
static nb_status write_unsupported(report *r, const char *dir, const char *reason, nb_error *err)
{
    nbi_jw_key(&r->w, "model");
    nbi_jw_object(&r->w);
    nbi_jw_key(&r->w, "not_supported");
    nbi_jw_str(&r->w, reason);
    nb_status st = write_weights(r, dir, err);
    nbi_jw_object_end(&r->w);
    return st;
}

static nb_status write_model(report *r, const char *dir, nb_error *err)
{
    nb_model_config c;
    nb_error mine = {NB_OK, ""};
    nb_status st = nb_config_read(&c, dir, &mine);
    if (st == NB_UNSUPPORTED)
        return write_unsupported(r, dir, mine.message, err);
    if (st != NB_OK)
        return nbi_fail(err, st, "%s", mine.message);
    nbi_jw_key(&r->w, "model");
    nbi_jw_object(&r->w);
    nbi_jw_key(&r->w, "model_type");
    nbi_jw_str(&r->w, c.model_type);
    write_int(r, "parameters", nb_config_parameters(&c));
    write_int(r, "hidden_size", c.hidden);
    write_int(r, "layers", c.layers);
    write_int(r, "heads", c.heads);
    write_int(r, "kv_heads", c.kv_heads);
    write_int(r, "head_dim", c.head_dim);
    write_int(r, "intermediate_size", c.ffn);
    write_int(r, "vocab_size", c.vocab);
    write_int(r, "max_positions", c.max_positions);
    nbi_jw_key(&r->w, "tied_embeddings");
    nbi_jw_bool(&r->w, c.tie_embeddings);
    nbi_jw_key(&r->w, "dtype");
    nbi_jw_str(&r->w, nb_dtype_torch(c.dtype));
    write_quant(r, &c.quant);
    st = write_weights(r, dir, err);
    nbi_jw_object_end(&r->w);
    nb_config_free(&c);
    return st;
}

static nb_status write_adapter_tensors(report *r, const char *dir, nb_error *err)
{
    nb_safetensors *st = NULL;
    int64_t trainable = 0;
    NBI_TRY(nb_safetensors_open_dir(&st, dir, "adapter_model", err));
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        int64_t n = 1; /* fits: the file holds them all */
        for (int d = 0; d < t->rank; d++)
            n *= t->shape[d];
        trainable += n;
    }
    write_int(r, "trainable_parameters", trainable);
    write_tensors(r, st);
    nb_safetensors_close(&st);
    return NB_OK;
}

static nb_status write_adapter(report *r, const char *dir, nb_error *err)
{
    nb_lora_config c;
    nb_adapter_note note;
    NBI_TRY(nb_adapter_read_config(dir, &c, &note, err));
    nbi_jw_key(&r->w, "adapter");
    nbi_jw_object(&r->w);
    nbi_jw_key(&r->w, "method");
    nbi_jw_str(&r->w, "LoRA");
    write_int(r, "r", c.r);
    nbi_jw_key(&r->w, "lora_alpha");
    nbi_jw_f64(&r->w, c.alpha);
    nbi_jw_key(&r->w, "targets");
    if (c.targets_regex || c.all_linear) {
        nbi_jw_str(&r->w, c.all_linear ? "all-linear" : c.targets_regex);
    } else {
        nbi_jw_array(&r->w);
        for (size_t i = 0; i < c.targets.n; i++)
            nbi_jw_str(&r->w, c.targets.v[i]);
        nbi_jw_array_end(&r->w);
    }
    nbi_jw_key(&r->w, "base");
    const char *base = note.base_dir ? note.base_dir : c.base_model;
    if (base)
        nbi_jw_str(&r->w, base);
    else
        nbi_jw_null(&r->w);
    nbi_jw_key(&r->w, "trained_on_base_in");
    nbi_jw_object(&r->w);
    write_quant(r, &note.quant);
    nbi_jw_object_end(&r->w);
    if (note.layout_json) {
        nbi_jw_key(&r->w, "layout");
        nbi_jw_raw(&r->w, note.layout_json);
    }
    nb_status st = write_adapter_tensors(r, dir, err);
    nbi_jw_object_end(&r->w);
    nb_lora_config_free(&c);
    nb_adapter_note_free(&note);
    return st;
}

static void write_role(report *r, const nb_tokenizer *tok, const char *role, int32_t id)
{
    nbi_jw_key(&r->w, role);
    const char *text = id >= 0 ? nb_tokenizer_token(tok, id) : NULL;
    if (text)
        nbi_jw_str(&r->w, text);
    else
        nbi_jw_null(&r->w);
}

static nb_status write_tokenizer(report *r, const char *dir, nb_error *err)
{
    nb_tokenizer *tok = NULL;
    NBI_TRY(nb_tokenizer_open(&tok, dir, NULL, err));
    nbi_jw_key(&r->w, "tokenizer");
    nbi_jw_object(&r->w);
    write_int(r, "vocabulary", nb_tokenizer_vocab_size(tok));
    write_role(r, tok, "bos", nb_tokenizer_bos(tok));
    write_role(r, tok, "eos", nb_tokenizer_eos(tok));
    write_role(r, tok, "pad", nb_tokenizer_pad(tok));
    nbi_jw_key(&r->w, "adds_bos");
    nbi_jw_bool(&r->w, nb_tokenizer_adds_bos(tok));
    nbi_jw_key(&r->w, "chat_template");
    nbi_jw_bool(&r->w, nb_tokenizer_chat_template(tok) != NULL);
    nbi_jw_object_end(&r->w);
    nb_tokenizer_close(&tok);
    return NB_OK;
}

static nb_status write_file(report *r, const char *path, nb_error *err)
{
    nb_safetensors *st = NULL;
    NBI_TRY(nb_safetensors_open(&st, path, err));
    nbi_jw_key(&r->w, "safetensors");
    nbi_jw_object(&r->w);
    write_tensors(r, st);
    nbi_jw_object_end(&r->w);
    nb_safetensors_close(&st);
    return NB_OK;
}

static nb_status write_parts(report *r, const char *path, nb_error *err)
{
    if (!nbi_path_exists(path))
        return nbi_fail(err, NB_NOTFOUND, "%s: there is no such file or folder", path);
    if (!nbi_path_is_dir(path))
        return write_file(r, path, err);
    bool any = false;
    if (has_file(path, "adapter_config.json")) {
        NBI_TRY(write_adapter(r, path, err));
        any = true;
    }
    if (has_file(path, "config.json")) {
        NBI_TRY(write_model(r, path, err));
        any = true;
    }
    if (has_file(path, "tokenizer.json")) {
        NBI_TRY(write_tokenizer(r, path, err));
        any = true;
    }
    if (!any)
        return nbi_fail(
            err, NB_UNSUPPORTED,
            "%s: neither model (config.json), adapter (adapter_config.json) nor tokenizer "
            "(tokenizer.json) in this folder",
            path);
    return NB_OK;
}

nb_status nb_inspect(const char *path, bool tensors, bool json, char **text, nb_error *err)
{
    report r = {.tensors = tensors};
    nbi_json_writer_init(&r.w, &r.out, 0, true);
    nbi_jw_object(&r.w);
    nbi_jw_key(&r.w, "path");
    nbi_jw_str(&r.w, path);
    nb_status st = write_parts(&r, path, err);
    nbi_jw_object_end(&r.w);
    if (st == NB_OK)
        st = nbi_json_present(&r.out, json, err);
    if (st != NB_OK)
        nbi_strbuf_free(&r.out);
    *text = st == NB_OK ? r.out.s : NULL;
    return st;
}
