/* SPDX-License-Identifier: MIT */
/* Streamed weights: the same bits as with all weights in memory, and little of the file resident at
 * any time. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "adapter/adapter.h"
#include "grad/tiny_model.h"
#include "model/stream.h"

enum { LAYERS = 10, PASSES = 2 };

static const char config[] =
    "{\"model_type\":\"llama\",\"hidden_size\":256,\"num_hidden_layers\":10,"
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":700,"
    "\"vocab_size\":1500,\"eos_token_id\":2,\"initializer_range\":0.05,"
    "\"torch_dtype\":\"bfloat16\"}";

static char *dir, *dense, *four, *cache;

static int setup(void **state)
{
    (void)state;
    nb_error err = {0};
    dir = nbt_tmpdir();
    dense = nbt_join(dir, "dense");
    four = nbt_join(dir, "four");
    cache = nbt_join(dir, "cache");
    char *path = nbt_join(dir, "config.json");
    nbt_write_text(path, config);
    NBT_OK(nb_model_init(path, dense, 5, NB_DT_BF16, &err));
    NBT_OK(nbi_make_dirs(four, &err));
    nb_model_load how = {.threads = 2, .quant = {.kind = NB_QK_NF4, .double_quant = true}};
    NBT_OK(nb_model_quantise(dense, four, &how, NULL, &err));
    nbi_free(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbi_free(dense);
    nbi_free(four);
    nbi_free(cache);
    nbt_tmpdir_remove(dir);
    return 0;
}

/* ---- the file's pages, looked at from inside of the passes ---- */

typedef struct watch {
    const nb_model *m;
    size_t most;
    int calls;
} watch;

static size_t resident(const nb_model *m)
{
    size_t n, sum = 0;
    const nbi_mapfile *f = nb_safetensors_files(m->files, &n);
    for (size_t i = 0; i < n; i++)
        sum += nbi_mapfile_resident(f[i].data, f[i].size);
    return sum;
}

static void look(nb_hook *self, const nb_site_call *c)
{
    (void)c;
    watch *w = self->user;
    size_t now = resident(w->m);
    w->most = now > w->most ? now : w->most;
    w->calls++;
}

/* At the last product of each block, forward, and the first of it backward. */
static void watch_sites(nb_model *m, nb_hook hooks[LAYERS], watch *w)
{
    char name[64];
    *w = (watch){.m = m};
    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "model.layers.%d.mlp.down_proj", i);
        nb_site *s = nb_model_site(m, name);
        assert_non_null(s);
        hooks[i] = (nb_hook){.forward = look, .backward = look, .user = w};
        nb_hook **end = &s->hooks;
        while (*end)
            end = &(*end)->next;
        *end = &hooks[i];
    }
}

/* ---- one training pass ---- */

typedef struct result {
    double loss;
    float *grad;
    size_t n;
    watch w;
    size_t after; /* resident behind the passes */
} result;

static result train(const char *where, const nb_model_load *how, nb_recompute mode)
{
    nb_error err = {0};
    nb_model *m = NULL;
    nb_adapter *a = NULL;
    nb_workspace *ws = NULL;
    nb_lora_config lora;
    nb_hook hooks[LAYERS];
    uint8_t modes[LAYERS];
    const int64_t lengths[] = {31, 1, 20};
    result r = {0};
    memset(modes, (int)mode, sizeof modes);
    NBT_OK(nb_model_open(&m, where, how, NULL, &err));
    nb_lora_config_default(&lora);
    lora.all_linear = true;
    NBT_OK(nb_adapter_new_lora(&a, m, &lora, 3, true, &err));
    for (size_t i = 0; i < a->params.n; i++) /* B is zero at the start */
        for (int64_t j = 0; j < a->params.v[i]->n; j++)
            a->params.v[i]->value[j] += 0.01f * (float)(j % 7 - 3);
    watch_sites(m, hooks, &r.w);
    tiny_batch t = tiny_batch_open(m, lengths, 3, 8);
    NBT_OK(nb_workspace_open(
        &ws, m, &(nb_pass_plan){.max_rows = t.b.m, .training = true, .recompute = modes}, &err));
    for (int pass = 0; pass < PASSES; pass++) {
        nb_model_forward(m, ws, &t.b, NULL, true);
        r.loss += nb_model_loss(m, ws, &t.b, 1.0, true, NULL).sum;
        nb_model_backward(m, ws, &t.b);
    }
    r.after = resident(m);
    for (size_t i = 0; i < a->params.n; i++)
        r.n += (size_t)a->params.v[i]->n;
    r.grad = malloc(r.n * sizeof(float));
    size_t at = 0;
    for (size_t i = 0; i < a->params.n; i++) {
        memcpy(r.grad + at, a->params.v[i]->grad, (size_t)a->params.v[i]->n * sizeof(float));
        at += (size_t)a->params.v[i]->n;
    }
    if (how->stream && r.after != SIZE_MAX) {
        const size_t bound = nb_model_stream_bytes(m);
        print_message("%s: at most %zu of %zu KiB resident, %zu between passes\n", where,
                      r.w.most / 1024, bound / 1024, r.after / 1024);
        assert_true(r.w.most <= bound + NBI_EMBED_WINDOWS * NBI_FAULT_BYTES / 16);
        assert_true(r.after <= 4 * NBI_FAULT_BYTES);
    }
    assert_true(r.w.calls >= 2 * PASSES * LAYERS);
    nb_workspace_close(&ws);
    tiny_batch_close(&t);
    nb_adapter_close(&a);
    nb_lora_config_free(&lora);
    nb_model_close(&m);
    return r;
}

