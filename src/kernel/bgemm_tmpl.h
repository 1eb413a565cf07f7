/* SPDX-License-Identifier: MIT */
/* Products in bf16 with f32 sums: matmul and qmatmul for instruction sets with dot products of
 * pairs.
 *
 * y[M, N] = A B^T. The left operand is packed once for all threads, in units of UNIT rows; a thread
 * owns some units and some strips of 32 columns, and packs (decodes) a strip when it first needs
 * it. Sums of a unit and a strip stay in scratch until the inner dimension is through; one
 * accumulator takes all inner indices in ascending order, those of the low-rank terms last, so that
 * no cut shows in a result.
 *
 * Before inclusion: UNIT, and `multiply` (declared below), tile_begin and tile_end around the work
 * of a thread. */
#ifndef NB_BGEMM_TMPL_H
#define NB_BGEMM_TMPL_H

#include <assert.h>
#include "kernel/bdecode_tmpl.h"
#include "kernel/variants.h"

/* The most inner indices of one partial sum (how many depends on the length of the inner dimension
 * alone): a strip of that many stays in the first cache. Inner indices of which decoded strips
 * stand in scratch, columns of these, rows between two packings of the left operand, rows that use
 * a strip while it is near. */
enum { KB = 576, KS = 2560, COLS = 32, NB = 256, MS = 2048, NEAR_ROWS = 512 };
enum { STRIP_BYTES = COLS * 2, UNIT_BYTES = UNIT * 2, BLOCK_FLOATS = UNIT * COLS };

typedef struct layout {
    unsigned char *strips; /* [NB / COLS][KS / CHUNK][STRIP_BYTES * CHUNK] */
    unsigned char *unit;   /* a unit's inner block, where threads pack their own */
    float *sums;           /* [units][strips][BLOCK_FLOATS] */
    float *parts;          /* [2][BLOCK_FLOATS]: partial sums of the latest two blocks */
    float *scales;         /* forward [KB / CHUNK + 1][16], backward [KS][scale_step] */
    int64_t scale_k, scale_block, scale_step; /* backward: where the scales begin, of a row */
} layout;

enum {
    AT_UNIT = NB * KS * 2,
    AT_PARTS = AT_UNIT + UNIT_BYTES * KB,
    AT_SCALES = AT_PARTS + 2 * BLOCK_FLOATS * 4,
    AT_SUMS = AT_SCALES + KS * SIDE * 4,
    SCRATCH_END = AT_SUMS + (MS + UNIT) * NB * 4
};
_Static_assert(SCRATCH_END <= NB_SCRATCH_BYTES, "scratch");
_Static_assert((KB / CHUNK + 1) * SIDE <= KS * SIDE, "scales");

/* What of a left operand stands packed in the shared memory: n inner indices in blocks of kb. */
typedef struct packing {
    int64_t n, kb;
} packing;

typedef struct product {
    nb_queue *q;
    source a, b;
    int64_t m, n, k;
    const nb_lowrank *extra;
    int64_t n_extra, row0; /* of the low-rank terms' left side */
    void *y;
    nb_dtype y_dtype;
    int64_t ldy;
    float alpha;
    bool add;
    bool fast;     /* b's codes can be decoded square by square */
    bool own_a;    /* each thread packs the units it needs */
    int64_t inner; /* k and the ranks, each rounded up to whole chunks */
    int64_t kb;    /* inner indices of a partial sum, whole chunks */
    packing packed;
} product;

/* One unit and strip: where its sums so far stand and where they belong in y. */
typedef struct block {
    float *part, *sum;
    bool add, last; /* there are sums so far; the inner dimension ends here */
    int64_t r0, rows, c0, cols;
} block;

/* A unit of whole chunks of rows in bf16, read in the order in which they stand in memory. */
static void copy_unit(const source *s, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                      unsigned char *dst)
{
    for (int64_t r = 0; r < UNIT; r++) {
        const char *row = r < rows ? at(s, r0 + r, k0) : NULL;
        for (int64_t c = 0; c < n / CHUNK; c++)
            _mm512_store_si512(dst + (c * UNIT + r) * LINE_BYTES,
                               row ? _mm512_loadu_si512(row + c * LINE_BYTES)
                                   : _mm512_setzero_si512());
    }
}

