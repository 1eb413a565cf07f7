/* SPDX-License-Identifier: MIT */
/* Attention against the machine's own limit: GFLOP/s of the forward and backward pass over ragged
 * segments, counting what a causal mask leaves (two products forward, five backward), and the ratio
 * to a register-only loop measured in between. First a small case is checked against ref.
 *
 *   bench_attention [f32|bf16] [threads] [repeats] [longest] [shape]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/doctor.h"
#include "kernel/kernel.h"
#include "tensor/half.h"

enum { MAX_SEGMENTS = 16, MAX_REPEATS = 50 };

typedef struct shape {
    int64_t heads, kv_heads, p;
    int segments;
    int64_t len[MAX_SEGMENTS];
} shape;

typedef struct problem {
    nb_attn_segment seg[MAX_SEGMENTS];
    int64_t rows;
    nb_attention_bwd_args b;
} problem;

static void *must(void *p)
{
    if (!p)
        exit(1);
    return p;
}

/* n values between -1 and 1. */
static void *random_values(int64_t n, nb_dtype dtype)
{
    void *p = must(nbi_alloc(NBI_MEM_OTHER, (size_t)n * nb_dtype_size(dtype)));
    unsigned s = 12345;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        const float v = (float)(int)s * 0x1p-31f;
        if (dtype == NB_DT_F32)
            ((float *)p)[i] = v;
        else
            ((uint16_t *)p)[i] = nb_f32_to_bf16(v);
    }
    return p;
}

static void make(problem *x, const shape *s, nb_dtype dtype, nb_queue *q)
{
    memset(x, 0, sizeof(*x));
    for (int i = 0; i < s->segments; i++) {
        x->seg[i] = (nb_attn_segment){
            .q_row0 = x->rows, .q_len = s->len[i], .k_row0 = x->rows, .k_len = s->len[i]};
        x->rows += s->len[i];
    }
    const int64_t d = s->heads * s->p, g = s->kv_heads * s->p;
    nb_attention_args *a = &x->b.fwd;
    *a = (nb_attention_args){.q_ = q,
                             .segments = x->seg,
                             .n_segments = s->segments,
                             .heads = s->heads,
                             .kv_heads = s->kv_heads,
                             .p = s->p,
                             .ldq = d,
                             .ldk = g,
                             .ldv = g,
                             .ldo = d,
                             .scale = 1.0f / sqrtf((float)s->p),
                             .dtype = dtype};
    a->q = random_values(x->rows * d, dtype);
    a->k = random_values(x->rows * g, dtype);
    a->v = random_values(x->rows * g, dtype);
    a->out = random_values(x->rows * d, dtype);
    a->lse = random_values(x->rows * s->heads, NB_DT_F32);
    x->b.dout = random_values(x->rows * d, dtype);
    x->b.lddo = d;
    x->b.delta = random_values(x->rows * s->heads, NB_DT_F32);
    x->b.dq = random_values(x->rows * d, dtype);
    x->b.dk = random_values(x->rows * g, dtype);
    x->b.dv = random_values(x->rows * g, dtype);
}

static void drop(problem *x)
{
    const nb_attention_args *a = &x->b.fwd;
    const void *all[] = {a->q,      a->k,       a->v,    a->out,  a->lse,
                         x->b.dout, x->b.delta, x->b.dq, x->b.dk, x->b.dv};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        nbi_free((void *)(uintptr_t)all[i]);
}

/* |x - y| / |y| in the Euclidean norm. */
static double distance(const void *x, const void *y, int64_t n, nb_dtype dtype)
{
    double diff = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        const double u = dtype == NB_DT_F32 ? (double)((const float *)x)[i]
                                            : (double)nb_bf16_to_f32(((const uint16_t *)x)[i]);
        const double v = dtype == NB_DT_F32 ? (double)((const float *)y)[i]
                                            : (double)nb_bf16_to_f32(((const uint16_t *)y)[i]);
        diff += (u - v) * (u - v);
        size += v * v;
    }
    return sqrt(diff / size);
}

