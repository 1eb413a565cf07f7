/* SPDX-License-Identifier: MIT */
/* Products against the machine's own limit, at the shapes of transformer layers: GFLOP/s, best and
 * median, and their ratio to a loop on registers alone that is measured in between. A few rows of
 * every result are compared with the reference kernels first.
 *
 *   bench_matmul [key=value ...]
 *
 *   threads=1      m=16,64,512      shape=2048x2048,5632x2048 (N x K)      weights=nf4,bf16,f32
 *   compute=bf16|f32      way=forward,backward,adapter      rounds=7      mask=15 (nb_cpu_flag) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "kernel/doctor.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"
#include "tensor/half.h"

typedef struct options {
    int threads, rounds;
    const char *m, *shapes, *weights, *ways;
    nb_compute compute;
    unsigned mask;
} options;

typedef struct bench {
    nb_queue *q;
    nb_kernels k, ref;
    const options *o;
    nb_peak_kind peak;
    nb_dtype act; /* of x and y */
    nb_qtensor w;
    int64_t m, n, kk;
    void *x, *y;
    float *h, *l;
} bench;

static void *memory(size_t n)
{
    void *p = nbi_calloc(NBI_MEM_OTHER, 1, n);
    if (!p)
        exit(1);
    return p;
}

static float next_float(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (float)(int32_t)(*s >> 32) * 0x1p-31f;
}

static void *random_values(int64_t n, nb_dtype t)
{
    void *p = memory((size_t)n * nb_dtype_size(t));
    uint64_t s = 1;
    for (int64_t i = 0; i < n; i++) {
        const float f = next_float(&s);
        if (t == NB_DT_F32)
            ((float *)p)[i] = f;
        else
            ((uint16_t *)p)[i] = nb_f32_to_bf16(f);
    }
    return p;
}

/* 4-bit codes with double quantisation, as checkpoints store them: any bytes are a valid weight. */
static nb_qtensor random_nf4(int64_t n, int64_t k)
{
    nb_qtensor w = {.kind = NB_QK_NF4, .dtype = NB_DT_BF16, .n = n, .k = k, .block = 64};
    const int64_t blocks = n * k / w.block, outer = (blocks + 255) / 256;
    uint8_t *codes = memory((size_t)(n * k / 2)), *scales = memory((size_t)blocks);
    float *map = memory(256 * sizeof(float)), *nested = memory((size_t)outer * sizeof(float));
    uint64_t s = 7;
    for (int64_t i = 0; i < n * k / 2; i++)
        codes[i] = (uint8_t)(next_float(&s) * 128.0f + 128.0f);
    for (int64_t i = 0; i < blocks; i++)
        scales[i] = (uint8_t)(next_float(&s) * 128.0f + 128.0f);
    for (int64_t i = 0; i < outer; i++)
        nested[i] = 0.01f;
    nb_dynamic_map_signed(map);
    for (int i = 0; i < 16; i++)
        w.book[i] = nb_book_nf4[i];
    w.data = codes;
    w.absmax_codes = scales;
    w.nested_absmax = nested;
    w.nested_book = map;
    w.nested_block = 256;
    w.nested_offset = 0.05f;
    return w;
}

static void free_weight(nb_qtensor *w)
{
    const void *all[] = {w->data, w->absmax_codes, w->nested_absmax, w->nested_book};
    for (int i = 0; i < 4; i++)
        nbi_free((void *)(uintptr_t)all[i]);
}

enum { FORWARD, BACKWARD, ADAPTER, WAYS, RANK = 16 };
static const char *const way_name[WAYS] = {"x w^T", "dy w", "x w^T + h l^T"};

static void multiply(const bench *b, const nb_kernels *k, int way, int64_t rows)
{
    const int64_t in = way == BACKWARD ? b->n : b->kk, out = way == BACKWARD ? b->kk : b->n;
    const nb_qgroup g = {&b->w, 0, b->n, 0, rows};
    const nb_lowrank e = {b->h, RANK, RANK, b->l, RANK, 1, 0, out, 2.0f};
    const nb_qmatmul_args a = {.q = b->q,
                               .groups = &g,
                               .n_groups = 1,
                               .backward = way == BACKWARD,
                               .x = b->x,
                               .ldx = in,
                               .y = b->y,
                               .ldy = out,
                               .compute = b->o->compute,
                               .x_dtype = b->act,
                               .y_dtype = b->act,
                               .extra = &e,
                               .n_extra = way == ADAPTER};
    k->qmatmul(&a);
}

