/* SPDX-License-Identifier: MIT */
/* Reading adapter_config.json of PEFT (formats page 2.2). */
#include <string.h>
#include "adapter/adapter_priv.h"
#include "base/fail.h"

/* How a key of a LoRA configuration is treated. */
typedef enum key_rule {
    KEY_READ,  /* read below, or without influence on the result */
    KEY_NONE,  /* must be "none" */
    KEY_NO,    /* must be false or null */
    KEY_EMPTY, /* must be null, [] or {} */
    KEY_TASK,  /* must be CAUSAL_LM or null */
    KEY_INIT   /* how the matrices began: some ways change the base */
} key_rule;

static const struct {
    const char *key;
    key_rule rule;
} known_keys[] = {
    {"peft_type", KEY_READ},
    {"task_type", KEY_TASK},
    {"auto_mapping", KEY_READ},
    {"peft_version", KEY_READ},
    {"base_model_name_or_path", KEY_READ},
    {"revision", KEY_READ},
    {"inference_mode", KEY_READ},
    {"r", KEY_READ},
    {"lora_alpha", KEY_READ},
    {"lora_dropout", KEY_READ},
    {"target_modules", KEY_READ},
    {"exclude_modules", KEY_READ},
    {"fan_in_fan_out", KEY_READ},
    {"use_rslora", KEY_READ},
    {"layers_to_transform", KEY_READ},
    {"layers_pattern", KEY_READ},
    {"rank_pattern", KEY_READ},
    {"alpha_pattern", KEY_READ},
    {"init_lora_weights", KEY_INIT},
    {"bias", KEY_NONE},
    {"use_dora", KEY_NO},
    {"lora_bias", KEY_NO},
    {"use_qalora", KEY_NO},
    {"use_bdlora", KEY_NO},
    {"modules_to_save", KEY_EMPTY},
    {"layer_replication", KEY_EMPTY},
    {"trainable_token_indices", KEY_EMPTY},
    {"target_parameters", KEY_EMPTY},
    {"alora_invocation_tokens", KEY_EMPTY},
    {"arrow_config", KEY_EMPTY},
    {"kasa_config", KEY_EMPTY},
    {"velora_config", KEY_EMPTY},
    {"monteclora_config", KEY_EMPTY},
    {"megatron_config", KEY_READ},
    {"megatron_core", KEY_READ},
    {"loftq_config", KEY_READ},
    {"eva_config", KEY_READ},
    {"corda_config", KEY_READ},
    {"lora_ga_config", KEY_READ},
    {"qalora_group_size", KEY_READ},
    {"ensure_weight_tying", KEY_READ},
    {"runtime_config", KEY_READ},
};

/* Starts that leave the base as it was. */
static const char *const plain_inits[] = {"gaussian", "eva", "orthogonal", "mica", "true", "True"};

static bool is_false(const nbi_json *v)
{
    return nbi_json_is_null(v) || (v->type == NBI_JT_BOOL && !v->boolean);
}

static bool is_empty(const nbi_json *v)
{
    return is_false(v) || ((v->type == NBI_JT_ARRAY || v->type == NBI_JT_OBJECT) && v->n == 0);
}

static nb_status check_init(const char *path, const nbi_json *v, nb_error *err)
{
    if (nbi_json_is_null(v) || v->type == NBI_JT_BOOL)
        return NB_OK;
    for (size_t i = 0; i < sizeof(plain_inits) / sizeof(*plain_inits); i++)
        if (nbi_json_equals(v, plain_inits[i]))
            return NB_OK;
    return nbi_fail(err, NB_UNSUPPORTED,
                    "%s: init_lora_weights \"%s\" changes the base model; save the adapter as a "
                    "plain LoRA (PEFT: save_pretrained with path_initial_model_for_weight_"
                    "conversion) and use that",
                    path, v->text ? v->text : "?");
}

static nb_status check_key(const char *path, const nbi_json *v, key_rule rule, nb_error *err)
{
    bool ok = true;
    switch (rule) {
    case KEY_READ:
        return NB_OK;
    case KEY_INIT:
        return check_init(path, v, err);
    case KEY_TASK:
        ok = nbi_json_is_null(v) || nbi_json_equals(v, "CAUSAL_LM");
        break;
    case KEY_NONE:
        ok = nbi_json_is_null(v) || nbi_json_equals(v, "none");
        break;
    case KEY_NO:
        ok = is_false(v);
        break;
    case KEY_EMPTY:
        ok = is_empty(v);
        break;
    }
    if (ok)
        return NB_OK;
    nbi_strbuf shown = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &shown, 0, true);
    nbi_jw_tree(&w, v);
    nb_status st = nbi_strbuf_check(&shown, err);
    if (st == NB_OK)
        st = nbi_fail(err, NB_UNSUPPORTED, "%s: %s is %.200s, which is not supported in adapters",
                      path, v->key, nbi_strbuf_str(&shown));
    nbi_strbuf_free(&shown);
    return st;
}

