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
    nb_site_call call = nb_pass_call(p, x, l->q->w.k);
    call.y_dtype = p->act;
    call.y = s->q_proj;
    call.ldy = l->heads * l->p;
    nb_linear_forward(l->q, &call, false);
    call.y = s->k_proj;
    call.ldy = l->kv_heads * l->p;
    nb_linear_forward(l->k, &call, false);
    call.y = s->v;
    nb_linear_forward(l->v, &call, false);
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

    call = nb_pass_call(p, x, l->q->w.k);
    call.dx = dx;
    call.dy_dtype = p->act;
    call.dy = s->dq;
    call.ldy = l->heads * l->p;
    nb_linear_backward(l->q, &call, false);
    call.dy = s->dk;
    call.ldy = l->kv_heads * l->p;
    nb_linear_backward(l->k, &call, true);
    call.dy = s->dv;
    nb_linear_backward(l->v, &call, true);
}
