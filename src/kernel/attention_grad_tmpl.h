/* SPDX-License-Identifier: MIT */
/* The products and the softmax of the gradient of attention on tiles, as a pipeline over strips of
 * queries: see attention_tile_tmpl.h. attention_tile_bwd_tmpl.h cuts the work. */
#ifndef NB_ATTENTION_GRAD_TMPL_H
#define NB_ATTENTION_GRAD_TMPL_H

#include "kernel/attention_tile_tmpl.h"

/* Rows of a query tile here; tiles that share packed keys in tasks of dq; keys between pieces of
 * products. */
enum { ROWS_BWD = 128, SET_BWD = 4, ROW_TILES = ROWS_BWD / TILE_INNER, PACE_BWD = 4 };

/* Operands of one query tile. */
typedef struct query_work {
    query_tile t;
    uint16_t *q, *dout;       /* columns of B, for products with keys */
    uint16_t *q_in, *dout_in; /* inner index of B, for products with scores; NULL: not wanted */
    float *dq;                /* a strip after the other, [p][STRIP] each; NULL: not wanted */
    float *log, *delta;       /* [ROWS_BWD] log sum times log2 e; dout . out */
    bool q_finite, dout_finite;
} query_work;

/* Operands of keys j0..j1-1, and their sums. */
typedef struct key_work {
    const nb_attn_segment *s;
    int64_t group, j0, j1;
    uint16_t *k, *v; /* rows of A */
    uint16_t *k_in;  /* inner index of A, block by block; NULL: not wanted */
    float *dk, *dv;  /* block by block, [p / STRIP][KEYS][STRIP] each; NULL: not wanted */
    bool finite;     /* all of k */
} key_work;

/* Rows r0.. of a tile and n keys from j0; `all` keys of the block are at work in some strip of the
 * tile. The tile's probabilities go to room number `room`; this is its last strip. */
typedef struct grad_strip {
    const query_work *w;
    const key_work *k;
    int64_t r0, j0, n, all;
    int room;
    bool last;
} grad_strip;

/* As in the forward pass; sums of dk and dv of one tile run while the next one is at work. */
typedef struct grad_pipeline {
    product_queue q, sums;
    waiting w;
    grad_strip now;
    bool full;
    int turn, room;
    float *s[2], *ds[2];   /* [KEYS][STRIP] */
    uint16_t *g_in[2];     /* gradients of scores as inner index of B */
    uint16_t *p[2], *g[2]; /* probabilities and gradients of a tile as rows of A */
} grad_pipeline;

enum {
    QUERY_FLOATS = ROWS_BWD * (4 * PAD / 2 + PAD + 2),
    DQ_SET_FLOATS = SET_BWD * ROWS_BWD * (2 * PAD / 2 + PAD + 2),
    ROOM_FLOATS = 2 * (2 * KEYS * STRIP + KEYS * STRIP / 2 + 2 * KEYS * ROWS_BWD / 2),
    KEY_FLOATS = 3 * KEYS * PAD / 2 /* one block, without sums */
};
_Static_assert((DQ_SET_FLOATS + ROOM_FLOATS + KEY_FLOATS) * sizeof(float) <= NB_SCRATCH_BYTES,
               "scratch");
_Static_assert((QUERY_FLOATS + ROOM_FLOATS + KEY_FLOATS + 2 * KEYS * PAD) * sizeof(float) <=
                   NB_SCRATCH_BYTES,
               "scratch");

static void take_pipeline(grad_pipeline *l, bool want_keys, float **scratch)
{
    *l = (grad_pipeline){.full = false};
    l->q.w = l->sums.w = &l->w;
    for (int i = 0; i < 2; i++) {
        l->s[i] = take(scratch, KEYS * STRIP);
        l->ds[i] = take(scratch, KEYS * STRIP);
        l->g_in[i] = take_bf16(scratch, KEYS * STRIP);
        l->p[i] = want_keys ? take_bf16(scratch, KEYS * ROWS_BWD) : NULL;
        l->g[i] = want_keys ? take_bf16(scratch, KEYS * ROWS_BWD) : NULL;
    }
}

