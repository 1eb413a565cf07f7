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
    const nb_linear *const layers[] = {l->gate, l->up};
    void *const y[] = {s->gate, s->up};
    nb_site_call call[2];
    for (int i = 0; i < 2; i++) {
        call[i] = nb_pass_call(p, x, l->gate->w.k);
        call[i].ldy = l->gate->w.n;
        call[i].y_dtype = p->act;
        call[i].y = y[i];
    }
    nb_linear_forward_all(layers, call, 2);
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

/* When the gradient of the down projection's weights can wait, h is made in the same pass over gate
 * and up as their gradients, each in the place of what is read last there. */
void nb_mlp_backward(const nb_mlp *l, const nb_pass *p, const nb_mlp_acts *s, const void *x,
                     const float *dy, float *dx)
{
    bool inner = dx || nb_linear_trains(l->gate) || nb_linear_trains(l->up);
    bool trains = nb_linear_trains(l->down);
    bool later = trains && inner && nb_linear_takes_input_later(l->down);
    void *dup = later ? s->up : s->h;
    if (trains && !later)
        activate(l, p, s);
    nb_site_call down = nb_pass_call(p, later ? NULL : s->h, l->down->w.k);
    down.dy = dy;
    down.ldy = l->down->w.n;
    down.dx = inner ? s->dh : NULL;
    down.dx_dtype = p->act;
    nb_linear_backward(l->down, &down, false);
    if (!inner)
        return;

    p->exec->k.glu_bwd(&(nb_glu_bwd_args){.q = p->exec->q,
                                          .act = l->act,
                                          .n = p->batch->m * l->gate->w.n,
                                          .g = s->gate,
                                          .u = s->up,
                                          .dh = s->dh,
                                          .dg = s->dh,
                                          .du = dup,
                                          .h = later ? s->gate : NULL,
                                          .dtype = p->act});
    if (later) {
        down.x = s->gate;
        down.dx = NULL;
        nb_linear_backward_input(l->down, &down);
    }
    const nb_linear *const layers[] = {l->gate, l->up};
    const void *const parts[] = {s->dh, dup};
    nb_site_call call[2];
    for (int i = 0; i < 2; i++) {
        call[i] = nb_pass_call(p, x, l->gate->w.k);
        call[i].dx = dx;
        call[i].ldy = l->gate->w.n;
        call[i].dy_dtype = p->act;
        call[i].dy = parts[i];
    }
    nb_linear_backward_all(layers, call, 2);
}
