/* SPDX-License-Identifier: MIT */
/* Values of recipe keys: from text to the record's fields and back to JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/fail.h"
#include "base/yaml.h"
#include "train/recipe_keys.h"

typedef NBI_ARRAY(char *) text_list;
typedef NBI_ARRAY(int64_t) int_list;
typedef NBI_ARRAY(nb_pattern) pattern_list;

static void *field(const nb_recipe *r, const nbi_key *k)
{
    return (char *)(uintptr_t)r + k->offset;
}

/* What a value looks like, for messages. */
static const char *shown(const nbi_json *v)
{
    switch (v->type) {
    case NBI_JT_ARRAY:
        return "a list";
    case NBI_JT_OBJECT:
        return "a map";
    case NBI_JT_NULL:
        return "null";
    case NBI_JT_BOOL:
        return v->boolean ? "true" : "false";
    default:
        return v->text;
    }
}

static nb_status wrong(const nbi_key *k, const nbi_json *v, const char *where, nb_error *err,
                       const char *expected)
{
    bool flag = !strncmp(where, "--", 2); /* names the key already */
    return nbi_fail(err, NB_CONFIG, "%s: %s%sfound \"%.200s\", expected %s", where,
                    flag ? "" : k->name, flag ? "" : ": ", shown(v), expected);
}

static nb_status nomem(const nbi_key *k, nb_error *err)
{
    return nbi_fail_nomem(err, k->name, 0);
}

static nb_status store_text(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                            nb_error *err)
{
    const char *s;
    size_t len;
    if (!nbi_json_to_str(v, &s, &len) || strlen(s) != len)
        return wrong(k, v, where, err, "a text");
    char *copy = nbi_arena_strndup(&r->arena, s, len);
    if (!copy)
        return nomem(k, err);
    memcpy(field(r, k), &copy, sizeof copy);
    return NB_OK;
}

static nb_status store_bool(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                            nb_error *err)
{
    bool x;
    if (nbi_json_equals(v, "1") || nbi_json_equals(v, "0"))
        x = v->text[0] == '1';
    else if (!nbi_json_to_bool(v, &x))
        return wrong(k, v, where, err, "true or false");
    memcpy(field(r, k), &x, sizeof x);
    return NB_OK;
}

static nb_status store_int(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                           nb_error *err)
{
    int64_t x;
    char expected[100];
    if (!nbi_json_to_i64(v, &x) || (double)x < k->min || (double)x > k->max) {
        snprintf(expected, sizeof expected, "a whole number from %.0f to %.0f", k->min, k->max);
        return wrong(k, v, where, err, expected);
    }
    int small = (int)x;
    if (k->size == sizeof small)
        memcpy(field(r, k), &small, sizeof small);
    else
        memcpy(field(r, k), &x, sizeof x);
    return NB_OK;
}

static nb_status store_float(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                             nb_error *err)
{
    double x;
    char expected[100];
    if (!nbi_json_to_f64(v, &x) || !isfinite(x) || x < k->min || x > k->max) {
        snprintf(expected, sizeof expected, "a number from %g to %g", k->min, k->max);
        return wrong(k, v, where, err, expected);
    }
    memcpy(field(r, k), &x, sizeof x);
    return NB_OK;
}

static nb_status store_steps(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                             nb_error *err)
{
    double x;
    if (!nbi_json_to_f64(v, &x) || !(x > 0) || x > k->max || (x >= 1 && x != floor(x)))
        return wrong(k, v, where, err, "a whole number from 1, or a part of all below 1");
    memcpy(field(r, k), &x, sizeof x);
    return NB_OK;
}

static nb_status store_choice(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                              nb_error *err)
{
    char expected[200];
    if (v->type == NBI_JT_ARRAY && v->n == 1)
        v = v->first; /* report_to: [tensorboard] is a list of one */
    const char *s = v->type == NBI_JT_BOOL ? shown(v) : NULL;
    size_t len;
    if (s || nbi_json_to_str(v, &s, &len))
        for (const nbi_choice *c = k->choices; c->text; c++) {
            if (strcasecmp(c->text, s) != 0)
                continue;
            bool flag = c->value != 0;
            if (k->size == sizeof flag)
                memcpy(field(r, k), &flag, sizeof flag);
            else
                memcpy(field(r, k), &c->value, sizeof c->value);
            return NB_OK;
        }
    size_t n = (size_t)snprintf(expected, sizeof expected, "one of ");
    for (const nbi_choice *c = k->choices; c->text && n < sizeof expected; c++)
        n += (size_t)snprintf(expected + n, sizeof expected - n, "%s%s",
                              c == k->choices ? "" : ", ", c->text);
    return wrong(k, v, where, err, expected);
}

