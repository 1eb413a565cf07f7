/* SPDX-License-Identifier: MIT */
/* When a run logs, evaluates and saves; which step is best; when it ends; several sets. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adapter/adapter.h"
#include "testutil.h"
#include "train/trainer_state.h"
#include "train_util.h"
#include "tiny_world.h"

/* 24 rows, 8 a batch: three steps an epoch, 18 in all. */

static void read_history(const char *dir, nbi_history *h)
{
    nb_error err = {0};
    nbi_history_init(h);
    NBT_OK(nbi_trainer_state_read(dir, h, NULL, &err));
}

/* Steps of the entries of a kind, as " 3 6 9". */
static void steps_of(const nbi_history *h, nbi_entry_kind kind, char *out)
{
    out[0] = 0;
    for (size_t i = 0; i < h->entries.n; i++)
        if (h->entries.v[i].kind == kind)
            sprintf(out + strlen(out), " %d", (int)h->entries.v[i].step);
}

static void saved_steps(const char *dir, char *out)
{
    out[0] = 0;
    for (int i = 1; i < 100; i++) {
        char name[32];
        snprintf(name, sizeof name, "checkpoint-%d", i);
        char *path = nbt_join(dir, name);
        if (nbi_path_is_dir(path))
            sprintf(out + strlen(out), " %d", i);
        nbi_free(path);
    }
}

static void strategies(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static const struct {
        nbt_setting s[6];
        const char *train, *eval, *save;
    } cases[] = {
        {{{"logging_steps", "0.25"}, {"logging_first_step", "true"}, {NULL, NULL}},
         " 1 5 10 15",
         " 3 6 9 12 15 18",
         ""},
        {{{"logging_strategy", "epoch"}, {"eval_steps", "4"}, {"save_steps", "0.3"}, {NULL, NULL}},
         " 3 6 9 12 15 18",
         " 4 8 12 16 18",
         " 6 12 18"},
        {{{"logging_strategy", "no"},
          {"eval_strategy", "steps"},
          {"eval_steps", "4"},
          {"eval_delay", "10"},
          {"save_strategy", "epoch"},
          {NULL, NULL}},
         "",
         " 12 16 18",
         " 3 6 9 12 15 18"},
        {{{"max_steps", "4"},
          {"logging_strategy", "epoch"},
          {"save_strategy", "epoch"},
          {"eval_delay", "1.2"},
          {NULL, NULL}},
         " 3 4",
         " 4",
         " 3 4"},
        {{{"max_steps", "4"}, {"logging_steps", "10"}, {"eval_strategy", "no"}, {NULL, NULL}},
         " 4",
         " 4",
         ""},
        {{{"num_train_epochs", "0.5"}, {"logging_steps", "1"}, {NULL, NULL}}, " 1 2", " 2", ""},
        {{{"num_train_epochs", "1.4"},
          {"eval_steps", "2"},
          {"load_best_model_at_end", "true"},
          {NULL, NULL}},
         " 1 2 3 4 5",
         " 2 4 5",
         " 2 4 5"},
    };
    char *out = place(w, "strategies"), text[200];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nbi_history h;
        nbt_setting s[9] = {{"eval_data", w->eval}, {"eval_on_start", "false"}};
        memcpy(s + 2, cases[i].s, sizeof cases[i].s);
        assert_int_equal(nbi_remove_tree(out, NULL), NB_OK);
        NBT_OK(train(w, out, s, NULL, NULL, &err));
        read_history(out, &h);
        steps_of(&h, NBI_ENTRY_TRAIN, text);
        assert_string_equal(text, cases[i].train);
        steps_of(&h, NBI_ENTRY_EVAL, text);
        assert_string_equal(text, cases[i].eval);
        saved_steps(out, text);
        assert_string_equal(text, cases[i].save);
        assert_int_equal(nbi_history_last(&h)->kind, NBI_ENTRY_END);
        nbi_history_free(&h);
    }
    nbi_free(out);
}

