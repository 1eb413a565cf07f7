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

enum { DIM = 1024, ROWS = 512, ROUNDS = 7 };

/* Best of some rounds, in GFLOP/s. */
static double measure(const nb_kernels *k, nb_queue *q, const float *a, const float *b, float *c)
{
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        nb_matmul_args m = {q, ROWS, DIM, DIM,  a,     DIM,           1, b, DIM,
                            1, c,    DIM, 1.0f, false, NB_COMPUTE_F32};
        double t = nbi_clock();
        k->matmul(&m);
        t = nbi_clock() - t;
        double rate = 2e-9 * ROWS * DIM * DIM / t;
        best = rate > best ? rate : best;
    }
    return best;
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
        double rate = measure(k, q, a, b, c), peak = nb_peak_gflops(q->threads);
        nbi_jw_key(w, "product_gflops");
        nbi_jw_i64(w, (int64_t)(rate + 0.5));
        nbi_jw_key(w, "register_peak_gflops");
        nbi_jw_i64(w, (int64_t)(peak + 0.5));
    }
    nbi_free(a);
    nbi_free(b);
    nbi_free(c);
    return st;
}

static void write_kernels(nbi_json_writer *w, const nb_kernels *k)
{
    nbi_jw_key(w, "kernels");
    nbi_jw_object(w);
#define LINE(member, type)                                                                         \
    nbi_jw_key(w, #member);                                                                        \
    nbi_jw_str(w, k->member##_variant);
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
    write_kernels(w, &k);
    nb_status st = measure_products(w, &k, q, err);
    nb_queue_close(&q);
    return st;
}
