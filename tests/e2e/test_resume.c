/* SPDX-License-Identifier: MIT */
/* A run that was stopped ends as one that was not: to the bit, from every step. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "testutil.h"
#include "train_util.h"
#include "tiny_world.h"
#include "resume_world.h"
#include "train/manifest.h"
#include "train/trainer.h"

enum { STEPS = 44, CI_STEPS = 40, LONG_STEPS = 204 };

static const char *const thread_counts[] = {"1", "2", "3"};

/* ---- every step ---- */

static void from_every_step(void **state)
{
    world *w = *state;
    nb_error err = {0};
    const bool all = is_long("from every step of 1 to 200");
    const int last = all ? LONG_STEPS : STEPS, n = all ? 200 : CI_STEPS;
    char total[16], *base = place(w, "base"), *out = place(w, "again");
    snprintf(total, sizeof total, "%d", last);
    NBT_OK(hard_train(w, base, NULL, NULL, &err, "max_steps", total, "save_steps", "1", NULL));
    const outcome whole = outcome_of(base, last);
    for (int k = 1; k <= n; k++) {
        char *from = step_dir(base, k);
        nb_train_result result;
        NBT_OK(nbi_remove_tree(out, &err));
        NBT_OK(hard_train(w, out, NULL, &result, &err, "max_steps", total, "save_steps", total,
                          "threads", thread_counts[k % 3], "resume_from_checkpoint", from, NULL));
        assert_int_equal(result.steps, last);
        const outcome o = outcome_of(out, last);
        SAME_OUTCOME(o, whole);
        nbi_free(from);
    }
    nbi_free(base);
    nbi_free(out);
}

/* ---- every field ---- */

/* Writes the state with the value of a progress field replaced, or without the field (NULL). */
static void write_edited(const char *dir, const nbi_json *doc, const char *field, const char *value)
{
    nb_error err = {0};
    nbi_strbuf b = {0};
    nbi_json_writer w;
    char *path = nbt_join(dir, "nibble_state.json"), *manifest = nbt_join(dir, "manifest.json");
    nbi_json_writer_init(&w, &b, 1, true);
    nbi_jw_object(&w);
    for (const nbi_json *v = doc->first; v; v = v->next) {
        nbi_jw_key(&w, v->key);
        if (strcmp(v->key, "progress") != 0) {
            nbi_jw_tree(&w, v);
            continue;
        }
        nbi_jw_object(&w);
        for (const nbi_json *p = v->first; p; p = p->next) {
            const bool it = strcmp(p->key, field) == 0;
            if (it && !value)
                continue;
            nbi_jw_key(&w, p->key);
            it ? nbi_jw_raw(&w, value) : nbi_jw_tree(&w, p);
        }
        nbi_jw_object_end(&w);
    }
    nbi_jw_object_end(&w);
    /* removed first: under its other name the file keeps what it holds */
    assert_true(nbi_io_unlink(path) == 0 && nbi_io_unlink(manifest) == 0);
    nbt_write(path, b.s, b.n);
    NBT_OK(nbi_manifest_write(dir, &err));
    nbi_strbuf_free(&b);
    nbi_free(manifest);
    nbi_free(path);
}

/* Another value of the same kind. */
static void other_value(const nbi_json *v, const char *kind, char out[64])
{
    double f;
    int64_t i;
    assert_non_null(v);
    if (strcmp(kind, "BOOL") == 0)
        snprintf(out, 64, "%s", v->boolean ? "false" : "true");
    else if (strcmp(kind, "I64") == 0 && nbi_json_to_i64(v, &i))
        snprintf(out, 64, "%lld", (long long)i + 1);
    else
        snprintf(out, 64, "%.6f", nbi_json_to_f64(v, &f) ? f + 0.5 : 0.5);
}

