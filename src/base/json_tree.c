/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/json_build.h"
#include "base/mapfile.h"

static nb_status add_event(nbi_tree_builder *b, const nbi_json_reader *r, nbi_json_event ev,
                           nb_error *err)
{
    switch (ev) {
    case NBI_JSON_OBJECT_BEGIN:
        return nbi_tree_open(b, NBI_JT_OBJECT, err);
    case NBI_JSON_ARRAY_BEGIN:
        return nbi_tree_open(b, NBI_JT_ARRAY, err);
    case NBI_JSON_OBJECT_END:
    case NBI_JSON_ARRAY_END:
        nbi_tree_close(b);
        return NB_OK;
    case NBI_JSON_KEY:
        return nbi_tree_key(b, r->text, r->text_len, err);
    case NBI_JSON_STRING:
        return nbi_tree_value(b, NBI_JT_STRING, r->text, r->text_len, false, err);
    case NBI_JSON_NUMBER:
        return nbi_tree_value(b, NBI_JT_NUMBER, r->text, r->text_len, false, err);
    case NBI_JSON_TRUE:
    case NBI_JSON_FALSE:
        return nbi_tree_value(b, NBI_JT_BOOL, NULL, 0, ev == NBI_JSON_TRUE, err);
    case NBI_JSON_NULL:
        return nbi_tree_value(b, NBI_JT_NULL, NULL, 0, false, err);
    case NBI_JSON_END:
        break;
    }
    return NB_OK;
}

nb_status nbi_json_parse(nbi_arena *arena, const char *name, const void *buf, size_t len,
                         nbi_json **out, nb_error *err)
{
    nb_status st;
    nbi_json_reader r;
    nbi_tree_builder b;
    nbi_json_event ev;
    nbi_json_reader_init(&r, name, buf, len);
    nbi_tree_begin(&b, arena, r.name, NBI_JSON_MAX_DEPTH);
    do {
        NBI_TRY_GOTO(nbi_json_next(&r, &ev, err), done);
        b.offset = r.offset;
        NBI_TRY_GOTO(add_event(&b, &r, ev, err), done);
    } while (ev != NBI_JSON_END);
    *out = b.root;
done:
    nbi_tree_end(&b);
    nbi_json_reader_free(&r);
    return st;
}

nb_status nbi_json_parse_file(nbi_arena *arena, const char *path, size_t max_bytes, nbi_json **out,
                              nb_error *err)
{
    char *text;
    size_t len;
    NBI_TRY(nbi_read_file(path, max_bytes, &text, &len, err));
    nb_status st = nbi_json_parse(arena, path, text, len, out, err);
    nbi_free(text);
    return st;
}

nbi_json *nbi_json_get(const nbi_json *obj, const char *key)
{
    if (!obj || obj->type != NBI_JT_OBJECT)
        return NULL;
    size_t len = strlen(key);
    for (nbi_json *m = obj->first; m; m = m->next)
        if (m->key_len == len && memcmp(m->key, key, len) == 0)
            return m;
    return NULL;
}

nbi_json *nbi_json_at(const nbi_json *v, size_t i)
{
    if (!v || i >= v->n)
        return NULL;
    nbi_json *c = v->first;
    while (i-- > 0)
        c = c->next;
    return c;
}

bool nbi_json_is_null(const nbi_json *v)
{
    return !v || v->type == NBI_JT_NULL;
}

static bool has_text(const nbi_json *v)
{
    return v && (v->type == NBI_JT_STRING || v->type == NBI_JT_SCALAR);
}

static bool is_numeric(const nbi_json *v)
{
    return v && (v->type == NBI_JT_NUMBER || v->type == NBI_JT_SCALAR);
}

bool nbi_json_equals(const nbi_json *v, const char *text)
{
    return has_text(v) && strlen(text) == v->text_len && memcmp(v->text, text, v->text_len) == 0;
}

