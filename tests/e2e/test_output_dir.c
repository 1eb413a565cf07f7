/* SPDX-License-Identifier: MIT */
/* What a run leaves in its output folder, says about it and logs; rows without a trained token. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "adapter/adapter.h"
#include "base/io.h"
#include "testutil.h"
#include "train_util.h"
#include "tiny_world.h"
#include "train/train_log.h"

/* Collects the lines of a log. */
static void collect(void *user, nb_log_level level, const char *line)
{
    (void)level;
    nbi_strbuf_printf(user, "%s\n", line);
}

static size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *s = text; (s = strstr(s, part)); s++)
        n++;
    return n;
}

/* Trains; `said` (freed by the caller) gets what was said. */
static nb_status train_said(const world *w, const char *out, const nbt_setting *more,
                            nb_train_result *result, nbi_strbuf *said, nb_error *err)
{
    nb_log log = {collect, said};
    nb_train_hooks hooks = {.log = &log};
    nbi_strbuf_clear(said);
    return train(w, out, more, &hooks, result, err);
}

static bool has(const char *dir, const char *name)
{
    char *path = nbt_join(dir, name);
    bool yes = nbi_path_exists(path);
    nbi_free(path);
    return yes;
}

/* ---- rows without a trained token ---- */

#define BARE "{\"input_ids\": [5, 6, 7], \"labels\": [5, -100, -100]}\n"

/* The rows of `path` with bare ones between and around them. */
static char *mix(const world *w, const char *name, const char *path)
{
    nbi_strbuf b = {0};
    char *text = nbt_read(path, NULL), *out = place(w, name);
    for (int i = 0; i < 9; i++)
        nbi_strbuf_puts(&b, BARE);
    for (char *s = text; *s;) {
        size_t n = strcspn(s, "\n") + 1;
        nbi_strbuf_add(&b, s, n);
        nbi_strbuf_puts(&b, BARE);
        s += n;
    }
    nbt_write_text(out, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
    nbi_free(text);
    return out;
}

static void untrained_rows(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    nb_train_result plain, mixed;
    char *out = place(w, "bare"), *data = mix(w, "bare.jsonl", w->data),
         *eval = mix(w, "bare-eval.jsonl", w->eval);
    nbt_setting s[] = {{"data", w->data},
                       {"eval_data", w->eval},
                       {"shuffle", "false"},
                       {"per_device_train_batch_size", "2"},
                       {"per_device_eval_batch_size", "2"},
                       {"eval_loss_reduction", "trainer"},
                       {"num_train_epochs", "1"},
                       {NULL, NULL}};
    NBT_OK(train_said(w, out, s, &plain, &said, &err));
    assert_null(strstr(nbi_strbuf_str(&said), "left out"));
    s[0].value = data;
    s[1].value = eval;
    NBT_OK(train_said(w, out, s, &mixed, &said, &err));
    assert_non_null(strstr(nbi_strbuf_str(&said), "33 rows left out of training"));
    assert_non_null(strstr(nbi_strbuf_str(&said), "17 rows left out of evaluation"));
    assert_int_equal(mixed.steps, plain.steps);
    assert_true(mixed.last_loss == plain.last_loss);
    assert_true(mixed.eval_loss_before == plain.eval_loss_before);
    assert_true(mixed.eval_loss_after == plain.eval_loss_after);
    nbt_write_text(data, BARE BARE);
    NBT_FAILS(NB_DATA, "", train_said(w, out, s, NULL, &said, &err));
    nbi_strbuf_free(&said);
    nbi_free(out);
    nbi_free(data);
    nbi_free(eval);
}

/* Numbers of a sample_order file count the rows as loaded; an epoch without any is found early. */
static void untrained_order(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_train_result result;
    char *out = place(w, "order"), *data = mix(w, "order.jsonl", w->data),
         *order = place(w, "order.txt");
    nbt_setting s[] = {{"data", data},
                       {"sample_order", order},
                       {"max_steps", "3"},
                       {"per_device_train_batch_size", "1"},
                       {NULL, NULL}};
    nbt_write_text(order, "[0, 9, 10, 11]\n[1, 2]\n");
    NBT_FAILS(NB_DATA, "epoch 1", train(w, out, s, NULL, &result, &err));
    nbt_write_text(order, "[0, 9, 10, 11]\n[1, 13]\n");
    NBT_OK(train(w, out, s, NULL, &result, &err));
    assert_int_equal(result.steps, 3);
    nbi_free(out);
    nbi_free(data);
    nbi_free(order);
}

/* ---- the folder ---- */

static void other_kind(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    char *out = place(w, "kinds"), *own = nbt_join(out, "config.json");
    nbt_setting lora[] = {{"max_steps", "1"}, {"warmup_steps", "0"}, {NULL, NULL}};
    nbt_setting full[] = {{"max_steps", "1"}, {"method", "full"}, {NULL, NULL}};
    NBT_OK(train_said(w, out, lora, NULL, &said, &err));
    assert_null(strstr(nbi_strbuf_str(&said), "earlier run"));
    NBT_OK(train_said(w, out, full, NULL, &said, &err));
    assert_int_equal(count(nbi_strbuf_str(&said), "of an earlier run"), 1);
    assert_true(has(out, "model.safetensors") && has(out, "config.json"));
    assert_false(has(out, "adapter_config.json") || has(out, "adapter_model.safetensors") ||
                 has(out, "nibble.json"));
    NBT_OK(train_said(w, out, lora, NULL, &said, &err));
    assert_int_equal(count(nbi_strbuf_str(&said), "of an earlier run"), 1);
    assert_true(has(out, "adapter_model.safetensors"));
    assert_false(has(out, "model.safetensors") || has(out, "config.json"));
    /* what no earlier run made stays */
    nbt_write_text(own, "{}");
    NBT_OK(train_said(w, out, lora, NULL, &said, &err));
    assert_non_null(strstr(nbi_strbuf_str(&said), "config.json is not of this run"));
    assert_true(has(out, "config.json"));
    nbi_strbuf_free(&said);
    nbi_free(own);
    nbi_free(out);
}

/* An adapter written into the folder of its base leaves the base alone, whatever made it. */
static void base_stays(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "base");
    nbt_setting full[] = {{"max_steps", "1"}, {"method", "full"}, {NULL, NULL}};
    nbt_setting lora[] = {{"max_steps", "1"}, {"warmup_steps", "0"}, {"model", out}, {NULL, NULL}};
    NBT_OK(train(w, out, full, NULL, NULL, &err));
    NBT_OK(train(w, out, lora, NULL, NULL, &err));
    assert_true(has(out, "model.safetensors") && has(out, "config.json"));
    assert_true(has(out, "adapter_model.safetensors"));
    nbi_free(out);
}

