/* SPDX-License-Identifier: MIT */
/* What this machine offers and what nibble makes of it, as a tree of values (`nibble doctor`). */
#include "kernel/doctor.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/json.h"

enum { DIM = 1024, ROWS = 512 };
/* Each rate is the best of what fits into this time: threads that were just made may share a core
 * until the system spreads them. */
#define SECONDS 0.15

static double peak(nb_peak_kind kind, int threads)
{
    const double begin = nbi_clock();
    double best = 0, now;
    do {
        now = nb_peak_gflops(kind, threads);
        best = now > best ? now : best;
    } while (now > 0 && nbi_clock() - begin < SECONDS);
    return best;
}

/* In GFLOP/s. */
static double measure(const nb_kernels *k, nb_queue *q, nb_compute compute, const float *a,
                      const float *b, float *c)
{
    const double begin = nbi_clock();
    double best = 0;
    do {
        const nb_matmul_args m = {.q = q,
                                  .m = ROWS,
                                  .n = DIM,
                                  .k = DIM,
                                  .a = a,
                                  .a_rs = DIM,
                                  .a_cs = 1,
                                  .b = b,
                                  .b_rs = DIM,
                                  .b_cs = 1,
                                  .c = c,
                                  .ldc = DIM,
                                  .alpha = 1.0f,
                                  .compute = compute};
        double t = nbi_clock();
        k->matmul(&m);
        t = nbi_clock() - t;
        const double rate = 2e-9 * ROWS * DIM * DIM / t;
        best = rate > best ? rate : best;
    } while (nbi_clock() - begin < SECONDS);
    return best;
}

static void write_rate(nbi_json_writer *w, const char *key, double gflops)
{
    nbi_jw_key(w, key);
    nbi_jw_i64(w, (int64_t)(gflops + 0.5));
}

/* Which of f32 and bf16 to compute in on this CPU, and what that rests on. */
static void write_peaks(nbi_json_writer *w, unsigned flags, int threads)
{
    const double f32 = peak(NB_PEAK_F32, threads);
    const double dot = peak(NB_PEAK_BF16_DOT, threads);
    const double amx = peak(NB_PEAK_AMX, threads);
    nbi_jw_key(w, "register_peak_gflops");
    nbi_jw_object(w);
    write_rate(w, "f32", f32);
    write_rate(w, "bf16_pairs", dot);
    write_rate(w, "bf16_tiles", amx);
    nbi_jw_object_end(w);
    nbi_jw_key(w, "bf16_products");
    if (flags & NB_CPU_AMX)
        nbi_jw_str(w, "amx: tiles multiply faster than f32 and than pairs of bf16");
    else if (flags & NB_CPU_AVX512BF16)
        nbi_jw_str(w, dot > f32 ? "avx512bf16: pairs of bf16 multiply faster than f32"
                                : "avx512bf16, although f32 multiplies as fast: asked for");
    else
        nbi_jw_str(w, dot > 0 ? "in f32 with rounded operands: pairs of bf16 are not used or no "
                                "faster"
                              : "in f32 with rounded operands: no instructions for bf16");
}

static nb_status measure_products(nbi_json_writer *w, const nb_kernels *k, nb_queue *q,
                                  nb_error *err)
{
    size_t n = (size_t)DIM * DIM;
    float *a = nbi_calloc(NBI_MEM_SCRATCH, n, 4), *b = nbi_calloc(NBI_MEM_SCRATCH, n, 4),
          *c = nbi_calloc(NBI_MEM_SCRATCH, n, 4);
    nb_status st = a && b && c ? NB_OK : nbi_fail_nomem(err, "a measurement", 3 * n * 4);
    if (st == NB_OK) {
        for (size_t i = 0; i < n; i++)
            a[i] = b[i] = (float)(i % 251) / 251.0f - 0.5f;
        nbi_jw_key(w, "product_gflops");
        nbi_jw_object(w);
        write_rate(w, "f32", measure(k, q, NB_COMPUTE_F32, a, b, c));
        write_rate(w, "bf16", measure(k, q, NB_COMPUTE_BF16, a, b, c));
        nbi_jw_object_end(w);
    }
    nbi_free(a);
    nbi_free(b);
    nbi_free(c);
    return st;
}

/* The variants; of operations that multiply also the one that works in f32, where it differs. */
static void write_kernels(nbi_json_writer *w, unsigned flags)
{
    nb_kernels k, f32;
    char text[64];
    nb_kernels_init(&k, flags);
    nb_kernels_init(&f32, nb_cpu_f32_flags(flags));
    nbi_jw_key(w, "kernels");
    nbi_jw_object(w);
#define LINE(member, type)                                                                         \
    snprintf(text, sizeof(text),                                                                   \
             strcmp(k.member##_variant, f32.member##_variant) != 0 ? "%s for bf16, %s for f32"     \
                                                                   : "%s",                         \
             k.member##_variant, f32.member##_variant);                                            \
    nbi_jw_key(w, #member);                                                                        \
    nbi_jw_str(w, text);
    NB_KERNEL_MAP(LINE)
#undef LINE
    nbi_jw_object_end(w);
}

nb_status nb_doctor_report(nbi_json_writer *w, unsigned flags, int threads, nb_error *err)
{
    char features[128], brand[64];
    nb_kernels k;
    nb_queue *q = NULL;
    NBI_TRY(nb_queue_open(&q, threads, err));
    nb_cpu_describe(nb_cpu_flags(), features, brand);
    nb_kernels_init(&k, flags);
    nbi_jw_key(w, "version");
    nbi_jw_str(w, nb_version());
    nbi_jw_key(w, "cpu");
    nbi_jw_str(w, brand);
    nbi_jw_key(w, "instruction_sets");
    nbi_jw_str(w, features);
    nbi_jw_key(w, "threads");
    nbi_jw_i64(w, q->threads);
    nbi_jw_key(w, "memory_mib");
    nbi_jw_i64(w, (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE) / 1048576);
    nbi_jw_key(w, "memory_unused_mib"); /* without what caches would give back */
    nbi_jw_i64(w, (int64_t)sysconf(_SC_AVPHYS_PAGES) * sysconf(_SC_PAGESIZE) / 1048576);
    write_kernels(w, flags);
    write_peaks(w, flags, q->threads);
    nb_status st = measure_products(w, &k, q, err);
    nb_queue_close(&q);
    return st;
}
