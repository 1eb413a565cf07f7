/* SPDX-License-Identifier: MIT */
/* Row-wise operations against memory: GB/s of each at the shapes of 1.1B and 7B models, f32 and
 * bf16, best and median, and the ratio to a copy (or, where nothing of the kind is written, a read)
 * of as many bytes measured in between. Results are compared with the reference versions first.
 *
 *   bench_rowwise [threads] [repeats] [rows] [name of an operation]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/kernel.h"
#include "tensor/half.h"

typedef struct shape {
    const char *name;
    int64_t d, inter, heads, kv_heads, p, vocab;
} shape;

static const shape shapes[] = {{"1.1B", 2048, 5632, 32, 4, 64, 32000},
                               {"7B", 4096, 11008, 32, 32, 128, 32000}};

enum { BUFFERS = 6, HEAD_ROWS = 64, SAMPLES = 101 };

typedef struct setting {
    const nb_kernels *k;
    nb_queue *q;
    shape s;
    int64_t rows;
    nb_dtype act; /* of activations */
    float *b[BUFFERS];
    float *w, *rstd, *cs;
    int32_t *ids;
} setting;

/* An operation: bytes it moves at least (reads and writes once each), and which buffer its result
 * is in. */
typedef struct operation {
    const char *name;
    void (*run)(const setting *s);
    double (*bytes)(const setting *s);
    int out;
    int64_t (*out_n)(const setting *s);
    bool out_f32;    /* else of the dtype of activations */
    bool reads_only; /* measured against reading */
    bool changes;    /* its operands, so that only the first call is compared */
    bool one_dtype;  /* f32 alone */
    bool residual;   /* the first operand is f32 whatever the activations are */
} operation;

static double act_size(const setting *s)
{
    return (double)nb_dtype_size(s->act);
}

static double hidden(const setting *s)
{
    return (double)(s->rows * s->s.d);
}

static double wide(const setting *s)
{
    return (double)(s->rows * s->s.inter);
}

static int64_t hidden_n(const setting *s)
{
    return s->rows * s->s.d;
}

static int64_t wide_n(const setting *s)
{
    return s->rows * s->s.inter;
}

static void run_rmsnorm(const setting *s)
{
    s->k->rmsnorm(&(nb_rmsnorm_args){s->q, s->rows, s->s.d, s->b[0], s->w, 0.0f, 1e-5f, s->b[1],
                                     s->rstd, NB_DT_F32, s->act});
}

static double bytes_rmsnorm(const setting *s)
{
    return hidden(s) * (4 + act_size(s));
}

/* With the residual stream copied in the same pass, and in one of its own. */
static void run_rmsnorm_copy(const setting *s)
{
    s->k->rmsnorm(&(nb_rmsnorm_args){s->q, s->rows, s->s.d, s->b[0], s->w, 0.0f, 1e-5f, s->b[1],
                                     s->rstd, NB_DT_F32, s->act, s->b[2]});
}

static void run_rmsnorm_axpy(const setting *s)
{
    run_rmsnorm(s);
    s->k->axpy(&(nb_axpy_args){s->q, hidden_n(s), 1.0f, s->b[0], s->b[2], false});
}

static double bytes_rmsnorm_copy(const setting *s)
{
    return hidden(s) * (8 + act_size(s));
}

static void run_rmsnorm_bwd(const setting *s)
{
    s->k->rmsnorm_bwd(&(nb_rmsnorm_bwd_args){s->q, s->rows, s->s.d, s->b[0], s->w, s->rstd, s->b[1],
                                             0.0f, s->b[2], true, NULL, NB_DT_F32, s->act,
                                             NB_DT_F32});
}

static double bytes_rmsnorm_bwd(const setting *s)
{
    return hidden(s) * (12 + act_size(s));
}

static void run_rmsnorm_dw(const setting *s)
{
    s->k->rmsnorm_bwd(&(nb_rmsnorm_bwd_args){s->q, s->rows, s->s.d, s->b[0], s->w, s->rstd, s->b[1],
                                             0.0f, s->b[2], true, s->b[3], NB_DT_F32, s->act,
                                             NB_DT_F32});
}

static void run_glu(const setting *s)
{
    s->k->glu(&(nb_glu_args){s->q, NB_ACT_SILU, wide_n(s), s->b[0], s->b[1], s->b[2], s->act});
}

