/* SPDX-License-Identifier: MIT */
/* Runs with every optimizer, schedules that listen, LoRA+, noise on the embeddings, grouped rows.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "train_util.h"
#include "e2e/tiny_world.h"
#include "optim/optim.h"

#define SET(...) ((const nbt_setting[]){__VA_ARGS__, {NULL, NULL}})

/* Trains into a fresh folder; gives the hash of the adapter. */
static void hash_of(const world *w, const nbt_setting *more, char hex[65])
{
    nb_error err = {0};
    char *out = place(w, "hashed");
    NBT_OK(train(w, out, more, NULL, NULL, &err));
    adapter_hash(out, hex);
    nbi_free(out);
}

/* Every optimizer learns, gives the same bits with two threads, and differs from no other by
 * accident: names of one kind, paged or not, give the same result. */
static void every_optimizer(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char names[400], *save;
    nb_optim_list(names, sizeof names);
    struct {
        const nb_optim_kind *kind;
        char hex[65];
    } seen[16] = {0};
    int n = 0;
    char *out = place(w, "every");
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        const nb_optim_kind *kind = nb_optim_find(name)->kind;
        const bool sgd = strcmp(name, "sgd") == 0;
        const nbt_setting *s = SET({"optim", name}, {"learning_rate", sgd ? "0.2" : "0.005"},
                                   {"optim_args", sgd ? "momentum=0.9" : NULL},
                                   {"num_train_epochs", "2"}, {"weight_decay", "0.01"});
        nbt_setting with[8];
        int k = 0;
        for (; s->key; s++)
            if (s->value)
                with[k++] = *s;
        with[k] = (nbt_setting){NULL, NULL};
        nb_train_result result;
        char hex[65], two[65];
        NBT_OK(train(w, out, with, NULL, &result, &err));
        adapter_hash(out, hex);
        assert_true(result.last_loss < result.first_loss);
        with[k] = (nbt_setting){"threads", "2"};
        with[k + 1] = (nbt_setting){NULL, NULL};
        hash_of(w, with, two);
        assert_string_equal(hex, two);
        int i = 0;
        while (i < n && seen[i].kind != kind)
            i++;
        if (i < n) {
            assert_string_equal(seen[i].hex, hex);
            continue;
        }
        for (int j = 0; j < n; j++)
            assert_true(strcmp(seen[j].hex, hex) != 0 ||
                        /* the adapter's tensors are below 4096 elements: f32 in both */
                        seen[j].kind->bit == kind->bit);
        seen[n].kind = kind;
        memcpy(seen[n++].hex, hex, sizeof hex);
    }
    assert_true(n >= 6);
    nbi_free(out);
}

/* Rates of the logged steps. */
static size_t rates(const world *w, const nbt_setting *more, double *rate, size_t most)
{
    nb_error err = {0};
    static nbt_lines l;
    nbi_arena arena;
    char *out = place(w, "rates");
    size_t n = 0;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(train(w, out, more, NULL, NULL, &err));
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    for (size_t i = 0; i < l.n && n < most; i++)
        if (nbi_json_get(l.v[i], "learning_rate") && nbi_json_get(l.v[i], "loss"))
            rate[n++] = nbt_number(l.v[i], "learning_rate");
    nbi_arena_free(&arena);
    nbi_free(out);
    return n;
}

static void schedules_in_runs(void **state)
{
    world *w = *state;
    double r[20];
    /* only the first one is good: halved after each later one; that before the first step is none
     */
    assert_int_equal(rates(w,
                           SET({"lr_scheduler_type", "reduce_lr_on_plateau"},
                               {"lr_scheduler_kwargs",
                                "{patience: 0, factor: 0.5, threshold: 1e6, threshold_mode: abs, "
                                "min_lr: 0.002}"},
                               {"eval_data", w->eval}, {"eval_strategy", "steps"},
                               {"eval_steps", "2"}, {"max_steps", "10"}),
                           r, 20),
                     10);
    static const double want[] = {0.01, 0.005, 0.0025, 0.002};
    for (int i = 0; i < 10; i++)
        assert_true(r[i] == want[i < 4 ? 0 : i / 2 - 1]);
    /* always better: nothing happens */
    assert_int_equal(rates(w,
                           SET({"lr_scheduler_type", "reduce_lr_on_plateau"},
                               {"lr_scheduler_kwargs", "{patience: 0, mode: max, threshold: -0}"},
                               {"eval_data", w->eval}, {"eval_strategy", "steps"},
                               {"eval_steps", "1"}, {"max_steps", "1"}),
                           r, 20),
                     1);
    assert_int_equal(rates(w,
                           SET({"lr_scheduler_type", "warmup_stable_decay"},
                               {"lr_scheduler_kwargs", "{num_decay_steps: 4, decay_type: linear}"},
                               {"warmup_steps", "0.2"}, {"max_steps", "10"}),
                           r, 20),
                     10);
    assert_true(r[0] == 0 && r[1] == 0.005 && r[2] == 0.01 && r[5] == 0.01 && r[6] == 0.01);
    assert_true(fabs(r[8] - 0.005) < 1e-17);
    /* its own rate is what the log says */
    assert_int_equal(
        rates(w,
              SET({"optim", "adafactor"}, {"optim_args", "relative_step=true,scale_parameter=true"},
                  {"max_steps", "2"}),
              r, 20),
        2);
    assert_true(r[0] == 0.01 && r[1] == 0.01);
}

