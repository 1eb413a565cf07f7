/* SPDX-License-Identifier: MIT */
/* Opening and closing a model. */
#include "model/quant_cache.h"
#include "model/stream.h"
#include "model/weights.h"

#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/strbuf.h"

void *nbi_model_own(nb_model *m, nbi_memtag tag, size_t n)
{
    if (!nbi_array_reserve(&m->owned, 1))
        return NULL;
    void *p = nbi_alloc(tag, n);
    if (p)
        m->owned.v[m->owned.n++] = p;
    return p;
}

void nb_model_close(nb_model **mp)
{
    nb_model *m = mp ? *mp : NULL;
    if (!m)
        return;
    for (size_t i = 0; i < m->owned.n; i++)
        nbi_free(m->owned.v[i]);
    nbi_array_free(&m->owned);
    nbi_array_free(&m->params);
    nbi_free(m->blocks);
    nbi_free(m->sites);
    nbi_free(m->dir);
    nbi_arena_free(&m->strings);
    nbi_arena_free(&m->stats);
    nbi_stream_close(&m->stream);
    nb_safetensors_close(&m->files);
    nb_queue_close(&m->exec.q);
    nb_config_free(&m->config);
    nbi_free(m);
    *mp = NULL;
}

nb_site *nb_model_site(nb_model *m, const char *name)
{
    for (size_t i = 0; i < m->n_sites; i++)
        if (strcmp(m->sites[i].name, name) == 0)
            return &m->sites[i];
    return NULL;
}

static nb_status add_site(nb_model *m, nbi_part part, int64_t layer, nb_error *err)
{
    char module[NBI_MAX_MODULE];
    nb_linear *lin = nbi_model_linear(m, part, layer);
    nbi_layout_module(&m->config, part, layer, module);
    const char *name = nbi_arena_strndup(&m->strings, module, strlen(module));
    if (!name)
        return nbi_fail_nomem(err, "the names of modules", sizeof module);
    nb_site *s = &m->sites[m->n_sites++];
    *s = (nb_site){.name = name,
                   .linear = lin,
                   .row0 = 0,
                   .rows = lin->w.n,
                   .in = lin->w.k,
                   .layer = (int)layer,
                   .is_head = part == NBI_PART_HEAD};
    lin->sites[lin->n_sites++] = s;
    return NB_OK;
}

nb_status nbi_model_make_sites(nb_model *m, nb_error *err)
{
    static const nbi_part parts[NBI_LINEARS] = {
        NBI_PART_Q, NBI_PART_K, NBI_PART_V, NBI_PART_O, NBI_PART_GATE, NBI_PART_UP, NBI_PART_DOWN};
    for (int64_t i = 0; i < m->config.layers; i++)
        for (int p = 0; p < NBI_LINEARS; p++)
            NBI_TRY(add_site(m, parts[p], i, err));
    return add_site(m, NBI_PART_HEAD, -1, err);
}

/* Whether both hold the same bytes; their pages leave memory behind the comparison. */
static bool same_bytes(const nb_st_tensor *a, const nb_st_tensor *b)
{
    const unsigned char *p = a->data, *q = b->data;
    bool same = a->dtype == b->dtype && a->bytes == b->bytes;
    for (size_t at = 0; same && at < a->bytes; at += NBI_QUANT_PIECE) {
        size_t n = a->bytes - at < NBI_QUANT_PIECE ? a->bytes - at : NBI_QUANT_PIECE;
        same = memcmp(p + at, q + at, n) == 0;
        nbi_mapfile_release(p + at, n);
        nbi_mapfile_release(q + at, n);
    }
    return same;
}

/* A tied model may carry its head a second time; a different one would be lost silently. */
static nb_status check_tied_copy(const nb_model *m, const nb_st_tensor *t, nb_error *err)
{
    char module[NBI_MAX_MODULE + 16];
    nbi_layout_module(&m->config, NBI_PART_EMBED, -1, module);
    strcat(module, ".weight");
    const nb_st_tensor *e = nb_safetensors_find(m->files, module);
    if (e && same_bytes(e, t))
        return NB_OK;
    return nbi_fail(
        err, NB_FORMAT,
        "%s: tensor \"%s\" differs from \"%s\", but config.json says that they are tied; "
        "set tie_word_embeddings to false to use it",
        t->path, t->name, module);
}

/* Every tensor of the folder has a place. Buffers of rotary tables that old writers saved are left
 * aside: they follow from config.json. */
nb_status nbi_check_unknown(const nbi_loader *l, nb_error *err)
{
    const nb_model *m = l->m;
    char head[NBI_MAX_MODULE + 16];
    nbi_layout_module(&m->config, NBI_PART_HEAD, -1, head);
    strcat(head, ".weight");
    for (size_t i = 0; i < nb_safetensors_count(m->files); i++) {
        const nb_st_tensor *t = nb_safetensors_at(m->files, i);
        if (l->used[i] || nbi_ends_with(t->name, ".rotary_emb.inv_freq"))
            continue;
        if (m->config.tie_embeddings && strcmp(t->name, head) == 0) {
            NBI_TRY(check_tied_copy(m, t, err));
            continue;
        }
        return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\" has no place in a %s model", t->path,
                        t->name, m->config.model_type);
    }
    return NB_OK;
}

