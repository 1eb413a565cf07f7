/* SPDX-License-Identifier: MIT */
/* Thin products on tiles. y is the large operand and is packed piece by piece beside the work, in
 * the first cache: as rows for c, as pairs of rows for d. The thin operands are packed once.
 *
 * Without d, threads share the rows. With it they share the columns, in spans of whole blocks: each
 * block leaves its partial sum of c, and these are added in the order of the columns. */
/* the name of older clangs has no second underscore */
#if !(defined(__AMX_BF16__) || defined(__AMXBF16__)) || !defined(__AVX512BF16__)
#error "compile with -mamx-tile -mamx-bf16 -mavx512bf16 and what these need"
#endif
#define NBI_ISA(name) nbi_##name##_amx
#include <string.h>
#include "kernel/amx_config.h"
#include "kernel/bpanel_tmpl.h"
#include "kernel/variants.h"
#include "kernel/vec_transpose.h"

/* Rows whose partial sums of c wait at a time, rows and columns that are packed at a time, blocks
 * of columns (those with a partial sum of their own), columns whose sums of d wait, tiles of ranks.
 */
enum { SLAB = 512, ROWS = 2 * SIDE, COLS = 128, BLOCKS = 16, SPAN = 2048, MOST_TILES = 16 };
enum { SUM_FLOATS = SIDE * SIDE };

/* 16 ranks of a term, from i0 on. */
typedef struct rank_tile {
    const nb_thin_term *t;
    int64_t i0, n;
} rank_tile;

typedef struct thin {
    const nb_thin_args *a;
    source rows, cols; /* y as left operand of c, as right operand of d */
    rank_tile tile[MOST_TILES];
    int tiles;
    bool want_d;
    int64_t chunks; /* of n */
    int64_t width;  /* of a block */
    int64_t blocks;
    unsigned char *b, *h; /* [tiles][chunks], [tiles][SLAB / CHUNK] squares */
    float *parts;         /* [blocks][tiles][SLAB][SIDE] */
} thin;

/* A thread's own memory. */
typedef struct room {
    unsigned char rows[COLS / CHUNK][2][SQUARE_BYTES];  /* y: two tiles of rows a chunk */
    unsigned char pairs[COLS / CHUNK][2][SQUARE_BYTES]; /* two tiles of columns */
    float c[MOST_TILES][2][SUM_FLOATS];
    float d[MOST_TILES][SPAN / SIDE][SUM_FLOATS];
} room;
_Static_assert(sizeof(room) <= NB_SCRATCH_BYTES, "scratch");

static unsigned char *b_square(const thin *t, int tile, int64_t chunk)
{
    return t->b + (tile * t->chunks + chunk) * SQUARE_BYTES;
}

static unsigned char *h_square(const thin *t, int tile, int64_t row)
{
    return t->h + (tile * (SLAB / CHUNK) + row / CHUNK) * SQUARE_BYTES;
}

static float *part_at(const thin *t, int64_t block, int tile, int64_t row)
{
    return t->parts + ((block * t->tiles + tile) * SLAB + row) * SIDE;
}

/* ---- the thin operands ---- */

static void pack_b(const thin *t, int tile, int64_t chunk)
{
    const rank_tile *k = &t->tile[tile];
    const source s = strided(k->t->b + k->i0 * k->t->b_cs, NB_DT_F32, k->t->b_cs, k->t->b_rs);
    const int64_t j = chunk * CHUNK;
    pack_pairs(&s, 0, k->n, j, min_i64(CHUNK, t->a->n - j), b_square(t, tile, chunk));
}

/* Rows m0 + row.. of h, of those before m1. */
static void pack_h(const thin *t, int tile, int64_t m0, int64_t m1, int64_t row)
{
    const rank_tile *k = &t->tile[tile];
    const source s = strided(k->t->h + k->i0, NB_DT_F32, 1, k->t->ldh);
    pack_rows(&s, 0, k->n, m0 + row, min_i64(CHUNK, m1 - m0 - row), SIDE, h_square(t, tile, row));
}

/* ---- y ---- */

