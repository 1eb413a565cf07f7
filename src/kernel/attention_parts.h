/* SPDX-License-Identifier: MIT */
/* What all attention kernels share: how work is cut into tiles of queries, which keys a query sees,
 * and rows of either dtype as f32. */
#ifndef NB_ATTENTION_PARTS_H
#define NB_ATTENTION_PARTS_H

#include <assert.h>
#include <math.h>
#include "kernel/attention.h"
#include "kernel/intmath.h"
#include "kernel/vecmath.h"

/* Rows of a query tile, keys of a key tile, the largest head. Segments of up to FEW queries
 * (generation) take several heads into one tile, so that their keys are read once. */
enum { TQ = 64, TK = 64, PMAX = 256, FEW = 8, TOGETHER = TQ / FEW };

/* Takes n floats off the front of a scratch area. */
static inline float *take(float **scratch, int64_t n)
{
    float *p = *scratch;
    *scratch += n;
    return p;
}

/* A query tile of one segment: n rows, query i0 + r / together of head + r % together at row r. */
typedef struct query_tile {
    const nb_attention_args *a;
    const nb_attn_segment *s;
    int64_t head, together, group; /* the heads share key head `group` */
    int64_t i0, n;
    int64_t offset; /* key position of query 0 of the segment */
} query_tile;

/* (No division where it is not needed: these run for every row.) */
static inline int64_t tile_query(const query_tile *t, int64_t r)
{
    return t->s->q_row0 + t->i0 + (t->together == 1 ? r : r / t->together);
}

static inline int64_t tile_head(const query_tile *t, int64_t r)
{
    return t->head + (t->together == 1 ? 0 : r % t->together);
}

/* How a segment is cut: queries and heads a tile takes at once (`stack`: more than one head if the
 * segment has few queries), sets of heads of one key head, tiles of a set, and all tiles. */
typedef struct tile_cut {
    int64_t rows, together, sets, per_set, tiles;
} tile_cut;

static inline tile_cut cut_segment(const nb_attention_args *a, const nb_attn_segment *s,
                                   int64_t rows, bool stack)
{
    const int64_t per = a->heads / a->kv_heads;
    tile_cut c = {.rows = rows};
    c.together = stack && s->q_len <= FEW ? min_i64(per, TOGETHER) : 1;
    c.sets = tiles(per, c.together);
    c.per_set = tiles(s->q_len, rows);
    c.tiles = a->kv_heads * c.sets * c.per_set;
    return c;
}

/* Tile u of those of one key head: all its heads with the first queries, then with the next. */
static inline query_tile tile_of_group(const nb_attention_args *a, const nb_attn_segment *s,
                                       const tile_cut *c, int64_t group, int64_t u)
{
    const int64_t per = a->heads / a->kv_heads, first = u % c->sets * c->together;
    query_tile t = {.a = a, .s = s, .group = group, .head = group * per + first};
    t.together = min_i64(c->together, per - first);
    t.i0 = u / c->sets * c->rows;
    t.n = min_i64(c->rows, s->q_len - t.i0) * t.together;
    t.offset = s->k_len - s->q_len;
    return t;
}

/* Tile t of all (segment, key head, queries, set of heads); false when there are fewer. */
static inline bool find_query_tile(const nb_attention_args *a, int64_t t, bool stack,
                                   query_tile *out)
{
    for (int64_t i = 0; i < a->n_segments; i++) {
        const tile_cut c = cut_segment(a, &a->segments[i], TQ, stack);
        if (t < c.tiles) {
            const int64_t group = t / (c.sets * c.per_set), u = t % (c.sets * c.per_set);
            *out = tile_of_group(a, &a->segments[i], &c, group, u);
            return true;
        }
        t -= c.tiles;
    }
    return false;
}

static inline int64_t count_query_tiles(const nb_attention_args *a, bool stack)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += cut_segment(a, &a->segments[i], TQ, stack).tiles;
    return n;
}

/* Rows first..last-1 of the tile see key j. */
static inline void seers(const query_tile *t, int64_t j, int64_t *first, int64_t *last)
{
    *first = 0;
    *last = t->n;
    if (j < t->s->prefix_len)
        return;
    const int64_t i = j - t->offset - t->i0; /* the query at this position */
    *first = min_i64(t->n, max_i64(0, i) * t->together);
    if (t->a->window > 0)
        *last = max_i64(*first, min_i64(t->n, (i + t->a->window) * t->together));
}

/* How much of the tile with keys j0..j0+n-1 is seen. */
typedef enum visibility { HIDDEN, PARTIAL, WHOLE } visibility;

/* The same for rows r0..r1-1 of the tile. */
static inline visibility rows_seen(const query_tile *t, int64_t r0, int64_t r1, int64_t j0,
                                   int64_t n)
{
    /* positions of the queries */
    const int64_t first = t->i0 + t->offset;
    const int64_t low = first + r0 / t->together, high = first + (r1 - 1) / t->together;
    const int64_t window = t->a->window > 0 ? t->a->window : INT64_MAX / 2;
    if (j0 + n <= t->s->prefix_len)
        return WHOLE;
    if (j0 >= t->s->prefix_len && (j0 > high || j0 + n - 1 <= low - window))
        return HIDDEN;
    return j0 + n - 1 <= low && j0 > high - window ? WHOLE : PARTIAL;
}