/* [k0, k0 + n) of the inner dimension, what of it belongs to the operands themselves first. */
static void pack_unit(const product *g, int64_t r0, int64_t rows, int64_t k0, int64_t n,
                      unsigned char *dst)
{
    if (k0 + n <= g->k && g->a.dtype == NB_DT_BF16 && g->a.cs == 1) {
        copy_unit(&g->a, r0, rows, k0, n, dst);
        return;
    }
    for (int64_t k = k0; k < k0 + n; k += CHUNK, dst += UNIT * LINE_BYTES) {
        source s = g->a;
        int64_t from = k, length = g->k;
        if (k >= round_up(g->k, CHUNK)) {
            const nb_lowrank *e = g->extra;
            from -= round_up(g->k, CHUNK);
            for (; from >= round_up(e->r, CHUNK); e++)
                from -= round_up(e->r, CHUNK);
            s = strided(e->h + g->row0 * e->ldh, NB_DT_F32, e->ldh, 1);
            length = e->r;
        }
        for (int64_t r = 0; r < UNIT; r += SIDE) {
            const int lines = (int)min_i64(SIDE, UNIT - r);
            if (UNIT - r >= 2 * SIDE && packs_wide(&s, rows - r, length - from)) {
                pack_wide(&s, r0 + r, from, false, dst + r * LINE_BYTES);
                r += SIDE;
            } else if (r < rows)
                pack_rows(&s, r0 + r, min_i64(lines, rows - r), from, min_i64(CHUNK, length - from),
                          lines, dst + r * LINE_BYTES);
            else
                memset(dst + r * LINE_BYTES, 0, (size_t)(lines * LINE_BYTES));
        }
    }
}

/* One square of a low-rank term's right side: columns c0..c0+15 of the product. */
static void pack_lowrank(const nb_lowrank *e, int64_t c0, int64_t k0, unsigned char *dst)
{
    source s = strided(e->l, NB_DT_F32, e->l_rs, e->l_cs);
    s.scale = e->alpha;
    const int64_t from = max_i64(c0, e->col0), to = min_i64(c0 + SIDE, e->col0 + e->cols);
    if (from >= to) {
        memset(dst, 0, SQUARE_BYTES);
        return;
    }
    pack_pairs(&s, from - e->col0, to - from, k0, min_i64(CHUNK, e->r - k0), dst);
    if (from > c0) {
        const unsigned shift = (unsigned)(from - c0);
        const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
        const __m512i order = _mm512_sub_epi32(lane, _mm512_set1_epi32((int)shift));
        const __mmask16 m = (__mmask16)(0xffffu << shift);
        for (int p = 0; p < SIDE; p++, dst += LINE_BYTES)
            _mm512_store_si512(dst,
                               _mm512_maskz_permutexvar_epi32(m, order, _mm512_load_si512(dst)));
    }
}

/* Backward: a strip's chunks, with those of the strip beside it at `next` unless that is NULL. */
static void decode_strips(const product *g, int64_t c0, int64_t k0, int64_t n, const layout *l,
                          unsigned char *dst, unsigned char *next)
{
    const int64_t column = (c0 >> log2_i64(g->b.w->block)) - l->scale_block, by = l->scale_step;
    const float *scales = l->scales + (k0 - l->scale_k) * by + column;
    for (int64_t k = 0; k < n; k += CHUNK) {
        const int64_t row = g->b.row0 + k0 + k, rows = min_i64(CHUNK, g->k - k0 - k);
        if (next)
            decode_backward(g->b.w, row, rows, c0, 2 * COLS, scales + k * by, by,
                            dst + k * STRIP_BYTES, next + k * STRIP_BYTES);
        else
            decode_backward(g->b.w, row, rows, c0, COLS, scales + k * by, by, dst + k * STRIP_BYTES,
                            NULL);
    }
}

/* Forward, and all that is not decoded square by square: a strip's chunks k0..k0+n-1 of B itself.
 */