static void take_query(query_work *w, const nb_attention_args *a, bool want_keys, bool want_query,
                       float **scratch)
{
    const int64_t n = ROWS_BWD * padded(a);
    w->q = take_bf16(scratch, n);
    w->dout = take_bf16(scratch, n);
    w->q_in = want_keys ? take_bf16(scratch, n) : NULL;
    w->dout_in = want_keys ? take_bf16(scratch, n) : NULL;
    w->dq = want_query ? take(scratch, n) : NULL;
    w->log = take(scratch, ROWS_BWD);
    w->delta = take(scratch, ROWS_BWD);
}

static void pack_query(const nb_attention_bwd_args *b, query_work *w)
{
    const nb_attention_args *a = &b->fwd;
    const uint16_t *row[ROWS_BWD];
    const int64_t strips = tiles(w->t.n, STRIP);
    source s = query_source(&w->t, a->q, a->ldq, ROWS_BWD, row);
    w->q_finite = pack_columns_b(&s, 2 * strips, w->q);
    if (w->q_in)
        (void)pack_inner_b(&s, strips, ROW_TILES, w->q_in);
    s = query_source(&w->t, b->dout, b->lddo, ROWS_BWD, row);
    w->dout_finite = pack_columns_b(&s, 2 * strips, w->dout);
    if (w->dout_in)
        (void)pack_inner_b(&s, strips, ROW_TILES, w->dout_in);
    for (int64_t r = 0; r < ROWS_BWD; r++) { /* finite where there is no query */
        const int64_t at = tile_query(&w->t, r) * a->heads + tile_head(&w->t, r);
        w->log[r] = r < w->t.n ? a->lse[at] * LOG2E : 0.0f;
        w->delta[r] = r < w->t.n ? b->delta[at] : 0.0f;
    }
}

static void take_keys(key_work *w, const nb_attention_args *a, int64_t keys, bool want_query,
                      bool want_keys, float **scratch)
{
    const int64_t n = round_up(keys, KEYS) * padded(a);
    w->k = take_bf16(scratch, n);
    w->v = take_bf16(scratch, n);
    w->k_in = want_query ? take_bf16(scratch, n) : NULL;
    w->dk = want_keys ? take(scratch, n) : NULL;
    w->dv = want_keys ? take(scratch, n) : NULL;
}

static void pack_keys(const nb_attention_args *a, key_work *w)
{
    const int64_t p = padded(a);
    const uint16_t *row[KEYS];
    w->finite = true;
    for (int64_t j = w->j0; j < w->j1; j += KEYS) {
        const int64_t n = min_i64(KEYS, w->j1 - j), inner = tiles(n, TILE_INNER);
        const int64_t to = (j - w->j0) * p;
        source s = key_source(a, w->s, w->group, a->k, a->ldk, j, n, row);
        w->finite &= pack_rows_a(&s, 2 * inner, w->k + to);
        if (w->k_in)
            (void)pack_inner_a(&s, inner, KEY_TILES, w->k_in + to);
        s = key_source(a, w->s, w->group, a->v, a->ldv, j, n, row);
        (void)pack_rows_a(&s, 2 * inner, w->v + to);
    }
}

/* Where the results of a strip go: rows of A for products with queries, unless NULL; inner index of
 * B for dq, unless NULL. */
typedef struct grad_targets {
    uint16_t *p, *g, *g_in;
} grad_targets;

/* Probabilities and gradients of the scores of 32 queries and two keys, rounded; the gradients lack
 * the scale. */
NBI_INLINE void grad_two(const float *s, const float *ds, vf factor, const vf log[2],
                         const vf delta[2], vf cap, const bool capped, const uint32_t *seen,
                         __m512i p[2], __m512i g[2])
{
    vf prob[4], grad[4];
    EACH4 prob[i] = vf_fma(vf_load(s + i * NBI_W), factor, -log[i % 2]);
    powers(prob);
    EACH4 grad[i] = prob[i] * (vf_load(ds + i * NBI_W) - delta[i % 2]);
    if (capped)
        EACH4
        {
            const vf c = vf_load(s + i * NBI_W) * cap;
            grad[i] *= 1.0f - c * c;
        }
    if (seen)
        EACH4
        {
            prob[i] = keep_seen(seen[i / 2], i % 2, prob[i]);
            grad[i] = keep_seen(seen[i / 2], i % 2, grad[i]);
        }
    for (int i = 0; i < 2; i++) {
        p[i] = round_two(prob[2 * i], prob[2 * i + 1]);
        g[i] = round_two(grad[2 * i], grad[2 * i + 1]);
    }
}

