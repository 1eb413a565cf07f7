/* SPDX-License-Identifier: MIT */
/* One QLoRA step (forward, loss, backward) on random tokens: tokens/s, useful GFLOP/s, and where
 * the time goes, by operation. Useful FLOPs are those of the products and of causal attention
 * without recompute.
 *
 *   bench_step MODEL_DIR [tokens] [rows] [keep|selective|recompute] [repeats] [threads] [rank]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "adapter/adapter.h"
#include "base/alloc.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/rng.h"
#include "kernel/doctor.h"

/* Kernels that a step calls, each behind a clock. */
#define OPERATIONS(X)                                                                              \
    X(rmsnorm)                                                                                     \
    X(rmsnorm_bwd)                                                                                 \
    X(glu)                                                                                         \
    X(glu_bwd)                                                                                     \
    X(rope)                                                                                        \
    X(axpy)                                                                                        \
    X(dropout)                                                                                     \
    X(attention)                                                                                   \
    X(attention_bwd)                                                                               \
    X(cross_entropy)                                                                               \
    X(embed)                                                                                       \
    X(embed_bwd)

typedef enum clock_id {
    FORWARD,
    BACKWARD,
    HEAD_FORWARD,
    HEAD_BACKWARD,
    LORA_DOWN,
    LORA_OUT,
    LORA_IN,
    LORA_DROPPED,
#define ID(op) OP_##op,
    OPERATIONS(ID)
#undef ID
        N_CLOCKS
} clock_id;
static const char *const clock_name[] = {"qmatmul forward", "qmatmul backward", "head forward",
                                         "head backward",   "lora x A",         "lora dy B, dB",
                                         "lora dA",         "lora dropped",
#define NAME(op) #op,
                                         OPERATIONS(NAME)
#undef NAME
};
static double spent[N_CLOCKS];
static long calls[N_CLOCKS];
static nb_kernels real;
static int64_t head_rows;

static void note(clock_id id, double t0)
{
    spent[id] += nbi_clock() - t0;
    calls[id]++;
}

