/* SPDX-License-Identifier: MIT */
/* Dot products with rows of 4-bit codes: codes are looked up in registers, the scale of a block
 * multiplies the block's sum. In floats, or in integers (gemv_ints_tmpl.h) when the product
 * computes in bf16. */
#ifndef NB_GEMV_CODES_TMPL_H
#define NB_GEMV_CODES_TMPL_H

#include "kernel/gemv_ints_tmpl.h"
#include "kernel/matmul.h"

/* Inner indices at a time; rows of x, and those that share one reading of a weight's row. */
enum { GEMV_K = 16384, GEMV_ROWS = NB_FEW_ROWS, GEMV_SHARE = 4, GEMV_UNITS = GEMV_K / GEMV_UNIT };
/* How many bytes ahead of their use lines are fetched, so early that the latency of memory is
 * covered: of dense rows, and of codes. */
enum { GEMV_FAR = 4096, GEMV_NEAR = 2048 };
/* Rows of a weight that are read at a time by one row of x, in parts of the weight far from each
 * other: memory answers several streams faster than one, and they share x. */
enum { GEMV_STREAMS = NBI_W == 16 ? 4 : 2 };

/* What one thread works with. Rows of the weight are taken NBI_W at a time. */
typedef struct gemv_scratch {
    float x[GEMV_ROWS * GEMV_K];
    vf sums[GEMV_ROWS][NBI_W];
    float scales[NBI_W * GEMV_UNITS];
    float row[GEMV_K]; /* a weight's row that is not read in place */
    int16_t book[16];  /* in integers */
} gemv_scratch;

/* Fetches a line that is needed GEMV_FAR bytes later, which may lie behind the end; of codes. */
NBI_INLINE void gemv_fetch(const void *p)
{
    __builtin_prefetch((const void *)((uintptr_t)p + GEMV_FAR));
}
NBI_INLINE void gemv_fetch_codes(const uint8_t *p)
{
    __builtin_prefetch((const void *)((uintptr_t)p + GEMV_NEAR));
}

/* Whether a weight's rows are read by gemv_codes: they begin and end with units, each of one scale.
 */
static inline bool gemv_has_units(const nb_qtensor *w)
{
    return w->kind != NB_QK_DENSE && w->k % GEMV_UNIT == 0 && w->block >= GEMV_UNIT;
}

/* ---- scales ---- */

/* Whether the scales of doubly quantised units are restored where they are used: a unit is a block,
 * and a chunk's units are of one nested block. */
static inline bool gemv_nested_in_place(const nb_qtensor *w)
{
    return !w->absmax && w->block == GEMV_UNIT && w->k % GEMV_CHUNK == 0 && w->nested_block > 1;
}

/* Scales of the n units from element f of the flat codes on. */
static inline void gemv_scales(const nb_qtensor *w, int64_t f, int64_t n, float *to)
{
    for (int64_t u = 0; u < n; u++)
        to[u] = nb_qtensor_absmax(w, (f + u * GEMV_UNIT) / w->block);
}

static inline void gemv_fetch_bytes(uintptr_t p, int64_t from, int64_t to)
{
    for (int64_t i = from; i < to; i += 64)
        __builtin_prefetch((const void *)(p + (uintptr_t)i));
}

/* Fetches the statistics of n elements from f on, which may lie behind the end: the rows after the
 * present ones, a stream too slow for the hardware to notice. */
static inline void gemv_fetch_scales(const nb_qtensor *w, int64_t f, int64_t n)
{
    const int64_t from = f / w->block, to = (f + n) / w->block;
    if (w->absmax) {
        gemv_fetch_bytes((uintptr_t)w->absmax, 4 * from, 4 * to);
        return;
    }
    gemv_fetch_bytes((uintptr_t)w->absmax_codes, from, to);
    __builtin_prefetch((const void *)((uintptr_t)w->nested_absmax +
                                      (uintptr_t)(to / w->nested_block) * sizeof(float)));
}

