/* SPDX-License-Identifier: MIT */
/* The same tokens by different paths: ragged batch and separate runs, key/value cache and full
 * pass, inference and training workspaces, any number of threads; and the memory plan. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <cmocka.h>
#include "testutil.h"

#include "base/alloc.h"
#include "grad/fd.h"
#include "grad/tiny_model.h"

/* Values of the order of ten after sums of a few hundred rounded terms in another order. */
#define PATH_TOLERANCE (0x1p-24 * 10.0 * 40.0)

static const float *final_rows(const nb_workspace *ws, int64_t at)
{
    nb_dtype dtype;
    const float *x = nb_workspace_final(ws, &dtype);
    assert_int_equal(dtype, NB_DT_F32);
    return x + at;
}

static nb_batch segment(const tiny_batch *t, int64_t row0, int64_t rows, const int64_t starts[2])
{
    return (nb_batch){.m = rows,
                      .ids = t->ids + row0,
                      .targets = t->targets + row0,
                      .positions = t->positions + row0,
                      .example = t->example + row0,
                      .n_segments = 1,
                      .starts = starts};
}

static void segments_do_not_see_each_other(void **state)
{
    (void)state;
    const int64_t lengths[] = {7, 1, 9};
    for (size_t s = 0; s < tiny_n_specs; s++) {
        nb_model *m = tiny_open(&tiny_specs[s], 2);
        int64_t d = m->config.hidden;
        tiny_batch t = tiny_batch_open(m, lengths, 3, 21);
        nb_workspace *ws, *one;
        assert_int_equal(
            nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true}, NULL),
            NB_OK);
        assert_int_equal(nb_workspace_open(&one, m, &(nb_pass_plan){.max_rows = 9}, NULL), NB_OK);
        nb_model_forward(m, ws, &t.b, NULL, false);
        nb_loss whole = nb_model_loss(m, ws, &t.b, 1.0, false, NULL), sum = {0};
        double worst = 0.0;
        for (int64_t i = 0; i < 3; i++) {
            int64_t starts[2] = {0, lengths[i]};
            nb_batch b = segment(&t, t.starts[i], lengths[i], starts);
            nb_model_forward(m, one, &b, NULL, false);
            nb_loss l = nb_model_loss(m, one, &b, 1.0, false, NULL);
            sum.sum += l.sum;
            sum.tokens += l.tokens;
            sum.hits += l.hits;
            worst =
                fd_worse(worst, nbt_max_abs_f32(final_rows(one, 0), final_rows(ws, t.starts[i] * d),
                                                (size_t)(b.m * d)));
        }
        printf("%s: ragged against separate %.1e\n", tiny_specs[s].name, worst);
        assert_true(worst < PATH_TOLERANCE);
        assert_true(fabs(whole.sum - sum.sum) < PATH_TOLERANCE * (double)sum.tokens);
        assert_int_equal(whole.tokens, sum.tokens);
        assert_int_equal(whole.hits, sum.hits);
        nb_workspace_close(&ws);
        nb_workspace_close(&one);
        tiny_batch_close(&t);
        tiny_close(m);
    }
}

/* NEFTune: what a row gets depends on nothing else in the batch, is within alpha / sqrt(L D), and
 * is there in training passes alone. */
static void noise_of_a_row(void **state)
{
    (void)state;
    const int64_t lengths[] = {7, 1, 9};
    const double alpha = 5;
    nb_model *m = tiny_open(&tiny_specs[0], 2);
    const int64_t d = m->config.hidden;
    tiny_batch t = tiny_batch_open(m, lengths, 3, 21);
    nb_workspace *ws, *one;
    const nb_pass_plan pass = {.max_rows = t.b.m, .training = true};
    assert_int_equal(nb_workspace_open(&ws, m, &pass, NULL), NB_OK);
    assert_int_equal(nb_workspace_open(&one, m, &pass, NULL), NB_OK);
    nb_model_forward(m, one, &t.b, NULL, true);
    float *plain = malloc((size_t)(t.b.m * d) * sizeof *plain);
    memcpy(plain, nb_workspace_hidden(one, 0), (size_t)(t.b.m * d) * sizeof *plain);
    m->neftune_alpha = alpha;
    m->neftune_seed = 11;
    nb_model_forward(m, ws, &t.b, NULL, true);
    const float *noisy = nb_workspace_hidden(ws, 0);
    for (int64_t i = 0; i < 3; i++) {
        const int64_t row0 = t.starts[i], starts[2] = {0, lengths[i]};
        const double most = alpha / sqrt((double)(lengths[i] * d));
        double mean = 0;
        nb_batch b = segment(&t, row0, lengths[i], starts);
        b.epoch = t.b.epoch;
        nb_model_forward(m, one, &b, NULL, true);
        assert_memory_equal(nb_workspace_hidden(one, 0), noisy + row0 * d,
                            (size_t)(lengths[i] * d) * sizeof(float));
        for (int64_t k = row0 * d; k < (row0 + lengths[i]) * d; k++) {
            const double e = fabs((double)noisy[k] - (double)plain[k]);
            assert_true(e <= most * (1 + 1e-6) + 1e-6 * fabs((double)plain[k]));
            mean += e / (double)(lengths[i] * d);
        }
        assert_true(mean > most * 0.3 && mean < most * 0.7);
    }
    nb_model_forward(m, one, &t.b, NULL, false);
    assert_memory_equal(nb_workspace_hidden(one, 0), plain, (size_t)(t.b.m * d) * sizeof *plain);
    free(plain);
    nb_workspace_close(&ws);
    nb_workspace_close(&one);
    tiny_batch_close(&t);
    tiny_close(m);
}