static void pack_own(const product *g, int64_t c0, int64_t cols, int64_t k0, int64_t n,
                     const layout *l, unsigned char *dst)
{
    const int64_t chunks = n / CHUNK;
    for (int64_t c = 0; c < cols; c += SIDE, dst += SQUARE_BYTES) {
        const int64_t have = min_i64(SIDE, cols - c);
        if (g->fast) {
            const int shift = log2_i64(g->b.w->block);
            const int64_t b0 = k0 >> shift, b1 = (k0 + n - 1) >> shift;
            scale_columns(g->b.w, g->b.row0 + c0 + c, have, b0, b1 - b0 + 1, l->scales);
            decode_forward(g->b.w, g->b.row0 + c0 + c, have, k0, chunks, l->scales, dst,
                           STRIP_BYTES * CHUNK);
        } else {
            for (int64_t i = 0; i < chunks; i++) {
                const int64_t k = k0 + i * CHUNK, left = min_i64(CHUNK, g->k - k);
                if (!packs_wide(&g->b, cols, left))
                    pack_pairs(&g->b, c0 + c, have, k, left, dst + i * STRIP_BYTES * CHUNK);
                else if (c == 0)
                    pack_wide(&g->b, c0, k, true, dst + i * STRIP_BYTES * CHUNK);
            }
        }
    }
}

/* Whether the strip at column c is decoded with the one behind it, whose scales are the same. */
static bool decodes_two(const product *g, int64_t c)
{
    return g->fast && g->b.swap && g->b.w->block >= 2 * COLS && c % (2 * COLS) == 0;
}

/* The strip of columns c0..c0+cols-1 (at most COLS), inner indices k0..k0+n-1. `next`: where the
 * strip behind it goes, or NULL; `have`: B itself is there already. */
static void pack_strip(const product *g, int64_t c0, int64_t cols, int64_t k0, int64_t n,
                       const layout *l, unsigned char *dst, unsigned char *next, bool have)
{
    const int64_t own = max_i64(0, min_i64(n, round_up(g->k, CHUNK) - k0));
    if (own > 0 && !have && g->fast && g->b.swap)
        decode_strips(g, c0, k0, own, l, dst, next);
    else if (own > 0 && !have)
        pack_own(g, c0, cols, k0, own, l, dst);
    dst += own * STRIP_BYTES;
    int64_t k = round_up(g->k, CHUNK);
    for (const nb_lowrank *e = g->extra; e < g->extra + g->n_extra; e++)
        for (int64_t i = 0; i < e->r; i += CHUNK, k += CHUNK) {
            if (k < k0 || k >= k0 + n)
                continue;
            for (int64_t c = 0; c < cols; c += SIDE)
                pack_lowrank(e, c0 + c, i, dst + c / SIDE * SQUARE_BYTES);
            dst += STRIP_BYTES * CHUNK;
        }
}

/* Rows r.. of a block's finished sums to their place: y (= or +=) alpha * sum. */
NBI_INLINE void write_row(const product *g, const block *b, int64_t r, __m512 v0, __m512 v1)
{
    const __m512 alpha = _mm512_set1_ps(g->alpha);
    const __mmask32 m = first32(b->cols);
    const __mmask16 m0 = (__mmask16)m, m1 = (__mmask16)(m >> 16);
    v0 = _mm512_mul_ps(v0, alpha);
    v1 = _mm512_mul_ps(v1, alpha);
    const int64_t to = (b->r0 + r) * g->ldy + b->c0;
    if (g->y_dtype == NB_DT_F32) {
        float *y = (float *)g->y + to;
        if (g->add) {
            v0 = _mm512_add_ps(_mm512_maskz_loadu_ps(m0, y), v0);
            v1 = _mm512_add_ps(_mm512_maskz_loadu_ps(m1, y + 16), v1);
        }
        _mm512_mask_storeu_ps(y, m0, v0);
        _mm512_mask_storeu_ps(y + 16, m1, v1);
    } else {
        uint16_t *y = (uint16_t *)g->y + to;
        if (g->add) {
            v0 = _mm512_add_ps(load16(y, NB_DT_BF16, min_i64(b->cols, 16)), v0);
            v1 = _mm512_add_ps(load16(y + 16, NB_DT_BF16, max_i64(b->cols - 16, 0)), v1);
        }
        _mm512_mask_storeu_epi16(y, m, round2(v1, v0));
    }
}