bool nbi_json_to_bool(const nbi_json *v, bool *r)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false", "no", "off"};
    if (!v)
        return false;
    if (v->type == NBI_JT_BOOL) {
        *r = v->boolean;
        return true;
    }
    if (v->type != NBI_JT_SCALAR || strlen(v->text) != v->text_len)
        return false;
    for (int i = 0; i < 3; i++) {
        if (strcasecmp(v->text, yes[i]) == 0 || strcasecmp(v->text, no[i]) == 0) {
            *r = strcasecmp(v->text, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

bool nbi_json_to_i64(const nbi_json *v, int64_t *r)
{
    double d;
    if (!is_numeric(v))
        return false;
    if (nbi_parse_i64(v->text, v->text_len, r))
        return true;
    if (!nbi_parse_f64(v->text, v->text_len, &d))
        return false;
    /* beyond 2^53 a double does not tell which integer was meant */
    if (d != floor(d) || fabs(d) > 0x1p53)
        return false;
    *r = (int64_t)d;
    return true;
}

bool nbi_json_to_f64(const nbi_json *v, double *r)
{
    return is_numeric(v) && nbi_parse_f64(v->text, v->text_len, r);
}

bool nbi_json_to_str(const nbi_json *v, const char **s, size_t *len)
{
    if (!has_text(v))
        return false;
    *s = v->text;
    if (len)
        *len = v->text_len;
    return true;
}

/* What a value is, for messages. */
static const char *describe(const nbi_json *v, char buf[80])
{
    static const char *const type[] = {"null",   "a boolean", "a number", "the text",
                                       "a list", "an object", ""};
    switch (v->type) {
    case NBI_JT_BOOL:
        return v->boolean ? "true" : "false";
    case NBI_JT_NUMBER:
    case NBI_JT_SCALAR:
        snprintf(buf, 80, "%.*s%s", v->text_len > 48 ? 48 : (int)v->text_len, v->text,
                 v->text_len > 48 ? "..." : "");
        return buf;
    case NBI_JT_STRING:
        snprintf(buf, 80, "\"%.*s%s\"", v->text_len > 48 ? 48 : (int)v->text_len, v->text,
                 v->text_len > 48 ? "..." : "");
        return buf;
    default:
        return type[v->type];
    }
}

static nb_status wrong(const nbi_json *v, const char *where, const char *expected, nb_error *err)
{
    char buf[80], line[32] = "";
    if (v->line > 0)
        snprintf(line, sizeof(line), ":%d", v->line);
    return nbi_fail(err, NB_FORMAT, "%s%s: \"%s\" is %s, expected %s", where, line, v->key,
                    describe(v, buf), expected);
}

nb_status nbi_json_get_i64(const nbi_json *obj, const char *where, const char *key, int64_t min,
                           int64_t max, int64_t *r, nb_error *err)
{
    const nbi_json *v = nbi_json_get(obj, key);
    int64_t x;
    if (nbi_json_is_null(v))
        return NB_OK;
    if (!nbi_json_to_i64(v, &x) || x < min || x > max) {
        char expected[96] = "an integer";
        if (min != INT64_MIN || max != INT64_MAX)
            snprintf(expected, sizeof(expected), "an integer from %lld to %lld", (long long)min,
                     (long long)max);
        return wrong(v, where, expected, err);
    }
    *r = x;
    return NB_OK;
}

nb_status nbi_json_get_f64(const nbi_json *obj, const char *where, const char *key, double *r,
                           nb_error *err)
{
    const nbi_json *v = nbi_json_get(obj, key);
    if (nbi_json_is_null(v))
        return NB_OK;
    return nbi_json_to_f64(v, r) ? NB_OK : wrong(v, where, "a number", err);
}

nb_status nbi_json_get_bool(const nbi_json *obj, const char *where, const char *key, bool *r,
                            nb_error *err)
{
    const nbi_json *v = nbi_json_get(obj, key);
    if (nbi_json_is_null(v))
        return NB_OK;
    return nbi_json_to_bool(v, r) ? NB_OK : wrong(v, where, "true or false", err);
}

nb_status nbi_json_get_str(const nbi_json *obj, const char *where, const char *key, const char **r,
                           nb_error *err)
{
    const nbi_json *v = nbi_json_get(obj, key);
    const char *s;
    size_t len;
    if (nbi_json_is_null(v))
        return NB_OK;
    if (!nbi_json_to_str(v, &s, &len))
        return wrong(v, where, "a string", err);
    if (strlen(s) != len)
        return wrong(v, where, "a string without NUL characters", err);
    *r = s;
    return NB_OK;
}
