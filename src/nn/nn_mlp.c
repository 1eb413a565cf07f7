/* SPDX-License-Identifier: MIT */
#include "nn/nn_mlp.h"

static void activate(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s)
{
    p->exec->k.glu(&(nb_glu_args){.q = p->exec->q,
                                  .act = l->act,
                                  .n = p->batch->m * l->gate->w.n,
                                  .g = s->gate,
                                  .u = s->up,
                                  .h = s->h,
                                  .dtype = p->act});
}

void nb_mlp_project(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x)
{
    nb_site_call call = nb_pass_call(p, x, l->gate->w.k);
    call.ldy = l->gate->w.n;
    call.y_dtype = p->act;
    call.y = s->gate;
    nb_linear_forward(l->gate, &call, false);
    call.y = s->up;
    nb_linear_forward(l->up, &call, false);
}

void nb_mlp_forward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x,
                    float *y)
{
    nb_mlp_project(l, p, s, x);
    activate(l, p, s);
    nb_site_call call = nb_pass_call(p, s->h, l->down->w.k);
    call.y = y;
    call.ldy = l->down->w.n;
    nb_linear_forward(l->down, &call, true);
}

void nb_mlp_backward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x,
                     const float *dy, float *dx)
{
    bool inner = dx || nb_linear_trains(l->gate) || nb_linear_trains(l->up);
    if (nb_linear_trains(l->down))
        activate(l, p, s);
    nb_site_call call = nb_pass_call(p, s->h, l->down->w.k);
    call.dy = dy;
    call.ldy = l->down->w.n;
    call.dx = inner ? s->dh : NULL;
    call.dx_dtype = p->act;
    nb_linear_backward(l->down, &call, false);
    if (!inner)
        return;

    /* dgate takes the place of dh, dup that of h */
    p->exec->k.glu_bwd(&(nb_glu_bwd_args){.q = p->exec->q,
                                          .act = l->act,
                                          .n = p->batch->m * l->gate->w.n,
                                          .g = s->gate,
                                          .u = s->up,
                                          .dh = s->dh,
                                          .dg = s->dh,
                                          .du = s->h,
                                          .dtype = p->act});
    call = nb_pass_call(p, x, l->gate->w.k);
    call.dx = dx;
    call.ldy = l->gate->w.n;
    call.dy_dtype = p->act;
    call.dy = s->dh;
    nb_linear_backward(l->gate, &call, false);
    call.dy = s->h;
    nb_linear_backward(l->up, &call, true);
}
