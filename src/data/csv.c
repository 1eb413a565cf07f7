/* SPDX-License-Identifier: MIT */
/* CSV by RFC 4180: a header line, quoted fields with doubled quotes, line ends inside quotes kept.
 */
#include <csv.h>
#include <string.h>
#include <strings.h>
#include "base/fail.h"
#include "base/utf8.h"
#include "data/rowsource.h"

enum { FEED_MAX = 1 << 16 }; /* bytes handed to the parser at once */

typedef struct reader {
    nbi_rowsource *s;
    NBI_ARRAY(nbi_cell) cells; /* of the row being read */
    int64_t line;              /* where the row begins */
    bool in_row, full;
    nb_status st;
    nb_error *err;
} reader;

static void *resize(void *p, size_t n)
{
    return nbi_realloc(NBI_MEM_IO, p, n);
}

static int no_space(unsigned char c)
{
    (void)c; /* blanks around a field belong to it */
    return 0;
}

static nb_status nomem(reader *r, size_t n)
{
    return nbi_fail_nomem(r->err, r->s->map.path, n);
}

static nb_status take_field(reader *r, const char *text, size_t len)
{
    const char *path = r->s->map.path;
    size_t column = r->cells.n + 1;
    if (len > NBI_ROW_MAX_BYTES)
        return nbi_fail(r->err, NB_LIMIT,
                        "%s:%lld: field %zu has %zu bytes, more than the limit of %zu", path,
                        (long long)r->line, column, len, NBI_ROW_MAX_BYTES);
    if (column > NBI_CSV_MAX_COLUMNS)
        return nbi_fail(r->err, NB_LIMIT, "%s:%lld: more than %zu columns", path,
                        (long long)r->line, NBI_CSV_MAX_COLUMNS);
    size_t bad = nbi_utf8_check(text, len);
    if (bad < len)
        return nbi_fail(
            r->err, NB_DATA,
            "%s:%lld: field %zu holds byte 0x%02X, which is not UTF-8; save the file as "
            "UTF-8",
            path, (long long)r->line, column, (unsigned char)text[bad]);
    nbi_cell cell = {nbi_arena_strndup(&r->s->arena, text, len), len};
    if (!cell.text || !nbi_array_push(&r->cells, cell))
        return nomem(r, len);
    return NB_OK;
}

static void on_field(void *data, size_t len, void *user)
{
    reader *r = user;
    if (r->st == NB_OK && !r->full)
        r->st = take_field(r, data ? data : "", len);
}

static const nbi_cell *keep_cells(reader *r)
{
    size_t bytes = r->cells.n * sizeof *r->cells.v;
    nbi_cell *v = nbi_arena_alloc(&r->s->arena, bytes, _Alignof(nbi_cell));
    if (v)
        memcpy(v, r->cells.v, bytes);
    return v;
}

static nb_status take_header(reader *r)
{
    nbi_rowsource *s = r->s;
    for (size_t i = 0; i < r->cells.n; i++)
        for (size_t j = 0; j < i; j++)
            if (r->cells.v[i].len == r->cells.v[j].len &&
                !memcmp(r->cells.v[i].text, r->cells.v[j].text, r->cells.v[i].len))
                return nbi_fail(r->err, NB_DATA, "%s:%lld: the header names column \"%s\" twice",
                                s->map.path, (long long)r->line, r->cells.v[i].text);
    s->columns = (nbi_cell *)(uintptr_t)keep_cells(r);
    s->n_columns = r->cells.n;
    return s->columns ? NB_OK : nomem(r, r->cells.n * sizeof *r->cells.v);
}

static nb_status take_row(reader *r)
{
    nbi_rowsource *s = r->s;
    if (!s->columns)
        return take_header(r);
    if (r->cells.n != s->n_columns)
        return nbi_fail(r->err, NB_DATA,
                        "%s:%lld: the row has %zu fields, the header %zu; put texts with commas or "
                        "line ends in quotes",
                        s->map.path, (long long)r->line, r->cells.n, s->n_columns);
    nbi_record rec = {.line = r->line, .cells = keep_cells(r)};
    if (!rec.cells || !nbi_array_push(&s->records, rec))
        return nomem(r, sizeof rec);
    r->full = s->records.n >= s->max_rows;
    return NB_OK;
}

