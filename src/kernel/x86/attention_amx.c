/* SPDX-License-Identifier: MIT */
/* Attention with the products on AMX tile registers. */
/* the name of older clangs has no second underscore */
#if !(defined(__AMX_BF16__) || defined(__AMXBF16__)) || !defined(__AVX512BF16__)
#error "compile with -mamx-tile -mamx-bf16 -mavx512bf16"
#endif
#define NBI_ISA(name) nbi_##name##_amx
#include "kernel/amx_config.h"
#include "kernel/bf16_tiles.h"

static void multiply_begin(void)
{
    amx_begin();
}

static void multiply_end(void)
{
    amx_end();
}

/* Tile registers: 0-3 results, 4-5 of A, 6-7 of B. */
NBI_INLINE void store_four(const waiting *w)
{
    const long ld = w->ldc * (long)sizeof(float);
    float *c1 = w->c + TILE_ROWS * w->ldc;
    _tile_stored(0, w->c, ld);
    _tile_stored(2, c1, ld);
    if (w->wide) {
        _tile_stored(1, w->c + TILE_ROWS, ld);
        _tile_stored(3, c1 + TILE_ROWS, ld);
    }
}

__attribute__((noinline)) static void multiply_finish(waiting *w)
{
    if (w->some)
        store_four(w);
    w->some = false;
    __asm__ volatile("" ::: "memory"); /* the compiler does not see what tiles write */
}

/* 2 x 2 tiles of the result, or 2 x 1. */
NBI_INLINE void multiply_four(const tile_product *t, const waiting *w, int64_t i, int64_t j)
{
    const uint16_t *a0 = t->a + i * t->lda * TILE_LEN, *a1 = a0 + t->lda * TILE_LEN;
    const uint16_t *b0 = t->b + j * t->ldb * TILE_LEN, *b1 = b0 + t->ldb * TILE_LEN;
    float *c1 = w->c + TILE_ROWS * w->ldc;
    const long ld = t->ldc * (long)sizeof(float);
    const bool wide = w->wide;
    if (t->add) {
        _tile_loadd(0, w->c, ld);
        _tile_loadd(2, c1, ld);
        if (wide) {
            _tile_loadd(1, w->c + TILE_ROWS, ld);
            _tile_loadd(3, c1 + TILE_ROWS, ld);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < t->ks * TILE_LEN; k += TILE_LEN) {
        _tile_loadd(4, a0 + k, 2 * TILE_INNER);
        _tile_loadd(6, b0 + k, 2 * TILE_INNER);
        _tile_loadd(5, a1 + k, 2 * TILE_INNER);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(2, 5, 6);
        if (wide) {
            _tile_loadd(7, b1 + k, 2 * TILE_INNER);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
}

__attribute__((noinline)) static void multiply_block(const tile_product *t, int64_t i, int64_t j,
                                                     waiting *w)
{
    __asm__ volatile("" ::: "memory"); /* nor what they read */
    const waiting now = {t->c + (i * t->ldc + j) * TILE_ROWS, t->ldc, true, j + 1 < t->nt};
    if (w && w->some)
        store_four(w);
    multiply_four(t, &now, i, j);
    if (w)
        *w = now;
    else
        store_four(&now);
}

#include "kernel/attention_tile_bwd_tmpl.h"
