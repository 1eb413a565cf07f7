/* SPDX-License-Identifier: MIT */
/* Gradient of attention: probabilities are computed again from the log sums.
 *
 * Work is (key head) x (query tile) x (key tile). With enough key heads one task does all pairs of
 * its head and adds to dk and dv in place; else, or when they are bf16, one pass over query tiles
 * makes dq and one over key tiles dk and dv. Each sum has the same terms in the same order either
 * way, hence the same bits for any number of threads. */
#ifndef NB_ATTENTION_BWD_TMPL_H
#define NB_ATTENTION_BWD_TMPL_H

#include "kernel/attention_tmpl.h"

/* Operands of one query tile and room for one key tile. */
typedef struct work {
    const float *q, *dout; /* rows of the queries */
    int64_t ldq, lddo;
    float *tmp_q, *tmp_do; /* [TQ][p], for q and dout in bf16 */
    float *dk, *dv;        /* [TK][p] sums of one key tile in bf16 */
    float *pq, *pdo;       /* q, dout [rows queries]: B of the products with keys */
    float *qb, *dob;       /* the same turned: B of the products with scores */
    float *pa, *pa2;       /* key tile or scores as A */
    float *s, *ds, *dq;    /* [keys][TQ] scores and gradients; dq [p][TQ] */
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
    w.tmp_q = take(&scratch, TILE_X);
    w.tmp_do = take(&scratch, TILE_X);
    w.dk = take(&scratch, TILE_X);
    w.dv = take(&scratch, TILE_X);
    w.lse = take(&scratch, TQ);
    w.delta = take(&scratch, TQ);
    memset(w.s, 0, TILE_S * sizeof(float)); /* lanes without a query are computed, never used */
    memset(w.ds, 0, TILE_S * sizeof(float));
    return w;
}

static void pack_queries(const nb_attention_bwd_args *b, const query_tile *t, bool want_keys,
                         work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t p = a->p;
    w->q = query_rows(t, a->q, a->ldq, w->tmp_q, &w->ldq);
    w->dout = query_rows(t, b->dout, b->lddo, w->tmp_do, &w->lddo);
    operand o = strided(w->q, w->ldq, 1);
    pack(&o, 0, t->n, 0, p, NBI_NR, w->pq);
    o = strided(w->dout, w->lddo, 1);
    pack(&o, 0, t->n, 0, p, NBI_NR, w->pdo);
    if (want_keys) {
        o = strided(w->q, 1, w->ldq);
        pack(&o, 0, p, 0, t->n, NBI_NR, w->qb);
        o = strided(w->dout, 1, w->lddo);
        pack(&o, 0, p, 0, t->n, NBI_NR, w->dob);
    }
    for (int64_t i = 0; i < TQ; i++) {
        const int64_t r = min_i64(i, t->n - 1), at = tile_query(t, r) * a->heads + tile_head(t, r);
        w->lse[i] = a->lse[at];
        w->delta[i] = b->delta[at];
    }
}

/* s: raw scores -> probabilities; ds: dout . v -> d loss / d (q . k). */
static void score_gradients(const query_tile *t, int64_t j0, int64_t n, const work *w)
{
    const nb_attention_args *a = t->a;
    finish_scores(t, j0, n, w->s);
    const bool some = tile_seen(t, j0, n) == PARTIAL;
    const vf scale = vf_set1(a->scale), cap = vf_set1(a->softcap);
    for (int64_t i = 0; i < t->n; i += NBI_W) {
        const vf lse = vf_load(w->lse + i), delta = vf_load(w->delta + i);
        for (int64_t j = 0; j < n; j++) {
            float *s = w->s + j * TQ + i, *ds = w->ds + j * TQ + i;
            vf score = vf_load(s), prob = vf_exp(score - lse);
            vf g = prob * (vf_load(ds) - delta) * scale;
            if (a->softcap != 0.0f) {
                vf c = score / cap;
                g *= 1.0f - c * c;
            }
            if (some) { /* unseen keys have no part in it, whatever is NaN */
                const vi unseen = score == -INFINITY;
                prob = vf_select(unseen, vf_zero(), prob);
                g = vf_select(unseen, vf_zero(), g);
            }
            vf_store(s, prob);
            vf_store(ds, g);
        }
    }
}

/* Where the sums of dk and dv of a key tile stand: in place (F32), or in scratch memory. */
typedef struct key_sums {
    float *dk, *dv;
    int64_t ldk, ldv;
} key_sums;

static key_sums sums_of_tile(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0,
                             const work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t row = t->s->k_row0 + j0, col = t->group * a->p;
    if (a->dtype != NB_DT_F32)
        return (key_sums){w->dk, w->dv, a->p, a->p};
    return (key_sums){(float *)b->dk + row * a->ldk + col, (float *)b->dv + row * a->ldv + col,
                      a->ldk, a->ldv};
}