static nb_status check_keys(const char *path, const nbi_json *doc, nbi_strbuf *unknown,
                            nb_error *err)
{
    const size_t n = sizeof(known_keys) / sizeof(*known_keys);
    for (const nbi_json *v = doc->first; v; v = v->next) {
        size_t i = 0;
        while (i < n && strcmp(v->key, known_keys[i].key) != 0)
            i++;
        if (i < n)
            NBI_TRY(check_key(path, v, known_keys[i].rule, err));
        else if (unknown && !nbi_json_is_null(v))
            nbi_strbuf_printf(unknown, "%s%s", unknown->n ? ", " : "", v->key);
    }
    return NB_OK;
}

static nb_status wrong(const char *path, const char *key, const char *expected, nb_error *err)
{
    return nbi_fail(err, NB_FORMAT, "%s: %s has the wrong type, expected %s", path, key, expected);
}

/* A list of texts, or one text that goes to *single. */
#define READ_NAMES(list, single, name)                                                             \
    do {                                                                                           \
        const nbi_json *v_ = nbi_json_get(doc, name);                                              \
        if (nbi_json_is_null(v_))                                                                  \
            break;                                                                                 \
        if (v_->type == NBI_JT_STRING) {                                                           \
            *(single) = nbi_strdup(NBI_MEM_OTHER, v_->text);                                       \
            if (!*(single))                                                                        \
                return nbi_fail_nomem(err, "adapter settings", v_->text_len);                      \
            break;                                                                                 \
        }                                                                                          \
        if (v_->type != NBI_JT_ARRAY)                                                              \
            return wrong(path, name, "a list of names or a text", err);                            \
        for (const nbi_json *e_ = v_->first; e_; e_ = e_->next) {                                  \
            if (e_->type != NBI_JT_STRING)                                                         \
                return wrong(path, name, "a list of names", err);                                  \
            char *s_ = nbi_strdup(NBI_MEM_OTHER, e_->text);                                        \
            if (!s_ || !nbi_array_push((list), s_)) {                                              \
                nbi_free(s_);                                                                      \
                return nbi_fail_nomem(err, "adapter settings", e_->text_len);                      \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#define READ_PATTERN(list, name)                                                                   \
    do {                                                                                           \
        const nbi_json *v_ = nbi_json_get(doc, name);                                              \
        if (nbi_json_is_null(v_))                                                                  \
            break;                                                                                 \
        if (v_->type != NBI_JT_OBJECT)                                                             \
            return wrong(path, name, "an object of pattern: number", err);                         \
        for (const nbi_json *e_ = v_->first; e_; e_ = e_->next) {                                  \
            nb_pattern p_ = {NULL, 0};                                                             \
            if (e_->type != NBI_JT_NUMBER || !nbi_json_to_f64(e_, &p_.value))                      \
                return wrong(path, name, "an object of pattern: number", err);                     \
            p_.key = nbi_strdup(NBI_MEM_OTHER, e_->key);                                           \
            if (!p_.key || !nbi_array_push((list), p_)) {                                          \
                nbi_free(p_.key);                                                                  \
                return nbi_fail_nomem(err, "adapter settings", e_->key_len);                       \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static nb_status read_layers(const char *path, const nbi_json *doc, nb_lora_config *c,
                             nb_error *err)
{
    const nbi_json *v = nbi_json_get(doc, "layers_to_transform");
    int64_t one;
    if (!nbi_json_is_null(v)) {
        const nbi_json *e = v->type == NBI_JT_ARRAY ? v->first : v;
        for (; e; e = v->type == NBI_JT_ARRAY ? e->next : NULL) {
            if (e->type != NBI_JT_NUMBER || !nbi_json_to_i64(e, &one))
                return wrong(path, "layers_to_transform", "a number or a list of numbers", err);
            if (!nbi_array_push(&c->layers, one))
                return nbi_fail_nomem(err, "adapter settings", sizeof(one));
        }
    }
    char *single = NULL;
    READ_NAMES(&c->layers_pattern, &single, "layers_pattern");
    if (single && (!*single || !nbi_array_push(&c->layers_pattern, single))) {
        bool nomem = *single != 0;
        nbi_free(single);
        return nomem ? nbi_fail_nomem(err, "adapter settings", 0) : NB_OK;
    }
    return NB_OK;
}

static nb_status read_targets(const char *path, const nbi_json *doc, nb_lora_config *c,
                              nb_error *err)
{
    /* what PEFT takes for llama, mistral, qwen2 and qwen3 when nothing is given */
    static const char *const usual[] = {"q_proj", "v_proj"};
    char *text = NULL;
    READ_NAMES(&c->targets, &text, "target_modules");
    if (text && strcmp(text, "all-linear") == 0) {
        nbi_free(text);
        c->all_linear = true;
    } else {
        c->targets_regex = text;
    }
    if (nbi_json_is_null(nbi_json_get(doc, "target_modules"))) {
        for (size_t i = 0; i < 2; i++) {
            char *s = nbi_strdup(NBI_MEM_OTHER, usual[i]);
            if (!s || !nbi_array_push(&c->targets, s)) {
                nbi_free(s);
                return nbi_fail_nomem(err, "adapter settings", 0);
            }
        }
    }
    READ_NAMES(&c->exclude, &c->exclude_regex, "exclude_modules");
    return NB_OK;
}

/* A scale of nothing would make an adapter without effect; null is no number to PEFT either. */
static nb_status read_alpha(const char *path, const nbi_json *doc, nb_lora_config *c, nb_error *err)
{
    const nbi_json *v = nbi_json_get(doc, "lora_alpha");
    if (v && v->type == NBI_JT_NULL)
        return nbi_fail(err, NB_FORMAT, "%s: lora_alpha is null, expected a number above 0", path);
    NBI_TRY(nbi_json_get_f64(doc, path, "lora_alpha", &c->alpha, err));
    if (!(c->alpha > 0))
        return nbi_fail(err, NB_FORMAT, "%s: lora_alpha is %g, expected a number above 0", path,
                        c->alpha);
    return NB_OK;
}

static nb_status read_lora(const char *path, const nbi_json *doc, nb_lora_config *c, nb_error *err)
{
    const char *base = NULL;
    c->r = 8; /* PEFT's defaults for absent keys */
    c->alpha = 8;
    NBI_TRY(nbi_json_get_i64(doc, path, "r", 1, 1 << 16, &c->r, err));
    NBI_TRY(read_alpha(path, doc, c, err));
    NBI_TRY(nbi_json_get_f64(doc, path, "lora_dropout", &c->dropout, err));
    NBI_TRY(nbi_json_get_bool(doc, path, "use_rslora", &c->rslora, err));
    NBI_TRY(nbi_json_get_str(doc, path, "base_model_name_or_path", &base, err));
    if (!(c->dropout >= 0 && c->dropout < 1))
        return nbi_fail(err, NB_FORMAT, "%s: lora_dropout is %g, expected 0 <= p < 1", path,
                        c->dropout);
    if (base && *base && !(c->base_model = nbi_strdup(NBI_MEM_OTHER, base)))
        return nbi_fail_nomem(err, "adapter settings", 0);
    NBI_TRY(read_targets(path, doc, c, err));
    NBI_TRY(read_layers(path, doc, c, err));
    READ_PATTERN(&c->rank_pattern, "rank_pattern");
    READ_PATTERN(&c->alpha_pattern, "alpha_pattern");
    return NB_OK;
}

static nb_status read_document(const char *path, const nbi_json *doc, nb_lora_config *c,
                               nbi_strbuf *unknown, nb_error *err)
{
    const char *type = NULL;
    if (doc->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: expected a JSON object", path);
    NBI_TRY(nbi_json_get_str(doc, path, "peft_type", &type, err));
    if (!type)
        return nbi_fail(err, NB_FORMAT, "%s: peft_type is missing; this is no PEFT adapter", path);
    if (strcmp(type, "LORA") != 0)
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: peft_type \"%s\" is not supported, this version reads LORA", path,
                        type);
    NBI_TRY(check_keys(path, doc, unknown, err));
    return read_lora(path, doc, c, err);
}

nb_status nbi_peft_config_read(const char *path, nb_lora_config *c, nbi_strbuf *unknown,
                               nb_error *err)
{
    nbi_arena arena;
    nbi_json *doc;
    nb_lora_config_default(c);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse_file(&arena, path, NBI_ADAPTER_CONFIG_MAX, &doc, err);
    if (st == NB_OK)
        st = read_document(path, doc, c, unknown, err);
    nbi_arena_free(&arena);
    if (st != NB_OK)
        nb_lora_config_free(c);
    return st;
}
