/* SPDX-License-Identifier: MIT */
/* The JSON header of a safetensors file: everything in it is checked before it is believed. */
#include <string.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/array.h"
#include "base/json.h"
#include "base/strmap.h"
#include "format/safetensors_priv.h"

#define MAX_NAME 4096

typedef struct header_parser {
    nb_safetensors *st;
    const nbi_mapfile *file;
    size_t section; /* bytes of the data section */
    size_t data0;   /* file offset of the data section */
    nbi_json_reader r;
    nb_error *err;
    const char *name; /* tensor being read */
} header_parser;

static unsigned long long place(const header_parser *p)
{
    return 8ull + p->r.offset;
}

static nb_status next(header_parser *p, nbi_json_event *ev)
{
    return nbi_json_next(&p->r, ev, p->err);
}

static nb_status wrong(header_parser *p, const char *what)
{
    return nbi_fail(p->err, NB_FORMAT, "%s: header byte %llu: tensor \"%s\": %s", p->file->path,
                    place(p), p->name, what);
}

static nb_status copy_text(header_parser *p, const char **out)
{
    *out = nbi_arena_strndup(&p->st->arena, p->r.text, p->r.text_len);
    return *out ? NB_OK : nbi_fail_nomem(p->err, "a header text", p->r.text_len);
}

/* A non-negative integer: digits only, so "1.0", "1e3", "-0" are refused. */
static nb_status read_size(header_parser *p, nbi_json_event ev, const char *what, uint64_t *out)
{
    if (ev != NBI_JSON_NUMBER || !nbi_parse_u64(p->r.text, p->r.text_len, out) || *out > INT64_MAX)
        return nbi_fail(
            p->err, NB_FORMAT,
            "%s: header byte %llu: tensor \"%s\": %s must be a non-negative integer below "
            "2^63",
            p->file->path, place(p), p->name, what);
    return NB_OK;
}

static nb_status read_dtype(header_parser *p, nb_st_tensor *t)
{
    nbi_json_event ev;
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_STRING)
        return wrong(p, "dtype must be a string");
    for (int d = 0; d < NB_DT_COUNT; d++) {
        if (nbi_json_text_is(&p->r, nb_dtype_name((nb_dtype)d))) {
            t->dtype = (nb_dtype)d;
            return NB_OK;
        }
    }
    int shown = p->r.text_len < 32 ? (int)p->r.text_len : 32;
    return nbi_fail(p->err, NB_FORMAT,
                    "%s: header byte %llu: tensor \"%s\": unknown dtype \"%.*s\"", p->file->path,
                    place(p), p->name, shown, p->r.text);
}

static nb_status read_shape(header_parser *p, nb_st_tensor *t)
{
    nbi_json_event ev;
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_ARRAY_BEGIN)
        return wrong(p, "shape must be a list of integers");
    for (;;) {
        uint64_t v = 0;
        NBI_TRY(next(p, &ev));
        if (ev == NBI_JSON_ARRAY_END)
            return NB_OK;
        NBI_TRY(read_size(p, ev, "a dimension", &v));
        if (t->rank == NB_ST_MAX_RANK)
            return wrong(p, "more than 8 dimensions");
        t->shape[t->rank++] = (int64_t)v;
    }
}

static nb_status read_offsets(header_parser *p, uint64_t range[2])
{
    nbi_json_event ev;
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_ARRAY_BEGIN)
        return wrong(p, "data_offsets must be a list of two integers");
    for (int i = 0; i < 2; i++) {
        NBI_TRY(next(p, &ev));
        NBI_TRY(read_size(p, ev, "an offset", &range[i]));
    }
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_ARRAY_END)
        return wrong(p, "data_offsets must hold exactly two integers");
    return NB_OK;
}

/* Size by shape and dtype, in checked arithmetic, against the offsets and the data section. */
static nb_status check_range(header_parser *p, nb_st_tensor *t, const uint64_t range[2])
{
    size_t bytes = 1;
    int64_t elements = 1;
    bool fits = true;
    for (int i = 0; i < t->rank; i++)
        fits = fits && nbi_mul_i64(elements, t->shape[i], &elements);
    if (!fits || !nbi_mul_size((size_t)elements, nb_dtype_size(t->dtype), &bytes) ||
        bytes > INT64_MAX)
        return wrong(p, "the product of shape and element size overflows");
    if (range[0] > range[1] || range[1] > p->section)
        return nbi_fail(
            p->err, NB_FORMAT,
            "%s: header byte %llu: tensor \"%s\": data_offsets [%llu, %llu] are not inside "
            "the data section of %zu bytes",
            p->file->path, place(p), p->name, (unsigned long long)range[0],
            (unsigned long long)range[1], p->section);
    if (range[1] - range[0] != bytes)
        return nbi_fail(
            p->err, NB_FORMAT,
            "%s: header byte %llu: tensor \"%s\": data_offsets span %llu bytes, shape and "
            "dtype say %zu",
            p->file->path, place(p), p->name, (unsigned long long)(range[1] - range[0]), bytes);
    t->bytes = bytes;
    t->data = p->file->data + p->data0 + (size_t)range[0];
    return NB_OK;
}