/* A line's loss is the mean since the last one, the last entry's that of all. */
static void means(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_history all, some;
    char *one = place(w, "each"), *out = place(w, "fourth");
    nbt_setting s[] = {{"logging_steps", "1"}, {"num_train_epochs", "3"}, {NULL, NULL}};
    NBT_OK(train(w, one, s, NULL, NULL, &err));
    s[0].value = "4";
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    read_history(one, &all);
    read_history(out, &some);
    assert_int_equal(all.entries.n, 9 + 1);
    assert_int_equal(some.entries.n, 2 + 1);
    double total = 0, window = 0;
    for (size_t i = 0; i < 9; i++) {
        double loss = nbi_history_value(&all, &all.entries.v[i], "loss");
        total += loss;
        window += loss;
        if (i % 4 < 3)
            continue;
        assert_true(nbi_history_value(&some, &some.entries.v[i / 4], "loss") == window / 4);
        window = 0;
    }
    assert_true(nbi_history_value(&some, nbi_history_last(&some), "train_loss") == total / 9);
    static const char *const end[] = {"train_runtime", "train_samples_per_second",
                                      "train_steps_per_second", "train_tokens", "total_flos"};
    for (size_t i = 0; i < sizeof end / sizeof *end; i++)
        assert_true(nbi_history_value(&some, nbi_history_last(&some), end[i]) > 0);
    nbi_history_free(&all);
    nbi_history_free(&some);
    nbi_free(one);
    nbi_free(out);
}

static double state_number(const char *dir, const char *key)
{
    nb_error err = {0};
    nbi_arena arena;
    nbi_json *doc;
    char *path = nbt_join(dir, NBI_TRAINER_STATE);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse_file(&arena, path, 1 << 20, &doc, &err));
    double v = nbt_number(doc, key);
    nbi_arena_free(&arena);
    nbi_free(path);
    return v;
}

/* Compared the wrong way round, the first evaluation is the best and all others are worse. */
#define WORST_IS_BEST                                                                              \
    {"metric_for_best_model", "loss"},                                                             \
    {                                                                                              \
        "greater_is_better", "true"                                                                \
    }

/* The file of the result is, byte for byte, that of the checkpoint. */
static void check_same_file(const char *out, const char *checkpoint, const char *name)
{
    nb_error err = {0};
    char *dir = nbt_join(out, checkpoint), *a = nbt_join(dir, name), *b = nbt_join(out, name);
    char x[65], y[65];
    NBT_OK(nbi_sha256_file(a, x, &err));
    NBT_OK(nbi_sha256_file(b, y, &err));
    assert_string_equal(x, y);
    nbi_free(dir), nbi_free(a), nbi_free(b);
}

static void check_best(const world *w, const char *name, const char *file, const nbt_setting *more)
{
    nb_error err = {0};
    nb_train_result result;
    nbi_history h;
    char *out = place(w, name);
    nbt_setting s[8] = {{"eval_data", w->eval}, {"load_best_model_at_end", "true"}, WORST_IS_BEST};
    for (size_t i = 4; more->key; i++)
        s[i] = *more++;
    NBT_OK(train(w, out, s, NULL, &result, &err));
    read_history(out, &h);
    /* of step 3, as was logged; no further evaluation */
    const nbi_entry *e = &h.entries.v[4];
    assert_true(e->kind == NBI_ENTRY_EVAL && e->step == 3);
    assert_true(nbi_history_value(&h, e, "eval_loss") == result.eval_loss_after);
    assert_true(state_number(out, "best_global_step") == 3);
    assert_true(state_number(out, "best_metric") == result.eval_loss_after);
    check_same_file(out, "checkpoint-3", file);
    nbi_history_free(&h);
    nbi_free(out);
}

static void best(void **state)
{
    world *w = *state;
    const nbt_setting lora[] = {{NULL, NULL}}, full[] = {{"method", "full"}, {NULL, NULL}},
                      bf16[] = {{"method", "full"}, {"save_dtype", "bf16"}, {NULL, NULL}};
    check_best(w, "best-lora", "adapter_model.safetensors", lora);
    check_best(w, "best-full", "model.safetensors", full);
    check_best(w, "best-bf16", "model.safetensors", bf16);
}

