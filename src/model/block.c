/* SPDX-License-Identifier: MIT */
#include "model/block.h"

static nb_norm norm_of(const nb_model *m, const float *w, float *dw, int64_t d)
{
    return (nb_norm){.w = w, .dw = dw, .d = d, .eps = (float)m->config.norm_eps};
}

nb_norm nbi_final_norm(const nb_model *m)
{
    return norm_of(m, m->final_norm, m->d_final_norm, m->config.hidden);
}

static nb_norm attn_norm(const nb_model *m, int64_t i)
{
    return norm_of(m, m->blocks[i].attn_norm, m->blocks[i].d_attn_norm, m->config.hidden);
}

static nb_norm mlp_norm(const nb_model *m, int64_t i)
{
    return norm_of(m, m->blocks[i].mlp_norm, m->blocks[i].d_mlp_norm, m->config.hidden);
}

static nb_attn attn_part(const nb_model *m, int64_t i)
{
    const nb_model_config *f = &m->config;
    const nb_block *b = &m->blocks[i];
    return (nb_attn){.q = &b->q,
                     .k = &b->k,
                     .v = &b->v,
                     .o = &b->o,
                     .q_norm = norm_of(m, b->q_norm, b->d_q_norm, f->head_dim),
                     .k_norm = norm_of(m, b->k_norm, b->d_k_norm, f->head_dim),
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

static void copy_rows(const nb_model *m, const nb_pass *p, const float *from, float *to)
{
    if (from != to)
        p->exec->k.axpy(&(nb_axpy_args){.q = p->exec->q,
                                        .n = p->batch->m * m->config.hidden,
                                        .alpha = 1.0f,
                                        .x = from,
                                        .y = to,
                                        .accumulate = false});
}

void nbi_block_forward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                       float *normed)
{
    int64_t rows = p->batch->m;
    nb_norm norm = attn_norm(m, i);
    nb_attn attn = attn_part(m, i);
    nb_norm_forward(&norm, p->exec, rows, a->x, normed, a->attn_rstd);
    copy_rows(m, p, a->x, a->mid);
    nb_attn_forward(&attn, p, &a->attn, normed, a->mid);

    norm = mlp_norm(m, i);
    nb_mlp mlp = mlp_part(m, i);
    nb_norm_forward(&norm, p->exec, rows, a->mid, normed, a->mlp_rstd);
    copy_rows(m, p, a->mid, a->out);
    nb_mlp_forward(&mlp, p, &a->mlp, normed, a->out);
}

bool nbi_block_trains(const nb_model *m, int64_t i)
{
    const nb_block *b = &m->blocks[i];
    nb_attn attn = attn_part(m, i);
    return b->d_attn_norm || b->d_mlp_norm || nb_attn_trains_inside(&attn) ||
           nb_linear_trains(&b->o) || nb_linear_trains(&b->gate) || nb_linear_trains(&b->up) ||
           nb_linear_trains(&b->down);
}

/* Each part runs only as far down as something still needs a gradient. Normed inputs are made again
 * instead of kept. */
void nbi_block_backward(const nb_model *m, int64_t i, const nb_pass *p, const nb_block_acts *a,
                        float *normed, float *dnormed, float *dres, bool want_dx)
{
    const nb_block *b = &m->blocks[i];
    int64_t rows = p->batch->m;
    nb_norm norm_1 = attn_norm(m, i), norm_2 = mlp_norm(m, i);
    nb_attn attn = attn_part(m, i);
    nb_mlp mlp = mlp_part(m, i);
    bool attn_inside = nb_attn_trains_inside(&attn);
    bool below_attn = want_dx || norm_1.dw;
    bool at_mid = below_attn || attn_inside || nb_linear_trains(&b->o);
    bool below_mlp = at_mid || norm_2.dw;

    if (nb_linear_trains(&b->gate) || nb_linear_trains(&b->up))
        nb_norm_forward(&norm_2, p->exec, rows, a->mid, normed, NULL);
    nb_mlp_backward(&mlp, p, &a->mlp, normed, dres, below_mlp ? dnormed : NULL);
    if (!below_mlp)
        return;
    nb_norm_backward(&norm_2, p->exec, rows, a->mid, a->mlp_rstd, dnormed, dres, true);
    if (!at_mid)
        return;

    if (attn_inside)
        nb_norm_forward(&norm_1, p->exec, rows, a->x, normed, NULL);
    nb_attn_backward(&attn, p, &a->attn, normed, dres, below_attn ? dnormed : NULL);
    if (below_attn)
        nb_norm_backward(&norm_1, p->exec, rows, a->x, a->attn_rstd, dnormed, dres, true);
}