static nb_status push_text(text_list *list, const char *s, size_t len, const nbi_key *k,
                           nb_error *err)
{
    char *copy = nbi_strndup(NBI_MEM_OTHER, s, len);
    if (copy && nbi_array_push(list, copy))
        return NB_OK;
    nbi_free(copy);
    return nomem(k, err);
}

/* "a, b" as on the command line. */
static nb_status split_texts(text_list *list, const char *s, const nbi_key *k, nb_error *err)
{
    while (*s) {
        size_t n = strcspn(s, ","), skip = strspn(s, " "), len = n;
        while (len > skip && s[len - 1] == ' ')
            len--;
        if (len > skip)
            NBI_TRY(push_text(list, s + skip, len - skip, k, err));
        s += n + (s[n] == ',');
    }
    return NB_OK;
}

static nb_status store_texts(text_list *list, const nbi_key *k, const nbi_json *v,
                             const char *where, nb_error *err)
{
    const char *s;
    size_t len;
    if (v->type != NBI_JT_ARRAY)
        return nbi_json_to_str(v, &s, &len) ? split_texts(list, s, k, err)
                                            : wrong(k, v, where, err, "a list of names");
    for (const nbi_json *e = v->first; e; e = e->next) {
        if (!nbi_json_to_str(e, &s, &len) || len == 0 || strlen(s) != len)
            return wrong(k, e, where, err, "a name");
        NBI_TRY(push_text(list, s, len, k, err));
    }
    return NB_OK;
}

static nb_status push_int(int_list *list, const nbi_key *k, const nbi_json *v, const char *where,
                          nb_error *err)
{
    int64_t x;
    if (!nbi_json_to_i64(v, &x) || x < 0 || x > INT32_MAX)
        return wrong(k, v, where, err, "whole numbers from 0");
    return nbi_array_push(list, x) ? NB_OK : nomem(k, err);
}

static nb_status store_ints(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                            nb_error *err)
{
    int_list *list = field(r, k);
    text_list parts = {0};
    if (v->type == NBI_JT_ARRAY) {
        for (const nbi_json *e = v->first; e; e = e->next)
            NBI_TRY(push_int(list, k, e, where, err));
        return NB_OK;
    }
    nb_status st = store_texts(&parts, k, v, where, err);
    for (size_t i = 0; st == NB_OK && i < parts.n; i++) {
        nbi_json e = {.type = NBI_JT_SCALAR, .text = parts.v[i], .text_len = strlen(parts.v[i])};
        st = push_int(list, k, &e, where, err);
    }
    for (size_t i = 0; i < parts.n; i++)
        nbi_free(parts.v[i]);
    nbi_array_free(&parts);
    return st;
}

static nb_status store_patterns(nb_recipe *r, const nbi_key *k, const nbi_json *v,
                                const char *where, nb_error *err)
{
    pattern_list *list = field(r, k);
    if (v->type != NBI_JT_OBJECT)
        return wrong(k, v, where, err, "a map of module names to numbers");
    for (const nbi_json *e = v->first; e; e = e->next) {
        nb_pattern p = {NULL, 0};
        if (!nbi_json_to_f64(e, &p.value) || !(p.value > 0) || p.value > 65536)
            return wrong(k, e, where, err, "a number above 0 for each module");
        p.key = nbi_strdup(NBI_MEM_OTHER, e->key);
        if (!p.key || !nbi_array_push(list, p)) {
            nbi_free(p.key);
            return nomem(k, err);
        }
    }
    return NB_OK;
}

