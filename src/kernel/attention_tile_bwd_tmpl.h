/* SPDX-License-Identifier: MIT */
/* Gradient of attention in bf16 on tiles: probabilities are computed again from the log sums.
 *
 * A task is a key head and a range of its keys, whose sums of dk and dv stay in scratch memory.
 * When the range is the whole segment it makes dq as well; else dq comes from tasks of its own,
 * over sets of query tiles, at the price of computing scores twice. Each sum has the same terms in
 * the same order either way, hence the same bits for any number of threads. */
#ifndef NB_ATTENTION_TILE_BWD_TMPL_H
#define NB_ATTENTION_TILE_BWD_TMPL_H

#include "kernel/attention_tile_tmpl.h"

/* Rows of a query tile here; tiles that share packed keys in tasks of dq; keys between pieces of
 * products. */
enum { ROWS_BWD = 128, SET_BWD = 4, ROW_TILES = ROWS_BWD / TILE_INNER, PACE_BWD = 4 };

/* Operands of one query tile. */
typedef struct query_work {
    query_tile t;
    uint16_t *q, *dout;       /* columns of B, for products with keys */
    uint16_t *q_in, *dout_in; /* inner index of B, for products with scores; NULL: not wanted */
    float *dq;                /* [p][ROWS_BWD], NULL: not wanted */
    float *log, *delta;       /* [ROWS_BWD] log sum times log2 e; dout . out */
    bool q_finite, dout_finite;
} query_work;

