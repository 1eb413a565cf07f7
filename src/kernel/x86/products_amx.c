/* SPDX-License-Identifier: MIT */
/* Products on tiles of 16 x 32 values of bf16. */
/* the name of older clangs has no second underscore */
#if !(defined(__AMX_BF16__) || defined(__AMXBF16__)) || !defined(__AVX512BF16__)
#error "compile with -mamx-tile -mamx-bf16 -mavx512bf16 and what these need"
#endif
#define NBI_ISA(name) nbi_##name##_amx
enum { UNIT = 32 };
#include "kernel/amx_config.h"
#include "kernel/bgemm_tmpl.h"

static void tile_begin(void)
{
    amx_begin();
}

static void tile_end(void)
{
    amx_end();
}

enum { SUM_BYTES = COLS * 4, SUM_TILE = SIDE * COLS };

/* Tiles 0 to 3 sum, 4 and 5 are the left operand, 6 and 7 the right one. The left one is read from
 * the second level and passes by the first (the hint of stream loads), where the strip stays. */
NBI_INLINE void step(const unsigned char *a, const unsigned char *b, const bool tall)
{
    _tile_stream_loadd(4, a, LINE_BYTES);
    _tile_loadd(6, b, LINE_BYTES);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + SQUARE_BYTES, LINE_BYTES);
    _tile_dpbf16ps(1, 4, 7);
    if (tall) {
        _tile_stream_loadd(5, a + SQUARE_BYTES, LINE_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

/* Tiles do not wait for errands nor these for tiles: two rows a chunk of the block before. */
NBI_INLINE void multiply_as(const product *g, const unsigned char *a, const unsigned char *b,
                            int64_t chunks, const bool tall, const errands *e, const ending how)
{
    const int64_t settling = min_i64(chunks, UNIT / 2);
    int64_t i = 0;
    for (; i < settling; i++, a += 2 * SQUARE_BYTES, b += 2 * SQUARE_BYTES) {
        step(a, b, tall);
        run_errands(g, e, how, i);
    }
    for (; i < chunks; i++, a += 2 * SQUARE_BYTES, b += 2 * SQUARE_BYTES) {
        step(a, b, tall);
        run_errands(g, e, NOTHING, i);
    }
    settle(g, e->before, how == NOTHING ? 0 : 2 * settling);
}

static void multiply(const product *g, const unsigned char *a, const unsigned char *b,
                     int64_t chunks, const block *now, const errands *beside)
{
    float *part = now->part;
    __asm__ volatile("" ::: "memory"); /* the compiler does not see what tiles read */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    const ending how = block_ending(beside->before);
    if (now->rows <= SIDE)
        multiply_as(g, a, b, chunks, false, beside, NOTHING);
    else if (how == ADD)
        multiply_as(g, a, b, chunks, true, beside, ADD);
    else if (how == BEGIN)
        multiply_as(g, a, b, chunks, true, beside, BEGIN);
    else if (how == WRITE)
        multiply_as(g, a, b, chunks, true, beside, WRITE);
    else
        multiply_as(g, a, b, chunks, true, beside, NOTHING);
    _tile_stored(0, part, SUM_BYTES);
    _tile_stored(1, part + SIDE, SUM_BYTES);
    _tile_stored(2, part + SUM_TILE, SUM_BYTES);
    _tile_stored(3, part + SUM_TILE + SIDE, SUM_BYTES);
}
