/* SPDX-License-Identifier: MIT */
#include "model/workspace.h"

#include <assert.h>
#include <string.h>
#include "base/alloc.h"
#include "base/checked.h"
#include "base/fail.h"
#include "model/block.h"

enum { ALIGNMENT = 64, HEAD_CHUNK_BYTES = 64 << 20, HEAD_CHUNK_MIN = 128, HEAD_CHUNK_MAX = 512 };

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

/* What a layout is made for. */
typedef struct layout {
    const nb_model *m;
    const nb_model_config *f;
    int64_t rows, q, k; /* q, k: width of all query resp. key heads */
    bool training;
    nb_dtype act;
} layout;

static void *take_acts(cursor *c, const layout *l, int64_t width)
{
    return take_array(c, l->rows, width, nb_dtype_size(l->act));
}

/* What NB_SELECTIVE keeps beside the input; mid only where it is not the residual stream in place.
 */
static void place_outer(cursor *c, const layout *l, bool mid, nb_block_acts *a)
{
    a->attn.out = take_acts(c, l, l->q);
    if (mid)
        a->mid = take_floats(c, l->rows, l->f->hidden);
    if (l->training)
        a->attn.lse = take_floats(c, l->rows, l->f->heads);
}

/* What NB_KEEP keeps beyond that. */
static void place_inner(cursor *c, const layout *l, nb_block_acts *a)
{
    a->attn.q_proj = take_acts(c, l, l->q);
    a->attn.k_proj = take_acts(c, l, l->k);
    a->attn.v = take_acts(c, l, l->k);
    a->mlp.gate = take_acts(c, l, l->f->ffn);
    a->mlp.up = take_acts(c, l, l->f->ffn);
    if (!l->training)
        return;
    a->attn_rstd = take_floats(c, l->rows, 1);
    a->mlp_rstd = take_floats(c, l->rows, 1);
    if (l->f->qk_norm) {
        a->attn.q_rstd = take_floats(c, l->rows, l->f->heads);
        a->attn.k_rstd = take_floats(c, l->rows, l->f->kv_heads);
    }
}

/* Scratch of the attention and of the MLP part is never in use at once and shares its place. */
static void place_scratch(cursor *c, const layout *l, nb_block_acts *a)
{
    size_t begin = c->used;
    if (l->training) {
        a->mlp.h = take_acts(c, l, l->f->ffn);
        a->mlp.dh = take_acts(c, l, l->f->ffn);
    }
    size_t mlp_end = c->used;
    c->used = begin;
    if (l->f->qk_norm) {
        a->attn.q = take_acts(c, l, l->q);
        a->attn.k = take_acts(c, l, l->k);
    }
    if (l->training) {
        a->attn.dout = take_acts(c, l, l->q);
        a->attn.dq = take_acts(c, l, l->q);
        a->attn.dk = take_acts(c, l, l->k);
        a->attn.dv = take_acts(c, l, l->k);
        a->attn.delta = take_floats(c, l->rows, l->f->heads);
    }
    c->used = c->used > mlp_end ? c->used : mlp_end;
}

/* Sets the pointers that follow from others. */
static void link_block(nb_block_acts *a, const layout *l)
{
    if (!l->f->qk_norm) {
        a->attn.q = a->attn.q_proj;
        a->attn.k = a->attn.k_proj;
    }
    if (!l->training)
        a->mlp.h = a->mlp.gate;
    a->attn.keys = a->attn.k;
    a->attn.values = a->attn.v;
}

static nb_recompute mode_of(const nb_workspace *ws, const nb_pass_plan *plan, int64_t i)
{
    if (i < ws->first_kept)
        return NB_RECOMPUTE;
    return plan->recompute ? (nb_recompute)plan->recompute[i] : NB_KEEP;
}

/* Buffers of one layer for all blocks that do not have their own. Returns the last block that uses
 * them, -1 when none does. */
static int64_t place_shared(cursor *act, const layout *l, const nb_workspace *ws,
                            const nb_pass_plan *plan, nb_block_acts *shared)
{
    bool outer = false, mid = false;
    int64_t last = -1;
    for (int64_t i = 0; i < l->f->layers; i++) {
        nb_recompute mode = mode_of(ws, plan, i);
        outer = outer || mode == NB_RECOMPUTE;
        mid = mid || (mode == NB_RECOMPUTE && i >= ws->first_kept);
        last = mode == NB_KEEP ? last : i;
    }
    if (outer)
        place_outer(act, l, mid, shared);
    if (last >= 0)
        place_inner(act, l, shared);
    return last;
}

