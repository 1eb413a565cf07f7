/* SPDX-License-Identifier: MIT */
/* Division of rows into micro-batches, and the number of updates as the Trainer counts them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "train/epoch_plan.h"

static nb_dataset rows_of(nb_example *rows, size_t n, const int *lengths)
{
    nb_dataset d = {.rows = rows, .n = n};
    for (size_t i = 0; i < n; i++) {
        rows[i] = (nb_example){.n = lengths ? lengths[i] : 10, .n_trained = 1};
        d.total_tokens += rows[i].n;
        d.max_tokens = rows[i].n > d.max_tokens ? rows[i].n : d.max_tokens;
    }
    return d;
}

static int64_t total(const nbi_batching *b, double epochs, int64_t max_steps)
{
    nb_error err = {0};
    int64_t n;
    NBT_OK(nbi_total_updates(b, epochs, max_steps, &n, &err));
    return n;
}

static void updates(void **state)
{
    (void)state;
    nb_error err = {0};
    int64_t n;
    nb_example rows[50];
    nb_dataset d = rows_of(rows, 50, NULL);
    nb_order order = {.seed = 1, .shuffle = true};
    nbi_batching b = {.data = &d, .order = &order, .batch = 4, .accumulation = 4};
    assert_int_equal(total(&b, 10, -1), 40); /* 13 micro-batches, 4 updates an epoch */
    assert_int_equal(total(&b, 1.5, -1), 6);
    assert_int_equal(total(&b, 0.1, -1), 1);
    assert_int_equal(total(&b, 10, 7), 7);
    b.accumulation = 1;
    assert_int_equal(total(&b, 3, 0), 39);
    b.batch = 100;
    assert_int_equal(total(&b, 3, 0), 3);
    NBT_FAILS(NB_CONFIG, "num_train_epochs", nbi_total_updates(&b, 0, 0, &n, &err));
    assert_int_equal(nbi_warmup_steps(5, 0.5, 100), 5);
    assert_int_equal(nbi_warmup_steps(0, 0.03, 100), 3);
    assert_int_equal(nbi_warmup_steps(-1, 0.03, 101), 4);
    assert_int_equal(nbi_warmup_steps(0, 0, 100), 0);
    assert_int_equal(nbi_warmup_steps(0.05, 0.5, 101), 6);
}

static void every_row_once(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_example rows[23];
    nb_dataset d = rows_of(rows, 23, NULL);
    nb_order order = {.seed = 9, .shuffle = true};
    nbi_batching b = {.data = &d, .order = &order, .batch = 5, .accumulation = 1};
    nbi_epoch e = {0};
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        int seen[23] = {0};
        NBT_OK(nbi_epoch_make(&e, &b, epoch, &err));
        assert_int_equal(e.n_batches, 5);
        assert_int_equal(e.starts.v[4], 20);
        assert_int_equal(e.starts.v[5], 23);
        for (size_t i = 0; i < e.n_rows; i++)
            seen[e.rows[i]]++;
        for (int i = 0; i < 23; i++)
            assert_int_equal(seen[i], 1);
    }
    nbi_epoch_free(&e);
}

static void packs(void **state)
{
    (void)state;
    nb_error err = {0};
    static const int lengths[] = {30, 40, 30, 100, 10, 90, 20};
    nb_example rows[7];
    nb_dataset d = rows_of(rows, 7, lengths);
    nb_order order = {0};
    nbi_batching b = {.data = &d,
                      .order = &order,
                      .batch = 2,
                      .accumulation = 1,
                      .packing = true,
                      .pack_tokens = 100};
    nbi_epoch e = {0};
    /* packs: 30+40+30, 100, 10+90, 20 */
    NBT_OK(nbi_epoch_make(&e, &b, 0, &err));
    assert_int_equal(e.n_batches, 2);
    assert_int_equal(e.starts.v[1], 4);
    assert_int_equal(e.starts.v[2], 7);
    assert_int_equal(total(&b, 2, 0), 4);
    assert_int_equal(nbi_batching_max_tokens(&b), 200);
    b.batch = 4;
    assert_int_equal(nbi_batching_max_tokens(&b), 320);
    nbi_epoch_free(&e);
}

