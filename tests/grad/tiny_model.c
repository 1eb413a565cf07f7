/* SPDX-License-Identifier: MIT */
#include "grad/tiny_model.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include "base/rng.h"
#include "tensor/codebook.h"

const tiny_spec tiny_specs[] = {
    {.name = "llama",
     .layers = 2,
     .hidden = 20,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 6,
     .ffn = 26,
     .vocab = 31},
    {.name = "llama tied linear rope",
     .layers = 2,
     .hidden = 16,
     .heads = 2,
     .kv_heads = 1,
     .head_dim = 8,
     .ffn = 20,
     .vocab = 29,
     .tied = true,
     .rope = NB_ROPE_LINEAR},
    {.name = "biases everywhere, gelu",
     .layers = 1,
     .hidden = 12,
     .heads = 3,
     .kv_heads = 3,
     .head_dim = 4,
     .ffn = 18,
     .vocab = 23,
     .qkv_bias = true,
     .o_mlp_bias = true,
     .act = NB_ACT_GELU_TANH},
    {.name = "mistral",
     .layers = 3,
     .hidden = 16,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 4,
     .ffn = 22,
     .vocab = 27,
     .window = 3},
    {.name = "qwen2",
     .layers = 2,
     .hidden = 16,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 4,
     .ffn = 64,
     .vocab = 33,
     .tied = true,
     .qkv_bias = true},
    {.name = "qwen3",
     .layers = 2,
     .hidden = 16,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 6,
     .ffn = 20,
     .vocab = 33,
     .tied = true,
     .qk_norm = true},
    {.name = "llama dynamic rope",
     .layers = 1,
     .hidden = 12,
     .heads = 2,
     .kv_heads = 2,
     .head_dim = 6,
     .ffn = 14,
     .vocab = 21,
     .rope = NB_ROPE_DYNAMIC},
    {.name = "llama nf4 frozen",
     .layers = 2,
     .hidden = 20,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 6,
     .ffn = 26,
     .vocab = 31,
     .kind = NB_QK_NF4,
     .frozen = true},
};
const size_t tiny_n_specs = sizeof tiny_specs / sizeof *tiny_specs;

static void *own(nb_model *m, size_t bytes)
{
    void *p = nbi_calloc(NBI_MEM_OTHER, 1, bytes);
    assert(p);
    bool pushed = nbi_array_push(&m->owned, p);
    assert(pushed);
    (void)pushed;
    return p;
}

static float *normal(nb_model *m, nbi_rng *r, int64_t n, double mean, double dev)
{
    float *w = own(m, (size_t)n * sizeof *w);
    for (int64_t i = 0; i < n; i++)
        w[i] = (float)(mean + dev * nbi_rng_normal(r));
    return w;
}

static float *grad(nb_model *m, const tiny_spec *s, int64_t n)
{
    return s->frozen ? NULL : own(m, (size_t)n * sizeof(float));
}

static nb_qtensor quantised(nb_model *m, const float *w, int64_t n, int64_t k)
{
    const int64_t block = 64;
    uint8_t *codes = own(m, (size_t)(n * k + 1) / 2);
    float *absmax = own(m, (size_t)(n * k / block + 1) * sizeof *absmax);
    m->exec.k.quantize4(&(nb_quantize4_args){.q = m->exec.q,
                                             .kind = NB_QK_NF4,
                                             .dtype = NB_DT_F32,
                                             .x = w,
                                             .n = n * k,
                                             .block = block,
                                             .codes = codes,
                                             .absmax = absmax});
    nb_qtensor t = nb_qtensor_dense(NB_DT_F32, codes, n, k);
    t.kind = NB_QK_NF4;
    t.block = block;
    t.absmax = absmax;
    memcpy(t.book, nb_book_nf4, sizeof t.book);
    return t;
}

static void add_linear(nb_model *m, const tiny_spec *s, nbi_rng *r, nb_linear *l, int64_t n,
                       int64_t k, bool bias, int layer, const char *name)
{
    float *w = normal(m, r, n * k, 0.0, 0.35);
    l->w = s->kind == NB_QK_DENSE ? nb_qtensor_dense(NB_DT_F32, w, n, k) : quantised(m, w, n, k);
    l->dw = grad(m, s, n * k);
    if (bias) {
        l->bias = normal(m, r, n, 0.0, 0.3);
        l->dbias = grad(m, s, n);
    }
    nb_site *site = &m->sites[m->n_sites++];
    *site = (nb_site){.name = name, .linear = l, .rows = n, .in = k, .layer = layer};
    l->n_sites = 1;
    l->sites[0] = site;
}

