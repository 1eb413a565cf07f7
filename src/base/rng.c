/* SPDX-License-Identifier: MIT */
#include "base/rng.h"

#include <math.h>

void nbi_philox(const uint32_t ctr[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = ctr[0], c1 = ctr[1], c2 = ctr[2], c3 = ctr[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void nbi_rng_init(nbi_rng *r, uint64_t seed, nbi_rng_purpose purpose, uint64_t stream)
{
    const uint32_t from[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t ctr[4] = {(uint32_t)purpose, 0, 0, 0};
    uint32_t out[4];
    nbi_philox(ctr, from, out);
    r->key[0] = out[0];
    r->key[1] = out[1];
    r->stream = stream;
    r->counter = 0;
    r->left = 0;
    r->block[0] = r->block[1] = r->block[2] = r->block[3] = 0;
}

uint32_t nbi_rng_u32(nbi_rng *r)
{
    if (r->left == 0) {
        const uint32_t ctr[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32),
                                 (uint32_t)r->stream, (uint32_t)(r->stream >> 32)};
        nbi_philox(ctr, r->key, r->block);
        r->counter++;
        r->left = 4;
    }
    return r->block[4 - r->left--];
}

uint64_t nbi_rng_u64(nbi_rng *r)
{
    uint64_t lo = nbi_rng_u32(r);
    return lo | (uint64_t)nbi_rng_u32(r) << 32;
}

float nbi_rng_f32(nbi_rng *r)
{
    return (float)(nbi_rng_u32(r) >> 8) * 0x1p-24f;
}

double nbi_rng_f64(nbi_rng *r)
{
    return (double)(nbi_rng_u64(r) >> 11) * 0x1p-53;
}

uint64_t nbi_rng_below(nbi_rng *r, uint64_t n)
{
    /* the lowest 2^64 mod n values are thrown away, so that each remainder is equally likely */
    uint64_t skip = (0 - n) % n, x;
    do
        x = nbi_rng_u64(r);
    while (x < skip);
    return x % n;
}

double nbi_rng_normal(nbi_rng *r)
{
    double u = 1.0 - nbi_rng_f64(r); /* in (0, 1]: the logarithm is finite */
    double v = nbi_rng_f64(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}

void nbi_rng_shuffle(nbi_rng *r, uint32_t *v, uint64_t n)
{
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = nbi_rng_below(r, i);
        uint32_t t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}