/* What becomes of a block's partial sums: they begin its sums, are added to these, or are the last
 * ones and complete the result. */
typedef enum ending { NOTHING, BEGIN, ADD, WRITE_FIRST, WRITE } ending;

static inline ending block_ending(const block *b)
{
    if (!b->part)
        return NOTHING;
    return b->last ? (b->add ? WRITE : WRITE_FIRST) : (b->add ? ADD : BEGIN);
}

/* Row r of a block. */
NBI_INLINE void settle_row(const product *g, const block *b, const ending how, int64_t r)
{
    float *sum = b->sum + r * COLS;
    __m512 v0 = _mm512_load_ps(b->part + r * COLS);
    __m512 v1 = _mm512_load_ps(b->part + r * COLS + SIDE);
    if (how == ADD || how == WRITE) {
        v0 = _mm512_add_ps(_mm512_load_ps(sum), v0);
        v1 = _mm512_add_ps(_mm512_load_ps(sum + SIDE), v1);
    }
    if (how == WRITE || how == WRITE_FIRST) {
        if (r < b->rows)
            write_row(g, b, r, v0, v1);
    } else {
        _mm512_store_ps(sum, v0);
        _mm512_store_ps(sum + SIDE, v1);
    }
}

/* All that is left of a block from row r on. */
NBI_OUTLINE void settle(const product *g, const block *b, int64_t r)
{
    for (const ending how = block_ending(b); how != NOTHING && r < b->rows; r++)
        settle_row(g, b, how, r);
}

/* What is done between the steps of a block's multiplication, two rows a chunk: the block before is
 * settled, and the rows that will be written when this one is are fetched. */
typedef struct errands {
    const block *before;
    const char *result; /* row 0; when there is nothing to fetch, anything, with step 0 */
    int64_t step;       /* between its rows */
    int64_t half;       /* from the first line of a row to the last one */
} errands;

NBI_INLINE void run_errands(const product *g, const errands *e, const ending how, int64_t chunk)
{
    const char *row = e->result + 2 * chunk * e->step;
    _mm_prefetch(row, _MM_HINT_T1);
    _mm_prefetch(row + e->half, _MM_HINT_T1);
    _mm_prefetch(row + e->step, _MM_HINT_T1);
    _mm_prefetch(row + e->step + e->half, _MM_HINT_T1);
    if (how != NOTHING) {
        settle_row(g, e->before, how, 2 * chunk);
        settle_row(g, e->before, how, 2 * chunk + 1);
    }
}

/* part[UNIT][COLS] = unit * strip^T over `chunks` chunks; a: [chunks][UNIT][32] of bf16,
 * b: [chunks][2][16 pairs][16 columns][2]. Only `rows` rows and `cols` columns matter. */
static void multiply(const product *g, const unsigned char *a, const unsigned char *b,
                     int64_t chunks, const block *now, const errands *beside);
static void tile_begin(void);
static void tile_end(void);

/* Inner indices of which strips stand in scratch: whole partial sums, all parts about as long. */
static int64_t strip_length(const product *g)
{
    const int64_t sums = (g->inner + g->kb - 1) / g->kb, most = KS / g->kb;
    const int64_t parts = (sums + most - 1) / most;
    return (sums + parts - 1) / parts * g->kb;
}

/* Where the packed left operand has units u.. of inner block [k0, k0 + n). */
static unsigned char *unit_at(const product *g, int64_t units, int64_t u, int64_t k0, int64_t n)
{
    return g->q->shared + (units * k0 + u * n) * UNIT_BYTES;
}

/* A rectangle of the product on one thread: units [u0, u1) from row `m0` on, columns [n0, n1). */
typedef struct region {
    int64_t m0, rows, units; /* of the packed left operand */
    int64_t u0, u1, n0, n1;
} region;

/* One thread at work: the columns at hand, and the block not yet settled. */
typedef struct work {
    const product *g;
    const region *p;
    layout l;
    int64_t j, jn, strips; /* columns [j, j + jn) */
    int64_t near;          /* units that use a strip one after the other */
    bool keep;             /* strips are needed again by other units */
    block before;
} work;