static nb_status store_vars(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                            nb_error *err)
{
    if (v->type != NBI_JT_OBJECT)
        return wrong(k, v, where, err, "a map of names to texts");
    nb_template_var *vars =
        nbi_arena_alloc(&r->arena, (v->n + 1) * sizeof *vars, _Alignof(nb_template_var));
    size_t n = 0, len;
    const char *s;
    if (!vars)
        return nomem(k, err);
    for (const nbi_json *e = v->first; e; e = e->next, n++) {
        if (!nbi_json_to_str(e, &s, &len) || strlen(s) != len)
            return wrong(k, e, where, err, "a text for each name");
        vars[n].name = nbi_arena_strndup(&r->arena, e->key, e->key_len);
        vars[n].value = nbi_arena_strndup(&r->arena, s, len);
        if (!vars[n].name || !vars[n].value)
            return nomem(k, err);
    }
    r->data_config.template_vars = vars;
    r->data_config.n_template_vars = n;
    return NB_OK;
}

/* Names become parts of names of numbers and files: "eval_<name>_loss". */
static bool is_set_name(const char *s, size_t len)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    return len > 0 && len <= 64 && strspn(s, letters) >= len;
}

static nb_status put_set(nb_recipe *r, nb_named_file *sets, const nbi_key *k, const char *name,
                         size_t name_len, const char *path, size_t path_len, nb_error *err)
{
    nb_named_file *f = &sets[r->eval_sets.n];
    f->name = name ? nbi_arena_strndup(&r->arena, name, name_len) : NULL;
    f->path = nbi_arena_strndup(&r->arena, path, path_len);
    if ((name && !f->name) || !f->path)
        return nomem(k, err);
    r->eval_sets.n++;
    r->eval_data = sets[0].path;
    return NB_OK;
}

/* "NAME=FILE,NAME=FILE" as a flag has it: every part begins with a name. */
static size_t count_named(const char *s)
{
    size_t n = 0;
    for (;; s++, n++) {
        size_t part = strcspn(s, ","), name = strcspn(s, "=,");
        if (!is_set_name(s, name) || name + 1 >= part)
            return 0;
        s += part;
        if (!*s)
            return n + 1;
    }
}

static nb_status store_flag_sets(nb_recipe *r, nb_named_file *sets, const nbi_key *k, const char *s,
                                 nb_error *err)
{
    for (;; s++) {
        size_t part = strcspn(s, ","), name = strcspn(s, "=");
        NBI_TRY(put_set(r, sets, k, s, name, s + name + 1, part - name - 1, err));
        s += part;
        if (!*s)
            return NB_OK;
    }
}

static nb_status store_files(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                             nb_error *err)
{
    const char *s = NULL;
    size_t len = 0, named = 0;
    bool map = v->type == NBI_JT_OBJECT;
    if (!map && (!nbi_json_to_str(v, &s, &len) || len == 0 || strlen(s) != len))
        return wrong(k, v, where, err, "a file, or a map of names to files");
    named = map ? v->n : count_named(s);
    nb_named_file *sets =
        nbi_arena_alloc(&r->arena, (named + 1) * sizeof *sets, _Alignof(nb_named_file));
    if (!sets)
        return nomem(k, err);
    r->eval_sets.v = sets;
    if (!map)
        return named ? store_flag_sets(r, sets, k, s, err)
                     : put_set(r, sets, k, NULL, 0, s, len, err);
    for (const nbi_json *e = v->first; e; e = e->next) {
        if (!is_set_name(e->key, e->key_len))
            return nbi_fail(
                err, NB_CONFIG,
                "%s: %s: the name \"%.80s\" of a set: expected up to 64 letters, digits "
                "and _ - .",
                where, k->name, e->key);
        if (!nbi_json_to_str(e, &s, &len) || len == 0 || strlen(s) != len)
            return wrong(k, e, where, err, "a file for each name");
        NBI_TRY(put_set(r, sets, k, e->key, e->key_len, s, len, err));
    }
    return NB_OK;
}

static nb_status store_prompts(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                               nb_error *err)
{
    const bool list = v->type == NBI_JT_ARRAY;
    const size_t most = list ? v->n : 1;
    const char **texts =
        nbi_arena_alloc(&r->arena, (most + 1) * sizeof *texts, _Alignof(const char *));
    const char *s;
    size_t n = 0, len;
    if (!texts)
        return nomem(k, err);
    for (const nbi_json *e = list ? v->first : v; e && n < most; e = e->next) {
        if (!nbi_json_to_str(e, &s, &len) || len == 0 || strlen(s) != len)
            return wrong(k, e, where, err, "a file, or a list of prompts");
        texts[n] = nbi_arena_strndup(&r->arena, s, len);
        if (!texts[n++])
            return nomem(k, err);
    }
    r->sample_prompts.v = texts;
    r->sample_prompts.n = n;
    r->sample_prompts.file = !list;
    return NB_OK;
}

