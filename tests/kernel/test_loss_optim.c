/* SPDX-License-Identifier: MIT */
/* Cross-entropy, the AdamW step and sums of squares at every level against f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

static void test_cross_entropy(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 5, 16, 1000, 32003};
    static const double scales[] = {0.1, 3.0, 60.0};
    for (size_t n = 0; n < 15; n++) {
        enum { R = 6 };
        const int64_t v = sizes[n / 3];
        float *x = nbt_random((size_t)(R * v), n, scales[n % 3]), nll[R];
        int32_t target[R];
        uint8_t hit[R];
        NBT_FOR_LEVELS(l, 2)
        {
            for (int r = 0; r < R; r++) {
                int64_t best = 0;
                for (int64_t i = 0; i < v; i++)
                    best = x[r * v + i] > x[r * v + best] ? i : best;
                target[r] = (int32_t)(r == 1 ? best : (r * 7919) % v);
            }
            target[3] = NB_IGNORE_INDEX;
            float *y = nbt_copy(x, (size_t)(R * v));
            nb_cross_entropy_args a = {l.q, R, v, y, target, 0.125f, false, nll, hit};
            l.k.cross_entropy(&a);
            assert_true(nbt_same_bits(x, y, (size_t)(R * v)));
            a.want_grad = true;
            l.k.cross_entropy(&a);
            for (int r = 0; r < R; r++) {
                const float *xr = x + r * v;
                double max = -INFINITY, sum = 0;
                int64_t best = 0;
                for (int64_t i = 0; i < v; i++)
                    if ((double)xr[i] > max) {
                        max = (double)xr[i];
                        best = i;
                    }
                for (int64_t i = 0; i < v; i++)
                    sum += exp((double)xr[i] - max);
                if (r == 3) {
                    assert_true(nll[r] == 0.0f && hit[r] == 0);
                } else {
                    const double want = log(sum) + max - (double)xr[target[r]];
                    nbt_within("nll", fabs((double)nll[r] - want), 2e-7 * (1 + want));
                    assert_int_equal(hit[r], best == target[r]);
                }
                for (int64_t i = 0; i < v; i++) {
                    double want = r == 3 ? 0 : 0.125 * exp((double)xr[i] - max) / sum;
                    want -= i == target[r] ? 0.125 : 0;
                    nbt_within("gradient", fabs((double)y[r * v + i] - want), 0x1p-24 * 0.125 * 8);
                }
            }
            nbi_free(y);
        }
        nbi_free(x);
    }
}

static void test_cross_entropy_special(void **state)
{
    (void)state;
    enum { V = 20 };
    NBT_FOR_LEVELS(l, 1)
    {
        float x[4 * V] = {0}, nll[4];
        uint8_t hit[4];
        const int32_t target[] = {3, 2, 2, 5};
        x[0 * V + 3] = x[0 * V + 7] = 1.0f; /* the first of two equal ones */
        x[1 * V + 17] = NAN;
        x[2 * V + 4] = INFINITY;
        x[3 * V + 5] = -INFINITY;
        nb_cross_entropy_args a = {l.q, 4, V, x, target, 1.0f, true, nll, hit};
        l.k.cross_entropy(&a);
        assert_int_equal(hit[0], 1);
        const int32_t second = 7;
        float nll2;
        uint8_t hit2;
        float x2[V] = {0};
        x2[3] = x2[7] = 1.0f;
        nb_cross_entropy_args b = {l.q, 1, V, x2, &second, 1.0f, false, &nll2, &hit2};
        l.k.cross_entropy(&b);
        assert_int_equal(hit2, 0);
        assert_true(isnan(nll[1]) && isnan(x[V]) && hit[1] == 0);
        assert_true(!isfinite(nll[2]) && hit[2] == 0);
        assert_true(isinf(nll[3]) && nll[3] > 0 && isfinite(x[3 * V]));
    }
}