/* Operands of keys j0..j1-1, and their sums. */
typedef struct key_work {
    const nb_attn_segment *s;
    int64_t group, j0, j1;
    uint16_t *k, *v; /* rows of A */
    uint16_t *k_in;  /* inner index of A, block by block; NULL: not wanted */
    float *dk, *dv;  /* [keys][p], NULL: not wanted */
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

static grad_pipeline take_pipeline(bool want_keys, float **scratch)
{
    grad_pipeline l = {.full = false};
    for (int i = 0; i < 2; i++) {
        l.s[i] = take(scratch, KEYS * STRIP);
        l.ds[i] = take(scratch, KEYS * STRIP);
        l.g_in[i] = take_bf16(scratch, KEYS * STRIP);
        l.p[i] = want_keys ? take_bf16(scratch, KEYS * ROWS_BWD) : NULL;
        l.g[i] = want_keys ? take_bf16(scratch, KEYS * ROWS_BWD) : NULL;
    }
    return l;
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

/* Sums of dk and dv of all rows of a tile. */
static void push_sums(grad_pipeline *l, const grad_strip *x)
{
    const query_work *w = x->w;
    const key_work *k = x->k;
    const int64_t p = padded(w->t.a), dims = p / TILE_ROWS, at = (x->j0 - k->j0) * p;
    const bool some = tile_seen(&w->t, x->j0, x->all) == PARTIAL;
    tile_product t = {x->all / TILE_ROWS,
                      dims,
                      tiles(w->t.n, STRIP),
                      l->p[x->room],
                      ROW_TILES,
                      w->dout_in,
                      ROW_TILES,
                      k->dv + at,
                      p,
                      true};
    clear_hidden(l, x);
    queue_drain(&l->sums);
    push_product(&l->sums, &t, some, w->dout_finite, true);
    t.a = l->g[x->room];
    t.b = w->q_in;
    t.c = k->dk + at;
    push_product(&l->sums, &t, some, w->q_finite, true);
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
                                     KEY_TILES, w->dq + x->r0, ROWS_BWD, true},
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

/* dq of a tile: the scale was left out of the gradients of scores. */
static void write_query(const nb_attention_bwd_args *b, const query_work *w)
{
    float factor[ROWS_BWD];
    for (int i = 0; i < ROWS_BWD; i++)
        factor[i] = b->fwd.scale;
    write_lanes(&w->t, w->dq, ROWS_BWD, factor, b->dq, b->fwd.ldq);
}

static void write_sums(const nb_attention_args *a, const key_work *w, const float *sums,
                       float scale, void *to, int64_t ld)
{
    const int64_t p = padded(a);
    for (int64_t j = w->j0; j < w->j1; j++, sums += p) {
        uint16_t *row = (uint16_t *)to + (w->s->k_row0 + j) * ld + w->group * a->p;
        for (int64_t c = 0; c < a->p; c += NBI_W)
            vf_store_bf16_n(row + c, vf_load(sums + c) * scale, (int)min_i64(NBI_W, a->p - c));
    }
}

/* A range of keys against all queries of its key head. */
static void key_task(const nb_attention_bwd_args *b, key_work *k, bool want_query, float *scratch)
{
    const nb_attention_args *a = &b->fwd;
    const tile_cut cut = cut_segment(a, k->s, ROWS_BWD, false);
    const size_t floats = (size_t)(round_up(k->j1 - k->j0, KEYS) * padded(a));
    grad_pipeline l = take_pipeline(true, &scratch);
    query_work w = {0};
    take_query(&w, a, true, want_query, &scratch);
    take_keys(k, a, k->j1 - k->j0, want_query, true, &scratch);
    pack_keys(a, k);
    memset(k->dk, 0, floats * sizeof(float));
    memset(k->dv, 0, floats * sizeof(float));
    for (int64_t u = 0; u < cut.sets * cut.per_set; u++) {
        w.t = tile_of_group(a, k->s, &cut, k->group, u);
        const int64_t end = min_i64(k->j1, rows_limit(&w.t, w.t.n));
        if (want_query)
            memset(w.dq, 0, (size_t)(ROWS_BWD * padded(a)) * sizeof(float));
        bool packed = false;
        for (int64_t j = k->j0; j < end; j += KEYS) {
            if (tile_seen(&w.t, j, min_i64(KEYS, end - j)) == HIDDEN)
                continue;
            if (!packed)
                pack_query(b, &w);
            packed = true;
            pair_gradients(&l, &w, k, j);
        }
        grad_flush(&l);
        if (want_query)
            write_query(b, &w);
    }
    write_sums(a, k, k->dk, a->scale, b->dk, a->ldk);
    write_sums(a, k, k->dv, 1.0f, b->dv, a->ldv);
}

/* dq of up to SET_BWD tiles: each block of keys is packed once for all. */
static void query_task(const nb_attention_bwd_args *b, query_work *w, int count, float *scratch)
{
    const nb_attention_args *a = &b->fwd;
    grad_pipeline l = take_pipeline(false, &scratch);
    key_work k = {.s = w[0].t.s, .group = w[0].t.group};
    int64_t limit = 0;
    take_keys(&k, a, KEYS, true, false, &scratch);
    for (int i = 0; i < count; i++) {
        take_query(&w[i], a, false, true, &scratch);
        pack_query(b, &w[i]);
        memset(w[i].dq, 0, (size_t)(ROWS_BWD * padded(a)) * sizeof(float));
        limit = max_i64(limit, rows_limit(&w[i].t, w[i].t.n));
    }
    for (k.j0 = 0; k.j0 < limit; k.j0 += KEYS) {
        bool packed = false;
        k.j1 = min_i64(limit, k.j0 + KEYS);
        for (int i = 0; i < count; i++) {
            const int64_t end = min_i64(k.j1, rows_limit(&w[i].t, w[i].t.n));
            if (end <= k.j0 || tile_seen(&w[i].t, k.j0, end - k.j0) == HIDDEN)
                continue;
            if (!packed)
                pack_keys(a, &k);
            packed = true;
            pair_gradients(&l, &w[i], &k, k.j0);
        }
        grad_flush(&l); /* the keys are packed over */
    }
    for (int i = 0; i < count; i++)
        write_query(b, &w[i]);
}

/* How the work is cut: `range` keys a task; segments that fit into one make dq along with it if
 * `whole`. */
typedef struct grad_plan {
    int64_t range;
    bool whole;
} grad_plan;

/* Keys whose operands and sums fit into scratch memory. */
static int64_t keys_that_fit(const nb_attention_args *a)
{
    const int64_t p = padded(a), fixed = ROOM_FLOATS + ROWS_BWD * (3 * p + 2);
    const int64_t room = (int64_t)(NB_SCRATCH_BYTES / sizeof(float)) - fixed;
    return room / (3 * p / 2 + 2 * p) / KEYS * KEYS;
}

static bool in_one(const grad_plan *g, const nb_attn_segment *s, int64_t fits)
{
    return g->whole && s->k_len <= fits;
}

/* Tasks of segment s: ranges of keys for each key head, then sets of query tiles. */
static int64_t tasks_of(const nb_attention_args *a, const nb_attn_segment *s, const grad_plan *g,
                        int64_t fits, int64_t *key_tasks)
{
    const tile_cut c = cut_segment(a, s, ROWS_BWD, false);
    const bool one = in_one(g, s, fits);
    *key_tasks = a->kv_heads * (one ? s->k_len > 0 : tiles(s->k_len, g->range));
    return *key_tasks + (one ? 0 : a->kv_heads * tiles(c.sets * c.per_set, SET_BWD));
}

static int64_t count_tasks(const nb_attention_args *a, const grad_plan *g, int64_t fits)
{
    int64_t n = 0, unused;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += tasks_of(a, &a->segments[i], g, fits, &unused);
    return n;
}

/* Whole segments unless threads would wait for the last ones: scores twice cost about a third. */
static grad_plan plan_tasks(const nb_attention_args *a, int threads, int64_t fits)
{
    grad_plan g = {min_i64(fits, 512), true};
    const int64_t n = count_tasks(a, &g, fits);
    g.whole = 4 * n >= 3 * round_up(n, threads);
    while (g.range > KEYS && threads > 1 && count_tasks(a, &g, fits) < 4 * (int64_t)threads)
        g.range = round_up(g.range / 2, KEYS);
    return g;
}

static void do_task(const nb_attention_bwd_args *b, const grad_plan *g, int64_t fits, int64_t t,
                    float *scratch)
{
    const nb_attention_args *a = &b->fwd;
    for (int64_t i = 0; i < a->n_segments; i++) {
        const nb_attn_segment *s = &a->segments[i];
        int64_t keys;
        const int64_t n = tasks_of(a, s, g, fits, &keys);
        if (t >= n) {
            t -= n;
            continue;
        }
        if (t < keys) {
            const bool one = in_one(g, s, fits);
            const int64_t range = one ? s->k_len : g->range, per = keys / a->kv_heads;
            const int64_t j0 = t % per * range;
            key_work k = {.s = s, .group = t / per, .j0 = j0};
            k.j1 = min_i64(s->k_len, j0 + range);
            key_task(b, &k, one, scratch);
            return;
        }
        const tile_cut c = cut_segment(a, s, ROWS_BWD, false);
        const int64_t all = c.sets * c.per_set, per = tiles(all, SET_BWD);
        query_work w[SET_BWD] = {0};
        int count = 0;
        t -= keys;
        for (int64_t u = t % per * SET_BWD; u < all && count < SET_BWD; u++)
            w[count++].t = tile_of_group(a, s, &c, t / per, u);
        query_task(b, w, count, scratch);
        return;
    }
}

/* x . y of p values. */
static float dot_row(const uint16_t *x, const uint16_t *y, int64_t p)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < p; c += TILE_INNER) {
        const __mmask32 valid = valid_values(p, c);
        sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_maskz_loadu_epi16(valid, x + c),
                               (__m512bh)_mm512_maskz_loadu_epi16(valid, y + c));
    }
    return vf_sum((vf)sum);
}