static void cache_equals_full_pass(void **state)
{
    (void)state;
    const int64_t lengths[] = {13};
    const int64_t chunks[] = {5, 1, 1, 3, 1, 2};
    for (size_t s = 0; s < tiny_n_specs; s++) {
        if (tiny_specs[s].rope == NB_ROPE_DYNAMIC)
            continue; /* turns by the length so far: not the same by design */
        nb_model *m = tiny_open(&tiny_specs[s], 2);
        int64_t d = m->config.hidden, row0 = 0;
        tiny_batch t = tiny_batch_open(m, lengths, 1, 22);
        nb_workspace *full, *ws;
        nb_kvcache *kv;
        assert_int_equal(nb_workspace_open(&full, m, &(nb_pass_plan){.max_rows = 13}, NULL), NB_OK);
        assert_int_equal(nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = 5}, NULL), NB_OK);
        assert_int_equal(nb_kvcache_open(&kv, m, 13, NULL), NB_OK);
        nb_model_forward(m, full, &t.b, NULL, false);
        double worst = 0.0;
        for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
            int64_t starts[2] = {0, chunks[i]};
            nb_batch b = segment(&t, row0, chunks[i], starts);
            nb_model_forward(m, ws, &b, kv, false);
            worst = fd_worse(worst, nbt_max_abs_f32(final_rows(ws, 0), final_rows(full, row0 * d),
                                                    (size_t)(b.m * d)));
            row0 += chunks[i];
            assert_int_equal(kv->length, row0);
        }
        printf("%s: cache against full pass %.1e\n", tiny_specs[s].name, worst);
        assert_true(worst < PATH_TOLERANCE);
        nb_kvcache_close(&kv);
        nb_workspace_close(&ws);
        nb_workspace_close(&full);
        tiny_batch_close(&t);
        tiny_close(m);
    }
}

/* Loss and all gradients after one pass, one after the other. */
static float *everything(const tiny_spec *s, int threads, int64_t *n)
{
    const int64_t lengths[] = {40, 3, 60};
    nb_model *m = tiny_open(s, threads);
    tiny_batch t = tiny_batch_open(m, lengths, 3, 23);
    nb_workspace *ws;
    assert_int_equal(
        nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true}, NULL),
        NB_OK);
    nb_model_forward(m, ws, &t.b, NULL, true);
    nb_loss l = nb_model_loss(m, ws, &t.b, 0.1, true, NULL);
    nb_model_backward(m, ws, &t.b);
    ref_model *r = ref_open(m);
    int64_t total = 2 + t.b.m * m->config.hidden;
    for (size_t i = 0; i < r->n; i++)
        total += r->tensors[i].grad ? r->tensors[i].n : 0;
    float *out = calloc((size_t)total, sizeof *out), *at = out + 2;
    memcpy(out, &l.sum, sizeof l.sum);
    memcpy(at, final_rows(ws, 0), (size_t)(t.b.m * m->config.hidden) * sizeof *at);
    at += t.b.m * m->config.hidden;
    for (size_t i = 0; i < r->n; i++)
        if (r->tensors[i].grad) {
            memcpy(at, r->tensors[i].grad, (size_t)r->tensors[i].n * sizeof *at);
            at += r->tensors[i].n;
        }
    ref_close(r);
    nb_workspace_close(&ws);
    tiny_batch_close(&t);
    tiny_close(m);
    *n = total;
    return out;
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    for (size_t s = 0; s < tiny_n_specs; s++) {
        int64_t n, n_other;
        float *one = everything(&tiny_specs[s], 1, &n);
        for (int threads = 2; threads <= 3; threads++) {
            float *other = everything(&tiny_specs[s], threads, &n_other);
            assert_int_equal(n, n_other);
            assert_memory_equal(one, other, (size_t)n * sizeof *one);
            free(other);
        }
        free(one);
    }
}

