/* SPDX-License-Identifier: MIT */
/* Dropout whose mask is a pure function of what is dropped: philox4x32-10 with counter {channel/4,
 * token, example, epoch} and a key made of seed, purpose and site; word channel%4 of the block. */
#ifndef NB_DROPOUT_TMPL_H
#define NB_DROPOUT_TMPL_H

#include <assert.h>
#include <math.h>
#include "base/rng.h"
#include "kernel/variants.h"
#include "kernel/vec_typed.h"

/* nbi_philox for the NBI_W counters {first + i, rest}: out holds the words of one block after those
 * of the other. */
static void philox_lanes(uint32_t first, const uint32_t rest[3], const uint32_t key[2],
                         uint32_t out[4 * NBI_W])
{
#define NBI_IOTA(i) (i)
    const vu iota = {NBI_LANES(NBI_IOTA)};
#undef NBI_IOTA
    vu c0 = iota + first, c1 = (vu){0} + rest[0], c2 = (vu){0} + rest[1], c3 = (vu){0} + rest[2];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const vu low0 = c0 * 0xD2511F53u, low1 = c2 * 0xCD9E8D57u;
        const vu high0 = vu_mul_high(c0, 0xD2511F53u), high1 = vu_mul_high(c2, 0xCD9E8D57u);
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < NBI_W; i++) {
        out[4 * i] = c0[i];
        out[4 * i + 1] = c1[i];
        out[4 * i + 2] = c2[i];
        out[4 * i + 3] = c3[i];
    }
}

NBI_INLINE void dropout_row(const nb_dropout_args *a, const nb_dtype X, const nb_dtype Y, int64_t r,
                            const uint32_t key[2], uint32_t limit, float scale)
{
    const uint32_t rest[3] = {(uint32_t)a->token[r], (uint32_t)a->example[r], a->epoch};
    const void *x = nb_elem(a->x, X, r * (a->ldx ? a->ldx : a->d));
    void *y = nb_elem(a->y, Y, r * (a->ldy ? a->ldy : a->d));
    for (int64_t c = 0; c < a->d; c += 4 * NBI_W) {
        uint32_t u[4 * NBI_W];
        philox_lanes((uint32_t)(c / 4), rest, key, u);
        for (int64_t i = 0; i < 4 * NBI_W && c + i < a->d; i += NBI_W) {
            const int l = a->d - c - i < NBI_W ? (int)(a->d - c - i) : NBI_W;
            vu word;
            memcpy(&word, u + i, sizeof(word));
            const vi keep = (vi)(word >> 8) >= (int32_t)limit;
            vf v = (vf)((vi)(vf_load_t(x, X, c + i, l) * scale) & keep);
            if (a->accumulate)
                v += vf_load_t(y, Y, c + i, l);
            vf_store_t(y, Y, c + i, v, l);
        }
    }
}

void NBI_ISA(dropout)(const nb_dropout_args *a)
{
    assert(a->p >= 0.0f && a->p < 1.0f);
    assert(a->x != a->y || a->x_dtype == a->y_dtype);
    uint32_t block[4];
    const uint32_t ctr[4] = {NBI_RNG_DROPOUT, a->site, 0, 0};
    const uint32_t seed[2] = {(uint32_t)a->seed, (uint32_t)(a->seed >> 32)};
    nbi_philox(ctr, seed, block);
    /* uniform u = (word >> 8) * 2^-24 >= p, in integers */
    const uint32_t limit = (uint32_t)ceil((double)a->p * 0x1p24);
    const float scale = 1.0f / (1.0f - a->p);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 2 * a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        NBI_FOR_DTYPE(a->x_dtype, X,
                      NBI_FOR_DTYPE(a->y_dtype, Y, dropout_row(a, X, Y, r, block, limit, scale)));
}

#endif