/* kind NULL: leaves the field out. */
static void edit_field(const char *dir, const char *field, const char *kind)
{
    nb_error err = {0};
    nbi_arena arena;
    nbi_json *doc;
    char value[64], *path = nbt_join(dir, "nibble_state.json");
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse_file(&arena, path, 1u << 24, &doc, &err));
    if (kind)
        other_value(nbi_json_get(nbi_json_get(doc, "progress"), field), kind, value);
    write_edited(dir, doc, field, kind ? value : NULL);
    nbi_arena_free(&arena);
    nbi_free(path);
}

/* From checkpoint `step` of base with one field changed; true when it ends as `whole`. */
static bool ends_alike(world *w, const char *base, int step, const char *field, const char *kind,
                       const outcome *whole)
{
    nb_error err = {0};
    char *out = place(w, "field"), *dir = step_dir(out, step);
    begin_from(base, step, out);
    edit_field(dir, field, kind);
    nb_status st = hard_train(w, out, NULL, NULL, &err, "max_steps", "14", "save_steps", "14",
                              "resume_from_checkpoint", "true", NULL);
    bool alike = false;
    if (st == NB_OK && has_step(out, 14)) { /* else it ended early */
        const outcome o = outcome_of(out, 14);
        alike = memcmp(&o, whole, sizeof o) == 0;
    }
    nbi_free(dir);
    nbi_free(out);
    return alike;
}

/* A field that is not there is refused by name; one that is restored wrongly shows. */
static void every_field(void **state)
{
    static const char *const fields[][2] = {
#define FIELD(type, kind, name) {#name, #kind},
        NBI_PROGRESS_MAP(FIELD)
#undef FIELD
    };
    world *w = *state;
    nb_error err = {0};
    char *base = place(w, "fields"), *out = place(w, "field"), *dir = step_dir(out, 6);
    NBT_OK(hard_train(w, base, NULL, NULL, &err, "max_steps", "14", "save_steps", "1", NULL));
    outcome whole = outcome_of(base, 14);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *name = fields[i][0];
        begin_from(base, 6, out);
        edit_field(dir, name, NULL);
        NBT_FAILS(NB_FORMAT, name,
                  hard_train(w, out, NULL, NULL, &err, "max_steps", "14", "save_steps", "14",
                             "resume_from_checkpoint", dir, NULL));
        /* within an epoch, after an evaluation, after the last step; where a checkpoint lies says
         * when it was saved */
        static const int steps[] = {6, 9, 14};
        bool seen = strcmp(name, "last_save") == 0;
        for (size_t j = 0; !seen && j < sizeof steps / sizeof *steps; j++)
            seen = !ends_alike(w, base, steps[j], name, fields[i][1], &whole);
        if (!seen)
            fail_msg("%s can be restored wrongly and nobody sees it", name);
    }
    nbi_free(base);
    nbi_free(out);
    nbi_free(dir);
}

/* ---- interruptions ---- */

static volatile sig_atomic_t stop_flag;
static int64_t stop_at;

static void stop_there(void *user, const nb_train_progress *p)
{
    (void)user;
    if (p->step >= stop_at)
        stop_flag = 1;
}