NBI_INLINE int64_t row_place(int64_t j)
{
    return j / TILE_ROWS * ROW_TILES * TILE_LEN + j % TILE_ROWS * TILE_INNER;
}

NBI_INLINE void grad_rows(grad_pipeline *l, int turn, float factor, const uint32_t *seen,
                          const bool capped, const grad_targets *to)
{
    const grad_strip *x = &l->now;
    const vf f = vf_set1(factor), cap = vf_set1(capped ? 1.0f / x->w->t.a->softcap : 0.0f);
    const float *s = l->s[turn], *ds = l->ds[turn];
    vf log[2], delta[2];
    for (int i = 0; i < 2; i++) {
        log[i] = vf_load(x->w->log + x->r0 + i * NBI_W);
        delta[i] = vf_load(x->w->delta + x->r0 + i * NBI_W);
    }
    for (int64_t j0 = 0; j0 < x->n; j0 += PACE_BWD) {
        if (!queue_step(&l->q))
            (void)queue_step(&l->sums);
        for (int64_t j = j0; j < j0 + PACE_BWD; j += 2) {
            __m512i p[2], g[2], first, second;
            grad_two(s + j * STRIP, ds + j * STRIP, f, log, delta, cap, capped,
                     seen ? &seen[j] : NULL, p, g);
            for (int i = 0; i < 2 && to->p; i++) {
                _mm512_storeu_si512(to->p + row_place(j + i), p[i]);
                _mm512_storeu_si512(to->g + row_place(j + i), g[i]);
            }
            if (to->g_in) {
                pair_rows(g[0], g[1], &first, &second);
                _mm512_storeu_si512(to->g_in + j * TILE_ROWS, first);
                _mm512_storeu_si512(to->g_in + KEY_TILES * TILE_LEN + j * TILE_ROWS, second);
            }
        }
    }
}

/* A product with probabilities or gradients, in which unseen pairs have no part. What it adds to is
 * at rest. */
static void push_product(product_queue *q, const tile_product *t, bool some, bool finite,
                         bool zero_a)
{
    if (some && !finite)
        multiply_seen(t, zero_a);
    else
        queue_push(q, t);
}

/* Keys of the block at j0 that rows r0.. see, 0: none. */
static int64_t strip_keys(const query_work *w, const key_work *k, int64_t r0, int64_t j0)
{
    const int64_t r1 = min_i64(w->t.n, r0 + STRIP);
    const int64_t n = min_i64(KEYS, min_i64(k->j1, rows_limit(&w->t, r1)) - j0);
    return n <= 0 || rows_seen(&w->t, r0, r1, j0, n) == HIDDEN ? 0 : round_up(n, TILE_INNER);
}

/* Zeros where a strip sees fewer keys of the block than others of its tile. */
static void clear_hidden(const grad_pipeline *l, const grad_strip *x)
{
    for (int64_t r0 = 0; r0 < x->w->t.n; r0 += STRIP)
        for (int64_t j = strip_keys(x->w, x->k, r0, x->j0); j < x->all; j++) {
            const int64_t at = r0 / TILE_INNER * TILE_LEN + row_place(j);
            memset(l->p[x->room] + at, 0, STRIP * sizeof(uint16_t));
            memset(l->g[x->room] + at, 0, STRIP * sizeof(uint16_t));
        }
}

/* to += a b for the sums of one block of keys; b: queries as inner index. */
static void push_sum(grad_pipeline *l, const grad_strip *x, const uint16_t *a, const uint16_t *b,
                     float *to, bool finite)
{
    const int64_t p = padded(x->w->t.a), inner = tiles(x->w->t.n, STRIP);
    const bool some = tile_seen(&x->w->t, x->j0, x->all) == PARTIAL;
    to += (x->j0 - x->k->j0) * p;
    for (int64_t c = 0; c < p; c += STRIP, b += 2 * ROW_TILES * TILE_LEN, to += KEYS * STRIP)
        push_product(&l->sums,
                     &(tile_product){x->all / TILE_ROWS, 2, inner, a, ROW_TILES, b, ROW_TILES, to,
                                     STRIP, true},
                     some, finite, true);
}