/* Lanes of a chunk's first unit from a, of its second from b. */
NBI_INLINE vf gemv_two(float a, float b)
{
#if NBI_W == 16
    return (vf)_mm512_mask_blend_ps(0xff00, (__m512)vf_set1(a), (__m512)vf_set1(b));
#else
    (void)b;
    return vf_set1(a);
#endif
}

/* ---- rows ---- */

/* Rows of codes: where they are, and how far from each other codes (bytes) and scales are. */
typedef struct gemv_matrix {
    const nb_qtensor *w;
    const uint8_t *codes;
    const float *scales; /* of units, unless they are restored in place */
    int64_t step, units;
    int64_t first;   /* block with which row 0 begins */
    int64_t apart;   /* rows from a stream to the next */
    int64_t rows, n; /* n a multiple of the unit */
    const int16_t *book;
} gemv_matrix;

/* A chunk in floats: s[i] += scale * (book[codes] . x_i). Word l holds elements 8l..8l+7, its bits
 * 4j..4j+3 element 8l + (j ^ 1), the high nibble of each byte being the first; x as gemv_inputs
 * lays it. */
NBI_INLINE void gemv_float_chunk(const int m, vbook book, vu words, vf scale, const float *x, vf *s)
{
    vf part[GEMV_SHARE][2]; /* two sums, so that additions wait less for each other */
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const vf low = vf_book(book, words >> (8 * j)), high = vf_book(book, words >> (8 * j + 4));
#pragma GCC unroll 4
        for (int i = 0; i < m; i++) {
            const float *u = x + i * GEMV_K + 2 * j * NBI_W;
            const vf first = vf_load(u), second = vf_load(u + NBI_W);
            part[i][0] = j == 0 ? first * high : vf_fma(first, high, part[i][0]);
            part[i][1] = j == 0 ? second * low : vf_fma(second, low, part[i][1]);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < m; i++)
        s[i] = vf_fma(scale, part[i][0] + part[i][1], s[i]);
}

/* The codes of a chunk, of which one unit alone exists when it is the `half` at a row's end. */
NBI_INLINE vu gemv_words(const uint8_t *p, const bool half)
{
    const size_t least = GEMV_UNIT / 2;
    vu v = {0};
    memcpy(&v, p, half && least < sizeof(v) ? least : sizeof(v));
    NBI_IN_REGISTER(v);
    return v;
}

/* How rows are worked on; constants at each call. */
typedef struct gemv_how {
    int m;       /* rows of x */
    int streams; /* rows of codes at a time, m * streams <= GEMV_SHARE */
    bool ints;   /* x and book are integers */
    bool nested; /* scales are restored in place */
} gemv_how;

/* The code book in registers. */
typedef struct gemv_books {
#if GEMV_INTS
    gemv_book ints;
#endif
    vbook floats;
} gemv_books;

NBI_INLINE void gemv_chunk(const gemv_how h, const gemv_books *b, vu words, vf scale,
                           const float *x, vf *s)
{
#if GEMV_INTS
    if (h.ints) {
        vi values[4];
        gemv_values(b->ints, words, values);
#pragma GCC unroll 4
        for (int i = 0; i < h.m; i++)
            s[i] = gemv_int_chunk(values, scale, x + i * GEMV_K, s[i]);
        return;
    }
#endif
    gemv_float_chunk(h.m, b->floats, words, scale, x, s);
}

/* A place in the row of the first stream: codes, scales of units or what they are restored from,
 * and x; and what restores the scales of each stream. */
typedef struct gemv_place {
    const uint8_t *p;
    const float *scales;
    const uint8_t *scale_codes;
    const float *x;
    vf nested[GEMV_SHARE];
} gemv_place;

/* s[t * m + i] += x_i . the next `chunks` of the row of stream t, each stream's of one nested block
 * if their scales are nested. */