static void old_checkpoints(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    char *out = place(w, "old");
    nbt_setting s[] = {
        {"max_steps", "2"}, {"save_steps", "1"}, {"save_total_limit", "1"}, {NULL, NULL}};
    NBT_OK(train_said(w, out, s, NULL, &said, &err));
    assert_null(strstr(nbi_strbuf_str(&said), "of an earlier run"));
    s[0].value = "1";
    NBT_OK(train_said(w, out, s, NULL, &said, &err));
    assert_int_equal(count(nbi_strbuf_str(&said), "1 checkpoint of an earlier run"), 1);
    assert_true(has(out, "checkpoint-2") && has(out, "checkpoint-1"));
    nbi_strbuf_free(&said);
    nbi_free(out);
}

static void nothing_left(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *fresh = place(w, "fresh"), *there = place(w, "there"), *bad = place(w, "bad.jsonl");
    nbt_setting s[] = {{"data", bad}, {NULL, NULL}};
    nbt_write_text(bad, "{\"input_ids\": 1}\n");
    NBT_FAILS(NB_DATA, "", train(w, fresh, s, NULL, NULL, &err));
    assert_false(nbi_path_exists(fresh));
    NBT_OK(nbi_make_dirs(there, &err));
    NBT_FAILS(NB_DATA, "", train(w, there, s, NULL, NULL, &err));
    assert_true(nbi_path_is_dir(there));
    nbi_free(fresh);
    nbi_free(there);
    nbi_free(bad);
}