/* A vocabulary so large that the head works in chunks of rows: the same as rows few enough for one
 * chunk, one segment after the other. */
static void head_in_chunks(void **state)
{
    (void)state;
    const tiny_spec spec = {.name = "large vocabulary",
                            .layers = 1,
                            .hidden = 4,
                            .heads = 1,
                            .kv_heads = 1,
                            .head_dim = 4,
                            .ffn = 6,
                            .vocab = 70001};
    const int64_t lengths[] = {30, 31, 29};
    nb_model *m = tiny_open(&spec, 2);
    tiny_batch t = tiny_batch_open(m, lengths, 3, 24);
    tiny_slot slots[20];
    float *chunked[20];
    size_t n = tiny_slots(m, slots, 20);
    nb_workspace *ws;
    assert_int_equal(
        nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true}, NULL),
        NB_OK);
    nb_model_forward(m, ws, &t.b, NULL, true);
    nb_loss whole = nb_model_loss(m, ws, &t.b, 1.0, true, NULL), sum = {0};
    nb_model_backward(m, ws, &t.b);
    assert_true(t.b.n_targets > 40);
    for (size_t j = 0; j < n; j++) {
        chunked[j] = malloc((size_t)slots[j].n * sizeof(float));
        memcpy(chunked[j], *slots[j].grad, (size_t)slots[j].n * sizeof(float));
    }
    tiny_zero_grads(m);
    for (int64_t i = 0; i < 3; i++) {
        int64_t starts[2] = {0, lengths[i]};
        nb_batch b = segment(&t, t.starts[i], lengths[i], starts);
        nb_model_forward(m, ws, &b, NULL, true);
        nb_loss l = nb_model_loss(m, ws, &b, 1.0, true, NULL);
        nb_model_backward(m, ws, &b);
        sum.sum += l.sum;
        sum.tokens += l.tokens;
        sum.hits += l.hits;
    }
    assert_true(fabs(whole.sum - sum.sum) < PATH_TOLERANCE * (double)sum.tokens);
    assert_int_equal(whole.tokens, sum.tokens);
    assert_int_equal(whole.hits, sum.hits);
    for (size_t j = 0; j < n; j++) {
        nbt_within("gradient", nbt_rel_norm_f32(chunked[j], *slots[j].grad, (size_t)slots[j].n),
                   FD_TOLERANCE);
        free(chunked[j]);
    }
    nb_workspace_close(&ws);
    tiny_batch_close(&t);
    tiny_close(m);
}

static void plan_is_allocation(void **state)
{
    (void)state;
    nb_model *m = tiny_open(&tiny_specs[0], 1);
    for (int training = 0; training < 2; training++) {
        size_t before = nbi_mem_current(NBI_MEM_ACTIVATIONS) + nbi_mem_current(NBI_MEM_SCRATCH);
        nb_workspace *ws;
        assert_int_equal(
            nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = 100, .training = training}, NULL),
            NB_OK);
        size_t used = nbi_mem_current(NBI_MEM_ACTIVATIONS) + nbi_mem_current(NBI_MEM_SCRATCH);
        size_t activations, scratch;
        assert_true(nb_workspace_size(m, &(nb_pass_plan){.max_rows = 100, .training = training},
                                      &activations, &scratch));
        assert_int_equal(used - before, activations + scratch);
        nb_workspace_close(&ws);
        assert_null(ws);
        used = nbi_mem_current(NBI_MEM_ACTIVATIONS) + nbi_mem_current(NBI_MEM_SCRATCH);
        assert_int_equal(used, before);
    }
    nb_workspace *ws;
    nb_kvcache *kv;
    nb_error err;
    assert_int_equal(
        nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = 0, .training = true}, &err),
        NB_LIMIT);
    assert_int_equal(
        nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = INT64_MAX, .training = true}, &err),
        NB_LIMIT);
    assert_int_equal(nb_kvcache_open(&kv, m, INT64_MAX, &err), NB_LIMIT);
    for (uint64_t k = 1; k <= 2; k++) {
        nbi_alloc_fail_at(k, false);
        assert_int_equal(
            nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = 100, .training = true}, &err),
            NB_NOMEM);
        assert_null(ws);
        nbi_alloc_fail_at(k + 1, false);
        assert_int_equal(nb_kvcache_open(&kv, m, 100, &err), NB_NOMEM);
        assert_null(kv);
        nbi_alloc_fail_at(0, false);
    }
    tiny_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_do_not_see_each_other),
        cmocka_unit_test(noise_of_a_row),
        cmocka_unit_test(cache_equals_full_pass),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(head_in_chunks),
        cmocka_unit_test(plan_is_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
