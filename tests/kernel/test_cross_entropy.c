/* SPDX-License-Identifier: MIT */
/* Cross-entropy of long rows, which are worked on in blocks: where threads split the work, what
 * dtype the gradient has and where in a row the special numbers are must not show. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/typed_util.h"

static const int64_t sizes[] = {1, 15, 2047, 2048, 2049, 4099, 16389};
enum { SIZES = sizeof(sizes) / sizeof(sizes[0]), ROWS = 20 };

/* Rows of different ranges and targets; one row is ignored. */
static float *problem(int64_t v, int32_t target[ROWS])
{
    float *x = nbt_random((size_t)(ROWS * v), (uint64_t)v, 4.0);
    for (int64_t r = 0; r < ROWS; r++) {
        target[r] = (int32_t)((r * 7919) % v);
        for (int64_t i = 0; i < v && r % 5 == 1; i++)
            x[r * v + i] *= 12.0f;
    }
    target[3] = NB_IGNORE_INDEX;
    return x;
}

/* All rows at once, a few at a time and one at a time, with any number of threads: the same bits.
 */
static void test_splits(void **state)
{
    (void)state;
    for (int s = 0; s < SIZES; s++) {
        const int64_t v = sizes[s];
        int32_t target[ROWS];
        float *x = problem(v, target), *first[8] = {0}, first_nll[8][ROWS];
        for (int t = 0; t < NBT_THREAD_COUNTS; t++)
            NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        for (int64_t step = 1; step <= ROWS; step = step == 1 ? 7 : step + 13) {
            float *y = nbt_copy(x, (size_t)(ROWS * v)), nll[ROWS];
            for (int64_t r = 0; r < ROWS; r += step) {
                const int64_t n = ROWS - r < step ? ROWS - r : step;
                nb_cross_entropy_args a = {l.q,  n,    v,       y + r * v, target + r,
                                           0.5f, true, nll + r, NULL};
                l.k.cross_entropy(&a);
            }
            if (!first[l.i]) {
                first[l.i] = y;
                memcpy(first_nll[l.i], nll, sizeof(nll));
                continue;
            }
            assert_true(nbt_same_bits(y, first[l.i], (size_t)(ROWS * v)));
            assert_true(nbt_same_bits(nll, first_nll[l.i], ROWS));
            nbi_free(y);
        }
        for (int i = 0; i < 8; i++)
            nbi_free(first[i]);
        nbi_free(x);
    }
}

/* A bf16 gradient is the f32 one, rounded once, at the start of each row's memory. */
static void test_bf16_gradient(void **state)
{
    (void)state;
    for (int s = 0; s < SIZES; s++)
        NBT_FOR_LEVELS(l, 2)
    for (int64_t rows = 3; rows <= ROWS; rows += ROWS - 3) {
        const int64_t v = sizes[s], n = rows * v;
        int32_t target[ROWS];
        float *x = problem(v, target), nll[ROWS], nll2[ROWS];
        uint8_t hit[ROWS], hit2[ROWS];
        if (v > 20)
            x[v + v / 3] = NAN;
        nbt_typed y = nbt_typed_of(x, n, NB_DT_F32);
        nb_cross_entropy_args a = {l.q, rows, v, x, target, 0.125f, true, nll, hit};
        l.k.cross_entropy(&a);
        nb_cross_entropy_args b = {l.q, rows, v, y.p, target, 0.125f, true, nll2, hit2, NB_DT_BF16};
        l.k.cross_entropy(&b);
        for (int64_t r = 0; r < rows; r++) {
            nbt_typed row = {NULL, nb_elem(y.p, NB_DT_F32, r * v), v, NB_DT_BF16};
            nbt_typed_equal("bf16 gradient", &row, x + r * v);
            assert_int_equal(hit[r], hit2[r]);
            assert_true(isnan(nll[r]) ? isnan(nll2[r]) : nll[r] == nll2[r]);
        }
        nbt_typed_free(&y);
        nbi_free(x);
    }
}

/* Maxima, ties and numbers that are not finite in any block. */
static void test_across_blocks(void **state)
{
    (void)state;
    enum { V = 9001 };
    static const int32_t at[] = {0, 5, 2047, 2048, 4097, 8999, 9000};
    float *x = nbt_floats(V), nll;
    uint8_t hit;
    NBT_FOR_LEVELS(l, 2)
    for (int t = 0; t < 7; t++)
        for (int o = 0; o < 7; o++) {
            nb_cross_entropy_args a = {l.q, 1, V, x, &at[t], 1.0f, true, &nll, &hit};
            for (int i = 0; i < V; i++)
                x[i] = -3.0f;
            x[at[t]] = x[at[o]] = 2.0f; /* a tie: the first counts */
            l.k.cross_entropy(&a);
            assert_int_equal(hit, at[t] <= at[o]);
            const double others = (V - (t == o ? 1 : 2)) * exp(-5.0) + (t == o ? 0 : 1);
            nbt_within("nll", fabs((double)nll - log(1 + others)), 1e-6);
            nbt_within("dx", fabs((double)x[at[t]] - (1 / (1 + others) - 1)), 1e-6);

            for (int i = 0; i < V; i++)
                x[i] = -INFINITY; /* but for two */
            x[at[t]] = 1.0f;
            x[at[o]] = 1.0f + (t != o);
            l.k.cross_entropy(&a);
            assert_int_equal(hit, t == o);
            nbt_within("nll of few", fabs((double)nll - (t == o ? 0 : log(1 + exp(1.0)))), 1e-6);
            for (int i = 0; i < V; i++)
                assert_true(i == at[t] || i == at[o] || x[i] == 0);

            for (int i = 0; i < V; i++)
                x[i] = 1.0f;
            x[at[o]] = NAN;
            l.k.cross_entropy(&a);
            assert_true(isnan(nll) && hit == 0 && isnan(x[at[t]]) && isnan(x[17]));
            for (int i = 0; i < V; i++)
                x[i] = 1.0f;
            x[at[o]] = INFINITY;
            l.k.cross_entropy(&a);
            assert_true(!isfinite(nll) && hit == 0);
            for (int i = 0; i < V; i++)
                x[i] = -INFINITY;
            l.k.cross_entropy(&a);
            assert_true(isnan(nll) && hit == 0);
        }
    nbi_free(x);
}

/* Against f64 where blocks differ by more than f32's exponents hold. */
static void test_far_blocks(void **state)
{
    (void)state;
    enum { V = 6200 };
    float *x = nbt_random(V, 1, 1.0), nll;
    for (int i = 0; i < V; i++)
        x[i] += i < 2048 ? -300.0f : i < 4096 ? -60.0f : 10.0f;
    const int32_t target = 3000;
    NBT_FOR_LEVELS(l, 2)
    {
        float *y = nbt_copy(x, V);
        nb_cross_entropy_args a = {l.q, 1, V, y, &target, 1.0f, true, &nll, NULL};
        l.k.cross_entropy(&a);
        double sum = 0;
        for (int i = 0; i < V; i++)
            sum += exp((double)x[i]);
        nbt_within("nll", fabs((double)nll - (log(sum) - (double)x[target])), 1e-5);
        for (int i = 0; i < V; i++) {
            const double p = exp((double)x[i]) / sum - (i == target);
            nbt_within("gradient", fabs((double)y[i] - p), 0x1p-21 * fabs(p) + 1e-37);
        }
        nbi_free(y);
    }
    nbi_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splits), cmocka_unit_test(test_bf16_gradient),
        cmocka_unit_test(test_across_blocks), cmocka_unit_test(test_far_blocks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