/* 32 rows of a whole chunk of y, each line read once: rows that are a power of two apart fall into
 * few sets of the first cache. */
NBI_INLINE void pack_whole(const thin *t, int64_t r0, int64_t c, nb_dtype dtype, bool rows,
                           bool pairs, unsigned char (*row)[SQUARE_BYTES],
                           unsigned char (*pair)[SQUARE_BYTES])
{
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40,
                                         8, 39, 7, 38, 6, 37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(SIDE));
#pragma GCC unroll 16
    for (int p = 0; p < SIDE; p++) {
        const __m512i a = load32(at(&t->rows, r0 + 2 * p, c), dtype, CHUNK, one);
        const __m512i b = load32(at(&t->rows, r0 + 2 * p + 1, c), dtype, CHUNK, one);
        if (rows) {
            unsigned char *to = row[2 * p / SIDE] + 2 * p % SIDE * LINE_BYTES;
            _mm512_store_si512(to, a);
            _mm512_store_si512(to + LINE_BYTES, b);
        }
        if (pairs) {
            _mm512_store_si512(pair[0] + p * LINE_BYTES, _mm512_permutex2var_epi16(a, low, b));
            _mm512_store_si512(pair[1] + p * LINE_BYTES, _mm512_permutex2var_epi16(a, high, b));
        }
    }
}

/* A part of such a square of y; of the second tile of columns nothing where there are none. */
static void pack_part(const thin *t, int64_t r0, int64_t rows, int64_t c, int64_t cols,
                      bool want_rows, bool want_pairs, unsigned char (*row)[SQUARE_BYTES],
                      unsigned char (*pair)[SQUARE_BYTES])
{
    for (int64_t i = 0; i < 2 && want_rows; i++) {
        if (rows > i * SIDE)
            pack_rows(&t->rows, r0 + i * SIDE, min_i64(SIDE, rows - i * SIDE), c, cols, SIDE,
                      row[i]);
        else
            memset(row[i], 0, SQUARE_BYTES);
    }
    for (int64_t i = 0; i < 2 && want_pairs && i * SIDE < cols; i++)
        pack_pairs(&t->cols, c + i * SIDE, min_i64(SIDE, cols - i * SIDE), r0, rows, pair[i]);
}

/* Rows r0.. (up to ROWS) of y, columns [c0, c1) (up to COLS). */
static void pack_y(const thin *t, int64_t r0, int64_t rows, int64_t c0, int64_t c1, bool want_rows,
                   bool want_pairs, room *w)
{
    for (int64_t c = c0, i = 0; c < c1; c += CHUNK, i++) {
        if (rows < ROWS || c1 - c < CHUNK)
            pack_part(t, r0, rows, c, c1 - c < CHUNK ? c1 - c : CHUNK, want_rows, want_pairs,
                      w->rows[i], w->pairs[i]);
#define NBI_PACK(type, want_a, want_b)                                                             \
    pack_whole(t, r0, c, type, want_a, want_b, w->rows[i], w->pairs[i])
        else if (t->rows.dtype == NB_DT_BF16) {
            if (!want_pairs)
                NBI_PACK(NB_DT_BF16, true, false);
            else if (want_rows)
                NBI_PACK(NB_DT_BF16, true, true);
            else
                NBI_PACK(NB_DT_BF16, false, true);
        } else if (!want_pairs)
            NBI_PACK(NB_DT_F32, true, false);
        else if (want_rows)
            NBI_PACK(NB_DT_F32, true, true);
        else
            NBI_PACK(NB_DT_F32, false, true);
#undef NBI_PACK
    }
}

/* Lines of y that a chunk of the rows from r on covers, for later. */
NBI_INLINE void fetch_chunk(const thin *t, int64_t r, int64_t c, nb_dtype dtype)
{
    const char *p = nb_elem(t->rows.p, dtype, r * t->rows.rs + c);
    for (int64_t i = 0; i < ROWS; i++, p += t->rows.rs * (dtype == NB_DT_F32 ? 4 : 2)) {
        _mm_prefetch(p, _MM_HINT_T1);
        if (dtype == NB_DT_F32)
            _mm_prefetch(p + LINE_BYTES, _MM_HINT_T1);
    }
}

