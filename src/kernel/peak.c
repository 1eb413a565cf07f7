/* SPDX-License-Identifier: MIT */
/* The machine's own limits: multiply-adds on registers alone, per kind of instruction. Products are
 * judged by their ratio to them, measured in the same process. */
#include "base/clock.h"
#include "kernel/doctor.h"
#include "kernel/variants.h"

#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

/* name(n): as many independent chains of STEP as hide the latency, n turns on registers of type REG
 * that start at SET(i), with operands X and Y of type OPERAND. Returns something that depends on
 * all of them. */
#define CHAINS(name, isa, COUNT, REG, SET, STEP, OPERAND, X, Y)                                    \
    __attribute__((target(isa))) static float name(long n)                                         \
    {                                                                                              \
        REG acc[COUNT];                                                                            \
        const OPERAND x = X, y = Y;                                                                \
        for (int i = 0; i < COUNT; i++)                                                            \
            acc[i] = SET((float)i);                                                                \
        for (long t = 0; t < n; t++) {                                                             \
            _Pragma("GCC unroll 24") for (int i = 0; i < COUNT; i++) acc[i] = STEP(acc[i], x, y);  \
        }                                                                                          \
        float s = 0, v[sizeof(REG) / sizeof(float)];                                               \
        for (int i = 0; i < COUNT; i++) {                                                          \
            memcpy(v, &acc[i], sizeof(v));                                                         \
            s += v[0] + v[sizeof(REG) / sizeof(float) - 1];                                        \
        }                                                                                          \
        return s;                                                                                  \
    }

CHAINS(chains_avx2, "avx2,fma", 12, __m256, _mm256_set1_ps, _mm256_fmadd_ps, __m256,
       _mm256_set1_ps(0.999999f), _mm256_set1_ps(1e-7f))
CHAINS(chains_avx512, "avx512f", 24, __m512, _mm512_set1_ps, _mm512_fmadd_ps, __m512,
       _mm512_set1_ps(0.999999f), _mm512_set1_ps(1e-7f))
CHAINS(chains_bf16, "avx512f,avx512bw,avx512vl,avx512bf16", 24, __m512, _mm512_set1_ps,
       _mm512_dpbf16_ps, __m512bh, (__m512bh)_mm512_set1_epi16(0x3f00),
       (__m512bh)_mm512_set1_epi16(0x3880))

/* Four sums from two left and two right tiles, as a product keeps them. */
__attribute__((target("amx-tile,amx-bf16"))) static float chains_amx(long n)
{
    struct {
        unsigned char palette, start_row, reserved[14];
        unsigned short row_bytes[16];
        unsigned char rows[16];
    } c;
    float out[16 * 16];
    memset(&c, 0, sizeof(c));
    c.palette = 1;
    for (int i = 0; i < 8; i++) {
        c.row_bytes[i] = 64;
        c.rows[i] = 16;
    }
    _tile_loadconfig(&c);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (long t = 0; t < n; t++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out, 64);
    _tile_release();
    return out[0];
}

typedef struct loop {
    float (*run)(long n);
    double flops; /* a turn */
    long turns;   /* about a millisecond */
} loop;

static loop choose(nb_peak_kind kind, unsigned flags)
{
    const loop none = {0};
    switch (kind) {
    case NB_PEAK_F32:
        if (flags & NB_CPU_AVX512)
            return (loop){chains_avx512, 2.0 * 24 * 16, 200000};
        return flags & NB_CPU_AVX2 ? (loop){chains_avx2, 2.0 * 12 * 8, 400000} : none;
    case NB_PEAK_BF16_DOT:
        return flags & NB_CPU_AVX512BF16 ? (loop){chains_bf16, 2.0 * 24 * 32, 100000} : none;
    case NB_PEAK_AMX:
        return (flags & NB_CPU_AMX) && nbi_tiles_allowed()
                   ? (loop){chains_amx, 2.0 * 4 * 16 * 16 * 32, 40000}
                   : none;
    }
    return none;
}

double nb_peak_gflops(nb_peak_kind kind, int threads)
{
    enum { ROUNDS = 5 };
    double best = 0;
    const loop l = choose(kind, nb_cpu_flags());
    for (int r = 0; r < ROUNDS && l.run; r++) {
        float sum = 0; /* used below, so that the loops stay */
        double t = nbi_clock();
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : sum)
        for (int i = 0; i < threads; i++)
            sum += l.run(l.turns);
        t = nbi_clock() - t;
        const double rate = l.flops * (double)l.turns * threads / t * 1e-9;
        best = sum == sum && rate > best ? rate : best;
    }
    return best;
}

unsigned nb_cpu_best_flags(void)
{
    const unsigned flags = nb_cpu_flags();
    if (!(flags & NB_CPU_AVX512BF16) || (flags & NB_CPU_AMX))
        return flags;
    const bool fast = nb_peak_gflops(NB_PEAK_BF16_DOT, 1) > 1.2 * nb_peak_gflops(NB_PEAK_F32, 1);
    return fast ? flags : flags & ~(unsigned)NB_CPU_AVX512BF16;
}
#else
double nb_peak_gflops(nb_peak_kind kind, int threads)
{
    (void)kind;
    (void)threads;
    return 0;
}

unsigned nb_cpu_best_flags(void)
{
    return nb_cpu_flags();
}
#endif
