/* SPDX-License-Identifier: MIT */
/* Quantising and decoding against the speed at which memory can be read, measured in turns in the
 * same process. Results are compared with the reference version first.
 *
 *   bench_quant [threads] [repeats]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"
#include "tensor/half.h"

enum { ROWS = 32768, COLUMNS = 2048, BLOCK = 64, NESTED = 256, MOST = 64 };
#define ELEMENTS ((int64_t)ROWS * COLUMNS)

typedef struct bench {
    nb_queue *q;
    nb_kernels k, ref;
    int repeats;
    float *x;              /* [ELEMENTS], as f32 */
    uint16_t *bf16, *f16;  /* the same */
    uint8_t *codes, *want; /* [ELEMENTS / 2] */
    float *absmax;         /* [ELEMENTS / BLOCK] */
    uint8_t *scales;       /* [ELEMENTS / BLOCK] */
    float nested[ELEMENTS / BLOCK / NESTED], book[256];
    float *out; /* [MOST, COLUMNS] */
} bench;

static void *get(size_t n)
{
    void *p = nbi_alloc(NBI_MEM_OTHER, n);
    if (!p)
        exit(1);
    memset(p, 0, n);
    return p;
}

/* Bytes a second at which all threads together read memory: sums of 64-bit words. */
static double read_speed(const bench *b, const void *p, size_t bytes)
{
    typedef uint64_t v8 __attribute__((vector_size(64)));
    const v8 *x = p;
    const int64_t n = (int64_t)(bytes / sizeof(v8));
    uint64_t sum = 0;
    double t = nbi_clock();
#pragma omp parallel for num_threads(b->q->threads) schedule(static) reduction(+ : sum)
    for (int64_t i = 0; i < n / 512; i++) {
        v8 s[4] = {{0}};
        for (int64_t j = 0; j < 512; j++)
            s[j % 4] += x[i * 512 + j];
        s[0] += s[1] + s[2] + s[3];
        for (int j = 0; j < 8; j++)
            sum += s[0][j];
    }
    t = nbi_clock() - t;
    return sum == 1 ? 0 : (double)bytes / t; /* the sum is used */
}

typedef enum work { FROM_BF16, FROM_F16, FROM_F32, FP4_BF16, DOUBLE, DECODE, WORKS } work;
static const char *const work_name[] = {"bf16 to nf4", "f16 to nf4",      "f32 to nf4",
                                        "bf16 to fp4", "scales to 8 bit", "nf4 to f32"};

static void run(bench *b, const nb_kernels *k, work w)
{
    nb_quantize4_args a = {.q = b->q,
                           .kind = w == FP4_BF16 ? NB_QK_FP4 : NB_QK_NF4,
                           .dtype = NB_DT_BF16,
                           .x = b->bf16,
                           .n = ELEMENTS,
                           .block = BLOCK,
                           .codes = b->codes,
                           .absmax = b->absmax};
    nb_quantize8_args e = {.q = b->q,
                           .x = b->absmax,
                           .n = ELEMENTS / BLOCK,
                           .block = NESTED,
                           .book = b->book,
                           .codes = b->scales,
                           .absmax = b->nested};
    nb_qtensor t = {.kind = NB_QK_NF4,
                    .n = ROWS,
                    .k = COLUMNS,
                    .data = b->codes,
                    .block = BLOCK,
                    .absmax_codes = b->scales,
                    .nested_absmax = b->nested,
                    .nested_book = b->book,
                    .nested_block = NESTED};
    nb_decode_args d = {
        .q = b->q, .w = &t, .rows = MOST, .cols = COLUMNS, .out = b->out, .ldo = COLUMNS};
    switch (w) {
    case FROM_F16:
        a.dtype = NB_DT_F16, a.x = b->f16;
        break;
    case FROM_F32:
        a.dtype = NB_DT_F32, a.x = b->x;
        break;
    case DOUBLE:
        e.offset = nb_quant_mean(b->absmax, ELEMENTS / BLOCK);
        k->quantize8(&e);
        return;
    case DECODE:
        memcpy(t.book, nb_book_nf4, sizeof(t.book));
        for (int r = 0; r < ROWS; r += MOST) { /* into memory that stays in the cache */
            d.row0 = r;
            k->decode(&d);
        }
        return;
    default:
        break;
    }
    k->quantize4(&a);
}