nb_status nbi_model_choose_quant(nb_model *m, const nb_model_load *how, const nb_log *log,
                                 nb_error *err)
{
    const nb_model_config *c = &m->config;
    if (how->trainable && (how->quant.load_in_4bit || c->has_quant))
        return nbi_fail(
            err, NB_UNSUPPORTED,
            "%s: weights in 4 bits cannot be trained in full; train an adapter, or open the "
            "16-bit model without load_in_4bit",
            m->dir);
    if (c->has_quant) {
        m->quant = c->quant;
        const nb_quant_config *q = &how->quant;
        if (q->load_in_4bit &&
            (q->kind != c->quant.kind || q->double_quant != c->quant.double_quant))
            nbi_log(log, NB_LOG_NOTE,
                    "%s is already quantised (%s, %s double quantisation) and is used as it is",
                    m->dir, nb_qkind_name(c->quant.kind),
                    c->quant.double_quant ? "with" : "without");
        return NB_OK;
    }
    m->quant = how->quant;
    return m->quant.load_in_4bit ? nbi_check_quant(&m->quant, err) : NB_OK;
}

static nb_status allocate(nb_model *m, nbi_loader *l, nb_error *err)
{
    size_t layers = (size_t)m->config.layers;
    m->blocks = nbi_calloc(NBI_MEM_OTHER, layers, sizeof *m->blocks);
    m->sites = nbi_calloc(NBI_MEM_OTHER, layers * NBI_LINEARS + 1, sizeof *m->sites);
    l->used = nbi_calloc(NBI_MEM_IO, nb_safetensors_count(m->files) + 1, 1);
    if (!m->blocks || !m->sites || !l->used)
        return nbi_fail_nomem(err, "the model", layers * sizeof *m->blocks);
    return NB_OK;
}

nb_status nbi_model_polled(const nb_model *m, nb_error *err)
{
    if (m->stop && *m->stop)
        return nbi_fail(err, NB_INTERRUPTED, "interrupted while reading %s", m->dir);
    return NB_OK;
}

static nb_status load_all(nb_model *m, const nb_model_load *how, nb_error *err)
{
    nbi_loader l = {.m = m, .how = how};
    nb_status st = allocate(m, &l, err);
    if (st == NB_OK)
        st = nbi_layout_walk(&m->config, nbi_load_tensor, &l, err);
    if (st == NB_OK && m->config.tie_embeddings) {
        m->head.w = nb_qtensor_dense(m->embed_dtype, m->embed, m->config.vocab, m->config.hidden);
        m->head.dw = m->d_embed;
    }
    if (st == NB_OK)
        st = nbi_check_unknown(&l, err);
    if (st == NB_OK && m->config.has_quant && l.found_quantised == 0)
        st = nbi_fail(err, NB_FORMAT,
                      "%s: config.json says that the model is quantised, but no tensor is", m->dir);
    nbi_free(l.used);
    NBI_TRY(st);
    NBI_TRY(nb_safetensors_check(m->files, err));
    if (m->quant.load_in_4bit && !m->config.has_quant)
        nb_safetensors_release_all(m->files);
    if (how->stream)
        NBI_TRY(nbi_stream_open(m, err));
    return nbi_model_make_sites(m, err);
}

/* Weights that are to be quantised are taken from the cache of an earlier start, which is made
 * first when there is none. */
static nb_status open_files(nb_model *m, const nb_model_load *how, const nb_log *log, nb_error *err)
{
    char *cached = NULL;
    NBI_TRY(nb_safetensors_open_dir(&m->files, m->dir, "model", err));
    if (!m->quant.load_in_4bit || m->config.has_quant)
        return NB_OK;
    if (how->quantized_cache)
        NBI_TRY(nbi_quant_cache_find(m, how->quantized_cache, &cached, log, err));
    if (!cached && how->stream)
        return nbi_fail(err, NB_CONFIG,
                        "%s: 4-bit weights that do not fit into memory are read from a file: give "
                        "quantized_cache: DIR, or make a folder with nibble quantize",
                        m->dir);
    if (!cached)
        return NB_OK;
    nb_safetensors_close(&m->files);
    nb_status s = nb_safetensors_open_dir(&m->files, cached, "model", err);
    m->config.has_quant = true;
    m->config.quant = m->quant;
    nbi_free(cached);
    return s;
}

static nb_status begin(nb_model *m, const char *dir, const nb_model_load *how, const nb_log *log,
                       nb_error *err)
{
    m->dir = nbi_strdup(NBI_MEM_OTHER, dir);
    m->stop = how->stop;
    if (!m->dir)
        return nbi_fail_nomem(err, "a path", strlen(dir));
    NBI_TRY(nb_config_read(&m->config, dir, err));
    NBI_TRY(nbi_model_choose_quant(m, how, log, err));
    m->exec.compute = how->compute;
    nb_kernels_init(&m->exec.k, how->cpu_flags);
    NBI_TRY(nb_queue_open(&m->exec.q, how->threads, err));
    m->n_parameters = nb_config_parameters(&m->config);
    return open_files(m, how, log, err);
}

nb_status nbi_model_begin(nb_model **out, const char *dir, const nb_model_load *how,
                          const nb_log *log, nb_error *err)
{
    nb_model *m = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *m);
    *out = NULL;
    if (!m)
        return nbi_fail_nomem(err, "the model", sizeof *m);
    nbi_arena_init(&m->strings, NBI_MEM_OTHER);
    nbi_arena_init(&m->stats, NBI_MEM_SCALES);
    nb_status s = begin(m, dir, how, log, err);
    if (s != NB_OK)
        nb_model_close(&m);
    *out = m;
    return s;
}

nb_status nb_model_open(nb_model **out, const char *dir, const nb_model_load *how,
                        const nb_log *log, nb_error *err)
{
    NBI_TRY(nbi_model_begin(out, dir, how, log, err));
    nb_status s = load_all(*out, how, err);
    if (s == NB_OK)
        (*out)->stop = NULL; /* the caller's flag may live shorter than the model */
    else
        nb_model_close(out);
    return s;
}