static void place_blocks(cursor *act, cursor *scratch, nb_workspace *ws, const layout *l,
                         const nb_pass_plan *plan)
{
    int64_t n = l->f->layers;
    nb_block_acts shared = {0};
    place_scratch(scratch, l, &shared);
    int64_t last_sharing = place_shared(act, l, ws, plan, &shared);
    ws->acts = take_array(scratch, n, 1, sizeof *ws->acts);
    for (int64_t i = 0; i < n; i++) {
        nb_block_acts a = shared;
        a.mode = mode_of(ws, plan, i);
        if (i >= ws->first_kept)
            a.x = take_floats(act, l->rows, l->f->hidden);
        if (a.mode != NB_RECOMPUTE)
            place_outer(act, l, true, &a);
        if (a.mode == NB_KEEP)
            place_inner(act, l, &a);
        if (i == last_sharing) /* the backward pass finds its numbers still there */
            a.mode = NB_KEEP;
        link_block(&a, l);
        if (ws->acts)
            ws->acts[i] = a;
    }
    ws->last = take_floats(act, l->rows, l->f->hidden);
    if (!ws->acts)
        return;
    float *stream = ws->first_kept < n ? ws->acts[ws->first_kept].x : ws->last;
    for (int64_t i = 0; i < n; i++) {
        nb_block_acts *a = &ws->acts[i];
        if (i < ws->first_kept)
            a->x = a->mid = stream;
        a->out = i + 1 < ws->first_kept ? stream : i + 1 < n ? ws->acts[i + 1].x : ws->last;
    }
}

/* Rows of the head at a time: enough for the product to run at full speed, and few enough that the
 * logits of a large vocabulary do not weigh more than a block. */
static int64_t head_chunk(const nb_model_config *f, int64_t max_rows)
{
    int64_t rows = HEAD_CHUNK_BYTES / ((int64_t)sizeof(float) * f->vocab);
    rows = rows < HEAD_CHUNK_MIN ? HEAD_CHUNK_MIN : rows > HEAD_CHUNK_MAX ? HEAD_CHUNK_MAX : rows;
    return rows < max_rows ? rows : max_rows;
}

static void place_head(cursor *c, const layout *l, nb_workspace *ws)
{
    nb_head_buffers *h = &ws->head;
    h->chunk = head_chunk(l->f, l->rows);
    h->x = take_array(c, h->chunk, l->f->hidden, nb_dtype_size(l->act));
    h->dx = l->training ? take_floats(c, h->chunk, l->f->hidden) : NULL;
    h->logits = take_floats(c, h->chunk, l->f->vocab);
    h->row = take_array(c, l->rows, 1, sizeof *h->row);
    h->target = take_array(c, l->rows, 1, sizeof *h->target);
    h->example = take_array(c, l->rows, 1, sizeof *h->example);
    h->token = take_array(c, l->rows, 1, sizeof *h->token);
    h->nll = take_floats(c, l->rows, 1);
    h->hit = take_array(c, l->rows, 1, sizeof *h->hit);
}

/* The state of all hooks in site order; with memory behind the cursor they get their pointers. In
 * inference nothing outlives its block, and all blocks have the same place. */
static void place_hooks(cursor *c, const nb_model *m, int64_t rows, bool training)
{
    size_t begin = c->used, end = begin;
    for (size_t i = 0; i < m->n_sites; i++) {
        if (!training && i > 0 && m->sites[i].layer != m->sites[i - 1].layer)
            c->used = begin;
        for (nb_hook *h = m->sites[i].hooks; h; h = h->next) {
            void *mem = take(c, h->state_bytes ? h->state_bytes(h, rows) : 0);
            if (c->base && h->set_state)
                h->set_state(h, mem, rows);
        }
        end = c->used > end ? c->used : end;
    }
    c->used = end;
}

