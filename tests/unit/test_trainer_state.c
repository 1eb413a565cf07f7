/* SPDX-License-Identifier: MIT */
/* trainer_state.json: what is read is what was written, to the bit; damage is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "testutil.h"
#include "train/trainer_state.h"

typedef struct fixture {
    nbi_run run;
    char *dir, *path;
} fixture;

static void add(nbi_history *h, const char *name, double v, bool count)
{
    nb_error err = {0};
    NBT_OK(nbi_history_add(h, name, v, count, &err));
}

static double any_double(nbi_rng *rng)
{
    static const double odd[] = {0.0, -0.0, 0x1p-1074, -0x1.fffffffffffffp1023, 1e22, 0.1, 3, -7};
    uint64_t bits = nbi_rng_u64(rng);
    double v;
    if (bits % 4 == 0)
        return odd[(bits >> 8) % 8];
    memcpy(&v, &bits, sizeof v);
    return isnan(v) ? NAN : v; /* one NaN is as good as another */
}

/* Entries of every kind with numbers of every kind. */
static void fill(nbi_history *h, int64_t *step)
{
    nb_error err = {0};
    nbi_rng rng;
    nbi_rng_init(&rng, 5, NBI_RNG_SAMPLE, 0);
    for (int i = 0; i < 200; i++) {
        nbi_entry_kind kind = i == 199     ? NBI_ENTRY_END
                              : i % 3 == 0 ? NBI_ENTRY_EVAL
                                           : NBI_ENTRY_TRAIN;
        *step += (int64_t)nbi_rng_below(&rng, 3);
        NBT_OK(nbi_history_begin(h, kind, *step, any_double(&rng), &err));
        if (kind == NBI_ENTRY_END)
            add(h, "train_runtime", any_double(&rng), false);
        add(h, kind == NBI_ENTRY_EVAL ? "eval_a \"set\"_loss" : "loss", any_double(&rng), false);
        add(h, "tokens", (double)(int64_t)nbi_rng_below(&rng, 1u << 30), true);
        if (i % 7 == 0)
            add(h,
                "gr\xC3\xB6\xC3\x9F"
                "e",
                i % 2 ? INFINITY : -INFINITY, false);
    }
}

static int setup(void **state)
{
    nb_error err = {0};
    fixture *f = calloc(1, sizeof *f);
    f->dir = nbt_tmpdir();
    f->path = nbt_join(f->dir, NBI_TRAINER_STATE);
    NBT_OK(nb_recipe_new(&f->run.r, &err));
    NBT_OK(nb_recipe_set(f->run.r, "output_dir", f->dir, &err));
    nbi_history_init(&f->run.history);
    f->run.at.best_step = -1;
    fill(&f->run.history, &f->run.at.step);
    NBT_OK(nbi_trainer_state_write(&f->run, f->dir, &err));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    nbi_history_free(&f->run.history);
    nb_recipe_free(&f->run.r);
    nbi_free(f->path);
    nbt_tmpdir_remove(f->dir);
    free(f);
    return 0;
}

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static void check_same(const nbi_history *a, const nbi_history *b)
{
    assert_int_equal(a->entries.n, b->entries.n);
    assert_int_equal(a->numbers.n, b->numbers.n);
    for (size_t i = 0; i < a->entries.n; i++) {
        const nbi_entry *x = &a->entries.v[i], *y = &b->entries.v[i];
        assert_true(x->kind == y->kind && x->step == y->step && same_bits(x->epoch, y->epoch));
        assert_true(x->first == y->first && x->n == y->n);
    }
    for (size_t i = 0; i < a->numbers.n; i++) {
        assert_string_equal(a->numbers.v[i].name, b->numbers.v[i].name);
        assert_true(same_bits(a->numbers.v[i].value, b->numbers.v[i].value));
        assert_int_equal(a->numbers.v[i].count, b->numbers.v[i].count);
    }
}

static void round_trip(void **state)
{
    fixture *f = *state;
    nb_error err = {0};
    nbi_run again = f->run;
    int64_t step = -1;
    nbi_strbuf text = {0};
    nbi_history_init(&again.history);
    NBT_OK(nbi_trainer_state_read(f->dir, &again.history, &step, &err));
    assert_int_equal(step, f->run.at.step);
    check_same(&f->run.history, &again.history);
    NBT_OK(nbi_trainer_state_text(&again, false, &text, &err));
    char *written = nbt_read(f->path, NULL);
    assert_string_equal(nbi_strbuf_str(&text), written);
    nbi_free(written);
    nbi_strbuf_free(&text);
    nbi_history_free(&again.history);
}

