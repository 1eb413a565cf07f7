/* SPDX-License-Identifier: MIT */
#include "train/plan_time.h"

#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "base/diskrate.h"
#include "base/fail.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"

/* A measurement ends after this long or this often, whichever is first. */
#define MEASURE_SECONDS 0.15
#define MEASURE_ROUNDS 20
#define MEASURE_WIDTH 4096 /* no wider weights are measured */
#define MEASURE_ROWS 512
#define MEASURE_OPERATIONS 6e9
#define ROOM_BYTES ((size_t)64 << 20)
#define SMALL_ROWS 128
#define SMALL_SECONDS 0.02
/* Numbers that a token's forward and backward pass reads and writes beside its products, as so many
 * rows of the residual stream and of the MLP in each layer: norms, rotations, gates, sums. */
#define STREAM_ROWS 24
#define MLP_ROWS 12
/* Bytes a second of a disk that cannot be measured: a plain solid-state one. */
#define ASSUMED_DISK 5e8
/* Bytes an update moves for each trained value: gradient cleared, measured and used, value and
 * moments. */
#define UPDATE_BYTES 40.0

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

/* Bytes a token moves in a forward pass; a backward pass moves twice as many. */
static double traffic(const nbi_memory_plan *m, const nb_model_config *c)
{
    double mlp = (double)(c->experts > 0 ? c->ffn * c->experts_used : c->ffn);
    double row = STREAM_ROWS * (double)c->hidden + MLP_ROWS * mlp;
    return (double)c->layers * row * m->act_bytes / 3;
}

/* Work of one kind: operations, and bytes beside them. */
typedef struct work {
    double products, attention, bytes;
} work;

static double seconds(work w, const nbi_rates *r)
{
    return w.products / r->products + w.attention / r->attention + w.bytes / r->memory;
}

static work forward(const nbi_memory_plan *m, const nb_model_config *c, const nbi_token_sums *s)
{
    return (work){(m->products + m->lora_products) * s->tokens + head_operations(c) * s->trained,
                  attention_operations(c) * s->squares, traffic(m, c) * s->tokens};
}

/* The frozen weights give an input gradient only, trained ones a weight gradient too. */
static work backward(const nbi_memory_plan *m, const nb_model_config *c, bool full,
                     const nbi_token_sums *s)
{
    double times = full ? 2 : 1;
    return (work){(times * m->products + 2 * m->lora_products) * s->tokens +
                      times * head_operations(c) * s->trained,
                  2.5 * attention_operations(c) * s->squares, 2 * traffic(m, c) * s->tokens};
}

/* Layers computed a second time in the backward pass; only the recomputed ones do their attention
 * again. */
static work again(const nbi_memory_plan *m, const nb_model_config *c, const nbi_token_sums *s)
{
    double layers = (double)c->layers;
    double part = (double)(m->redone[NB_SELECTIVE] + m->redone[NB_RECOMPUTE]) / layers;
    work w = {m->lora_products * part * s->tokens,
              attention_operations(c) * s->squares * (double)m->redone[NB_RECOMPUTE] / layers,
              traffic(m, c) * part * s->tokens};
    for (int i = NB_SELECTIVE; i <= NB_RECOMPUTE; i++)
        w.products += (double)m->redone[i] * m->layer_again[i] * s->tokens;
    return w;
}

static double reading(double bytes, const nbi_rates *r)
{
    return r->disk > 0 ? bytes / r->disk : 0;
}

void nbi_time_plan_make(nbi_time_plan *t, const nbi_memory_plan *m, const nb_model_config *c,
                        bool full, const nbi_workload *w, const nbi_rates *r)
{
    double steps = w->steps > 0 ? w->steps : 1;
    work f = forward(m, c, &w->run), b = backward(m, c, full, &w->run), a = again(m, c, &w->run);
    work useful = {f.products + b.products, f.attention + b.attention};
    double optimizer = UPDATE_BYTES * (double)m->trained * steps;
    work all = {useful.products + a.products, useful.attention + a.attention,
                f.bytes + b.bytes + a.bytes + optimizer};
    *t = (nbi_time_plan){.useful = (useful.products + useful.attention) / steps,
                         .again = (a.products + a.attention) / steps};
    t->in_memory = seconds(all, r) / steps;
    t->reading = reading(w->micro_batches * (m->read_forward + m->read_backward), r) / steps;
    t->step = fmax(t->in_memory, t->reading);
    if (w->eval.rows > 0)
        t->evaluation =
            fmax(seconds(forward(m, c, &w->eval), r), reading(w->eval_passes * m->read_forward, r));
    t->run = t->step * steps + t->evaluation * w->evaluations;
}