static void on_row(int end, void *user)
{
    reader *r = user;
    (void)end;
    if (r->st == NB_OK && !r->full)
        r->st = take_row(r);
    r->cells.n = 0;
    r->in_row = false;
}

static nb_status parse_failed(reader *r, struct csv_parser *p)
{
    if (csv_error(p) == CSV_ENOMEM)
        return nomem(r, csv_get_buffer_size(p));
    return nbi_fail(
        r->err, NB_DATA,
        "%s:%lld: a quote stands inside field %zu of the row that begins here, or is never "
        "closed; put the whole field in quotes and double each quote in it",
        r->s->map.path, (long long)r->line, r->cells.n + 1);
}

/* One physical line, in pieces; rows are made by the callbacks. */
static nb_status feed_line(reader *r, struct csv_parser *p, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t n = len - at < FEED_MAX ? len - at : FEED_MAX;
        NBI_TRY(nbi_rowsource_poll(r->s, r->err));
        /* the parser's buffer grows by blocks: blocks of its size keep long fields linear */
        size_t held = csv_get_buffer_size(p);
        csv_set_blk_size(p, held > FEED_MAX ? held : FEED_MAX);
        if (csv_parse(p, text + at, n, on_field, on_row, r) != n)
            return parse_failed(r, p);
        if (r->st == NB_OK && p->entry_pos > NBI_ROW_MAX_BYTES)
            return nbi_fail(
                r->err, NB_LIMIT,
                "%s:%lld: field %zu of the row that begins here has more than %zu bytes",
                r->s->map.path, (long long)r->line, r->cells.n + 1, NBI_ROW_MAX_BYTES);
        if (r->st != NB_OK)
            return r->st;
        at += n;
    }
    return NB_OK;
}

static bool is_blank(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != '\r' && p[i] != '\n')
            return false;
    return true;
}

static nb_status feed_all(reader *r, struct csv_parser *p, const char *text, size_t n)
{
    int64_t line = 1;
    for (size_t at = 0; at < n && !r->full; line++) {
        const char *feed = memchr(text + at, '\n', n - at);
        size_t end = feed ? (size_t)(feed - text) + 1 : n;
        if (!r->in_row && !is_blank(text + at, end - at)) {
            r->in_row = true;
            r->line = line;
        }
        NBI_TRY(feed_line(r, p, text + at, end - at));
        at = end;
    }
    if (!r->full && csv_fini(p, on_field, on_row, r) != 0)
        return parse_failed(r, p);
    return r->st;
}

/* Comma, unless the name says tab or the header has no comma but another usual separator. */
static unsigned char find_delimiter(const nbi_rowsource *s, const char *text, size_t n,
                                    const nb_log *log)
{
    size_t len = strlen(s->map.path);
    if (len >= 4 && strcasecmp(s->map.path + len - 4, ".tsv") == 0)
        return CSV_TAB;
    const char *feed = memchr(text, '\n', n);
    size_t header = feed ? (size_t)(feed - text) : n;
    if (memchr(text, ',', header))
        return CSV_COMMA;
    unsigned char found = memchr(text, ';', header)    ? ';'
                          : memchr(text, '\t', header) ? CSV_TAB
                                                       : CSV_COMMA;
    if (found != CSV_COMMA)
        nbi_log(log, NB_LOG_NOTE, "%s: columns are separated by %s", s->map.path,
                found == ';' ? "\";\"" : "tabs");
    return found;
}

nb_status nbi_csv_scan(nbi_rowsource *s, const nb_log *log, nb_error *err)
{
    const char *text = (const char *)s->map.data;
    size_t n = s->map.size, bom = nbi_utf8_bom(text, n);
    struct csv_parser p;
    reader r = {.s = s, .st = NB_OK, .err = err, .line = 1};
    if (csv_init(&p, CSV_STRICT | CSV_STRICT_FINI) != 0)
        return nomem(&r, sizeof p);
    csv_set_realloc_func(&p, resize);
    csv_set_free_func(&p, nbi_free);
    csv_set_space_func(&p, no_space);
    csv_set_delim(&p, find_delimiter(s, text + bom, n - bom, log));
    nb_status st = feed_all(&r, &p, text + bom, n - bom);
    csv_free(&p);
    nbi_array_free(&r.cells);
    if (st == NB_OK && !s->columns)
        st = nbi_fail(err, NB_DATA, "%s: no header line with the columns' names", s->map.path);
    return st;
}