static unsigned char *strip_at(const work *w, int64_t s, int64_t in_ks)
{
    return w->l.strips + (w->keep ? s * strip_length(w->g) + in_ks : s % 2 * KB) * STRIP_BYTES;
}

static errands make_errands(const product *g, const block *now, const block *before)
{
    errands e = {.before = before, .result = (const char *)now->part};
    if (now->last) {
        const int64_t size = (int64_t)nb_dtype_size(g->y_dtype);
        e.result = nb_elem(g->y, g->y_dtype, now->r0 * g->ldy + now->c0);
        e.step = g->ldy * size;
        e.half = (now->cols - 1) * size;
    }
    return e;
}

/* Units u..last-1 with strip s, inner indices [k, k + kn). */
static void multiply_units(work *w, int64_t u, int64_t last, int64_t s, int64_t k, int64_t kn,
                           const unsigned char *b)
{
    const product *g = w->g;
    const region *p = w->p;
    for (; u < last; u++) {
        const unsigned char *a = g->own_a ? w->l.unit : unit_at(g, p->units, u, k, kn);
        const block now = {.part = w->l.parts + (w->before.part == w->l.parts ? BLOCK_FLOATS : 0),
                           .sum = w->l.sums + ((u - p->u0) * w->strips + s) * BLOCK_FLOATS,
                           .add = k > 0,
                           .last = k + kn == g->inner,
                           .r0 = p->m0 + u * UNIT,
                           .rows = min_i64(UNIT, p->rows - u * UNIT),
                           .c0 = w->j + s * COLS,
                           .cols = min_i64(COLS, w->jn - s * COLS)};
        const errands beside = make_errands(g, &now, &w->before);
        multiply(g, a, b, kn / CHUNK, &now, &beside);
        w->before = now;
    }
}

/* Inner indices [ks0, ks0 + ksn) of the columns at hand. */
static void multiply_columns(work *w, int64_t ks0, int64_t ksn)
{
    const product *g = w->g;
    const region *p = w->p;
    for (int64_t u = p->u0; u < p->u1; u += w->near) {
        const int64_t last = min_i64(p->u1, u + w->near);
        for (int64_t k = ks0; k < ks0 + ksn; k += g->kb) {
            const int64_t kn = min_i64(g->kb, ks0 + ksn - k);
            if (g->own_a)
                pack_unit(g, p->m0 + u * UNIT, min_i64(UNIT, p->rows - u * UNIT), k, kn, w->l.unit);
            for (int64_t s = 0; s < w->strips; s++) {
                unsigned char *b = strip_at(w, s, k - ks0);
                if (u == p->u0) {
                    const int64_t c = w->j + s * COLS, cols = min_i64(COLS, w->jn - s * COLS);
                    const bool two = s + 1 < w->strips && decodes_two(g, c);
                    pack_strip(g, c, cols, k, kn, &w->l, b,
                               two ? strip_at(w, s + 1, k - ks0) : NULL,
                               s > 0 && decodes_two(g, c - COLS));
                }
                multiply_units(w, u, last, s, k, kn, b);
            }
        }
    }
}

/* Backward: scales of inner indices [k, k + n) for the columns at hand. */
static void scale_strips(work *w, int64_t k, int64_t n)
{
    const source *b = &w->g->b;
    const int shift = log2_i64(b->w->block);
    const int64_t first = w->j >> shift, blocks = ((w->j + w->jn - 1) >> shift) - first + 1;
    w->l.scale_k = k;
    w->l.scale_block = first;
    w->l.scale_step = blocks > 8 ? 16 : blocks > 4 ? 8 : blocks > 2 ? 4 : blocks;
    scale_rows(b->w, b->row0 + k, n, first, w->l.scale_step, w->l.scales);
}

