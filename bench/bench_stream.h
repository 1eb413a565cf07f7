/* SPDX-License-Identifier: MIT */
/* The speed at which this machine reads memory once, the limit of generation. */
#ifndef NB_BENCH_STREAM_H
#define NB_BENCH_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include "base/clock.h"

/* Reads bytes / 64 lines; 16 sums so that nothing but the reading takes time. */
typedef uint64_t bench_line __attribute__((vector_size(64), may_alias));
#if defined(__x86_64__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
__attribute__((unused)) static uint64_t
bench_read(const unsigned char *p, size_t bytes)
{
    bench_line s[4] = {{0}, {0}, {0}, {0}};
    const bench_line *v = (const bench_line *)(const void *)p;
    for (size_t i = 0; i + 4 <= bytes / 64; i += 4) {
        __builtin_prefetch((const char *)(v + i) + 4096);
        __builtin_prefetch((const char *)(v + i + 1) + 4096);
        __builtin_prefetch((const char *)(v + i + 2) + 4096);
        __builtin_prefetch((const char *)(v + i + 3) + 4096);
        for (int j = 0; j < 4; j++)
            s[j] ^= v[i + (size_t)j];
    }
    s[0] ^= s[1] ^ s[2] ^ s[3];
    return s[0][0] ^ s[0][1] ^ s[0][2] ^ s[0][3] ^ s[0][4] ^ s[0][5] ^ s[0][6] ^ s[0][7];
}

/* Seconds to read all of p[bytes] (64-byte aligned) once, a contiguous part a thread. */
__attribute__((unused)) static double bench_stream(const void *p, size_t bytes, int threads)
{
    uint64_t sum = 0;
    const double t0 = nbi_clock();
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(^ : sum)
    for (int t = 0; t < threads; t++) {
        const size_t part = bytes / (size_t)threads / 256 * 256;
        sum ^= bench_read((const unsigned char *)p + (size_t)t * part, part);
    }
    const double t = nbi_clock() - t0;
    return sum == 1 ? t + 1e-9 : t; /* uses the sum */
}

#endif