/* Counted in epochs, stopped again and again in one folder, and by whole epochs of logging. */
static void chain(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_rng rng;
    nb_train_hooks hooks = {.progress = stop_there, .stop = &stop_flag};
    char *base = place(w, "whole"), *out = place(w, "chain");
    nb_train_result result, parts;
    NBT_OK(hard_train(w, base, NULL, &result, &err, "num_train_epochs", "9.5", "save_strategy",
                      "epoch", "logging_strategy", "epoch", NULL));
    const int last = (int)result.steps;
    nb_status st;
    nbi_rng_init(&rng, 7, NBI_RNG_SAMPLE, 0);
    stop_at = 0;
    for (int i = 0;; i++) {
        stop_flag = 0;
        stop_at += 1 + (int64_t)nbi_rng_below(&rng, 5);
        memset(&err, 0, sizeof err);
        st = hard_train(w, out, &hooks, &parts, &err, "num_train_epochs", "9.5", "save_strategy",
                        "epoch", "logging_strategy", "epoch", "threads", thread_counts[i % 3],
                        "resume_from_checkpoint", "true", NULL);
        if (st != NB_INTERRUPTED || stop_at >= last)
            break;
        assert_true(has_step(out, (int)stop_at));
    }
    if (st == NB_INTERRUPTED)
        st = hard_train(w, out, NULL, &parts, &err, "num_train_epochs", "9.5", "save_strategy",
                        "epoch", "logging_strategy", "epoch", "resume_from_checkpoint", "true",
                        NULL);
    NBT_OK(st);
    char a[65], b[65];
    adapter_hash(base, a);
    adapter_hash(out, b);
    assert_string_equal(a, b);
    hash_log(base, a);
    hash_log(out, b);
    assert_string_equal(a, b);
    assert_true(parts.first_loss == result.first_loss && parts.last_loss == result.last_loss);
    assert_true(parts.eval_loss_before == result.eval_loss_before);
    nbi_free(base);
    nbi_free(out);
}

/* Full fine-tuning: masters in f32 beside a file of 16 bits; moments in a file. */
static void full_model(void **state)
{
    world *w = *state;
    nb_error err = {0};
    static const char *const optims[] = {"paged_adamw_8bit", "adamw_torch"};
    static const char *const dtypes[] = {"bfloat16", "float32"};
    for (int i = 0; i < 2; i++) {
        char *base = place(w, "full"), *out = place(w, "full2"), a[65], b[65];
        const char *const from = "4";
        NBT_OK(nbi_remove_tree(base, &err));
        NBT_OK(nbi_remove_tree(out, &err));
        for (int part = 0; part < 2; part++) {
            char *four = step_dir(base, 4);
            nbt_setting s[] = {{"method", "full"},
                               {"optim", optims[i]},
                               {"save_dtype", dtypes[i]},
                               {"max_steps", "9"},
                               {"save_steps", part ? "9" : from},
                               {part ? "resume_from_checkpoint" : "seed", part ? four : "42"},
                               {NULL, NULL}};
            NBT_OK(train(w, part ? out : base, s, NULL, NULL, &err));
            nbi_free(four);
        }
        file_hash(base, "model.safetensors", a);
        file_hash(out, "model.safetensors", b);
        assert_string_equal(a, b);
        nbi_free(base);
        nbi_free(out);
    }
}

/* ---- which checkpoint ---- */

static nb_status said_train(const world *w, const char *out, const char *from, const char *steps,
                            const char *save_steps, nbi_strbuf *said, nb_error *err)
{
    nb_log log = {collect_line, said};
    nb_train_hooks hooks = {.log = &log};
    nbi_strbuf_clear(said);
    return hard_train(w, out, &hooks, NULL, err, "max_steps", steps, "save_steps", save_steps,
                      "resume_from_checkpoint", from, NULL);
}

static void flip(const char *dir, const char *name, size_t at)
{
    size_t n;
    char *path = nbt_join(dir, name), *text = nbt_read(path, &n);
    text[at % n] = (char)(text[at % n] ^ 1);
    nbt_write(path, text, n);
    nbi_free(text);
    nbi_free(path);
}