static double bytes_glu(const setting *s)
{
    return wide(s) * 3 * act_size(s);
}

static void run_gelu(const setting *s)
{
    s->k->glu(&(nb_glu_args){s->q, NB_ACT_GELU_TANH, wide_n(s), s->b[0], s->b[1], s->b[2], s->act});
}

static void run_gelu_erf(const setting *s)
{
    s->k->glu(&(nb_glu_args){s->q, NB_ACT_GELU_ERF, wide_n(s), s->b[0], s->b[1], s->b[2], s->act});
}

static void run_glu_bwd(const setting *s)
{
    s->k->glu_bwd(&(nb_glu_bwd_args){s->q, NB_ACT_SILU, wide_n(s), s->b[0], s->b[1], s->b[2],
                                     s->b[3], s->b[4], NULL, s->act});
}

static double bytes_glu_bwd(const setting *s)
{
    return wide(s) * 5 * act_size(s);
}

static void run_glu_bwd_h(const setting *s)
{
    s->k->glu_bwd(&(nb_glu_bwd_args){s->q, NB_ACT_SILU, wide_n(s), s->b[0], s->b[1], s->b[2],
                                     s->b[0], s->b[1], s->b[2], s->act});
}

static double bytes_glu_bwd_h(const setting *s)
{
    return wide(s) * 6 * act_size(s);
}

static void run_rope(const setting *s)
{
    s->k->rope(&(nb_rope_args){s->q, s->rows, s->s.heads, s->s.p, s->s.p / 2, s->b[0], s->cs, false,
                               s->act, s->b[1], s->s.kv_heads});
}

static double bytes_rope(const setting *s)
{
    return (double)(s->rows * s->s.p) *
           ((double)(s->s.heads + s->s.kv_heads) * 2 * act_size(s) + 4);
}

static int64_t rope_n(const setting *s)
{
    return s->rows * s->s.heads * s->s.p;
}

static void run_axpy(const setting *s)
{
    s->k->axpy(&(nb_axpy_args){s->q, hidden_n(s), 0.5f, s->b[0], s->b[1], true});
}

static double bytes_axpy(const setting *s)
{
    return hidden(s) * 12;
}

static void run_bias(const setting *s)
{
    s->k->bias(&(nb_bias_args){s->q, s->rows, s->s.d, s->w, s->b[0], s->s.d, s->act});
}

static double bytes_bias(const setting *s)
{
    return hidden(s) * 2 * act_size(s);
}

static void run_bias_bwd(const setting *s)
{
    s->k->bias_bwd(&(nb_bias_bwd_args){s->q, s->rows, s->s.d, s->b[0], s->s.d, s->b[1], s->act});
}

static double bytes_bias_bwd(const setting *s)
{
    return hidden(s) * act_size(s);
}

static int64_t d_n(const setting *s)
{
    return s->s.d;
}

static void run_dropout(const setting *s)
{
    s->k->dropout(&(nb_dropout_args){s->q, s->rows, s->s.d, s->b[0], s->b[1], 0.1f, 1, 2, 3, s->ids,
                                     s->ids, s->act, s->act});
}

static void cross_entropy(const setting *s, bool want_grad)
{
    s->k->cross_entropy(&(nb_cross_entropy_args){s->q, HEAD_ROWS, s->s.vocab, s->b[0], s->ids,
                                                 0.001f, want_grad, s->b[1], (uint8_t *)s->b[2]});
}

static void run_loss(const setting *s)
{
    cross_entropy(s, false);
}

static double bytes_loss(const setting *s)
{
    return (double)(HEAD_ROWS * s->s.vocab) * 4;
}

static int64_t loss_n(const setting *s)
{
    (void)s;
    return HEAD_ROWS;
}

static void run_loss_grad(const setting *s)
{
    cross_entropy(s, true);
}

static void run_loss_grad16(const setting *s)
{
    s->k->cross_entropy(&(nb_cross_entropy_args){s->q, HEAD_ROWS, s->s.vocab, s->b[0], s->ids,
                                                 0.001f, true, s->b[1], (uint8_t *)s->b[2],
                                                 NB_DT_BF16});
}

