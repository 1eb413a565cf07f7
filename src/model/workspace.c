/* SPDX-License-Identifier: MIT */
#include "model/workspace.h"

#include <assert.h>
#include <string.h>
#include "base/alloc.h"
#include "base/checked.h"
#include "base/fail.h"

enum { ALIGNMENT = 64, HEAD_CHUNK_BYTES = 8 << 20, HEAD_CHUNK_MIN = 32 };

/* Walks over a block of memory that may not be there yet: the same walk gives sizes and pointers.
 */
typedef struct cursor {
    unsigned char *base; /* NULL: only sizes */
    size_t used;
    bool overflow;
} cursor;

static void *take(cursor *c, size_t bytes)
{
    size_t at = c->used, padded;
    if (!nbi_add_size(bytes, ALIGNMENT - 1, &padded) ||
        !nbi_add_size(at, padded / ALIGNMENT * ALIGNMENT, &c->used)) {
        c->overflow = true;
        return NULL;
    }
    return c->base ? c->base + at : NULL;
}

static void *take_array(cursor *c, int64_t count, int64_t width, size_t element)
{
    size_t n;
    if (!nbi_mul_size((size_t)count, (size_t)width, &n) || !nbi_mul_size(n, element, &n)) {
        c->overflow = true;
        return NULL;
    }
    return take(c, n);
}

static float *take_floats(cursor *c, int64_t rows, int64_t width)
{
    return take_array(c, rows, width, sizeof(float));
}

/* What the backward pass of a block reads, or in inference what its forward pass needs. */
static void place_block(cursor *c, const nb_model_config *f, int64_t rows, bool training,
                        nb_block_acts *a)
{
    int64_t q = f->heads * f->head_dim, k = f->kv_heads * f->head_dim;
    a->x = take_floats(c, rows, f->hidden);
    a->mid = training ? take_floats(c, rows, f->hidden) : a->x;
    a->attn.q_proj = take_floats(c, rows, q);
    a->attn.k_proj = take_floats(c, rows, k);
    a->attn.v = take_floats(c, rows, k);
    a->attn.out = take_floats(c, rows, q);
    a->mlp.gate = take_floats(c, rows, f->ffn);
    a->mlp.up = take_floats(c, rows, f->ffn);
    a->attn.q = a->attn.q_proj;
    a->attn.k = a->attn.k_proj;
    a->mlp.h = a->mlp.gate;
    if (!training)
        return;
    a->attn_rstd = take_floats(c, rows, 1);
    a->mlp_rstd = take_floats(c, rows, 1);
    a->attn.lse = take_floats(c, rows, f->heads);
    if (f->qk_norm) {
        a->attn.q_rstd = take_floats(c, rows, f->heads);
        a->attn.k_rstd = take_floats(c, rows, f->kv_heads);
    }
}

/* Scratch of the attention and of the MLP part is never in use at once and shares its place. */
static void place_shared(cursor *c, const nb_model_config *f, int64_t rows, bool training,
                         nb_block_acts *a)
{
    int64_t q = f->heads * f->head_dim, k = f->kv_heads * f->head_dim;
    size_t begin = c->used;
    if (training) {
        a->mlp.h = take_floats(c, rows, f->ffn);
        a->mlp.dh = take_floats(c, rows, f->ffn);
    }
    size_t mlp_end = c->used;
    c->used = begin;
    if (f->qk_norm) {
        a->attn.q = take_floats(c, rows, q);
        a->attn.k = take_floats(c, rows, k);
    }
    if (training) {
        a->attn.dout = take_floats(c, rows, q);
        a->attn.dq = take_floats(c, rows, q);
        a->attn.dk = take_floats(c, rows, k);
        a->attn.dv = take_floats(c, rows, k);
        a->attn.delta = take_floats(c, rows, f->heads);
    }
    c->used = c->used > mlp_end ? c->used : mlp_end;
}

/* Puts the shared pointers of `shared` into a block's own. */
static void share(nb_block_acts *a, const nb_block_acts *shared, bool training, bool qk_norm)
{
    if (training) {
        a->mlp.h = shared->mlp.h;
        a->mlp.dh = shared->mlp.dh;
        a->attn.dout = shared->attn.dout;
        a->attn.dq = shared->attn.dq;
        a->attn.dk = shared->attn.dk;
        a->attn.dv = shared->attn.dv;
        a->attn.delta = shared->attn.delta;
    }
    if (qk_norm) {
        a->attn.q = shared->attn.q;
        a->attn.k = shared->attn.k;
    }
    a->attn.keys = a->attn.k;
    a->attn.values = a->attn.v;
}

static void place_blocks(cursor *act, cursor *scratch, nb_workspace *ws, const nb_model_config *f)
{
    int64_t rows = ws->max_rows, n = ws->training ? f->layers : 1;
    nb_block_acts shared = {0};
    place_shared(scratch, f, rows, ws->training, &shared);
    ws->acts = take_array(scratch, n, 1, sizeof *ws->acts);
    for (int64_t i = 0; i < n; i++) {
        nb_block_acts a = {0};
        place_block(act, f, rows, ws->training, &a);
        share(&a, &shared, ws->training, f->qk_norm);
        if (ws->acts)
            ws->acts[i] = a;
    }
    if (ws->training)
        ws->last = take_floats(act, rows, f->hidden);
    if (!ws->acts)
        return;
    if (!ws->training)
        ws->last = ws->acts[0].x;
    for (int64_t i = 0; i < n; i++)
        ws->acts[i].out = i + 1 < n ? ws->acts[i + 1].x : ws->last;
}

