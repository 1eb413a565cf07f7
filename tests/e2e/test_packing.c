/* SPDX-License-Identifier: MIT */
/* Rows put together into batches in any way train the same: losses, gradient norms, adapters. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "format/safetensors.h"
#include "testutil.h"
#include "train_util.h"
#include "tiny_world.h"

enum { EPOCHS = 3 };

typedef struct run {
    double loss[EPOCHS], norm[EPOCHS], tokens[EPOCHS];
    nb_safetensors *adapter;
    char *out;
} run;

/* An update an epoch, of all rows. */
static run run_all(world *w, const char *name, const char *packing, const char *budget,
                   const char *batch)
{
    static nbt_lines l;
    nb_error err = {0};
    nbi_arena arena;
    run r = {.out = place(w, name)};
    nbt_setting s[] = {{"packing", packing},
                       {"max_tokens_per_batch", budget},
                       {"per_device_train_batch_size", batch},
                       {"gradient_accumulation_steps", "1000"},
                       {"num_train_epochs", "3"},
                       {"lora_dropout", "0.1"},
                       {"learning_rate", "0.01"},
                       {NULL, NULL}};
    nb_train_result result;
    NBT_OK(train(w, r.out, s, NULL, &result, &err));
    assert_int_equal(result.steps, EPOCHS);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, r.out, "train_log.jsonl");
    assert_in_range(l.n, 1 + EPOCHS, 2 + EPOCHS); /* and a line that ends the log */
    for (int i = 0; i < EPOCHS; i++) {
        r.loss[i] = nbt_number(l.v[1 + i], "loss");
        r.norm[i] = nbt_number(l.v[1 + i], "grad_norm");
        r.tokens[i] = nbt_number(l.v[1 + i], "tokens");
    }
    nbi_arena_free(&arena);
    char *path = nbt_join(r.out, "adapter_model.safetensors");
    NBT_OK(nb_safetensors_open(&r.adapter, path, &err));
    nbi_free(path);
    return r;
}

static void end_run(run *r)
{
    nb_safetensors_close(&r->adapter);
    nbi_free(r->out);
}

/* The first update compares gradients: its loss and norm see only sums in another order. Adam
 * divides by the size of the gradient, so an element near 0 may move by any part of the rate. */
static void compare(const run *a, const run *b)
{
    for (int i = 0; i < EPOCHS; i++) {
        double slack = i == 0 ? 1e-6 : 1e-4;
        assert_true(a->tokens[i] == b->tokens[i]);
        nbt_within("loss", fabs(a->loss[i] / b->loss[i] - 1), slack);
        nbt_within("norm", fabs(a->norm[i] / b->norm[i] - 1), 10 * slack);
    }
    size_t n = nb_safetensors_count(a->adapter);
    double sum = 0, all = 0;
    assert_true(n > 0 && n == nb_safetensors_count(b->adapter));
    for (size_t i = 0; i < n; i++) {
        const nb_st_tensor *x = nb_safetensors_at(a->adapter, i);
        const nb_st_tensor *y = nb_safetensors_find(b->adapter, x->name);
        assert_true(y && x->bytes == y->bytes);
        for (size_t j = 0; j < x->bytes / 4; j++) {
            double d = nb_st_value(x, (int64_t)j) - nb_st_value(y, (int64_t)j);
            sum += d * d;
            all += 1;
        }
    }
    nbt_within("adapter rms", sqrt(sum / all), 1e-5); /* three steps of 0.01 */
}

static void same_training(void **state)
{
    world *w = *state;
    static const char *const how[][4] = {
        {"rows24", "false", "0", "24"},  {"pack", "true", "0", "3"},
        {"budget20", "true", "20", "1"}, {"budget4096", "true", "4096", "1"},
        {"both", "false", "30", "5"},    {"small", "true", "4", "1"}};
    run one = run_all(w, "one", "false", "0", "1");
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        run r = run_all(w, how[i][0], how[i][1], how[i][2], how[i][3]);
        compare(&one, &r);
        end_run(&r);
    }
    end_run(&one);
}

static void find_line(void *user, nb_log_level level, const char *line)
{
    (void)level;
    if (strncmp(line, "probe: the longest batch (", 26) == 0)
        ++*(int *)user;
}

/* A probe changes nothing of the training. */
static void probe(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char hex[2][65];
    for (int k = 0; k < 2; k++) {
        int said = 0;
        nb_log log = {find_line, &said};
        nb_train_hooks hooks = {.log = &log};
        char *out = place(w, k ? "probed" : "unprobed");
        nbt_setting s[] = {{"probe", k ? "true" : "false"},
                           {"max_steps", "4"},
                           {"lora_dropout", "0.1"},
                           {"per_device_train_batch_size", "5"},
                           {NULL, NULL}};
        NBT_OK(train(w, out, s, &hooks, NULL, &err));
        assert_int_equal(said, k);
        adapter_hash(out, hex[k]);
        nbi_free(out);
    }
    assert_string_equal(hex[0], hex[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_training), cmocka_unit_test(probe)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