/* A flipped bit anywhere in any file is found, and the checkpoint before is used. */
static void damage(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    nbi_rng rng;
    char *out = place(w, "rot"), *ten = step_dir(out, 10), *five = step_dir(out, 5), **names;
    size_t n;
    nbi_rng_init(&rng, 9, NBI_RNG_SAMPLE, 0);
    NBT_OK(said_train(w, out, "false", "10", "5", &said, &err));
    const outcome whole = outcome_of(out, 10);
    NBT_OK(nbi_list_dir(ten, &names, &n, &err));
    assert_true(n >= 7);
    for (size_t i = 0; i < n; i++) {
        flip(ten, names[i], (size_t)nbi_rng_below(&rng, 1u << 20));
        NBT_OK(said_train(w, out, "true", "10", "5", &said, &err));
        assert_non_null(strstr(nbi_strbuf_str(&said), "checkpoint-10 is not whole"));
        assert_non_null(strstr(nbi_strbuf_str(&said), "checkpoint-5: step 5 of 10"));
        const outcome o = outcome_of(out, 10);
        SAME_OUTCOME(o, whole);
    }
    for (size_t i = 0; i < n; i++) { /* each is needed */
        char *path = nbt_join(ten, names[i]);
        assert_int_equal(nbi_io_unlink(path), 0);
        NBT_OK(said_train(w, out, "true", "10", "5", &said, &err));
        assert_non_null(strstr(nbi_strbuf_str(&said), "checkpoint-10 is not whole"));
        nbi_free(path);
    }
    nbi_list_dir_free(names, n);
    flip(ten, "optimizer.safetensors", 5000);
    NBT_FAILS(NB_FORMAT, "optimizer.safetensors", said_train(w, out, ten, "10", "5", &said, &err));
    flip(five, "nibble_state.json", 100);
    NBT_FAILS(NB_FORMAT, "none of the 2", said_train(w, out, "true", "10", "5", &said, &err));
    assert_true(has_step(out, 10) && has_step(out, 5));
    nbi_strbuf_free(&said);
    nbi_free(out);
    nbi_free(ten);
    nbi_free(five);
}

static void which(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    char *out = place(w, "which"), *other = place(w, "elsewhere"), *none = place(w, "none");
    NBT_OK(said_train(w, out, "true", "4", "2", &said, &err));
    assert_non_null(strstr(nbi_strbuf_str(&said), "begins afresh"));
    NBT_OK(said_train(w, other, out, "4", "2", &said, &err));
    assert_non_null(strstr(nbi_strbuf_str(&said), "checkpoint-4: step 4 of 4"));
    NBT_FAILS(NB_NOTFOUND, "no folder", said_train(w, other, none, "4", "2", &said, &err));
    NBT_FAILS(NB_NOTFOUND, "holds none", said_train(w, other, w->model, "4", "2", &said, &err));
    nbi_strbuf_free(&said);
    nbi_free(out);
    nbi_free(other);
    nbi_free(none);
}

/* Checkpoints of earlier processes of the run count; those of other runs do not; neither the best
 * nor the last one goes. */
static void rotation(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_train_hooks hooks = {.progress = stop_there, .stop = &stop_flag};
    char *out = place(w, "rotate"), *old = step_dir(out, 1);
    NBT_OK(nbi_make_dirs(old, &err));
    stop_at = 7;
    for (int i = 0; i < 2; i++) {
        stop_flag = 0;
        nb_status st = hard_train(w, out, i ? NULL : &hooks, NULL, &err, "max_steps", "12",
                                  "save_steps", "3", "save_total_limit", "2", "eval_strategy", "no",
                                  "resume_from_checkpoint", i ? "true" : "false", NULL);
        assert_int_equal(st, i ? NB_OK : NB_INTERRUPTED);
        if (i == 0)
            assert_true(has_step(out, 6) && has_step(out, 7) && !has_step(out, 3));
    }
    assert_true(has_step(out, 1) && has_step(out, 9) && has_step(out, 12));
    assert_false(has_step(out, 3) || has_step(out, 6) || has_step(out, 7));
    nbi_free(out);
    nbi_free(old);
}

