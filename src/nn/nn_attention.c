/* SPDX-License-Identifier: MIT */
#include "nn/nn_attention.h"

#include <math.h>

/* Queries and keys turn by the same angles, in place. */
static void rope(const nb_attn *l, const nb_pass *p, void *q, void *k, bool inverse)
{
    p->exec->k.rope(&(nb_rope_args){.q = p->exec->q,
                                    .rows = p->batch->m,
                                    .heads = l->heads,
                                    .p = l->p,
                                    .half = l->p / 2,
                                    .x = q,
                                    .cs = p->rope,
                                    .inverse = inverse,
                                    .dtype = p->act,
                                    .x2 = k,
                                    .heads2 = l->kv_heads});
}

/* Projections to what attention uses: the head norms if there are any, then the rotation in place.
 */
static void norm_and_rotate(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s)
{
    int64_t m = p->batch->m;
    if (l->q_norm.w) {
        nb_norm_forward(&l->q_norm, p->exec, m * l->heads, s->q_proj, s->q, s->q_rstd);
        nb_norm_forward(&l->k_norm, p->exec, m * l->kv_heads, s->k_proj, s->k, s->k_rstd);
    }
    rope(l, p, s->q, s->k, false);
}

static nb_attention_args attention_args(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s)
{
    return (nb_attention_args){.q_ = p->exec->q,
                               .segments = p->segments,
                               .n_segments = p->n_segments,
                               .heads = l->heads,
                               .kv_heads = l->kv_heads,
                               .p = l->p,
                               .q = s->q,
                               .k = s->keys,
                               .v = s->values,
                               .ldq = l->heads * l->p,
                               .ldk = l->kv_heads * l->p,
                               .ldv = l->kv_heads * l->p,
                               .scale = (float)(1.0 / sqrt((double)l->p)),
                               .softcap = 0.0f,
                               .window = l->window,
                               .out = s->out,
                               .ldo = l->heads * l->p,
                               .lse = s->lse,
                               .dtype = p->act};
}

void nb_attn_project(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s, const void *x)
{
    const nb_linear *const layers[] = {l->q, l->k, l->v};
    void *const y[] = {s->q_proj, s->k_proj, s->v};
    nb_site_call call[3];
    for (int i = 0; i < 3; i++) {
        call[i] = nb_pass_call(p, x, l->q->w.k);
        call[i].y_dtype = p->act;
        call[i].y = y[i];
        call[i].ldy = layers[i]->w.n;
    }
    nb_linear_forward_all(layers, call, 3);
    norm_and_rotate(l, p, s);
}

void nb_attn_forward(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s, const void *x,
                     float *y)
{
    nb_attn_project(l, p, s, x);
    nb_attention_args args = attention_args(l, p, s);
    p->exec->k.attention(&args);

    nb_site_call call = nb_pass_call(p, s->out, l->o->w.k);
    call.y = y;
    call.ldy = l->o->w.n;
    nb_linear_forward(l->o, &call, true);
}

bool nb_attn_trains_inside(const nb_attn *l)
{
    return nb_linear_trains(l->q) || nb_linear_trains(l->k) || nb_linear_trains(l->v) ||
           l->q_norm.dw || l->k_norm.dw;
}

/* From the gradients of the rotated, normed heads to those of the projections' outputs, in place.
 */
static void unrotate(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s)
{
    int64_t m = p->batch->m;
    rope(l, p, s->dq, s->dk, true);
    if (!l->q_norm.w)
        return;
    nb_norm_backward(&l->q_norm, p->exec, m * l->heads, s->q_proj, s->q_rstd, s->dq, s->dq, false);
    nb_norm_backward(&l->k_norm, p->exec, m * l->kv_heads, s->k_proj, s->k_rstd, s->dk, s->dk,
                     false);
}

void nb_attn_backward(const nb_attn *l, const nb_pass *p, const nb_attn_acts *s, const void *x,
                      const float *dy, float *dx)
{
    bool inner = dx || nb_attn_trains_inside(l);
    nb_site_call call = nb_pass_call(p, s->out, l->o->w.k);
    call.dy = dy;
    call.ldy = l->o->w.n;
    call.dx = inner ? s->dout : NULL;
    call.dx_dtype = p->act;
    nb_linear_backward(l->o, &call, false);
    if (!inner)
        return;

    if (l->q_norm.w)
        norm_and_rotate(l, p, s);
    p->exec->k.attention_bwd(&(nb_attention_bwd_args){.fwd = attention_args(l, p, s),
                                                      .dout = s->dout,
                                                      .lddo = l->heads * l->p,
                                                      .delta = s->delta,
                                                      .dq = s->dq,
                                                      .dk = s->dk,
                                                      .dv = s->dv});
    unrotate(l, p, s);

    const nb_linear *const layers[] = {l->q, l->k, l->v};
    const void *const parts[] = {s->dq, s->dk, s->dv};
    nb_site_call inputs[3];
    for (int i = 0; i < 3; i++) {
        inputs[i] = nb_pass_call(p, x, l->q->w.k);
        inputs[i].dx = dx;
        inputs[i].dy_dtype = p->act;
        inputs[i].dy = parts[i];
        inputs[i].ldy = layers[i]->w.n;
    }
    nb_linear_backward_all(layers, inputs, 3);
}
