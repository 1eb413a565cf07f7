/* SPDX-License-Identifier: MIT */
/* Whole runs on a tiny random model: methods, invariances, checkpoints, interruption, failures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <sys/wait.h>
#include "adapter/adapter.h"
#include "base/io.h"
#include "testutil.h"
#include "train_util.h"
#include "tiny_world.h"

/* ---- what a run does ---- */

static void check_method(world *w, const char *name, const nbt_setting *more, bool full)
{
    nb_error err = {0};
    nb_train_result result;
    nb_eval_report again;
    char *out = place(w, name);
    NBT_OK(train(w, out, more, NULL, &result, &err));
    assert_int_equal(result.steps, 18);
    assert_true(result.last_loss < 0.8 * result.first_loss);
    assert_true(result.eval_loss_after < 0.9 * result.eval_loss_before);
    assert_string_equal(result.output_dir, out);
    /* what was saved gives the same loss; an adapter finds its base and how it was held by itself
     */
    nbt_setting e[] = {{full ? "model" : "adapter", out},
                       {"data", w->eval},
                       {"threads", "1"},
                       {full ? "compute_dtype" : NULL, "f32"},
                       {NULL, NULL}};
    nb_recipe *r = nbt_recipe(e);
    NBT_OK(nb_evaluate(r, NULL, NULL, &again, NULL, &err));
    nb_recipe_free(&r);
    nbt_within("loss after loading", fabs(again.loss.loss - result.eval_loss_after), 1e-6);
    assert_int_equal(again.loss.rows, 8);
    nbi_free(out);
}

static void methods(void **state)
{
    world *w = *state;
    size_t before = nbt_in_use();
    nbt_setting lora[] = {{"eval_data", w->eval}, {NULL, NULL}};
    nbt_setting qlora[] = {{"eval_data", w->eval},
                           {"load_in_4bit", "true"},
                           {"bnb_4bit_use_double_quant", "true"},
                           {NULL, NULL}};
    nbt_setting full[] = {{"eval_data", w->eval}, {"method", "full"}, {NULL, NULL}};
    check_method(w, "lora", lora, false);
    check_method(w, "qlora", qlora, false);
    check_method(w, "full", full, true);
    assert_int_equal(nbt_in_use(), before);
}

static void log_lines(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static nbt_lines l;
    nbi_arena arena;
    char *out = place(w, "log");
    nbt_setting s[] = {{"eval_data", w->eval},     {"logging_steps", "2"}, {"max_steps", "5"},
                       {"eval_strategy", "steps"}, {"eval_steps", "4"},    {NULL, NULL}};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    static const char *const first[] = {"versions",
                                        "cpu",
                                        "seed",
                                        "settings",
                                        "trainable_parameters",
                                        "total_parameters",
                                        "seconds_to_first_step"};
    static const char *const step[] = {
        "step", "epoch", "loss", "grad_norm", "learning_rate", "tokens", "tokens_per_second"};
    for (size_t i = 0; i < sizeof first / sizeof *first; i++)
        assert_non_null(nbi_json_get(l.v[0], first[i]));
    /* evaluations at 0, 4 and the end, steps 2 and 4 */
    static const int steps[] = {0, 2, 4, 4, 5};
    assert_int_equal(l.n, 7);
    assert_true(nbt_number(l.v[6], "peak_bytes") > 0);
    for (size_t i = 0; i < 5; i++)
        assert_true(nbt_number(l.v[i + 1], "step") == steps[i]);
    for (size_t i = 0; i < sizeof step / sizeof *step; i++)
        assert_non_null(nbi_json_get(l.v[2], step[i]));
    assert_non_null(nbi_json_get(l.v[4], "eval_loss"));
    assert_non_null(nbi_json_get(l.v[3], "grad_norm"));
    nbi_arena_free(&arena);
    nbi_free(out);
}

static void same_for_any_threads(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char first[65] = "", hex[65];
    for (int t = 1; t <= 3; t++) {
        char threads[8], name[16];
        snprintf(threads, sizeof threads, "%d", t);
        snprintf(name, sizeof name, "threads%d", t);
        char *out = place(w, name);
        nbt_setting s[] = {
            {"threads", threads}, {"lora_dropout", "0.1"}, {"load_in_4bit", "true"}, {NULL, NULL}};
        NBT_OK(train(w, out, s, NULL, NULL, &err));
        adapter_hash(out, hex);
        if (t == 1)
            memcpy(first, hex, sizeof first);
        assert_string_equal(hex, first);
        nbi_free(out);
    }
}

static nb_safetensors *open_adapter(const char *dir)
{
    nb_error err = {0};
    nb_safetensors *st;
    NBT_OK(nb_safetensors_open_dir(&st, dir, "adapter_model", &err));
    return st;
}