NBI_INLINE void gemv_span(const gemv_how h, const gemv_matrix *g, const gemv_books *b,
                          gemv_place *at, int64_t chunks, vf *s)
{
    enum { LAST = NBI_W == 16 }; /* the chunk's last unit */
    const int64_t bytes = g->apart * g->step, units = g->apart * g->units;
    const float *book = g->w->nested_book, *x = at->x;
    const vf offset = vf_set1(g->w->nested_offset);
    const uint8_t *p = at->p, *codes = at->scale_codes;
    const float *scales = at->scales;
    for (const uint8_t *end = p + chunks * (GEMV_CHUNK / 2); p != end; p += GEMV_CHUNK / 2) {
#pragma GCC unroll 4
        for (int t = 0; t < h.streams; t++) {
            const vu words = gemv_words(p + t * bytes, false);
            gemv_fetch_codes(p + t * bytes);
            vf scale;
            if (h.nested) {
                const uint8_t *c = codes + t * units;
                scale = vf_fma(gemv_two(book[c[0]], book[c[LAST]]), at->nested[t], offset);
            } else {
                scale = gemv_two(scales[t * units], scales[t * units + LAST]);
            }
            gemv_chunk(h, b, words, scale, x, s + t * h.m);
        }
        x += h.ints ? GEMV_INTS_STEP : GEMV_CHUNK;
        const bool part = NBI_W == 4 && (end - p) % (GEMV_UNIT / 2) == 0; /* half a unit */
        if (h.nested)
            codes += part ? 0 : 1 + LAST;
        else
            scales += part ? 0 : 1 + LAST;
    }
    at->p = p;
    at->x = x;
    at->scale_codes = codes;
    at->scales = scales;
}

/* How many chunks from block `b` on are of its nested block, at most `most`. */
NBI_INLINE int64_t gemv_nested_run(const nb_qtensor *w, int64_t b, int64_t most)
{
    const int64_t left = w->nested_block - (b & (w->nested_block - 1));
    return min_i64(most, left * GEMV_UNIT / GEMV_CHUNK);
}

/* s[t * m + i] += x_i . row r of stream t */
NBI_INLINE void gemv_codes_row(const gemv_how h, const gemv_matrix *g, const gemv_books *b,
                               int64_t r, const float *x, vf *s)
{
    gemv_place at = {.p = g->codes + r * g->step, .x = x};
    int64_t chunks = g->n / GEMV_CHUNK;
    if (!h.nested) {
        at.scales = g->scales + r * g->units;
        gemv_span(h, g, b, &at, chunks, s);
        if (g->n % GEMV_CHUNK != 0)
            for (int t = 0; t < h.streams; t++)
                gemv_chunk(h, b, gemv_words(at.p + t * g->apart * g->step, true),
                           gemv_two(at.scales[t * g->apart * g->units], 0.0f), at.x, s + t * h.m);
        return;
    }
    int64_t block = g->first + r * g->units;
    const int shift = __builtin_ctzll((unsigned long long)g->w->nested_block);
    at.scale_codes = g->w->absmax_codes + block;
    while (chunks > 0) {
        int64_t run = chunks;
#pragma GCC unroll 4
        for (int t = 0; t < h.streams; t++) {
            const int64_t u = block + t * g->apart * g->units;
            run = gemv_nested_run(g->w, u, run);
            at.nested[t] = vf_set1(g->w->nested_absmax[u >> shift]);
        }
        gemv_span(h, g, b, &at, run, s);
        chunks -= run;
        block += run * GEMV_CHUNK / GEMV_UNIT;
    }
}

/* sums[t + i][r] = lanes of x_i . row r of stream t; m or `streams` is 1 */
NBI_INLINE void gemv_codes_of(const gemv_how h, const gemv_matrix *g, const float *x,
                              vf sums[GEMV_ROWS][NBI_W])
{
    gemv_books b = {.floats = vbook_load(g->w->book)};
#if GEMV_INTS
    if (h.ints)
        b.ints = gemv_book_load(g->book);
#endif
    for (int64_t r = 0; r < g->rows; r++) {
        vf s[GEMV_SHARE];
#pragma GCC unroll 4
        for (int i = 0; i < h.m * h.streams; i++)
            s[i] = vf_zero();
        gemv_codes_row(h, g, &b, r, x, s);
#pragma GCC unroll 4
        for (int i = 0; i < h.m * h.streams; i++)
            sums[i][r] = s[i];
    }
}