static double bytes_loss_grad16(const setting *s)
{
    return (double)(HEAD_ROWS * s->s.vocab) * 6;
}

static double bytes_loss_grad(const setting *s)
{
    return (double)(HEAD_ROWS * s->s.vocab) * 8;
}

static int64_t loss_grad_n(const setting *s)
{
    return HEAD_ROWS * s->s.vocab;
}

static void run_embed(const setting *s)
{
    s->k->embed(&(nb_embed_args){s->q, s->rows, s->s.d, s->act, s->b[0], s->ids, s->b[1]});
}

static double bytes_embed(const setting *s)
{
    return hidden(s) * (4 + act_size(s));
}

static void run_embed_bwd(const setting *s)
{
    s->k->embed_bwd(&(nb_embed_bwd_args){s->q, s->rows, s->s.d, s->ids, s->b[0], s->b[1]});
}

static void run_adamw(const setting *s)
{
    s->k->adamw(&(nb_adamw_args){s->q, hidden_n(s), s->b[0], s->b[1], s->b[2], s->b[3], 1.0, 1e-5,
                                 0.9, 0.999, 1e-8, 0.01, 7});
}

static double bytes_adamw(const setting *s)
{
    return hidden(s) * 28;
}

static void run_sumsq(const setting *s)
{
    s->k->sumsq(&(nb_sumsq_args){s->q, hidden_n(s), s->b[0], (double *)(void *)s->b[1]});
}

static double bytes_sumsq(const setting *s)
{
    return hidden(s) * 4;
}

static int64_t zero_n(const setting *s)
{
    (void)s;
    return 0;
}

static const operation operations[] = {
    {"rmsnorm", run_rmsnorm, bytes_rmsnorm, 1, hidden_n, .residual = true},
    {"rmsnorm + copy", run_rmsnorm_copy, bytes_rmsnorm_copy, 2, hidden_n, .out_f32 = true,
     .residual = true},
    {"rmsnorm, axpy", run_rmsnorm_axpy, bytes_rmsnorm_copy, 2, hidden_n, .out_f32 = true,
     .residual = true},
    {"rmsnorm_bwd", run_rmsnorm_bwd, bytes_rmsnorm_bwd, 2, hidden_n, .out_f32 = true,
     .changes = true, .residual = true},
    {"rmsnorm_bwd dw", run_rmsnorm_dw, bytes_rmsnorm_bwd, 3, d_n, .out_f32 = true, .changes = true,
     .residual = true},
    {"glu silu", run_glu, bytes_glu, 2, wide_n},
    {"glu gelu_tanh", run_gelu, bytes_glu, 2, wide_n},
    {"glu gelu_erf", run_gelu_erf, bytes_glu, 2, wide_n},
    {"glu_bwd", run_glu_bwd, bytes_glu_bwd, 3, wide_n},
    {"glu_bwd + h", run_glu_bwd_h, bytes_glu_bwd_h, 0, wide_n, .changes = true},
    {"rope q+k", run_rope, bytes_rope, 0, rope_n, .changes = true},
    {"axpy", run_axpy, bytes_axpy, 1, hidden_n, .out_f32 = true, .changes = true,
     .one_dtype = true},
    {"bias", run_bias, bytes_bias, 0, hidden_n, .changes = true},
    {"bias_bwd", run_bias_bwd, bytes_bias_bwd, 1, d_n, .out_f32 = true, .reads_only = true,
     .changes = true},
    {"dropout", run_dropout, bytes_bias, 1, hidden_n},
    {"loss", run_loss, bytes_loss, 1, loss_n, .out_f32 = true, .reads_only = true,
     .one_dtype = true},
    {"loss + grad", run_loss_grad, bytes_loss_grad, 0, loss_grad_n, .out_f32 = true,
     .changes = true, .one_dtype = true},
    {"loss + grad16", run_loss_grad16, bytes_loss_grad16, 1, loss_n, .out_f32 = true,
     .changes = true, .one_dtype = true},
    {"embed", run_embed, bytes_embed, 1, hidden_n, .out_f32 = true},
    {"embed_bwd", run_embed_bwd, bytes_axpy, 1, hidden_n, .out_f32 = true, .changes = true,
     .one_dtype = true},
    {"adamw", run_adamw, bytes_adamw, 0, hidden_n, .out_f32 = true, .changes = true,
     .one_dtype = true},
    {"sumsq", run_sumsq, bytes_sumsq, 1, zero_n, .out_f32 = true, .reads_only = true,
     .one_dtype = true},
};