/* A word of YAML as what JSON would make of it. */
static void write_option(nbi_json_writer *w, const nbi_json *v)
{
    double x;
    bool b;
    if (nbi_json_is_null(v))
        nbi_jw_null(w);
    else if (v->type == NBI_JT_BOOL || (v->type == NBI_JT_SCALAR && nbi_json_to_bool(v, &b)))
        nbi_jw_bool(w, v->type == NBI_JT_BOOL ? v->boolean : b);
    else if (v->type != NBI_JT_STRING && nbi_json_to_f64(v, &x) && isfinite(x))
        nbi_jw_f64(w, x);
    else
        nbi_jw_strn(w, v->text, v->text_len);
}

static nb_status store_object(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                              nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_json_writer w;
    nb_status st = NB_OK;
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_object(&w);
    for (const nbi_json *e = v->first; st == NB_OK && e; e = e->next) {
        if (e->type == NBI_JT_ARRAY || e->type == NBI_JT_OBJECT)
            st = wrong(k, e, where, err, "a number or a word for each name");
        nbi_jw_key(&w, e->key);
        if (st == NB_OK)
            write_option(&w, e);
    }
    nbi_jw_object_end(&w);
    st = st == NB_OK ? nbi_strbuf_check(&b, err) : st;
    char *copy = st == NB_OK ? nbi_arena_strndup(&r->arena, b.s, strlen(b.s)) : NULL;
    nbi_strbuf_free(&b);
    if (st == NB_OK && !copy)
        return nomem(k, err);
    if (copy)
        memcpy(field(r, k), &copy, sizeof copy);
    return st;
}

/* A map, or a text that holds one, as HF's command line takes it. */
static nb_status store_options(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                               nb_error *err)
{
    nbi_arena scratch;
    nbi_json *doc;
    const char *s;
    size_t len;
    if (v->type == NBI_JT_OBJECT)
        return store_object(r, k, v, where, err);
    if (!nbi_json_to_str(v, &s, &len) || s[strspn(s, " ")] != '{')
        return wrong(k, v, where, err, "a map of names to values");
    nbi_arena_init(&scratch, NBI_MEM_OTHER);
    nb_status st = nbi_yaml_parse_value(&scratch, where, s + strspn(s, " "), &doc, err);
    st = nbi_fail_format_as(err, st, NB_CONFIG);
    if (st == NB_OK)
        st = store_object(r, k, doc, where, err);
    nbi_arena_free(&scratch);
    return st;
}

/* Only characters of module names: a name (or several), not a regular expression. */
static bool is_names(const char *s)
{
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_., ")] == 0;
}

static nb_status store_modules(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                               nb_error *err)
{
    bool target = k->offset == offsetof(struct nb_recipe, lora.targets);
    char **regex = target ? &r->lora.targets_regex : &r->lora.exclude_regex;
    const char *s;
    size_t len;
    if (v->type != NBI_JT_ARRAY && nbi_json_to_str(v, &s, &len)) {
        if (target && !strcmp(s, "all-linear")) {
            r->lora.all_linear = true;
            return NB_OK;
        }
        if (!is_names(s)) {
            *regex = nbi_strndup(NBI_MEM_OTHER, s, len);
            return *regex ? NB_OK : nomem(k, err);
        }
    }
    NBI_TRY(store_texts(field(r, k), k, v, where, err));
    if (target && r->lora.targets.n == 1 && !strcmp(r->lora.targets.v[0], "all-linear")) {
        nbi_key_clear(r, k);
        r->lora.all_linear = true;
    }
    return NB_OK;
}

static void clear_texts(text_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        nbi_free(list->v[i]);
    nbi_array_free(list);
}