/* What LengthGroupedSampler does with the same shuffled order. */
static void by_length(void **state)
{
    (void)state;
    enum { ROWS = 731, BATCH = 3 };
    nb_error err = {0};
    static int lengths[ROWS];
    static nb_example rows[ROWS];
    for (int i = 0; i < ROWS; i++)
        lengths[i] = 1 + i * 7919 % 97 + (i == 700 ? 5000 : 0);
    nb_dataset d = rows_of(rows, ROWS, lengths);
    nb_order order = {.seed = 4, .shuffle = true};
    nbi_batching plain = {.data = &d, .order = &order, .batch = BATCH, .accumulation = 1},
                 b = plain;
    b.by_length = true;
    const size_t step = BATCH * 50; /* 731 / 12 = 60 > 50 */
    nbi_epoch e = {0}, p = {0}, again = {0};
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        NBT_OK(nbi_epoch_make(&p, &plain, epoch, &err));
        NBT_OK(nbi_epoch_make(&e, &b, epoch, &err));
        NBT_OK(nbi_epoch_make(&again, &b, epoch, &err));
        assert_int_equal(e.n_rows, ROWS);
        assert_int_equal(e.n_batches, p.n_batches);
        assert_memory_equal(e.rows, again.rows, ROWS * sizeof(uint32_t));
        assert_int_equal(e.rows[0], 700);
        size_t home = 0; /* the run that the longest row came from */
        while (p.rows[home] != 700)
            home++;
        e.rows[0] = e.rows[home / step * step];
        e.rows[home / step * step] = 700;
        for (size_t i = 0; i < ROWS; i += step) {
            const size_t n = ROWS - i < step ? ROWS - i : step;
            size_t at[ROWS];
            for (size_t j = 0; j < n; j++) {
                at[j] = 0;
                while (at[j] < n && p.rows[i + at[j]] != e.rows[i + j])
                    at[j]++;
                assert_true(at[j] < n); /* of the same run */
                if (j > 0) {
                    const int64_t x = d.rows[e.rows[i + j - 1]].n, y = d.rows[e.rows[i + j]].n;
                    assert_true(x > y || (x == y && at[j - 1] < at[j]));
                }
            }
        }
    }
    assert_int_equal(total(&b, 2, 0), total(&plain, 2, 0));
    nbi_longest longest;
    NBT_OK(nbi_find_longest(&b, 2, 0, &longest, &err));
    int64_t most = 0;
    for (uint32_t epoch = 0; epoch < 2; epoch++) {
        NBT_OK(nbi_epoch_make(&e, &b, epoch, &err));
        for (size_t i = 0; i < e.n_batches; i++) {
            int64_t n = 0;
            for (size_t j = e.starts.v[i]; j < e.starts.v[i + 1]; j++)
                n += d.rows[e.rows[j]].n;
            most = n > most ? n : most;
        }
    }
    assert_int_equal(longest.tokens, most);
    nbi_epoch_free(&e);
    nbi_epoch_free(&p);
    nbi_epoch_free(&again);
    /* few rows: one batch a run */
    d.n = 5;
    NBT_OK(nbi_epoch_make(&e, &b, 0, &err));
    assert_int_equal(e.n_rows, 5);
    assert_true(d.rows[e.rows[0]].n >= d.rows[e.rows[4]].n);
    nbi_epoch_free(&e);
}

static int64_t tokens_of(const nbi_epoch *e, const nb_dataset *d, size_t batch)
{
    int64_t n = 0;
    for (size_t i = e->starts.v[batch]; i < e->starts.v[batch + 1]; i++)
        n += d->rows[e->rows[i]].n;
    return n;
}

static nb_recipe budget_recipe(bool packing, int64_t budget, int64_t batch)
{
    return (nb_recipe){
        .packing = packing, .max_tokens_per_batch = budget, .batch = batch, .accumulation = 2};
}

static void count_lines(void *user, nb_log_level level, const char *line)
{
    (void)level;
    assert_non_null(strstr(line, "longer"));
    ++*(int *)user;
}

