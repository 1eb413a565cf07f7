/* SPDX-License-Identifier: MIT */
#include "data/rowsource.h"

#include <string.h>
#include <strings.h>
#include "base/fail.h"
#include "base/utf8.h"

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcasecmp(s + n - m, suffix) == 0;
}

/* Files that people try and that no text reader can make sense of. */
static nb_status refuse_binary(const nbi_rowsource *s, nb_error *err)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *what;
    } known[] = {
        {"PAR1", 4, "a Parquet file; convert it to .jsonl or .csv"},
        {"ARROW1", 6, "an Arrow file; convert it to .jsonl or .csv"},
        {"\x1f\x8b", 2, "compressed with gzip; unpack it first"},
        {"\x28\xb5\x2f\xfd", 4, "compressed with zstd; unpack it first"},
        {"PK\x03\x04", 4, "a zip archive or spreadsheet; save the rows as .csv"},
        {"\xff\xfe", 2, "UTF-16 text; save it as UTF-8"},
        {"\xfe\xff", 2, "UTF-16 text; save it as UTF-8"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (s->map.size >= known[i].len && !memcmp(s->map.data, known[i].magic, known[i].len))
            return nbi_fail(err, NB_DATA, "%s: is %s", s->map.path, known[i].what);
    return NB_OK;
}

static nbi_file_kind find_kind(const nbi_rowsource *s)
{
    const char *p = (const char *)s->map.data;
    size_t n = s->map.size, i = nbi_utf8_bom(p, n);
    if (ends_with(s->map.path, ".csv") || ends_with(s->map.path, ".tsv"))
        return NBI_FILE_CSV;
    while (i < n && (p[i] == ' ' || p[i] == '\t' || p[i] == '\r' || p[i] == '\n'))
        i++;
    if (i < n && p[i] == '[')
        return NBI_FILE_JSON;
    if ((i < n && p[i] == '{') || ends_with(s->map.path, ".jsonl") ||
        ends_with(s->map.path, ".json") || ends_with(s->map.path, ".ndjson"))
        return NBI_FILE_JSONL;
    return NBI_FILE_CSV;
}

nb_status nbi_rowsource_open(nbi_rowsource *s, const char *path, int64_t max_rows,
                             const volatile sig_atomic_t *stop, const nb_log *log, nb_error *err)
{
    memset(s, 0, sizeof *s);
    nbi_arena_init(&s->arena, NBI_MEM_IO);
    s->stop = stop;
    s->max_rows = max_rows > 0 ? (size_t)max_rows : SIZE_MAX;
    nb_status st = nbi_mapfile_open(&s->map, path, err);
    if (st != NB_OK)
        return st;
    if (s->map.size == 0)
        st = nbi_fail(err, NB_DATA, "%s: the file is empty", path);
    if (st == NB_OK)
        st = refuse_binary(s, err);
    if (st == NB_OK) {
        s->kind = find_kind(s);
        st = s->kind == NBI_FILE_CSV    ? nbi_csv_scan(s, log, err)
             : s->kind == NBI_FILE_JSON ? nbi_json_list_scan(s, err)
                                        : nbi_jsonl_scan(s, err);
    }
    if (st != NB_OK)
        nbi_rowsource_close(s);
    return st;
}

nb_status nbi_rowsource_poll(const nbi_rowsource *s, nb_error *err)
{
    if (s->stop && *s->stop)
        return nbi_fail(err, NB_INTERRUPTED, "%s: interrupted while reading the rows", s->map.path);
    return NB_OK;
}

void nbi_rowsource_close(nbi_rowsource *s)
{
    if (s->map.path)
        nbi_mapfile_close(&s->map);
    nbi_array_free(&s->records);
    nbi_arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

static nb_status csv_row(const nbi_rowsource *s, const nbi_record *rec, nbi_arena *arena,
                         nbi_json **row, nb_error *err)
{
    nbi_json *v = nbi_arena_alloc(arena, (s->n_columns + 1) * sizeof *v, _Alignof(nbi_json));
    if (!v)
        return nbi_fail_nomem(err, s->map.path, (s->n_columns + 1) * sizeof *v);
    memset(v, 0, (s->n_columns + 1) * sizeof *v);
    v[0].type = NBI_JT_OBJECT;
    v[0].n = s->n_columns;
    v[0].first = s->n_columns ? &v[1] : NULL;
    for (size_t i = 0; i < s->n_columns; i++) {
        nbi_json *c = &v[i + 1];
        c->type = NBI_JT_STRING;
        c->text = rec->cells[i].text;
        c->text_len = rec->cells[i].len;
        c->key = s->columns[i].text;
        c->key_len = s->columns[i].len;
        c->next = i + 1 < s->n_columns ? c + 1 : NULL;
    }
    *row = v;
    return NB_OK;
}

static const char *type_name(const nbi_json *v)
{
    switch (v->type) {
    case NBI_JT_ARRAY:
        return "a list";
    case NBI_JT_STRING:
        return "a text";
    case NBI_JT_NUMBER:
        return "a number";
    default:
        return "a single value";
    }
}

nb_status nbi_rowsource_row(const nbi_rowsource *s, size_t i, nbi_arena *arena, nbi_json **row,
                            nb_error *err)
{
    const nbi_record *rec = &s->records.v[i];
    if (s->kind == NBI_FILE_CSV)
        return csv_row(s, rec, arena, row, err);
    nbi_strbuf name = {0};
    nbi_strbuf_printf(&name, "%s:%lld", s->map.path, (long long)rec->line);
    nb_status st = nbi_strbuf_check(&name, err);
    if (st == NB_OK)
        st = nbi_json_parse(arena, name.s, s->map.data + rec->begin, rec->end - rec->begin, row,
                            err);
    st = nbi_fail_format_as(err, st, NB_DATA);
    if (st == NB_OK && (*row)->type != NBI_JT_OBJECT)
        st =
            nbi_fail(err, NB_DATA, "%s: the row is %s, expected an object {\"column\": value, ...}",
                     name.s, type_name(*row));
    nbi_strbuf_free(&name);
    return st;
}