/* to[j][c] += sum over queries i of s[j][i] * x[i][c]; px: x packed, n keys. */
static void add_queries(const query_tile *t, int64_t j0, int64_t n, const float *s, const float *x,
                        int64_t ldx, const float *px, float *pa, float *to, int64_t ld)
{
    const int64_t p = t->a->p;
    if (tile_seen(t, j0, n) == PARTIAL && !rows_finite(x, ldx, t->n, p)) {
        for (int64_t j = 0; j < n; j++) {
            int64_t first, last;
            seers(t, j0 + j, &first, &last);
            for (int64_t i = first; i < last; i++)
                for (int64_t c = 0; c < p; c++)
                    to[j * ld + c] += s[j * TQ + i] * x[i * ldx + c];
        }
        return;
    }
    const operand o = strided(s, TQ, 1);
    pack(&o, 0, n, 0, t->n, NBI_MR, pa);
    multiply_panels(n, p, t->n, pa, px, to, ld, 1.0f, true);
}

/* One pair of tiles: adds to w->dq and, or, to the rows of dk and dv. */
static void pair_bwd(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0, int64_t n,
                     bool want_query, bool want_keys, const work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t p = a->p;
    int64_t ld;
    const float *rows = key_rows(t, a->v, a->ldv, j0, n, w->tmp, &ld);
    operand o = strided(rows, ld, 1);
    pack(&o, 0, n, 0, p, NBI_MR, w->pa);
    multiply_panels(n, t->n, p, w->pa, w->pdo, w->ds, TQ, 1.0f, false);
    rows = key_rows(t, a->k, a->ldk, j0, n, w->tmp, &ld);
    o = strided(rows, ld, 1);
    pack(&o, 0, n, 0, p, NBI_MR, w->pa);
    multiply_panels(n, t->n, p, w->pa, w->pq, w->s, TQ, a->scale, false);
    score_gradients(t, j0, n, w);
    if (want_query)
        add_keys(t, j0, n, w->ds, rows, ld, w->pa, w->dq);
    if (want_keys) {
        const key_sums sums = sums_of_tile(b, t, j0, w);
        add_queries(t, j0, n, w->s, w->dout, w->lddo, w->dob, w->pa, sums.dv, sums.ldv);
        add_queries(t, j0, n, w->ds, w->q, w->ldq, w->qb, w->pa, sums.dk, sums.ldk);
    }
}

/* All pairs of query tile t with keys j0..j1-1 (whole tiles). */
static void query_tile_bwd(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0,
                           int64_t j1, bool want_query, bool want_keys, work *w)
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
        write_turned(t, w->dq, w->tmp, b->dq, a->ldq);
}

/* Sums of dk and dv of n keys from j0 start at zero. */
static void clear_keys(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0, int64_t n,
                       const work *w)
{
    const key_sums sums = sums_of_tile(b, t, j0, w);
    const size_t bytes = (size_t)b->fwd.p * sizeof(float);
    for (int64_t j = 0; j < n; j++) {
        memset(sums.dk + j * sums.ldk, 0, bytes);
        memset(sums.dv + j * sums.ldv, 0, bytes);
    }
}

/* Sums in scratch memory to the n keys they belong to. */
static void write_keys(const nb_attention_bwd_args *b, const query_tile *t, int64_t j0, int64_t n,
                       const work *w)
{
    const nb_attention_args *a = &b->fwd;
    for (int64_t j = 0; j < n && a->dtype != NB_DT_F32; j++) {
        const int64_t row = t->s->k_row0 + j0 + j, col = t->group * a->p;
        write_row(w->dk + j * a->p, a->p, a->dtype, b->dk, row * a->ldk + col);
        write_row(w->dv + j * a->p, a->p, a->dtype, b->dv, row * a->ldv + col);
    }
}

/* Gradients of keys j0..j1-1 of one key head from all queries, and with `want_query` theirs. */
static void key_range_bwd(const nb_attention_bwd_args *b, const nb_attn_segment *s, int64_t group,
                          int64_t j0, int64_t j1, bool want_query, work *w)
{
    const nb_attention_args *a = &b->fwd;
    const int64_t per = a->heads / a->kv_heads;
    query_tile t = {a, s, group * per, 1, group, 0, 0, s->k_len - s->q_len};
    clear_keys(b, &t, j0, j1 - j0, w);
    for (; t.head < (group + 1) * per; t.head++)
        for (t.i0 = 0; t.i0 < s->q_len; t.i0 += TQ) {
            t.n = min_i64(TQ, s->q_len - t.i0);
            query_tile_bwd(b, &t, j0, j1, want_query, true, w);
        }
    write_keys(b, &t, j0, j1 - j0, w);
}

/* Task t of all (segment, key head, range of `size` keys). */
static void key_task(const nb_attention_bwd_args *b, int64_t t, bool whole, work *w)
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
    assert(a->dtype == NB_DT_F32 || a->dtype == NB_DT_BF16);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
    const int64_t queries = count_query_tiles(a, false);
    const bool whole =
        a->dtype == NB_DT_F32 && (count_key_tasks(a, true) >= 4 * (int64_t)threads || threads == 1);
    const int64_t keys = count_key_tasks(a, whole);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        query_tile t;
        for (int64_t i = part; i < queries && find_query_tile(a, i, false, &t); i += threads)
            compute_delta(b, &t, nb_queue_scratch(a->q_, part));
    }
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        work w = share_out(nb_queue_scratch(a->q_, part));
        query_tile t;
        for (int64_t i = part; !whole && i < queries && find_query_tile(a, i, false, &t);
             i += threads)
            query_tile_bwd(b, &t, 0, t.s->k_len, true, false, &w);
        for (int64_t i = part; i < keys; i += threads)
            key_task(b, i, whole, &w);
    }
}

#endif
