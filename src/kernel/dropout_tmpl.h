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

enum { PHILOX_ROUNDS = 10, PHILOX_BLOCKS = NBI_W / 2 };

typedef struct philox_keys {
    uint64_t k[PHILOX_ROUNDS][2];
} philox_keys;

static philox_keys philox_schedule(const uint32_t key[2])
{
    philox_keys p;
    for (uint32_t r = 0; r < PHILOX_ROUNDS; r++) {
        p.k[r][0] = key[0] + r * 0x9E3779B9u;
        p.k[r][1] = key[1] + r * 0xBB67AE85u;
    }
    return p;
}

#if NBI_W == 16
#define NBI_HALF_LANES(F) F(0), F(1), F(2), F(3), F(4), F(5), F(6), F(7)
#elif NBI_W == 8
#define NBI_HALF_LANES(F) F(0), F(1), F(2), F(3)
#else
#define NBI_HALF_LANES(F) F(0), F(1)
#endif
#define NBI_IOTA(i) (i)
#define NBI_LOW_PAIR(i) ((i) / 2 + ((i) % 2) * PHILOX_BLOCKS)
#define NBI_HIGH_PAIR(i) ((i) / 2 + ((i) % 2) * PHILOX_BLOCKS + PHILOX_BLOCKS / 2)

/* The upper halves in the place of the lower ones: shuffles run beside products where shifts would
 * wait for the same unit. */
NBI_INLINE vq vq_high(vq a)
{
#define NBI_ODD(i) ((i) | 1)
    return (vq)__builtin_shufflevector((vu)a, (vu)a, NBI_LANES(NBI_ODD));
#undef NBI_ODD
}

NBI_INLINE vq vq_xor3(vq a, vq b, vq c)
{
#if NBI_W == 16
    return (vq)_mm512_ternarylogic_epi64((__m512i)a, (__m512i)b, (__m512i)c, 0x96);
#else
    return a ^ b ^ c;
#endif
}

/* nbi_philox for the PHILOX_BLOCKS counters {first + i, rest}: the words of one block after those
 * of the other. Each 64-bit lane belongs to a counter; only its lower half counts, and products
 * look at nothing else, so that nothing needs to be cleared or moved between the rounds. */
NBI_INLINE void philox_lanes(uint32_t first, const uint32_t rest[3], const philox_keys *p,
                             vu out[2])
{
    vq c0 = (vq){NBI_HALF_LANES(NBI_IOTA)} + first, c1 = (vq){0} + rest[0], c2 = (vq){0} + rest[1],
       c3 = (vq){0} + rest[2];
    for (int r = 0; r < PHILOX_ROUNDS; r++) {
        const vq m0 = vq_mul_low(c0, (vq){0} + 0xD2511F53u);
        const vq m1 = vq_mul_low(c2, (vq){0} + 0xCD9E8D57u);
        c0 = vq_xor3(vq_high(m1), c1, (vq){0} + p->k[r][0]);
        c1 = m1;
        c2 = vq_xor3(vq_high(m0), c3, (vq){0} + p->k[r][1]);
        c3 = m0;
    }
    const vq w01 = (c0 & 0xffffffffu) | c1 << 32, w23 = (c2 & 0xffffffffu) | c3 << 32;
    out[0] = (vu)__builtin_shufflevector(w01, w23, NBI_HALF_LANES(NBI_LOW_PAIR));
    out[1] = (vu)__builtin_shufflevector(w01, w23, NBI_HALF_LANES(NBI_HIGH_PAIR));
}

typedef struct dropped_row {
    const void *x;
    void *y;
    vu limit;
    vf scale;
} dropped_row;

NBI_INLINE vf dropout_of(const dropped_row *d, const nb_dtype X, const nb_dtype Y,
                         const bool accumulate, vu word, int64_t i, int l)
{
    const vf v = vf_where_ge(word, d->limit, vf_load_t(d->x, X, i, l) * d->scale);
    return accumulate ? v + vf_load_t(d->y, Y, i, l) : v;
}

NBI_INLINE void dropout_row(const nb_dropout_args *a, const nb_dtype X, const nb_dtype Y,
                            const bool accumulate, int64_t r, const philox_keys *p, uint32_t limit,
                            float scale)
{
    const uint32_t rest[3] = {(uint32_t)a->token[r], (uint32_t)a->example[r], a->epoch};
    const dropped_row d = {.x = nb_elem(a->x, X, r * (a->ldx ? a->ldx : a->d)),
                           .y = nb_elem(a->y, Y, r * (a->ldy ? a->ldy : a->d)),
                           .limit = (vu){0} + limit,
                           .scale = vf_set1(scale)};
    vu word[2];
    int64_t i = 0;
    for (; i + 2 * NBI_W <= a->d; i += 2 * NBI_W) {
        philox_lanes((uint32_t)(i / 4), rest, p, word);
        vf2_store_ordered(d.y, Y, i,
                          (vf2){dropout_of(&d, X, Y, accumulate, word[0], i, NBI_W),
                                dropout_of(&d, X, Y, accumulate, word[1], i + NBI_W, NBI_W)});
    }
    if (i < a->d)
        philox_lanes((uint32_t)(i / 4), rest, p, word);
    for (int k = 0; i < a->d; k++, i += NBI_W) {
        const int l = a->d - i < NBI_W ? (int)(a->d - i) : NBI_W;
        vf_store_t(d.y, Y, i, dropout_of(&d, X, Y, accumulate, word[k], i, l), l);
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
    const philox_keys keys = philox_schedule(block);
    /* uniform u = (word >> 8) * 2^-24 >= p, in integers */
    const uint32_t limit = (uint32_t)ceil((double)a->p * 0x1p24) << 8;
    const float scale = 1.0f / (1.0f - a->p);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 2 * a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        NBI_FOR_DTYPE(a->x_dtype, X, NBI_FOR_DTYPE(a->y_dtype, Y, {
                          if (a->accumulate)
                              dropout_row(a, X, Y, true, r, &keys, limit, scale);
                          else
                              dropout_row(a, X, Y, false, r, &keys, limit, scale);
                      }));
}

#endif
