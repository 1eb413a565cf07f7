/* SPDX-License-Identifier: MIT */
/* Products of few rows, as generation makes them, against the speed of memory: GB/s of weights of
 * each kind, and their ratio to a plain read of the same bytes measured alternately.
 *
 *   bench_gemv [threads] [repeats] [MiB] [rows] [kind, "" for all] [mask of the CPU's levels]
 *
 * The weight is as large as a model, so that it comes from memory, and is used a layer at a time.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "bench_stream.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"
#include "tensor/half.h"

enum { K = 2048, LAYER = 5632, CHECKED = 64, BLOCK = 64 };

typedef enum kind { NF4_DQ, NF4, FP4, BF16, F16, F32, KINDS } kind;
static const char *const kind_name[] = {"nf4+dq", "nf4", "fp4", "bf16", "f16", "f32"};

static uint32_t next(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

static void *take(size_t n)
{
    void *p = nbi_alloc(NBI_MEM_OTHER, n);
    if (!p) {
        fprintf(stderr, "no memory\n");
        exit(1);
    }
    return p;
}

typedef struct weight {
    nb_qtensor t;
    void *data;
    float *absmax, *nested, *map;
    uint8_t *codes;
    size_t bytes; /* that one pass reads */
} weight;

static void fill_dense(weight *w, kind kd, int64_t n)
{
    uint32_t s = 7;
    static const nb_dtype dtypes[] = {NB_DT_BF16, NB_DT_F16, NB_DT_F32};
    w->t.kind = NB_QK_DENSE;
    w->t.dtype = dtypes[kd - BF16];
    for (int64_t i = 0; i < n; i++) {
        const float x = ((float)(next(&s) & 0xffff) - 32768.0f) * 0x1p-20f;
        if (kd == F32)
            ((float *)w->data)[i] = x;
        else
            ((uint16_t *)w->data)[i] = kd == BF16 ? nb_f32_to_bf16(x) : nb_f32_to_f16(x);
    }
}

static void fill_4bit(weight *w, kind kd, int64_t n)
{
    uint32_t s = 7;
    const int64_t blocks = n / BLOCK, nested = (blocks + 255) / 256;
    w->t.kind = kd == FP4 ? NB_QK_FP4 : NB_QK_NF4;
    w->t.block = BLOCK;
    for (int i = 0; i < 16; i++)
        w->t.book[i] = kd == FP4 ? nb_book_fp4[i] : nb_book_nf4[i];
    for (int64_t i = 0; i < n / 2; i++)
        ((uint8_t *)w->data)[i] = (uint8_t)next(&s);
    if (kd != NF4_DQ) {
        w->t.absmax = w->absmax = take((size_t)blocks * 4);
        for (int64_t i = 0; i < blocks; i++)
            w->absmax[i] = 0.02f + (float)(next(&s) & 255) * 0x1p-13f;
        w->bytes += (size_t)blocks * 4;
        return;
    }
    w->map = take(256 * sizeof(float));
    nb_dynamic_map_signed(w->map);
    w->t.absmax_codes = w->codes = take((size_t)blocks);
    w->t.nested_absmax = w->nested = take((size_t)nested * 4);
    w->t.nested_book = w->map;
    w->t.nested_block = 256;
    w->t.nested_offset = 0.03f;
    for (int64_t i = 0; i < blocks; i++)
        w->codes[i] = (uint8_t)next(&s);
    for (int64_t i = 0; i < nested; i++)
        w->nested[i] = 0.01f;
    w->bytes += (size_t)blocks + (size_t)nested * 4;
}

static weight make(kind kd, size_t want)
{
    static const size_t bits[] = {4, 4, 4, 16, 16, 32};
    weight w = {0};
    const int64_t layers = (int64_t)(want * 8 / bits[kd] / ((size_t)K * LAYER)) + 1;
    w.t.n = layers * LAYER;
    w.t.k = K;
    w.bytes = (size_t)(w.t.n * K) * bits[kd] / 8;
    /* room for the plain read, which reads as many bytes as codes and statistics have */
    w.t.data = w.data = take(w.bytes + w.bytes / 4);
    memset(w.data, 1, w.bytes + w.bytes / 4);
    if (kd >= BF16)
        fill_dense(&w, kd, w.t.n * K);
    else
        fill_4bit(&w, kd, w.t.n * K);
    return w;
}

static void drop(weight *w)
{
    nbi_free(w->data);
    nbi_free(w->absmax);
    nbi_free(w->nested);
    nbi_free(w->map);
    nbi_free(w->codes);
}

