/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/safefile.h"
#include "base/strmap.h"
#include "format/safetensors.h"

#define CHUNK_BYTES (1u << 20)

static nb_status entry_size(const nb_st_entry *e, const char *path, int64_t *elements,
                            size_t *bytes, nb_error *err)
{
    bool ok = e->rank >= 0 && e->rank <= NB_ST_MAX_RANK;
    *elements = 1;
    for (int i = 0; ok && i < e->rank; i++)
        ok = e->shape[i] >= 0 && nbi_mul_i64(*elements, e->shape[i], elements);
    if (!ok || !nbi_mul_size((size_t)*elements, nb_dtype_size(e->dtype), bytes))
        return nbi_fail(err, NB_INTERNAL, "%s: tensor \"%s\" has an impossible shape", path,
                        e->name);
    return NB_OK;
}

static void put_string(nbi_strbuf *b, const char *s)
{
    nbi_json_writer w;
    nbi_json_writer_init(&w, b, 0, false);
    nbi_jw_str(&w, s);
}

static void put_entry(nbi_strbuf *b, const nb_st_entry *e, size_t begin, size_t end)
{
    nbi_strbuf_putc(b, ',');
    put_string(b, e->name);
    nbi_strbuf_printf(b, ":{\"dtype\":\"%s\",\"shape\":[", nb_dtype_name(e->dtype));
    for (int i = 0; i < e->rank; i++)
        nbi_strbuf_printf(b, i ? ",%lld" : "%lld", (long long)e->shape[i]);
    nbi_strbuf_printf(b, "],\"data_offsets\":[%zu,%zu]}", begin, end);
}

/* Length and JSON, padded with blanks so that the data begins at a multiple of 8. */
static nb_status build_header(nbi_strbuf *b, const char *path, const nb_st_entry *entries, size_t n,
                              nb_error *err)
{
    nbi_strmap names = {0};
    nb_status s = NB_OK;
    size_t begin = 0;
    nbi_strbuf_add(b, "\0\0\0\0\0\0\0\0", 8);
    nbi_strbuf_puts(b, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < n && s == NB_OK; i++) {
        int64_t elements;
        size_t bytes = 0, end = 0;
        bool twice = false;
        s = entry_size(&entries[i], path, &elements, &bytes, err);
        if (s == NB_OK && !nbi_add_size(begin, bytes, &end))
            s = nbi_fail(err, NB_INTERNAL, "%s: sizes overflow", path);
        if (s == NB_OK &&
            !nbi_strmap_put(&names, entries[i].name, strlen(entries[i].name), 1, &twice))
            s = nbi_fail_nomem(err, "the names of tensors", n);
        if (s == NB_OK && (twice || strcmp(entries[i].name, "__metadata__") == 0))
            s = nbi_fail(err, NB_INTERNAL, "%s: tensor \"%s\" twice", path, entries[i].name);
        if (s == NB_OK)
            put_entry(b, &entries[i], begin, end);
        begin = end;
    }
    nbi_strmap_free(&names);
    NBI_TRY(s);
    nbi_strbuf_putc(b, '}');
    while (!b->failed && b->n % 8)
        nbi_strbuf_putc(b, ' ');
    NBI_TRY(nbi_strbuf_check(b, err));
    size_t len = b->n - 8;
    if (len > NB_ST_MAX_HEADER)
        return nbi_fail(err, NB_LIMIT, "%s: the header would have %zu bytes (limit %u)", path, len,
                        NB_ST_MAX_HEADER);
    for (int i = 0; i < 8; i++)
        b->s[i] = (char)(unsigned char)(len >> (8 * i));
    return NB_OK;
}

static nb_status write_filled(nbi_safefile *f, const nb_st_entry *entries, size_t e, void *buf,
                              nb_st_fill_fn *fill, void *user, nb_error *err)
{
    int64_t elements = 0;
    size_t bytes = 0, size = nb_dtype_size(entries[e].dtype);
    NBI_TRY(entry_size(&entries[e], f->path, &elements, &bytes, err));
    int64_t step = (int64_t)(CHUNK_BYTES / size);
    for (int64_t i = 0; i < elements; i += step) {
        int64_t n = elements - i < step ? elements - i : step;
        NBI_TRY(fill(user, e, i, n, buf, err));
        NBI_TRY(nbi_safefile_write(f, buf, (size_t)n * size, err));
    }
    return NB_OK;
}

static nb_status write_tensors(nbi_safefile *f, const nb_st_entry *entries, size_t n,
                               nb_st_fill_fn *fill, void *user, nb_error *err)
{
    void *buf = fill ? nbi_alloc(NBI_MEM_IO, CHUNK_BYTES) : NULL;
    if (fill && !buf)
        return nbi_fail_nomem(err, "writing tensors", CHUNK_BYTES);
    nb_status s = NB_OK;
    for (size_t e = 0; e < n && s == NB_OK; e++) {
        int64_t elements = 0;
        size_t bytes = 0;
        s = entry_size(&entries[e], f->path, &elements, &bytes, err);
        if (s != NB_OK || bytes == 0)
            continue;
        if (entries[e].data)
            s = nbi_safefile_write(f, entries[e].data, bytes, err);
        else if (fill)
            s = write_filled(f, entries, e, buf, fill, user, err);
        else
            s = nbi_fail(err, NB_INTERNAL, "%s: tensor \"%s\" has no data", f->path,
                         entries[e].name);
    }
    nbi_free(buf);
    return s;
}

nb_status nb_safetensors_write(const char *path, const nb_st_entry *entries, size_t n,
                               nb_st_fill_fn *fill, void *user, nb_error *err)
{
    nbi_strbuf header = {0};
    nbi_safefile f = {0};
    nb_status s = build_header(&header, path, entries, n, err);
    if (s == NB_OK)
        s = nbi_safefile_create(&f, path, err);
    if (s == NB_OK) {
        s = nbi_safefile_write(&f, header.s, header.n, err);
        if (s == NB_OK)
            s = write_tensors(&f, entries, n, fill, user, err);
        if (s == NB_OK)
            s = nbi_safefile_commit(&f, err);
        else
            nbi_safefile_abort(&f);
    }
    nbi_strbuf_free(&header);
    return s;
}
