/* SPDX-License-Identifier: MIT */
#include "nn/linear.h"

#include <assert.h>

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

/* What the hooks of all sites add inside the product; `taken` has a bit for each hook, in order of
 * the sites, that needs no call of its own any more. */
typedef struct terms {
    nb_lowrank v[NB_LINEAR_MAX_TERMS];
    int n;
    uint64_t taken;
} terms;

/* What they do with x itself. */
typedef struct terms_of_x {
    nb_thin_term v[NB_LINEAR_MAX_TERMS];
    int n;
} terms_of_x;

static void gather_terms(const nb_linear *l, const nb_site_call *c, bool backward, terms *t)
{
    int index = 0;
    t->n = 0;
    t->taken = 0;
    for (int i = 0; i < l->n_sites; i++) {
        nb_site_call view = site_view(c, l->sites[i]);
        for (nb_hook *h = l->sites[i]->hooks; h; h = h->next, index++) {
            bool (*lowrank)(nb_hook *, const nb_site_call *, nb_lowrank *) =
                backward ? h->backward_lowrank : h->forward_lowrank;
            nb_lowrank *out = &t->v[t->n];
            if (t->n == NB_LINEAR_MAX_TERMS || index == 64 || !lowrank || !lowrank(h, &view, out))
                continue;
            out->col0 += backward ? 0 : l->sites[i]->row0;
            t->taken |= (uint64_t)1 << index;
            t->n++;
        }
    }
}

/* The hooks that put nothing into the product. */
static void call_hooks(const nb_linear *l, const nb_site_call *c, bool backward, uint64_t taken)
{
    int index = 0;
    for (int i = 0; i < l->n_sites; i++) {
        nb_site_call view = site_view(c, l->sites[i]);
        for (nb_hook *h = l->sites[i]->hooks; h; h = h->next, index++) {
            if (index < 64 && (taken >> index & 1))
                continue;
            if (backward)
                h->backward(h, &view);
            else
                h->forward(h, &view);
        }
    }
}

/* Rows [row0, row0 + rows) of W, all of them in a forward pass. */
static nb_qmatmul_args partial_product(const nb_linear *l, const nb_site_call *c, bool backward,
                                       bool accumulate, const terms *t, nb_qgroup *group,
                                       int64_t row0, int64_t rows)
{
    *group = (nb_qgroup){.w = &l->w, .w_row0 = row0, .w_rows = rows, .row0 = 0, .rows = c->m};
    return (nb_qmatmul_args){.q = c->exec->q,
                             .groups = group,
                             .n_groups = 1,
                             .backward = backward,
                             .x = backward ? nb_elem(c->dy, c->dy_dtype, row0) : c->x,
                             .ldx = backward ? c->ldy : c->ldx,
                             .y = backward ? c->dx : c->y,
                             .ldy = backward ? c->ldx : c->ldy,
                             .accumulate = accumulate,
                             .compute = c->exec->compute,
                             .x_dtype = backward ? c->dy_dtype : c->x_dtype,
                             .y_dtype = backward ? c->dx_dtype : c->y_dtype,
                             .extra = t->n ? t->v : NULL,
                             .n_extra = t->n};
}

/* Rows of W whose part of an input gradient is summed at a time: more would not fit into the room
 * for packed operands, and fewer rows of dy at a time would decode W again and again. */
enum { ROWS_AT_ONCE = 8192 };