/* ---- measuring ---- */

typedef struct bench {
    const nb_kernels *k;
    nb_queue *q;
    nb_compute compute;
    int64_t rows;
    const nb_qtensor *w;
    double seconds; /* that one measurement may take */
    float *x, *y;   /* [rows, inputs], [rows, outputs] */
    float *room;    /* more than caches hold, as far as there is that much */
    size_t room_bytes;
} bench;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Best of some rounds of `once`, seconds. */
static double best_of(const bench *b, void (*once)(const void *), const void *user)
{
    double best = INFINITY, begin = nbi_clock();
    for (int i = 0; i < MEASURE_ROUNDS && (i < 2 || nbi_clock() - begin < b->seconds); i++) {
        double t = nbi_clock();
        once(user);
        best = fmin(best, nbi_clock() - t);
    }
    return best;
}

static void one_product(const bench *b, bool backwards)
{
    nb_dtype t = NB_ACT_DTYPE(b->compute);
    nb_qgroup g = {b->w, 0, b->w->n, 0, b->rows};
    nb_qmatmul_args a = {.q = b->q,
                         .groups = &g,
                         .n_groups = 1,
                         .backward = backwards,
                         .x = backwards ? b->y : b->x,
                         .ldx = backwards ? b->w->n : b->w->k,
                         .y = backwards ? b->x : b->y,
                         .ldy = backwards ? b->w->k : b->w->n,
                         .compute = b->compute,
                         .x_dtype = t,
                         .y_dtype = t};
    b->k->qmatmul(&a);
}

static void products(const void *user)
{
    one_product(user, false);
    one_product(user, true);
}

