/* SPDX-License-Identifier: MIT */
/* Attention at every level against f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/attention_setup.h"

static const int32_t table[] = {5, 0, 3, 1, 7, 2};

static const setup setups[] = {
    {1, 1, 8, 0, 0, 1, 0, {{0, 1, 0, 1, 0, NULL, 0}}, 1, 1, 1},
    {2, 1, 16, 0, 0, 1, 0, {{0, 70, 0, 70, 0, NULL, 0}}, 1, 70, 70},
    {4,
     2,
     20,
     0,
     0,
     1,
     3,
     {{0, 65, 0, 65, 0, NULL, 0}, {65, 3, 65, 3, 0, NULL, 0}, {68, 130, 68, 130, 0, NULL, 0}},
     3,
     198,
     198},
    {2, 2, 32, 10, 0, 1, 0, {{0, 150, 0, 150, 0, NULL, 0}}, 1, 150, 150},
    {2, 1, 64, 100, 30, 20, 1, {{0, 90, 0, 200, 0, NULL, 0}}, 1, 90, 200},
    {3, 3, 17, 7, 0, 8, 2, {{0, 66, 0, 76, 10, NULL, 0}, {66, 5, 76, 25, 20, NULL, 0}}, 2, 71, 101},
    {8, 2, 64, 0, 0, 1, 0, {{0, 1, 0, 300, 0, NULL, 0}, {1, 4, 300, 77, 0, NULL, 0}}, 2, 5, 377},
    {2,
     1,
     24,
     0,
     0,
     4,
     0,
     {{0, 20, 0, 90, 0, table, 16}, {20, 2, 128, 60, 0, NULL, 0}},
     2,
     22,
     190},
    {1, 1, 256, 0, 50, 40, 0, {{0, 40, 0, 40, 0, NULL, 0}}, 1, 40, 40},
    {1, 1, 8, 0, 0, 300, 0, {{0, 100, 0, 100, 0, NULL, 0}}, 1, 100, 100},
    /* the largest heads fill the scratch memory: whole tiles, and sizes that are no whole vectors
     */
    {2, 1, 256, 70, 0, 1, 0, {{0, 140, 0, 140, 0, NULL, 0}}, 1, 140, 140},
    {1, 1, 251, 0, 0, 1, 1, {{0, 129, 0, 129, 0, NULL, 0}}, 1, 129, 129}};

/* Deviations against f64 in units of what is allowed. */
static void check_forward(const setup *s, nb_dtype dtype, nbt_level *l)
{
    problem d = problem_new(s, dtype, l->q);
    const int64_t width = s->heads * s->p, n = s->q_rows * width, rows = s->q_rows * s->heads;
    double *out = calloc((size_t)n, sizeof(double)), *size = calloc((size_t)n, sizeof(double));
    double *lse = calloc((size_t)rows, sizeof(double)), worst_lse = 0;
    naive_attention(&d.a, d.q.wide, d.k.wide, d.v.wide, out, lse, size);
    /* a score of size |q||k|scale ~ sharp*sqrt(p) is off by its rounding, which the exponential
     * turns into a relative error of the probabilities; bf16 rounds these and the result */
    const double f32 = 0x1p-24 * 16 * (1 + (double)s->sharp * sqrt((double)s->p));
    for (int64_t i = 0; i < n; i++)
        size[i] = f32 + (dtype == NB_DT_BF16 ? 2 * BF16_UNIT * size[i] : 0);
    l->k.attention(&d.a);
    nbt_within("attention", compare_rows(&d.out, &d.out, out, size, s->q_rows, width, d.a.ldo), 1);
    for (int64_t i = 0; i < rows; i++)
        worst_lse = nbt_worse(worst_lse, fabs((double)d.lse[i] - lse[i]));
    nbt_within("lse", worst_lse, f32);
    free(out);
    free(size);
    free(lse);
    problem_drop(&d);
}

static void test_forward(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(setups) / sizeof(setups[0]); n++)
        for (size_t i = 0; i < 2; i++)
            NBT_FOR_LEVELS(l, 2)
            {
                check_forward(&setups[n], attention_dtypes[i], &l);
            }
}

static bool has_tables(const setup *s)
{
    for (int64_t i = 0; i < s->n_seg; i++)
        if (s->seg[i].block_table)
            return true;
    return false;
}

static void test_threads_same_bits(void **state)
{
    (void)state;
    static const size_t which[] = {2, 5, 7};
    for (size_t n = 0; n < sizeof(which) / sizeof(which[0]); n++)
        for (size_t i = 0; i < 2; i++)
            problem_same_with_threads(&setups[which[n]], attention_dtypes[i],
                                      !has_tables(&setups[which[n]]));
}

/* A NaN in a key or value is seen by the queries from its position on, in its segment and group
 * only: not even by earlier ones of the same tile. */
static void check_nan(nb_dtype dtype, bool in_value, float bad, nbt_level *l)
{
    const setup *s = &setups[2];
    problem d = problem_new(s, dtype, l->q);
    const int64_t at = (68 + 100) * (in_value ? d.a.ldv : d.a.ldk) + s->p;
    typed_set(in_value ? &d.v : &d.k, at, bad); /* third segment, key 100, group 1 */
    l->k.attention(&d.a);
    for (int64_t i = 0; i < s->q_rows; i++)
        for (int64_t h = 0; h < s->heads; h++)
            assert_int_equal(!isfinite(typed_at(&d.out, i * d.a.ldo + h * s->p)),
                             i >= 68 + 100 && h >= 2);
    problem_drop(&d);
}

static void test_nan_propagates(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        NBT_FOR_LEVELS(l, 1)
        {
            check_nan(attention_dtypes[i], false, NAN, &l);
            check_nan(attention_dtypes[i], true, NAN, &l);
            check_nan(attention_dtypes[i], true, INFINITY, &l);
        }
}

/* Generation: the value of a key behind the position is left out too. */
static void test_nan_few_queries(void **state)
{
    (void)state;
    const setup *s = &setups[6];
    for (size_t i = 0; i < 2; i++)
        NBT_FOR_LEVELS(l, 1)
        {
            problem d = problem_new(s, attention_dtypes[i], l.q);
            /* second segment: 4 queries at positions 73..76 of 77 keys */
            typed_set(&d.v, (300 + 75) * d.a.ldv, NAN);
            l.k.attention(&d.a);
            for (int64_t r = 0; r < s->q_rows; r++)
                for (int64_t h = 0; h < s->heads; h++)
                    assert_int_equal(isnan(typed_at(&d.out, r * d.a.ldo + h * s->p)) != 0,
                                     r >= 3 && h < 4);
            problem_drop(&d);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward), cmocka_unit_test(test_threads_same_bits),
        cmocka_unit_test(test_nan_propagates), cmocka_unit_test(test_nan_few_queries)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