/* delta = dout . out of all rows, before anything else. */
static void all_deltas(const nb_attention_bwd_args *b, int threads)
{
    const nb_attention_args *a = &b->fwd;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++)
        for (int64_t n = 0; n < a->n_segments; n++) {
            const nb_attn_segment *s = &a->segments[n];
            const int64_t from = s->q_row0 + s->q_len * part / threads;
            const int64_t to = s->q_row0 + s->q_len * (part + 1) / threads;
            for (int64_t row = from; row < to; row++)
                for (int64_t h = 0; h < a->heads; h++)
                    b->delta[row * a->heads + h] =
                        dot_row((const uint16_t *)a->out + row * a->ldo + h * a->p,
                                (const uint16_t *)b->dout + row * b->lddo + h * a->p, a->p);
        }
}

void NBI_ISA(attention_bwd)(const nb_attention_bwd_args *b)
{
    const nb_attention_args *a = &b->fwd;
    if (a->dtype == NB_DT_F32) {
        nbi_attention_bwd_avx512(b);
        return;
    }
    assert(a->dtype == NB_DT_BF16 && a->lse);
    assert(a->p > 0 && a->p <= PMAX && a->heads % a->kv_heads == 0);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
    const int64_t fits = keys_that_fit(a);
    const grad_plan plan = plan_tasks(a, threads, fits);
    const int64_t count = count_tasks(a, &plan, fits);
    int64_t next = 0;
    all_deltas(b, threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        multiply_begin();
        for (;;) {
            int64_t i;
#pragma omp atomic capture
            i = next++;
            if (i >= count)
                break;
            do_task(b, &plan, fits, i, nb_queue_scratch(a->q_, part));
        }
        multiply_end();
    }
}

#endif