void nbi_key_clear(nb_recipe *r, const nbi_key *k)
{
    if (k->type == NBI_KEY_TEXTS || k->type == NBI_KEY_MODULES)
        clear_texts(field(r, k));
    if (k->type == NBI_KEY_MODULES) {
        bool target = k->offset == offsetof(struct nb_recipe, lora.targets);
        char **regex = target ? &r->lora.targets_regex : &r->lora.exclude_regex;
        nbi_free(*regex);
        *regex = NULL;
        if (target)
            r->lora.all_linear = false;
    }
    if (k->type == NBI_KEY_INTS) {
        int_list *list = field(r, k);
        nbi_array_free(list);
    }
    if (k->type == NBI_KEY_PATTERNS) {
        pattern_list *list = field(r, k);
        for (size_t i = 0; i < list->n; i++)
            nbi_free(list->v[i].key);
        nbi_array_free(list);
    }
    if (k->type == NBI_KEY_VARS)
        r->data_config.n_template_vars = 0;
    if (k->type == NBI_KEY_FILES)
        r->eval_data = NULL;
    memset(field(r, k), 0, k->size);
}

nb_status nbi_key_reset(nb_recipe *r, const nbi_key *k, nb_error *err)
{
    nbi_key_clear(r, k);
    if (!k->value)
        return NB_OK;
    nbi_json v = {.type = NBI_JT_SCALAR, .text = k->value, .text_len = strlen(k->value)};
    return nbi_key_store(r, k, &v, "default", err);
}

nb_status nbi_key_store(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                        nb_error *err)
{
    if (nbi_json_is_null(v))
        return nbi_key_reset(r, k, err);
    nbi_key_clear(r, k);
    switch (k->type) {
    case NBI_KEY_TEXT:
        return store_text(r, k, v, where, err);
    case NBI_KEY_BOOL:
        return store_bool(r, k, v, where, err);
    case NBI_KEY_INT:
        return store_int(r, k, v, where, err);
    case NBI_KEY_FLOAT:
        return store_float(r, k, v, where, err);
    case NBI_KEY_STEPS:
        return store_steps(r, k, v, where, err);
    case NBI_KEY_FILES:
        return store_files(r, k, v, where, err);
    case NBI_KEY_PROMPTS:
        return store_prompts(r, k, v, where, err);
    case NBI_KEY_CHOICE:
        return store_choice(r, k, v, where, err);
    case NBI_KEY_TEXTS:
        return store_texts(field(r, k), k, v, where, err);
    case NBI_KEY_INTS:
        return store_ints(r, k, v, where, err);
    case NBI_KEY_PATTERNS:
        return store_patterns(r, k, v, where, err);
    case NBI_KEY_VARS:
        return store_vars(r, k, v, where, err);
    case NBI_KEY_OPTIONS:
        return store_options(r, k, v, where, err);
    case NBI_KEY_MODULES:
        return store_modules(r, k, v, where, err);
    }
    return nbi_fail(err, NB_INTERNAL, "%s: key without a type", k->name);
}

static void write_text(nbi_json_writer *w, const char *s)
{
    if (s)
        nbi_jw_str(w, s);
    else
        nbi_jw_null(w);
}

static void write_texts(nbi_json_writer *w, const text_list *list)
{
    nbi_jw_array(w);
    for (size_t i = 0; i < list->n; i++)
        nbi_jw_str(w, list->v[i]);
    nbi_jw_array_end(w);
}

static void write_choice(const nb_recipe *r, const nbi_key *k, nbi_json_writer *w)
{
    int value;
    bool flag;
    memcpy(&flag, field(r, k), sizeof flag);
    if (k->size == sizeof flag)
        value = flag;
    else
        memcpy(&value, field(r, k), sizeof value);
    for (const nbi_choice *c = k->choices; c->text; c++)
        if (c->value == value) {
            if (strcmp(c->text, "true") == 0 || strcmp(c->text, "false") == 0)
                nbi_jw_bool(w, c->text[0] == 't');
            else
                nbi_jw_str(w, c->text);
            return;
        }
    nbi_jw_null(w);
}

static void write_int(const nb_recipe *r, const nbi_key *k, nbi_json_writer *w)
{
    int64_t x;
    int small;
    memcpy(&small, field(r, k), sizeof small);
    x = small;
    if (k->size == sizeof x)
        memcpy(&x, field(r, k), sizeof x);
    nbi_jw_i64(w, x);
}

