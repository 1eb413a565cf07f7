/* SPDX-License-Identifier: MIT */
#include "format/bnb4bit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/arena.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/json.h"

#define MAX_STATE_BYTES 65536

/* The tensors "P.weight.<suffix>" of one layer. */
typedef struct parts {
    const nb_st_tensor *weight, *absmax, *map, *nested_absmax, *nested_map, *state;
    nb_qkind kind;
} parts;

/* quant_state, as far as it counts. */
typedef struct state {
    int64_t block, nested_block, shape[2];
    nb_dtype dtype;
    double offset;
    bool nested;
} state;

static nb_status bad(nb_error *err, const nb_st_tensor *t, const char *what)
{
    return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\": %s", t->path, t->name, what);
}

static nb_status make_prefix(nbi_strbuf *b, const char *weight, const char *suffix, nb_error *err)
{
    nbi_strbuf_printf(b, "%s.%s", weight, suffix);
    return nbi_strbuf_check(b, err);
}

bool nb_bnb4bit_present(const nb_safetensors *st, const char *weight)
{
    char prefix[1024];
    size_t first, count;
    int n = snprintf(prefix, sizeof prefix, "%s.quant_state.", weight);
    if (n < 0 || (size_t)n >= sizeof prefix)
        return false;
    nb_safetensors_prefix(st, prefix, &first, &count);
    return count > 0;
}

static nb_status sort_part(parts *p, const nb_st_tensor *t, const char *suffix, nb_error *err)
{
    const struct {
        const char *name;
        const nb_st_tensor **to;
    } known[] = {{"absmax", &p->absmax},
                 {"quant_map", &p->map},
                 {"nested_absmax", &p->nested_absmax},
                 {"nested_quant_map", &p->nested_map}};
    static const char state_name[] = "quant_state.bitsandbytes__";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(suffix, known[i].name) == 0) {
            *known[i].to = t;
            return NB_OK;
        }
    if (strncmp(suffix, state_name, sizeof state_name - 1) != 0)
        return bad(err, t, "unknown part of a 4-bit weight");
    const char *kind = suffix + sizeof state_name - 1;
    if (p->state)
        return bad(err, t, "a second quant_state of the same weight");
    p->state = t;
    if (strcmp(kind, "nf4") == 0)
        p->kind = NB_QK_NF4;
    else if (strcmp(kind, "fp4") == 0)
        p->kind = NB_QK_FP4;
    else
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: tensor \"%s\": 4-bit kind not supported; supported are nf4, fp4",
                        t->path, t->name);
    return NB_OK;
}

static nb_status find_parts(const nb_safetensors *st, const char *weight, parts *p, nb_error *err)
{
    nbi_strbuf prefix = {0};
    size_t first = 0, count = 0;
    nb_status s = make_prefix(&prefix, weight, "", err);
    if (s == NB_OK)
        nb_safetensors_prefix(st, prefix.s, &first, &count);
    for (size_t i = 0; i < count && s == NB_OK; i++) {
        const nb_st_tensor *t = nb_safetensors_named(st, first + i);
        s = sort_part(p, t, t->name + prefix.n, err);
    }
    nbi_strbuf_free(&prefix);
    NBI_TRY(s);
    p->weight = nb_safetensors_find(st, weight);
    if (!p->weight || !p->state || !p->absmax || !p->map)
        return nbi_fail(err, NB_FORMAT, "4-bit weight \"%s\" lacks its %s", weight,
                        !p->weight   ? "codes"
                        : !p->state  ? "quant_state"
                        : !p->absmax ? "absmax"
                                     : "quant_map");
    return NB_OK;
}

static bool is_block_size(int64_t v, int64_t max)
{
    return v >= 32 && v <= max && (v & (v - 1)) == 0;
}

