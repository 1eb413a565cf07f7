/* SPDX-License-Identifier: MIT */
/* Attention of a tile of a few rows: rows of keys are read once, without packing. */
#ifndef NB_ATTENTION_FEW_TMPL_H
#define NB_ATTENTION_FEW_TMPL_H

#include "kernel/attention_parts.h"

/* Rows that are faster so. */
enum { FEW_ROWS = 4 };

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

/* o = keep * o + sum of s[j] * value j over j0 <= j < j1. */
static void sum_rows(const float *s, const float *v, int64_t ld, int64_t j0, int64_t j1, int64_t p,
                     float keep, float *o)
{
    for (int64_t c = 0; c < p; c += NBI_W) {
        int l = (int)min_i64(NBI_W, p - c);
        vf sum = vf_load_n(o + c, l) * keep;
        for (int64_t j = j0; j < j1; j++)
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

/* Scores of keys j0.. that row r does not see, and the places behind the n-th, become -inf. Returns
 * through *first and *last what is seen besides keys of the prefix, which *prefix counts. */
static void hide_row(const query_tile *t, int64_t r, int64_t j0, int64_t n, float *s,
                     int64_t *prefix, int64_t *first, int64_t *last)
{
    const int64_t at = t->i0 + r / t->together + t->offset; /* position of the query */
    const int64_t low = t->a->window > 0 ? at - t->a->window + 1 : 0;
    *prefix = min_i64(n, max_i64(0, t->s->prefix_len - j0));
    *first = min_i64(n, max_i64(*prefix, low - j0));
    *last = max_i64(*first, min_i64(n, at + 1 - j0));
    for (int64_t j = *prefix; j < *first; j++)
        s[j] = -INFINITY;
    for (int64_t j = *last; j < TK; j++)
        s[j] = -INFINITY;
}

/* Row r of the tile: its output and log sum. */
static void write_few(const query_tile *t, int64_t r, float *o, float max, float sum)
{
    const nb_attention_args *a = t->a;
    const int64_t row = tile_query(t, r), head = tile_head(t, r);
    for (int64_t c = 0; c < a->p; c++)
        o[c] /= sum;
    write_row(o, a->p, a->dtype, a->out, row * a->ldo + head * a->p);
    if (a->lse)
        a->lse[row * a->heads + head] = max + logf(sum);
}

static void attend_few(const query_tile *t, float *scratch)
{
    const nb_attention_args *a = t->a;
    const int64_t p = a->p;
    float *s = take(&scratch, TK), *o = take(&scratch, FEW_ROWS * PMAX);
    float *wide = take(&scratch, FEW_ROWS * PMAX);
    float *tmp = take(&scratch, TK * PMAX), *tmp2 = take(&scratch, TK * PMAX);
    float max[FEW_ROWS] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY}, sum[FEW_ROWS] = {0};
    int64_t ldq, ldk, ldv;
    const float *q = query_rows(t, a->q, a->ldq, wide, &ldq);
    memset(o, 0, FEW_ROWS * PMAX * sizeof(float));
    for (int64_t j0 = 0; j0 < t->s->k_len; j0 += TK) {
        const int64_t n = min_i64(TK, t->s->k_len - j0);
        if (tile_seen(t, j0, n) == HIDDEN)
            continue;
        const float *k = key_rows(t, a->k, a->ldk, j0, n, tmp, &ldk);
        const float *v = key_rows(t, a->v, a->ldv, j0, n, tmp2, &ldv);
        for (int64_t r = 0; r < t->n; r++) {
            int64_t prefix, first, last;
            dot_rows(q + r * ldq, k, ldk, n, p, a->scale, s);
            for (int64_t j = n; j < TK; j++)
                s[j] = 0.0f;
            if (a->softcap != 0.0f)
                cap_scores(s, TK, a->softcap);
            hide_row(t, r, j0, n, s, &prefix, &first, &last);
            const float keep = softmax_row(s, &max[r], &sum[r]);
            sum_rows(s, v, ldv, 0, prefix, p, keep, o + r * PMAX);
            sum_rows(s, v, ldv, first, last, p, 1.0f, o + r * PMAX);
        }
    }
    for (int64_t r = 0; r < t->n; r++)
        write_few(t, r, o + r * PMAX, max[r], sum[r]);
}

#endif