/* Largest difference of two saved adapters. */
static double difference(const char *a, const char *b)
{
    nb_safetensors *x = open_adapter(a), *y = open_adapter(b);
    double worst = 0;
    assert_int_equal(nb_safetensors_count(x), nb_safetensors_count(y));
    for (size_t i = 0; i < nb_safetensors_count(x); i++) {
        const nb_st_tensor *t = nb_safetensors_at(x, i), *u = nb_safetensors_find(y, t->name);
        assert_non_null(u);
        for (int64_t j = 0; j < t->shape[0] * t->shape[1]; j++)
            worst = fmax(worst, fabs(nb_st_value(t, j) - nb_st_value(u, j)));
    }
    nb_safetensors_close(&x);
    nb_safetensors_close(&y);
    return worst;
}

/* The loss is a mean over the accumulated batch and dropout is keyed by example: the division into
 * micro-batches changes roundings only. */
static void accumulation_is_one_batch(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *one = place(w, "8x1"), *two = place(w, "2x4"), *other = place(w, "other");
    nbt_setting s[] = {{"lora_dropout", "0.2"},
                       {"num_train_epochs", "2"},
                       {"per_device_train_batch_size", "8"},
                       {"gradient_accumulation_steps", "1"},
                       {"adam_epsilon", "1e-3"},
                       {"seed", "42"},
                       {NULL, NULL}};
    NBT_OK(train(w, one, s, NULL, NULL, &err));
    s[2].value = "2";
    s[3].value = "4";
    NBT_OK(train(w, two, s, NULL, NULL, &err));
    s[5].value = "43";
    NBT_OK(train(w, other, s, NULL, NULL, &err));
    nbt_within("2 x 4 against 8 x 1", difference(one, two), 1e-5);
    assert_true(difference(one, other) > 1e-2);
    nbi_free(one);
    nbi_free(two);
    nbi_free(other);
}

static void checkpoints(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "saves");
    nbt_setting s[] = {
        {"save_steps", "2"}, {"save_total_limit", "2"}, {"max_steps", "7"}, {NULL, NULL}};
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    static const int there[] = {0, 1, 1, 0};
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "checkpoint-%d", 2 * (i + 1));
        char *dir = nbt_join(out, name);
        assert_int_equal(nbi_path_is_dir(dir), there[i]);
        nbi_free(dir);
    }
    char *four = nbt_join(out, "checkpoint-4"), *six = nbt_join(out, "checkpoint-6");
    assert_true(nbi_path_is_dir(four));
    assert_true(nbi_path_is_dir(six));
    assert_true(difference(four, six) > 0);
    assert_true(difference(six, out) > 0);
    nbi_free(four);
    nbi_free(six);
    nbi_free(out);
}

static volatile sig_atomic_t stop_flag;

static void stop_at_three(void *user, const nb_train_progress *p)
{
    (void)user;
    if (p->step == 3)
        stop_flag = 1;
}

static void interrupted(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "stopped"), *saved = nbt_join(out, "checkpoint-3"), *whole = place(w, "3");
    nb_train_hooks hooks = {.progress = stop_at_three, .stop = &stop_flag};
    stop_flag = 0;
    NBT_FAILS(NB_INTERRUPTED, "checkpoint-3", train(w, out, NULL, &hooks, NULL, &err));
    /* the same three updates as a run that is planned so (but for the schedule) */
    nb_lora_config c;
    nb_adapter_note note;
    NBT_OK(nb_adapter_read_config(saved, &c, &note, &err));
    assert_int_equal(c.r, 4);
    nb_lora_config_free(&c);
    nb_adapter_note_free(&note);
    nb_safetensors *st = open_adapter(saved);
    assert_int_equal(nb_safetensors_count(st), 2 * 2 * 7);
    nb_safetensors_close(&st);
    char *none = nbt_join(out, "adapter_model.safetensors");
    assert_false(nbi_path_exists(none));
    nbi_free(none);
    nbi_free(out);
    nbi_free(saved);
    nbi_free(whole);
}

/* ---- what goes wrong ---- */

static void wrong_settings(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "wrong"), *weights = nbt_join(out, "adapter_model.safetensors");
    nbt_setting s[] = {{"lora_target_modules", "[query_key_value]"}, {NULL, NULL}};
    NBT_FAILS(NB_CONFIG, "down_proj", train(w, out, s, NULL, NULL, &err));
    s[0] = (nbt_setting){"data", "no-such-file.jsonl"};
    NBT_FAILS(NB_NOTFOUND, "no-such-file.jsonl", train(w, out, s, NULL, NULL, &err));
    s[0] = (nbt_setting){"model", "no-such-model"};
    NBT_FAILS(NB_NOTFOUND, "no-such-model", train(w, out, s, NULL, NULL, &err));
    s[0] = (nbt_setting){"learning_rate", "99"};
    nbt_setting wild[] = {{"learning_rate", "99"},    {"method", "full"},
                          {"max_grad_norm", "0"},     {"weight_decay", "100"},
                          {"num_train_epochs", "60"}, {NULL, NULL}};
    NBT_FAILS(NB_NUMERIC, "step", train(w, out, wild, NULL, NULL, &err));
    char *model = nbt_join(out, "model.safetensors");
    assert_false(nbi_path_exists(weights));
    assert_false(nbi_path_exists(model));
    int lock;
    NBT_OK(nbi_dirlock_take(out, &lock, &err));
    NBT_FAILS(NB_BUSY, "", train(w, out, NULL, NULL, NULL, &err));
    nbi_dirlock_release(lock);
    nbi_free(model);
    nbi_free(weights);
    nbi_free(out);
}

