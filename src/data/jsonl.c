/* SPDX-License-Identifier: MIT */
/* Rows of JSON files: one object a line, or one list of objects. */
#include <string.h>
#include "base/fail.h"
#include "base/utf8.h"
#include "data/rowsource.h"

static nb_status add(nbi_rowsource *s, int64_t line, size_t begin, size_t end, nb_error *err)
{
    NBI_TRY(nbi_rowsource_poll(s, err));
    if (end - begin > NBI_ROW_MAX_BYTES)
        return nbi_fail(err, NB_LIMIT, "%s:%lld: the row has %zu bytes, more than the limit of %zu",
                        s->map.path, (long long)line, end - begin, NBI_ROW_MAX_BYTES);
    nbi_record rec = {.line = line, .begin = begin, .end = end};
    if (!nbi_array_push(&s->records, rec))
        return nbi_fail_nomem(err, s->map.path, (s->records.n + 1) * sizeof rec);
    return NB_OK;
}

static bool is_blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != ' ' && p[i] != '\t' && p[i] != '\r')
            return false;
    return true;
}

bool nbi_lines_next(nbi_lines *l, const char **s, size_t *len)
{
    while (l->pos < l->len) {
        const char *begin = l->text + l->pos, *feed = memchr(begin, '\n', l->len - l->pos);
        size_t n = feed ? (size_t)(feed - begin) : l->len - l->pos;
        l->pos += n + (feed != NULL);
        l->line++;
        if (is_blank(begin, n))
            continue;
        *s = begin;
        *len = n - (begin[n - 1] == '\r');
        return true;
    }
    return false;
}

nb_status nbi_jsonl_scan(nbi_rowsource *s, nb_error *err)
{
    const char *p = (const char *)s->map.data, *row;
    size_t n;
    nbi_lines l = {.text = p, .len = s->map.size, .pos = nbi_utf8_bom(p, s->map.size)};
    while (s->records.n < s->max_rows && nbi_lines_next(&l, &row, &n)) {
        size_t begin = (size_t)(row - p);
        NBI_TRY(add(s, l.line, begin, begin + n, err));
    }
    return NB_OK;
}

/* Reads on to the end of the value that `ev` has begun. */
static nb_status finish_value(nbi_json_reader *r, nbi_json_event ev, nb_error *err)
{
    int open = ev == NBI_JSON_OBJECT_BEGIN || ev == NBI_JSON_ARRAY_BEGIN;
    while (open > 0) {
        NBI_TRY(nbi_json_next(r, &ev, err));
        if (ev == NBI_JSON_OBJECT_BEGIN || ev == NBI_JSON_ARRAY_BEGIN)
            open++;
        else if (ev == NBI_JSON_OBJECT_END || ev == NBI_JSON_ARRAY_END)
            open--;
    }
    return NB_OK;
}

static nb_status scan_list(nbi_rowsource *s, nbi_json_reader *r, nb_error *err)
{
    const char *p = (const char *)s->map.data;
    int64_t line = 1;
    size_t counted = 0;
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(r, &ev, err)); /* the bracket */
    while (s->records.n < s->max_rows) {
        NBI_TRY(nbi_json_next(r, &ev, err));
        if (ev == NBI_JSON_ARRAY_END)
            return nbi_json_next(r, &ev, err); /* nothing may follow */
        size_t begin = r->offset;
        for (const char *f; (f = memchr(p + counted, '\n', begin - counted)); line++)
            counted = (size_t)(f - p) + 1;
        counted = begin;
        NBI_TRY(finish_value(r, ev, err));
        NBI_TRY(add(s, line, begin, r->pos, err));
    }
    return NB_OK;
}

nb_status nbi_json_list_scan(nbi_rowsource *s, nb_error *err)
{
    nbi_json_reader r;
    nbi_json_reader_init(&r, s->map.path, s->map.data, s->map.size);
    nb_status st = scan_list(s, &r, err);
    nbi_json_reader_free(&r);
    return nbi_fail_format_as(err, st, NB_DATA);
}
