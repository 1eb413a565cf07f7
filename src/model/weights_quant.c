/* SPDX-License-Identifier: MIT */
/* Quantising dense weights: one tensor at a time and by pieces, so that memory never holds the
 * 16-bit model. */
#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "model/dense.h"
#include "model/weights.h"
#include "tensor/codebook.h"

static bool is_power(int64_t v, int64_t min, int64_t max)
{
    return v >= min && v <= max && (v & (v - 1)) == 0;
}

nb_status nbi_check_quant(nb_quant_config *q, nb_error *err)
{
    if (q->block == 0)
        q->block = 64;
    if (q->nested_block == 0)
        q->nested_block = 256;
    if (q->kind != NB_QK_NF4 && q->kind != NB_QK_FP4)
        return nbi_fail(err, NB_CONFIG, "the 4-bit kind must be nf4 or fp4");
    if (!is_power(q->block, 32, 4096))
        return nbi_fail(err, NB_CONFIG,
                        "block size %lld of 4-bit weights must be a power of two from 32 to 4096",
                        (long long)q->block);
    if (!is_power(q->nested_block, 32, 65536))
        return nbi_fail(
            err, NB_CONFIG,
            "block size %lld of double quantisation must be a power of two from 32 to 65536",
            (long long)q->nested_block);
    return NB_OK;
}

/* The entries are matched generously, as loaders in circulation differ: a full name, a parent, the
 * beginning or the end of a name. */
bool nbi_is_skipped(const nb_model_config *c, const char *module)
{
    const nbi_json *q = nbi_json_get(c->raw, "quantization_config");
    const nbi_json *list = nbi_json_get(q, "llm_int8_skip_modules");
    size_t n = strlen(module);
    for (const nbi_json *e = list ? list->first : NULL; e; e = e->next) {
        if (e->type != NBI_JT_STRING || e->text_len == 0)
            continue;
        const char *at = strstr(module, e->text);
        if (strncmp(module, e->text, e->text_len) == 0 ||
            (n >= e->text_len && strcmp(module + n - e->text_len, e->text) == 0))
            return true;
        for (; at; at = strstr(at + 1, e->text))
            if (at[e->text_len] == '.')
                return true;
    }
    return false;
}

nbi_quant_sizes nbi_quant_sizes_of(const nb_quant_config *q, const nb_st_tensor *t)
{
    const int64_t n = t->shape[0] * t->shape[1];
    nbi_quant_sizes s = {.elements = n,
                         .codes = (size_t)(n / 2 + n % 2),
                         .blocks = n / q->block + (n % q->block != 0)};
    s.groups = s.blocks / q->nested_block + (s.blocks % q->nested_block != 0);
    return s;
}

/* absmax[blocks] to 8-bit codes. */
static void double_quantise(const nb_exec *exec, const nb_quant_config *q, int64_t blocks,
                            const nbi_quant_buffers *to, nb_qtensor *out)
{
    nb_quantize8_args a = {.q = exec->q,
                           .x = to->absmax,
                           .n = blocks,
                           .block = q->nested_block,
                           .book = to->nested_book,
                           .offset = nb_quant_mean(to->absmax, blocks),
                           .codes = to->scales,
                           .absmax = to->nested};
    exec->k.quantize8(&a);
    out->nested_offset = a.offset;
    out->absmax_codes = to->scales;
    out->nested_absmax = to->nested;
    out->nested_book = to->nested_book;
    out->nested_block = q->nested_block;
}

/* Place of the first NaN or infinity among n elements whose blocks have these scales. */
static int64_t find_nonfinite(const nb_quantize4_args *a)
{
    int64_t blocks = a->n / a->block + (a->n % a->block != 0);
    for (int64_t b = 0; b < blocks; b++) {
        if (isfinite(a->absmax[b]))
            continue;
        int64_t from = b * a->block, n = a->n - from < a->block ? a->n - from : a->block;
        size_t size = nb_dtype_size(a->dtype);
        return from +
               nbi_dense_find_nonfinite(a->dtype, (const char *)a->x + (size_t)from * size, n);
    }
    return -1;
}

/* Codes and scales of all elements, piece by piece. `copy` [NBI_QUANT_PIECE] takes pieces that lie
 * at an odd address; NULL when none do. */
