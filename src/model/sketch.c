/* SPDX-License-Identifier: MIT */
#include "model/sketch.h"

#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "format/bnb4bit.h"
#include "model/weights.h"

typedef struct sketcher {
    nb_model *m;
    const nb_model_config *config; /* as read: the width of one expert */
    const nb_model_load *how;
    nb_safetensors *files; /* NULL: no weights at hand */
    nb_sketch_bytes *b;
    uint64_t layer; /* of the block at hand */
    uint64_t now;   /* resident from the weights so far */
} sketcher;

static uint64_t largest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* A weight is loaded: `held` bytes stay, `passing` ones are there while that is made. */
static void load(sketcher *k, uint64_t held, uint64_t passing)
{
    k->now += held;
    k->b->load_peak = largest(k->b->load_peak, k->now + passing);
}

/* Reading a few values of a mapped weight brings what lies around them. */
static void touch(sketcher *k, uint64_t bytes, uint64_t places)
{
    uint64_t around = places * NBI_FAULT_BYTES;
    load(k, bytes < around ? bytes : around, 0);
}

static uint64_t elements(const nbi_tensor_spec *s)
{
    return (uint64_t)s->shape[0] * (uint64_t)(s->rank == 2 ? s->shape[1] : 1);
}

static nb_dtype stored_dtype(const sketcher *k, const nbi_tensor_spec *s)
{
    const nb_st_tensor *t = k->files ? nb_safetensors_find(k->files, s->name) : NULL;
    return t && nb_dtype_is_dense_float(t->dtype) ? t->dtype : k->config->dtype;
}

/* A trained weight: an f32 copy, made from the stored tensor; listed by its size alone. */
static nb_status add_trained(sketcher *k, const nbi_tensor_spec *s, uint64_t copies, nb_error *err)
{
    nb_param *p = nbi_arena_alloc(&k->m->strings, sizeof *p, _Alignof(nb_param));
    if (!p || !nbi_array_push(&k->m->params, p))
        return nbi_fail_nomem(err, "the list of trained weights", sizeof *p);
    *p =
        (nb_param){.rank = s->rank, .shape = {s->shape[0], s->shape[1]}, .n = (int64_t)elements(s)};
    /* a gradient's place only tells that it is there */
    if (s->part == NBI_PART_EMBED)
        k->m->d_embed = (float *)(void *)k->m->blocks;
    uint64_t bytes = copies * nbi_mem_footprint(elements(s) * sizeof(float));
    k->b->params += bytes;
    load(k, bytes, elements(s) * nb_dtype_size(stored_dtype(k, s)));
    load(k, bytes, 0); /* its gradient */
    return NB_OK;
}

static nb_status add_vector(sketcher *k, const nbi_tensor_spec *s, nb_error *err)
{
    nb_model *m = k->m;
    uint64_t bytes = nbi_mem_footprint(elements(s) * sizeof(float));
    if (k->how->trainable) {
        NBI_TRY(add_trained(k, s, 1, err));
    } else {
        k->b->vectors += bytes;
        load(k, bytes, NBI_FAULT_BYTES);
    }
    if (s->part == NBI_PART_Q_NORM || s->part == NBI_PART_K_NORM) {
        /* only tells that it is there */
        static const float present[1];
        float **grad;
        *nbi_model_norm(m, s->part, s->layer, &grad) = present;
    }
    return NB_OK;
}

/* Quantising it takes a piece of its source and, where the scales are quantised too, these in f32
 * (nbi_quantise_linear). */
static void add_conversion(sketcher *k, const nb_qtensor *w, uint64_t held)
{
    uint64_t n = (uint64_t)w->n * (uint64_t)w->k, block = (uint64_t)w->block;
    uint64_t source = n * nb_dtype_size(w->dtype), scales = (n + block - 1) / block * sizeof(float);
    uint64_t piece = source < NBI_QUANT_PIECE ? source : NBI_QUANT_PIECE;
    load(k, held, piece + (w->absmax ? 0 : nbi_mem_footprint(scales)));
    k->b->cache_peak = largest(k->b->cache_peak, held + scales + piece);
}

/* 4-bit codes and their statistics, each its own block of memory or part of a file. */
static void add_quantised(sketcher *k, const nb_qtensor *w, uint64_t copies)
{
    nb_sketch_bytes *b = k->b;
    uint64_t data = nb_qtensor_data_bytes(w), stats = nb_qtensor_stat_bytes(w);
    if (k->config->has_quant) {
        b->mapped += copies * (data + stats);
        touch(k, copies * (data + stats), 4 * copies);
    } else {
        data = nbi_mem_footprint(data);
        stats = nbi_mem_footprint(stats);
        for (uint64_t i = 0; i < copies; i++)
            add_conversion(k, w, data + stats);
    }
    b->linears += copies * data;
    b->stats += copies * stats;
    k->layer += copies * (data + stats);
}

static bool is_quantised(const sketcher *k, const nbi_tensor_spec *s)
{
    const nb_model_config *c = k->config;
    if (s->part == NBI_PART_HEAD || !k->m->quant.load_in_4bit)
        return false;
    if (!c->has_quant)
        return true;
    return k->files ? nb_bnb4bit_present(k->files, s->name) : !nbi_is_skipped(c, s->module);
}

