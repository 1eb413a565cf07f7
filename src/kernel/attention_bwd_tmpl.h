/* SPDX-License-Identifier: MIT */
/* Gradient of attention: probabilities are computed again from the log sums.
 *
 * Work is (key head) x (query tile) x (key tile). With enough key heads one task does all pairs of
 * its head and adds to dk and dv in place; else one pass over query tiles makes dq and one over key
 * tiles dk and dv. Each sum has the same terms in the same order either way, hence the same bits
 * for any number of threads. */
#ifndef NB_ATTENTION_BWD_TMPL_H
#define NB_ATTENTION_BWD_TMPL_H

#include "kernel/attention_tmpl.h"

/* Operands of one query tile and room for one key tile. */
typedef struct work {
    float *pq, *pdo;    /* q, dout [rows queries]: B of the products with keys */
    float *qb, *dob;    /* the same turned: B of the products with scores */
    float *pa, *pa2;    /* key tile or scores as A */
    float *s, *ds, *dq; /* [keys][TQ] scores and gradients; dq [p][TQ] */
    float *tmp;
    float *lse, *delta; /* [TQ] */
} work;

static work share_out(float *scratch)
{
    work w;
    w.pq = take(&scratch, TILE_B);
    w.pdo = take(&scratch, TILE_B);
    w.qb = take(&scratch, TILE_B);
    w.dob = take(&scratch, TILE_B);
    w.pa = take(&scratch, TILE_A);
    w.pa2 = take(&scratch, TILE_A);
    w.s = take(&scratch, TILE_S);
    w.ds = take(&scratch, TILE_S);
    w.dq = take(&scratch, TILE_X);
    w.tmp = take(&scratch, TILE_X);
    w.lse = take(&scratch, TQ);
    w.delta = take(&scratch, TQ);
    memset(w.s, 0, TILE_S * sizeof(float)); /* lanes without a query are computed, never used */
    memset(w.ds, 0, TILE_S * sizeof(float));
    return w;
}

/* delta = dout . out of all rows, before anything else. */
static void compute_delta(const nb_attention_bwd_args *b, const query_tile *t)
{
    const nb_attention_args *a = &b->fwd;
    for (int64_t row = t->s->q_row0 + t->i0, i = 0; i < t->n; i++, row++)
        b->delta[row * a->heads + t->head] =
            (float)dot_f64(((float *)a->out) + row * a->ldo + t->head * a->p,
                           ((const float *)b->dout) + row * b->lddo + t->head * a->p, a->p);
}

static void pack_queries(const nb_attention_bwd_args *b, const query_tile *t, bool want_keys,
                         const work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t row0 = t->s->q_row0 + t->i0, p = a->p;
    const float *q = ((const float *)a->q) + row0 * a->ldq + t->head * p;
    const float *dout = ((const float *)b->dout) + row0 * b->lddo + t->head * p;
    operand o = strided(q, a->ldq, 1);
    pack(&o, 0, t->n, 0, p, NBI_NR, w->pq);
    o = strided(dout, b->lddo, 1);
    pack(&o, 0, t->n, 0, p, NBI_NR, w->pdo);
    if (want_keys) {
        o = strided(q, 1, a->ldq);
        pack(&o, 0, p, 0, t->n, NBI_NR, w->qb);
        o = strided(dout, 1, b->lddo);
        pack(&o, 0, p, 0, t->n, NBI_NR, w->dob);
    }
    for (int64_t i = 0; i < TQ; i++) {
        const int64_t at = (row0 + min_i64(i, t->n - 1)) * a->heads + t->head;
        w->lse[i] = a->lse[at];
        w->delta[i] = b->delta[at];
    }
}

/* s: raw scores -> probabilities; ds: dout . v -> d loss / d (q . k). */
static void score_gradients(const query_tile *t, int64_t j0, int64_t n, const work *w)
{
    const nb_attention_args *a = t->a;
    finish_scores(t, j0, n, w->s);
    const vf scale = vf_set1(a->scale), cap = vf_set1(a->softcap);
    for (int64_t i = 0; i < t->n; i += NBI_W) {
        const vf lse = vf_load(w->lse + i), delta = vf_load(w->delta + i);
        for (int64_t j = 0; j < n; j++) {
            float *s = w->s + j * TQ + i, *ds = w->ds + j * TQ + i;
            vf score = vf_load(s), prob = vf_exp(score - lse);
            vf g = prob * (vf_load(ds) - delta) * scale;
            if (a->softcap != 0.0f) {
                vf c = score / cap;
                /* unseen keys have probability 0, but their score is -inf */
                g = vf_select(prob == 0.0f, vf_zero(), g * (1.0f - c * c));
            }
            vf_store(s, prob);
            vf_store(ds, g);
        }
    }
}