static nb_status quantise_pieces(const nb_exec *exec, const nb_st_tensor *t, nb_quantize4_args *a,
                                 void *copy, nb_error *err)
{
    const size_t size = nb_dtype_size(t->dtype);
    const int64_t n = t->shape[0] * t->shape[1], step = (int64_t)(NBI_QUANT_PIECE / size);
    uint8_t *codes = a->codes;
    float *absmax = a->absmax;
    for (int64_t i = 0; i < n; i += step) { /* a power of two, so whole blocks */
        const unsigned char *from = (const unsigned char *)t->data + (size_t)i * size;
        a->n = n - i < step ? n - i : step;
        a->x = copy ? memcpy(copy, from, (size_t)a->n * size) : from;
        a->codes = codes + i / 2;
        a->absmax = absmax + i / a->block;
        exec->k.quantize4(a);
        int64_t bad = find_nonfinite(a);
        if (bad >= 0)
            return nbi_fail(err, NB_NUMERIC,
                            "%s: tensor \"%s\" holds NaN or infinity at element %lld and cannot be "
                            "quantised",
                            t->path, t->name, (long long)(i + bad));
        nbi_mapfile_release(from, (size_t)a->n * size);
    }
    return NB_OK;
}

nb_status nbi_quantise_tensor(const nb_exec *exec, const nb_quant_config *q, const nb_st_tensor *t,
                              const nbi_quant_buffers *to, nb_qtensor *out, nb_error *err)
{
    bool aligned = (uintptr_t)t->data % nb_dtype_size(t->dtype) == 0;
    void *copy = aligned ? NULL : nbi_alloc(NBI_MEM_SCRATCH, NBI_QUANT_PIECE);
    if (!aligned && !copy)
        return nbi_fail_nomem(err, "quantising a weight", NBI_QUANT_PIECE);
    *out = (nb_qtensor){.kind = q->kind,
                        .dtype = t->dtype,
                        .n = t->shape[0],
                        .k = t->shape[1],
                        .data = to->codes,
                        .block = q->block};
    memcpy(out->book, q->kind == NB_QK_NF4 ? nb_book_nf4 : nb_book_fp4, sizeof out->book);
    nb_quantize4_args a = {.q = exec->q,
                           .kind = q->kind,
                           .dtype = t->dtype,
                           .block = q->block,
                           .codes = to->codes,
                           .absmax = to->absmax};
    nb_status s = quantise_pieces(exec, t, &a, copy, err);
    nbi_free(copy);
    NBI_TRY(s);
    if (q->double_quant)
        double_quantise(exec, q, nbi_quant_sizes_of(q, t).blocks, to, out);
    else
        out->absmax = to->absmax;
    return NB_OK;
}

static void *own_book(nbi_loader *l)
{
    if (!l->nested_book) {
        l->nested_book = nbi_model_own(l->m, NBI_MEM_SCALES, 256 * sizeof(float));
        if (l->nested_book)
            nb_dynamic_map_signed(l->nested_book);
    }
    return l->nested_book;
}

nb_status nbi_quantise_linear(nbi_loader *l, const nb_st_tensor *t, nb_qtensor *out, nb_error *err)
{
    const nb_quant_config *q = &l->m->quant;
    const nbi_quant_sizes n = nbi_quant_sizes_of(q, t);
    const size_t scales = (size_t)n.blocks * sizeof(float);
    nbi_quant_buffers to = {.codes = nbi_model_own(l->m, NBI_MEM_WEIGHTS, n.codes)};
    bool ok = to.codes != NULL;
    nbi_mem_populate(to.codes); /* large pages: generation streams them a tenth faster */
    if (ok && q->double_quant) {
        to.absmax = nbi_alloc(NBI_MEM_SCRATCH, scales);
        to.scales = nbi_model_own(l->m, NBI_MEM_SCALES, (size_t)n.blocks);
        to.nested = nbi_model_own(l->m, NBI_MEM_SCALES, (size_t)n.groups * sizeof(float));
        to.nested_book = own_book(l);
        ok = to.scales && to.nested && to.nested_book;
    } else if (ok) {
        to.absmax = nbi_model_own(l->m, NBI_MEM_SCALES, scales);
    }
    nb_status s = ok && to.absmax ? nbi_quantise_tensor(&l->m->exec, q, t, &to, out, err)
                                  : nbi_fail_nomem(err, "a 4-bit weight", n.codes);
    if (q->double_quant)
        nbi_free(to.absmax);
    return s;
}