static void write_modules(const nb_recipe *r, const nbi_key *k, nbi_json_writer *w)
{
    bool target = k->offset == offsetof(struct nb_recipe, lora.targets);
    const char *regex = target ? r->lora.targets_regex : r->lora.exclude_regex;
    if (target && r->lora.all_linear)
        nbi_jw_str(w, "all-linear");
    else if (regex)
        nbi_jw_str(w, regex);
    else
        write_texts(w, field(r, k));
}

static void write_patterns(const pattern_list *list, nbi_json_writer *w)
{
    nbi_jw_object(w);
    for (size_t i = 0; i < list->n; i++) {
        nbi_jw_member_f64(w, list->v[i].key, list->v[i].value);
    }
    nbi_jw_object_end(w);
}

static void write_vars(const nb_data_config *c, nbi_json_writer *w)
{
    nbi_jw_object(w);
    for (size_t i = 0; i < c->n_template_vars; i++) {
        nbi_jw_member_str(w, c->template_vars[i].name, c->template_vars[i].value);
    }
    nbi_jw_object_end(w);
}

/* As it was given: a file, or a map. */
static void write_files(const nb_recipe *r, nbi_json_writer *w)
{
    size_t n = r->eval_sets.n;
    bool map = n > 0 && r->eval_sets.v[0].name;
    if (!map) {
        write_text(w, n ? r->eval_sets.v[0].path : NULL);
        return;
    }
    nbi_jw_object(w);
    for (size_t i = 0; i < n; i++) {
        nbi_jw_member_str(w, r->eval_sets.v[i].name, r->eval_sets.v[i].path);
    }
    nbi_jw_object_end(w);
}

static void write_prompts(const nb_recipe *r, nbi_json_writer *w)
{
    if (r->sample_prompts.file) {
        nbi_jw_str(w, r->sample_prompts.v[0]);
        return;
    }
    nbi_jw_array(w);
    for (size_t i = 0; i < r->sample_prompts.n; i++)
        nbi_jw_str(w, r->sample_prompts.v[i]);
    nbi_jw_array_end(w);
}

/* Whole numbers without a decimal point. */
static void write_steps(nbi_json_writer *w, double x)
{
    if (x == 0)
        nbi_jw_null(w);
    else if (x == floor(x))
        nbi_jw_i64(w, (int64_t)x);
    else
        nbi_jw_f64(w, x);
}

void nbi_key_write(const nb_recipe *r, const nbi_key *k, nbi_json_writer *w)
{
    const void *f = field(r, k);
    const char *s;
    double d;
    bool b;
    switch (k->type) {
    case NBI_KEY_TEXT:
        memcpy(&s, f, sizeof s);
        write_text(w, s);
        break;
    case NBI_KEY_BOOL:
        memcpy(&b, f, sizeof b);
        nbi_jw_bool(w, b);
        break;
    case NBI_KEY_INT:
        write_int(r, k, w);
        break;
    case NBI_KEY_FLOAT:
        memcpy(&d, f, sizeof d);
        nbi_jw_f64(w, d);
        break;
    case NBI_KEY_STEPS:
        memcpy(&d, f, sizeof d);
        write_steps(w, d);
        break;
    case NBI_KEY_FILES:
        write_files(r, w);
        break;
    case NBI_KEY_PROMPTS:
        write_prompts(r, w);
        break;
    case NBI_KEY_CHOICE:
        write_choice(r, k, w);
        break;
    case NBI_KEY_TEXTS:
        write_texts(w, f);
        break;
    case NBI_KEY_INTS: {
        const int_list *list = f;
        nbi_jw_array(w);
        for (size_t i = 0; i < list->n; i++)
            nbi_jw_i64(w, list->v[i]);
        nbi_jw_array_end(w);
        break;
    }
    case NBI_KEY_PATTERNS:
        write_patterns(f, w);
        break;
    case NBI_KEY_VARS:
        write_vars(&r->data_config, w);
        break;
    case NBI_KEY_OPTIONS:
        memcpy(&s, f, sizeof s);
        nbi_jw_raw(w, s ? s : "null");
        break;
    case NBI_KEY_MODULES:
        write_modules(r, k, w);
        break;
    }
}
