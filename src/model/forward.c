/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <math.h>
#include "model/block.h"
#include "model/stream.h"

static void rope_rows(const nb_model *m, nb_workspace *ws, const nb_batch *b, int64_t row0,
                      int64_t rows)
{
    int64_t p = m->config.head_dim;
    m->exec.k.rope_table(&(nb_rope_table_args){.q = m->exec.q,
                                               .rows = rows,
                                               .half = p / 2,
                                               .positions = b->positions + row0,
                                               .inv_freq = ws->inv_freq,
                                               .scale = 1.0f,
                                               .cs = ws->rope + row0 * p});
}

/* One table for the whole batch unless the frequencies depend on the length of the segment. */
static void make_rope(const nb_model *m, nb_workspace *ws, const nb_batch *b)
{
    if (m->config.rope.type != NB_ROPE_DYNAMIC) {
        nb_rope_frequencies(&m->config, 1, ws->inv_freq);
        rope_rows(m, ws, b, 0, b->m);
        return;
    }
    for (int64_t s = 0; s < b->n_segments; s++) {
        int64_t row0 = b->starts[s], end = b->starts[s + 1];
        if (row0 == end)
            continue;
        nb_rope_frequencies(&m->config, (int64_t)b->positions[end - 1] + 1, ws->inv_freq);
        rope_rows(m, ws, b, row0, end - row0);
    }
}

/* Returns the number of segments that hold rows. */
static int64_t make_segments(nb_workspace *ws, const nb_batch *b, const nb_kvcache *kv)
{
    int64_t n = 0;
    for (int64_t s = 0; s < b->n_segments; s++) {
        int64_t row0 = b->starts[s], len = b->starts[s + 1] - row0;
        if (len > 0)
            ws->segments[n++] = (nb_attn_segment){.q_row0 = row0,
                                                  .q_len = len,
                                                  .k_row0 = kv ? 0 : row0,
                                                  .k_len = kv ? kv->length + len : len};
    }
    return n;
}

/* With a cache the block writes its keys and values straight into the cache's next rows. */
static nb_block_acts acts_of(const nb_model *m, const nb_workspace *ws, int64_t i,
                             const nb_kvcache *kv)
{
    nb_block_acts a = ws->acts[i];
    if (kv) {
        int64_t first = i * kv->capacity * kv->row, next = first + kv->length * kv->row;
        a.attn.keys = nb_elem(kv->k, kv->dtype, first);
        a.attn.values = nb_elem(kv->v, kv->dtype, first);
        a.attn.k = nb_elem(kv->k, kv->dtype, next);
        a.attn.v = nb_elem(kv->v, kv->dtype, next);
        if (!m->config.qk_norm)
            a.attn.k_proj = a.attn.k;
    }
    return a;
}

/* NEFTune: a row of L tokens gets noise within alpha / sqrt(L D). */
static void add_noise(const nb_model *m, const nb_batch *b, float *x)
{
    const int64_t d = m->config.hidden;
    assert(b->example);
    for (int64_t s = 0; s < b->n_segments; s++) {
        const int64_t row0 = b->starts[s], rows = b->starts[s + 1] - row0;
        if (rows == 0)
            continue;
        m->exec.k.noise(
            &(nb_noise_args){.q = m->exec.q,
                             .rows = rows,
                             .d = d,
                             .y = x + row0 * d,
                             .scale = (float)(m->neftune_alpha / sqrt((double)rows * (double)d)),
                             .seed = m->neftune_seed,
                             .epoch = b->epoch,
                             .example = b->example + row0,
                             .token = b->positions + row0});
    }
}

void nb_model_forward(nb_model *m, nb_workspace *ws, const nb_batch *b, struct nb_kvcache *kv,
                      bool training)
{
    assert(b->m <= ws->max_rows && (!training || ws->training));
    assert(ws->act == NB_ACT_DTYPE(m->exec.compute) && (!kv || kv->dtype == ws->act));
    assert(!kv || (!ws->training && b->n_segments == 1 && kv->length + b->m <= kv->capacity));
    nbi_workspace_bind(ws, m);
    make_rope(m, ws, b);
    ws->rows = b->m;
    ws->pass = (nb_pass){.exec = &m->exec,
                         .batch = b,
                         .act = ws->act,
                         .training = training,
                         .rope = ws->rope,
                         .segments = ws->segments,
                         .n_segments = make_segments(ws, b, kv)};

    nbi_embed_rows(m, b, ws->acts[0].x);
    if (training && m->neftune_alpha > 0)
        add_noise(m, b, ws->acts[0].x);
    for (int64_t i = 0; i < m->config.layers; i++) {
        nb_block_acts a = acts_of(m, ws, i, kv);
        nbi_layer_begin(m, i, i + 1); /* behind the last comes the head */
        nbi_block_forward(m, i, &ws->pass, &a, ws->normed);
        nbi_layer_end(m, i);
    }
    nb_norm norm = nbi_final_norm(m, ws->act);
    nb_norm_forward(&norm, &m->exec, b->m, ws->last, ws->final, ws->final_rstd);
    if (kv)
        kv->length += b->m;
}
