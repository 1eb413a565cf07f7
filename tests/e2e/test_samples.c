/* SPDX-License-Identifier: MIT */
/* sample_prompts: when they are asked, what is written, and that asking changes nothing. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/safefile.h"
#include "base/sha256.h"
#include "testutil.h"
#include "train_util.h"

typedef struct world {
    char *dir, *model, *data, *out;
} world;

static int setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    w->dir = nbt_tmpdir();
    w->model = nbt_join(getenv("NIBBLE_SOURCE_ROOT"), "models/nibble-world");
    w->data = nbt_join(getenv("NIBBLE_SOURCE_ROOT"), "data/world-instruct/eval.jsonl");
    w->out = nbt_join(w->dir, "out");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    nbi_free(w->model), nbi_free(w->data), nbi_free(w->out);
    nbt_tmpdir_remove(w->dir);
    free(w);
    return 0;
}

static nb_status train(const world *w, const nbt_setting *more, const nb_train_hooks *hooks,
                       nb_error *err)
{
    nbt_setting s[24] = {{"model", w->model},       {"data", w->data},
                         {"format", "instruction"}, {"max_rows", "16"},
                         {"eval_rows", "4"},        {"eval_steps", "2"},
                         {"max_steps", "3"},        {"learning_rate", "2e-3"},
                         {"warmup_steps", "0"},     {"per_device_train_batch_size", "2"},
                         {"threads", "1"},          {"output_dir", w->out}};
    for (size_t n = 12; more && more->key; more++)
        s[n++] = *more;
    nb_recipe *r = nbt_recipe(s);
    const nb_status st = nb_train(r, hooks, NULL, err);
    nb_recipe_free(&r);
    return st;
}

static void hash_of(const world *w, char hex[65])
{
    nb_error err = {0};
    char *path = nbt_join(w->out, "adapter_model.safetensors");
    NBT_OK(nbi_sha256_file(path, hex, &err));
    nbi_free(path);
}

#define TWO "[Where is the tower?, 'Who, and what?']"

/* Before, at step 2, at the end (3): each prompt as given; the same answers in each run, and the
 * same adapter as without. */
static void lines(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static nbt_lines l;
    nbi_arena arena;
    char with[65], without[65], *path = nbt_join(w->out, "samples.jsonl");
    static const int steps[] = {0, 0, 2, 2, 3, 3};
    nbt_setting s[] = {{"sample_prompts", TWO}, {"sample_max_new_tokens", "7"}, {NULL, NULL}};
    NBT_OK(train(w, NULL, NULL, &err));
    hash_of(w, without);
    assert_int_equal(access(path, F_OK), -1);
    NBT_OK(train(w, s, NULL, &err));
    hash_of(w, with);
    assert_string_equal(with, without);
    char *first = nbt_read(path, NULL);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, w->out, "samples.jsonl");
    assert_int_equal(l.n, 6);
    for (size_t i = 0; i < 6; i++) {
        assert_true(nbt_number(l.v[i], "step") == steps[i]);
        assert_string_equal(nbi_json_get(l.v[i], "prompt")->text,
                            i % 2 ? "Who, and what?" : "Where is the tower?");
        double n = nbt_number(l.v[i], "tokens");
        assert_true(n >= 1 && n <= 7);
        assert_non_null(nbi_json_get(l.v[i], "text"));
    }
    NBT_OK(train(w, s, NULL, &err));
    char *again = nbt_read(path, NULL);
    assert_string_equal(first, again);
    nbi_free(first), nbi_free(again), nbi_free(path);
    nbi_arena_free(&arena);
}

/* Rows and questions from files; a row's answer is not part of its prompt. */
static void files(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static nbt_lines l;
    nbi_arena arena;
    char *rows = nbt_join(w->dir, "rows.jsonl"), *plain = nbt_join(w->dir, "questions.txt");
    nbt_setting s[] = {{"sample_prompts", plain}, {"sample_max_new_tokens", "5"}, {NULL, NULL}};
    nbt_write_text(plain, "What is this?\r\n\nAnd this?\n");
    NBT_OK(train(w, s, NULL, &err));
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, w->out, "samples.jsonl");
    assert_int_equal(l.n, 6);
    assert_string_equal(nbi_json_get(l.v[0], "prompt")->text, "What is this?");
    char *whole = nbt_read(w->data, NULL);
    whole[strcspn(whole, "\n") + 1] = 0;
    nbt_write_text(rows, whole);
    s[0].value = rows;
    NBT_OK(train(w, s, NULL, &err));
    nbt_read_lines(&l, &arena, w->out, "samples.jsonl");
    assert_int_equal(l.n, 3);
    nbt_write_text(rows, "{\"nothing\": \"here\"}\n");
    NBT_FAILS(NB_DATA, "rows.jsonl", train(w, s, NULL, &err));
    s[0].value = "no-such-file.txt";
    NBT_FAILS(NB_NOTFOUND, "no-such-file", train(w, s, NULL, &err));
    nbi_free(whole), nbi_free(rows), nbi_free(plain);
    nbi_arena_free(&arena);
}

static volatile sig_atomic_t stop_flag;

static void stop_at_two(void *user, const nb_train_progress *p)
{
    (void)user;
    if (p->step == 2 && !isnan(p->eval_loss))
        stop_flag = 1;
}

/* Stopped between an evaluation and its samples: a resumed run asks then, and nothing twice. */
static void resumed(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *path = nbt_join(w->out, "samples.jsonl");
    nbt_setting s[] = {{"sample_prompts", TWO},
                       {"sample_max_new_tokens", "7"},
                       {"resume_from_checkpoint", "false"},
                       {NULL, NULL}};
    NBT_OK(train(w, s, NULL, &err));
    char *whole = nbt_read(path, NULL);
    nb_train_hooks hooks = {.progress = stop_at_two, .stop = &stop_flag};
    stop_flag = 0;
    NBT_FAILS(NB_INTERRUPTED, "checkpoint-2", train(w, s, &hooks, &err));
    s[2].value = "true";
    NBT_OK(train(w, s, NULL, &err));
    char *again = nbt_read(path, NULL);
    assert_string_equal(whole, again);
    nbi_free(whole), nbi_free(again), nbi_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(files),
                                       cmocka_unit_test(resumed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
