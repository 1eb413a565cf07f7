/* SPDX-License-Identifier: MIT */
/* Attention with dot products of bf16 pairs on vector registers. */
#if !defined(__AVX512BF16__) || !defined(__AVX512BW__)
#error "compile with -mavx512bf16 and what it needs"
#endif
#define NBI_ISA(name) nbi_##name##_avx512bf16
#include "kernel/bf16_tiles.h"

/* Nothing to set up. */
static void multiply_begin(void) {}

static void multiply_end(void) {}

enum { ROWS = 8 }; /* of the result in registers, 16 or 32 columns */

NBI_INLINE void multiply_rows(const tile_product *t, int64_t i, int64_t j, const int nv)
{
    const uint16_t *a = t->a + i / TILE_ROWS * t->lda * TILE_LEN + i % TILE_ROWS * TILE_INNER;
    const uint16_t *b = t->b + j * t->ldb * TILE_LEN;
    float *c = t->c + i * t->ldc + j * TILE_ROWS;
    __m512 acc[ROWS][2];
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++)
            acc[r][v] = t->add ? _mm512_loadu_ps(c + r * t->ldc + v * NBI_W) : _mm512_setzero_ps();
    for (int64_t k = 0; k < t->ks; k++, a += TILE_LEN, b += TILE_LEN)
        for (int pair = 0; pair < TILE_ROWS; pair++) {
            __m512bh y[2];
#pragma GCC unroll 2
            for (int v = 0; v < nv; v++)
                y[v] = (__m512bh)_mm512_loadu_si512(b + v * t->ldb * TILE_LEN + pair * TILE_INNER);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                int32_t two;
                memcpy(&two, a + r * TILE_INNER + 2 * pair, sizeof(two));
                const __m512bh x = (__m512bh)_mm512_set1_epi32(two);
#pragma GCC unroll 2
                for (int v = 0; v < nv; v++)
                    acc[r][v] = _mm512_dpbf16_ps(acc[r][v], x, y[v]);
            }
        }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int v = 0; v < nv; v++)
            _mm512_storeu_ps(c + r * t->ldc + v * NBI_W, acc[r][v]);
}

static void multiply_finish(waiting *w)
{
    (void)w;
}

static void multiply_block(const tile_product *t, int64_t i, int64_t j, waiting *w)
{
    (void)w;
    for (int64_t r = i * TILE_ROWS; r < (i + 2) * TILE_ROWS; r += ROWS) {
        if (j + 1 < t->nt)
            multiply_rows(t, r, j, 2);
        else
            multiply_rows(t, r, j, 1);
    }
}

#include "kernel/attention_tile_bwd_tmpl.h"
