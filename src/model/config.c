/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "model/config_priv.h"

/* Limits that keep every product of two of them far inside int64_t. */
#define MAX_HIDDEN ((int64_t)1 << 20)
#define MAX_FFN ((int64_t)1 << 22)
#define MAX_VOCAB ((int64_t)1 << 26)
#define MAX_LAYERS 4096
#define MAX_HEADS 16384
#define MAX_HEAD_DIM 256
#define MAX_POSITIONS ((int64_t)1 << 30)

static nb_status need_i64(const nbi_json *doc, const char *where, const char *key, int64_t max,
                          int64_t *r, nb_error *err)
{
    if (nbi_json_is_null(nbi_json_get(doc, key)))
        return nbi_fail(err, NB_FORMAT, "%s: lacks %s", where, key);
    return nbi_json_get_i64(doc, where, key, 1, max, r, err);
}

static nb_status find_family(nb_model_config *c, const nbi_json *doc, const char *where,
                             bool planned, nb_error *err)
{
    const char *type = NULL;
    NBI_TRY(nbi_json_get_str(doc, where, "model_type", &type, err));
    if (!type)
        return nbi_fail(err, NB_FORMAT, "%s: lacks model_type", where);
    c->family = nb_family_find(type);
    if (!c->family && planned)
        c->family = nb_family_find_planned(type);
    if (c->family) {
        strncpy(c->model_type, type, sizeof c->model_type - 1);
        return NB_OK;
    }
    nbi_strbuf list = {0};
    nb_family_list(&list);
    nb_status s =
        nbi_fail(err, NB_UNSUPPORTED, "%s: model type \"%.64s\" is not supported; supported are %s",
                 where, type, nbi_strbuf_str(&list));
    nbi_strbuf_free(&list);
    return s;
}

/* A folder of the right family may still hold a classifier or a bare encoder. */
static nb_status check_architecture(const nb_model_config *c, const nbi_json *doc,
                                    const char *where, nb_error *err)
{
    const nbi_json *list = nbi_json_get(doc, "architectures");
    if (nbi_json_is_null(list))
        return NB_OK;
    if (list->type != NBI_JT_ARRAY)
        return nbi_fail(err, NB_FORMAT, "%s: architectures must be a list", where);
    static const char tail[] = "ForCausalLM";
    for (const nbi_json *a = list->first; a; a = a->next) {
        const char *s;
        size_t len;
        if (a->type != NBI_JT_STRING || !nbi_json_to_str(a, &s, &len))
            return nbi_fail(err, NB_FORMAT, "%s: architectures must be a list of names", where);
        if (len >= sizeof tail - 1 && memcmp(s + len - (sizeof tail - 1), tail, sizeof tail) == 0)
            return NB_OK;
    }
    return list->first ? nbi_fail(err, NB_UNSUPPORTED,
                                  "%s: architecture \"%.64s\" is not supported; expected %s", where,
                                  list->first->text, c->family->architecture)
                       : NB_OK;
}

static nb_status read_activation(nb_model_config *c, const nbi_json *doc, const char *where,
                                 nb_error *err)
{
    static const struct {
        const char *name;
        nb_act act;
    } known[] = {{"silu", NB_ACT_SILU},           {"swish", NB_ACT_SILU},
                 {"gelu", NB_ACT_GELU_ERF},       {"gelu_python", NB_ACT_GELU_ERF},
                 {"gelu_new", NB_ACT_GELU_TANH},  {"gelu_pytorch_tanh", NB_ACT_GELU_TANH},
                 {"gelu_fast", NB_ACT_GELU_TANH}, {"gelu_python_tanh", NB_ACT_GELU_TANH}};
    const char *name = "silu";
    NBI_TRY(nbi_json_get_str(doc, where, "hidden_act", &name, err));
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0) {
            c->act = known[i].act;
            return NB_OK;
        }
    return nbi_fail(
        err, NB_UNSUPPORTED,
        "%s: hidden_act \"%.64s\" is not supported; supported are silu, gelu, gelu_new, "
        "gelu_pytorch_tanh",
        where, name);
}