static nb_status read_state_json(const nbi_json *doc, const parts *p, state *s, nb_error *err)
{
    const nb_st_tensor *t = p->state;
    const nbi_json *shape = nbi_json_get(doc, "shape");
    const char *type = NULL, *dtype = NULL, *nested_dtype = NULL;
    if (doc->type != NBI_JT_OBJECT)
        return bad(err, t, "is not a JSON object");
    NBI_TRY(nbi_json_get_str(doc, t->name, "quant_type", &type, err));
    NBI_TRY(nbi_json_get_str(doc, t->name, "dtype", &dtype, err));
    NBI_TRY(nbi_json_get_str(doc, t->name, "nested_dtype", &nested_dtype, err));
    NBI_TRY(nbi_json_get_i64(doc, t->name, "blocksize", 32, 4096, &s->block, err));
    NBI_TRY(nbi_json_get_i64(doc, t->name, "nested_blocksize", 32, 65536, &s->nested_block, err));
    NBI_TRY(nbi_json_get_f64(doc, t->name, "nested_offset", &s->offset, err));
    if (!type || strcmp(type, p->kind == NB_QK_NF4 ? "nf4" : "fp4") != 0)
        return bad(err, t, "quant_type is not the one in the tensor's name");
    if (!dtype || !nb_dtype_parse(dtype, strlen(dtype), &s->dtype) ||
        !nb_dtype_is_dense_float(s->dtype))
        return bad(err, t, "dtype must be float32, float16 or bfloat16");
    if (!is_block_size(s->block, 4096))
        return bad(err, t, "blocksize must be a power of two from 32 to 4096");
    if (!shape || shape->type != NBI_JT_ARRAY || shape->n != 2)
        return bad(err, t, "shape must be a list of two sizes");
    for (size_t i = 0; i < 2; i++)
        if (!nbi_json_to_i64(nbi_json_at(shape, i), &s->shape[i]) || s->shape[i] < 1)
            return bad(err, t, "shape must hold two positive sizes");
    s->nested = !nbi_json_is_null(nbi_json_get(doc, "nested_offset"));
    if (!s->nested)
        return NB_OK;
    if (!is_block_size(s->nested_block, 65536) || !nested_dtype ||
        strcmp(nested_dtype, "float32") != 0)
        return bad(err, t, "nested_blocksize must be a power of two and nested_dtype float32");
    if (!isfinite((float)s->offset))
        return bad(err, t, "nested_offset is out of range");
    return NB_OK;
}

static nb_status read_state(const parts *p, state *s, nb_error *err)
{
    const nb_st_tensor *t = p->state;
    nbi_arena arena;
    nbi_json *doc = NULL;
    if (t->dtype != NB_DT_U8 || t->bytes > MAX_STATE_BYTES)
        return bad(err, t, "must be U8 of at most 65536 bytes");
    nbi_arena_init(&arena, NBI_MEM_IO);
    nb_status st = nbi_json_parse(&arena, t->name, t->data, t->bytes, &doc, err);
    if (st == NB_OK)
        st = read_state_json(doc, p, s, err);
    nbi_arena_free(&arena);
    return st == NB_OK ? NB_OK : nbi_fail_prefix(err, st, "%s", t->path);
}

/* A one-dimensional F32 tensor of n finite values, at an address fit for floats. */
static nb_status read_floats(const nb_st_tensor *t, int64_t n, nbi_arena *keep, const float **out,
                             nb_error *err)
{
    if (t->dtype != NB_DT_F32 || t->rank != 1 || t->shape[0] != n)
        return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\": must be F32 [%lld]", t->path, t->name,
                        (long long)n);
    const float *v = t->data;
    if ((uintptr_t)t->data % _Alignof(float)) {
        float *copy = nbi_arena_alloc(keep, t->bytes, 64);
        if (!copy)
            return nbi_fail_nomem(err, "weight statistics", t->bytes);
        memcpy(copy, t->data, t->bytes);
        v = copy;
    }
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return bad(err, t, "holds NaN or infinity");
    *out = v;
    return NB_OK;
}

/* Codes may be stored under any dtype (quant_storage): the bytes count. The last element can be
 * filled up. */