static void place_head(cursor *c, const nb_model_config *f, nb_workspace *ws)
{
    nb_head_buffers *h = &ws->head;
    int64_t rows = HEAD_CHUNK_BYTES / ((int64_t)sizeof(float) * f->vocab);
    h->chunk = rows < HEAD_CHUNK_MIN ? HEAD_CHUNK_MIN : rows;
    if (h->chunk > ws->max_rows)
        h->chunk = ws->max_rows;
    h->x = take_floats(c, h->chunk, f->hidden);
    h->dx = ws->training ? take_floats(c, h->chunk, f->hidden) : NULL;
    h->logits = take_floats(c, h->chunk, f->vocab);
    h->row = take_array(c, ws->max_rows, 1, sizeof *h->row);
    h->target = take_array(c, ws->max_rows, 1, sizeof *h->target);
    h->example = take_array(c, ws->max_rows, 1, sizeof *h->example);
    h->token = take_array(c, ws->max_rows, 1, sizeof *h->token);
    h->nll = take_floats(c, ws->max_rows, 1);
    h->hit = take_array(c, ws->max_rows, 1, sizeof *h->hit);
}

/* The state of all hooks in site order; with memory behind the cursor they get their pointers. */
static void place_hooks(cursor *c, const nb_model *m, int64_t rows)
{
    for (size_t i = 0; i < m->n_sites; i++)
        for (nb_hook *h = m->sites[i].hooks; h; h = h->next) {
            void *mem = take(c, h->state_bytes ? h->state_bytes(h, rows) : 0);
            if (c->base && h->set_state)
                h->set_state(h, mem, rows);
        }
}

/* Places everything; the record itself comes first in `scratch`. */
static void place(cursor *act, cursor *scratch, nb_workspace *ws, const nb_model *m)
{
    const nb_model_config *f = &m->config;
    int64_t rows = ws->max_rows;
    take(scratch, sizeof *ws);
    place_blocks(act, scratch, ws, f);
    ws->final = take_floats(act, rows, f->hidden);
    ws->normed = take_floats(scratch, rows, f->hidden);
    ws->rope = take_floats(scratch, rows, f->head_dim);
    ws->inv_freq = take_floats(scratch, 1, f->head_dim / 2);
    ws->segments = take_array(scratch, rows, 1, sizeof *ws->segments);
    if (ws->training) {
        ws->final_rstd = take_floats(act, rows, 1);
        ws->dnormed = take_floats(scratch, rows, f->hidden);
        ws->dres = take_floats(scratch, rows, f->hidden);
    }
    place_head(scratch, f, ws);
    size_t before = act->used;
    ws->hook_state = act->base ? act->base + before : NULL;
    place_hooks(act, m, rows);
    ws->hook_bytes = act->used - before;
}

bool nb_workspace_size(const nb_model *m, const nb_pass_plan *plan, size_t *activations,
                       size_t *scratch_bytes)
{
    cursor act = {0}, scratch = {0};
    nb_workspace probe = {.training = plan->training, .max_rows = plan->max_rows};
    place(&act, &scratch, &probe, m);
    *activations = act.used;
    *scratch_bytes = scratch.used;
    return !act.overflow && !scratch.overflow;
}

nb_status nb_workspace_open(nb_workspace **out, nb_model *m, const nb_pass_plan *plan,
                            nb_error *err)
{
    const int64_t max_rows = plan->max_rows;
    const bool training = plan->training;
    *out = NULL;
    if (max_rows < 1 || max_rows > INT32_MAX)
        return nbi_fail(err, NB_LIMIT, "a pass of %lld tokens is outside 1..%d",
                        (long long)max_rows, INT32_MAX);
    cursor act = {0}, scratch = {0};
    nb_workspace ws = {.training = training, .max_rows = max_rows};
    place(&act, &scratch, &ws, m);
    if (act.overflow || scratch.overflow)
        return nbi_fail(err, NB_LIMIT, "the activations of %lld tokens exceed the address space",
                        (long long)max_rows);
    ws.activations = nbi_alloc(NBI_MEM_ACTIVATIONS, act.used);
    ws.scratch = nbi_alloc(NBI_MEM_SCRATCH, scratch.used);
    if (!ws.activations || !ws.scratch) {
        size_t wanted = act.used + scratch.used;
        nbi_free(ws.activations);
        nbi_free(ws.scratch);
        return nbi_fail_nomem(err, "activations", wanted);
    }
    act = (cursor){.base = ws.activations};
    scratch = (cursor){.base = ws.scratch};
    place(&act, &scratch, &ws, m);
    *out = ws.scratch;
    memcpy(*out, &ws, sizeof ws);
    return NB_OK;
}

void nb_workspace_close(nb_workspace **ws)
{
    if (!ws || !*ws)
        return;
    void *activations = (*ws)->activations, *scratch = (*ws)->scratch;
    nbi_free(activations);
    nbi_free(scratch);
    *ws = NULL;
}

void nbi_workspace_bind(nb_workspace *ws, nb_model *m)
{
    cursor c = {0};
    place_hooks(&c, m, ws->max_rows);
    assert(c.used <= ws->hook_bytes && "hooks must be attached before the workspace is opened");
    c = (cursor){.base = ws->hook_state};
    place_hooks(&c, m, ws->max_rows);
}

const float *nb_workspace_final(const nb_workspace *ws)
{
    return ws->final;
}

const float *nb_workspace_hidden(const nb_workspace *ws, int64_t i)
{
    assert(ws->training);
    return i == 0 ? ws->acts[0].x : ws->acts[i - 1].out;
}