static nb_status read_shape(nb_model_config *c, const nbi_json *doc, const char *where,
                            nb_error *err)
{
    NBI_TRY(need_i64(doc, where, "hidden_size", MAX_HIDDEN, &c->hidden, err));
    NBI_TRY(need_i64(doc, where, "num_hidden_layers", MAX_LAYERS, &c->layers, err));
    NBI_TRY(need_i64(doc, where, "num_attention_heads", MAX_HEADS, &c->heads, err));
    NBI_TRY(need_i64(doc, where, "intermediate_size", MAX_FFN, &c->ffn, err));
    NBI_TRY(need_i64(doc, where, "vocab_size", MAX_VOCAB, &c->vocab, err));
    c->kv_heads = c->heads;
    NBI_TRY(nbi_json_get_i64(doc, where, "num_key_value_heads", 1, MAX_HEADS, &c->kv_heads, err));
    if (c->heads % c->kv_heads)
        return nbi_fail(
            err, NB_FORMAT,
            "%s: num_attention_heads %lld is not a multiple of num_key_value_heads %lld", where,
            (long long)c->heads, (long long)c->kv_heads);
    NBI_TRY(nbi_json_get_i64(doc, where, "head_dim", 1, MAX_HEAD_DIM, &c->head_dim, err));
    if (c->head_dim == 0) {
        if (c->hidden % c->heads || c->hidden / c->heads > MAX_HEAD_DIM)
            return nbi_fail(err, NB_FORMAT,
                            "%s: hidden_size %lld and num_attention_heads %lld give no head size "
                            "(whole and up to %d), and head_dim is not given",
                            where, (long long)c->hidden, (long long)c->heads, MAX_HEAD_DIM);
        c->head_dim = c->hidden / c->heads;
    }
    if (c->head_dim % 2)
        return nbi_fail(err, NB_FORMAT, "%s: head size %lld is odd, rotary positions need pairs",
                        where, (long long)c->head_dim);
    return nbi_json_get_i64(doc, where, "max_position_embeddings", 1, MAX_POSITIONS,
                            &c->max_positions, err);
}

static nb_status read_dtype(nb_model_config *c, const nbi_json *doc, const char *where,
                            nb_error *err)
{
    static const char *const keys[] = {"torch_dtype", "dtype"};
    int found = 0;
    c->dtype = NB_DT_F32;
    for (int i = 0; i < 2; i++) {
        const char *s = NULL;
        nb_dtype t;
        NBI_TRY(nbi_json_get_str(doc, where, keys[i], &s, err));
        if (!s)
            continue;
        if (!nb_dtype_parse(s, strlen(s), &t) || !nb_dtype_is_dense_float(t))
            return nbi_fail(err, NB_UNSUPPORTED,
                            "%s: %s \"%.64s\" is not supported; supported are float32, float16, "
                            "bfloat16",
                            where, keys[i], s);
        if (found++ && t != c->dtype)
            return nbi_fail(err, NB_FORMAT, "%s: torch_dtype and dtype contradict each other",
                            where);
        c->dtype = t;
    }
    return NB_OK;
}

static nb_status add_eos(nb_model_config *c, const nbi_json *v, const char *where, nb_error *err)
{
    int64_t id;
    if (v->type != NBI_JT_NUMBER || !nbi_json_to_i64(v, &id) || id < 0 || id > INT32_MAX)
        return nbi_fail(err, NB_FORMAT,
                        "%s: byte %zu: eos_token_id must be a token id or a list of them", where,
                        v->offset);
    for (int i = 0; i < c->n_eos; i++)
        if (c->eos[i] == (int32_t)id)
            return NB_OK;
    if (c->n_eos == NB_MAX_EOS)
        return nbi_fail(err, NB_LIMIT, "%s: more than %d end-of-sequence ids", where, NB_MAX_EOS);
    c->eos[c->n_eos++] = (int32_t)id;
    return NB_OK;
}

