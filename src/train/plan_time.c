/* SPDX-License-Identifier: MIT */
#include "train/plan_time.h"

#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"

/* A measurement ends after this long or this often, whichever is first. */
#define MEASURE_SECONDS 0.15
#define MEASURE_ROUNDS 20
#define MEASURE_WIDTH 4096 /* no wider weights are measured */
#define MEASURE_ROWS 512
#define MEASURE_OPERATIONS 6e9
/* What is neither product nor attention (norms, rotations, gates, sums), of their time. */
#define REST 1.06

void nbi_token_sums_add(nbi_token_sums *s, const nb_dataset *d, int64_t window, double times)
{
    for (size_t i = 0; i < d->n; i++) {
        double n = (double)d->rows[i].n,
               seen = window > 0 && (double)window < n ? (double)window : n;
        if (d->rows[i].n_trained == 0)
            continue;
        s->rows += times;
        s->tokens += times * n;
        s->trained += times * (double)d->rows[i].n_trained;
        s->squares += times * n * seen;
    }
}

/* ---- operations ---- */

/* Operations of attention per squared token, forward: half of all pairs, scores and sums. */
static double attention_operations(const nb_model_config *c)
{
    return 2.0 * (double)(c->layers * c->heads * c->head_dim);
}

static double head_operations(const nb_model_config *c)
{
    return 2.0 * (double)c->vocab * (double)c->hidden;
}

/* Seconds and operations of one kind of work. */
typedef struct work {
    double products, attention;
} work;

static double seconds(work w, const nbi_rates *r)
{
    return REST * (w.products / r->products + w.attention / r->attention);
}

static work forward(const nbi_memory_plan *m, const nb_model_config *c, const nbi_token_sums *s)
{
    return (work){(m->products + m->lora_products) * s->tokens + head_operations(c) * s->trained,
                  attention_operations(c) * s->squares};
}

/* The frozen weights give an input gradient only, trained ones a weight gradient too. */
static work backward(const nbi_memory_plan *m, const nb_model_config *c, bool full,
                     const nbi_token_sums *s)
{
    double times = full ? 2 : 1;
    return (work){(times * m->products + 2 * m->lora_products) * s->tokens +
                      times * head_operations(c) * s->trained,
                  2.5 * attention_operations(c) * s->squares};
}

/* Layers computed a second time in the backward pass; only the recomputed ones do their attention
 * again. */
static work again(const nbi_memory_plan *m, const nb_model_config *c, const nbi_token_sums *s)
{
    double layers = (double)c->layers;
    double part = (double)(m->redone[NB_SELECTIVE] + m->redone[NB_RECOMPUTE]) / layers;
    work w = {m->lora_products * part * s->tokens,
              attention_operations(c) * s->squares * (double)m->redone[NB_RECOMPUTE] / layers};
    for (int i = NB_SELECTIVE; i <= NB_RECOMPUTE; i++)
        w.products += (double)m->redone[i] * m->layer_again[i] * s->tokens;
    return w;
}

void nbi_time_plan_make(nbi_time_plan *t, const nbi_memory_plan *m, const nb_model_config *c,
                        bool full, const nbi_workload *w, const nbi_rates *r)
{
    double steps = w->steps > 0 ? w->steps : 1;
    work f = forward(m, c, &w->run), b = backward(m, c, full, &w->run), a = again(m, c, &w->run);
    work useful = {f.products + b.products, f.attention + b.attention};
    work all = {useful.products + a.products, useful.attention + a.attention};
    *t = (nbi_time_plan){.useful = (useful.products + useful.attention) / steps,
                         .again = (a.products + a.attention) / steps};
    t->step = seconds(all, r) / steps;
    t->evaluation = w->eval.rows > 0 ? seconds(forward(m, c, &w->eval), r) : 0;
    t->run = t->step * steps + t->evaluation * w->evaluations;
}

/* ---- measuring ---- */

typedef struct bench {
    nb_kernels k;
    nb_queue *q;
    nb_compute compute;
    int64_t rows, n, w_cols;
    nb_qtensor w;
    unsigned char *weights, *stats;
    float *x, *y;
} bench;

