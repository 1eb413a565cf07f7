/* SPDX-License-Identifier: MIT */
/* Gradients of attention at every level and in both dtypes against f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/attention_setup.h"

static const setup setups[] = {
    {1, 1, 8, 0, 0, 1, 0, {{0, 1, 0, 1, 0, NULL, 0}}, 1, 1, 1},
    {2, 1, 64, 0, 0, 1, 0, {{0, 200, 0, 200, 0, NULL, 0}}, 1, 200, 200},
    {8,
     2,
     32,
     0,
     0,
     2,
     3,
     {{0, 67, 0, 67, 0, NULL, 0}, {67, 3, 67, 3, 0, NULL, 0}, {70, 128, 70, 128, 0, NULL, 0}},
     3,
     198,
     198},
    {2, 2, 128, 40, 0, 1, 1, {{0, 150, 0, 150, 0, NULL, 0}}, 1, 150, 150},
    {4, 2, 16, 0, 5, 4, 0, {{0, 66, 0, 66, 0, NULL, 0}}, 1, 66, 66},
    {3, 1, 33, 5, 3, 3, 2, {{0, 10, 0, 80, 70, NULL, 0}, {10, 3, 80, 9, 6, NULL, 0}}, 2, 13, 89},
    {3, 3, 80, 0, 0, 1, 0, {{0, 129, 0, 129, 0, NULL, 0}}, 1, 129, 129},
    {2, 1, 256, 70, 0, 1, 0, {{0, 140, 0, 140, 0, NULL, 0}}, 1, 140, 140},
    {1, 1, 251, 0, 0, 1, 1, {{0, 66, 0, 66, 0, NULL, 0}}, 1, 66, 66},
    /* long enough for several blocks of keys */
    {2, 1, 24, 0, 0, 1, 0, {{0, 700, 0, 700, 0, NULL, 0}}, 1, 700, 700}};

static double *zeros(int64_t n)
{
    return calloc((size_t)n, sizeof(double));
}

/* The bound of each value: what roundings of products may do, the rounding of the result, and sums
 * of f32 terms as large as the largest value. */
static void finish_bound(const double *value, double *bound, int64_t n, nb_dtype dtype)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, fabs(value[i]));
    for (int64_t i = 0; i < n; i++)
        bound[i] += (dtype == NB_DT_BF16 ? BF16_UNIT * fabs(value[i]) : 0) + 0x1p-24 * 32 * top;
}

static void check_backward(const setup *s, nb_dtype dtype, nbt_level *l)
{
    problem d = problem_new(s, dtype, l->q);
    const int64_t w = s->heads * s->p, wk = s->kv_heads * s->p;
    const int64_t nq = s->q_rows * w, nk = s->k_rows * wk;
    const double unit = dtype == NB_DT_BF16 ? BF16_UNIT : 0;
    naive_gradients g = {
        zeros(nq), zeros(nk), zeros(nk),
        zeros(nq), zeros(nk), zeros(nk),
        unit,      unit,      0x1p-24 * 16 * (1 + (double)s->sharp * sqrt((double)s->p))};
    double *out = zeros(nq), *lse = zeros(s->q_rows * s->heads);
    naive_attention(&d.a, d.q.wide, d.k.wide, d.v.wide, out, lse, NULL);
    naive_attention_bwd(&d.a, d.q.wide, d.k.wide, d.v.wide, d.dout.wide, out, lse, d.b.lddo, &g);
    l->k.attention(&d.a);
    l->k.attention_bwd(&d.b);
    finish_bound(g.dq, g.eq, nq, dtype);
    finish_bound(g.dk, g.ek, nk, dtype);
    finish_bound(g.dv, g.ev, nk, dtype);
    nbt_within("dq", compare_rows(&d.dq, &d.dq, g.dq, g.eq, s->q_rows, w, d.a.ldq), 1);
    nbt_within("dk", compare_rows(&d.dk, &d.dk, g.dk, g.ek, s->k_rows, wk, d.a.ldk), 1);
    nbt_within("dv", compare_rows(&d.dv, &d.dv, g.dv, g.ev, s->k_rows, wk, d.a.ldv), 1);
    double *const all[] = {g.dq, g.dk, g.dv, g.eq, g.ek, g.ev, out, lse};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        free(all[i]);
    problem_drop(&d);
}

static void test_backward(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(setups) / sizeof(setups[0]); n++)
        for (size_t i = 0; i < 2; i++)
            NBT_FOR_LEVELS(l, 2)
            {
                check_backward(&setups[n], attention_dtypes[i], &l);
            }
}

static void test_threads_same_bits(void **state)
{
    (void)state;
    static const size_t which[] = {2, 3, 5, 9};
    for (size_t n = 0; n < sizeof(which) / sizeof(which[0]); n++)
        for (size_t i = 0; i < 2; i++)
            problem_same_with_threads(&setups[which[n]], attention_dtypes[i], true);
}

/* Where row i of [rows, heads, p] of one head holds something not finite. */
static bool row_bad(const typed *x, int64_t row, int64_t ld, int64_t head, int64_t p)
{
    for (int64_t c = 0; c < p; c++)
        if (!isfinite(typed_at(x, row * ld + head * p + c)))
            return true;
    return false;
}

/* A value that is not finite at a late key, or the output gradient of an early query, does not
 * reach gradients of what does not see it. */
static void check_nan(nb_dtype dtype, nbt_level *l)
{
    const setup *s = &setups[1];
    const int64_t at = 100, p = s->p;
    problem d = problem_new(s, dtype, l->q);
    typed_set(&d.v, at * d.a.ldv, NAN);
    l->k.attention(&d.a);
    l->k.attention_bwd(&d.b);
    for (int64_t i = 0; i < s->q_rows; i++)
        for (int64_t h = 0; h < s->heads; h++)
            assert_int_equal(row_bad(&d.dq, i, d.a.ldq, h, p), i >= at);
    problem_drop(&d);
    d = problem_new(s, dtype, l->q);
    l->k.attention(&d.a);
    typed_set(&d.dout, at * d.b.lddo + 3, NAN);
    l->k.attention_bwd(&d.b);
    for (int64_t j = 0; j < s->k_rows; j++) {
        assert_int_equal(row_bad(&d.dv, j, d.a.ldv, 0, p), j <= at);
        assert_int_equal(row_bad(&d.dk, j, d.a.ldk, 0, p), j <= at);
    }
    for (int64_t i = 0; i < s->q_rows; i++)
        assert_int_equal(row_bad(&d.dq, i, d.a.ldq, 0, p), i == at);
    problem_drop(&d);
}

static void test_nan_stays(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++)
        NBT_FOR_LEVELS(l, 1)
        {
            check_nan(attention_dtypes[i], &l);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_backward),
                                       cmocka_unit_test(test_threads_same_bits),
                                       cmocka_unit_test(test_nan_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