/* One pair of tiles: adds to w->dq and, or, to the rows of dk and dv. */
static void pair_bwd(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0, int64_t n,
                     bool want_query, bool want_keys, const work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t p = a->p, row = t->s->k_row0 + j0, col = t->group * p;
    const float *k = ((const float *)a->k) + row * a->ldk + col;
    operand o = strided(k, a->ldk, 1);
    pack(&o, 0, n, 0, p, NBI_MR, w->pa);
    multiply_panels(n, t->n, p, w->pa, w->pq, w->s, TQ, a->scale, false);
    o = strided(((const float *)a->v) + row * a->ldv + col, a->ldv, 1);
    pack(&o, 0, n, 0, p, NBI_MR, w->pa);
    multiply_panels(n, t->n, p, w->pa, w->pdo, w->ds, TQ, 1.0f, false);
    score_gradients(t, j0, n, w);
    if (want_query) {
        o = strided(k, 1, a->ldk);
        pack(&o, 0, p, 0, n, NBI_MR, w->pa);
        multiply_strips(p, t->n, n, w->pa, w->ds, TQ, NBI_NR, w->dq, TQ, 1.0f, true);
    }
    if (want_keys) {
        o = strided(w->s, TQ, 1);
        pack(&o, 0, n, 0, t->n, NBI_MR, w->pa);
        multiply_panels(n, p, t->n, w->pa, w->dob, ((float *)b->dv) + row * a->ldv + col, a->ldv,
                        1.0f, true);
        o = strided(w->ds, TQ, 1);
        pack(&o, 0, n, 0, t->n, NBI_MR, w->pa);
        multiply_panels(n, p, t->n, w->pa, w->qb, ((float *)b->dk) + row * a->ldk + col, a->ldk,
                        1.0f, true);
    }
}

/* All pairs of query tile t with keys j0..j1-1 (whole tiles). */
static void query_tile_bwd(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0,
                           int64_t j1, bool want_query, bool want_keys, const work *w)
{
    const nb_attention_args *a = &b->fwd;
    bool packed = false;
    if (want_query)
        memset(w->dq, 0, (size_t)(TQ * a->p) * sizeof(float));
    for (; j0 < j1; j0 += TK) {
        const int64_t n = min_i64(TK, t->s->k_len - j0);
        if (tile_seen(t, j0, n) == HIDDEN)
            continue;
        if (!packed)
            pack_queries(b, t, want_keys, w);
        packed = true;
        pair_bwd(b, t, j0, n, want_query, want_keys, w);
    }
    if (want_query)
        write_turned(w->dq, t->n, a->p, w->tmp,
                     ((float *)b->dq) + (t->s->q_row0 + t->i0) * a->ldq + t->head * a->p, a->ldq);
}

/* Gradients of keys j0..j1-1 of one key head from all queries, and with `want_query` theirs. */
static void key_range_bwd(const nb_attention_bwd_args *b, const nb_attn_segment *s, int64_t group,
                          int64_t j0, int64_t j1, bool want_query, const work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t per = a->heads / a->kv_heads;
    for (int64_t j = s->k_row0 + j0; j < s->k_row0 + min_i64(j1, s->k_len); j++) {
        memset(((float *)b->dk) + j * a->ldk + group * a->p, 0, (size_t)a->p * sizeof(float));
        memset(((float *)b->dv) + j * a->ldv + group * a->p, 0, (size_t)a->p * sizeof(float));
    }
    query_tile t = {a, s, group * per, group, 0, 0, s->k_len - s->q_len};
    for (; t.head < (group + 1) * per; t.head++)
        for (t.i0 = 0; t.i0 < s->q_len; t.i0 += TQ) {
            t.n = min_i64(TQ, s->q_len - t.i0);
            query_tile_bwd(b, &t, j0, j1, want_query, true, w);
        }
}

/* Task t of all (segment, key head, range of `size` keys). */
static void key_task(const nb_attention_bwd_args *b, int64_t t, bool whole, const work *w)
{
    const nb_attention_args *a = &b->fwd;
    for (int64_t i = 0; i < a->n_segments; i++) {
        const nb_attn_segment *s = &a->segments[i];
        const int64_t size = whole ? round_up(max_i64(1, s->k_len), TK) : TK;
        const int64_t per_head = tiles(s->k_len, size), n = per_head * a->kv_heads;
        if (t < n) {
            const int64_t j0 = (t % per_head) * size;
            key_range_bwd(b, s, t / per_head, j0, min_i64(j0 + size, s->k_len), whole, w);
            return;
        }
        t -= n;
    }
}

static int64_t count_key_tasks(const nb_attention_args *a, bool whole)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += (whole ? a->segments[i].k_len > 0 : tiles(a->segments[i].k_len, TK)) * a->kv_heads;
    return n;
}

void NBI_ISA(attention_bwd)(const nb_attention_bwd_args *b)
{
    const nb_attention_args *a = &b->fwd;
    assert(a->p > 0 && a->p <= PMAX && a->heads % a->kv_heads == 0 && a->lse);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
    const int64_t queries = count_query_tiles(a);
    const bool whole = count_key_tasks(a, true) >= 4 * (int64_t)threads || threads == 1;
    const int64_t keys = count_key_tasks(a, whole);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        query_tile t;
        for (int64_t i = part; i < queries && find_query_tile(a, i, &t); i += threads)
            compute_delta(b, &t);
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        const work w = share_out(nb_queue_scratch(a->q_, part));
        query_tile t;
        for (int64_t i = part; !whole && i < queries && find_query_tile(a, i, &t); i += threads)
            query_tile_bwd(b, &t, 0, t.s->k_len, true, false, &w);
        for (int64_t i = part; i < keys; i += threads)
            key_task(b, i, whole, &w);
    }
}

#endif