static nb_status check_codes(const nb_st_tensor *t, int64_t elements, nb_error *err)
{
    size_t size = nb_dtype_size(t->dtype), need = (size_t)(elements / 2 + elements % 2);
    if (t->rank != 2 || t->shape[1] != 1 || t->bytes < need || t->bytes - need >= size)
        return nbi_fail(err, NB_FORMAT,
                        "%s: tensor \"%s\": %zu bytes; its quant_state says %lld elements, so %zu "
                        "bytes in one column",
                        t->path, t->name, t->bytes, (long long)elements, need);
    return NB_OK;
}

static nb_status read_scales(const parts *p, const state *s, int64_t blocks, nbi_arena *keep,
                             nb_qtensor *out, nb_error *err)
{
    const nb_st_tensor *a = p->absmax;
    if (!s->nested) {
        if (p->nested_absmax || p->nested_map)
            return bad(err, p->nested_absmax ? p->nested_absmax : p->nested_map,
                       "but the quant_state has no double quantisation");
        return read_floats(a, blocks, keep, &out->absmax, err);
    }
    if (!p->nested_absmax || !p->nested_map)
        return bad(err, p->state,
                   "double quantisation, but nested_absmax or nested_quant_map lacks");
    if (a->dtype != NB_DT_U8 || a->rank != 1 || a->shape[0] != blocks)
        return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\": must be U8 [%lld]", a->path, a->name,
                        (long long)blocks);
    int64_t groups = blocks / s->nested_block + (blocks % s->nested_block != 0);
    NBI_TRY(read_floats(p->nested_absmax, groups, keep, &out->nested_absmax, err));
    NBI_TRY(read_floats(p->nested_map, 256, keep, &out->nested_book, err));
    out->absmax_codes = a->data;
    out->nested_block = s->nested_block;
    out->nested_offset = (float)s->offset;
    return NB_OK;
}

nb_status nb_bnb4bit_read(const nb_safetensors *st, const char *weight, nbi_arena *keep,
                          nb_qtensor *out, nb_error *err)
{
    parts p = {0};
    state s = {0};
    int64_t elements = 0;
    const float *book = NULL;
    memset(out, 0, sizeof *out);
    NBI_TRY(find_parts(st, weight, &p, err));
    NBI_TRY(read_state(&p, &s, err));
    if (!nbi_mul_i64(s.shape[0], s.shape[1], &elements))
        return bad(err, p.state, "the product of shape overflows");
    int64_t blocks = elements / s.block + (elements % s.block != 0);
    NBI_TRY(check_codes(p.weight, elements, err));
    NBI_TRY(read_floats(p.map, 16, keep, &book, err));
    NBI_TRY(read_scales(&p, &s, blocks, keep, out, err));
    out->kind = p.kind;
    out->dtype = s.dtype;
    out->n = s.shape[0];
    out->k = s.shape[1];
    out->data = p.weight->data;
    out->block = s.block;
    memcpy(out->book, book, sizeof out->book);
    return NB_OK;
}

void nb_bnb4bit_state_json(const nb_qtensor *t, nbi_strbuf *out)
{
    nbi_json_writer w;
    nbi_json_writer_init(&w, out, 0, true);
    nbi_jw_object(&w);
    nbi_jw_key(&w, "quant_type");
    nbi_jw_str(&w, nb_qkind_name(t->kind));
    nbi_jw_key(&w, "blocksize");
    nbi_jw_i64(&w, t->block);
    nbi_jw_key(&w, "dtype");
    nbi_jw_str(&w, nb_dtype_torch(t->dtype));
    nbi_jw_key(&w, "shape");
    nbi_jw_array(&w);
    nbi_jw_i64(&w, t->n);
    nbi_jw_i64(&w, t->k);
    nbi_jw_array_end(&w);
    if (!t->absmax) {
        nbi_jw_key(&w, "nested_blocksize");
        nbi_jw_i64(&w, t->nested_block);
        nbi_jw_key(&w, "nested_dtype");
        nbi_jw_str(&w, "float32");
        nbi_jw_key(&w, "nested_offset");
        nbi_jw_f64(&w, (double)t->nested_offset);
    }
    nbi_jw_object_end(&w);
}
