/* SPDX-License-Identifier: MIT */
/* The machine's own limit: fused multiply-adds on registers alone. Products are judged by their
 * ratio to it, measured in the same process. */
#include "base/clock.h"
#include "kernel/doctor.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* As many independent chains as hide the latency. */
__attribute__((target("avx512f"))) static float chains_avx512(long n)
{
    __m512 acc[24], x = _mm512_set1_ps(0.999999f), y = _mm512_set1_ps(1e-7f);
    for (int i = 0; i < 24; i++)
        acc[i] = _mm512_set1_ps((float)i);
    for (long t = 0; t < n; t++) {
#pragma GCC unroll 24
        for (int i = 0; i < 24; i++)
            acc[i] = _mm512_fmadd_ps(acc[i], x, y);
    }
    float s = 0;
    for (int i = 0; i < 24; i++)
        s += _mm512_reduce_add_ps(acc[i]);
    return s;
}

__attribute__((target("avx2,fma"))) static float chains_avx2(long n)
{
    __m256 acc[12], x = _mm256_set1_ps(0.999999f), y = _mm256_set1_ps(1e-7f);
    for (int i = 0; i < 12; i++)
        acc[i] = _mm256_set1_ps((float)i);
    for (long t = 0; t < n; t++) {
#pragma GCC unroll 12
        for (int i = 0; i < 12; i++)
            acc[i] = _mm256_fmadd_ps(acc[i], x, y);
    }
    float s = 0, v[8];
    for (int i = 0; i < 12; i++) {
        _mm256_storeu_ps(v, acc[i]);
        s += v[0] + v[7];
    }
    return s;
}

double nb_peak_gflops(int threads)
{
    enum { ROUNDS = 5 };
    const long n = 1000000;
    unsigned flags = nb_cpu_flags();
    if (!(flags & NB_CPU_AVX2))
        return 0;
    bool wide = flags & NB_CPU_AVX512;
    double flops = 2.0 * (wide ? 24 * 16 : 12 * 8) * (double)n * threads, best = 0;
    for (int r = 0; r < ROUNDS; r++) {
        float sum = 0; /* used below, so that the loops stay */
        double t = nbi_clock();
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sum)
        for (int i = 0; i < threads; i++)
            sum += wide ? chains_avx512(n) : chains_avx2(n);
        t = nbi_clock() - t;
        best = sum == sum && flops / t * 1e-9 > best ? flops / t * 1e-9 : best;
    }
    return best;
}
#else
double nb_peak_gflops(int threads)
{
    (void)threads;
    return 0;
}
#endif
