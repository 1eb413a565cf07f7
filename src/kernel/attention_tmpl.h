/* SPDX-License-Identifier: MIT */
/* Attention by tiles of queries and keys; the products are those of gemm_tmpl.h. Scores are held
 * with keys down and queries across, so that the softmax works on vectors of queries without sums
 * across lanes, and a tile of probabilities is an operand of the next product as it stands. */
#ifndef NB_ATTENTION_TMPL_H
#define NB_ATTENTION_TMPL_H

#include <assert.h>
#include <math.h>
#include "kernel/gemm_tmpl.h"
#include "kernel/variants.h"
#include "kernel/vecmath.h"

/* Tile sizes; room for a packed tile is counted in whole panels. Query tiles of up to FEW rows
 * (generation) go without panels. */
enum {
    TQ = 64,
    TK = 64,
    PMAX = 256,
    FEW = 4,
    TILE_A = (64 + NBI_MR) * PMAX,
    TILE_B = (64 + NBI_NR) * PMAX,
    TILE_S = TQ * TK,
    TILE_X = 64 * PMAX
};
_Static_assert(TQ % NBI_NR == 0, "a row of scores is whole vectors");
_Static_assert((2 * TILE_A + 4 * TILE_B + 3 * TILE_S + 2 * TILE_X + 4 * TQ) * sizeof(float) <=
                   NB_SCRATCH_BYTES,
               "scratch");

/* Takes n floats off the front of a scratch area. */
static inline float *take(float **scratch, int64_t n)
{
    float *p = *scratch;
    *scratch += n;
    return p;
}

static inline int64_t max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* A query tile of one head of one segment. */
typedef struct query_tile {
    const nb_attention_args *a;
    const nb_attn_segment *s;
    int64_t head, group;
    int64_t i0, n;  /* queries */
    int64_t offset; /* key position of query 0 of the segment */
} query_tile;

