/* SPDX-License-Identifier: MIT */
#include "adapter/lora.h"

#include <assert.h>
#include <string.h>

/* Rows of a wide matrix. */
typedef struct view {
    const void *v;
    int64_t ld;
    nb_dtype dtype;
} view;

/* One term of thin products with m rows of y, n values each. */
static void thin(const nb_exec *e, int64_t m, int64_t n, view y, const nb_thin_term *t)
{
    e->k.thin(&(nb_thin_args){.q = e->q,
                              .m = m,
                              .n = n,
                              .y = y.v,
                              .ldy = y.ld,
                              .y_dtype = y.dtype,
                              .terms = t,
                              .n_terms = 1,
                              .compute = e->compute});
}

/* The dropout of rows from i0 on; x and y with their strides are set by the caller. */
static nb_dropout_args dropout(const struct nb_lora_site *s, const nb_site_call *c, int64_t i0,
                               int64_t rows)
{
    return (nb_dropout_args){.q = c->exec->q,
                             .rows = rows,
                             .d = s->site->in,
                             .p = s->shared->dropout,
                             .seed = s->shared->seed,
                             .site = s->index,
                             .epoch = c->batch ? c->batch->epoch : 0,
                             .example = c->example + i0,
                             .token = c->token + i0};
}

static bool drops(const struct nb_lora_site *s, const nb_site_call *c)
{
    return c->training && s->shared->dropout > 0;
}

/* Rows of x that are worked on at a time. */
static int64_t chunk_of(const struct nb_lora_site *s, const nb_site_call *c)
{
    return drops(s, c) ? NBI_LORA_CHUNK : c->m;
}

/* Rows [i0, i0 + rows) of x, after dropout in the scratch. */
static view input(const struct nb_lora_site *s, const nb_site_call *c, int64_t i0, int64_t rows)
{
    int64_t in = s->site->in;
    const void *x = nb_elem(c->x, c->x_dtype, i0 * c->ldx);
    if (!drops(s, c))
        return (view){x, c->ldx, c->x_dtype};
    nb_dropout_args d = dropout(s, c, i0, rows);
    d.x = x;
    d.ldx = c->ldx;
    d.y = s->shared->rows;
    d.x_dtype = d.y_dtype = c->x_dtype;
    c->exec->k.dropout(&d);
    return (view){d.y, in, c->x_dtype};
}

static nb_thin_term down_term(const struct nb_lora_site *s, float *h)
{
    return (nb_thin_term){.r = s->r,
                          .b = s->a->value,
                          .b_rs = 1,
                          .b_cs = s->site->in,
                          .c = h,
                          .ldc = s->r,
                          .alpha = 1.0f};
}

/* dA from the gradients of h. */
static nb_thin_term input_term(const struct nb_lora_site *s, const float *h)
{
    return (nb_thin_term){.r = s->r,
                          .h = h,
                          .ldh = s->r,
                          .d = s->a->grad,
                          .d_rs = 1,
                          .d_cs = s->site->in,
                          .alpha = 1.0f};
}

/* Where the state of the call's rows lies; filled with A x'. */
static float *down_project(const struct nb_lora_site *s, const nb_site_call *c)
{
    int64_t in = s->site->in, r = s->r, chunk = chunk_of(s, c);
    assert(s->h && c->row0 + c->m <= s->state_rows);
    float *h = s->h + c->row0 * r;
    const bool done = c->again || (c->prepared && !drops(s, c));
    for (int64_t i0 = 0; i0 < c->m && !done; i0 += chunk) {
        int64_t rows = c->m - i0 < chunk ? c->m - i0 : chunk;
        const nb_thin_term t = down_term(s, h + i0 * r);
        thin(c->exec, rows, in, input(s, c, i0, rows), &t);
    }
    return h;
}

static bool lora_forward_thin(nb_hook *self, const nb_site_call *c, nb_thin_term *out)
{
    const struct nb_lora_site *s = self->user;
    if (c->again || drops(s, c))
        return false;
    assert(s->h && c->row0 + c->m <= s->state_rows);
    *out = down_term(s, s->h + c->row0 * s->r);
    return true;
}

static bool lora_input_thin(nb_hook *self, const nb_site_call *c, nb_thin_term *out)
{
    const struct nb_lora_site *s = self->user;
    if (!s->a->grad || drops(s, c))
        return false;
    *out = input_term(s, s->h + c->row0 * s->r);
    return true;
}

static bool lora_forward_lowrank(nb_hook *self, const nb_site_call *c, nb_lowrank *out)
{
    const struct nb_lora_site *s = self->user;
    *out = (nb_lowrank){.h = down_project(s, c),
                        .ldh = s->r,
                        .r = s->r,
                        .l = s->b->value,
                        .l_rs = s->r,
                        .l_cs = 1,
                        .cols = s->site->rows,
                        .alpha = s->scale};
    return true;
}

/* dA from what hidden_gradient left. */
static void lora_backward_input(nb_hook *self, const nb_site_call *c)
{
    const struct nb_lora_site *s = self->user;
    int64_t in = s->site->in, r = s->r, chunk = chunk_of(s, c);
    const float *h = s->h + c->row0 * r;
    for (int64_t i0 = 0; i0 < c->m && s->a->grad; i0 += chunk) {
        int64_t rows = c->m - i0 < chunk ? c->m - i0 : chunk;
        const nb_thin_term t = input_term(s, h + i0 * r);
        thin(c->exec, rows, in, input(s, c, i0, rows), &t);
    }
}