/* ---- train_log.jsonl ---- */

static void last_step_logged(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static nbt_lines l;
    nbi_arena arena;
    char *out = place(w, "few");
    nbt_setting s[] = {{"logging_steps", "10"}, {"max_steps", "3"}, {NULL, NULL}};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    assert_int_equal(l.n, 3); /* head, step, end */
    assert_true(nbt_number(l.v[1], "step") == 3);
    s[0] = (nbt_setting){"logging_strategy", "no"};
    NBT_OK(train(w, out, s, NULL, NULL, &err));
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    assert_int_equal(l.n, 2);
    nbi_arena_free(&arena);
    nbi_free(out);
}

static const nbi_json *settings_of(nbi_arena *arena, const char *out)
{
    static nbt_lines l;
    nbt_read_lines(&l, arena, out, "train_log.jsonl");
    return nbi_json_get(l.v[0], "settings");
}

static void settings_in_force(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_arena arena;
    char *first = place(w, "first"), *out = place(w, "second");
    nbt_setting s[] = {{"lora_alpha", "12"},
                       {"lora_target_modules", "[q_proj]"},
                       {"method", "qlora"},
                       {"num_train_epochs", "1"},
                       {NULL, NULL}};
    nbt_setting again[] = {{"lora_alpha", "99"},
                           {"init_adapter", first},
                           {"max_steps", "50"},
                           {"eval_data", w->eval},
                           {NULL, NULL}};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(train(w, first, s, NULL, NULL, &err));
    NBT_OK(train(w, out, again, NULL, NULL, &err));
    const nbi_json *v = settings_of(&arena, out);
    assert_true(nbt_number(v, "lora_alpha") == 12);
    assert_true(nbi_json_equals(nbi_json_get(v, "lora_target_modules")->first, "q_proj"));
    assert_true(nbi_json_equals(nbi_json_get(v, "method"), "qlora"));
    assert_true(nbi_json_get(v, "load_in_4bit")->boolean);
    assert_true(nbi_json_equals(nbi_json_get(v, "compute_dtype"), "f32"));
    assert_true(nbi_json_equals(nbi_json_get(v, "format"), "tokenized"));
    assert_true(nbt_number(v, "warmup_steps") == 2);
    assert_true(nbt_number(v, "threads") == 1);
    assert_true(nbi_json_get(v, "eval_on_start")->boolean);
    assert_int_equal(nbi_json_get(v, "append_eos")->type, NBI_JT_BOOL);
    assert_true(nbi_json_get(v, "append_eos")->boolean);
    nbi_arena_free(&arena);
    nbi_free(first);
    nbi_free(out);
}

/* A full disk takes lines, never half of one; it is said once. */
static void whole_lines(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static nbt_lines l;
    nbi_strbuf said = {0};
    nb_log log = {collect, &said};
    nbi_train_log *t;
    nbi_arena arena;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_train_log_open(&t, w->dir, &log, &err));
    for (int i = 0; i < 5; i++) {
        nbi_jw_member_i64(nbi_train_log_begin(t), "step", i);
        if (i == 1 || i == 2)
            nbi_io_fail_at(1, NBI_IO_FAULT_SHORT, ENOSPC, false);
        nbi_train_log_end(t);
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
    }
    nbi_train_log_close(&t);
    nbt_read_lines(&l, &arena, w->dir, "train_log.jsonl");
    assert_int_equal(l.n, 3);
    assert_true(nbt_number(l.v[0], "step") == 0);
    assert_true(nbt_number(l.v[1], "step") == 3);
    assert_int_equal(count(nbi_strbuf_str(&said), "train_log.jsonl"), 1);
    nbi_arena_free(&arena);
    nbi_strbuf_free(&said);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(untrained_rows),   cmocka_unit_test(untrained_order),
        cmocka_unit_test(other_kind),       cmocka_unit_test(base_stays),
        cmocka_unit_test(old_checkpoints),  cmocka_unit_test(nothing_left),
        cmocka_unit_test(last_step_logged), cmocka_unit_test(settings_in_force),
        cmocka_unit_test(whole_lines),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
