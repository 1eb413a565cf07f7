/* SPDX-License-Identifier: MIT */
#include "nn/linear.h"

bool nb_linear_trains(const nb_linear *l)
{
    if (l->dw || l->dbias)
        return true;
    for (int i = 0; i < l->n_sites; i++)
        if (l->sites[i]->hooks)
            return true;
    return false;
}

/* The part of a call that a site sees: its own columns of the output. */
static nb_site_call site_view(const nb_site_call *c, const nb_site *site)
{
    nb_site_call view = *c;
    view.y = c->y ? nb_elem(c->y, c->y_dtype, site->row0) : NULL;
    view.dy = c->dy ? nb_elem(c->dy, c->dy_dtype, site->row0) : NULL;
    return view;
}

static void product(const nb_linear *l, const nb_site_call *c, bool backward, bool accumulate)
{
    nb_qgroup group = {.w = &l->w, .w_row0 = 0, .w_rows = l->w.n, .row0 = 0, .rows = c->m};
    c->exec->k.qmatmul(&(nb_qmatmul_args){.q = c->exec->q,
                                          .groups = &group,
                                          .n_groups = 1,
                                          .backward = backward,
                                          .x = backward ? c->dy : c->x,
                                          .ldx = backward ? c->ldy : c->ldx,
                                          .y = backward ? c->dx : c->y,
                                          .ldy = backward ? c->ldx : c->ldy,
                                          .accumulate = accumulate,
                                          .compute = c->exec->compute,
                                          .x_dtype = backward ? c->dy_dtype : c->x_dtype,
                                          .y_dtype = backward ? c->dx_dtype : c->y_dtype});
}

void nb_linear_forward(const nb_linear *l, const nb_site_call *c, bool accumulate)
{
    product(l, c, false, accumulate);
    if (l->bias)
        c->exec->k.bias(&(nb_bias_args){.q = c->exec->q,
                                        .rows = c->m,
                                        .d = l->w.n,
                                        .b = l->bias,
                                        .y = c->y,
                                        .ldy = c->ldy,
                                        .dtype = c->y_dtype});
    for (int i = 0; i < l->n_sites; i++) {
        nb_site_call view = site_view(c, l->sites[i]);
        for (nb_hook *h = l->sites[i]->hooks; h; h = h->next)
            h->forward(h, &view);
    }
}

static void weight_gradient(const nb_linear *l, const nb_site_call *c)
{
    c->exec->k.matmul(&(nb_matmul_args){.q = c->exec->q,
                                        .m = l->w.n,
                                        .n = l->w.k,
                                        .k = c->m,
                                        .a = c->dy,
                                        .a_rs = 1,
                                        .a_cs = c->ldy,
                                        .b = c->x,
                                        .b_rs = 1,
                                        .b_cs = c->ldx,
                                        .c = l->dw,
                                        .ldc = l->w.k,
                                        .alpha = 1.0f,
                                        .accumulate = true,
                                        .compute = c->exec->compute,
                                        .a_dtype = c->dy_dtype,
                                        .b_dtype = c->x_dtype});
}

void nb_linear_backward(const nb_linear *l, const nb_site_call *c, bool accumulate)
{
    if (c->dx)
        product(l, c, true, accumulate);
    if (l->dw)
        weight_gradient(l, c);
    if (l->dbias)
        c->exec->k.bias_bwd(&(nb_bias_bwd_args){.q = c->exec->q,
                                                .rows = c->m,
                                                .d = l->w.n,
                                                .dy = c->dy,
                                                .ldy = c->ldy,
                                                .db = l->dbias,
                                                .dtype = c->dy_dtype});
    for (int i = 0; i < l->n_sites; i++) {
        nb_site_call view = site_view(c, l->sites[i]);
        for (nb_hook *h = l->sites[i]->hooks; h; h = h->next)
            h->backward(h, &view);
    }
}
