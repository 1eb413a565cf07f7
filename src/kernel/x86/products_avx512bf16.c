/* SPDX-License-Identifier: MIT */
/* Products with dot products of pairs of bf16. */
#if !defined(__AVX512BF16__) || !defined(__AVX512BW__) || !defined(__AVX512VL__)
#error "compile with -mavx512bf16 and what it needs"
#endif
#define NBI_ISA(name) nbi_##name##_avx512bf16
enum { UNIT = 12 };
#include "kernel/bgemm_tmpl.h"
#include "kernel/thin_tmpl.h"

static void tile_begin(void) {}

static void tile_end(void) {}

NBI_INLINE void multiply_rows(const int rows, const int halves, const unsigned char *a,
                              const unsigned char *b, int64_t chunks, float *part)
{
    __m512 acc[UNIT][2];
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++)
            acc[i][h] = _mm512_setzero_ps();
    for (; chunks > 0; chunks--, a += UNIT * LINE_BYTES, b += 2 * SQUARE_BYTES) {
        for (int p = 0; p < SIDE; p++) {
            const __m512bh b0 = (__m512bh)_mm512_load_si512(b + p * LINE_BYTES);
            const __m512bh b1 =
                (__m512bh)_mm512_load_si512(b + (halves - 1) * SQUARE_BYTES + p * LINE_BYTES);
#pragma GCC unroll 12
            for (int i = 0; i < rows; i++) {
                int32_t pair;
                memcpy(&pair, a + i * LINE_BYTES + p * 4, 4);
                const __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                acc[i][0] = _mm512_dpbf16_ps(acc[i][0], x, b0);
                if (halves > 1)
                    acc[i][1] = _mm512_dpbf16_ps(acc[i][1], x, b1);
            }
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int h = 0; h < halves; h++)
            _mm512_store_ps(part + i * COLS + h * SIDE, acc[i][h]);
}

static void multiply(const product *g, const unsigned char *a, const unsigned char *b,
                     int64_t chunks, const block *now, const errands *beside)
{
    settle(g, beside->before, 0);
    const bool wide = now->cols > SIDE;
#define NBI_ROWS(n)                                                                                \
    case n:                                                                                        \
        if (wide)                                                                                  \
            multiply_rows(n, 2, a, b, chunks, now->part);                                          \
        else                                                                                       \
            multiply_rows(n, 1, a, b, chunks, now->part);                                          \
        break;
    switch (now->rows) {
        NBI_ROWS(1)
        NBI_ROWS(2)
        NBI_ROWS(3)
        NBI_ROWS(4)
        NBI_ROWS(5)
        NBI_ROWS(6)
        NBI_ROWS(7)
        NBI_ROWS(8)
        NBI_ROWS(9)
        NBI_ROWS(10)
        NBI_ROWS(11)
        NBI_ROWS(12)
    default:
        break;
    }
#undef NBI_ROWS
}