/* lora_B of a plain SGD step moves in proportion; lora_A, which has no gradient yet, not at all. */
static void loraplus(void **state)
{
    world *w = *state;
    char a[65], b[65], c[65];
    hash_of(w, SET({"max_steps", "3"}), a);
    hash_of(w, SET({"max_steps", "3"}, {"loraplus_lr_ratio", "8"}), b);
    hash_of(w, SET({"max_steps", "3"}, {"loraplus_lr_ratio", "1"}), c);
    assert_string_not_equal(a, b);
    assert_string_equal(a, c);
}

/* Noise changes what is learnt, the same way each time and with any number of threads, and leaves
 * evaluations alone; with grouped rows the plan's longest batch holds. */
static void noise_and_groups(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char hex[5][65];
    nb_train_result plain, noisy;
    char *out = place(w, "noisy");
    const nbt_setting *neftune =
        SET({"neftune_noise_alpha", "5"}, {"max_steps", "4"}, {"eval_data", w->eval});
    NBT_OK(train(w, out, SET({"max_steps", "4"}, {"eval_data", w->eval}), NULL, &plain, &err));
    adapter_hash(out, hex[0]);
    NBT_OK(train(w, out, neftune, NULL, &noisy, &err));
    adapter_hash(out, hex[1]);
    assert_true(plain.eval_loss_before == noisy.eval_loss_before);
    assert_true(plain.first_loss != noisy.first_loss);
    hash_of(w, SET({"neftune_noise_alpha", "5"}, {"max_steps", "4"}, {"threads", "2"}), hex[2]);
    hash_of(
        w,
        SET({"neftune_noise_alpha", "5"}, {"max_steps", "4"}, {"gradient_checkpointing", "true"}),
        hex[3]);
    assert_string_not_equal(hex[0], hex[1]);
    assert_string_equal(hex[1], hex[2]);
    assert_string_equal(hex[1], hex[3]);
    hash_of(w, SET({"group_by_length", "true"}, {"max_steps", "4"}), hex[4]);
    assert_string_not_equal(hex[0], hex[4]);
    hash_of(w,
            SET({"group_by_length", "true"}, {"num_train_epochs", "2"},
                {"per_device_train_batch_size", "5"}, {"probe", "true"}),
            hex[4]);
    nbi_free(out);
}

/* A run that goes on from its third step ends as the one that was never stopped. */
static void check_resume(const world *w, const char *name, const nbt_setting *more)
{
    nb_error err = {0};
    char *out = place(w, name), *from = nbt_join(out, "checkpoint-3"), whole[65], again[65];
    nbt_setting s[16] = {{"max_steps", "7"}, {"save_steps", "3"}};
    int n = 2;
    for (; more->key; more++)
        s[n++] = *more;
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    adapter_hash(out, whole);
    s[n] = (nbt_setting){"resume_from_checkpoint", from};
    s[n + 1] = (nbt_setting){"threads", "2"};
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    adapter_hash(out, again);
    if (strcmp(whole, again) != 0)
        fail_msg("%s: resumed to another result", name);
    nbi_free(from);
    nbi_free(out);
}

static void resumes(void **state)
{
    const world *w = *state;
    check_resume(w, "r_sgd", SET({"optim", "sgd"}));
    check_resume(w, "r_momentum",
                 SET({"optim", "sgd"}, {"optim_args", "momentum=0.9,nesterov=true"}));
    check_resume(w, "r_adam", SET({"optim", "adam"}, {"weight_decay", "0.1"}));
    check_resume(w, "r_lion", SET({"optim", "paged_lion_32bit"}, {"learning_rate", "0.001"}));
    check_resume(w, "r_lion8",
                 SET({"optim", "lion_8bit"}, {"learning_rate", "0.001"}, {"lora_r", "128"}));
    check_resume(w, "r_factor", SET({"optim", "adafactor"}, {"optim_args", "beta1=0.9"}));
    check_resume(
        w, "r_relative",
        SET({"optim", "adafactor"}, {"optim_args", "relative_step=true,warmup_init=true"}));
    check_resume(w, "r_plateau",
                 SET({"lr_scheduler_type", "reduce_lr_on_plateau"},
                     {"lr_scheduler_kwargs", "{patience: 0, factor: 0.5, threshold: 1e6, "
                                             "threshold_mode: abs}"},
                     {"eval_data", w->eval}, {"eval_strategy", "steps"}, {"eval_steps", "1"}));
    check_resume(w, "r_noise",
                 SET({"neftune_noise_alpha", "5"}, {"group_by_length", "true"},
                     {"loraplus_lr_ratio", "4"}, {"lr_scheduler_type", "cosine_with_restarts"},
                     {"lr_scheduler_kwargs", "{num_cycles: 2}"}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimizer), cmocka_unit_test(schedules_in_runs),
        cmocka_unit_test(loraplus), cmocka_unit_test(noise_and_groups), cmocka_unit_test(resumes)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