/* Up to `columns` columns of the rows that come next. */
static void fetch_y(const thin *t, int64_t next_r, int64_t next_c, int64_t columns)
{
    const int64_t end = min_i64(t->a->n, next_c + columns);
    if (next_r + ROWS > t->a->m)
        return;
    for (int64_t c = next_c; c < end; c += CHUNK) {
        if (t->rows.dtype == NB_DT_F32)
            fetch_chunk(t, next_r, c, NB_DT_F32);
        else
            fetch_chunk(t, next_r, c, NB_DT_BF16);
    }
}

/* ---- products ---- */

/* sum[2][SIDE][SIDE] (+)= the packed rows times b of a tile, chunks from c0 on. */
NBI_INLINE void multiply_c(const thin *t, const room *w, int tile, int64_t c0, int64_t chunks,
                           float *sum, bool add)
{
    const unsigned char *b = b_square(t, tile, c0 / CHUNK);
    if (add) {
        _tile_loadd(0, sum, AMX_ROW_BYTES);
        _tile_loadd(1, sum + SUM_FLOATS, AMX_ROW_BYTES);
    } else {
        _tile_zero(0);
        _tile_zero(1);
    }
    for (int64_t i = 0; i < chunks; i++, b += SQUARE_BYTES) {
        _tile_loadd(4, w->rows[i][0], LINE_BYTES);
        _tile_loadd(5, w->rows[i][1], LINE_BYTES);
        _tile_loadd(6, b, LINE_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 5, 6);
    }
    _tile_stored(0, sum, AMX_ROW_BYTES);
    _tile_stored(1, sum + SUM_FLOATS, AMX_ROW_BYTES);
}

/* d[column tiles][SIDE ranks][SIDE columns] (+)= h of a tile, rows from `row` on, times the packed
 * pairs. */