static void budgets(void **state)
{
    (void)state;
    nb_error err = {0};
    static const int lengths[] = {30, 40, 30, 1, 100, 10, 120, 20, 80};
    nb_example rows[9];
    nb_dataset d = rows_of(rows, 9, lengths);
    nb_order order = {0};
    nbi_epoch e = {0};
    int said = 0;
    nb_log log = {count_lines, &said};
    nb_recipe r = budget_recipe(true, 100, 3);
    nbi_batching b = nbi_batching_of(&r, &d, &order, &log);
    static const size_t packed[] = {0, 3, 4, 5, 6, 7, 9}; /* 101, then 1 + 100 do not fit */
    NBT_OK(nbi_epoch_make(&e, &b, 0, &err));
    assert_int_equal(e.n_batches, 6);
    assert_memory_equal(e.starts.v, packed, sizeof packed);
    assert_int_equal(said, 1);
    /* without packing both limits hold */
    r = budget_recipe(false, 100, 2);
    b = nbi_batching_of(&r, &d, &order, NULL);
    static const size_t both[] = {0, 2, 4, 5, 6, 7, 9};
    NBT_OK(nbi_epoch_make(&e, &b, 0, &err));
    assert_int_equal(e.n_batches, 6);
    assert_memory_equal(e.starts.v, both, sizeof both);
    assert_int_equal(nbi_batching_max_tokens(&b), 120);
    assert_int_equal(total(&b, 2, 0), 6);
    nbi_epoch_free(&e);
}

/* Any recipe keeps the order of the rows, stays in its limits, and knows its longest batch. */
static void any_batching(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_example rows[60];
    int lengths[60];
    for (int i = 0; i < 60; i++)
        lengths[i] = 1 + (i * i * 7919) % 90;
    nb_dataset d = rows_of(rows, 60, lengths);
    rows[17].n_trained = 0;
    nb_order order = {.seed = 4, .shuffle = true};
    nbi_epoch e = {0};
    for (int kind = 0; kind < 5; kind++)
        for (int64_t batch = 1; batch < 9; batch += 3) {
            static const int64_t budget[] = {0, 70, 200, 0, 150};
            nb_recipe r = budget_recipe(kind < 3, budget[kind], batch);
            nbi_batching b = nbi_batching_of(&r, &d, &order, NULL);
            nbi_longest found;
            int64_t most = nbi_batching_max_tokens(&b), want = 0, part = 0, steps = 0;
            for (uint32_t epoch = 0; epoch < 3; epoch++) {
                uint32_t plain[60];
                size_t n, k = 0;
                NBT_OK(nb_order_epoch(&order, epoch, d.n, plain, &n, &err));
                NBT_OK(nbi_epoch_make(&e, &b, epoch, &err));
                for (size_t i = 0; i < n; i++)
                    if (plain[i] != 17)
                        assert_int_equal(e.rows[k++], plain[i]);
                assert_int_equal(e.n_rows, k);
                for (size_t i = 0; i < e.n_batches; i++) {
                    int64_t tokens = tokens_of(&e, &d, i);
                    size_t in = e.starts.v[i + 1] - e.starts.v[i];
                    assert_true(in > 0 && (b.packing || (int64_t)in <= batch));
                    if (budget[kind] > 0 && in > 1)
                        assert_in_range(tokens, 1, budget[kind]);
                    want = tokens > want ? tokens : want;
                    if (epoch == 0 && i < 10)
                        part = want;
                }
                steps += (int64_t)e.n_batches;
            }
            assert_true(want <= most);
            NBT_OK(nbi_find_longest(&b, 3, -1, &found, &err));
            assert_int_equal(found.tokens, want);
            NBT_OK(nbi_epoch_make(&e, &b, found.epoch, &err));
            assert_int_equal(tokens_of(&e, &d, found.batch), want);
            b.longest = found.tokens;
            assert_int_equal(nbi_batching_max_tokens(&b), want);
            b.accumulation = 1;
            NBT_OK(nbi_find_longest(&b, 0, steps, &found, &err));
            assert_int_equal(found.tokens, want);
            /* of the batches that are computed, not of the others */
            NBT_OK(nbi_epoch_make(&e, &b, 0, &err));
            if (e.n_batches >= 10) {
                NBT_OK(nbi_find_longest(&b, 0, 10, &found, &err));
                assert_int_equal(found.tokens, part);
                NBT_OK(nbi_find_longest(&b, 10.0 / (double)e.n_batches, -1, &found, &err));
                assert_int_equal(found.tokens, part);
            }
        }
    nbi_epoch_free(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates), cmocka_unit_test(every_row_once),
        cmocka_unit_test(packs),   cmocka_unit_test(by_length),
        cmocka_unit_test(budgets), cmocka_unit_test(any_batching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