static void multiply_part(const product *g, const region *p, unsigned char *scratch)
{
    work w = {.g = g,
              .p = p,
              .l = {.strips = scratch,
                    .unit = scratch + AT_UNIT,
                    .parts = (float *)(void *)(scratch + AT_PARTS),
                    .sums = (float *)(void *)(scratch + AT_SUMS),
                    .scales = (float *)(void *)(scratch + AT_SCALES)},
              .near = g->own_a ? 1 : NEAR_ROWS / UNIT};
    const int64_t ks = strip_length(g);
    w.keep = p->u1 - p->u0 > w.near;
    tile_begin();
    for (w.j = p->n0; w.j < p->n1; w.j += NB) {
        w.jn = min_i64(NB, p->n1 - w.j);
        w.strips = (w.jn + COLS - 1) / COLS;
        for (int64_t k = 0; k < g->inner; k += ks) {
            const int64_t kn = min_i64(ks, g->inner - k);
            if (g->fast && g->b.swap && k < g->k)
                scale_strips(&w, k, min_i64(kn, g->k - k));
            multiply_columns(&w, k, kn);
        }
    }
    settle(g, &w.before, 0);
    tile_end();
}

/* Part i of `parts` of [0, n), cut at multiples of `unit`. */
static void cut(int64_t n, int64_t unit, int i, int parts, int64_t *from, int64_t *to)
{
    int64_t units = (n + unit - 1) / unit;
    *from = min_i64(n, units * i / parts * unit);
    *to = min_i64(n, units * (i + 1) / parts * unit);
}

/* Threads along M; the others divide N. Packing a strip costs about as much as multiplying it with
 * two or three units. */
static int choose_grid(const product *g, int64_t units, int threads)
{
    if (g->own_a)
        return threads;
    const int64_t strips = (g->n + COLS - 1) / COLS;
    double best = 0;
    int tm_best = 1;
    for (int tm = 1; tm <= threads; tm++) {
        if (threads % tm != 0)
            continue;
        const int tn = threads / tm;
        const double cost =
            ((double)((units + tm - 1) / tm) + 2.5) * (double)((strips + tn - 1) / tn);
        if (tm == 1 || cost < best) {
            best = cost;
            tm_best = tm;
        }
    }
    return tm_best;
}

/* Packs units of the left operand: the inner blocks that are not there yet, in the order in which
 * they are used. */
static void pack_units(const product *g, const region *p, int t, int threads)
{
    int64_t from, to;
    cut(p->units, 1, t, threads, &from, &to);
    for (int64_t k = g->packed.n; k < g->inner; k += g->kb) {
        const int64_t kn = min_i64(g->kb, g->inner - k);
        for (int64_t u = from; u < to; u++)
            pack_unit(g, p->m0 + u * UNIT, min_i64(UNIT, p->rows - u * UNIT), k, kn,
                      unit_at(g, p->units, u, k, kn));
    }
}

/* Rows [m0, m0 + rows). */
static void product_rows(const product *g, int64_t m0, int64_t rows, int threads)
{
    const region all = {m0, rows, (rows + UNIT - 1) / UNIT, 0, 0, 0, 0};
    const int tm = choose_grid(g, all.units, threads), tn = threads / tm;
#pragma omp parallel num_threads(threads)
    {
        if (!g->own_a) {
#pragma omp for schedule(static, 1)
            for (int t = 0; t < threads; t++)
                pack_units(g, &all, t, threads);
        }
#pragma omp for schedule(static, 1)
        for (int t = 0; t < threads; t++) {
            region p = all;
            cut(all.units, 1, t / tn, tm, &p.u0, &p.u1);
            cut(g->n, COLS, t % tn, tn, &p.n0, &p.n1);
            if (p.u0 < p.u1 && p.n0 < p.n1)
                multiply_part(g, &p, nb_queue_scratch(g->q, t));
        }
    }
}

static void clear_rows(const product *g)
{
    for (int64_t i = 0; i < g->m && !g->add; i++)
        memset(nb_elem(g->y, g->y_dtype, i * g->ldy), 0, (size_t)g->n * nb_dtype_size(g->y_dtype));
}

/* Returns what stays packed for a product with the same left operand: the blocks that hold nothing
 * else. */