static void add_block(nb_model *m, const tiny_spec *s, nbi_rng *r, int layer)
{
    nb_block *b = &m->blocks[layer];
    int64_t d = s->hidden, q = s->heads * s->head_dim, k = s->kv_heads * s->head_dim;
    b->attn_norm = normal(m, r, d, 1.0, 0.2);
    b->mlp_norm = normal(m, r, d, 1.0, 0.2);
    b->d_attn_norm = grad(m, s, d);
    b->d_mlp_norm = grad(m, s, d);
    if (s->qk_norm) {
        b->q_norm = normal(m, r, s->head_dim, 1.0, 0.2);
        b->k_norm = normal(m, r, s->head_dim, 1.0, 0.2);
        b->d_q_norm = grad(m, s, s->head_dim);
        b->d_k_norm = grad(m, s, s->head_dim);
    }
    add_linear(m, s, r, &b->q, q, d, s->qkv_bias, layer, "q");
    add_linear(m, s, r, &b->k, k, d, s->qkv_bias, layer, "k");
    add_linear(m, s, r, &b->v, k, d, s->qkv_bias, layer, "v");
    add_linear(m, s, r, &b->o, d, q, s->o_mlp_bias, layer, "o");
    add_linear(m, s, r, &b->gate, s->ffn, d, s->o_mlp_bias, layer, "gate");
    add_linear(m, s, r, &b->up, s->ffn, d, s->o_mlp_bias, layer, "up");
    add_linear(m, s, r, &b->down, d, s->ffn, s->o_mlp_bias, layer, "down");
}

static void add_head(nb_model *m, const tiny_spec *s, nbi_rng *r)
{
    int64_t n = s->vocab * s->hidden;
    m->embed_dtype = NB_DT_F32;
    m->embed = normal(m, r, n, 0.0, 0.8);
    m->d_embed = grad(m, s, n);
    m->final_norm = normal(m, r, s->hidden, 1.0, 0.2);
    m->d_final_norm = grad(m, s, s->hidden);
    tiny_spec dense = *s;
    dense.kind = NB_QK_DENSE;
    add_linear(m, &dense, r, &m->head, s->vocab, s->hidden, false, -1, "head");
    m->head.sites[0]->is_head = true;
    if (s->tied) {
        m->head.w.data = m->embed;
        m->head.dw = m->d_embed;
    }
}

static void set_config(nb_model *m, const tiny_spec *s)
{
    nb_model_config *c = &m->config;
    snprintf(c->model_type, sizeof c->model_type, "llama");
    c->hidden = s->hidden;
    c->layers = s->layers;
    c->heads = s->heads;
    c->kv_heads = s->kv_heads;
    c->head_dim = s->head_dim;
    c->ffn = s->ffn;
    c->vocab = s->vocab;
    c->max_positions = s->rope == NB_ROPE_DYNAMIC ? 6 : 64;
    c->norm_eps = 1e-5;
    c->act = s->act;
    c->tie_embeddings = s->tied;
    c->qk_norm = s->qk_norm;
    c->rope = (nb_rope_config){.type = s->rope, .theta = 10000.0, .factor = 2.0};
    c->sliding_window = s->window;
    c->sliding = own(m, (size_t)s->layers);
    for (int64_t i = 0; i < s->layers; i++)
        c->sliding[i] = s->window && i % 2 == 0;
}

nb_model *tiny_open(const tiny_spec *spec, int threads)
{
    nb_model *m = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *m);
    assert(m);
    nb_kernels_init(&m->exec.k, nb_cpu_flags());
    nb_status st = nb_queue_open(&m->exec.q, threads, NULL);
    assert(st == NB_OK);
    (void)st;
    m->exec.compute = NB_COMPUTE_F32;
    set_config(m, spec);
    m->blocks = own(m, (size_t)spec->layers * sizeof *m->blocks);
    m->sites = own(m, (size_t)(7 * spec->layers + 1) * sizeof *m->sites);
    nbi_rng r;
    nbi_rng_init(&r, 7, NBI_RNG_INIT, (uint64_t)spec->hidden);
    for (int i = 0; i < spec->layers; i++)
        add_block(m, spec, &r, i);
    add_head(m, spec, &r);
    return m;
}

