/* SPDX-License-Identifier: MIT */
/* Attention in bf16 on tiles (bf16_tiles.h): the products are `multiply_block` of the file that
 * includes this one. Scores stand with keys down and queries across: the softmax works on vectors
 * of queries, and probabilities become an operand of the next product by rounding alone.
 *
 * Work goes by strips of 32 queries and blocks of keys, in a pipeline: while the softmax of one
 * strip runs, the products of its neighbours do. Exponentials are powers of two; the factor that
 * makes them so is part of the scale. */
#ifndef NB_ATTENTION_TILE_TMPL_H
#define NB_ATTENTION_TILE_TMPL_H

#include "kernel/attention_parts.h"
#include "kernel/bf16_tiles.h"
#include "kernel/variants.h"

/* KEYS of a block; SET query tiles share its packed keys; a head has PAD values at most. While n
 * keys of a strip are at work, every PACE keys a piece of a product is done. */
enum { KEYS = 96, SET = 8, PAD = PMAX, STRIP = 32, KEY_TILES = KEYS / TILE_INNER, PACE = 16 };
_Static_assert(NBI_W == (int)TILE_ROWS && (int)STRIP == (int)TILE_INNER, "a lane is a query");

#define LOG2E 1.44269504f
#define LN2 0.693147181f

/* A query tile at work. */
typedef struct tile_work {
    query_tile t;
    uint16_t *q;      /* columns of B */
    float *o;         /* a strip after the other, [p][STRIP] each */
    float *top, *sum; /* [TQ] maximum (times log2 e) and sum of powers */
} tile_work;

static inline uint16_t *take_bf16(float **scratch, int64_t n)
{
    return (uint16_t *)(void *)take(scratch, n / 2);
}

static inline int64_t padded(const nb_attention_args *a)
{
    return round_up(a->p, TILE_INNER);
}

/* Rows of a query tile, then zeros; row: room for `most`. */
static source query_source(const query_tile *t, const void *x, int64_t ld, int64_t most,
                           const uint16_t **row)
{
    for (int64_t r = 0; r < most; r++)
        row[r] = r < t->n ? (const uint16_t *)x + tile_query(t, r) * ld + tile_head(t, r) * t->a->p
                          : zero_row;
    return (source){row, t->a->p};
}

/* n keys from j0 of one key head, then zeros up to KEYS. */
static source key_source(const nb_attention_args *a, const nb_attn_segment *s, int64_t group,
                         const void *x, int64_t ld, int64_t j0, int64_t n, const uint16_t **row)
{
    for (int64_t j = 0; j < KEYS; j++)
        row[j] = j < n ? (const uint16_t *)x + key_row(s, j0 + j) * ld + group * a->p : zero_row;
    return (source){row, a->p};
}

/* Bit r of seen[j]: row r0 + r of the tile sees key j0 + j. */
static void mark_seen(const query_tile *t, int64_t r0, int64_t j0, int64_t n, uint32_t *seen)
{
    for (int64_t j = 0; j < n; j++) {
        int64_t first, last;
        seers(t, j0 + j, &first, &last);
        first = min_i64(STRIP, max_i64(0, first - r0));
        last = min_i64(STRIP, max_i64(0, last - r0));
        seen[j] = (uint32_t)((1ull << last) - 1) & ~(uint32_t)((1ull << first) - 1);
    }
}

NBI_INLINE vf keep_seen(uint32_t seen, int g, vf x)
{
    return (vf)_mm512_maskz_mov_ps((__mmask16)(seen >> (g * NBI_W)), (__m512)x);
}

#define EACH4 _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++)

/* 2^x for x <= 64, below 2^-125 about that; errors below two units in the last place (minimax
 * polynomial of 2^r on [-1/2, 1/2], error 2^-23.7). NaN stays. Four at a time, step by step: one
 * alone is a chain of dependent operations. */
