/* SPDX-License-Identifier: MIT */
/* Operands of bf16 products as tiles of 1 KiB, the shape of AMX tile registers, which dot products
 * of pairs (vdpbf16ps) read as well. For AVX-512 with BF16.
 *
 *   A tile  16 rows of 32 inner indices: element (r, k) at [32*r + k]
 *   B tile  32 inner indices of 16 columns, in pairs: element (k, c) at [32*(k/2) + 2*c + k%2]
 *
 * An operand is a grid of tiles; along the inner index they follow each other, `ld` tiles are
 * between those of successive rows (columns). Whatever is beyond the operand is zero. */
#ifndef NB_BF16_TILES_H
#define NB_BF16_TILES_H

#include <assert.h>
#include <immintrin.h>
#include "kernel/intmath.h"
#include "kernel/vec_transpose.h"
#include "tensor/half.h"

enum { TILE_ROWS = 16, TILE_INNER = 32, TILE_LEN = TILE_ROWS * TILE_INNER };

/* Rows of bf16 to be packed, p values each; the list goes on with zero_row up to whole tiles. */
typedef struct source {
    const uint16_t *const *row;
    int64_t p;
} source;

enum { ROW_MAX = 256 };
static const uint16_t zero_row[ROW_MAX];

/* Values c..c+31 of a row, those from p on zero; *odd collects NaN and infinity. */
NBI_INLINE __m512i source_load(const uint16_t *row, __mmask32 valid, int64_t c, __mmask32 *odd)
{
    const __m512i top = _mm512_set1_epi16(0x7f80);
    const __m512i v = _mm512_maskz_loadu_epi16(valid, row + c);
    *odd |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(v, top), top);
    return v;
}

NBI_INLINE __mmask32 valid_values(int64_t p, int64_t c)
{
    return p - c >= TILE_INNER ? 0xffffffffu : (__mmask32)((1ull << (p - c)) - 1);
}

/* dword l of *first (*second) = values l (16 + l) of the rows x and y as a pair. */
NBI_INLINE void pair_rows(__m512i x, __m512i y, __m512i *first, __m512i *second)
{
    static const uint16_t index[32] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,
                                       37, 6,  38, 7,  39, 8,  40, 9,  41, 10, 42,
                                       11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
    const __m512i low = _mm512_loadu_si512(index);
    *first = _mm512_permutex2var_epi16(x, low, y);
    *second = _mm512_permutex2var_epi16(x, _mm512_add_epi16(low, _mm512_set1_epi16(16)), y);
}

/* Rows as the rows of A, ceil(p / 32) tiles each: 16 * row_tiles rows. Returns whether all is
 * finite. */
static bool pack_rows_a(const source *s, int64_t row_tiles, uint16_t *to)
{
    const int64_t ld = tiles(s->p, TILE_INNER);
    __mmask32 odd = 0;
    for (int64_t k = 0; k < ld; k++) {
        const __mmask32 valid = valid_values(s->p, k * TILE_INNER);
        for (int64_t i = 0; i < row_tiles * TILE_ROWS; i++)
            _mm512_storeu_si512(to + (i / TILE_ROWS * ld + k) * TILE_LEN +
                                    i % TILE_ROWS * TILE_INNER,
                                source_load(s->row[i], valid, k * TILE_INNER, &odd));
    }
    return odd == 0;
}

NBI_INLINE void store_square(vf t[TILE_ROWS], uint16_t *tile)
{
    transpose(t);
#pragma GCC unroll 16
    for (int i = 0; i < TILE_ROWS; i++)
        vf_store((float *)(void *)(tile + i * TILE_INNER), t[i]);
}

/* Rows as the columns of B (their values are the inner index): 16 * column_tiles of them. */
static bool pack_columns_b(const source *s, int64_t column_tiles, uint16_t *to)
{
    const int64_t ld = tiles(s->p, TILE_INNER);
    __mmask32 odd = 0;
    for (int64_t j = 0; j < column_tiles; j++)
        for (int64_t k = 0; k < ld; k++, to += TILE_LEN) {
            const __mmask32 valid = valid_values(s->p, k * TILE_INNER);
            vf t[TILE_ROWS];
#pragma GCC unroll 16
            for (int i = 0; i < TILE_ROWS; i++)
                t[i] = (vf)source_load(s->row[j * TILE_ROWS + i], valid, k * TILE_INNER, &odd);
            store_square(t, to);
        }
    return odd == 0;
}

/* Rows as the inner index of B: 32 * inner_tiles rows, their values are the columns, an even number
 * of tiles; ld tiles between the columns. */
static bool pack_inner_b(const source *s, int64_t inner_tiles, int64_t ld, uint16_t *to)
{
    __mmask32 odd = 0;
    for (int64_t c = 0; c < s->p; c += TILE_INNER) {
        const __mmask32 valid = valid_values(s->p, c);
        for (int64_t i = 0; i < inner_tiles * TILE_INNER; i += 2) {
            __m512i first, second;
            uint16_t *tile = to + (c / TILE_ROWS * ld + i / TILE_INNER) * TILE_LEN +
                             i % TILE_INNER / 2 * TILE_INNER;
            pair_rows(source_load(s->row[i], valid, c, &odd),
                      source_load(s->row[i + 1], valid, c, &odd), &first, &second);
            _mm512_storeu_si512(tile, first);
            _mm512_storeu_si512(tile + ld * TILE_LEN, second);
        }
    }
    return odd == 0;
}

