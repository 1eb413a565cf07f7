/* SPDX-License-Identifier: MIT */
#include "train/recipe.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/fail.h"
#include "base/yaml.h"
#include "train/recipe_keys.h"

/* Flags win over every file and are all of one generation. */
#define FLAGS UINT32_MAX

nb_status nb_recipe_new(nb_recipe **out, nb_error *err)
{
    nb_recipe *r = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *r);
    *out = NULL;
    if (!r)
        return nbi_fail_nomem(err, "recipe", sizeof *r);
    nbi_arena_init(&r->arena, NBI_MEM_OTHER);
    nb_lora_config_default(&r->lora);
    r->given = nbi_calloc(NBI_MEM_OTHER, nbi_keys_n, sizeof *r->given);
    r->states = nbi_calloc(NBI_MEM_OTHER, nbi_keys_n, sizeof *r->states);
    nb_status st = r->given && r->states
                       ? NB_OK
                       : nbi_fail_nomem(err, "recipe", nbi_keys_n * sizeof *r->states);
    for (size_t i = 0; st == NB_OK && i < nbi_keys_n; i++)
        st = nbi_key_reset(r, &nbi_keys[i], err);
    r->quant.nested_block = 256;
    if (st != NB_OK)
        nb_recipe_free(&r);
    *out = r;
    return st;
}

void nb_recipe_free(nb_recipe **r)
{
    if (!r || !*r)
        return;
    nb_lora_config_free(&(*r)->lora);
    nbi_free((*r)->given);
    nbi_free((*r)->states);
    nbi_arena_free(&(*r)->arena);
    nbi_free(*r);
    *r = NULL;
}

bool nb_recipe_given(const nb_recipe *r, const char *key)
{
    int i = nbi_key_index(key);
    return i >= 0 && r->given[i];
}

static nb_status value_text(const nb_recipe *r, const nbi_key *k, nbi_strbuf *out, nb_error *err)
{
    nbi_json_writer w;
    nbi_json_writer_init(&w, out, 0, true);
    nbi_key_write(r, k, &w);
    return nbi_strbuf_check(out, err);
}

/* Stores a value; two spellings of one key in the same place must agree. */
static nb_status put_checked(nb_recipe *r, const nbi_key *k, const char *name, const nbi_json *v,
                             const char *where, bool other, nbi_strbuf *before, nbi_strbuf *after,
                             nb_error *err)
{
    if (other)
        NBI_TRY(value_text(r, k, before, err));
    NBI_TRY(nbi_key_store(r, k, v, where, err));
    if (!other)
        return NB_OK;
    NBI_TRY(value_text(r, k, after, err));
    const char *first = r->states[k - nbi_keys].spelling;
    if (!strcmp(nbi_strbuf_str(before), nbi_strbuf_str(after)))
        return NB_OK;
    return nbi_fail(err, NB_CONFIG, "%s: %s says %s, but %s says %s; both are the same setting",
                    where, name, nbi_strbuf_str(after), first, nbi_strbuf_str(before));
}

static nb_status put_known(nb_recipe *r, size_t i, const char *name, const nbi_json *v,
                           const char *where, uint32_t generation, nb_error *err)
{
    const nbi_key *k = &nbi_keys[i];
    nbi_key_state *s = &r->states[i];
    bool other = s->generation == generation && s->spelling && strcmp(s->spelling, name) != 0;
    nbi_strbuf before = {0}, after = {0};
    nb_status st = put_checked(r, k, name, v, where, other, &before, &after, err);
    nbi_strbuf_free(&before);
    nbi_strbuf_free(&after);
    if (st != NB_OK)
        return st;
    s->spelling = nbi_arena_strndup(&r->arena, name, strlen(name));
    if (!s->spelling)
        return nbi_fail_nomem(err, name, strlen(name));
    s->generation = generation;
    r->given[i] = !nbi_json_is_null(v);
    return NB_OK;
}