static inline visibility tile_seen(const query_tile *t, int64_t j0, int64_t n)
{
    return rows_seen(t, 0, t->n, j0, n);
}

/* Keys from here on are not seen by rows before r1. */
static inline int64_t rows_limit(const query_tile *t, int64_t r1)
{
    return max_i64(t->s->prefix_len, t->i0 + t->offset + (r1 - 1) / t->together + 1);
}

/* cap() of the contract. */
static inline void cap_scores(float *s, int64_t n, float softcap)
{
    const vf cap = vf_set1(softcap);
    for (int64_t j = 0; j < n; j += NBI_W)
        vf_store(s + j, cap * vf_tanh(vf_load(s + j) / cap));
}

/* ---- rows ---- */

static inline void widen_row(const uint16_t *x, int64_t n, float *to)
{
    for (int64_t c = 0; c < n; c += NBI_W) {
        const int l = (int)min_i64(NBI_W, n - c);
        vf_store_n(to + c, vf_load_bf16_n(x + c, l), l);
    }
}

/* n values at element `at` of an array of dtype F32 or BF16 (rounded). */
static inline void write_row(const float *x, int64_t n, nb_dtype dtype, void *to, int64_t at)
{
    if (dtype == NB_DT_F32) {
        memcpy((float *)to + at, x, (size_t)n * sizeof(float));
        return;
    }
    for (int64_t c = 0; c < n; c += NBI_W) {
        const int l = (int)min_i64(NBI_W, n - c);
        vf_store_bf16_n((uint16_t *)to + at + c, vf_load_n(x + c, l), l);
    }
}

/* n values at element `at`, widened to `tmp` if need be. */
static inline const float *read_row(const void *x, nb_dtype dtype, int64_t at, int64_t n,
                                    float *tmp)
{
    if (dtype == NB_DT_F32)
        return (const float *)x + at;
    widen_row((const uint16_t *)x + at, n, tmp);
    return tmp;
}

static inline int64_t key_row(const nb_attn_segment *s, int64_t j)
{
    if (!s->block_table)
        return s->k_row0 + j;
    return s->block_table[j / s->block_len] * s->block_len + j % s->block_len;
}

/* Keys j0..j0+n-1 of k (v) as rows of f32 with stride *ld: where they are, or copied to `tmp`
 * [TK][p] from a block table or bf16. */
static inline const float *key_rows(const query_tile *t, const void *base, int64_t stride,
                                    int64_t j0, int64_t n, float *tmp, int64_t *ld)
{
    const nb_attention_args *a = t->a;
    const int64_t col = t->group * a->p;
    *ld = stride;
    if (!t->s->block_table && a->dtype == NB_DT_F32)
        return (const float *)base + (t->s->k_row0 + j0) * stride + col;
    for (int64_t j = 0; j < n; j++) {
        float *to = tmp + j * a->p;
        const float *row = read_row(base, a->dtype, key_row(t->s, j0 + j) * stride + col, a->p, to);
        if (row != to)
            memcpy(to, row, (size_t)a->p * sizeof(float));
    }
    *ld = a->p;
    return tmp;
}

/* The rows of a query tile, likewise; tmp [TQ][p]. */
static inline const float *query_rows(const query_tile *t, const void *base, int64_t stride,
                                      float *tmp, int64_t *ld)
{
    const nb_attention_args *a = t->a;
    *ld = stride;
    if (t->together == 1 && a->dtype == NB_DT_F32)
        return (const float *)base + tile_query(t, 0) * stride + t->head * a->p;
    for (int64_t r = 0; r < t->n; r++) {
        float *to = tmp + r * a->p;
        const int64_t at = tile_query(t, r) * stride + tile_head(t, r) * a->p;
        const float *row = read_row(base, a->dtype, at, a->p, to);
        if (row != to)
            memcpy(to, row, (size_t)a->p * sizeof(float));
    }
    *ld = a->p;
    return tmp;
}

/* No NaN and no infinity in n rows of p values. Zero times such a value is not zero: where a tile
 * is only partly seen, products with probability 0 must then be left out instead. */
static inline bool rows_finite(const float *x, int64_t ld, int64_t n, int64_t p)
{
    vf sum = vf_zero();
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < p; c += NBI_W)
            sum = vf_fma(vf_load_n(x + i * ld + c, (int)min_i64(NBI_W, p - c)), vf_zero(), sum);
    return vf_sum(sum) == 0.0f;
}

/* delta = dout . out of the rows of a tile; tmp [2][PMAX]. */
static inline void compute_delta(const nb_attention_bwd_args *b, const query_tile *t, float *tmp)
{
    const nb_attention_args *a = &b->fwd;
    for (int64_t r = 0; r < t->n; r++) {
        const int64_t row = tile_query(t, r), col = tile_head(t, r) * a->p;
        const float *out = read_row(a->out, a->dtype, row * a->ldo + col, a->p, tmp);
        const float *dout = read_row(b->dout, a->dtype, row * b->lddo + col, a->p, tmp + PMAX);
        b->delta[row * a->heads + tile_head(t, r)] = (float)dot_f64(out, dout, a->p);
    }
}

/* Products of all tiles, in units of nb_queue_threads. */
static inline int64_t attention_work(const nb_attention_args *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += a->segments[i].q_len * a->segments[i].k_len;
    return n * a->heads * a->p / 16;
}

#endif