static void close_bench(bench *b)
{
    nbi_free(b->weights);
    nbi_free(b->stats);
    nbi_free(b->x);
    nbi_free(b->y);
    nb_queue_close(&b->q);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Weights of the model's kind with arbitrary values; their statistics are ones. */
static nb_status make_weights(bench *b, const nb_quant_config *quant, nb_error *err)
{
    size_t count = (size_t)b->n * (size_t)b->w_cols;
    b->w = nb_qtensor_dense(b->compute == NB_COMPUTE_BF16 ? NB_DT_BF16 : NB_DT_F32, NULL, b->n,
                            b->w_cols);
    if (quant->load_in_4bit) {
        b->w.kind = quant->kind;
        b->w.block = quant->block > 0 ? quant->block : 64;
        memcpy(b->w.book, quant->kind == NB_QK_NF4 ? nb_book_nf4 : nb_book_fp4, sizeof b->w.book);
    }
    size_t blocks = b->w.block > 0 ? count / (size_t)b->w.block + 1 : 0;
    b->weights = nbi_calloc(NBI_MEM_SCRATCH, nb_qtensor_data_bytes(&b->w), 1);
    b->stats = nbi_calloc(NBI_MEM_SCRATCH, blocks + 1, sizeof(float));
    if (!b->weights || !b->stats)
        return nbi_fail_nomem(err, "a measurement", count);
    b->w.data = b->weights;
    float *scale = (float *)(void *)b->stats;
    for (size_t i = 0; i < blocks; i++)
        scale[i] = 1;
    b->w.absmax = b->w.block > 0 ? scale : NULL;
    return NB_OK;
}

/* Best of some rounds of `once`, seconds. */
static double best_of(void (*once)(const void *), const void *user)
{
    double best = INFINITY, begin = nbi_clock();
    for (int i = 0; i < MEASURE_ROUNDS && (i < 3 || nbi_clock() - begin < MEASURE_SECONDS); i++) {
        double t = nbi_clock();
        once(user);
        best = fmin(best, nbi_clock() - t);
    }
    return best;
}

static void one_product(const bench *b, bool backwards)
{
    nb_dtype t = NB_ACT_DTYPE(b->compute);
    nb_qgroup g = {&b->w, 0, b->n, 0, b->rows};
    nb_qmatmul_args a = {.q = b->q,
                         .groups = &g,
                         .n_groups = 1,
                         .backward = backwards,
                         .x = backwards ? b->y : b->x,
                         .ldx = backwards ? b->n : b->w_cols,
                         .y = backwards ? b->x : b->y,
                         .ldy = backwards ? b->w_cols : b->n,
                         .compute = b->compute,
                         .x_dtype = t,
                         .y_dtype = t};
    b->k.qmatmul(&a);
}

static void products(const void *user)
{
    const bench *b = user;
    one_product(b, false);
    one_product(b, true);
}

static nb_status measure_products(bench *b, double *rate, nb_error *err)
{
    b->x = nbi_calloc(NBI_MEM_SCRATCH, (size_t)b->rows * (size_t)b->w_cols, sizeof(float));
    b->y = nbi_calloc(NBI_MEM_SCRATCH, (size_t)b->rows * (size_t)b->n, sizeof(float));
    if (!b->x || !b->y)
        return nbi_fail_nomem(err, "a measurement", (size_t)b->rows * (size_t)b->n);
    double operations = 2 * 2.0 * (double)b->rows * (double)b->n * (double)b->w_cols;
    *rate = operations / best_of(products, b);
    nbi_free(b->x);
    nbi_free(b->y);
    b->x = b->y = NULL;
    return NB_OK;
}

typedef struct attention_bench {
    const nb_kernels *k;
    nb_attention_args args;
} attention_bench;

static void attention(const void *user)
{
    const attention_bench *b = user;
    b->k->attention(&b->args);
}

/* A few heads of one segment; their forward pass stands for both. */
static nb_status measure_attention(bench *b, const nb_model_config *c, double *rate, nb_error *err)
{
    int64_t tokens = b->rows, heads = least(c->heads, 8), p = c->head_dim;
    size_t row = (size_t)(heads * p), count = (size_t)tokens * row;
    float *x = nbi_calloc(NBI_MEM_SCRATCH, 4 * count, sizeof(float));
    if (!x)
        return nbi_fail_nomem(err, "a measurement", 4 * count);
    nb_attn_segment s = {.q_len = tokens, .k_len = tokens};
    attention_bench a = {&b->k,
                         {.q_ = b->q,
                          .segments = &s,
                          .n_segments = 1,
                          .heads = heads,
                          .kv_heads = heads,
                          .p = p,
                          .q = x,
                          .k = x + count,
                          .v = x + 2 * count,
                          .ldq = (int64_t)row,
                          .ldk = (int64_t)row,
                          .ldv = (int64_t)row,
                          .scale = 1,
                          .out = x + 3 * count,
                          .ldo = (int64_t)row,
                          .dtype = NB_ACT_DTYPE(b->compute)}};
    double best = best_of(attention, &a);
    nbi_free(x);
    *rate = 2.0 * (double)tokens * (double)tokens * (double)row / best;
    return NB_OK;
}

nb_status nbi_rates_measure(nbi_rates *r, const nb_model_config *c, const nb_quant_config *quant,
                            nb_compute compute, unsigned cpu_flags, int threads,
                            double batch_tokens, nb_error *err)
{
    bench b = {.compute = compute,
               .n = least(c->ffn > c->hidden ? c->ffn : c->hidden, MEASURE_WIDTH),
               .w_cols = least(c->hidden, MEASURE_WIDTH)};
    int64_t rows = batch_tokens < MEASURE_ROWS ? (int64_t)batch_tokens : MEASURE_ROWS;
    b.rows = rows > 1 ? rows : 1;
    while (2.0 * (double)b.rows * (double)b.n * (double)b.w_cols > MEASURE_OPERATIONS)
        b.n = (b.n + 1) / 2;
    nb_kernels_init(&b.k, cpu_flags);
    NBI_TRY(nb_queue_open(&b.q, threads, err));
    nb_status st = make_weights(&b, quant, err);
    if (st == NB_OK)
        st = measure_products(&b, &r->products, err);
    if (st == NB_OK)
        st = measure_attention(&b, c, &r->attention, err);
    r->kernel = b.k.qmatmul_variant;
    close_bench(&b);
    return st;
}