static inline int64_t tiles(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* Task t of all (segment, head, query tile); false when there are fewer. */
static bool find_query_tile(const nb_attention_args *a, int64_t t, query_tile *out)
{
    for (int64_t i = 0; i < a->n_segments; i++) {
        const nb_attn_segment *s = &a->segments[i];
        const int64_t per_head = tiles(s->q_len, TQ), n = per_head * a->heads;
        if (t >= n) {
            t -= n;
            continue;
        }
        out->a = a;
        out->s = s;
        out->head = t / per_head;
        out->group = out->head / (a->heads / a->kv_heads);
        out->i0 = (t % per_head) * TQ;
        out->n = min_i64(TQ, s->q_len - out->i0);
        out->offset = s->k_len - s->q_len;
        return true;
    }
    return false;
}

static int64_t count_query_tiles(const nb_attention_args *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += tiles(a->segments[i].q_len, TQ) * a->heads;
    return n;
}

/* Queries first..last-1 of the tile (relative to i0) see key j. */
static inline void seers(const query_tile *t, int64_t j, int64_t *first, int64_t *last)
{
    *first = 0;
    *last = t->n;
    if (j < t->s->prefix_len)
        return;
    const int64_t i = j - t->offset - t->i0; /* the query at this position */
    *first = min_i64(t->n, max_i64(0, i));
    if (t->a->window > 0)
        *last = max_i64(*first, min_i64(t->n, i + t->a->window));
}

/* How much of the tile with keys j0..j0+n-1 is seen. */
typedef enum visibility { HIDDEN, PARTIAL, WHOLE } visibility;

static visibility tile_seen(const query_tile *t, int64_t j0, int64_t n)
{
    const int64_t low = t->i0 + t->offset, high = low + t->n - 1; /* positions of the queries */
    const int64_t window = t->a->window > 0 ? t->a->window : INT64_MAX / 2;
    if (j0 + n <= t->s->prefix_len)
        return WHOLE;
    if (j0 >= t->s->prefix_len && (j0 > high || j0 + n - 1 <= low - window))
        return HIDDEN;
    return j0 + n - 1 <= low && j0 > high - window ? WHOLE : PARTIAL;
}

/* First row of keys j0.. in k (v): consecutive from there. Rows of a block table are first copied
 * to `tmp` [TK][p]; then *ld changes. */
static const float *key_rows(const query_tile *t, const float *base, int64_t stride, int64_t j0,
                             int64_t n, float *tmp, int64_t *ld)
{
    const nb_attention_args *a = t->a;
    const nb_attn_segment *s = t->s;
    base += t->group * a->p;
    *ld = stride;
    if (!s->block_table)
        return base + (s->k_row0 + j0) * stride;
    for (int64_t j = j0; j < j0 + n; j++) {
        int64_t row = s->block_table[j / s->block_len] * s->block_len + j % s->block_len;
        memcpy(tmp + (j - j0) * a->p, base + row * stride, (size_t)a->p * sizeof(float));
    }
    *ld = a->p;
    return tmp;
}

static inline void cap_scores(float *s, int64_t n, float softcap)
{
    const vf cap = vf_set1(softcap);
    for (int64_t j = 0; j < n; j += NBI_W)
        vf_store(s + j, cap * vf_tanh(vf_load(s + j) / cap));
}

/* Raw scores s [n keys][TQ] -> capped ones, -inf where a query does not see the key. */
static void finish_scores(const query_tile *t, int64_t j0, int64_t n, float *s)
{
    if (t->a->softcap != 0.0f)
        cap_scores(s, n * TQ, t->a->softcap);
    if (tile_seen(t, j0, n) == WHOLE)
        return;
    for (int64_t j = 0; j < n; j++) {
        int64_t first, last;
        seers(t, j0 + j, &first, &last);
        for (int64_t i = 0; i < first; i++)
            s[j * TQ + i] = -INFINITY;
        for (int64_t i = last; i < t->n; i++)
            s[j * TQ + i] = -INFINITY;
    }
}

/* The online softmax of the queries at lanes i..i+W-1: s becomes exp(s - max), *max and *sum go on;
 * returns the factor for what was accumulated before. */
NBI_INLINE vf softmax_lanes(float *s, int64_t n, float *max, float *sum)
{
    const vf before = vf_load(max);
    vf m0 = before, m1 = before;
    int64_t j = 0;
    for (; j + 2 <= n; j += 2) { /* NaN leaves the maximum as it is */
        m0 = vf_max(vf_load(s + j * TQ), m0);
        m1 = vf_max(vf_load(s + (j + 1) * TQ), m1);
    }
    if (j < n)
        m0 = vf_max(vf_load(s + j * TQ), m0);
    const vf top = vf_max(m0, m1);
    /* nothing seen yet: exp(-inf - 0) = 0 instead of exp(-inf + inf) */
    const vf base = vf_select(top == -INFINITY, vf_zero(), top);
    vf total = vf_zero();
    for (j = 0; j < n; j++) {
        vf e = vf_exp(vf_load(s + j * TQ) - base);
        vf_store(s + j * TQ, e);
        total += e;
    }
    const vf keep = vf_exp(before - base);
    vf_store(sum, vf_load(sum) * keep + total);
    vf_store(max, top);
    return keep;
}

/* All queries of a tile; o [p][TQ] is scaled down to the new maxima. */
static void softmax_tile(float *s, int64_t keys, int64_t queries, float *max, float *sum, float *o,
                         int64_t p)
{
    for (int64_t i = 0; i < queries; i += NBI_W) {
        const vf keep = softmax_lanes(s + i, keys, max + i, sum + i);
        const vi changed = keep != 1.0f;
        int any = 0;
        for (int l = 0; l < NBI_W; l++)
            any |= changed[l];
        if (!any)
            continue;
        for (int64_t c = 0; c < p; c++)
            vf_store(o + c * TQ + i, vf_load(o + c * TQ + i) * keep);
    }
}

/* to[i][c] = o[c][i] for n queries; tmp [TQ][p]. */
static void write_turned(const float *o, int64_t n, int64_t p, float *tmp, float *to, int64_t ld)
{
    const operand turned = strided(o, TQ, 1);
    pack(&turned, 0, p, 0, n, p, tmp);
    for (int64_t i = 0; i < n; i++)
        memcpy(to + i * ld, tmp + i * p, (size_t)p * sizeof(float));
}

static void attend_tile(const query_tile *t, float *scratch)
{
    const nb_attention_args *a = t->a;
    const int64_t p = a->p, row0 = t->s->q_row0 + t->i0;
    float *pq = take(&scratch, TILE_B), *pa = take(&scratch, TILE_A), *s = take(&scratch, TILE_S);
    float *o = take(&scratch, TILE_X), *tmp = take(&scratch, TILE_X);
    float *max = take(&scratch, TQ), *sum = take(&scratch, TQ);
    const operand oq = strided(((const float *)a->q) + row0 * a->ldq + t->head * p, a->ldq, 1);
    pack(&oq, 0, t->n, 0, p, NBI_NR, pq);
    memset(o, 0, (size_t)(TQ * p) * sizeof(float));
    memset(s, 0, TILE_S * sizeof(float)); /* lanes without a query are computed, never written */
    for (int64_t i = 0; i < TQ; i++) {
        max[i] = -INFINITY;
        sum[i] = 0.0f;
    }
    for (int64_t j0 = 0; j0 < t->s->k_len; j0 += TK) {
        const int64_t n = min_i64(TK, t->s->k_len - j0);
        if (tile_seen(t, j0, n) == HIDDEN)
            continue;
        int64_t ld;
        const float *rows = key_rows(t, a->k, a->ldk, j0, n, tmp, &ld);
        const operand ok = strided(rows, ld, 1);
        pack(&ok, 0, n, 0, p, NBI_MR, pa);
        multiply_panels(n, t->n, p, pa, pq, s, TQ, a->scale, false);
        finish_scores(t, j0, n, s);
        softmax_tile(s, n, t->n, max, sum, o, p);
        rows = key_rows(t, a->v, a->ldv, j0, n, tmp, &ld);
        const operand ov = strided(rows, 1, ld);
        pack(&ov, 0, p, 0, n, NBI_MR, pa);
        multiply_strips(p, t->n, n, pa, s, TQ, NBI_NR, o, TQ, 1.0f, true);
    }
    for (int64_t c = 0; c < p; c++)
        for (int64_t i = 0; i < t->n; i += NBI_W)
            vf_store(o + c * TQ + i, vf_load(o + c * TQ + i) / vf_load(sum + i));
    write_turned(o, t->n, p, tmp, ((float *)a->out) + row0 * a->ldo + t->head * p, a->ldo);
    for (int64_t i = 0; i < t->n && a->lse; i++)
        a->lse[(row0 + i) * a->heads + t->head] = max[i] + logf(sum[i]);
}

/* ---- a few queries: rows of keys are read once, without packing ---- */

/* s[j] = scale * q . key j for n keys. */
static void dot_rows(const float *q, const float *k, int64_t ld, int64_t n, int64_t p, float scale,
                     float *s)
{
    for (int64_t j = 0; j < n; j++, k += ld) {
        vf sum = vf_zero();
        for (int64_t c = 0; c < p; c += NBI_W) {
            int l = (int)min_i64(NBI_W, p - c);
            sum = vf_fma(vf_load_n(q + c, l), vf_load_n(k + c, l), sum);
        }
        s[j] = scale * vf_sum(sum);
    }
}

/* o = keep * o + sum of s[j] * value j. */
static void sum_rows(const float *s, const float *v, int64_t ld, int64_t n, int64_t p, float keep,
                     float *o)
{
    for (int64_t c = 0; c < p; c += NBI_W) {
        int l = (int)min_i64(NBI_W, p - c);
        vf sum = vf_load_n(o + c, l) * keep;
        for (int64_t j = 0; j < n; j++)
            sum = vf_fma(vf_set1(s[j]), vf_load_n(v + j * ld + c, l), sum);
        vf_store_n(o + c, sum, l);
    }
}

/* softmax_lanes for one query with its scores side by side; s [TK], padded with -inf. */
static float softmax_row(float *s, float *max, float *sum)
{
    vf m = vf_set1(*max), total = vf_zero();
    for (int64_t j = 0; j < TK; j += NBI_W)
        m = vf_max(vf_load(s + j), m);
    const float top = vf_max_lane(m), base = top == -INFINITY ? 0.0f : top;
    for (int64_t j = 0; j < TK; j += NBI_W) {
        vf e = vf_exp(vf_load(s + j) - base);
        vf_store(s + j, e);
        total += e;
    }
    const float keep = expf(*max - base);
    *sum = *sum * keep + vf_sum(total);
    *max = top;
    return keep;
}

static void attend_few(const query_tile *t, float *scratch)
{
    const nb_attention_args *a = t->a;
    const int64_t p = a->p, row0 = t->s->q_row0 + t->i0;
    float *s = take(&scratch, TK), *o = take(&scratch, FEW * PMAX);
    float *tmp = take(&scratch, TILE_X), *tmp2 = take(&scratch, TILE_X);
    float max[FEW] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, sum[FEW] = {0};
    memset(o, 0, FEW * PMAX * sizeof(float));
    for (int64_t j0 = 0; j0 < t->s->k_len; j0 += TK) {
        const int64_t n = min_i64(TK, t->s->k_len - j0);
        if (tile_seen(t, j0, n) == HIDDEN)
            continue;
        int64_t ldk, ldv;
        const float *k = key_rows(t, a->k, a->ldk, j0, n, tmp, &ldk);
        const float *v = key_rows(t, a->v, a->ldv, j0, n, tmp2, &ldv);
        for (int64_t i = 0; i < t->n; i++) {
            const float *q = ((const float *)a->q) + (row0 + i) * a->ldq + t->head * p;
            dot_rows(q, k, ldk, n, p, a->scale, s);
            for (int64_t j = n; j < TK; j++)
                s[j] = 0.0f;
            if (a->softcap != 0.0f)
                cap_scores(s, TK, a->softcap);
            for (int64_t j = 0; j < TK; j++) {
                int64_t first, last;
                seers(t, j0 + j, &first, &last);
                if (j >= n || i < first || i >= last)
                    s[j] = -INFINITY;
            }
            const float keep = softmax_row(s, &max[i], &sum[i]);
            sum_rows(s, v, ldv, n, p, keep, o + i * PMAX);
        }
    }
    for (int64_t i = 0; i < t->n; i++) {
        float *out = ((float *)a->out) + (row0 + i) * a->ldo + t->head * p;
        for (int64_t c = 0; c < p; c++)
            out[c] = o[i * PMAX + c] / sum[i];
        if (a->lse)
            a->lse[(row0 + i) * a->heads + t->head] = max[i] + logf(sum[i]);
    }
}

/* Products of all tiles, in units of nb_queue_threads. */
static int64_t attention_work(const nb_attention_args *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += a->segments[i].q_len * a->segments[i].k_len;
    return n * a->heads * a->p / 16;
}

void NBI_ISA(attention)(const nb_attention_args *a)
{
    assert(a->p > 0 && a->p <= PMAX && a->heads % a->kv_heads == 0);
    const int64_t n = count_query_tiles(a);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        query_tile t;
        for (int64_t i = part; i < n && find_query_tile(a, i, &t); i += threads) {
            if (t.n <= FEW)
                attend_few(&t, nb_queue_scratch(a->q_, part));
            else
                attend_tile(&t, nb_queue_scratch(a->q_, part));
        }
    }
}

#endif