static packing run_product(product *g)
{
    const packing none = {0, 0};
    if (g->m == 0 || g->n == 0)
        return none;
    g->inner = round_up(g->k, CHUNK);
    for (int64_t e = 0; e < g->n_extra; e++)
        g->inner += round_up(g->extra[e].r, CHUNK);
    if (g->inner == 0) {
        clear_rows(g);
        return none;
    }
    const int64_t sums = (g->inner + KB - 1) / KB;
    g->kb = round_up((g->inner + sums - 1) / sums, CHUNK);
    const int threads = nb_queue_threads(g->q, g->m * g->n / 8 * g->inner / 64);
    g->fast = g->b.w && decodes_fast(g->b.w);
    g->own_a = g->n <= 2 * COLS && g->inner <= KS;
    const int64_t room = (int64_t)g->q->shared_bytes / (g->inner * UNIT_BYTES) * UNIT;
    assert(room > 0 || g->own_a);
    const int64_t most = g->own_a || room > MS ? MS : room;
    const int64_t parts = (g->m + most - 1) / most;
    const int64_t step = round_up((g->m + parts - 1) / parts, UNIT);
    const bool stays = !g->own_a && step >= g->m;
    if (!stays || g->packed.kb != g->kb)
        g->packed = none;
    for (int64_t m0 = 0; m0 < g->m; m0 += step)
        product_rows(g, m0, min_i64(step, g->m - m0), threads);
    const packing now = {g->k / g->kb * g->kb, g->kb};
    return stays ? now : none;
}

void NBI_ISA(matmul)(const nb_matmul_args *a)
{
    if (a->compute != NB_COMPUTE_BF16) {
        nbi_matmul_avx512(a);
        return;
    }
    assert(a->m >= 0 && a->n >= 0 && a->k >= 0);
    product g = {.q = a->q,
                 .a = strided(a->a, a->a_dtype, a->a_rs, a->a_cs),
                 .b = strided(a->b, a->b_dtype, a->b_rs, a->b_cs),
                 .m = a->m,
                 .n = a->n,
                 .k = a->k,
                 .y = a->c,
                 .y_dtype = a->c_dtype,
                 .ldy = a->ldc,
                 .alpha = a->alpha,
                 .add = a->accumulate};
    (void)run_product(&g);
}

static source weight_source(const nb_qgroup *s, bool backward)
{
    const nb_qtensor *w = s->w;
    if (w->kind == NB_QK_DENSE) {
        const void *p = nb_elem(w->data, w->dtype, s->w_row0 * w->k);
        return strided(p, w->dtype, backward ? 1 : w->k, backward ? w->k : 1);
    }
    source b = {.w = w, .row0 = s->w_row0, .swap = backward};
    return b;
}

/* Rows of one group; `packed` and the result: what the shared memory holds of x before and then. */
static packing group_product(const nb_qmatmul_args *a, const nb_qgroup *s, packing packed)
{
    assert(s->w_row0 >= 0 && s->w_rows >= 0 && s->w_row0 + s->w_rows <= s->w->n);
    product g = {.q = a->q,
                 .a = strided(nb_elem(a->x, a->x_dtype, s->row0 * a->ldx), a->x_dtype, a->ldx, 1),
                 .b = weight_source(s, a->backward),
                 .m = s->rows,
                 .n = a->backward ? s->w->k : s->w_rows,
                 .k = a->backward ? s->w_rows : s->w->k,
                 .extra = a->extra,
                 .n_extra = a->n_extra,
                 .row0 = s->row0,
                 .y = nb_elem(a->y, a->y_dtype, s->row0 * a->ldy),
                 .y_dtype = a->y_dtype,
                 .ldy = a->ldy,
                 .alpha = 1.0f,
                 .add = a->accumulate,
                 .packed = packed};
    return run_product(&g);
}

void NBI_ISA(qmatmul)(const nb_qmatmul_args *a)
{
    if (a->compute != NB_COMPUTE_BF16) {
        nbi_qmatmul_avx512(a);
        return;
    }
    const packing none = {0, 0};
    packing packed = none;
    for (; a; a = a->next)
        for (int64_t i = 0; i < a->n_groups; i++) {
            const nb_qgroup *s = &a->groups[i];
            if (s->rows <= NB_FEW_ROWS && !a->backward) { /* bound by memory: dot products */
                nb_qmatmul_args one = *a;
                one.groups = s;
                one.n_groups = 1;
                one.next = NULL;
                nbi_qmatmul_avx512(&one);
            } else {
                const packing left = group_product(a, s, packed);
                packed = a->n_groups == 1 ? left : none;
            }
        }
}

#endif