static nb_status add_linear(sketcher *k, const nbi_tensor_spec *s, nb_error *err)
{
    nb_model *m = k->m;
    const nb_quant_config *q = &m->quant;
    uint64_t copies = (uint64_t)nbi_part_copies(k->config, s->part);
    nb_qtensor w = nb_qtensor_dense(stored_dtype(k, s), NULL, s->shape[0], s->shape[1]);
    uint64_t dense = copies * nb_qtensor_data_bytes(&w);
    nb_linear *lin = nbi_model_linear(m, s->part, s->layer);
    if (is_quantised(k, s)) {
        static const float present[1]; /* single quantisation is told by absmax */
        w.kind = q->kind;
        w.block = q->block;
        w.nested_block = q->nested_block;
        w.absmax = q->double_quant ? NULL : present;
        add_quantised(k, &w, copies);
    } else if (k->how->trainable) {
        NBI_TRY(add_trained(k, s, copies, err));
    } else {
        *(s->part == NBI_PART_HEAD ? &k->b->head : &k->b->linears) += dense;
        k->b->mapped += dense;
        k->layer += dense;
    }
    if (s->part != NBI_PART_HEAD)
        k->b->linear_weights += (int64_t)(copies * elements(s));
    lin->w = w;
    if (copies > 1) /* a token sees some of the experts: as wide as these together */
        *(s->part == NBI_PART_DOWN ? &lin->w.k : &lin->w.n) *= k->config->experts_used;
    return NB_OK;
}

static nb_status visit(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    sketcher *k = user;
    if (s->part == NBI_PART_ATTN_NORM)
        k->layer = 0;
    if (s->bias || nbi_part_is_norm(s->part)) {
        NBI_TRY(add_vector(k, s, err));
    } else if (s->part != NBI_PART_EMBED) {
        NBI_TRY(add_linear(k, s, err));
    } else if (k->how->trainable) {
        NBI_TRY(add_trained(k, s, 1, err));
    } else {
        nb_dtype t = stored_dtype(k, s);
        const nb_st_tensor *at = k->files ? nb_safetensors_find(k->files, s->name) : NULL;
        k->b->embed_at = at ? (uintptr_t)at->data : 0;
        k->m->embed_dtype = t;
        k->b->embed = elements(s) * nb_dtype_size(t);
        k->b->embed_row = (uint64_t)s->shape[1] * nb_dtype_size(t);
        k->b->mapped += k->b->embed;
    }
    if (s->part == NBI_PART_DOWN)
        k->b->largest_layer = largest(k->b->largest_layer, k->layer);
    return NB_OK;
}

/* Weights that are not there are no mistake here. */
static nb_status open_files(sketcher *k, const char *dir, nb_error *err)
{
    nb_error why = {NB_OK, ""};
    nb_status st = dir ? nb_safetensors_open_dir(&k->files, dir, "model", &why) : NB_OK;
    if (st == NB_OK || st == NB_NOTFOUND || st == NB_UNSUPPORTED)
        return NB_OK;
    if (err)
        *err = why;
    return st;
}

static nb_status fill(sketcher *k, const char *dir, nb_error *err)
{
    nb_model *m = k->m;
    size_t layers = (size_t)m->config.layers;
    m->dir = nbi_strdup(NBI_MEM_OTHER, dir ? dir : m->config.model_type);
    m->blocks = nbi_calloc(NBI_MEM_OTHER, layers, sizeof *m->blocks);
    m->sites = nbi_calloc(NBI_MEM_OTHER, layers * NBI_LINEARS + 1, sizeof *m->sites);
    if (!m->dir || !m->blocks || !m->sites)
        return nbi_fail_nomem(err, "the model", layers * sizeof *m->blocks);
    NBI_TRY(nbi_model_choose_quant(m, k->how, NULL, err));
    NBI_TRY(open_files(k, dir, err));
    NBI_TRY(nbi_layout_walk(k->config, visit, k, err));
    if (m->config.tie_embeddings)
        m->head.w = nb_qtensor_dense(m->embed_dtype, NULL, m->config.vocab, m->config.hidden);
    m->n_parameters = nb_config_parameters(k->config);
    /* what chooses the experts stays as it is stored */
    k->b->vectors += (uint64_t)(m->config.layers * m->config.experts * m->config.hidden) *
                     nb_dtype_size(m->config.dtype);
    return nbi_model_make_sites(m, err);
}

nb_status nb_model_sketch(nb_model **out, const nb_model_config *config, const char *dir,
                          const nb_model_load *how, nb_sketch_bytes *bytes, nb_error *err)
{
    nb_model *m = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *m);
    *out = NULL;
    if (!m)
        return nbi_fail_nomem(err, "the model", sizeof *m);
    nbi_arena_init(&m->strings, NBI_MEM_OTHER);
    nbi_arena_init(&m->stats, NBI_MEM_SCALES);
    m->config = *config;
    nbi_arena_init(&m->config.arena, NBI_MEM_OTHER); /* the other one's strings are not ours */
    if (config->experts > 0)
        m->config.ffn *= config->experts_used;
    m->exec.compute = how->compute;
    *bytes = (nb_sketch_bytes){0};
    sketcher k = {.m = m, .config = config, .how = how, .b = bytes};
    nb_status st = fill(&k, dir, err);
    nb_safetensors_close(&k.files);
    if (st != NB_OK)
        nb_model_close(&m);
    *out = m;
    return st;
}
