/* SPDX-License-Identifier: MIT */
/* Generation end to end with a model folder, without a tokenizer: tokens a second of the prompt and
 * of the answer, the latter against the speed at which the bytes that a token needs (weights, their
 * statistics, the head) can be read from where they lie, measured in between.
 *
 *   bench_generate DIR [threads] [f32|bf16] [prompt] [new] [rounds]
 *
 * Dense weights are quantised to NF4 with double quantisation while loading. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alloc.h"
#include "bench_stream.h"
#include "generate/session.h"
#include "model/model.h"

typedef struct range {
    const void *p;
    size_t bytes;
} range;

typedef struct ranges {
    range *v;
    size_t n, bytes;
} ranges;

static void add_weight(ranges *r, const nb_qtensor *w)
{
    r->v[r->n++] = (range){w->data, nb_qtensor_data_bytes(w)};
    r->bytes += nb_qtensor_data_bytes(w) + nb_qtensor_stat_bytes(w);
}

static ranges ranges_of(const nb_model *m)
{
    const size_t layers = (size_t)m->config.layers;
    ranges r = {nbi_calloc(NBI_MEM_OTHER, 7 * layers + 1, sizeof(range)), 0, 0};
    if (!r.v)
        exit(1);
    for (size_t i = 0; i < layers; i++) {
        const nb_block *b = &m->blocks[i];
        const nb_linear *l[] = {&b->q, &b->k, &b->v, &b->o, &b->gate, &b->up, &b->down};
        for (size_t j = 0; j < sizeof l / sizeof l[0]; j++)
            add_weight(&r, &l[j]->w);
    }
    add_weight(&r, &m->head.w);
    return r;
}

/* Seconds to read as many bytes as a token needs: all data, the statistics in proportion. */
static double read_all(const ranges *r, int threads)
{
    uint64_t sum = 0;
    size_t bytes = 0;
    for (size_t i = 0; i < r->n; i++)
        bytes += r->v[i].bytes;
    const double t0 = nbi_clock();
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(^ : sum)
    for (int t = 0; t < threads; t++)
        for (size_t i = 0; i < r->n; i++) {
            const size_t part = r->v[i].bytes / (size_t)threads;
            sum ^= bench_read((const unsigned char *)r->v[i].p + (size_t)t * part, part);
        }
    const double s = nbi_clock() - t0;
    return (sum == 1 ? s + 1e-9 : s) * (double)r->bytes / (double)bytes;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fail(const nb_error *err)
{
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

static void run(nb_model *m, int threads, int64_t prompt, int64_t fresh, int rounds)
{
    enum { MAX = 32 };
    double read[MAX], token[MAX], feed[MAX];
    nb_error err = {0};
    nb_session *s;
    if (nb_session_open(&s, m, prompt + fresh, &err) != NB_OK)
        fail(&err);
    int32_t *ids = nbi_calloc(NBI_MEM_OTHER, (size_t)(prompt + fresh), sizeof *ids);
    ranges r = ranges_of(m);
    uint32_t seed = 1;
    for (int64_t i = 0; ids && i < prompt; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % (uint32_t)m->config.vocab);
    }
    rounds = rounds > MAX ? MAX : rounds;
    for (int i = 0; i < rounds; i++) {
        nb_session_options o = {.max_new_tokens = fresh, .ignore_eos = true};
        nb_sampler_options_default(&o.sampler);
        nb_finish finish;
        size_t n = 0;
        nb_session_rewind(s, 0);
        read[i] = read_all(&r, threads);
        double t = nbi_clock();
        if (nb_session_feed(s, ids, (size_t)prompt, NULL, &err) != NB_OK)
            fail(&err);
        feed[i] = (nbi_clock() - t) / (double)prompt;
        t = nbi_clock();
        if (nb_session_generate(s, &o, ids + prompt, &n, &finish, &err) != NB_OK)
            fail(&err);
        /* the first token's logits are the prompt's */
        token[i] = (nbi_clock() - t) / (double)(n - 1);
        const double again = read_all(&r, threads);
        read[i] = again < read[i] ? again : read[i];
    }
    qsort(read, (size_t)rounds, sizeof *read, by_value);
    qsort(token, (size_t)rounds, sizeof *token, by_value);
    qsort(feed, (size_t)rounds, sizeof *feed, by_value);
    const int mid = rounds / 2;
    printf("prompt %lld: %.1f tokens/s best, %.1f median\n", (long long)prompt, 1 / feed[0],
           1 / feed[mid]);
    printf("generation %lld: %.2f tokens/s best, %.2f median; %.0f MB a token, read %.2f times/s "
           "best, %.2f median; %.1f %%, %.1f %%\n",
           (long long)fresh, 1 / token[0], 1 / token[mid], (double)r.bytes * 1e-6, 1 / read[0],
           1 / read[mid], 100 * read[0] / token[0], 100 * read[mid] / token[mid]);
    nbi_free(r.v);
    nbi_free(ids);
    nb_session_close(&s);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_generate DIR [threads] [f32|bf16] [prompt] [new] [rounds]\n");
        return 2;
    }
    const int threads = argc > 2 ? atoi(argv[2]) : 2;
    const bool bf16 = argc > 3 && strcmp(argv[3], "bf16") == 0;
    nb_model_load how = {.threads = threads,
                         .cpu_flags = nb_cpu_flags(),
                         .compute = bf16 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32,
                         .quant = {.load_in_4bit = true,
                                   .kind = NB_QK_NF4,
                                   .double_quant = true,
                                   .block = 64,
                                   .nested_block = 256}};
    nb_model *m;
    nb_error err = {0};
    nb_log log = {0};
    if (nb_model_open(&m, argv[1], &how, &log, &err) != NB_OK)
        fail(&err);
    char buf[128], brand[64];
    nb_cpu_describe(nb_cpu_flags(), buf, brand);
    printf("%s; %s; %d threads; %s\n", brand, buf, threads, bf16 ? "bf16" : "f32");
    run(m, threads, argc > 4 ? atoi(argv[4]) : 512, argc > 5 ? atoi(argv[5]) : 128,
        argc > 6 ? atoi(argv[6]) : 3);
    nb_model_close(&m);
    return 0;
}