NBI_INLINE void gemv_codes_shared(const bool ints, const bool nested, int64_t m,
                                  const gemv_matrix *g, gemv_scratch *z)
{
    const float *x = z->x;
    if (g->apart > 0) {
        gemv_codes_of((gemv_how){1, GEMV_STREAMS, ints, nested}, g, x, z->sums);
        return;
    }
    for (int64_t i = 0; i < m; i += GEMV_SHARE, x += GEMV_SHARE * GEMV_K) {
        if (m - i == 1)
            gemv_codes_of((gemv_how){1, 1, ints, nested}, g, x, z->sums + i);
        else if (m - i == 2)
            gemv_codes_of((gemv_how){2, 1, ints, nested}, g, x, z->sums + i);
        else if (m - i == 3)
            gemv_codes_of((gemv_how){3, 1, ints, nested}, g, x, z->sums + i);
        else
            gemv_codes_of((gemv_how){4, 1, ints, nested}, g, x, z->sums + i);
    }
}

/* One function each, so that they are no larger than needed. */
NBI_OUTLINE void gemv_codes_plain(int64_t m, const gemv_matrix *g, gemv_scratch *z)
{
    gemv_codes_shared(false, false, m, g, z);
}
NBI_OUTLINE void gemv_codes_nested(int64_t m, const gemv_matrix *g, gemv_scratch *z)
{
    gemv_codes_shared(false, true, m, g, z);
}
NBI_OUTLINE void gemv_codes_ints(int64_t m, const gemv_matrix *g, gemv_scratch *z)
{
    gemv_codes_shared(true, false, m, g, z);
}
NBI_OUTLINE void gemv_codes_ints_nested(int64_t m, const gemv_matrix *g, gemv_scratch *z)
{
    gemv_codes_shared(true, true, m, g, z);
}

/* Whether the scales of a weight's units are read, or restored, where they lie. */
static inline bool gemv_scales_in_place(const nb_qtensor *w)
{
    return gemv_nested_in_place(w) || (w->block == GEMV_UNIT && w->absmax);
}

/* Rows j..j+rows-1 of w, n elements from k on, with m rows of x, which are integers or not. With
 * apart > 0, which asks for m = 1 and scales in place, GEMV_STREAMS times as many rows, each time
 * so many further. */
static void gemv_codes(int64_t m, const nb_qtensor *w, bool ints, int64_t j, int64_t rows,
                       int64_t apart, int64_t k, int64_t n, gemv_scratch *z)
{
    const int64_t f = j * w->k + k;
    const bool nested = gemv_nested_in_place(w);
    gemv_matrix g = {.w = w,
                     .codes = (const uint8_t *)w->data + f / 2,
                     .scales = z->scales,
                     .step = w->k / 2,
                     .units = n / GEMV_UNIT,
                     .apart = apart,
                     .rows = rows,
                     .n = n,
                     .book = z->book};
    if (gemv_scales_in_place(w)) {
        g.first = f / GEMV_UNIT;
        g.scales = nested ? NULL : w->absmax + g.first;
        g.units = w->k / GEMV_UNIT;
    } else {
        for (int64_t r = 0; r < rows; r++)
            gemv_scales(w, f + r * w->k, g.units, z->scales + r * g.units);
    }
    for (int t = 0; t < (apart > 0 ? GEMV_STREAMS : 1); t++)
        gemv_fetch_scales(w, f + (rows + t * apart) * w->k, rows * w->k);
    if (ints)
        (nested ? gemv_codes_ints_nested : gemv_codes_ints)(m, &g, z);
    else
        (nested ? gemv_codes_nested : gemv_codes_plain)(m, &g, z);
}

#endif