/* The yardsticks: `bytes` in all, split over the threads as the operations split theirs. */
static void copy_bytes(const setting *s, double bytes)
{
    const int64_t n = (int64_t)(bytes / 2), part = (n / s->q->threads + 63) / 64 * 64;
#pragma omp parallel for num_threads(s->q->threads) schedule(static)
    for (int64_t i = 0; i < n; i += part)
        memcpy((char *)s->b[4] + i, (char *)s->b[5] + i, (size_t)(n - i < part ? n - i : part));
}

static void read_bytes(const setting *s, double bytes)
{
    const int64_t n = (int64_t)(bytes / 8), part = (n / s->q->threads + 63) / 64 * 64;
    const uint64_t *x = (const uint64_t *)(const void *)s->b[4];
    uint64_t sum = 0;
#pragma omp parallel for num_threads(s->q->threads) schedule(static) reduction(+ : sum)
    for (int64_t i = 0; i < n; i += part) {
        uint64_t t[32] = {0};
        for (int64_t j = i; j + 32 <= (n - i < part ? n : i + part); j += 32)
            for (int c = 0; c < 32; c++)
                t[c] += x[j + c];
        for (int c = 0; c < 32; c++)
            sum += t[c];
    }
    s->b[3][0] = (float)sum;
}

/* The same numbers before each comparison: activations about 1, logits and gradients alike. */
static void fill(const setting *s, const operation *o, size_t bytes)
{
    uint32_t r = 12345;
    for (int b = 0; b < BUFFERS; b++) {
        const bool f32 = s->act == NB_DT_F32 || o->one_dtype || (b == 0 && o->residual) ||
                         (b == o->out && o->out_f32);
        for (size_t i = 0; i < bytes / 4; i++) {
            r = r * 1664525u + 1013904223u;
            const float v = (float)(int32_t)r * 0x1p-30f;
            /* two bf16 numbers make one f32 number about as large as the second */
            s->b[b][i] = f32 ? v : nb_f32_from_bits(nb_f32_to_bf16(v) * 0x10001u);
        }
    }
}

static double value(const setting *s, const operation *o, int64_t i)
{
    const float *f = s->b[o->out];
    if (o->out_f32 || s->act == NB_DT_F32)
        return (double)f[i];
    return (double)nb_bf16_to_f32(((const uint16_t *)(const void *)f)[i]);
}

