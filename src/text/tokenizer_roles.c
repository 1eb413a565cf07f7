/* SPDX-License-Identifier: MIT */
/* The files beside tokenizer.json: which token plays which role, and the chat template. */
#include "text/tokenizer_impl.h"

#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"

enum { MAX_CONFIG = 64 << 20, MAX_TEMPLATE = 4 << 20 };

static const char *const role_keys[NBI_ROLES] = {"bos_token", "eos_token", "pad_token",
                                                 "unk_token"};

/* Names tried, in this order, when no file says what the roles are. */
static const char *const well_known[NBI_ROLES][8] = {
    {"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "<|begin_of_sentence|>"},
    {"</s>", "<|end_of_text|>", "<eos>", "<|endoftext|>", "<|im_end|>", "<|end|>"},
    {"<pad>", "[PAD]", "<|pad|>", "<|padding|>"},
    {"<unk>", "[UNK]", "<|unk|>"}};

/* A file of the folder, NULL in *out when there is none. */
static nb_status open_optional(nbi_arena *arena, const char *dir, const char *name, nbi_json **out,
                               nb_error *err)
{
    *out = NULL;
    char *path = nbi_path_join(dir, name);
    if (!path)
        return nbi_fail_nomem(err, name, 0);
    nb_status st = NB_OK;
    if (nbi_path_exists(path)) {
        st = nbi_json_parse_file(arena, path, MAX_CONFIG, out, err);
        if (st == NB_OK && (*out)->type != NBI_JT_OBJECT)
            st = nbi_fail(err, NB_FORMAT, "%s: expected an object", path);
    }
    nbi_free(path);
    return st;
}

/* "text" or {"content": "text", ...} */
static nb_status set_role(nb_tokenizer *t, int role, const nbi_json *v, const char *dir,
                          const char *file, const nb_log *log, nb_error *err)
{
    const nbi_json *text = v->type == NBI_JT_OBJECT ? nbi_json_get(v, "content") : v;
    if (nbi_json_is_null(v))
        return NB_OK;
    if (!text || text->type != NBI_JT_STRING || strlen(text->text) != text->text_len)
        return nbi_fail(
            err, NB_FORMAT,
            "%s/%s: byte %zu: \"%s\" must be a string without NUL characters, an object "
            "with such a \"content\", or null",
            dir, file, v->offset, role_keys[role]);
    t->roles[role] = nb_tokenizer_token_id(t, text->text);
    if (t->roles[role] < 0)
        nbi_log(log, NB_LOG_WARN, "%s/%s: %s \"%s\" is not in the vocabulary", dir, file,
                role_keys[role], text->text);
    return NB_OK;
}

static void guess_roles(nb_tokenizer *t)
{
    for (int role = 0; role < NBI_ROLES; role++) {
        for (int k = 0; k < 8 && well_known[role][k] && t->roles[role] < 0; k++) {
            int32_t id = nb_tokenizer_token_id(t, well_known[role][k]);
            if (id >= 0 && nb_tokenizer_is_special(t, id))
                t->roles[role] = id;
        }
    }
}

static nb_status load_roles(nb_tokenizer *t, const char *dir, const nbi_json *config,
                            const nbi_json *map, const nb_log *log, nb_error *err)
{
    for (int role = 0; role < NBI_ROLES; role++) {
        const nbi_json *v = nbi_json_get(config, role_keys[role]);
        if (v)
            NBI_TRY(set_role(t, role, v, dir, "tokenizer_config.json", log, err));
        else if ((v = nbi_json_get(map, role_keys[role])) != NULL)
            NBI_TRY(set_role(t, role, v, dir, "special_tokens_map.json", log, err));
    }
    if (!config && !map)
        guess_roles(t);
    return NB_OK;
}

static nb_status keep_template(nb_tokenizer *t, const char *dir, const char *file, const char *s,
                               size_t n, nb_error *err)
{
    if (n > MAX_TEMPLATE)
        return nbi_fail(err, NB_LIMIT, "%s/%s: a chat template of %zu bytes; at most %d", dir, file,
                        n, MAX_TEMPLATE);
    if (n > 0 && memchr(s, 0, n))
        return nbi_fail(err, NB_FORMAT, "%s/%s: the chat template holds a NUL character", dir,
                        file);
    t->chat_template = nbi_arena_strndup(&t->arena, s, n);
    return t->chat_template ? NB_OK : nbi_fail_nomem(err, "the chat template", n);
}

/* A string, or a list of {"name": ..., "template": ...} of which "default" is meant. */
static nb_status template_from_config(nb_tokenizer *t, const char *dir, const nbi_json *config,
                                      nb_error *err)
{
    const nbi_json *v = nbi_json_get(config, "chat_template");
    if (nbi_json_is_null(v))
        return NB_OK;
    if (v->type == NBI_JT_ARRAY) {
        const nbi_json *chosen = NULL;
        for (const nbi_json *c = v->first; c; c = c->next) {
            if (nbi_json_equals(nbi_json_get(c, "name"), "default"))
                chosen = nbi_json_get(c, "template");
        }
        if (!chosen)
            return NB_OK;
        v = chosen;
    }
    if (v->type != NBI_JT_STRING)
        return nbi_fail(err, NB_FORMAT,
                        "%s/tokenizer_config.json: byte %zu: \"chat_template\" must be a string or "
                        "a list of named templates",
                        dir, v->offset);
    return keep_template(t, dir, "tokenizer_config.json", v->text, v->text_len, err);
}

static nb_status load_template(nb_tokenizer *t, const char *dir, const nbi_json *config,
                               nb_error *err)
{
    char *path = nbi_path_join(dir, "chat_template.jinja"), *text = NULL;
    size_t n = 0;
    if (!path)
        return nbi_fail_nomem(err, "the chat template", 0);
    nb_status st;
    if (nbi_path_exists(path)) {
        st = nbi_read_file(path, MAX_TEMPLATE, &text, &n, err);
        if (st == NB_OK)
            st = keep_template(t, dir, "chat_template.jinja", text, n, err);
        nbi_free(text);
    } else {
        st = template_from_config(t, dir, config, err);
    }
    nbi_free(path);
    return st;
}

nb_status nbi_tokenizer_load_roles(nb_tokenizer *t, const char *dir, const nb_log *log,
                                   nb_error *err)
{
    nbi_arena trees;
    nbi_json *config, *map;
    nb_status st;
    for (int role = 0; role < NBI_ROLES; role++)
        t->roles[role] = -1;
    nbi_arena_init(&trees, NBI_MEM_IO);
    NBI_TRY_GOTO(open_optional(&trees, dir, "tokenizer_config.json", &config, err), done);
    NBI_TRY_GOTO(open_optional(&trees, dir, "special_tokens_map.json", &map, err), done);
    NBI_TRY_GOTO(load_roles(t, dir, config, map, log, err), done);
    NBI_TRY_GOTO(load_template(t, dir, config, err), done);
    nb_encoding e = {0};
    st = nb_tokenizer_encode(t, "", 0, NB_ENCODE_SPECIAL, &e, err);
    t->adds_bos =
        st == NB_OK && e.n > 0 && t->roles[NBI_ROLE_BOS] >= 0 && e.ids[0] == t->roles[NBI_ROLE_BOS];
    nb_encoding_free(&e);
done:
    nbi_arena_free(&trees);
    return st;
}