static void input_gradient(const nb_linear *l, const nb_site_call *c, bool accumulate,
                           const terms *t)
{
    const terms none = {.n = 0};
    const int64_t n = l->w.n;
    const int64_t parts = c->dx_dtype == NB_DT_F32 ? (n + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE : 1;
    for (int64_t i = 0; i < parts; i++) {
        const int64_t from = n * i / parts, to = n * (i + 1) / parts;
        nb_qgroup group;
        const nb_qmatmul_args a = partial_product(
            l, c, true, accumulate || i > 0, i + 1 < parts ? &none : t, &group, from, to - from);
        c->exec->k.qmatmul(&a);
    }
}

/* The forward passes of n layers with the same x; what needs x alone has been done for all calls
 * that are `prepared`. */
static void forward_all(const nb_linear *const *l, const nb_site_call *c, int n, bool accumulate)
{
    terms t[NB_LINEAR_MAX_TOGETHER];
    nb_qgroup group[NB_LINEAR_MAX_TOGETHER];
    nb_qmatmul_args a[NB_LINEAR_MAX_TOGETHER] = {{0}};
    assert(n > 0 && n <= NB_LINEAR_MAX_TOGETHER);
    for (int i = 0; i < n; i++) {
        gather_terms(l[i], &c[i], false, &t[i]);
        a[i] = partial_product(l[i], &c[i], false, accumulate, &t[i], &group[i], 0, l[i]->w.n);
        if (i > 0)
            a[i - 1].next = &a[i];
    }
    c->exec->k.qmatmul(&a[0]);
    for (int i = 0; i < n; i++) {
        if (l[i]->bias)
            c->exec->k.bias(&(nb_bias_args){.q = c[i].exec->q,
                                            .rows = c[i].m,
                                            .d = l[i]->w.n,
                                            .b = l[i]->bias,
                                            .y = c[i].y,
                                            .ldy = c[i].ldy,
                                            .dtype = c[i].y_dtype});
        call_hooks(l[i], &c[i], false, t[i].taken);
    }
}

void nb_linear_forward(const nb_linear *l, const nb_site_call *c, bool accumulate)
{
    forward_all(&l, c, 1, accumulate);
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
    terms t = {.n = 0, .taken = 0};
    if (c->dx) {
        gather_terms(l, c, true, &t);
        input_gradient(l, c, accumulate, &t);
    }
    if (l->dw && c->x)
        weight_gradient(l, c);
    if (l->dbias)
        c->exec->k.bias_bwd(&(nb_bias_bwd_args){.q = c->exec->q,
                                                .rows = c->m,
                                                .d = l->w.n,
                                                .dy = c->dy,
                                                .ldy = c->ldy,
                                                .db = l->dbias,
                                                .dtype = c->dy_dtype});
    call_hooks(l, c, true, t.taken);
}

bool nb_linear_takes_input_later(const nb_linear *l)
{
    for (int i = 0; i < l->n_sites; i++)
        for (const nb_hook *h = l->sites[i]->hooks; h; h = h->next)
            if (!h->backward_input)
                return false;
    return true;
}

static void run_thin(const nb_linear *l, const nb_site_call *c, const terms_of_x *t)
{
    if (t->n > 0)
        c->exec->k.thin(&(nb_thin_args){.q = c->exec->q,
                                        .m = c->m,
                                        .n = l->w.k,
                                        .y = c->x,
                                        .ldy = c->ldx,
                                        .y_dtype = c->x_dtype,
                                        .terms = t->v,
                                        .n_terms = t->n,
                                        .compute = c->exec->compute});
}

/* What the hooks of n layers do with their common x: before the forward pass, or, with `input`, for
 * the gradients that need it. */
static void products_of_x(const nb_linear *const *l, const nb_site_call *c, int n, bool input)
{
    terms_of_x t = {.n = 0};
    for (int i = 0; i < n; i++)
        for (int j = 0; j < l[i]->n_sites; j++) {
            nb_site_call view = site_view(&c[i], l[i]->sites[j]);
            for (nb_hook *h = l[i]->sites[j]->hooks; h; h = h->next) {
                bool (*thin)(nb_hook *, const nb_site_call *, nb_thin_term *) =
                    input ? h->input_thin : h->forward_thin;
                if (thin && thin(h, &view, &t.v[t.n]))
                    t.n++;
                else if (input)
                    h->backward_input(h, &view);
                if (t.n == NB_LINEAR_MAX_TERMS) {
                    run_thin(l[i], &c[i], &t);
                    t.n = 0;
                }
            }
        }
    run_thin(l[0], &c[0], &t);
}

void nb_linear_forward_all(const nb_linear *const *l, nb_site_call *c, int n)
{
    products_of_x(l, c, n, false);
    for (int i = 0; i < n; i++)
        c[i].prepared = true;
    forward_all(l, c, n, false);
}

static void backward_input_all(const nb_linear *const *l, const nb_site_call *c, int n)
{
    for (int i = 0; i < n; i++)
        if (l[i]->dw)
            weight_gradient(l[i], &c[i]);
    products_of_x(l, c, n, true);
}

void nb_linear_backward_input(const nb_linear *l, const nb_site_call *c)
{
    backward_input_all(&l, c, 1);
}

void nb_linear_backward_all(const nb_linear *const *l, nb_site_call *c, int n)
{
    bool later = true;
    for (int i = 0; i < n; i++)
        later = later && nb_linear_takes_input_later(l[i]);
    for (int i = 0; i < n; i++) {
        nb_site_call one = c[i];
        one.x = later ? NULL : c[i].x;
        nb_linear_backward(l[i], &one, i > 0);
    }
    if (later)
        backward_input_all(l, c, n);
}