/* A signal is seen while weights are read and quantised. */
static void stopped_while_loading(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_model *m;
    const volatile sig_atomic_t stop = 1;
    nb_model_load how = {.threads = 1, .cpu_flags = nb_cpu_flags(), .stop = &stop};
    char *cache = place(w, "cache");
    const size_t before = nbt_in_use();
    NBT_FAILS(NB_INTERRUPTED, "reading", nb_model_open(&m, w->model, &how, NULL, &err));
    how.quant = (nb_quant_config){.load_in_4bit = true, .kind = NB_QK_NF4};
    NBT_FAILS(NB_INTERRUPTED, "reading", nb_model_open(&m, w->model, &how, NULL, &err));
    NBT_OK(nbi_make_dirs(cache, &err));
    NBT_FAILS(NB_INTERRUPTED, "reading", nb_model_quantise(w->model, cache, &how, NULL, &err));
    how.quantized_cache = cache;
    NBT_FAILS(NB_INTERRUPTED, "reading", nb_model_open(&m, w->model, &how, NULL, &err));
    assert_int_equal(nbt_in_use(), before);
    nbi_free(cache);
}

/* ---- what must be the same ---- */

static nb_status changed(const world *w, const char *out, const char *key, const char *value,
                         const char *forced, nb_error *err)
{
    return hard_train(w, out, NULL, NULL, err, "max_steps", "6", "save_steps", "3",
                      "resume_from_checkpoint", "true", "resume_force", forced, key, value, NULL);
}

static void refusals(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "same"), *data = place(w, "other.jsonl"), *model = place(w, "other-model"),
         *config = place(w, "config.json"), *map = nbt_join(w->model, "special_tokens_map.json");
    write_rows(data, ROWS, 99);
    NBT_OK(nb_model_init(config, model, 4, NB_DT_F32, &err));
    NBT_OK(changed(w, out, "seed", "42", "false", &err));
    NBT_FAILS(NB_MISMATCH, "learning_rate: was 0.003, is 0.004",
              changed(w, out, "learning_rate", "0.004", "false", &err));
    NBT_FAILS(NB_MISMATCH, "seed: was 42, is 43", changed(w, out, "seed", "43", "false", &err));
    NBT_FAILS(NB_MISMATCH, "lora_r: was 131, is 8", changed(w, out, "lora_r", "8", "false", &err));
    NBT_FAILS(NB_MISMATCH, "optim: was \"adamw_8bit\", is \"adamw_torch\"",
              changed(w, out, "optim", "adamw_torch", "false", &err));
    NBT_FAILS(NB_MISMATCH, "data: was sha256 ", changed(w, out, "data", data, "false", &err));
    NBT_FAILS(NB_MISMATCH, "eval_data: was", changed(w, out, "eval_data", data, "false", &err));
    NBT_FAILS(NB_MISMATCH, "model (weights)", changed(w, out, "model", model, "false", &err));
    NBT_FAILS(NB_MISMATCH, "was 6, is 7", changed(w, out, "max_steps", "7", "false", &err));
    nbt_write_text(map, "{}");
    NBT_FAILS(NB_MISMATCH, "tokenizer: was none", changed(w, out, "seed", "42", "false", &err));
    assert_int_equal(nbi_io_unlink(map), 0);
    /* what may change, and what is forced */
    NBT_OK(changed(w, out, "logging_steps", "1", "false", &err));
    NBT_OK(changed(w, out, "save_steps", "2", "false", &err));
    NBT_OK(changed(w, out, "learning_rate", "0.004", "true", &err));
    static nbt_lines l;
    nbi_arena arena;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    const nbi_json *forced = nbi_json_get(l.v[0], "forced");
    assert_true(forced && forced->n == 1 && strstr(forced->first->text, "learning_rate"));
    assert_true(nbt_number(l.v[0], "resumed_from_step") == 6);
    nbi_arena_free(&arena);
    nbi_free(out);
    nbi_free(data);
    nbi_free(model);
    nbi_free(config);
    nbi_free(map);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_every_step),
        cmocka_unit_test(every_field),
        cmocka_unit_test(chain),
        cmocka_unit_test(full_model),
        cmocka_unit_test(damage),
        cmocka_unit_test(which),
        cmocka_unit_test(rotation),
        cmocka_unit_test(refusals),
        cmocka_unit_test(stopped_while_loading),
    };
    return cmocka_run_group_tests(tests, setup_in_memory, teardown);
}