/* Whether `value` is one of the words; "-" stands for null and empty. */
static bool is_allowed(const char *words, const char *value)
{
    size_t n = strlen(value);
    if (n == 0) {
        value = "-";
        n = 1;
    }
    for (const char *w = words; *w;) {
        size_t len = strcspn(w, " ");
        if (len == n && !strncasecmp(w, value, n))
            return true;
        w += len + (w[len] == ' ');
    }
    return false;
}

static nb_status put_silent(nb_recipe *r, const nbi_silent_key *k, const nbi_json *v,
                            const char *where, nb_error *err)
{
    const char *s = "";
    size_t len;
    bool empty =
        nbi_json_is_null(v) || ((v->type == NBI_JT_ARRAY || v->type == NBI_JT_OBJECT) && v->n == 0);
    /* a list of one is that one */
    const nbi_json *one = v->type == NBI_JT_ARRAY && v->n == 1 ? v->first : v;
    if (!empty && one->type == NBI_JT_BOOL)
        s = one->boolean ? "true" : "false";
    else if (!empty && !nbi_json_to_str(one, &s, &len))
        s = "...";
    if (k->allowed && !is_allowed(k->allowed, empty ? "" : s)) {
        int n = (int)strlen(k->allowed) - 1; /* without the sign for nothing */
        n -= n > 0;
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: %s \"%.100s\" is not supported by this version; %s%.*s%s%s", where,
                        k->name, s, n ? "allowed: " : "leave it out", n, k->allowed,
                        k->why ? "; " : "", k->why ? k->why : "");
    }
    if (k->why && !empty && strcmp(s, "false") != 0 && strcmp(s, "none") != 0)
        return nbi_recipe_note(r, NB_LOG_NOTE, err, "%s: no effect: %s", k->name, k->why);
    return NB_OK;
}

static nb_status put_unknown(const char *name, const char *where, nb_error *err)
{
    const char *nearest = nbi_key_nearest(name);
    if (!nearest)
        return nbi_fail(err, NB_CONFIG, "%s: unknown key \"%s\" (nibble train --help lists all)",
                        where, name);
    return nbi_fail(err, NB_CONFIG, "%s: unknown key \"%s\"; did you mean \"%s\"?", where, name,
                    nearest);
}

/* One key: by its own name or an alias, or one without effect. */
static nb_status put(nb_recipe *r, const char *name, const nbi_json *v, const char *where,
                     uint32_t generation, nb_error *err)
{
    int i = nbi_key_find(name);
    if (i >= 0)
        return put_known(r, (size_t)i, name, v, where, generation, err);
    for (size_t j = 0; j < nbi_silent_keys_n; j++)
        if (!strcmp(nbi_silent_keys[j].name, name))
            return put_silent(r, &nbi_silent_keys[j], v, where, err);
    return put_unknown(name, where, err);
}

static nb_status put_all(nb_recipe *r, const char *path, const nbi_json *doc, nb_error *err)
{
    if (nbi_json_is_null(doc))
        return nbi_fail(err, NB_CONFIG, "%s: the recipe is empty", path);
    if (doc->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_CONFIG, "%s: expected lines of \"key: value\"", path);
    for (const nbi_json *m = doc->first; m; m = m->next) {
        nbi_strbuf where = {0};
        nbi_strbuf_printf(&where, "%s:%d", path, m->line);
        nb_status st = nbi_strbuf_check(&where, err);
        if (st == NB_OK)
            st = put(r, m->key, m, where.s, r->generation, err);
        nbi_strbuf_free(&where);
        NBI_TRY(st);
    }
    return NB_OK;
}

nb_status nb_recipe_read(nb_recipe *r, const char *path, nb_error *err)
{
    nbi_arena scratch;
    nbi_json *doc = NULL;
    nbi_arena_init(&scratch, NBI_MEM_OTHER);
    r->generation++;
    r->path = nbi_arena_strndup(&r->arena, path, strlen(path));
    nb_status st = r->path ? nbi_yaml_parse_file(&scratch, path, &doc, err)
                           : nbi_fail_nomem(err, path, strlen(path));
    st = nbi_fail_format_as(err, st, NB_CONFIG); /* a recipe that is no YAML is a wrong setting */
    if (st == NB_OK)
        st = put_all(r, path, doc, err);
    nbi_arena_free(&scratch);
    return st;
}