NBI_INLINE void powers(vf x[4])
{
    static const float term[] = {1.00000012f,   0.693146944f,   0.240221202f,
                                 0.0555071309f, 0.00967554096f, 0.00132764725f};
    const vf magic = vf_set1(0x1.8p23f), lowest = vf_set1(-125.0f);
    vf n[4], p[4];
    EACH4 x[i] = vf_max(lowest, x[i]); /* in this order of operands NaN passes */
    EACH4 n[i] = x[i] + magic;
    EACH4 n[i] -= magic;
    EACH4 x[i] -= n[i];
    EACH4 p[i] = vf_set1(term[5]);
#pragma GCC unroll 5
    for (int t = 4; t >= 0; t--)
        EACH4 p[i] = vf_fma(p[i], x[i], vf_set1(term[t]));
    EACH4 x[i] = (vf)_mm512_scalef_ps((__m512)p[i], (__m512)n[i]);
}

/* What a score is multiplied by on its way into a power: cap() and a scale that is not positive are
 * applied to the scores first. */
static float prepare_scores(const nb_attention_args *a, float *s, int64_t n)
{
    if (a->softcap == 0.0f && a->scale > 0.0f)
        return a->scale * LOG2E;
    for (int64_t i = 0; i < n * STRIP; i += NBI_W)
        vf_store(s + i, vf_load(s + i) * a->scale);
    if (a->softcap != 0.0f)
        cap_scores(s, n * STRIP, a->softcap);
    return LOG2E;
}

/* The new maximum of 16 queries, times log2 e. One that is not much larger leaves the old one,
 * which serves as well and needs no scaling of what is summed already. */
NBI_INLINE vf raise_top(const float *s, int64_t n, vf factor, const uint32_t *seen, int g, vf old)
{
    vf m[4];
    for (int i = 0; i < 4; i++)
        m[i] = vf_set1(-INFINITY);
    for (int64_t j = 0; j < n; j += 4) {
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) { /* NaN leaves the maximum as it is */
            const vf x = vf_load(s + (j + i) * STRIP);
            if (seen)
                m[i] = (vf)_mm512_mask_max_ps((__m512)m[i], (__mmask16)(seen[j + i] >> (g * NBI_W)),
                                              (__m512)x, (__m512)m[i]);
            else
                m[i] = vf_max(x, m[i]);
        }
    }
    const vf top = vf_max(vf_max(m[0], m[1]), vf_max(m[2], m[3])) * factor;
    return vf_select(top > old + 8.0f, top, old);
}

/* Probabilities of queries 16g.. as a column tile of B, up to the factor 2^-top; returns what sums
 * so far are multiplied by. n is a multiple of 32. */