/* Bytes that must come from memory once. */
static double bytes_read(work w)
{
    const double n = (double)ELEMENTS;
    return w == FROM_F32 ? 4 * n : w == DOUBLE ? 4 * n / BLOCK : w == DECODE ? n / 2 : 2 * n;
}

static double elements_done(work w)
{
    return w == DOUBLE ? (double)ELEMENTS / BLOCK : (double)ELEMENTS;
}

static void check(bench *b, work w)
{
    const size_t bytes = w == DOUBLE ? (size_t)ELEMENTS / BLOCK : (size_t)ELEMENTS / 2;
    if (w == DECODE)
        return; /* see bench_matmul and the tests */
    run(b, &b->ref, w);
    memcpy(b->want, w == DOUBLE ? b->scales : b->codes, bytes);
    run(b, &b->k, w);
    if (memcmp(b->want, w == DOUBLE ? b->scales : b->codes, bytes) != 0) {
        printf("%s: differs from the reference version\n", work_name[w]);
        exit(1);
    }
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(bench *b, work w)
{
    double speed[MOST], memory[MOST];
    check(b, w);
    for (int r = 0; r < b->repeats; r++) {
        memory[r] = read_speed(b, b->x, (size_t)ELEMENTS * sizeof(float));
        double t = nbi_clock();
        run(b, &b->k, w);
        t = nbi_clock() - t;
        speed[r] = elements_done(w) / t;
    }
    const size_t n = (size_t)b->repeats, last = n - 1;
    qsort(speed, n, sizeof(double), by_value);
    qsort(memory, n, sizeof(double), by_value);
    const double per = bytes_read(w) / elements_done(w);
    printf("%-16s best %6.2f median %6.2f Gelem/s  reads %6.2f GB/s of %6.2f  %5.1f %%\n",
           work_name[w], speed[last] * 1e-9, speed[n / 2] * 1e-9, speed[last] * per * 1e-9,
           memory[last] * 1e-9, 100 * speed[last] * per / memory[last]);
}

static void fill(bench *b)
{
    b->x = get((size_t)ELEMENTS * 4);
    b->bf16 = get((size_t)ELEMENTS * 2);
    b->f16 = get((size_t)ELEMENTS * 2);
    b->codes = get((size_t)ELEMENTS / 2);
    b->want = get((size_t)ELEMENTS / 2);
    b->absmax = get((size_t)ELEMENTS / BLOCK * 4);
    b->scales = get((size_t)ELEMENTS / BLOCK);
    b->out = get((size_t)MOST * COLUMNS * 4);
    nb_dynamic_map_signed(b->book);
    nbi_rng r;
    nbi_rng_init(&r, 1, NBI_RNG_INIT, 0);
    for (int64_t i = 0; i < ELEMENTS; i++) {
        b->x[i] = i < 1 << 20 ? (float)(0.02 * nbi_rng_normal(&r)) : b->x[i - (1 << 20)];
        b->bf16[i] = nb_f32_to_bf16(b->x[i]);
        b->f16[i] = nb_f32_to_f16(b->x[i]);
    }
}

int main(int argc, char **argv)
{
    static bench b;
    nb_error err = {0};
    const int threads = argc > 1 ? atoi(argv[1]) : 0, repeats = argc > 2 ? atoi(argv[2]) : 7;
    b.repeats = repeats < 1 ? 1 : repeats > MOST ? MOST : repeats;
    if (nb_queue_open(&b.q, threads, &err) != NB_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    char buf[128], brand[64];
    nb_cpu_describe(nb_cpu_flags(), buf, brand);
    nb_kernels_init(&b.k, nb_cpu_flags());
    nb_kernels_init(&b.ref, 0);
    printf("%s; %s; quantize4 %s; %d threads\n", brand, buf, b.k.quantize4_variant, b.q->threads);
    fill(&b);
    for (work w = FROM_BF16; w < WORKS; w++)
        measure(&b, w);
    nb_queue_close(&b.q);
    return 0;
}
