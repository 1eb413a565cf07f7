/* SPDX-License-Identifier: MIT */
/* Uniform noise from the same counters as dropout's. */
#ifndef NB_NOISE_TMPL_H
#define NB_NOISE_TMPL_H

#include "kernel/dropout_tmpl.h"

NBI_INLINE vf noise_of(vu word, vf scale)
{
    const vf u = __builtin_convertvector((vi)(word >> 8), vf) * 0x1p-23f - 1.0f;
    return u * scale;
}

void NBI_ISA(noise)(const nb_noise_args *a)
{
    uint32_t block[4];
    const uint32_t ctr[4] = {NBI_RNG_NEFTUNE, 0, 0, 0};
    const uint32_t seed[2] = {(uint32_t)a->seed, (uint32_t)(a->seed >> 32)};
    nbi_philox(ctr, seed, block);
    const philox_keys keys = philox_schedule(block);
    const vf scale = vf_set1(a->scale);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 2 * a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++) {
        const uint32_t rest[3] = {(uint32_t)a->token[r], (uint32_t)a->example[r], a->epoch};
        float *y = a->y + r * a->d;
        vu word[2];
        for (int64_t i = 0; i < a->d;) {
            philox_lanes((uint32_t)(i / 4), rest, &keys, word);
            for (int k = 0; k < 2 && i < a->d; k++, i += NBI_W) {
                const int l = a->d - i < NBI_W ? (int)(a->d - i) : NBI_W;
                vf_store_n(y + i, vf_load_n(y + i, l) + noise_of(word[k], scale), l);
            }
        }
    }
}

#endif