NBI_INLINE void multiply_d(const thin *t, const room *w, int tile, int64_t row, int64_t chunks,
                           float *d, bool add)
{
    _tile_loadd(4, h_square(t, tile, row), LINE_BYTES);
    for (int64_t i = 0; i < chunks; i++, d += 2 * SUM_FLOATS) {
        if (add) {
            _tile_loadd(0, d, AMX_ROW_BYTES);
            _tile_loadd(1, d + SUM_FLOATS, AMX_ROW_BYTES);
        } else {
            _tile_zero(0);
            _tile_zero(1);
        }
        _tile_loadd(6, w->pairs[i][0], LINE_BYTES);
        _tile_loadd(7, w->pairs[i][1], LINE_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_stored(0, d, AMX_ROW_BYTES);
        _tile_stored(1, d + SUM_FLOATS, AMX_ROW_BYTES);
    }
}

/* Rows of c from sums [rows][SIDE], `parts` of them `step` floats apart. */
static void write_c(const rank_tile *k, int64_t row, const float *sum, int64_t parts, int64_t step)
{
    vf v = vf_load(sum);
    for (int64_t i = 1; i < parts; i++)
        v += vf_load(sum + i * step);
    vf_store_n(k->t->c + row * k->t->ldc + k->i0, v * k->t->alpha, (int)k->n);
}

/* Columns c.. of d (up to SIDE) from the sums of a tile. */
static void write_d(const rank_tile *k, int64_t c, int64_t cols, const float *sum)
{
    const nb_thin_term *e = k->t;
    vf v[SIDE];
    for (int i = 0; i < SIDE; i++)
        v[i] = vf_load(sum + i * SIDE) * e->alpha;
    const bool turned = e->d_cs == 1;
    if (turned)
        transpose(v);
    float *d = e->d + c * e->d_rs + k->i0 * e->d_cs;
    const int n = (int)(turned ? k->n : cols);
    const int64_t lines = turned ? cols : k->n, step = turned ? e->d_rs : e->d_cs;
    for (int64_t i = 0; i < lines; i++, d += step)
        vf_store_n(d, vf_load_n(d, n) + v[i], n);
}

/* ---- without d: rows ---- */

static void rows_of_c(const thin *t, int64_t r0, int64_t rows, room *w)
{
    const int64_t n = t->a->n;
    for (int64_t c = 0; c < n; c += COLS) {
        const int64_t end = min_i64(n, c + COLS);
        if (end < n)
            fetch_y(t, r0, end, COLS);
        else
            fetch_y(t, r0 + ROWS, 0, COLS);
        pack_y(t, r0, rows, c, end, true, false, w);
        __asm__ volatile("" ::: "memory"); /* the compiler does not see what tiles read */
        for (int k = 0; k < t->tiles; k++)
            multiply_c(t, w, k, c, (end - c + CHUNK - 1) / CHUNK, w->c[k][0], c > 0);
    }
    __asm__ volatile("" ::: "memory");
    for (int k = 0; k < t->tiles; k++)
        for (int64_t r = 0; r < rows && t->tile[k].t->c; r++)
            write_c(&t->tile[k], r0 + r, w->c[k][0] + r * SIDE, 1, 0);
}

/* ---- with d: columns ---- */

/* Rows r0.. of the slab that begins at m0, columns [c0, c1) of a block, the first of which has its
 * sums of d at column_tile. */
static void part_of_block(const thin *t, int64_t m0, int64_t r0, int64_t rows, int64_t block,
                          int64_t c0, int64_t c1, room *w, int64_t column_tile)
{
    const int64_t chunks = (c1 - c0 + CHUNK - 1) / CHUNK;
    bool want_c = false;
    for (int k = 0; k < t->tiles; k++)
        want_c = want_c || t->tile[k].t->c;
    pack_y(t, m0 + r0, rows, c0, c1, want_c, true, w);
    __asm__ volatile("" ::: "memory");
    for (int k = 0; k < t->tiles; k++) {
        if (t->tile[k].t->c)
            multiply_c(t, w, k, c0, chunks, part_at(t, block, k, r0), c0 > block * t->width);
        if (t->tile[k].t->d)
            multiply_d(t, w, k, r0, chunks, w->d[k][column_tile], r0 > 0);
    }
    __asm__ volatile("" ::: "memory");
}

/* Columns [c0, c1), at most SPAN, of a slab. */
static void span_of_slab(const thin *t, int64_t m0, int64_t m1, int64_t c0, int64_t c1, room *w)
{
    for (int64_t r = 0; r < m1 - m0; r += ROWS) {
        const int64_t rows = min_i64(ROWS, m1 - m0 - r);
        int64_t end;
        for (int64_t c = c0; c < c1; c = end) {
            const int64_t block = c / t->width;
            end = min_i64(min_i64(c1, (block + 1) * t->width), c + COLS);
            if (end < c1)
                fetch_y(t, m0 + r, end, min_i64(COLS, min_i64(t->width, c1 - end)));
            else
                fetch_y(t, m0 + r + ROWS, c0, min_i64(COLS, min_i64(t->width, c1 - c0)));
            part_of_block(t, m0, r, rows, block, c, end, w, (c - c0) / SIDE);
        }
    }
    for (int k = 0; k < t->tiles; k++)
        for (int64_t c = c0; c < c1 && t->tile[k].t->d; c += SIDE)
            write_d(&t->tile[k], c, min_i64(SIDE, c1 - c), w->d[k][(c - c0) / SIDE]);
}

/* Part i of `parts` of n things. */
static int64_t share(int64_t n, int i, int parts)
{
    return n * i / parts;
}

static void columns_of_slab(const thin *t, int64_t m0, int64_t m1, int part, int parts, room *w)
{
    const int64_t from = share(t->blocks, part, parts) * t->width;
    const int64_t to = min_i64(t->a->n, share(t->blocks, part + 1, parts) * t->width);
    for (int64_t c = from; c < to; c += SPAN)
        span_of_slab(t, m0, m1, c, min_i64(to, c + SPAN), w);
}

static void fold_row(const thin *t, int64_t m0, int64_t r)
{
    for (int k = 0; k < t->tiles; k++)
        if (t->tile[k].t->c)
            write_c(&t->tile[k], m0 + r, part_at(t, 0, k, r), t->blocks,
                    (int64_t)t->tiles * SLAB * SIDE);
}

static void run_slab(const thin *t, int64_t m0, int64_t m1, int threads)
{
    const int64_t rows = m1 - m0, squares = (rows + CHUNK - 1) / CHUNK;
#pragma omp for schedule(static)
    for (int64_t i = 0; i < t->tiles * squares; i++)
        if (t->tile[i / squares].t->d)
            pack_h(t, (int)(i / squares), m0, m1, i % squares * CHUNK);
#pragma omp for schedule(static, 1)
    for (int p = 0; p < threads; p++)
        columns_of_slab(t, m0, m1, p, threads, nb_queue_scratch(t->a->q, p));
#pragma omp for schedule(static)
    for (int64_t r = 0; r < rows; r++)
        fold_row(t, m0, r);
}

static void run_rows(const thin *t, int threads)
{
    const int64_t squares = (t->a->m + ROWS - 1) / ROWS;
#pragma omp for schedule(static, 1)
    for (int p = 0; p < threads; p++)
        for (int64_t i = share(squares, p, threads); i < share(squares, p + 1, threads); i++)
            rows_of_c(t, i * ROWS, min_i64(ROWS, t->a->m - i * ROWS), nb_queue_scratch(t->a->q, p));
}

/* False when the ranks are too many, or the thin operands too long for the shared memory. */
static bool plan(const nb_thin_args *a, thin *t)
{
    *t = (thin){.a = a,
                .rows = strided(a->y, a->y_dtype, a->ldy, 1),
                .cols = strided(a->y, a->y_dtype, 1, a->ldy),
                .chunks = (a->n + CHUNK - 1) / CHUNK};
    for (int64_t i = 0; i < a->n_terms; i++) {
        const nb_thin_term *e = &a->terms[i];
        t->want_d = t->want_d || e->d;
        for (int64_t r = 0; r < e->r; r += SIDE) {
            if (t->tiles == MOST_TILES)
                return false;
            t->tile[t->tiles++] = (rank_tile){e, r, min_i64(SIDE, e->r - r)};
        }
    }
    t->width = max_i64(2 * CHUNK, round_up((a->n + BLOCKS - 1) / BLOCKS, CHUNK));
    t->blocks = (a->n + t->width - 1) / t->width;
    const int64_t b = t->tiles * t->chunks * SQUARE_BYTES;
    const int64_t h = t->tiles * (SLAB / CHUNK) * SQUARE_BYTES;
    const int64_t parts = t->blocks * t->tiles * SLAB * SIDE * (int64_t)sizeof(float);
    t->b = a->q->shared;
    t->h = t->b + b;
    t->parts = (float *)(void *)(t->h + h);
    return b + h + parts <= (int64_t)a->q->shared_bytes;
}

/* Terms that have no room together may have it alone. */
static void one_by_one(const nb_thin_args *a)
{
    for (int64_t i = 0; i < a->n_terms; i++) {
        nb_thin_args one = *a;
        one.terms = &a->terms[i];
        one.n_terms = 1;
        if (a->n_terms > 1)
            nbi_thin_amx(&one);
        else
            nbi_thin_by_matmul(&one, nbi_matmul_amx);
    }
}

void NBI_ISA(thin)(const nb_thin_args *a)
{
    thin t;
    if (a->compute != NB_COMPUTE_BF16 || a->m == 0 || a->n == 0 || !plan(a, &t)) {
        one_by_one(a);
        return;
    }
    const int threads = nb_queue_threads(a->q, a->m * a->n / 16 * (t.tiles + 1));
#pragma omp parallel num_threads(threads)
    {
        amx_begin();
#pragma omp for schedule(static)
        for (int64_t i = 0; i < t.tiles * t.chunks; i++)
            if (t.tile[i / t.chunks].t->c)
                pack_b(&t, (int)(i / t.chunks), i % t.chunks);
        for (int64_t m0 = 0; m0 < a->m && t.want_d; m0 += SLAB)
            run_slab(&t, m0, min_i64(a->m, m0 + SLAB), threads);
        if (!t.want_d)
            run_rows(&t, threads);
        amx_end();
    }
}