#define TIMED(op)                                                                                  \
    static void timed_##op(const nb_##op##_args *a)                                                \
    {                                                                                              \
        double t0 = nbi_clock();                                                                   \
        real.op(a);                                                                                \
        note(OP_##op, t0);                                                                         \
    }
OPERATIONS(TIMED)

static void timed_qmatmul(const nb_qmatmul_args *a)
{
    double t0 = nbi_clock();
    real.qmatmul(a);
    const bool head = a->groups->w->n == head_rows;
    note(head ? a->backward ? HEAD_BACKWARD : HEAD_FORWARD : a->backward ? BACKWARD : FORWARD, t0);
}

static void timed_matmul(const nb_matmul_args *a)
{
    double t0 = nbi_clock();
    real.matmul(a);
    note(LORA_DROPPED, t0);
}

static void timed_thin(const nb_thin_args *a)
{
    double t0 = nbi_clock();
    real.thin(a);
    note(!a->terms->d ? LORA_DOWN : a->terms->c ? LORA_OUT : LORA_IN, t0);
}

static void put_clocks(nb_kernels *k)
{
    real = *k;
    k->qmatmul = timed_qmatmul;
    k->matmul = timed_matmul;
    k->thin = timed_thin;
#define PUT(op) k->op = timed_##op;
    OPERATIONS(PUT)
#undef PUT
}

static int fail(const nb_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    return 1;
}

static double useful_flops(const nb_model *m, const nb_adapter *a, double rows, double length)
{
    const nb_model_config *f = &m->config;
    double linear = 0;
    for (size_t i = 0; i < m->n_sites; i++)
        linear += (double)m->sites[i].rows * (double)m->sites[i].in;
    double attention = 2.0 * length * (double)(f->heads * f->head_dim * f->layers);
    return rows * (4.0 * linear + 6.0 * (double)a->n_parameters + 3.5 * attention);
}

typedef struct tokens {
    nb_batch b;
    int32_t *ids, *targets, *positions, *example;
    int64_t *starts;
} tokens;

static tokens random_tokens(int64_t length, int64_t rows, int64_t vocab)
{
    int64_t m = length * rows;
    tokens t = {0};
    nbi_rng r;
    nbi_rng_init(&r, 1, NBI_RNG_SAMPLE, 0);
    t.ids = nbi_calloc(NBI_MEM_OTHER, (size_t)m, sizeof *t.ids);
    t.targets = nbi_calloc(NBI_MEM_OTHER, (size_t)m, sizeof *t.targets);
    t.positions = nbi_calloc(NBI_MEM_OTHER, (size_t)m, sizeof *t.positions);
    t.example = nbi_calloc(NBI_MEM_OTHER, (size_t)m, sizeof *t.example);
    t.starts = nbi_calloc(NBI_MEM_OTHER, (size_t)rows + 1, sizeof *t.starts);
    for (int64_t i = 0; i < m; i++) {
        t.ids[i] = (int32_t)nbi_rng_below(&r, (uint64_t)vocab);
        t.positions[i] = (int32_t)(i % length);
        t.example[i] = (int32_t)(i / length);
    }
    for (int64_t i = 0; i < m; i++)
        t.targets[i] = (i + 1) % length ? t.ids[i + 1] : NB_IGNORE_INDEX;
    for (int64_t i = 0; i <= rows; i++)
        t.starts[i] = i * length;
    t.b = (nb_batch){.m = m,
                     .ids = t.ids,
                     .targets = t.targets,
                     .positions = t.positions,
                     .example = t.example,
                     .n_segments = rows,
                     .starts = t.starts,
                     .n_targets = m - rows};
    return t;
}

static void free_tokens(tokens *t)
{
    nbi_free(t->ids);
    nbi_free(t->targets);
    nbi_free(t->positions);
    nbi_free(t->example);
    nbi_free(t->starts);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const double *step, int repeats, double flops, int64_t rows)
{
    double best = step[0], median = step[repeats / 2], total = 0, inside = 0;
    for (int i = 0; i < repeats; i++)
        total += step[i];
    printf("step: best %.3f s, median %.3f s; %.1f tokens/s, %.0f useful GFLOP/s (best)\n", best,
           median, (double)rows / best, flops / best * 1e-9);
    for (int i = 0; i < N_CLOCKS; i++) {
        inside += spent[i];
        if (calls[i])
            printf("  %-18s %8.2f ms %6ld calls %5.1f %%\n", clock_name[i],
                   spent[i] / repeats * 1e3, calls[i] / repeats, 100.0 * spent[i] / total);
    }
    printf("  %-18s %8.2f ms %18.1f %%\n", "rest", (total - inside) / repeats * 1e3,
           100.0 * (1.0 - inside / total));
}

static nb_status measure(nb_model *m, const nb_adapter *a, const tokens *t, int64_t length,
                         nb_recompute mode, int repeats, nb_error *err)
{
    uint8_t modes[1024];
    double step[64];
    nb_workspace *ws;
    memset(modes, mode, sizeof modes);
    nb_pass_plan plan = {.max_rows = t->b.m, .training = true, .recompute = modes};
    NBI_TRY(nb_workspace_open(&ws, m, &plan, err));
    put_clocks(&m->exec.k);
    head_rows = m->config.vocab;
    for (int i = -1; i < repeats; i++) {
        if (i == 0) { /* the first pass touches the memory */
            memset(spent, 0, sizeof spent);
            memset(calls, 0, sizeof calls);
        }
        double t0 = nbi_clock();
        nb_model_forward(m, ws, &t->b, NULL, true);
        nb_model_loss(m, ws, &t->b, 1.0 / (double)t->b.n_targets, true, NULL);
        nb_model_backward(m, ws, &t->b);
        step[i < 0 ? 0 : i] = nbi_clock() - t0;
    }
    qsort(step, (size_t)repeats, sizeof *step, by_value);
    report(step, repeats, useful_flops(m, a, (double)t->b.m, (double)length), t->b.m);
    nb_workspace_close(&ws);
    return NB_OK;
}

int main(int argc, char **argv)
{
    const char *mode = argc > 4 ? argv[4] : "keep";
    int64_t length = argc > 2 ? atoi(argv[2]) : 512, rows = argc > 3 ? atoi(argv[3]) : 1;
    int repeats = argc > 5 ? atoi(argv[5]) : 5, rank = argc > 7 ? atoi(argv[7]) : 16;
    nb_error err = {0};
    nb_model *m;
    nb_adapter *a;
    nb_model_load how = {.threads = argc > 6 ? atoi(argv[6]) : 0,
                         .cpu_flags = nb_cpu_flags(),
                         .compute = NB_COMPUTE_BF16};
    if (argc < 2 || length < 2 || rows < 1 || repeats < 1 || repeats > 64) {
        fprintf(stderr, "usage: bench_step MODEL_DIR [tokens] [rows] [keep|selective|recompute] "
                        "[repeats] [threads] [rank]\n");
        return 2;
    }
    how.quant = (nb_quant_config){.load_in_4bit = true,
                                  .kind = NB_QK_NF4,
                                  .double_quant = true,
                                  .block = 64,
                                  .nested_block = 256};
    if (nb_model_open(&m, argv[1], &how, NULL, &err) != NB_OK)
        return fail(&err);
    nb_lora_config c;
    nb_lora_config_default(&c);
    c.r = rank;
    c.all_linear = true;
    if (nb_adapter_new_lora(&a, m, &c, 1, true, &err) != NB_OK)
        return fail(&err);
    tokens t = random_tokens(length, rows, m->config.vocab);
    nb_recompute r = mode[0] == 'r' ? NB_RECOMPUTE : mode[0] == 's' ? NB_SELECTIVE : NB_KEEP;
    printf("%lld x %lld tokens, rank %d, %s, %d threads, products: %s\n", (long long)rows,
           (long long)length, rank, mode, m->exec.q->threads, m->exec.k.qmatmul_variant);
    nb_status st = measure(m, a, &t, length, r, repeats, &err);
    free_tokens(&t);
    nb_adapter_close(&a);
    nb_lora_config_free(&c);
    nb_model_close(&m);
    return st == NB_OK ? 0 : fail(&err);
}