static nb_status read_token_ids(nb_model_config *c, const nbi_json *doc, const char *where,
                                nb_error *err)
{
    const nbi_json *eos = nbi_json_get(doc, "eos_token_id");
    int64_t bos = -1;
    NBI_TRY(nbi_json_get_i64(doc, where, "bos_token_id", 0, INT32_MAX, &bos, err));
    if (bos >= 0 && c->bos < 0)
        c->bos = (int32_t)bos;
    if (nbi_json_is_null(eos))
        return NB_OK;
    if (eos->type != NBI_JT_ARRAY)
        return add_eos(c, eos, where, err);
    for (const nbi_json *v = eos->first; v; v = v->next)
        NBI_TRY(add_eos(c, v, where, err));
    return NB_OK;
}

/* Switches that change the mathematics in ways the block does not know. */
static nb_status refuse_variants(const nbi_json *doc, const char *where, nb_error *err)
{
    static const char *const caps[] = {"attn_logit_softcapping", "final_logit_softcapping",
                                       "query_pre_attn_scalar"};
    bool mrope = false;
    for (size_t i = 0; i < sizeof caps / sizeof *caps; i++)
        if (!nbi_json_is_null(nbi_json_get(doc, caps[i])))
            return nbi_fail(err, NB_UNSUPPORTED, "%s: %s is not supported for this model type",
                            where, caps[i]);
    NBI_TRY(nbi_json_get_bool(doc, where, "use_mrope", &mrope, err));
    if (mrope)
        return nbi_fail(err, NB_UNSUPPORTED, "%s: use_mrope is not supported", where);
    return NB_OK;
}