/* Rows as the inner index of A, whose rows are their values; otherwise the same. */
static bool pack_inner_a(const source *s, int64_t inner_tiles, int64_t ld, uint16_t *to)
{
    __mmask32 odd = 0;
    for (int64_t c = 0; c < s->p; c += TILE_INNER) {
        const __mmask32 valid = valid_values(s->p, c);
        for (int64_t k = 0; k < inner_tiles; k++) {
            const uint16_t *const *row = s->row + k * TILE_INNER;
            uint16_t *tile = to + (c / TILE_ROWS * ld + k) * TILE_LEN;
            vf t[TILE_ROWS], u[TILE_ROWS];
#pragma GCC unroll 16
            for (int i = 0; i < TILE_ROWS; i++) {
                __m512i first, second;
                pair_rows(source_load(row[2 * i], valid, c, &odd),
                          source_load(row[2 * i + 1], valid, c, &odd), &first, &second);
                t[i] = (vf)first;
                u[i] = (vf)second;
            }
            store_square(t, tile);
            store_square(u, tile + ld * TILE_LEN);
        }
    }
    return odd == 0;
}

/* 32 values rounded: those of x, then those of y. */
NBI_INLINE __m512i round_two(vf x, vf y)
{
    return (__m512i)_mm512_cvtne2ps_pbh((__m512)y, (__m512)x);
}

/* A product of operands as above, c[16 * mt][16 * nt] += a b; the inner index counts ks tiles; mt
 * is even. The file that includes this one has multiply_block(t, i, j, w), the rows of tiles i and
 * i + 1 by the columns of j and, if there is one, j + 1; unless w is NULL it may leave the result
 * for the next piece or multiply_finish(w). */
typedef struct tile_product {
    int64_t mt, nt, ks;
    const uint16_t *a;
    int64_t lda;
    const uint16_t *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    bool add; /* else c is assigned */
} tile_product;

/* The same term by term, leaving out those in which a (`zero_a`) or b is zero, whatever the other
 * one is: zero times NaN is NaN. */
__attribute__((noinline)) static void multiply_seen(const tile_product *t, bool zero_a)
{
    for (int64_t i = 0; i < t->mt * TILE_ROWS; i++)
        for (int64_t j = 0; j < t->nt * TILE_ROWS; j++) {
            float sum = t->add ? t->c[i * t->ldc + j] : 0.0f;
            for (int64_t k = 0; k < t->ks * TILE_INNER; k++) {
                const int64_t tile = k / TILE_INNER, in = k % TILE_INNER;
                const uint16_t x = t->a[(i / TILE_ROWS * t->lda + tile) * TILE_LEN +
                                        i % TILE_ROWS * TILE_INNER + in];
                const uint16_t y = t->b[(j / TILE_ROWS * t->ldb + tile) * TILE_LEN +
                                        in / 2 * TILE_INNER + j % TILE_ROWS * 2 + in % 2];
                if (zero_a ? x & 0x7fff : y & 0x7fff)
                    sum += nb_bf16_to_f32(x) * nb_bf16_to_f32(y);
            }
            t->c[i * t->ldc + j] = sum;
        }
}

/* A piece whose result is still in registers: stores that wait for products hold up the vector work
 * behind them. */
typedef struct waiting {
    float *c;
    int64_t ldc;
    bool some, wide;
} waiting;

/* Products that wait to be done in pieces between other work: tiles and vectors then run at once.
 * Queues that take turns share what waits; NULL: nothing does. */
typedef struct product_queue {
    tile_product t[2 * ROW_MAX / TILE_INNER];
    int first, n;
    int64_t i, j;
    waiting *w;
} product_queue;

static void multiply_block(const tile_product *t, int64_t i, int64_t j, waiting *w);
static void multiply_finish(waiting *w);

static void queue_push(product_queue *q, const tile_product *t)
{
    if (q->first == q->n)
        q->first = q->n = 0;
    assert(q->n < (int)(sizeof(q->t) / sizeof(q->t[0])));
    q->t[q->n++] = *t;
}

/* The next piece; false when there is none. */
NBI_INLINE bool queue_step(product_queue *q)
{
    if (q->first == q->n)
        return false;
    const tile_product *t = &q->t[q->first];
    multiply_block(t, q->i, q->j, q->w);
    q->i += 2;
    if (q->i < t->mt)
        return true;
    q->i = 0;
    q->j += 2;
    if (q->j >= t->nt) {
        q->j = 0;
        q->first++;
    }
    return true;
}

/* All results of the queue are in place. */
static void queue_drain(product_queue *q)
{
    while (queue_step(q))
        ;
    if (q->w)
        multiply_finish(q->w);
}

#endif
