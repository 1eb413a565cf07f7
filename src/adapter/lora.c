/* SPDX-License-Identifier: MIT */
#include "adapter/lora.h"

#include <assert.h>
#include <string.h>

/* c[m, n] (= or +=) alpha * a * b^T on f32, the operands by their two strides. */
typedef struct view {
    const float *v;
    int64_t rs, cs;
} view;

static void product(const nb_exec *e, int64_t m, int64_t n, int64_t k, view a, view b, float *c,
                    int64_t ldc, float alpha, bool accumulate)
{
    nb_matmul_args p = {e->q, m,    n, k,   a.v,   a.rs,       a.cs,          b.v,
                        b.rs, b.cs, c, ldc, alpha, accumulate, NB_COMPUTE_F32};
    e->k.matmul(&p);
}

static void drop(const struct nb_lora_site *s, const nb_site_call *c, int64_t i0, int64_t rows,
                 const float *x, float *y)
{
    nb_dropout_args d = {c->exec->q,
                         rows,
                         s->site->in,
                         x,
                         y,
                         s->shared->dropout,
                         s->shared->seed,
                         s->index,
                         c->batch ? c->batch->epoch : 0,
                         c->example + i0,
                         c->token + i0};
    c->exec->k.dropout(&d);
}

/* Rows [i0, i0 + rows) of x after dropout, in the scratch. */
static view dropped_input(const struct nb_lora_site *s, const nb_site_call *c, int64_t i0,
                          int64_t rows)
{
    int64_t in = s->site->in;
    float *y = s->shared->rows;
    const float *x = (const float *)c->x + i0 * c->ldx;
    if (c->ldx != in) {
        for (int64_t i = 0; i < rows; i++)
            memcpy(y + i * in, x + i * c->ldx, (size_t)in * sizeof(*y));
        x = y;
    }
    drop(s, c, i0, rows, x, y);
    return (view){y, in, 1};
}

static bool drops(const struct nb_lora_site *s, const nb_site_call *c)
{
    return c->training && s->shared->dropout > 0;
}

static void lora_forward(nb_hook *self, const nb_site_call *c)
{
    const struct nb_lora_site *s = self->user;
    const nb_exec *e = c->exec;
    int64_t in = s->site->in, r = s->r, out = s->site->rows;
    bool dropping = drops(s, c);
    int64_t chunk = dropping || !c->training ? NBI_LORA_CHUNK : c->m;
    assert(!c->training || (s->h && c->row0 + c->m <= s->state_rows));
    for (int64_t i0 = 0; i0 < c->m; i0 += chunk) {
        int64_t rows = c->m - i0 < chunk ? c->m - i0 : chunk;
        float *h = c->training ? s->h + (c->row0 + i0) * r : s->shared->h;
        view x = dropping ? dropped_input(s, c, i0, rows)
                          : (view){(const float *)c->x + i0 * c->ldx, c->ldx, 1};
        product(e, rows, r, in, x, (view){s->a->value, in, 1}, h, r, 1.0f, false);
        product(e, rows, out, r, (view){h, r, 1}, (view){s->b->value, r, 1},
                (float *)c->y + i0 * c->ldy, c->ldy, s->scale, true);
    }
}

/* dx += mask(dh A) for one chunk that went through dropout. */
static void add_dropped(const struct nb_lora_site *s, const nb_site_call *c, int64_t i0,
                        int64_t rows, view dh)
{
    const nb_exec *e = c->exec;
    int64_t in = s->site->in;
    float *t = s->shared->rows;
    product(e, rows, in, s->r, dh, (view){s->a->value, 1, in}, t, in, 1.0f, false);
    drop(s, c, i0, rows, t, t);
    for (int64_t i = 0; i < rows; i++) {
        nb_axpy_args p = {e->q, in, 1.0f, t + i * in, (float *)c->dx + (i0 + i) * c->ldx, true};
        e->k.axpy(&p);
    }
}

static void lora_backward(nb_hook *self, const nb_site_call *c)
{
    const struct nb_lora_site *s = self->user;
    const nb_exec *e = c->exec;
    int64_t in = s->site->in, r = s->r, out = s->site->rows;
    bool dropping = drops(s, c);
    int64_t chunk = dropping ? NBI_LORA_CHUNK : c->m;
    assert(s->h && c->row0 + c->m <= s->state_rows);
    float *h = s->h + c->row0 * r;
    if (s->b->grad)
        product(e, out, r, c->m, (view){c->dy, 1, c->ldy}, (view){h, 1, r}, s->b->grad, r, s->scale,
                true);
    /* h is not needed any more: its place takes dh */
    product(e, c->m, r, out, (view){c->dy, c->ldy, 1}, (view){s->b->value, 1, r}, h, r, s->scale,
            false);
    for (int64_t i0 = 0; i0 < c->m; i0 += chunk) {
        int64_t rows = c->m - i0 < chunk ? c->m - i0 : chunk;
        const float *dh = h + i0 * r;
        if (s->a->grad) {
            view x = dropping ? dropped_input(s, c, i0, rows)
                              : (view){(const float *)c->x + i0 * c->ldx, c->ldx, 1};
            product(e, r, in, rows, (view){dh, 1, r}, (view){x.v, 1, x.rs}, s->a->grad, in, 1.0f,
                    true);
        }
        if (c->dx && dropping)
            add_dropped(s, c, i0, rows, (view){dh, r, 1});
        else if (c->dx)
            product(e, rows, in, r, (view){dh, r, 1}, (view){s->a->value, 1, in},
                    (float *)c->dx + i0 * c->ldx, c->ldx, 1.0f, true);
    }
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
