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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(updates),
        cmocka_unit_test(every_row_once),
        cmocka_unit_test(packs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