/* Texts are taken literally: a template may well begin with "[". */
static nb_status flag_value(nbi_arena *arena, const char *key, const char *where, const char *value,
                            nbi_json *plain, nbi_json **v, nb_error *err)
{
    int i = nbi_key_find(key);
    if (i < 0 || nbi_keys[i].type != NBI_KEY_TEXT || !strcmp(value, "null"))
        return nbi_yaml_parse_value(arena, where, value, v, err);
    *plain = (nbi_json){.type = NBI_JT_STRING, .text = value, .text_len = strlen(value)};
    *v = plain;
    return NB_OK;
}

nb_status nb_recipe_set(nb_recipe *r, const char *key, const char *value, nb_error *err)
{
    nbi_arena scratch;
    nbi_json plain, *v = NULL;
    nbi_strbuf where = {0};
    nbi_arena_init(&scratch, NBI_MEM_OTHER);
    nbi_strbuf_printf(&where, "--%s", key);
    nb_status st = nbi_strbuf_check(&where, err);
    if (st == NB_OK)
        st = flag_value(&scratch, key, where.s, value, &plain, &v, err);
    st = nbi_fail_format_as(err, st, NB_CONFIG);
    if (st == NB_OK)
        st = put(r, key, v, where.s, FLAGS, err);
    nbi_strbuf_free(&where);
    nbi_arena_free(&scratch);
    return st;
}

nb_status nbi_recipe_note(nb_recipe *r, nb_log_level level, nb_error *err, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    nb_recipe_note **end = &r->notes;
    for (; *end; end = &(*end)->next)
        if (!strcmp((*end)->text, text))
            return NB_OK;
    nb_recipe_note *n = nbi_arena_alloc(&r->arena, sizeof *n, _Alignof(nb_recipe_note));
    char *copy = nbi_arena_strndup(&r->arena, text, strlen(text));
    if (!n || !copy)
        return nbi_fail_nomem(err, "recipe", sizeof *n);
    *n = (nb_recipe_note){NULL, level, copy};
    *end = n;
    return NB_OK;
}

nb_status nb_recipe_finish(nb_recipe *r, const nb_log *log, nb_error *err)
{
    NBI_TRY(nbi_recipe_check(r, err));
    if (!r->said)
        for (const nb_recipe_note *n = r->notes; n; n = n->next)
            nbi_log(log, n->level, "%s", n->text);
    r->said = r->said || log != NULL;
    return NB_OK;
}

static nb_status take_text(nbi_strbuf *b, char **out, nb_error *err)
{
    nb_status st = nbi_strbuf_check(b, err);
    *out = st == NB_OK ? b->s : NULL;
    if (st != NB_OK)
        nbi_strbuf_free(b);
    return st;
}

const char *nb_recipe_output_dir(const nb_recipe *r)
{
    return r->output_dir;
}

nb_status nb_recipe_json(const nb_recipe *r, char **json, nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_object(&w);
    for (size_t i = 0; i < nbi_keys_n; i++) {
        nbi_jw_key(&w, nbi_keys[i].name);
        nbi_key_write(r, &nbi_keys[i], &w);
    }
    nbi_jw_member_str(&w, "compute", r->compute == NB_COMPUTE_BF16 ? "bf16" : "f32");
    nbi_jw_object_end(&w);
    return take_text(&b, json, err);
}

bool nb_recipe_key_at(size_t i, nb_recipe_key *key)
{
    if (i >= nbi_keys_n)
        return false;
    const nbi_key *k = &nbi_keys[i];
    *key = (nb_recipe_key){.name = k->name,
                           .type = k->type_text,
                           .default_text = k->value_text ? k->value_text
                                           : k->value    ? k->value
                                                         : "",
                           .help = k->help,
                           .group = k->group};
    return true;
}