/* Reads `text` as the file; the message names the file. */
static nb_status read_text(const fixture *f, const char *text, size_t n, nb_error *err)
{
    nbi_history h;
    char *dir = nbt_join(f->dir, "damaged"), *path = nbt_join(dir, NBI_TRAINER_STATE);
    assert_int_equal(nbi_make_dirs(dir, NULL), NB_OK);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    nbi_history_init(&h);
    nb_status st = nbi_trainer_state_read(dir, &h, NULL, err);
    nbi_history_free(&h);
    nbi_free(path);
    nbi_free(dir);
    return st;
}

#define HEAD "{\"global_step\": 3, \"log_history\": ["
static void damage(void **state)
{
    fixture *f = *state;
    nb_error err = {0};
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "end of the text"},
        {"[]", "object"},
        {"{}", "global_step is missing"},
        {"{\"global_step\": 3}", "log_history is missing"},
        {"{\"log_history\": []}", "global_step is missing"},
        {"{\"global_step\": 3, \"log_history\": {}}", "a list"},
        {"{\"global_step\": 3.5, \"log_history\": []}", "whole number"},
        {"{\"global_step\": -1, \"log_history\": []}", "whole number"},
        {"{\"global_step\": 3, \"global_step\": 3, \"log_history\": []}", "one step"},
        {HEAD "], \"log_history\": []}", "one log_history"},
        {HEAD "3]}", "an object"},
        {HEAD "{}]}", "expected step, epoch and numbers"},
        {HEAD "{\"epoch\": 1.0, \"loss\": 2.0}]}", "expected step"},
        {HEAD "{\"step\": 1, \"loss\": 2.0}]}", "epoch"},
        {HEAD "{\"epoch\": 1.0, \"step\": 1}]}", "numbers"},
        {HEAD "{\"epoch\": 1.0, \"loss\": null, \"step\": 1}]}", "expected a number"},
        {HEAD "{\"epoch\": 1.0, \"loss\": \"nan\", \"step\": 1}]}", "expected a number"},
        {HEAD "{\"epoch\": 1.0, \"loss\": [1], \"step\": 1}]}", "expected a number"},
        {HEAD "{\"epoch\": 1.0, \"loss\": 1.0, \"loss\": 1.0, \"step\": 1}]}", "twice"},
        {HEAD "{\"epoch\": 1.0, \"\": 1.0, \"step\": 1}]}", "name"},
        {HEAD "{\"epoch\": 1.0, \"loss\": 1.0, \"step\": 4}]}", "after global_step"},
        {HEAD "{\"epoch\": 1.0, \"loss\": 1.0, \"step\": 2},"
              " {\"epoch\": 1.0, \"loss\": 1.0, \"step\": 1}]}",
         "comes before"},
        {HEAD "]} {", "nothing after"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memset(&err, 0, sizeof err);
        NBT_FAILS(NB_FORMAT, cases[i].message,
                  read_text(f, cases[i].text, strlen(cases[i].text), &err));
        assert_non_null(strstr(err.message, NBI_TRAINER_STATE));
    }
    NBT_OK(read_text(f, HEAD "]}", strlen(HEAD "]}"), &err));
    /* cut anywhere */
    size_t n;
    char *whole = nbt_read(f->path, &n);
    for (size_t k = 0; k < n - 1; k += 1 + k / 97)
        assert_int_equal(read_text(f, whole, k, &err), NB_FORMAT);
    nbi_free(whole);
    NBT_FAILS(NB_NOTFOUND, NBI_TRAINER_STATE,
              nbi_trainer_state_read("no-such-folder", &f->run.history, NULL, &err));
}

static void no_memory(void **state)
{
    fixture *f = *state;
    nb_error err = {0};
    size_t before = nbt_in_use();
    for (uint64_t k = 1;; k++) {
        nbi_history h;
        nbi_history_init(&h);
        nbi_alloc_fail_at(k, false);
        nb_status st = nbi_trainer_state_read(f->dir, &h, NULL, &err);
        if (st == NB_OK)
            st = nbi_trainer_state_write(&f->run, f->dir, &err);
        uint64_t calls = nbi_alloc_count();
        nbi_alloc_fail_at(0, false);
        nbi_history_free(&h);
        assert_int_equal(nbt_in_use(), before);
        assert_int_equal(st, calls < k ? NB_OK : NB_NOMEM);
        if (calls < k)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(damage),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