static double pass(const weight *w, const nb_kernels *k, nb_queue *q, nb_dtype x_dtype,
                   const void *x, float *y, int64_t m)
{
    const double t0 = nbi_clock();
    for (int64_t r = 0; r < w->t.n; r += LAYER) {
        nb_qgroup g = {&w->t, r, LAYER, 0, m};
        nb_qmatmul_args a = {.q = q,
                             .groups = &g,
                             .n_groups = 1,
                             .x = x,
                             .ldx = K,
                             .y = y,
                             .ldy = LAYER,
                             .x_dtype = x_dtype,
                             .compute = x_dtype == NB_DT_BF16 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32};
        k->qmatmul(&a);
    }
    return nbi_clock() - t0;
}

/* Worst difference from the reference level, relative to the largest value. */
static double check(const weight *w, const nb_kernels *k, const nb_kernels *ref, nb_queue *q,
                    const float *x, int64_t m)
{
    float *y[2];
    double worst = 0, size = 0;
    for (int i = 0; i < 2; i++) {
        y[i] = take((size_t)m * CHECKED * 4);
        nb_qgroup g = {&w->t, w->t.n - CHECKED, CHECKED, 0, m};
        nb_qmatmul_args a = {
            .q = q, .groups = &g, .n_groups = 1, .x = x, .ldx = K, .y = y[i], .ldy = CHECKED};
        (i ? ref : k)->qmatmul(&a);
    }
    for (int64_t i = 0; i < m * CHECKED; i++) {
        worst = fmax(worst, fabs((double)y[0][i] - (double)y[1][i]));
        size = fmax(size, fabs((double)y[1][i]));
    }
    nbi_free(y[0]);
    nbi_free(y[1]);
    return worst / size;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run_kind(kind kd, nb_queue *q, const nb_kernels *k, const nb_kernels *ref, int repeats,
                     size_t want, int64_t m)
{
    enum { MAX = 64 };
    double plain[MAX], product[MAX];
    weight w = make(kd, want);
    float *x = take((size_t)m * K * 4), *y = take((size_t)m * LAYER * 4);
    uint16_t *h = take((size_t)m * K * 2);
    uint32_t s = 3;
    for (int64_t i = 0; i < m * K; i++) {
        x[i] = ((float)(next(&s) & 0xffff) - 32768.0f) * 0x1p-15f;
        h[i] = nb_f32_to_bf16(x[i]);
    }
    for (int r = 0; r < repeats && r < MAX; r++) {
        plain[r] = bench_stream(w.data, w.bytes, q->threads);
        product[r] = pass(&w, k, q, NB_DT_BF16, h, y, m);
    }
    const double off = check(&w, k, ref, q, x, m);
    qsort(plain, (size_t)repeats, sizeof *plain, by_value);
    qsort(product, (size_t)repeats, sizeof *product, by_value);
    const double gb = (double)w.bytes * 1e-9, a = plain[repeats / 2], b = product[repeats / 2];
    printf("%-7s %2d rows %7.2f GB/s best %7.2f median; read %7.2f %7.2f; %5.1f %% %5.1f %%; "
           "off %.1e\n",
           kind_name[kd], (int)m, gb / product[0], gb / b, gb / plain[0], gb / a,
           100 * plain[0] / product[0], 100 * a / b, off);
    nbi_free(x);
    nbi_free(y);
    nbi_free(h);
    drop(&w);
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1, repeats = argc > 2 ? atoi(argv[2]) : 5;
    const size_t want = (size_t)(argc > 3 ? atoi(argv[3]) : 640) << 20;
    const int64_t rows = argc > 4 ? atoi(argv[4]) : 1;
    const char *only = argc > 5 ? argv[5] : "";
    const unsigned flags = nb_cpu_flags() & (argc > 6 ? (unsigned)strtoul(argv[6], NULL, 0) : ~0u);
    nb_queue *q;
    nb_error err = {0};
    if (nb_queue_open(&q, threads, &err) != NB_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    nb_kernels k, ref;
    nb_kernels_init(&k, flags);
    nb_kernels_init(&ref, 0);
    char buf[128], brand[64];
    nb_cpu_describe(flags, buf, brand);
    printf("%s; %s; qmatmul %s; %d threads\n", brand, buf, k.qmatmul_variant, q->threads);
    for (kind kd = 0; kd < KINDS; kd++)
        if (only[0] == '\0' || strcmp(only, kind_name[kd]) == 0)
            run_kind(kd, q, &k, &ref, repeats, want, rows);
    nb_queue_close(&q);
    return 0;
}