static double y_at(const bench *b, int64_t i)
{
    return b->act == NB_DT_F32 ? (double)((float *)b->y)[i]
                               : (double)nb_bf16_to_f32(((uint16_t *)b->y)[i]);
}

/* The first rows (those at most that take another path when they are few stay out of it) against
 * the reference; exits when they differ by more than rounding. */
static void check(const bench *b, int way)
{
    const int64_t rows = b->m < 3 ? b->m : 3, out = way == BACKWARD ? b->kk : b->n, n = rows * out;
    double *got = memory((size_t)n * sizeof(double)), diff = 0, size = 0;
    multiply(b, &b->k, way, b->m);
    for (int64_t i = 0; i < n; i++)
        got[i] = y_at(b, i);
    multiply(b, &b->ref, way, rows);
    for (int64_t i = 0; i < n; i++) {
        diff += (got[i] - y_at(b, i)) * (got[i] - y_at(b, i));
        size += y_at(b, i) * y_at(b, i);
    }
    nbi_free(got);
    if (!(sqrt(diff) <= (b->act == NB_DT_F32 ? 1e-5 : 4e-3) * sqrt(size))) {
        fprintf(stderr, "%s differs from the reference: %g of %g\n", way_name[way], sqrt(diff),
                sqrt(size));
        exit(1);
    }
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(const bench *b, int way, const char *weight)
{
    enum { MOST = 64 };
    const double work = 2e-9 * (double)b->m * (double)b->n * (double)b->kk;
    double rate[MOST], peak[MOST];
    const int rounds = b->o->rounds < MOST ? b->o->rounds : MOST;
    check(b, way);
    for (int r = 0; r < rounds; r++) {
        peak[r] = nb_peak_gflops(b->peak, b->q->threads);
        const int inner = (int)(peak[r] * 0.004 / work) + 1; /* a few milliseconds */
        const double t = nbi_clock();
        for (int i = 0; i < inner; i++)
            multiply(b, &b->k, way, b->m);
        rate[r] = work * inner / (nbi_clock() - t);
    }
    qsort(rate, (size_t)rounds, sizeof(double), ascending);
    qsort(peak, (size_t)rounds, sizeof(double), ascending);
    const double best = rate[rounds - 1], median = rate[rounds / 2], top = peak[rounds - 1];
    printf("%5lld %5lld %5lld  %-4s %-13s %8.1f %8.1f GFLOP/s  peak %8.1f  %5.1f %5.1f %%\n",
           (long long)b->m, (long long)b->n, (long long)b->kk, weight, way_name[way], best, median,
           top, top > 0 ? 100 * best / top : 0, top > 0 ? 100 * median / peak[rounds / 2] : 0);
    fflush(stdout);
}

static bool listed(const char *list, const char *name)
{
    const size_t n = strlen(name);
    for (const char *s = list; *s; s += strcspn(s, ","), s += *s == ',')
        if (strcspn(s, ",") == n && strncmp(s, name, n) == 0)
            return true;
    return false;
}

static void run_weight(bench *b, const char *weight)
{
    static const char *const key[WAYS] = {"forward", "backward", "adapter"};
    for (const char *s = b->o->m; *s; s += strcspn(s, ","), s += *s == ',') {
        b->m = strtoll(s, NULL, 10);
        const int64_t most = b->m * (b->n > b->kk ? b->n : b->kk);
        b->x = random_values(most, b->act);
        b->y = random_values(most, b->act);
        b->h = random_values(b->m * RANK, NB_DT_F32);
        b->l = random_values(b->n * RANK, NB_DT_F32);
        for (int way = 0; way < WAYS; way++)
            if (listed(b->o->ways, key[way]))
                measure(b, way, weight);
        nbi_free(b->x);
        nbi_free(b->y);
        nbi_free(b->h);
        nbi_free(b->l);
    }
}

static void run_shapes(bench *b)
{
    static const char *const kinds[] = {"nf4", "bf16", "f32"};
    for (const char *s = b->o->shapes; *s; s += strcspn(s, ","), s += *s == ',') {
        char *end;
        b->n = strtoll(s, &end, 10);
        b->kk = strtoll(*end ? end + 1 : end, NULL, 10);
        for (int i = 0; i < 3 && b->n > 0 && b->kk > 0 && b->kk % 64 == 0; i++) {
            if (!listed(b->o->weights, kinds[i]))
                continue;
            const nb_dtype t = i == 1 ? NB_DT_BF16 : NB_DT_F32;
            b->w = i == 0 ? random_nf4(b->n, b->kk)
                          : nb_qtensor_dense(t, random_values(b->n * b->kk, t), b->n, b->kk);
            run_weight(b, kinds[i]);
            free_weight(&b->w);
        }
    }
}

static options parse(int argc, char **argv)
{
    options o = {.threads = 1,
                 .rounds = 7,
                 .m = "16,64,128,512,2048",
                 .shapes = "2048x2048,256x2048,5632x2048,2048x5632,4096x4096,11008x4096,4096x11008",
                 .weights = "nf4,bf16",
                 .ways = "forward,backward",
                 .compute = NB_COMPUTE_BF16,
                 .mask = nb_cpu_flags()};
    for (int i = 1; i < argc; i++) {
        char *v = strchr(argv[i], '=');
        const size_t n = v ? (size_t)(v - argv[i]) : strlen(argv[i]);
        const char *value = v ? v + 1 : "";
        const struct {
            const char *key, **text;
            int *number;
        } keys[] = {
            {"threads", NULL, &o.threads}, {"rounds", NULL, &o.rounds},   {"m", &o.m, NULL},
            {"shape", &o.shapes, NULL},    {"weights", &o.weights, NULL}, {"way", &o.ways, NULL}};
        bool known = false;
        for (size_t j = 0; j < sizeof(keys) / sizeof(*keys); j++) {
            if (strlen(keys[j].key) != n || strncmp(argv[i], keys[j].key, n) != 0)
                continue;
            known = true;
            if (keys[j].text)
                *keys[j].text = value;
            else
                *keys[j].number = atoi(value);
        }
        if (n == 7 && strncmp(argv[i], "compute", n) == 0)
            o.compute = strcmp(value, "f32") == 0 ? NB_COMPUTE_F32 : NB_COMPUTE_BF16;
        else if (n == 4 && strncmp(argv[i], "mask", n) == 0)
            o.mask &= (unsigned)strtoul(value, NULL, 0);
        else if (!known) {
            fprintf(stderr, "%s: not known, see the head of bench_matmul.c\n", argv[i]);
            exit(2);
        }
    }
    return o;
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    bench b = {.o = &o, .act = o.compute == NB_COMPUTE_BF16 ? NB_DT_BF16 : NB_DT_F32};
    nb_error err = {0};
    if (nb_queue_open(&b.q, o.threads, &err) != NB_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    nb_kernels_init(&b.k, o.mask);
    nb_kernels_init(&b.ref, o.mask & (NB_CPU_AVX2 | NB_CPU_AVX512));
    b.peak = NB_PEAK_F32;
    if (o.compute == NB_COMPUTE_BF16 && (o.mask & NB_CPU_AMX))
        b.peak = NB_PEAK_AMX;
    else if (o.compute == NB_COMPUTE_BF16 && (o.mask & NB_CPU_AVX512BF16))
        b.peak = NB_PEAK_BF16_DOT;
    char buf[128], brand[64];
    nb_cpu_describe(nb_cpu_flags(), buf, brand);
    printf(
        "%s; %s; products %s, %s; %d threads\n    M     N     K  kind               best   median"
        "%41s\n",
        brand, buf, b.k.qmatmul_variant, o.compute == NB_COMPUTE_BF16 ? "bf16" : "f32",
        b.q->threads, "of the peak");
    run_shapes(&b);
    nb_queue_close(&b.q);
    return 0;
}
