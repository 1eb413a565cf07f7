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

/* Tiles 0 to 3 sum, 4 and 5 are the left operand, 6 and 7 the right one. */
static void multiply(const unsigned char *a, const unsigned char *b, int64_t chunks, int64_t rows,
                     int64_t cols, float *sum, bool add)
{
    (void)cols;
    __asm__ volatile("" ::: "memory"); /* the compiler does not see what tiles read */
    if (add) {
        _tile_loadd(0, sum, SUM_BYTES);
        _tile_loadd(1, sum + SIDE, SUM_BYTES);
        _tile_loadd(2, sum + SUM_TILE, SUM_BYTES);
        _tile_loadd(3, sum + SUM_TILE + SIDE, SUM_BYTES);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    if (rows <= SIDE) {
        for (; chunks > 0; chunks--, a += 2 * SQUARE_BYTES, b += 2 * SQUARE_BYTES) {
            _tile_loadd(4, a, LINE_BYTES);
            _tile_loadd(6, b, LINE_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + SQUARE_BYTES, LINE_BYTES);
            _tile_dpbf16ps(1, 4, 7);
        }
    } else {
        for (; chunks > 0; chunks--, a += 2 * SQUARE_BYTES, b += 2 * SQUARE_BYTES) {
            _tile_loadd(4, a, LINE_BYTES);
            _tile_loadd(6, b, LINE_BYTES);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, b + SQUARE_BYTES, LINE_BYTES);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, a + SQUARE_BYTES, LINE_BYTES);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, sum, SUM_BYTES);
    _tile_stored(1, sum + SIDE, SUM_BYTES);
    if (rows > SIDE) {
        _tile_stored(2, sum + SUM_TILE, SUM_BYTES);
        _tile_stored(3, sum + SUM_TILE + SIDE, SUM_BYTES);
    }
}
