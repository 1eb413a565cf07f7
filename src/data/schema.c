/* SPDX-License-Identifier: MIT */
#include "data/schema.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"

/* In the order in which `auto` tries them. */
static const nbi_schema *const registry[] = {
    &nbi_schema_tokenized, &nbi_schema_messages,    &nbi_schema_prompt_completion,
    &nbi_schema_alpaca,    &nbi_schema_instruction, &nbi_schema_text,
    &nbi_schema_template,
};
#define N_SCHEMAS (sizeof registry / sizeof *registry)

const nbi_schema *nbi_schema_find(nb_data_format f)
{
    for (size_t i = 0; i < N_SCHEMAS; i++)
        if (registry[i]->format == f)
            return registry[i];
    return NULL;
}

static const nbi_json *find_field(const nbi_json *row, const nbi_field *f)
{
    const nbi_json *v = nbi_json_get(row, f->name);
    const nbi_json *other = f->other && nbi_json_is_null(v) ? nbi_json_get(row, f->other) : NULL;
    return other ? other : v;
}

/* A field of another type than the format wants. */
typedef struct mismatch {
    const nbi_json *v; /* NULL: none */
    const char *expected;
} mismatch;

/* Whether a row has all fields of a format, and the first with another type. */
static bool has_fields(const nbi_schema *s, const nbi_json *row, mismatch *wrong)
{
    const nbi_json *first = NULL;
    *wrong = (mismatch){NULL, NULL};
    for (size_t i = 0; i < sizeof s->fields / sizeof *s->fields && s->fields[i].name; i++) {
        const nbi_field *f = &s->fields[i];
        const nbi_json *v = find_field(row, f);
        if (!v)
            return false;
        bool text = f->text, list = f->list;
        if (text && list && first)
            text = !(list = first->type == NBI_JT_ARRAY);
        bool fits = (text && v->type == NBI_JT_STRING) || (list && v->type == NBI_JT_ARRAY);
        if (!fits && !wrong->v)
            *wrong = (mismatch){v, text && list ? "a text or a list" : text ? "a text" : "a list"};
        first = first ? first : v;
    }
    return first != NULL;
}

const nbi_schema *nbi_schema_guess(const nbi_json *row)
{
    for (size_t i = 0; i < N_SCHEMAS; i++) {
        const nbi_schema *s = registry[i];
        mismatch wrong;
        if (has_fields(s, row, &wrong) && !wrong.v && !(s->refuses && s->refuses(row)))
            return s;
    }
    return NULL;
}

const char *nb_data_format_name(nb_data_format f)
{
    switch (f) {
#define NAME(name, text)                                                                           \
    case NB_DATA_##name:                                                                           \
        return text;
        NB_DATA_FORMAT_MAP(NAME)
#undef NAME
    }
    return "unknown";
}

void nbi_schema_fields(const nbi_json *row, nbi_strbuf *out)
{
    enum { SHOWN = 12 };
    size_t i = 0;
    for (const nbi_json *m = row->first; m && i < SHOWN; m = m->next, i++)
        nbi_strbuf_printf(out, "%s\"%.60s\"", i ? ", " : "", m->key);
    if (row->n > SHOWN)
        nbi_strbuf_printf(out, " and %zu more", row->n - SHOWN);
    if (row->n == 0)
        nbi_strbuf_puts(out, "no fields");
}

const char *nbi_json_type_text(const nbi_json *v)
{
    switch (v->type) {
    case NBI_JT_NULL:
        return "null";
    case NBI_JT_BOOL:
        return "true or false";
    case NBI_JT_NUMBER:
        return "a number";
    case NBI_JT_STRING:
    case NBI_JT_SCALAR:
        return "a text";
    case NBI_JT_ARRAY:
        return "a list";
    case NBI_JT_OBJECT:
        return "an object";
    }
    return "unknown";
}

nb_status nbi_row_fail(const nbi_row *row, const char *field, nb_error *err, const char *fmt, ...)
{
    char text[sizeof err->message];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return nbi_fail(err, NB_DATA, "%s:%lld: field \"%s\": %s", row->path, (long long)row->line,
                    field, text);
}

nb_status nbi_schema_unknown(const nbi_row *row, nb_error *err)
{
    for (size_t i = 0; i < N_SCHEMAS; i++) {
        mismatch wrong;
        if (has_fields(registry[i], row->v, &wrong) && wrong.v)
            return nbi_row_fail(row, wrong.v->key, err,
                                "found %s, expected %s; the row looks like format %s, which needs "
                                "%s",
                                nbi_json_type_text(wrong.v), wrong.expected, registry[i]->name,
                                registry[i]->needs);
    }
    nbi_strbuf found = {0};
    nbi_schema_fields(row->v, &found);
    nb_status st = nbi_fail(err, NB_DATA,
                            "%s:%lld: no known format has the fields %s; name them with template "
                            "(\"...{column}...\") or text_column, or use instruction+output, "
                            "messages, prompt+completion, text or input_ids",
                            row->path, (long long)row->line, nbi_strbuf_str(&found));
    nbi_strbuf_free(&found);
    return st;
}

static nb_status missing(const nbi_schema *s, const nbi_row *row, const char *field, nb_error *err)
{
    nbi_strbuf found = {0};
    nbi_schema_fields(row->v, &found);
    const nbi_schema *guess = nbi_schema_guess(row->v);
    nb_status st =
        nbi_fail(err, NB_DATA, "%s:%lld: field \"%s\" is missing; found %s; format %s needs %s%s%s",
                 row->path, (long long)row->line, field, nbi_strbuf_str(&found), s->name, s->needs,
                 guess && guess != s ? "; the row looks like format " : "",
                 guess && guess != s ? guess->name : "");
    nbi_strbuf_free(&found);
    return st;
}

nb_status nbi_row_text(const nbi_schema *s, const nbi_row *row, const char *field, bool optional,
                       const char **text, size_t *len, nb_error *err)
{
    const nbi_json *v = nbi_json_get(row->v, field);
    *text = "";
    *len = 0;
    if (optional && nbi_json_is_null(v))
        return NB_OK;
    if (!v)
        return missing(s, row, field, err);
    if (v->type != NBI_JT_STRING)
        return nbi_row_fail(row, field, err, "found %s, expected a text", nbi_json_type_text(v));
    *text = v->text;
    *len = v->text_len;
    return NB_OK;
}

void nbi_mask_after(nbi_rendering *out, const char *marker)
{
    size_t m = strlen(marker);
    const char *s = nbi_strbuf_str(&out->text);
    out->mask = NBI_MASK_NONE;
    out->reason = "response_template does not occur";
    for (size_t end = out->text.n; end >= m; end--)
        if (!memcmp(s + end - m, marker, m)) {
            out->mask = NBI_MASK_PREFIX;
            out->prompt_len = end;
            return;
        }
}