static void best_saved_alone(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "gone"), text[200];
    nbt_setting s[] = {{"eval_data", w->eval},
                       {"load_best_model_at_end", "true"},
                       {"save_strategy", "best"},
                       WORST_IS_BEST,
                       {NULL, NULL}};
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    saved_steps(out, text);
    assert_string_equal(text, " 3");
    check_same_file(out, "checkpoint-3", "adapter_model.safetensors");
    nbi_free(out);
}

static void early_stop(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_train_result result;
    char *out = place(w, "early"), text[200];
    nbi_history h;
    nbt_setting s[] = {{"eval_data", w->eval},
                       {"early_stopping_patience", "2"},
                       {"logging_strategy", "epoch"},
                       {"save_strategy", "epoch"},
                       WORST_IS_BEST,
                       {NULL, NULL}};
    NBT_OK(train(w, out, s, NULL, &result, &err));
    assert_int_equal(result.steps, 9);
    read_history(out, &h);
    steps_of(&h, NBI_ENTRY_EVAL, text);
    assert_string_equal(text, " 0 3 6 9");
    nbi_history_free(&h);
    saved_steps(out, text);
    assert_string_equal(text, " 3 6 9");
    /* better each time, but by less than counts */
    nbt_setting small[] = {{"eval_data", w->eval},
                           {"early_stopping_patience", "2"},
                           {"early_stopping_threshold", "1000"},
                           {NULL, NULL}};
    NBT_OK(train(w, out, small, NULL, &result, &err));
    assert_int_equal(result.steps, 9);
    assert_true(state_number(out, "best_global_step") == 9);
    small[2].value = "0";
    NBT_OK(train(w, out, small, NULL, &result, &err));
    assert_int_equal(result.steps, 18);
    nbi_free(out);
}

typedef struct told {
    int n;
    char sets[200];
} told;

static void tell(void *user, const nb_train_progress *p)
{
    told *t = user;
    if (isnan(p->eval_loss))
        return;
    t->n++;
    if (t->n <= 2)
        snprintf(t->sets + strlen(t->sets), 80, " %s", p->eval_set ? p->eval_set : "-");
}

static void several_sets(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "sets"), *alone = place(w, "alone"), list[600];
    nbi_history h, one;
    told t = {0};
    nb_train_hooks hooks = {.progress = tell, .user = &t};
    snprintf(list, sizeof list, "first=%s,second=%s", w->data, w->eval);
    nbt_setting s[] = {{"eval_data", list},
                       {"metric_for_best_model", "second_token_accuracy"},
                       {"num_train_epochs", "2"},
                       {NULL, NULL}};
    NBT_OK(train(w, out, s, &hooks, NULL, &err));
    assert_string_equal(t.sets, " first second");
    assert_int_equal(t.n, 6);
    nbt_setting single[] = {{"eval_data", w->eval}, {"num_train_epochs", "2"}, {NULL, NULL}};
    NBT_OK(train(w, alone, single, NULL, NULL, &err));
    read_history(out, &h);
    read_history(alone, &one);
    double accuracy = -1;
    for (size_t i = 0, j = 0; i < h.entries.n; i++) {
        double v = nbi_history_value(&h, &h.entries.v[i], "eval_second_loss");
        if (h.entries.v[i].kind != NBI_ENTRY_EVAL || isnan(v))
            continue;
        while (one.entries.v[j].kind != NBI_ENTRY_EVAL)
            j++;
        assert_true(v == nbi_history_value(&one, &one.entries.v[j++], "eval_loss"));
        if (h.entries.v[i].step > 0)
            accuracy = fmax(accuracy,
                            nbi_history_value(&h, &h.entries.v[i], "eval_second_token_accuracy"));
        assert_true(nbi_history_value(&h, &h.entries.v[i - 1], "eval_first_loss") > 0);
    }
    assert_true(state_number(out, "best_metric") == accuracy);
    nbi_history_free(&h);
    nbi_history_free(&one);
    s[1].value = "loss";
    NBT_FAILS(NB_CONFIG, "eval_first_loss, eval_first_perplexity",
              train(w, out, s, NULL, NULL, &err));
    nbi_free(out);
    nbi_free(alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strategies), cmocka_unit_test(means),
        cmocka_unit_test(best),       cmocka_unit_test(best_saved_alone),
        cmocka_unit_test(early_stop), cmocka_unit_test(several_sets),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
