/* SPDX-License-Identifier: MIT */
/* What blocks keep changes memory, never a bit of loss or gradients: every mixture of modes, for
 * each family and method, against keeping everything; and the size that each plan states. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adapter/adapter.h"
#include "base/rng.h"
#include "grad/tiny_model.h"
#include "testutil.h"

typedef struct method {
    const char *name;
    bool lora, quantised;
    double dropout;
    int lowest; /* blocks below have no adapter */
    nb_compute compute;
    double noise;
} method;

static const method methods[] = {
    {.name = "full"},
    {.name = "full, bf16", .compute = NB_COMPUTE_BF16},
    {.name = "full, noise", .noise = 5},
    {.name = "lora", .lora = true},
    {.name = "lora with dropout", .lora = true, .dropout = 0.2},
    {.name = "lora in upper blocks", .lora = true, .lowest = 1},
    {.name = "qlora, bf16", .lora = true, .quantised = true, .compute = NB_COMPUTE_BF16},
    {.name = "qlora, bf16, dropout, upper blocks",
     .lora = true,
     .quantised = true,
     .dropout = 0.2,
     .lowest = 1,
     .compute = NB_COMPUTE_BF16},
};

typedef struct subject {
    nb_model *m;
    nb_adapter *a;
    tiny_batch first, second;
} subject;

static subject subject_open(const tiny_spec *base, const method *how)
{
    static const int64_t lengths[] = {7, 1, 9}, shorter[] = {5, 6};
    nb_error err = {0};
    subject s = {0};
    tiny_spec spec = *base;
    spec.frozen = how->lora;
    spec.kind = how->quantised ? NB_QK_NF4 : NB_QK_DENSE;
    s.m = tiny_open(&spec, 2);
    s.m->exec.compute = how->compute;
    s.m->neftune_alpha = how->noise;
    s.first = tiny_batch_open(s.m, lengths, 3, 31);
    s.second = tiny_batch_open(s.m, shorter, 2, 32);
    if (!how->lora)
        return s;
    nb_lora_config c;
    nb_lora_config_default(&c);
    c.r = 3;
    c.alpha = 6;
    c.dropout = how->dropout;
    c.all_linear = true;
    NBT_OK(nb_adapter_new_lora(&s.a, s.m, &c, 5, true, &err));
    nb_lora_config_free(&c);
    nbi_rng rng;
    nbi_rng_init(&rng, 9, NBI_RNG_INIT, 0);
    for (size_t i = 1; i < s.a->params.n; i += 2) /* B is zero at the start */
        for (int64_t j = 0; j < s.a->params.v[i]->n; j++)
            s.a->params.v[i]->value[j] = (float)(0.2 * nbi_rng_normal(&rng));
    for (size_t i = 0; i < s.m->n_sites; i++)
        if (s.m->sites[i].layer < how->lowest)
            s.m->sites[i].hooks = NULL;
    return s;
}

static void subject_close(subject *s)
{
    nb_adapter_close(&s->a);
    tiny_batch_close(&s->first);
    tiny_batch_close(&s->second);
    tiny_close(s->m);
}

/* All gradients of a subject, one after the other. */
static size_t list_gradients(const subject *s, tiny_slot *slots, float **grads)
{
    size_t n = tiny_slots(s->m, slots, 200);
    for (size_t i = 0; i < n; i++)
        grads[i] = *slots[i].grad;
    for (size_t i = 0; s->a && i < s->a->params.n; i++, n++) {
        assert_true(n < 200);
        grads[n] = s->a->params.v[i]->grad;
        slots[n].n = s->a->params.v[i]->n;
    }
    return n;
}