static nb_status push_tensor(header_parser *p, const nb_st_tensor *t)
{
    nb_safetensors *st = p->st;
    if (!nbi_array_grow_((void **)&st->tensors, sizeof *st->tensors, st->n, &st->cap, 1))
        return nbi_fail_nomem(p->err, "the list of tensors", st->n * sizeof *st->tensors);
    st->tensors[st->n++] = *t;
    return NB_OK;
}

static nb_status read_tensor(header_parser *p)
{
    nb_st_tensor t = {.name = p->name, .path = p->file->path};
    uint64_t range[2] = {0, 0};
    unsigned seen = 0; /* 1 dtype, 2 shape, 4 data_offsets */
    nbi_json_event ev;
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_OBJECT_BEGIN)
        return wrong(p, "must be an object with dtype, shape, data_offsets");
    for (;;) {
        NBI_TRY(next(p, &ev));
        if (ev == NBI_JSON_OBJECT_END)
            break;
        unsigned bit = nbi_json_text_is(&p->r, "dtype")          ? 1
                       : nbi_json_text_is(&p->r, "shape")        ? 2
                       : nbi_json_text_is(&p->r, "data_offsets") ? 4
                                                                 : 0;
        if (!bit)
            return wrong(p, "unknown field; known are dtype, shape, data_offsets");
        if (seen & bit)
            return wrong(p, "the same field twice");
        seen |= bit;
        NBI_TRY(bit == 1   ? read_dtype(p, &t)
                : bit == 2 ? read_shape(p, &t)
                           : read_offsets(p, range));
    }
    if (seen != 7)
        return wrong(p, !(seen & 1)   ? "lacks dtype"
                        : !(seen & 2) ? "lacks shape"
                                      : "lacks data_offsets");
    NBI_TRY(check_range(p, &t, range));
    return push_tensor(p, &t);
}

static nb_status push_meta(header_parser *p, const nbi_st_meta *m)
{
    nb_safetensors *st = p->st;
    if (!nbi_array_grow_((void **)&st->meta, sizeof *st->meta, st->n_meta, &st->cap_meta, 1))
        return nbi_fail_nomem(p->err, "the metadata", st->n_meta * sizeof *st->meta);
    st->meta[st->n_meta++] = *m;
    return NB_OK;
}

/* Text to text. The reader does not look for double keys, so a map does; it may be large. */
static nb_status read_metadata(header_parser *p, nbi_strmap *keys)
{
    nbi_json_event ev;
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_OBJECT_BEGIN)
        return wrong(p, "must be an object that maps text to text");
    for (;;) {
        nbi_st_meta m = {0};
        bool existed = false;
        NBI_TRY(next(p, &ev));
        if (ev == NBI_JSON_OBJECT_END)
            return NB_OK;
        NBI_TRY(copy_text(p, &m.key));
        if (!nbi_strmap_put(keys, m.key, p->r.text_len, 1, &existed))
            return nbi_fail_nomem(p->err, "the metadata", p->r.text_len);
        if (existed)
            return wrong(p, "the same key twice");
        NBI_TRY(next(p, &ev));
        if (ev != NBI_JSON_STRING)
            return wrong(p, "values must be text");
        NBI_TRY(copy_text(p, &m.value));
        NBI_TRY(push_meta(p, &m));
    }
}

static nb_status read_members(header_parser *p, nbi_strmap *meta_keys)
{
    nbi_json_event ev;
    bool meta_seen = false;
    NBI_TRY(next(p, &ev));
    if (ev != NBI_JSON_OBJECT_BEGIN)
        return nbi_fail(p->err, NB_FORMAT, "%s: header is not a JSON object", p->file->path);
    for (;;) {
        NBI_TRY(next(p, &ev));
        if (ev == NBI_JSON_OBJECT_END)
            break;
        if (p->r.text_len > MAX_NAME)
            return nbi_fail(p->err, NB_FORMAT,
                            "%s: header byte %llu: tensor name of %zu bytes (limit %d)",
                            p->file->path, place(p), p->r.text_len, MAX_NAME);
        NBI_TRY(copy_text(p, &p->name));
        if (strcmp(p->name, "__metadata__") != 0) {
            NBI_TRY(read_tensor(p));
            continue;
        }
        if (meta_seen)
            return wrong(p, "occurs twice");
        meta_seen = true;
        NBI_TRY(read_metadata(p, meta_keys));
    }
    NBI_TRY(next(p, &ev)); /* only white space may follow */
    return NB_OK;
}

nb_status nbi_st_header(nb_safetensors *st, size_t f, size_t header, nb_error *err)
{
    const nbi_mapfile *m = &st->files[f];
    header_parser p = {.st = st,
                       .file = m,
                       .section = m->size - 8 - header,
                       .data0 = 8 + header,
                       .err = err,
                       .name = ""};
    nbi_strmap meta_keys = {0};
    nbi_json_reader_init(&p.r, m->path, m->data + 8, header);
    size_t meta0 = st->n_meta;
    nb_status s = read_members(&p, &meta_keys);
    nbi_json_reader_free(&p.r);
    nbi_strmap_free(&meta_keys);
    if (s == NB_OK && f > 0)
        st->n_meta = meta0; /* of a sharded model the first file's metadata counts */
    return s;
}
