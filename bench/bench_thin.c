/* SPDX-License-Identifier: MIT */
/* Thin products against a copy of as many bytes: GB/s of what must be read of y, which lies in
 * memory (`far`) or in the cache after the first time.
 *
 *   bench_thin [threads] [repeats] [rows] [columns] [rank]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/doctor.h"

enum { COPIES = 12, MAX_REPEATS = 100 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void *zeros(size_t bytes)
{
    void *p = nbi_calloc(NBI_MEM_OTHER, bytes, 1);
    if (!p)
        exit(1);
    memset(p, 0, bytes);
    return p;
}

/* Sum of all of y, read once. */
static double read_all(const nb_thin_args *a)
{
    const int64_t bytes = a->m * a->ldy * (int64_t)nb_dtype_size(a->y_dtype);
    double sum = 0;
#pragma omp parallel for num_threads(a->q->threads) reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < bytes / 64; i++)
        sum += (double)((const float *)a->y)[i * 16];
    return sum;
}

static void measure(const char *name, const nb_kernels *k, nb_thin_args a, nb_thin_term term,
                    unsigned char *const y[COPIES], int repeats)
{
    double t[2][MAX_REPEATS];
    volatile double sink = 0;
    a.terms = &term;
    for (int i = -1; i < repeats; i++)
        for (int which = 0; which < 2; which++) {
            a.y = y[(2 * i + which + COPIES) % COPIES];
            const double t0 = nbi_clock();
            if (which == 0)
                k->thin(&a);
            else
                sink += read_all(&a);
            t[which][i < 0 ? 0 : i] = nbi_clock() - t0;
        }
    for (int which = 0; which < 2; which++)
        qsort(t[which], (size_t)repeats, sizeof(double), by_value);
    const double gb = (double)(a.m * a.n) * (double)nb_dtype_size(a.y_dtype) * 1e-9;
    printf("%-16s %s %5lld x %-6lld best %7.1f us %6.2f GB/s, median %6.2f; reading %6.2f, %6.2f; "
           "ratio %.2f\n",
           name, a.y_dtype == NB_DT_BF16 ? "bf16" : "f32 ", (long long)a.m, (long long)a.n,
           t[0][0] * 1e6, gb / t[0][0], gb / t[0][repeats / 2], gb / t[1][0],
           gb / t[1][repeats / 2], t[1][0] / t[0][0]);
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 0, repeats = argc > 2 ? atoi(argv[2]) : 30;
    const int64_t m = argc > 3 ? atoi(argv[3]) : 512, n = argc > 4 ? atoi(argv[4]) : 2048;
    const int64_t r = argc > 5 ? atoi(argv[5]) : 16;
    nb_kernels k;
    nb_queue *q;
    nb_error err;
    if (repeats < 1 || repeats > MAX_REPEATS || nb_queue_open(&q, threads, &err) != NB_OK)
        return 2;
    nb_kernels_init(&k, nb_cpu_flags());
    unsigned char *y[COPIES];
    for (int i = 0; i < COPIES; i++)
        y[i] = zeros((size_t)(m * n) * 4);
    float *b = zeros((size_t)(n * r) * 4), *h = zeros((size_t)(m * r) * 4);
    float *d = zeros((size_t)(n * r) * 4);
    printf("thin products: %s, %d threads\n", k.thin_variant, q->threads);
    for (int wide = 0; wide < 2; wide++) {
        const nb_thin_args a = {.q = q,
                                .m = m,
                                .n = n,
                                .ldy = n,
                                .y_dtype = wide ? NB_DT_F32 : NB_DT_BF16,
                                .n_terms = 1,
                                .compute = NB_COMPUTE_BF16};
        nb_thin_term t = {.r = r, .b = b, .b_rs = 1, .b_cs = n, .c = h, .ldc = r, .alpha = 1};
        measure("x A", &k, a, t, y, repeats);
        t.h = h;
        t.ldh = r;
        t.b_rs = t.d_rs = r;
        t.b_cs = t.d_cs = 1;
        t.d = d;
        measure("dy B and dB", &k, a, t, y, repeats);
        t.c = NULL;
        t.d_rs = 1;
        t.d_cs = n;
        measure("dA", &k, a, t, y, repeats);
    }
    for (int i = 0; i < COPIES; i++)
        nbi_free(y[i]);
    nbi_free(b);
    nbi_free(h);
    nbi_free(d);
    nb_queue_close(&q);
    return 0;
}