/* Sums of dk and dv of all rows of a tile. */
static void push_sums(grad_pipeline *l, const grad_strip *x)
{
    clear_hidden(l, x);
    queue_drain(&l->sums);
    push_sum(l, x, l->p[x->room], x->w->dout_in, x->k->dv, x->w->dout_finite);
    push_sum(l, x, l->g[x->room], x->w->q_in, x->k->dk, x->w->q_finite);
}

static void push_grad_scores(grad_pipeline *l, const grad_strip *x)
{
    const int64_t p = padded(x->w->t.a), ld = p / TILE_INNER, at = (x->j0 - x->k->j0) * p;
    const int64_t column = x->r0 / TILE_ROWS * ld * TILE_LEN;
    queue_push(&l->q, &(tile_product){x->n / TILE_ROWS, 2, ld, x->k->k + at, ld, x->w->q + column,
                                      ld, l->s[l->turn], STRIP, false});
    queue_push(&l->q, &(tile_product){x->n / TILE_ROWS, 2, ld, x->k->v + at, ld,
                                      x->w->dout + column, ld, l->ds[l->turn], STRIP, false});
}

/* Gradients of the scores of the strip in the pipeline; then the products with them. */
static void grad_now(grad_pipeline *l, int turn)
{
    const grad_strip *x = &l->now;
    const query_work *w = x->w;
    const nb_attention_args *a = w->t.a;
    const int64_t p = padded(a), r1 = min_i64(w->t.n, x->r0 + STRIP);
    const bool some = rows_seen(&w->t, x->r0, r1, x->j0, x->n) == PARTIAL;
    const float factor = prepare_scores(a, l->s[turn], x->n);
    const bool sums = x->k->dk != NULL;
    const int64_t at = x->r0 / TILE_INNER * TILE_LEN;
    const grad_targets to = {sums ? l->p[x->room] + at : NULL, sums ? l->g[x->room] + at : NULL,
                             w->dq ? l->g_in[turn] : NULL};
    uint32_t seen[KEYS];
    if (some || a->softcap != 0.0f)
        mark_seen(&w->t, x->r0, x->j0, x->n, seen);
    if (a->softcap != 0.0f)
        grad_rows(l, turn, factor, seen, true, &to);
    else if (some)
        grad_rows(l, turn, factor, seen, false, &to);
    else
        grad_rows(l, turn, factor, NULL, false, &to);
    queue_drain(&l->q);
    if (w->dq)
        push_product(&l->q,
                     &(tile_product){p / TILE_ROWS, 2, x->n / TILE_INNER,
                                     x->k->k_in + (x->j0 - x->k->j0) * p, KEY_TILES, to.g_in,
                                     KEY_TILES, w->dq + x->r0 * p, STRIP, true},
                     some, x->k->finite, false);
    if (!sums)
        return;
    if (x->last)
        push_sums(l, x);
}

static void grad_next(grad_pipeline *l, const grad_strip *x)
{
    push_grad_scores(l, x);
    if (l->full)
        grad_now(l, 1 - l->turn);
    else
        queue_drain(&l->q);
    l->full = true;
    l->now = *x;
    l->turn = 1 - l->turn;
}

/* Does all that waits. */
static void grad_flush(grad_pipeline *l)
{
    if (l->full)
        grad_now(l, 1 - l->turn);
    l->full = false;
    queue_drain(&l->q);
    queue_drain(&l->sums);
}

/* A query tile and the block of keys at j0. */
static void pair_gradients(grad_pipeline *l, const query_work *w, const key_work *k, int64_t j0)
{
    grad_strip x = {.w = w, .k = k, .j0 = j0, .room = l->room};
    int64_t last = -1;
    for (int64_t r0 = 0; r0 < w->t.n; r0 += STRIP) {
        const int64_t n = strip_keys(w, k, r0, j0);
        x.all = max_i64(x.all, n);
        last = n > 0 ? r0 : last;
    }
    if (last < 0)
        return;
    for (x.r0 = 0; x.r0 < w->t.n; x.r0 += STRIP) {
        x.n = strip_keys(w, k, x.r0, j0);
        x.last = x.r0 == last;
        if (x.n > 0)
            grad_next(l, &x);
    }
    l->room = 1 - l->room;
}

#endif
