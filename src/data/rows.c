/* SPDX-License-Identifier: MIT */
/* The public reader of JSON lines (include/nibble/rows.h). */
#include "nibble/rows.h"

#include <math.h>
#include <string.h>

#include "base/array.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/mapfile.h"
#include "data/rowsource.h"

#define MAX_FILE ((size_t)4 << 30)

struct nb_rows {
    char *path, *text;
    nbi_lines lines;
    nbi_arena arena; /* of the present line's tree */
    NBI_ARRAY(int32_t) ids;
};

nb_status nb_rows_open(nb_rows **out, const char *path, nb_error *err)
{
    nb_rows *r = nbi_calloc(NBI_MEM_IO, 1, sizeof *r);
    *out = NULL;
    if (!r)
        return nbi_fail_nomem(err, path, sizeof *r);
    nbi_arena_init(&r->arena, NBI_MEM_IO);
    r->path = nbi_strdup(NBI_MEM_IO, path);
    nb_status st = r->path ? nbi_read_file(path, MAX_FILE, &r->text, &r->lines.len, err)
                           : nbi_fail_nomem(err, path, strlen(path));
    r->lines.text = r->text;
    if (st != NB_OK)
        nb_rows_close(&r);
    *out = r;
    return st;
}

void nb_rows_close(nb_rows **r)
{
    if (!*r)
        return;
    nbi_free((*r)->path);
    nbi_free((*r)->text);
    nbi_arena_free(&(*r)->arena);
    nbi_array_free(&(*r)->ids);
    nbi_free(*r);
    *r = NULL;
}

static nb_status next_tree(nb_rows *r, nbi_json **v, bool *end, nb_error *err)
{
    const char *s;
    size_t len;
    *end = !nbi_lines_next(&r->lines, &s, &len);
    if (*end)
        return NB_OK;
    nb_error mine = {NB_OK, ""};
    nbi_arena_free(&r->arena);
    nb_status st = nbi_json_parse(&r->arena, "JSON", s, len, v, &mine);
    if (st == NB_OK)
        return NB_OK;
    if (st != NB_FORMAT)
        return nbi_fail(err, st, "%s", mine.message);
    return nbi_fail(err, NB_DATA, "%s:%lld: %s", r->path, (long long)r->lines.line, mine.message);
}

nb_status nb_rows_next_text(nb_rows *r, const char *field, const char **text, size_t *len,
                            bool *end, nb_error *err)
{
    nbi_json *v = NULL;
    NBI_TRY(next_tree(r, &v, end, err));
    if (*end)
        return NB_OK;
    const nbi_json *member = nbi_json_get(v, field);
    if (!member || !nbi_json_to_str(member, text, len))
        return nbi_fail(err, NB_DATA, "%s:%lld: expected an object with a string \"%s\"", r->path,
                        (long long)r->lines.line, field);
    return NB_OK;
}

nb_status nb_rows_next_ids(nb_rows *r, const int32_t **ids, size_t *n, bool *end, nb_error *err)
{
    nbi_json *v = NULL;
    NBI_TRY(next_tree(r, &v, end, err));
    if (*end)
        return NB_OK;
    const nbi_json *list = v;
    if (v->type == NBI_JT_OBJECT)
        list = nbi_json_get(v, nbi_json_get(v, "ids") ? "ids" : "input_ids");
    if (!list || list->type != NBI_JT_ARRAY)
        return nbi_fail(err, NB_DATA, "%s:%lld: expected a list of ids such as [1, 2, 3]", r->path,
                        (long long)r->lines.line);
    r->ids.n = 0;
    for (const nbi_json *e = list->first; e; e = e->next) {
        int64_t id;
        if (e->type != NBI_JT_NUMBER || !nbi_json_to_i64(e, &id) || id < 0 || id > INT32_MAX)
            return nbi_fail(err, NB_DATA, "%s:%lld: '%.40s' is no token id", r->path,
                            (long long)r->lines.line, e->text ? e->text : "a value");
        if (!nbi_array_push(&r->ids, (int32_t)id))
            return nbi_fail_nomem(err, r->path, r->ids.n * sizeof(int32_t));
    }
    *ids = r->ids.v;
    *n = r->ids.n;
    return NB_OK;
}

nb_status nb_rows_next_object(nb_rows *r, const char **json, size_t *len, bool *end, nb_error *err)
{
    (void)err;
    *end = !nbi_lines_next(&r->lines, json, len);
    return NB_OK;
}

int64_t nb_rows_line(const nb_rows *r)
{
    return r->lines.line;
}

char *nb_json_quote(const char *text, size_t len)
{
    nbi_strbuf out = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &out, 0, true);
    nbi_jw_strn(&w, text, len);
    if (out.failed)
        nbi_strbuf_free(&out);
    return out.s;
}

char *nb_json_number(double v, char buf[40])
{
    if (isfinite(v))
        return nbi_format_f64(buf, v);
    return strcpy(buf, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
}