static bool check(const nb_kernels *k, const shape *like, nb_dtype dtype, nb_queue *q)
{
    nb_kernels ref;
    nb_kernels_init(&ref, 0);
    shape s = {like->heads / like->kv_heads, 1, like->p, 3, {130, 1, 61}};
    problem x, y;
    make(&x, &s, dtype, q);
    make(&y, &s, dtype, q);
    k->attention(&x.b.fwd);
    k->attention_bwd(&x.b);
    ref.attention(&y.b.fwd);
    ref.attention_bwd(&y.b);
    const int64_t nq = x.rows * s.heads * s.p, nk = x.rows * s.kv_heads * s.p;
    const double worst = fmax(
        fmax(distance(x.b.fwd.out, y.b.fwd.out, nq, dtype), distance(x.b.dq, y.b.dq, nq, dtype)),
        fmax(distance(x.b.dk, y.b.dk, nk, dtype), distance(x.b.dv, y.b.dv, nk, dtype)));
    const double allowed = dtype == NB_DT_F32 ? 1e-5 : 0x1p-7;
    printf("head size %lld: relative distance to ref %.2e, allowed %.0e%s\n", (long long)s.p, worst,
           allowed, worst <= allowed ? "" : "  WRONG");
    drop(&x);
    drop(&y);
    return worst <= allowed;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double products(const shape *s)
{
    double pairs = 0;
    for (int i = 0; i < s->segments; i++)
        pairs += 0.5 * (double)s->len[i] * (double)(s->len[i] + 1);
    return 2.0 * pairs * (double)s->heads * (double)s->p * 1e-9;
}

static void report(const char *what, double *time, int n, double gflop, double peak)
{
    qsort(time, (size_t)n, sizeof(*time), by_value);
    const double best = gflop / time[0], median = gflop / time[n / 2];
    printf("    %-8s best %8.1f median %8.1f GFLOP/s   %5.1f %5.1f %% of %.0f\n", what, best,
           median, 100 * best / peak, 100 * median / peak, peak);
}

static void measure(const nb_kernels *k, const shape *s, nb_dtype dtype, nb_queue *q, int repeats)
{
    problem x;
    make(&x, s, dtype, q);
    double fwd[MAX_REPEATS], bwd[MAX_REPEATS], both[MAX_REPEATS], peak = 0;
    nb_peak_kind kind = NB_PEAK_F32;
    if (dtype == NB_DT_BF16 && strcmp(k->attention_variant, "amx") == 0)
        kind = NB_PEAK_AMX;
    else if (dtype == NB_DT_BF16 && strcmp(k->attention_variant, "avx512bf16") == 0)
        kind = NB_PEAK_BF16_DOT;
    k->attention(&x.b.fwd);
    for (int r = 0; r < repeats; r++) {
        peak = fmax(peak, nb_peak_gflops(kind, q->threads));
        const double t0 = nbi_clock();
        k->attention(&x.b.fwd);
        const double t1 = nbi_clock();
        k->attention_bwd(&x.b);
        const double t2 = nbi_clock();
        fwd[r] = t1 - t0;
        bwd[r] = t2 - t1;
        both[r] = t2 - t0;
    }
    const double one = products(s);
    printf("%lld heads, %lld of keys, size %lld, %lld rows in %d segments\n", (long long)s->heads,
           (long long)s->kv_heads, (long long)s->p, (long long)x.rows, s->segments);
    report("forward", fwd, repeats, 2 * one, peak);
    report("backward", bwd, repeats, 5 * one, peak);
    report("both", both, repeats, 7 * one, peak);
    drop(&x);
}

int main(int argc, char **argv)
{
    static const shape shapes[] = {
        {32, 4, 64, 1, {512}},
        {32, 8, 128, 1, {512}},
        {32, 4, 64, 8, {37, 512, 190, 61, 301, 444, 8, 495}},
        {32, 4, 64, 1, {2048}},
        {32, 8, 128, 1, {2048}},
        {32, 8, 128, 8, {37, 512, 190, 61, 301, 444, 8, 495}},
        {32, 32, 128, 1, {1024}},
        {32, 4, 64, 1, {8192}},
        {32, 8, 128, 1, {8192}},
    };
    const nb_dtype dtype = argc > 1 && strcmp(argv[1], "f32") == 0 ? NB_DT_F32 : NB_DT_BF16;
    const int threads = argc > 2 ? atoi(argv[2]) : 1;
    int repeats = argc > 3 ? atoi(argv[3]) : 5;
    const int64_t longest = argc > 4 ? atoll(argv[4]) : 2048;
    const int only = argc > 5 ? atoi(argv[5]) : -1; /* index of one shape */
    repeats = repeats < 1 ? 1 : repeats > MAX_REPEATS ? MAX_REPEATS : repeats;
    nb_queue *q;
    nb_error err = {0};
    if (nb_queue_open(&q, threads, &err) != NB_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    nb_kernels k;
    const char *mask = getenv("BENCH_CPU_FLAGS"); /* nb_cpu_flag, to force a lower level */
    nb_kernels_init(&k, mask ? (unsigned)atoi(mask) & nb_cpu_flags() : nb_cpu_flags());
    char buf[128], brand[64];
    nb_cpu_describe(nb_cpu_flags(), buf, brand);
    printf("%s; %s; attention %s, %s; %d threads\n", brand, buf, k.attention_variant,
           nb_dtype_name(dtype), q->threads);
    bool ok = check(&k, &shapes[0], dtype, q) && check(&k, &shapes[1], dtype, q);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
        if (shapes[i].len[0] <= longest && (only < 0 || only == (int)i))
            measure(&k, &shapes[i], dtype, q, repeats);
    nb_queue_close(&q);
    return ok ? 0 : 1;
}
