/* SPDX-License-Identifier: MIT */
/* Products against the machine's own limit: GFLOP/s of matmul and qmatmul at the shapes of a
 * transformer, and their ratio to a register-only fused multiply-add loop measured in between.
 *
 *   bench_matmul [threads] [repeats]
 */
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/doctor.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"

static float *random_floats(size_t n)
{
    float *p = nbi_alloc(NBI_MEM_OTHER, n * sizeof(float));
    if (!p)
        exit(1);
    unsigned s = 12345;
    for (size_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        p[i] = (float)(int)s * 0x1p-31f;
    }
    return p;
}

typedef enum form { FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT, NF4_FORWARD, NF4_BACKWARD } form;
static const char *const form_name[] = {"x w^T", "dy w", "dy^T x", "nf4 fwd", "nf4 bwd"};

typedef struct problem {
    nb_queue *q;
    const nb_kernels *k;
    int64_t m, n, kk;
    const float *x, *w, *dy;
    float *y;
    nb_qtensor nf4;
} problem;

static void multiply(const problem *p, form f)
{
    const int64_t M = p->m, N = p->n, K = p->kk;
    nb_matmul_args a = {.q = p->q, .c = p->y, .alpha = 1.0f, .compute = NB_COMPUTE_F32};
    nb_qgroup g = {&p->nf4, 0, N, 0, M};
    nb_qmatmul_args qa = {.q = p->q, .groups = &g, .n_groups = 1, .y = p->y};
    switch (f) {
    case FORWARD:
        a.m = M, a.n = N, a.k = K, a.a = p->x, a.a_rs = K, a.a_cs = 1;
        a.b = p->w, a.b_rs = K, a.b_cs = 1, a.ldc = N;
        break;
    case INPUT_GRADIENT:
        a.m = M, a.n = K, a.k = N, a.a = p->dy, a.a_rs = N, a.a_cs = 1;
        a.b = p->w, a.b_rs = 1, a.b_cs = K, a.ldc = K;
        break;
    case WEIGHT_GRADIENT:
        a.m = N, a.n = K, a.k = M, a.a = p->dy, a.a_rs = 1, a.a_cs = N;
        a.b = p->x, a.b_rs = 1, a.b_cs = K, a.ldc = K;
        break;
    case NF4_FORWARD:
        qa.x = p->x, qa.ldx = K, qa.ldy = N;
        p->k->qmatmul(&qa);
        return;
    case NF4_BACKWARD:
        qa.x = p->dy, qa.ldx = N, qa.ldy = K, qa.backward = true;
        p->k->qmatmul(&qa);
        return;
    }
    p->k->matmul(&a);
}

static void run_shape(nb_queue *q, const nb_kernels *k, int64_t M, int64_t N, int64_t K,
                      int repeats)
{
    const size_t big =
        (size_t)(N > K ? N : K) * (size_t)(N > K ? N : K) + (size_t)M * (size_t)(N + K);
    float *x = random_floats((size_t)(M * K)), *w = random_floats((size_t)(N * K));
    float *dy = random_floats((size_t)(M * N)), *y = random_floats(big);
    uint8_t *codes = nbi_alloc(NBI_MEM_OTHER, (size_t)(N * K / 2));
    float *absmax = nbi_alloc(NBI_MEM_OTHER, (size_t)(N * K / 64) * sizeof(float));
    if (!codes || !absmax)
        exit(1);
    nb_quantize4_args z = {q, NB_QK_NF4, NB_DT_F32, w, N * K, 64, codes, absmax};
    k->quantize4(&z);
    problem p = {q, k, M, N, K, x, w, dy, y, {.kind = NB_QK_NF4, .n = N, .k = K}};
    p.nf4.data = codes;
    p.nf4.absmax = absmax;
    p.nf4.block = 64;
    for (int i = 0; i < 16; i++)
        p.nf4.book[i] = nb_book_nf4[i];
    const double work = 2.0 * (double)M * (double)N * (double)K;
    for (form f = FORWARD; f <= NF4_BACKWARD; f++) {
        double best = 1e30, peak = 0;
        const int inner = (int)(2e8 / work) + 1;
        for (int r = 0; r < repeats; r++) {
            double now = nb_peak_gflops(q->threads);
            peak = now > peak ? now : peak;
            double t0 = nbi_clock();
            for (int i = 0; i < inner; i++)
                multiply(&p, f);
            double s = (nbi_clock() - t0) / inner;
            best = s < best ? s : best;
        }
        double gf = work / best * 1e-9;
        printf("%5lld %5lld %5lld  %-8s %8.1f GFLOP/s  peak %8.1f  %5.1f %%\n", (long long)M,
               (long long)N, (long long)K, form_name[f], gf, peak,
               peak > 0 ? 100.0 * gf / peak : 0);
    }
    nbi_free(x);
    nbi_free(w);
    nbi_free(dy);
    nbi_free(y);
    nbi_free(codes);
    nbi_free(absmax);
}

int main(int argc, char **argv)
{
    static const int64_t shapes[][3] = {{1, 2048, 2048},  {8, 2048, 2048},    {64, 1024, 1024},
                                        {512, 256, 256},  {1024, 704, 256},   {1024, 256, 704},
                                        {1024, 16, 1024}, {1024, 1024, 1024}, {2048, 2048, 512}};
    const int threads = argc > 1 ? atoi(argv[1]) : 1, repeats = argc > 2 ? atoi(argv[2]) : 5;
    const unsigned flags = nb_cpu_flags();
    nb_queue *q;
    nb_error err = {0};
    if (nb_queue_open(&q, threads, &err) != NB_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    nb_kernels k;
    nb_kernels_init(&k, flags);
    char buf[128], brand[64];
    nb_cpu_describe(flags, buf, brand);
    printf("%s; %s; matmul %s; %d threads\n", brand, buf, k.matmul_variant, q->threads);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        run_shape(q, &k, shapes[i][0], shapes[i][1], shapes[i][2], repeats);
    nb_queue_close(&q);
    return 0;
}