/* Places everything; the record itself comes first in `scratch`. */
static void place(cursor *act, cursor *scratch, nb_workspace *ws, const nb_model *m,
                  const nb_pass_plan *plan)
{
    const nb_model_config *f = &m->config;
    int64_t rows = plan->max_rows;
    ws->training = plan->training;
    ws->max_rows = rows;
    ws->act = NB_ACT_DTYPE(m->exec.compute);
    ws->first_kept = !ws->training ? f->layers : plan->hidden ? 0 : nbi_lowest_block(m);
    const layout l = {.m = m,
                      .f = f,
                      .rows = rows,
                      .q = f->heads * f->head_dim,
                      .k = f->kv_heads * f->head_dim,
                      .training = ws->training,
                      .act = ws->act};
    take(scratch, sizeof *ws);
    place_blocks(act, scratch, ws, &l, plan);
    ws->final = take_acts(act, &l, f->hidden);
    ws->normed = take_acts(scratch, &l, f->hidden);
    ws->rope = take_floats(scratch, rows, f->head_dim);
    ws->inv_freq = take_floats(scratch, 1, f->head_dim / 2);
    ws->segments = take_array(scratch, rows, 1, sizeof *ws->segments);
    if (ws->training) {
        ws->final_rstd = take_floats(act, rows, 1);
        ws->dnormed = take_floats(scratch, rows, f->hidden);
        ws->dres = take_floats(scratch, rows, f->hidden);
    }
    place_head(scratch, &l, ws);
    size_t before = act->used;
    ws->hook_state = act->base ? act->base + before : NULL;
    place_hooks(act, m, rows, ws->training);
    ws->hook_bytes = act->used - before;
}

bool nb_workspace_size(const nb_model *m, const nb_pass_plan *plan, size_t *activations,
                       size_t *scratch_bytes)
{
    cursor act = {0}, scratch = {0};
    nb_workspace probe = {0};
    place(&act, &scratch, &probe, m, plan);
    *activations = act.used;
    *scratch_bytes = scratch.used;
    return !act.overflow && !scratch.overflow;
}

nb_status nb_workspace_open(nb_workspace **out, nb_model *m, const nb_pass_plan *plan,
                            nb_error *err)
{
    const int64_t max_rows = plan->max_rows;
    *out = NULL;
    if (max_rows < 1 || max_rows > INT32_MAX)
        return nbi_fail(err, NB_LIMIT, "a pass of %lld tokens is outside 1..%d",
                        (long long)max_rows, INT32_MAX);
    cursor act = {0}, scratch = {0};
    nb_workspace ws = {0};
    place(&act, &scratch, &ws, m, plan);
    if (act.overflow || scratch.overflow)
        return nbi_fail(err, NB_LIMIT, "the activations of %lld tokens exceed the address space",
                        (long long)max_rows);
    ws.activation_bytes = act.used;
    ws.activations = nbi_alloc(NBI_MEM_ACTIVATIONS, act.used);
    ws.scratch = nbi_alloc(NBI_MEM_SCRATCH, scratch.used);
    if (!ws.activations || !ws.scratch) {
        size_t wanted = act.used + scratch.used;
        nbi_free(ws.activations);
        nbi_free(ws.scratch);
        return nbi_fail_nomem(err, "activations", wanted);
    }
    if (ws.training) { /* all of it, now rather than when the longest batch comes */
        nbi_mem_populate(ws.activations);
        nbi_mem_populate(ws.scratch);
        nbi_mem_populate(m->exec.q->scratch);
    }
    act = (cursor){.base = ws.activations};
    scratch = (cursor){.base = ws.scratch};
    place(&act, &scratch, &ws, m, plan);
    *out = ws.scratch;
    memcpy(*out, &ws, sizeof ws);
    return NB_OK;
}

void *nb_workspace_room(const nb_workspace *ws, size_t *bytes)
{
    *bytes = ws->activation_bytes;
    return ws->activations;
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
    place_hooks(&c, m, ws->max_rows, ws->training);
    assert(c.used <= ws->hook_bytes && "hooks must be attached before the workspace is opened");
    c = (cursor){.base = ws->hook_state};
    place_hooks(&c, m, ws->max_rows, ws->training);
}

const void *nb_workspace_final(const nb_workspace *ws, nb_dtype *dtype)
{
    if (dtype)
        *dtype = ws->act;
    return ws->final;
}

const float *nb_workspace_hidden(const nb_workspace *ws, int64_t i)
{
    if (i < ws->first_kept)
        return NULL;
    return i == 0 ? ws->acts[0].x : ws->acts[i - 1].out;
}