static void compare(const char *where, nb_model_load how, nb_recompute mode)
{
    how.threads = 2;
    how.cpu_flags = nb_cpu_flags();
    result whole = train(where, &how, mode);
    how.stream = true;
    result streamed = train(where, &how, mode);
    assert_true(whole.loss == streamed.loss && isfinite(whole.loss));
    assert_int_equal(whole.n, streamed.n);
    assert_memory_equal(whole.grad, streamed.grad, whole.n * sizeof(float));
    if (whole.after != SIZE_MAX) /* else this shows nothing */
        assert_true(whole.w.most > 2 * streamed.w.most);
    free(whole.grad);
    free(streamed.grad);
}

static void same_bits(void **state)
{
    (void)state;
    for (int mode = NB_KEEP; mode <= NB_RECOMPUTE; mode++) {
        compare(four, (nb_model_load){.compute = NB_COMPUTE_F32}, (nb_recompute)mode);
        compare(dense, (nb_model_load){.compute = NB_COMPUTE_BF16}, (nb_recompute)mode);
    }
    compare(dense,
            (nb_model_load){.compute = NB_COMPUTE_BF16,
                            .quant = {.load_in_4bit = true, .kind = NB_QK_FP4},
                            .quantized_cache = cache},
            NB_KEEP);
}

/* Of a table that only looks up rows nothing stays. */
static void embedding_is_let_go(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_model *m = NULL;
    nb_workspace *ws = NULL;
    const int64_t lengths[] = {200};
    nb_model_load how = {.threads = 2, .cpu_flags = nb_cpu_flags()};
    NBT_OK(nb_model_open(&m, four, &how, NULL, &err));
    tiny_batch t = tiny_batch_open(m, lengths, 1, 8);
    NBT_OK(nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = t.b.m}, &err));
    nb_model_forward(m, ws, &t.b, NULL, false);
    const size_t bytes = 1500 * 256 * 2, left = nbi_mapfile_resident(m->embed, bytes);
    assert_true(m->embed_mapped && (left == SIZE_MAX || left <= 2 * NBI_FAULT_BYTES));
    nb_workspace_close(&ws);
    tiny_batch_close(&t);
    nb_model_close(&m);
}

static void refusals(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_model *m = NULL;
    const nb_quant_config q = {.load_in_4bit = true, .kind = NB_QK_NF4};
    size_t before = nbt_in_use();
    nb_model_load memory = {.threads = 1, .quant = q, .stream = true};
    NBT_FAILS(NB_CONFIG, "quantized_cache", nb_model_open(&m, dense, &memory, NULL, &err));
    nb_model_load full = {.threads = 1, .trainable = true, .stream = true};
    NBT_FAILS(NB_CONFIG, "cannot be streamed", nb_model_open(&m, dense, &full, NULL, &err));
    assert_int_equal(nbt_in_use(), before);
    nb_model_load how = {.threads = 1, .stream = true};
    for (uint64_t k = 1;; k++) {
        nbi_alloc_fail_at(k, false);
        nb_status s = nb_model_open(&m, four, &how, NULL, &err);
        bool reached = nbi_alloc_count() >= k;
        nbi_alloc_fail_at(0, false);
        nb_model_close(&m);
        assert_int_equal(nbt_in_use(), before);
        if (!reached)
            break;
        assert_int_equal(s, NB_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bits),
                                       cmocka_unit_test(embedding_is_let_go),
                                       cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
