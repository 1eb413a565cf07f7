/* SPDX-License-Identifier: MIT */
#include "model/block.h"

/* A norm of the residual stream. */
static nb_norm norm_of(const nb_model *m, const float *w, float *dw, nb_dtype act)
{
    return (nb_norm){
        .w = w, .dw = dw, .d = m->config.hidden, .eps = (float)m->config.norm_eps, .y_dtype = act};
}

nb_norm nbi_final_norm(const nb_model *m, nb_dtype act)
{
    return norm_of(m, m->final_norm, m->d_final_norm, act);
}

static nb_norm attn_norm(const nb_model *m, int64_t i, nb_dtype act)
{
    return norm_of(m, m->blocks[i].attn_norm, m->blocks[i].d_attn_norm, act);
}

static nb_norm mlp_norm(const nb_model *m, int64_t i, nb_dtype act)
{
    return norm_of(m, m->blocks[i].mlp_norm, m->blocks[i].d_mlp_norm, act);
}

static nb_norm head_norm(const nb_model *m, const float *w, float *dw, nb_dtype act)
{
    nb_norm n = norm_of(m, w, dw, act);
    n.d = m->config.head_dim;
    n.dtype = act;
    return n;
}

static nb_attn attn_part(const nb_model *m, int64_t i, nb_dtype act)
{
    const nb_model_config *f = &m->config;
    const nb_block *b = &m->blocks[i];
    return (nb_attn){.q = &b->q,
                     .k = &b->k,
                     .v = &b->v,
                     .o = &b->o,
                     .q_norm = head_norm(m, b->q_norm, b->d_q_norm, act),
                     .k_norm = head_norm(m, b->k_norm, b->d_k_norm, act),
                     .heads = f->heads,
                     .kv_heads = f->kv_heads,
                     .p = f->head_dim,
                     .window = f->sliding && f->sliding[i] ? f->sliding_window : 0};
}

static nb_mlp mlp_part(const nb_model *m, int64_t i)
{
    const nb_block *b = &m->blocks[i];
    return (nb_mlp){.gate = &b->gate, .up = &b->up, .down = &b->down, .act = m->config.act};
}

/* Up to `mid`: norm, attention, residual. */
static void attn_forward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                         void *normed)
{
    nb_norm norm = attn_norm(m, i, p->act);
    nb_attn attn = attn_part(m, i, p->act);
    nb_norm_forward_copy(&norm, p->exec, p->batch->m, a->x, normed, a->attn_rstd, a->mid);
    nb_attn_forward(&attn, p, &a->attn, normed, a->mid);
}

void nbi_block_forward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                       void *normed)
{
    attn_forward(m, i, p, a, normed);
    nb_norm norm = mlp_norm(m, i, p->act);
    nb_mlp mlp = mlp_part(m, i);
    nb_norm_forward_copy(&norm, p->exec, p->batch->m, a->mid, normed, a->mlp_rstd, a->out);
    nb_mlp_forward(&mlp, p, &a->mlp, normed, a->out);
}

static bool block_trains(const nb_model *m, int64_t i)
{
    const nb_block *b = &m->blocks[i];
    nb_attn attn = attn_part(m, i, NB_DT_F32);
    return b->d_attn_norm || b->d_mlp_norm || nb_attn_trains_inside(&attn) ||
           nb_linear_trains(&b->o) || nb_linear_trains(&b->gate) || nb_linear_trains(&b->up) ||
           nb_linear_trains(&b->down);
}

int64_t nbi_lowest_block(const nb_model *m)
{
    int64_t i = 0;
    if (!m->d_embed)
        while (i < m->config.layers && !block_trains(m, i))
            i++;
    return i;
}

/* Makes what the backward pass of the MLP part reads; normed = its normed input. */
static void restore_mlp(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                        void *normed)
{
    const nb_block *b = &m->blocks[i];
    nb_pass again = *p;
    again.again = true;
    if (a->mode == NB_RECOMPUTE)
        attn_forward(m, i, &again, a, normed);
    if (a->mode != NB_KEEP || nb_linear_trains(&b->gate) || nb_linear_trains(&b->up)) {
        nb_norm norm = mlp_norm(m, i, p->act);
        nb_norm_forward(&norm, p->exec, p->batch->m, a->mid, normed, a->mlp_rstd);
    }
    if (a->mode != NB_KEEP) {
        nb_mlp mlp = mlp_part(m, i);
        nb_mlp_project(&mlp, &again, &a->mlp, normed);
    }
}

/* The same for the attention part, after restore_mlp. */
static void restore_attn(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                         void *normed)
{
    nb_attn attn = attn_part(m, i, p->act);
    if (a->mode == NB_SELECTIVE || nb_attn_trains_inside(&attn)) {
        nb_norm norm = attn_norm(m, i, p->act);
        nb_norm_forward(&norm, p->exec, p->batch->m, a->x, normed, a->attn_rstd);
    }
    if (a->mode == NB_SELECTIVE) {
        nb_pass again = *p;
        again.again = true;
        nb_attn_project(&attn, &again, &a->attn, normed);
    }
}

/* Each part runs only as far down as something still needs a gradient. Normed inputs are made again
 * instead of kept. */
void nbi_block_backward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                        void *normed, float *dnormed, float *dres, bool want_dx)
{
    int64_t rows = p->batch->m;
    nb_norm norm_1 = attn_norm(m, i, p->act), norm_2 = mlp_norm(m, i, p->act);
    nb_attn attn = attn_part(m, i, p->act);
    nb_mlp mlp = mlp_part(m, i);
    bool below_attn = want_dx || norm_1.dw;
    bool at_mid = below_attn || nb_attn_trains_inside(&attn) || nb_linear_trains(attn.o);
    bool below_mlp = at_mid || norm_2.dw;

    restore_mlp(m, i, p, a, normed);
    nb_mlp_backward(&mlp, p, &a->mlp, normed, dres, below_mlp ? dnormed : NULL);
    if (!below_mlp)
        return;
    nb_norm_backward(&norm_2, p->exec, rows, a->mid, a->mlp_rstd, dnormed, dres, true);
    if (!at_mid)
        return;

    restore_attn(m, i, p, a, normed);
    nb_attn_backward(&attn, p, &a->attn, normed, dres, below_attn ? dnormed : NULL);
    if (below_attn)
        nb_norm_backward(&norm_1, p->exec, rows, a->x, a->attn_rstd, dnormed, dres, true);
}