/* Adds the gradients of B and, when x is there, of A; leaves scale * dy B in the place of h and
 * returns it. */
static float *hidden_gradient(nb_hook *self, const nb_site_call *c)
{
    const struct nb_lora_site *s = self->user;
    int64_t r = s->r;
    assert(s->h && c->row0 + c->m <= s->state_rows);
    float *h = s->h + c->row0 * r;
    thin(c->exec, c->m, s->site->rows, (view){c->dy, c->ldy, c->dy_dtype},
         &(nb_thin_term){.r = r,
                         .b = s->b->value,
                         .b_rs = r,
                         .b_cs = 1,
                         .c = h,
                         .ldc = r,
                         .h = h,
                         .ldh = r,
                         .d = s->b->grad,
                         .d_rs = r,
                         .d_cs = 1,
                         .alpha = s->scale});
    if (c->x)
        lora_backward_input(self, c);
    return h;
}

static bool lora_backward_lowrank(nb_hook *self, const nb_site_call *c, nb_lowrank *out)
{
    const struct nb_lora_site *s = self->user;
    if (drops(s, c)) /* the mask comes after the sum over the rank */
        return false;
    *out = (nb_lowrank){.h = hidden_gradient(self, c),
                        .ldh = s->r,
                        .r = s->r,
                        .l = s->a->value,
                        .l_rs = 1,
                        .l_cs = s->site->in,
                        .cols = s->site->in,
                        .alpha = 1.0f};
    return true;
}
/* y[m, cols] += what a product would have summed with its own. */
static void add_term(const nb_site_call *c, const nb_lowrank *t, void *y, int64_t ldy,
                     nb_dtype dtype)
{
    c->exec->k.matmul(&(nb_matmul_args){.q = c->exec->q,
                                        .m = c->m,
                                        .n = t->cols,
                                        .k = t->r,
                                        .a = t->h,
                                        .a_rs = t->ldh,
                                        .a_cs = 1,
                                        .b = t->l,
                                        .b_rs = t->l_rs,
                                        .b_cs = t->l_cs,
                                        .c = y,
                                        .ldc = ldy,
                                        .alpha = t->alpha,
                                        .accumulate = true,
                                        .compute = c->exec->compute,
                                        .c_dtype = dtype});
}

static void lora_forward(nb_hook *self, const nb_site_call *c)
{
    nb_lowrank t;
    lora_forward_lowrank(self, c, &t);
    add_term(c, &t, c->y, c->ldy, c->y_dtype);
}

/* dx += mask(dh A), chunk by chunk. */
static void add_dropped(const struct nb_lora_site *s, const nb_site_call *c, const float *dh)
{
    const nb_exec *e = c->exec;
    int64_t in = s->site->in, r = s->r;
    float *t = s->shared->rows;
    for (int64_t i0 = 0; i0 < c->m; i0 += NBI_LORA_CHUNK) {
        int64_t rows = c->m - i0 < NBI_LORA_CHUNK ? c->m - i0 : NBI_LORA_CHUNK;
        e->k.matmul(&(nb_matmul_args){.q = e->q,
                                      .m = rows,
                                      .n = in,
                                      .k = r,
                                      .a = dh + i0 * r,
                                      .a_rs = r,
                                      .a_cs = 1,
                                      .b = s->a->value,
                                      .b_rs = 1,
                                      .b_cs = in,
                                      .c = t,
                                      .ldc = in,
                                      .alpha = 1.0f,
                                      .compute = e->compute});
        nb_dropout_args d = dropout(s, c, i0, rows);
        d.x = t;
        d.y = nb_elem(c->dx, c->dx_dtype, i0 * c->ldx);
        d.ldy = c->ldx;
        d.y_dtype = c->dx_dtype;
        d.accumulate = true;
        e->k.dropout(&d);
    }
}

static void lora_backward(nb_hook *self, const nb_site_call *c)
{
    const struct nb_lora_site *s = self->user;
    nb_lowrank t;
    if (lora_backward_lowrank(self, c, &t)) {
        if (c->dx)
            add_term(c, &t, c->dx, c->ldx, c->dx_dtype);
        return;
    }
    const float *dh = hidden_gradient(self, c);
    if (c->dx)
        add_dropped(s, c, dh);
}

static size_t state_bytes(const nb_hook *self, int64_t rows)
{
    const struct nb_lora_site *s = self->user;
    return (size_t)rows * (size_t)s->r * sizeof(float);
}

static void set_state(nb_hook *self, void *mem, int64_t rows)
{
    struct nb_lora_site *s = self->user;
    s->h = mem;
    s->state_rows = mem ? rows : 0;
}

void nbi_lora_attach(struct nb_lora_site *s)
{
    nb_hook **end = &s->site->hooks;
    s->hook = (nb_hook){.forward = lora_forward,
                        .backward = lora_backward,
                        .forward_lowrank = lora_forward_lowrank,
                        .backward_lowrank = lora_backward_lowrank,
                        .backward_input = lora_backward_input,
                        .forward_thin = lora_forward_thin,
                        .input_thin = lora_input_thin,
                        .state_bytes = state_bytes,
                        .set_state = set_state,
                        .user = s};
    while (*end)
        end = &(*end)->next;
    *end = &s->hook;
}

void nbi_lora_detach(struct nb_lora_site *s)
{
    for (nb_hook **at = &s->site->hooks; *at; at = &(*at)->next) {
        if (*at == &s->hook) {
            *at = s->hook.next;
            return;
        }
    }
}
