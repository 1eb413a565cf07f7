/* SPDX-License-Identifier: MIT */
/* Products on tiles of 16 x 32 values of bf16. */
#if !defined(__AMX_TILE__) || !defined(__AMX_BF16__) || !defined(__AVX512BF16__)
#error "compile with -mamx-tile -mamx-bf16 -mavx512bf16 and what these need"
#endif
#define NBI_ISA(name) nbi_##name##_amx
enum { UNIT = 32 };
#include "kernel/bgemm_tmpl.h"

/* What ldtilecfg reads. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config;

static void tile_begin(void)
{
    tile_config c = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = LINE_BYTES;
        c.rows[i] = SIDE;
    }
    _tile_loadconfig(&c);
}

static void tile_end(void)
{
    _tile_release();
}

enum { SUM_BYTES = COLS * 4, SUM_TILE = SIDE * COLS };

/* The step of both loops of multiply that does not touch tiles. */
NBI_INLINE void beside(const product *g, const block *before, int64_t from, int64_t rows,
                       const unsigned char *ahead, int lines)
{
    for (int i = 0; i < lines; i++)
        _mm_prefetch((const char *)ahead + i * LINE_BYTES, _MM_HINT_T1);
    settle(g, before, from, from + rows);
}

/* Tiles 0 to 3 sum, 4 and 5 are the left operand, 6 and 7 the right one. Tiles do not wait for the
 * block before, so its sums move while they multiply. */
static void multiply(const product *g, const unsigned char *a, const unsigned char *b,
                     int64_t chunks, const block *now, const block *before,
                     const unsigned char *ahead, int lines)
{
    const int64_t per = (UNIT + chunks - 1) / chunks;
    float *part = now->part;
    int64_t done = 0;
    __asm__ volatile("" ::: "memory"); /* the compiler does not see what tiles read */
    _tile_zero(0);
    _tile_zero(1);
    if (now->rows <= SIDE) {
        for (; chunks > 0; chunks--, a += 2 * SQUARE_BYTES, b += 2 * SQUARE_BYTES) {
            _tile_loadd(4, a, LINE_BYTES);
            _tile_loadd(6, b, LINE_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + SQUARE_BYTES, LINE_BYTES);
            _tile_dpbf16ps(1, 4, 7);
            beside(g, before, done, per, ahead, lines);
            done += per;
            ahead += lines * LINE_BYTES;
        }
    } else {
        _tile_zero(2);
        _tile_zero(3);
        for (; chunks > 0; chunks--, a += 2 * SQUARE_BYTES, b += 2 * SQUARE_BYTES) {
            _tile_loadd(4, a, LINE_BYTES);
            _tile_loadd(6, b, LINE_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + SQUARE_BYTES, LINE_BYTES);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a + SQUARE_BYTES, LINE_BYTES);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
            beside(g, before, done, per, ahead, lines);
            done += per;
            ahead += lines * LINE_BYTES;
        }
        _tile_stored(2, part + SUM_TILE, SUM_BYTES);
        _tile_stored(3, part + SUM_TILE + SIDE, SUM_BYTES);
    }
    _tile_stored(0, part, SUM_BYTES);
    _tile_stored(1, part + SIDE, SUM_BYTES);
}