/* The greatest deviation from the reference version, over the results' range. */
static double deviation(setting *s, const operation *o, const nb_kernels *k, size_t bytes)
{
    const int64_t n = o->out_n(s);
    double *want = nbi_alloc(NBI_MEM_OTHER, (size_t)(n + 1) * sizeof(double)), top = 0, worst = 0;
    nb_kernels ref;
    if (!want)
        exit(1);
    nb_kernels_init(&ref, 0);
    fill(s, o, bytes);
    s->k = &ref;
    o->run(s);
    for (int64_t i = 0; i < n; i++)
        want[i] = value(s, o, i);
    fill(s, o, bytes);
    s->k = k;
    o->run(s);
    for (int64_t i = 0; i < n; i++) {
        top = fabs(want[i]) > top ? fabs(want[i]) : top;
        worst = fmax(worst, fabs(want[i] - value(s, o, i)));
    }
    nbi_free(want);
    return top > 0 ? worst / top : worst;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure(setting *s, const operation *o, const nb_kernels *k, size_t bytes, int repeats)
{
    const double dev = deviation(s, o, k, bytes), moved = o->bytes(s);
    const bool f32 = s->act == NB_DT_F32 || o->one_dtype;
    double op[SAMPLES], mem[SAMPLES];
    for (int r = 0; r < repeats; r++) {
        /* operands that change are made anew now and then: numbers must not grow without bound */
        if (o->changes && r % 8 == 0)
            fill(s, o, bytes);
        double t = nbi_clock();
        (o->reads_only ? read_bytes : copy_bytes)(s, moved);
        mem[r] = nbi_clock() - t;
        t = nbi_clock();
        o->run(s);
        op[r] = nbi_clock() - t;
    }
    qsort(op, (size_t)repeats, sizeof(double), ascending);
    qsort(mem, (size_t)repeats, sizeof(double), ascending);
    const int mid = repeats / 2;
    printf("%-5s %5lld %-15s %-4s %7.2f %7.2f GB/s  %s %7.2f %7.2f  %5.0f %5.0f %%  dev %.1e\n",
           s->s.name, (long long)s->rows, o->name, f32 ? "f32" : "bf16", moved / op[0] * 1e-9,
           moved / op[mid] * 1e-9, o->reads_only ? "read" : "copy", moved / mem[0] * 1e-9,
           moved / mem[mid] * 1e-9, 100 * mem[0] / op[0], 100 * mem[mid] / op[mid], dev);
    fflush(stdout);
}

static void run_shape(setting *s, const nb_kernels *k, int repeats, const char *only)
{
    int64_t n = s->rows * s->s.inter;
    if (n < HEAD_ROWS * s->s.vocab)
        n = HEAD_ROWS * s->s.vocab;
    /* a yardstick needs half of what the largest operation moves */
    const size_t bytes = (size_t)n * 12;
    for (int i = 0; i < BUFFERS; i++)
        s->b[i] = nbi_alloc(NBI_MEM_OTHER, i < 4 ? (size_t)n * 4 : bytes);
    s->w = nbi_alloc(NBI_MEM_OTHER, (size_t)s->s.d * 4);
    s->rstd = nbi_alloc(NBI_MEM_OTHER, (size_t)s->rows * 4);
    s->cs = nbi_alloc(NBI_MEM_OTHER, (size_t)(s->rows * s->s.p) * 4);
    s->ids = nbi_alloc(NBI_MEM_OTHER, (size_t)(s->rows + HEAD_ROWS) * 4);
    if (!s->b[0] || !s->b[1] || !s->b[2] || !s->b[3] || !s->b[4] || !s->b[5] || !s->w || !s->rstd ||
        !s->cs || !s->ids)
        exit(1);
    for (int64_t i = 0; i < s->s.d; i++)
        s->w[i] = 1.0f;
    for (int64_t i = 0; i < s->rows; i++)
        s->rstd[i] = 0.9f;
    for (int64_t i = 0; i < s->rows * s->s.p; i++)
        s->cs[i] = i % 2 ? 0.6f : 0.8f;
    for (int64_t i = 0; i < s->rows + HEAD_ROWS; i++)
        s->ids[i] = (int32_t)((i * 7) % s->rows);
    memset(s->b[4], 0, bytes);
    memset(s->b[5], 0, bytes);
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        for (int t = 0; t < (operations[i].one_dtype ? 1 : 2); t++) {
            s->act = t ? NB_DT_BF16 : NB_DT_F32;
            if (!only || strstr(operations[i].name, only))
                measure(s, &operations[i], k, (size_t)n * 4, repeats);
        }
    for (int i = 0; i < BUFFERS; i++)
        nbi_free(s->b[i]);
    nbi_free(s->w);
    nbi_free(s->rstd);
    nbi_free(s->cs);
    nbi_free(s->ids);
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    int repeats = argc > 2 ? atoi(argv[2]) : 15;
    const int64_t rows = argc > 3 ? atoll(argv[3]) : 512;
    repeats = repeats < 1 ? 1 : repeats > SAMPLES ? SAMPLES : repeats;
    nb_queue *q;
    nb_error err = {0};
    if (rows < 1 || nb_queue_open(&q, threads, &err) != NB_OK) {
        fprintf(stderr, "%s\n", rows < 1 ? "rows must be positive" : err.message);
        return 1;
    }
    nb_kernels k;
    nb_kernels_init(&k, nb_cpu_flags());
    char buf[128], brand[64];
    nb_cpu_describe(nb_cpu_flags(), buf, brand);
    printf("%s; %s; glu %s; %d threads; best and median\n", brand, buf, k.glu_variant, q->threads);
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        setting s = {.q = q, .s = shapes[i], .rows = rows};
        run_shape(&s, &k, repeats, argc > 4 ? argv[4] : NULL);
    }
    nb_queue_close(&q);
    return 0;
}