void tiny_close(nb_model *m)
{
    nb_queue_close(&m->exec.q);
    for (size_t i = 0; i < m->owned.n; i++)
        nbi_free(m->owned.v[i]);
    nbi_array_free(&m->owned);
    nbi_free(m);
}

size_t tiny_slots(nb_model *m, tiny_slot *slots, size_t max)
{
    const nb_model_config *c = &m->config;
    size_t n = 0;
#define SLOT(pointer, count)                                                                       \
    do {                                                                                           \
        assert(n < max);                                                                           \
        if (pointer)                                                                               \
            slots[n++] = (tiny_slot){&(pointer), count};                                           \
    } while (0)
    SLOT(m->d_embed, c->vocab * c->hidden);
    SLOT(m->d_final_norm, c->hidden);
    for (size_t i = 0; i < m->n_sites; i++) {
        nb_linear *l = m->sites[i].linear;
        if (l != &m->head || !c->tie_embeddings)
            SLOT(l->dw, l->w.n * l->w.k);
        SLOT(l->dbias, l->w.n);
    }
    for (int64_t i = 0; i < c->layers; i++) {
        SLOT(m->blocks[i].d_attn_norm, c->hidden);
        SLOT(m->blocks[i].d_mlp_norm, c->hidden);
        SLOT(m->blocks[i].d_q_norm, c->head_dim);
        SLOT(m->blocks[i].d_k_norm, c->head_dim);
    }
#undef SLOT
    return n;
}

void tiny_zero_grads(nb_model *m)
{
    tiny_slot slots[200];
    size_t n = tiny_slots(m, slots, 200);
    for (size_t i = 0; i < n; i++)
        memset(*slots[i].grad, 0, (size_t)slots[i].n * sizeof(float));
}

tiny_batch tiny_batch_open(const nb_model *m, const int64_t *lengths, int64_t n, uint64_t seed)
{
    tiny_batch t = {0};
    t.starts = nbi_calloc(NBI_MEM_OTHER, (size_t)n + 1, sizeof *t.starts);
    for (int64_t s = 0; s < n; s++)
        t.starts[s + 1] = t.starts[s] + lengths[s];
    int64_t rows = t.starts[n];
    t.ids = nbi_calloc(NBI_MEM_OTHER, (size_t)rows, sizeof *t.ids);
    t.targets = nbi_calloc(NBI_MEM_OTHER, (size_t)rows, sizeof *t.targets);
    t.positions = nbi_calloc(NBI_MEM_OTHER, (size_t)rows, sizeof *t.positions);
    t.example = nbi_calloc(NBI_MEM_OTHER, (size_t)rows, sizeof *t.example);
    t.b = (nb_batch){.m = rows,
                     .ids = t.ids,
                     .targets = t.targets,
                     .positions = t.positions,
                     .example = t.example,
                     .n_segments = n,
                     .starts = t.starts};
    nbi_rng r;
    nbi_rng_init(&r, seed, NBI_RNG_SAMPLE, 0);
    for (int64_t i = 0; i < rows; i++)
        t.ids[i] = (int32_t)nbi_rng_below(&r, (uint64_t)m->config.vocab);
    for (int64_t s = 0; s < n; s++)
        for (int64_t i = t.starts[s]; i < t.starts[s + 1]; i++) {
            bool wanted = i + 1 < t.starts[s + 1] && nbi_rng_below(&r, 4) != 0;
            t.positions[i] = (int32_t)(i - t.starts[s]);
            t.example[i] = (int32_t)s;
            t.targets[i] = wanted ? t.ids[i + 1] : NB_IGNORE_INDEX;
            t.b.n_targets += wanted;
        }
    return t;
}

void tiny_batch_close(tiny_batch *t)
{
    nbi_free(t->ids);
    nbi_free(t->targets);
    nbi_free(t->positions);
    nbi_free(t->example);
    nbi_free(t->starts);
}
