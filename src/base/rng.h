/* SPDX-License-Identifier: MIT */
/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3", 2011). A number is a pure function of key and counter, so nothing has to be saved. */
#ifndef NBI_RNG_H
#define NBI_RNG_H

#include <stdint.h>

/* What a stream is for; part of the key, so that streams never meet. Numbers are stored nowhere but
 * must not change between versions. */
typedef enum nbi_rng_purpose {
    NBI_RNG_INIT = 1,
    NBI_RNG_SHUFFLE = 2,
    NBI_RNG_DROPOUT = 3,
    NBI_RNG_SAMPLE = 4,
    NBI_RNG_SPLIT = 5,
    NBI_RNG_NEFTUNE = 6
} nbi_rng_purpose;

/* out = philox4x32-10(ctr, key). */
void nbi_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4]);

/* A sequential view: stream `stream` of (seed, purpose). Copyable, 4 numbers a block. */
typedef struct nbi_rng {
    uint32_t key[2];
    uint64_t stream;
    uint64_t counter;
    uint32_t block[4];
    unsigned left;
} nbi_rng;

/* key is derived from seed and purpose by one philox block, so that nearby seeds share nothing. */
void nbi_rng_init(nbi_rng *r, uint64_t seed, nbi_rng_purpose purpose, uint64_t stream);
uint32_t nbi_rng_u32(nbi_rng *r);
uint64_t nbi_rng_u64(nbi_rng *r);
/* Uniform in [0, 1) with 24 resp. 53 bits. */
float nbi_rng_f32(nbi_rng *r);
double nbi_rng_f64(nbi_rng *r);
/* Uniform in [0, n) without bias, n > 0. */
uint64_t nbi_rng_below(nbi_rng *r, uint64_t n);
/* Normal with mean 0 and deviation 1 (Box-Muller). */
double nbi_rng_normal(nbi_rng *r);
/* Fisher-Yates over v[n]. */
void nbi_rng_shuffle(nbi_rng *r, uint32_t *v, uint64_t n);

#endif