static nb_status read_document(nb_model_config *c, const char *where, bool planned, nb_error *err)
{
    const nbi_json *doc = c->raw;
    if (doc->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: is not a JSON object", where);
    NBI_TRY(find_family(c, doc, where, planned, err));
    NBI_TRY(check_architecture(c, doc, where, err));
    NBI_TRY(nbi_config_quant(c, doc, where, err));
    NBI_TRY(read_shape(c, doc, where, err));
    NBI_TRY(read_activation(c, doc, where, err));
    NBI_TRY(refuse_variants(doc, where, err));
    NBI_TRY(read_dtype(c, doc, where, err));
    NBI_TRY(read_token_ids(c, doc, where, err));
    NBI_TRY(nbi_json_get_bool(doc, where, "tie_word_embeddings", &c->tie_embeddings, err));
    c->norm_eps = 1e-6;
    c->initializer_range = 0.02;
    NBI_TRY(nbi_json_get_f64(doc, where, "rms_norm_eps", &c->norm_eps, err));
    NBI_TRY(nbi_json_get_f64(doc, where, "initializer_range", &c->initializer_range, err));
    if (!(c->norm_eps >= 0 && c->norm_eps < 1) ||
        !(c->initializer_range >= 0 && c->initializer_range < 1e3))
        return nbi_fail(err, NB_FORMAT,
                        "%s: rms_norm_eps %g or initializer_range %g is out of range", where,
                        c->norm_eps, c->initializer_range);
    NBI_TRY(c->family->configure(c, doc, where, err));
    return nbi_config_rope(c, doc, where, err);
}

void nbi_config_default_positions(nb_model_config *c, int64_t n)
{
    if (c->max_positions == 0)
        c->max_positions = n;
}

static nb_status read_generation(nb_model_config *c, const char *path, nb_error *err)
{
    nbi_json *doc = NULL;
    NBI_TRY(nbi_json_parse_file(&c->arena, path, NBI_CONFIG_MAX_BYTES, &doc, err));
    if (doc->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: is not a JSON object", path);
    return read_token_ids(c, doc, path, err);
}

static nb_status read_both(nb_model_config *c, const char *config, const char *generation,
                           bool planned, nb_error *err)
{
    memset(c, 0, sizeof *c);
    c->bos = -1;
    nbi_arena_init(&c->arena, NBI_MEM_OTHER);
    nb_status s = nbi_json_parse_file(&c->arena, config, NBI_CONFIG_MAX_BYTES, &c->raw, err);
    if (s == NB_OK)
        s = read_document(c, config, planned, err);
    if (s == NB_OK && generation && nbi_path_exists(generation))
        s = read_generation(c, generation, err);
    if (s != NB_OK)
        nb_config_free(c);
    return s;
}

nb_status nb_config_read_file(nb_model_config *c, const char *path, nb_error *err)
{
    return read_both(c, path, NULL, false, err);
}

nb_status nb_config_read_planned(nb_model_config *c, const char *path, bool *trainable,
                                 nb_error *err)
{
    NBI_TRY(read_both(c, path, NULL, true, err));
    *trainable = nb_family_find(c->model_type) != NULL;
    return NB_OK;
}

nb_status nb_config_read(nb_model_config *c, const char *dir, nb_error *err)
{
    char *config = nbi_path_join(dir, "config.json");
    char *generation = nbi_path_join(dir, "generation_config.json");
    nb_status s;
    memset(c, 0, sizeof *c);
    if (!config || !generation)
        s = nbi_fail_nomem(err, "a path", strlen(dir));
    else if (!nbi_path_is_dir(dir))
        s = nbi_fail(err, NB_NOTFOUND, "%s: no such folder", dir);
    else if (!nbi_path_exists(config))
        s = nbi_fail(err, NB_NOTFOUND, "%s: no config.json in it, so it is not a model folder",
                     dir);
    else
        s = read_both(c, config, generation, false, err);
    nbi_free(config);
    nbi_free(generation);
    return s;
}

void nb_config_free(nb_model_config *c)
{
    nbi_arena_free(&c->arena);
    memset(c, 0, sizeof *c);
}

static nb_status write_document(const nb_model_config *c, nb_dtype dtype,
                                const nb_quant_config *quant, const char *path, nb_error *err)
{
    bool has_dtype = nbi_json_get(c->raw, "dtype") || nbi_json_get(c->raw, "torch_dtype");
    nbi_strbuf b = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &b, 2, true);
    nbi_jw_object(&w);
    for (const nbi_json *m = c->raw->first; m; m = m->next) {
        if (strcmp(m->key, "quantization_config") == 0)
            continue;
        nbi_jw_key(&w, m->key);
        if (strcmp(m->key, "dtype") == 0 || strcmp(m->key, "torch_dtype") == 0)
            nbi_jw_str(&w, nb_dtype_torch(dtype));
        else
            nbi_jw_tree(&w, m);
    }
    if (!has_dtype) {
        nbi_jw_key(&w, nbi_json_get(c->raw, "rope_parameters") ? "dtype" : "torch_dtype");
        nbi_jw_str(&w, nb_dtype_torch(dtype));
    }
    if (quant) {
        nbi_jw_key(&w, "quantization_config");
        nbi_config_quant_write(quant, dtype, &w);
    }
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(&b, '\n');
    nb_status s = nbi_strbuf_check(&b, err);
    if (s == NB_OK)
        s = nbi_write_file(path, b.s, b.n, err);
    nbi_strbuf_free(&b);
    return s;
}

nb_status nb_config_write(const nb_model_config *c, nb_dtype dtype, const char *path, nb_error *err)
{
    return write_document(c, dtype, NULL, path, err);
}

nb_status nb_config_write_quantised(const nb_model_config *c, const nb_quant_config *quant,
                                    const char *path, nb_error *err)
{
    return write_document(c, c->dtype, quant, path, err);
}
