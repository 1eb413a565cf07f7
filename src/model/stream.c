/* SPDX-License-Identifier: MIT */
#include "model/stream.h"

#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/mapfile.h"

/* Bytes of a file that are dropped and read together. */
typedef struct span {
    const unsigned char *p;
    size_t n;
} span;

typedef NBI_ARRAY(span) span_list;

struct nbi_stream {
    int64_t layers;   /* of the blocks; the head comes behind them */
    span_list *spans; /* [layers + 1] in order of address */
};

/* The mapped file that holds p, NULL: none. */
static const nbi_mapfile *file_of(const nb_model *m, const void *p)
{
    size_t n = 0;
    const nbi_mapfile *f = nb_safetensors_files(m->files, &n);
    for (size_t i = 0; i < n; i++)
        if ((const unsigned char *)p >= f[i].data &&
            (const unsigned char *)p < f[i].data + f[i].size)
            return &f[i];
    return NULL;
}

/* Puts the bytes into the list; true when they lie in a file. */
static bool add_bytes(const nb_model *m, span_list *list, const void *p, size_t n, bool *ok)
{
    if (!p || n == 0 || !file_of(m, p))
        return false;
    if (!nbi_array_reserve(list, 1)) {
        *ok = false;
        return true;
    }
    size_t at = list->n++;
    for (; at > 0 && list->v[at - 1].p > (const unsigned char *)p; at--)
        list->v[at] = list->v[at - 1];
    list->v[at] = (span){p, n};
    return true;
}

/* A weight with its statistics; small ones may have been copied. */
static bool add_weight(const nb_model *m, span_list *list, const nb_qtensor *w, bool *ok)
{
    if (!add_bytes(m, list, w->data, nb_qtensor_data_bytes(w), ok))
        return false;
    if (w->kind == NB_QK_DENSE)
        return true;
    size_t elements = (size_t)w->n * (size_t)w->k, block = (size_t)w->block;
    size_t blocks = elements / block + (elements % block != 0);
    add_bytes(m, list, w->absmax, blocks * sizeof(float), ok);
    add_bytes(m, list, w->absmax_codes, blocks, ok);
    return true;
}

/* One span from neighbours that a page fault would bring anyway. */
static void merge(span_list *list)
{
    size_t out = 0;
    for (size_t i = 1; i < list->n; i++) {
        span *a = &list->v[out], b = list->v[i];
        if (b.p <= a->p + a->n + NBI_FAULT_BYTES && b.p >= a->p)
            a->n = (size_t)(b.p - a->p) + b.n > a->n ? (size_t)(b.p - a->p) + b.n : a->n;
        else
            list->v[++out] = b;
    }
    list->n = list->n > 0 ? out + 1 : 0;
}

static nb_status fill(nb_model *m, struct nbi_stream *s, nb_error *err)
{
    bool ok = true;
    for (int64_t i = 0; i < s->layers; i++) {
        const nb_block *b = &m->blocks[i];
        const nb_linear *all[] = {&b->q, &b->k, &b->v, &b->o, &b->gate, &b->up, &b->down};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            if (!add_weight(m, &s->spans[i], &all[j]->w, &ok))
                return nbi_fail(err, NB_CONFIG,
                                "%s: weights of layer %lld are not read in place from a file, so "
                                "that they cannot be streamed",
                                m->dir, (long long)i);
        merge(&s->spans[i]);
    }
    (void)!add_weight(m, &s->spans[s->layers], &m->head.w, &ok);
    return ok ? NB_OK : nbi_fail_nomem(err, "the list of layers", sizeof(span));
}

nb_status nbi_stream_open(nb_model *m, nb_error *err)
{
    struct nbi_stream *s = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *s);
    m->stream = s;
    if (!s)
        return nbi_fail_nomem(err, "the list of layers", sizeof *s);
    s->spans = nbi_calloc(NBI_MEM_OTHER, (size_t)m->config.layers + 1, sizeof *s->spans);
    if (!s->spans)
        return nbi_fail_nomem(err, "the list of layers", sizeof *s->spans);
    s->layers = m->config.layers;
    size_t n;
    const nbi_mapfile *f = nb_safetensors_files(m->files, &n);
    for (size_t i = 0; i < n; i++)
        nbi_mapfile_small_pages(f[i].data, f[i].size);
    nb_safetensors_release_all(m->files); /* what loading looked at */
    return fill(m, s, err);
}

void nbi_stream_close(struct nbi_stream **sp)
{
    struct nbi_stream *s = *sp;
    if (!s)
        return;
    for (int64_t i = 0; s->spans && i <= s->layers; i++)
        nbi_array_free(&s->spans[i]);
    nbi_free(s->spans);
    nbi_free(s);
    *sp = NULL;
}

void nbi_layer_begin(const nb_model *m, int64_t layer, int64_t next)
{
    const struct nbi_stream *s = m->stream;
    if (!s || next < 0 || next == layer)
        return;
    for (size_t i = 0; i < s->spans[next].n; i++)
        nbi_mapfile_prefetch(s->spans[next].v[i].p, s->spans[next].v[i].n);
}

/* What a fault at the rim brought goes as well; another layer's pages among it come back at once
 * from the cache of the system. */
void nbi_layer_end(const nb_model *m, int64_t layer)
{
    const struct nbi_stream *s = m->stream;
    for (size_t i = 0; s && i < s->spans[layer].n; i++) {
        span v = s->spans[layer].v[i];
        const nbi_mapfile *f = file_of(m, v.p);
        size_t before = (size_t)(v.p - f->data), end = before + v.n + NBI_FAULT_BYTES;
        before -= before < NBI_FAULT_BYTES ? before : NBI_FAULT_BYTES;
        end = end < f->size ? end : f->size;
        nbi_mapfile_release(f->data + before, end - before);
    }
}

size_t nb_model_stream_bytes(const nb_model *m)
{
    size_t most = nb_qtensor_data_bytes(&m->head.w) + nb_qtensor_stat_bytes(&m->head.w);
    for (int64_t i = 0; i < m->config.layers; i++) {
        const nb_block *b = &m->blocks[i];
        const nb_linear *all[] = {&b->q, &b->k, &b->v, &b->o, &b->gate, &b->up, &b->down};
        size_t n = 0;
        for (size_t j = 0; j < sizeof all / sizeof *all; j++)
            n += nb_qtensor_data_bytes(&all[j]->w) + nb_qtensor_stat_bytes(&all[j]->w);
        most = n > most ? n : most;
    }
    /* a layer lies in a few pieces, each with a rim */
    return most + 8 * NBI_FAULT_BYTES;
}

void nbi_embed_rows(const nb_model *m, const nb_batch *b, float *y)
{
    const int64_t d = m->config.hidden;
    const bool drop = m->embed_mapped && b->m > 1;
    const int64_t step = drop ? NBI_EMBED_WINDOWS / 2 : b->m; /* a row may lie in two windows */
    const size_t bytes = (size_t)m->config.vocab * (size_t)d * nb_dtype_size(m->embed_dtype);
    for (int64_t i = 0; i < b->m; i += step) {
        m->exec.k.embed(&(nb_embed_args){.q = m->exec.q,
                                         .rows = b->m - i < step ? b->m - i : step,
                                         .d = d,
                                         .dtype = m->embed_dtype,
                                         .table = m->embed,
                                         .ids = b->ids + i,
                                         .y = y + i * d});
        if (drop)
            nbi_mapfile_release(m->embed, bytes);
    }
}