static void copies(const void *user)
{
    const bench *b = user;
    int64_t n = (int64_t)(b->room_bytes / sizeof(float) / 2);
    nb_axpy_args a = {b->q, n, 1.0f, b->room, b->room + n, false};
    b->k->axpy(&a);
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
static nb_status measure_attention(const bench *b, const nb_model_config *c, double *rate,
                                   nb_error *err)
{
    int64_t tokens = b->rows, heads = least(c->heads, 8), row = heads * c->head_dim;
    size_t count = (size_t)tokens * (size_t)row;
    float *x = nbi_calloc(NBI_MEM_SCRATCH, 4 * count, sizeof(float));
    if (!x)
        return nbi_fail_nomem(err, "a measurement", 4 * count);
    nb_attn_segment s = {.q_len = tokens, .k_len = tokens};
    attention_bench a = {b->k,
                         {.q_ = b->q,
                          .segments = &s,
                          .n_segments = 1,
                          .heads = heads,
                          .kv_heads = heads,
                          .p = c->head_dim,
                          .q = x,
                          .k = x + count,
                          .v = x + 2 * count,
                          .ldq = row,
                          .ldk = row,
                          .ldv = row,
                          .scale = 1,
                          .out = x + 3 * count,
                          .ldo = row,
                          .dtype = NB_ACT_DTYPE(b->compute)}};
    *rate = 2.0 * (double)tokens * (double)tokens * (double)row / best_of(b, attention, &a);
    nbi_free(x);
    return NB_OK;
}

/* The variant that multiplies in the run's compute type. */
static const char *product_variant(unsigned flags, nb_compute compute)
{
    nb_kernels k;
    nb_kernels_init(&k, compute == NB_COMPUTE_BF16 ? flags : nb_cpu_f32_flags(flags));
    return k.qmatmul_variant;
}

static nb_status measure(bench *b, const nb_model_config *c, nbi_rates *r, nb_error *err)
{
    size_t in = (size_t)b->rows * (size_t)b->w->k, out = (size_t)b->rows * (size_t)b->w->n;
    b->x = nbi_calloc(NBI_MEM_SCRATCH, in, sizeof(float));
    b->y = nbi_calloc(NBI_MEM_SCRATCH, out, sizeof(float));
    nb_status st = b->x && b->y ? NB_OK : nbi_fail_nomem(err, "a measurement", in + out);
    if (st == NB_OK) {
        r->products = 2 * 2.0 * (double)in * (double)b->w->n / best_of(b, products, b);
        r->memory = (double)b->room_bytes / best_of(b, copies, b);
    }
    nbi_free(b->x);
    nbi_free(b->y);
    return st == NB_OK ? measure_attention(b, c, &r->attention, err) : st;
}

/* Weights of the model's kind with arbitrary values; their statistics are ones. */
static nb_status make_weights(nb_qtensor *w, const nb_quant_config *quant, void **data,
                              float **scale, nb_error *err)
{
    size_t count = (size_t)w->n * (size_t)w->k, blocks = 0;
    if (quant->load_in_4bit) {
        w->kind = quant->kind;
        w->block = quant->block > 0 ? quant->block : 64;
        memcpy(w->book, quant->kind == NB_QK_NF4 ? nb_book_nf4 : nb_book_fp4, sizeof w->book);
        blocks = count / (size_t)w->block + 1;
    }
    *data = nbi_calloc(NBI_MEM_SCRATCH, nb_qtensor_data_bytes(w), 1);
    *scale = nbi_calloc(NBI_MEM_SCRATCH, blocks + 1, sizeof(float));
    if (!*data || !*scale)
        return nbi_fail_nomem(err, "a measurement", count);
    w->data = *data;
    for (size_t i = 0; i < blocks; i++)
        (*scale)[i] = 1;
    w->absmax = blocks > 0 ? *scale : NULL;
    return NB_OK;
}

nb_status nbi_rates_measure(nbi_rates *r, const nb_model_config *c, const nb_quant_config *quant,
                            nb_compute compute, unsigned cpu_flags, int threads,
                            double batch_tokens, nb_error *err)
{
    nb_kernels k;
    int64_t n = least(c->ffn > c->hidden ? c->ffn : c->hidden, MEASURE_WIDTH);
    int64_t rows = batch_tokens < MEASURE_ROWS ? (int64_t)batch_tokens : MEASURE_ROWS;
    bench b = {
        .k = &k, .compute = compute, .rows = rows > 1 ? rows : 1, .seconds = MEASURE_SECONDS};
    nb_qtensor w = nb_qtensor_dense(compute == NB_COMPUTE_BF16 ? NB_DT_BF16 : NB_DT_F32, NULL, n,
                                    least(c->hidden, MEASURE_WIDTH));
    void *data = NULL;
    float *scale = NULL;
    while (2.0 * (double)b.rows * (double)w.n * (double)w.k > MEASURE_OPERATIONS)
        w.n = (w.n + 1) / 2;
    nb_kernels_init(&k, cpu_flags);
    r->kernel = product_variant(cpu_flags, compute);
    NBI_TRY(nb_queue_open(&b.q, threads, err));
    nb_status st = make_weights(&w, quant, &data, &scale, err);
    b.w = &w;
    b.room_bytes = ROOM_BYTES;
    b.room = nbi_calloc(NBI_MEM_SCRATCH, 1, ROOM_BYTES);
    if (st == NB_OK && !b.room)
        st = nbi_fail_nomem(err, "a measurement", ROOM_BYTES);
    nbi_mem_populate(b.room);
    if (st == NB_OK)
        st = measure(&b, c, r, err);
    nbi_free(b.room);
    nbi_free(data);
    nbi_free(scale);
    nb_queue_close(&b.q);
    return st;
}

void nbi_rates_disk(nbi_rates *r, const char *dir)
{
    nb_safetensors *files = NULL;
    size_t n = 0, most = 0;
    r->disk = ASSUMED_DISK;
    r->disk_measured = false;
    if (!dir || nb_safetensors_open_dir(&files, dir, "model", NULL) != NB_OK)
        return;
    const nbi_mapfile *f = nb_safetensors_files(files, &n);
    for (size_t i = 1; i < n; i++)
        most = f[i].size > f[most].size ? i : most;
    double rate;
    if (n > 0 && nbi_disk_rate(f[most].path, &rate)) {
        r->disk = rate;
        r->disk_measured = true;
    }
    nb_safetensors_close(&files);
}

nb_status nbi_rates_of_model(nbi_rates *r, const nb_model *m, const nb_workspace *ws, nb_error *err)
{
    bench b = {.k = &m->exec.k,
               .q = m->exec.q,
               .compute = m->exec.compute,
               .rows = SMALL_ROWS,
               .w = &m->blocks[0].up.w,
               .seconds = SMALL_SECONDS};
    b.room = nb_workspace_room(ws, &b.room_bytes);
    if (b.room_bytes > ROOM_BYTES)
        b.room_bytes = ROOM_BYTES;
    return measure(&b, &m->config, r, err);
}
