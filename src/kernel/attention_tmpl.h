/* SPDX-License-Identifier: MIT */
/* Attention by tiles of queries and keys; the products are those of gemm_tmpl.h. Scores are held
 * with keys down and queries across, so that the softmax works on vectors of queries without sums
 * across lanes, and a tile of probabilities is an operand of the next product as it stands. */
#ifndef NB_ATTENTION_TMPL_H
#define NB_ATTENTION_TMPL_H

#include "kernel/attention_few_tmpl.h"
#include "kernel/gemm_tmpl.h"
#include "kernel/variants.h"

/* Room for a packed tile is counted in whole panels. */
enum {
    TILE_A = (64 + NBI_MR) * PMAX,
    TILE_B = (64 + NBI_NR) * PMAX,
    TILE_S = TQ * TK,
    TILE_X = 64 * PMAX
};
_Static_assert(TQ % NBI_NR == 0, "a row of scores is whole vectors");
_Static_assert((2 * TILE_A + 4 * TILE_B + 3 * TILE_S + 6 * TILE_X + 4 * TQ) * sizeof(float) <=
                   NB_SCRATCH_BYTES,
               "scratch");

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

/* o[c][i] += sum over the keys j that query i sees of s[j][i] * x[j][c]. The product of panels
 * without terms that are not there, for tiles where these could be NaN. */
static void add_seen(const query_tile *t, int64_t j0, int64_t n, const float *s, const float *x,
                     int64_t ld, float *o)
{
    for (int64_t j = 0; j < n; j++) {
        int64_t first, last;
        seers(t, j0 + j, &first, &last);
        for (int64_t c = 0; c < t->a->p; c++)
            for (int64_t i = first; i < last; i++)
                o[c * TQ + i] += s[j * TQ + i] * x[j * ld + c];
    }
}

/* o[c][i] += sum of s[j][i] * x[j][c] over the keys of the tile; pa: room for a packed tile. */
static void add_keys(const query_tile *t, int64_t j0, int64_t n, const float *s, const float *x,
                     int64_t ld, float *pa, float *o)
{
    const int64_t p = t->a->p;
    if (tile_seen(t, j0, n) == PARTIAL && !rows_finite(x, ld, n, p)) {
        add_seen(t, j0, n, s, x, ld, o);
        return;
    }
    const operand turned = strided(x, 1, ld);
    pack(&turned, 0, p, 0, n, NBI_MR, pa);
    multiply_strips(p, t->n, n, pa, s, TQ, NBI_NR, o, TQ, 1.0f, true);
}

/* Row i of the tile in `to` = o[c][i] for its n rows; tmp [TQ][p]. */
static void write_turned(const query_tile *t, const float *o, float *tmp, void *to, int64_t ld)
{
    const operand turned = strided(o, TQ, 1);
    const int64_t p = t->a->p;
    pack(&turned, 0, p, 0, t->n, p, tmp);
    for (int64_t r = 0; r < t->n; r++)
        write_row(tmp + r * p, p, t->a->dtype, to, tile_query(t, r) * ld + tile_head(t, r) * p);
}

static void attend_tile(const query_tile *t, float *scratch)
{
    const nb_attention_args *a = t->a;
    const int64_t p = a->p;
    float *pq = take(&scratch, TILE_B), *pa = take(&scratch, TILE_A), *s = take(&scratch, TILE_S);
    float *o = take(&scratch, TILE_X), *tmp = take(&scratch, TILE_X);
    float *max = take(&scratch, TQ), *sum = take(&scratch, TQ);
    int64_t ld;
    const float *rows = query_rows(t, a->q, a->ldq, tmp, &ld);
    const operand oq = strided(rows, ld, 1);
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
        rows = key_rows(t, a->k, a->ldk, j0, n, tmp, &ld);
        const operand ok = strided(rows, ld, 1);
        pack(&ok, 0, n, 0, p, NBI_MR, pa);
        multiply_panels(n, t->n, p, pa, pq, s, TQ, a->scale, false);
        finish_scores(t, j0, n, s);
        softmax_tile(s, n, t->n, max, sum, o, p);
        rows = key_rows(t, a->v, a->ldv, j0, n, tmp, &ld);
        add_keys(t, j0, n, s, rows, ld, pa, o);
    }
    for (int64_t c = 0; c < p; c++)
        for (int64_t i = 0; i < t->n; i += NBI_W)
            vf_store(o + c * TQ + i, vf_load(o + c * TQ + i) / vf_load(sum + i));
    write_turned(t, o, tmp, a->out, a->ldo);
    for (int64_t r = 0; r < t->n && a->lse; r++)
        a->lse[tile_query(t, r) * a->heads + tile_head(t, r)] = max[r] + logf(sum[r]);
}

void NBI_ISA(attention)(const nb_attention_args *a)
{
    assert(a->p > 0 && a->p <= PMAX && a->heads % a->kv_heads == 0);
    assert(a->dtype == NB_DT_F32 || a->dtype == NB_DT_BF16);
    const int64_t n = count_query_tiles(a, true);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
    int64_t next = 0; /* tiles differ in their number of keys: each thread takes the next one */
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        query_tile t;
        for (;;) {
            int64_t i;
#pragma omp atomic capture
            i = next++;
            if (i >= n || !find_query_tile(a, n - 1 - i, true, &t)) /* the longest first */
                break;
            if (t.n <= FEW_ROWS)
                attend_few(&t, nb_queue_scratch(a->q_, part));
            else
                attend_tile(&t, nb_queue_scratch(a->q_, part));
        }
    }
}

#endif