/* Losses and gradients of two batches with this plan. */
static float *run(const subject *s, const uint8_t *modes, bool hidden, size_t *count)
{
    tiny_slot slots[200];
    float *grads[200];
    size_t n = list_gradients(s, slots, grads), total = 4, activations, scratch;
    for (size_t i = 0; i < n; i++)
        total += (size_t)slots[i].n;
    float *out = calloc(total, sizeof *out), *at = out + 4;
    nb_pass_plan plan = {
        .max_rows = s->first.b.m, .training = true, .hidden = hidden, .recompute = modes};
    nb_workspace *ws;
    size_t before = nbi_mem_current(NBI_MEM_ACTIVATIONS) + nbi_mem_current(NBI_MEM_SCRATCH);
    assert_int_equal(nb_workspace_open(&ws, s->m, &plan, NULL), NB_OK);
    size_t used = nbi_mem_current(NBI_MEM_ACTIVATIONS) + nbi_mem_current(NBI_MEM_SCRATCH);
    assert_true(nb_workspace_size(s->m, &plan, &activations, &scratch));
    assert_int_equal(used - before, activations + scratch);
    for (size_t i = 0; i < n; i++)
        memset(grads[i], 0, (size_t)slots[i].n * sizeof(float));
    for (int k = 0; k < 2; k++) {
        const nb_batch *b = k ? &s->second.b : &s->first.b;
        nb_model_forward(s->m, ws, b, NULL, true);
        nb_loss l = nb_model_loss(s->m, ws, b, 0.25, true, NULL);
        nb_model_backward(s->m, ws, b);
        memcpy(out + 2 * k, &l.sum, sizeof l.sum);
    }
    for (size_t i = 0; i < n; at += slots[i++].n)
        memcpy(at, grads[i], (size_t)slots[i].n * sizeof(float));
    nb_workspace_close(&ws);
    *count = total;
    return out;
}

static void every_mixture_same_bits(void **state)
{
    (void)state;
    int runs = 0;
    for (size_t s = 0; s < tiny_n_specs; s++)
        for (size_t k = 0; k < sizeof methods / sizeof *methods; k++) {
            subject x = subject_open(&tiny_specs[s], &methods[k]);
            int64_t layers = x.m->config.layers, mixtures = 1;
            size_t n;
            float *want = run(&x, NULL, false, &n);
            for (size_t i = 4; i < n; i++)
                assert_true(isfinite(want[i]));
            for (int64_t i = 0; i < layers; i++)
                mixtures *= 3;
            for (int64_t mix = 0; mix < mixtures; mix++) {
                uint8_t modes[8];
                int64_t digits = mix;
                for (int64_t i = 0; i < layers; i++, digits /= 3)
                    modes[i] = (uint8_t)(digits % 3);
                float *got = run(&x, modes, mix % 2, &n);
                if (memcmp(got, want, n * sizeof *got) != 0)
                    print_error("%s, %s, mixture %lld\n", tiny_specs[s].name, methods[k].name,
                                (long long)mix);
                assert_memory_equal(got, want, n * sizeof *got);
                free(got);
                runs++;
            }
            free(want);
            subject_close(&x);
        }
    printf("%d mixtures with the bits of keeping all\n", runs);
}

/* Activations and scratch for 1000 rows of a model of 24 blocks, the same mode in all. */
static size_t bytes_of(const nb_model *m, nb_recompute mode, bool training)
{
    uint8_t modes[24];
    size_t activations, scratch;
    memset(modes, (int)mode, sizeof modes);
    assert_true(nb_workspace_size(
        m, &(nb_pass_plan){.max_rows = 1000, .training = training, .recompute = modes},
        &activations, &scratch));
    return activations;
}

/* Bytes a token and block beyond the one set of buffers that is always there. */
static void kept_bytes(void **state)
{
    (void)state;
    tiny_spec spec = tiny_specs[0];
    spec.layers = 24;
    spec.hidden = 64;
    spec.head_dim = 16;
    spec.ffn = 160;
    nb_model *m = tiny_open(&spec, 1), few = *m;
    few.config.layers = 23;
    size_t d = 64, q = 64, k = 32, f = 160, h = 4;
    for (nb_compute compute = NB_COMPUTE_F32; compute <= NB_COMPUTE_BF16; compute++) {
        size_t e = nb_dtype_size(NB_ACT_DTYPE(compute));
        size_t want[3] = {8 * d + e * (2 * q + 2 * k + 2 * f) + 4 * h + 8, 8 * d + e * q + 4 * h,
                          4 * d};
        m->exec.compute = few.exec.compute = compute;
        for (int mode = NB_KEEP; mode <= NB_RECOMPUTE; mode++) {
            size_t more =
                bytes_of(m, (nb_recompute)mode, true) - bytes_of(&few, (nb_recompute)mode, true);
            assert_true(more >= 1000 * want[mode] && more < 1000 * want[mode] + 12 * 64);
        }
        assert_int_equal(bytes_of(m, NB_KEEP, false), bytes_of(&few, NB_KEEP, false));
    }
    /* frozen: no backward pass reaches any block, so nothing is kept */
    spec.frozen = true;
    nb_model *frozen = tiny_open(&spec, 1);
    assert_true(bytes_of(frozen, NB_KEEP, true) < bytes_of(m, NB_RECOMPUTE, true));
    tiny_close(frozen);
    tiny_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mixture_same_bits),
        cmocka_unit_test(kept_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