/* The folder holds a complete adapter: configuration, tensors and note fit each other. */
static void check_valid(const world *w, const char *out)
{
    nb_error err = {0};
    nb_model_load how = {.threads = 1, .cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32};
    nb_model *m;
    nb_adapter *a;
    nb_adapter_note note;
    NBT_OK(nb_model_open(&m, w->model, &how, NULL, &err));
    NBT_OK(nb_adapter_load(&a, m, out, 0, false, NULL, &err));
    NBT_OK(nb_adapter_read_config(out, NULL, &note, &err));
    assert_true(note.quant.block > 0);
    nb_adapter_note_free(&note);
    nb_adapter_close(&a);
    nb_model_close(&m);
}

static void failing_io(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "failing");
    nbt_setting s[] = {{"max_steps", "1"},        {"warmup_steps", "0"}, {"save_steps", "1"},
                       {"save_total_limit", "1"}, {"lora_r", "4"},       {NULL, NULL}};
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    size_t before = nbt_in_use();
    for (uint64_t k = 1;; k++) {
        s[4].value = k % 2 ? "2" : "4"; /* a mixture of two runs would not load */
        nbi_io_fail_at(k, k % 4 < 2 ? NBI_IO_FAULT_ERRNO : NBI_IO_FAULT_SHORT, ENOSPC, false);
        memset(&err, 0, sizeof err);
        nb_status st = train(w, out, s, NULL, NULL, &err);
        uint64_t calls = nbi_io_count();
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
        if (st != NB_OK)
            assert_true(err.code == st && err.message[0]);
        check_valid(w, out);
        assert_int_equal(nbt_in_use(), before);
        if (calls < k) {
            assert_true(k > 50);
            break;
        }
    }
    nbi_free(out);
}

/* A killed process leaves the old adapter, the new one, or a folder that does not load. */
static void killed(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "killed"), *config = nbt_join(out, "adapter_config.json"), hex[2][65];
    nbt_setting s[] = {{"max_steps", "1"},
                       {"warmup_steps", "0"},
                       {"lora_alpha", "8"},
                       {"seed", "1"},
                       {NULL, NULL}};
    static const char *const alpha[] = {"8", "16"}, *const seed[] = {"1", "2"};
    int torn = 0;
    for (int i = 1; i >= 0; i--) {
        s[2].value = alpha[i];
        s[3].value = seed[i];
        NBT_OK(train(w, out, s, NULL, NULL, &err));
        adapter_hash(out, hex[i]);
    }
    for (uint64_t k = 1;; k++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            s[2].value = alpha[1];
            s[3].value = seed[1];
            nbi_io_fail_at(k, NBI_IO_FAULT_KILL, 0, false);
            _exit(train(w, out, s, NULL, NULL, &err) == NB_OK ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (nbi_path_exists(config)) {
            char found[65];
            nb_lora_config c;
            check_valid(w, out);
            NBT_OK(nb_adapter_read_config(out, &c, NULL, &err));
            adapter_hash(out, found);
            assert_string_equal(found, hex[c.alpha == 16]);
            nb_lora_config_free(&c);
        } else {
            torn++;
        }
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            break;
        }
        if (!nbi_path_exists(config) || k % 16 == 0)
            NBT_OK(train(w, out, s, NULL, NULL, &err));
    }
    assert_true(torn > 0);
    nbi_free(config);
    nbi_free(out);
}

static void failing_memory(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "nomem");
    nbt_setting s[] = {
        {"max_steps", "1"}, {"eval_data", w->eval}, {"load_in_4bit", "true"}, {NULL, NULL}};
    nb_recipe *r;
    size_t before = nbt_in_use();
    for (uint64_t k = 1;; k += 1 + k / 16) {
        r = recipe(w, out, s);
        nbi_alloc_fail_at(k, false);
        nb_status st = nb_train(r, NULL, NULL, &err);
        uint64_t calls = nbi_alloc_count();
        nbi_alloc_fail_at(0, false);
        nb_recipe_free(&r);
        assert_int_equal(nbt_in_use(), before);
        if (calls < k) {
            assert_int_equal(st, NB_OK);
            break;
        }
    }
    nbi_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods),
        cmocka_unit_test(log_lines),
        cmocka_unit_test(same_for_any_threads),
        cmocka_unit_test(accumulation_is_one_batch),
        cmocka_unit_test(checkpoints),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(wrong_settings),
        cmocka_unit_test(failing_io),
        cmocka_unit_test(killed),
        cmocka_unit_test(failing_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