static void test_adamw(void **state)
{
    (void)state;
    enum { N = 9003 };
    float *w0 = nbt_random(N, 1, 1.0);
    NBT_FOR_LEVELS(l, 2)
    {
        float *w = nbt_copy(w0, N), *m = nbt_floats(N), *v = nbt_floats(N);
        double *W = malloc(N * 8), *M = calloc(N, 8), *V = calloc(N, 8);
        for (int i = 0; i < N; i++)
            W[i] = (double)w0[i];
        for (int64_t step = 1; step <= 5; step++) {
            float *g = nbt_random(N, 10 + (uint64_t)step, 0.01);
            nb_adamw_args a = {l.q, N, w, m, v, g, 0.5, 1e-3, 0.9, 0.999, 1e-8, 0.1, step};
            l.k.adamw(&a);
            for (int i = 0; i < N; i++) {
                const double d = 0.5 * (double)g[i];
                W[i] -= 1e-3 * 0.1 * W[i];
                M[i] = 0.9 * M[i] + 0.1 * d;
                V[i] = 0.999 * V[i] + 0.001 * d * d;
                const double mh = M[i] / (1 - pow(0.9, (double)step));
                const double vh = V[i] / (1 - pow(0.999, (double)step));
                W[i] -= 1e-3 * mh / (sqrt(vh) + 1e-8);
                /* four roundings of w a step (the factor, the product, the sum), and of the update,
                 * which is about lr */
                nbt_within("adamw", fabs((double)w[i] - W[i]),
                           (double)step * (0x1p-22 * fabs(W[i]) + 1e-3 * 0x1p-20));
            }
            nbi_free(g);
        }
        nbi_free(w);
        nbi_free(m);
        nbi_free(v);
        free(W);
        free(M);
        free(V);
    }
    nbi_free(w0);
}

static void test_sumsq(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, 15, 65536, 200001};
    for (size_t n = 0; n < 5; n++) {
        float *x = nbt_random((size_t)sizes[n], n, 1.0);
        double want = 0, first[NBT_MAX_LEVELS] = {0};
        for (int64_t i = 0; i < sizes[n]; i++)
            want += (double)x[i] * (double)x[i];
        for (int t = 0; t < NBT_THREAD_COUNTS; t++)
            NBT_FOR_LEVELS(l, nbt_thread_counts[t])
            {
                double got = -1;
                nb_sumsq_args a = {l.q, sizes[n], x, &got};
                l.k.sumsq(&a);
                nbt_within("sumsq", fabs(got - want), 1e-12 * want);
                if (t == 0)
                    first[l.i] = got;
                assert_true(got == first[l.i]);
            }
        if (sizes[n] > 0) {
            x[sizes[n] - 1] = NAN;
            NBT_FOR_LEVELS(l, 2)
            {
                double got = 0;
                nb_sumsq_args a = {l.q, sizes[n], x, &got};
                l.k.sumsq(&a);
                assert_true(isnan(got));
            }
        }
        nbi_free(x);
    }
}

/* exp as the loss sees it, over its whole range: differences of two logits. */
static void test_exp_accuracy(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 1)
    {
        double worst = 0;
        for (float d = 0.0f; d > -100.0f; d -= 0.0137f) {
            float x[2] = {0.0f, d}, nll;
            const int32_t target = 0;
            nb_cross_entropy_args a = {l.q, 1, 2, x, &target, 1.0f, true, &nll, NULL};
            l.k.cross_entropy(&a);
            /* softmax of the smaller one = e^d / (1 + e^d) */
            const double want = exp((double)d) / (1 + exp((double)d));
            if (want < 0x1p-126) /* flushed, or rounded up to the smallest normal number */
                assert_true(x[1] == 0.0f || x[1] == 0x1p-126f);
            else
                worst = nbt_worse(worst, fabs((double)x[1] - want) / (want * 0x1p-23));
        }
        print_message("exp %s: %.2f ulp\n", l.k.cross_entropy_variant, worst);
        nbt_within("exp in ulp", worst, 2.5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cross_entropy),
                                       cmocka_unit_test(test_cross_entropy_special),
                                       cmocka_unit_test(test_adamw), cmocka_unit_test(test_sumsq),
                                       cmocka_unit_test(test_exp_accuracy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