NBI_INLINE vf soften(const float *s, int64_t n, float factor, const uint32_t *seen, int g,
                     float *top, float *sum, uint16_t *to, product_queue *q)
{
    static const uint16_t index[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i pairs = _mm512_loadu_si512(index);
    const vf f = vf_set1(factor), old = vf_load(top), now = raise_top(s, n, f, seen, g, old);
    /* nothing seen yet: any finite base, the powers are left out */
    const vf base = vf_select(now == -INFINITY, vf_zero(), -now);
    vf total[4] = {{0}};
    for (int64_t j0 = 0; j0 < n; j0 += PACE) {
        (void)queue_step(q);
        for (int64_t j = j0; j < j0 + PACE; j += 4) {
            vf x[4];
            EACH4 x[i] = vf_fma(vf_load(s + (j + i) * STRIP), f, base);
            powers(x);
            if (seen)
                EACH4 x[i] = keep_seen(seen[j + i], g, x[i]);
            EACH4 total[i] += x[i];
            for (int i = 0; i < 4; i += 2)
                _mm512_storeu_si512(to + (j + i) * TILE_ROWS,
                                    _mm512_permutexvar_epi16(pairs, round_two(x[i], x[i + 1])));
        }
    }
    vf keep[4] = {old + base, vf_zero(), vf_zero(), vf_zero()};
    powers(keep);
    vf_store(sum, vf_load(sum) * keep[0] + ((total[0] + total[1]) + (total[2] + total[3])));
    vf_store(top, now);
    return keep[0];
}

static void scale_lanes(float *o, int64_t p, vf keep)
{
    if (_mm512_cmp_ps_mask((__m512)keep, _mm512_set1_ps(1.0f), _CMP_NEQ_UQ) == 0)
        return;
    for (int64_t c = 0; c < p; c++)
        vf_store(o + c * STRIP, vf_load(o + c * STRIP) * keep);
}

/* Keys j0.. , packed as rows and, the values, as inner index of A. */
typedef struct key_block {
    int64_t j0;
    uint16_t *k, *v;
    bool finite; /* all of v */
} key_block;

/* Rows r0.. of a tile and n keys of a block. */
typedef struct strip {
    const tile_work *w;
    int64_t r0, n;
    key_block b;
} strip;

/* The strip whose scores are there, its neighbours' products, and room for two. */
typedef struct pipeline {
    product_queue q;
    strip now;
    bool full;
    int turn;
    float *s[2];    /* [KEYS][STRIP] */
    uint16_t *p[2]; /* probabilities */
} pipeline;

static int64_t strip_tiles(const strip *x)
{
    return min_i64(2, tiles(x->w->t.n - x->r0, NBI_W));
}

static void push_scores(pipeline *l, const strip *x)
{
    const int64_t ld = padded(x->w->t.a) / TILE_INNER;
    queue_push(&l->q, &(tile_product){x->n / TILE_ROWS, strip_tiles(x), ld, x->b.k, ld,
                                      x->w->q + x->r0 / TILE_ROWS * ld * TILE_LEN, ld,
                                      l->s[l->turn], STRIP, false});
}

/* Softmax of the strip in the pipeline, whose room is number `turn`; then its sums of values. */
static void attend_now(pipeline *l, int turn)
{
    const strip *x = &l->now;
    const tile_work *w = x->w;
    const nb_attention_args *a = w->t.a;
    const int64_t p = padded(a), nt = strip_tiles(x), r1 = min_i64(w->t.n, x->r0 + STRIP);
    const bool some = rows_seen(&w->t, x->r0, r1, x->b.j0, x->n) == PARTIAL;
    uint32_t seen[KEYS];
    if (some)
        mark_seen(&w->t, x->r0, x->b.j0, x->n, seen);
    const float factor = prepare_scores(a, l->s[turn], x->n);
    vf keep[2];
    for (int g = 0; g < nt; g++) {
        uint16_t *to = l->p[turn] + g * KEY_TILES * TILE_LEN;
        float *s = l->s[turn] + g * NBI_W;
        float *top = w->top + x->r0 + g * NBI_W, *sum = w->sum + x->r0 + g * NBI_W;
        keep[g] = some ? soften(s, x->n, factor, seen, g, top, sum, to, &l->q)
                       : soften(s, x->n, factor, NULL, g, top, sum, to, &l->q);
    }
    queue_drain(&l->q);
    for (int g = 0; g < nt; g++)
        scale_lanes(w->o + x->r0 * p + g * NBI_W, p, keep[g]);
    const tile_product sums = {p / TILE_ROWS, nt,        x->n / TILE_INNER, x->b.v, KEY_TILES,
                               l->p[turn],    KEY_TILES, w->o + x->r0 * p,  STRIP,  true};
    if (some && !x->b.finite)
        multiply_seen(&sums, false);
    else
        queue_push(&l->q, &sums);
}

/* The next strip, NULL after the last one. */
static void attend_next(pipeline *l, const strip *x)
{
    if (x)
        push_scores(l, x);
    if (l->full)
        attend_now(l, 1 - l->turn);
    else
        queue_drain(&l->q);
    l->full = x != NULL;
    if (!x) {
        queue_drain(&l->q);
        return;
    }
    l->now = *x;
    l->turn = 1 - l->turn;
}

/* Rows of the tile in `to` = o * factor, o a strip after the other, [padded p][STRIP] each. */
static void write_lanes(const query_tile *t, const float *o, const float *factor, void *to,
                        int64_t ld)
{
    const int64_t p = t->a->p, all = padded(t->a);
    for (int64_t r0 = 0; r0 < t->n; r0 += NBI_W) {
        const vf f = vf_load(factor + r0);
        const int64_t rows = min_i64(NBI_W, t->n - r0);
        const float *lanes = o + r0 / STRIP * STRIP * all + r0 % STRIP;
        uint16_t *row[NBI_W];
        for (int64_t i = 0; i < rows; i++)
            row[i] = (uint16_t *)to + tile_query(t, r0 + i) * ld + tile_head(t, r0 + i) * p;
        for (int64_t c = 0; c < p; c += NBI_W) {
            vf x[NBI_W];
#pragma GCC unroll 16
            for (int64_t i = 0; i < NBI_W; i++)
                x[i] = vf_load(lanes + (c + i) * STRIP) * f;
            transpose(x);
            for (int64_t i = 0; i < rows; i++)
                vf_store_bf16_n(row[i] + c, x[i], (int)min_i64(NBI_W, p - c));
        }
    }
}

static void start_tile(tile_work *w, float **scratch)
{
    const nb_attention_args *a = w->t.a;
    const int64_t p = padded(a);
    const uint16_t *row[TQ];
    const source q = query_source(&w->t, a->q, a->ldq, TQ, row);
    w->q = take_bf16(scratch, TQ * p);
    w->o = take(scratch, TQ * p);
    w->top = take(scratch, TQ);
    w->sum = take(scratch, TQ);
    (void)pack_columns_b(&q, tiles(w->t.n, NBI_W), w->q);
    memset(w->o, 0, (size_t)(TQ * p) * sizeof(float));
    for (int i = 0; i < TQ; i++) {
        w->top[i] = -INFINITY;
        w->sum[i] = 0.0f;
    }
}

static void finish_tile(const tile_work *w)
{
    const nb_attention_args *a = w->t.a;
    float inverse[TQ];
    for (int i = 0; i < TQ; i++)
        inverse[i] = 1.0f / w->sum[i];
    write_lanes(&w->t, w->o, inverse, a->out, a->ldo);
    for (int64_t r = 0; r < w->t.n && a->lse; r++)
        a->lse[tile_query(&w->t, r) * a->heads + tile_head(&w->t, r)] =
            w->top[r] * LN2 + logf(w->sum[r]);
}

/* Strips of w whose keys from j0 on are seen; true if there was one. With l NULL only looks. */
static bool attend_block(const tile_work *w, const key_block *b, pipeline *l)
{
    bool any = false;
    for (int64_t r0 = 0; r0 < w->t.n; r0 += STRIP) {
        const int64_t r1 = min_i64(w->t.n, r0 + STRIP);
        const int64_t n = min_i64(KEYS, rows_limit(&w->t, r1) - b->j0);
        if (n <= 0 || rows_seen(&w->t, r0, r1, b->j0, n) == HIDDEN)
            continue;
        any = true;
        if (l)
            attend_next(l, &(strip){w, r0, round_up(n, TILE_INNER), *b});
    }
    return any;
}

static void pack_block(const query_tile *t, int64_t n, key_block *b)
{
    const nb_attention_args *a = t->a;
    const int64_t inner = tiles(n, TILE_INNER);
    const uint16_t *row[KEYS];
    source s = key_source(a, t->s, t->group, a->k, a->ldk, b->j0, n, row);
    (void)pack_rows_a(&s, 2 * inner, b->k);
    s = key_source(a, t->s, t->group, a->v, a->ldv, b->j0, n, row);
    b->finite = pack_inner_a(&s, inner, KEY_TILES, b->v);
}

/* Tiles of one key head: each block of keys is packed once for all of them. */
static void attend_set(tile_work *w, int count, float *scratch)
{
    const int64_t room = KEYS * padded(w[0].t.a);
    pipeline l = {.full = false};
    key_block b[2];
    int64_t limit = 0;
    for (int i = 0; i < 2; i++) {
        b[i].k = take_bf16(&scratch, room);
        b[i].v = take_bf16(&scratch, room);
        l.s[i] = take(&scratch, KEYS * STRIP);
        l.p[i] = take_bf16(&scratch, KEYS * STRIP);
    }
    for (int i = 0; i < count; i++) {
        start_tile(&w[i], &scratch);
        limit = max_i64(limit, rows_limit(&w[i].t, w[i].t.n));
    }
    for (int64_t j0 = 0, turn = 0; j0 < limit; j0 += KEYS) {
        key_block *now = &b[turn];
        bool any = false;
        now->j0 = j0;
        for (int i = 0; i < count; i++)
            any |= attend_block(&w[i], now, NULL);
        if (!any)
            continue;
        turn = 1 - turn;
        queue_drain(&l.q); /* the block before the last one is no longer in use */
        pack_block(&w[0].t, min_i64(KEYS, limit - j0), now);
        for (int i = 0; i < count; i++)
            (void)attend_block(&w[i], now, &l);
    }
    attend_next(&l, NULL);
    for (int i = 0; i < count; i++)
        finish_tile(&w[i]);
}

enum {
    SET_FLOATS = SET * (TQ * PAD / 2 + TQ * PAD + 2 * TQ),
    BLOCK_FLOATS = 2 * (KEYS * PAD + KEYS * STRIP * 3 / 2)
};
_Static_assert((SET_FLOATS + BLOCK_FLOATS) * sizeof(float) <= NB_SCRATCH_BYTES, "scratch");

/* Up to `size` tiles of one key head, the t-th such set of all; 0 when there are fewer. */
static int find_set(const nb_attention_args *a, int64_t t, int size, tile_work *w)
{
    for (int64_t i = 0; i < a->n_segments; i++) {
        const tile_cut c = cut_segment(a, &a->segments[i], TQ, true);
        const int64_t all = c.sets * c.per_set, per = tiles(all, size);
        if (t >= per * a->kv_heads) {
            t -= per * a->kv_heads;
            continue;
        }
        int n = 0;
        for (int64_t u = t % per * size; u < all && n < size; u++)
            w[n++].t = tile_of_group(a, &a->segments[i], &c, t / per, u);
        return n;
    }
    return 0;
}

static int64_t count_sets(const nb_attention_args *a, int size)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->n_segments; i++) {
        const tile_cut c = cut_segment(a, &a->segments[i], TQ, true);
        n += a->kv_heads * tiles(c.sets * c.per_set, size);
    }
    return n;
}

static void attend_sets(const nb_attention_args *a, int64_t count, int size, int64_t *next,
                        float *scratch)
{
    tile_work w[SET];
    for (;;) {
        int64_t i;
#pragma omp atomic capture
        i = (*next)++;
        if (i >= count)
            return;
        attend_set(w, find_set(a, count - 1 - i, size, w), scratch); /* the longest first */
    }
}

void NBI_ISA(attention)(const nb_attention_args *a)
{
    if (a->dtype == NB_DT_F32) {
        nbi_attention_avx512(a);
        return;
    }
    assert(a->dtype == NB_DT_BF16);
    assert(a->p > 0 && a->p <= PMAX && a->heads % a->kv_heads == 0);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
    int size = SET;
    while (size > 1 && threads > 1 && count_sets(a, size) < 4 * (int64_t)threads)
        size /= 2;
    const int64_t count = count_sets(a, size);
    int64_t next = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        multiply_begin();
        attend_sets(a, count, size, &next, nb_queue_scratch(a->q_, part));
        multiply_end();
    }
}

#endif
