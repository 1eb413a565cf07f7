/* SPDX-License-Identifier: MIT */
/* matmul at every level against sums in f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

typedef struct problem {
    int64_t m, n, k;
    bool a_turned, b_turned, add;
    int64_t gap; /* extra stride */
    float alpha;
    nb_compute compute;
    nb_dtype a_dtype, b_dtype, c_dtype;
} problem;

static float rounded(float x, nb_compute c)
{
    return c == NB_COMPUTE_BF16 ? nb_round_bf16(x) : x;
}

/* Worst error relative to the tolerance over all elements; checks that nothing beside c changed. */
static double deviation(const problem *p, const nb_matmul_args *a, const float *c0)
{
    double worst = 0;
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < a->ldc; j++) {
            const float got = nbt_value(a->c, p->c_dtype, i * a->ldc + j);
            const float before = c0[i * a->ldc + j];
            if (j >= p->n) {
                assert_true(got == before);
                continue;
            }
            double sum = 0, size = 0;
            for (int64_t t = 0; t < p->k; t++) {
                double x = (double)rounded(nbt_value(a->a, p->a_dtype, i * a->a_rs + t * a->a_cs),
                                           p->compute);
                double y = (double)rounded(nbt_value(a->b, p->b_dtype, j * a->b_rs + t * a->b_cs),
                                           p->compute);
                sum += x * y;
                size += fabs(x * y);
            }
            sum *= (double)p->alpha;
            size *= fabs((double)p->alpha);
            if (p->add) {
                sum += (double)before;
                size += fabs((double)before);
            }
            double d = fabs((double)got - sum) /
                       (nbt_tolerance(p->k, size, sum, p->c_dtype == NB_DT_BF16) + 1e-37);
            worst = d > worst || isnan(d) ? d : worst;
        }
    }
    return worst;
}

static void fill_args(const problem *p, nb_queue *q, nb_matmul_args *a)
{
    *a = (nb_matmul_args){.q = q,
                          .m = p->m,
                          .n = p->n,
                          .k = p->k,
                          .alpha = p->alpha,
                          .accumulate = p->add,
                          .compute = p->compute,
                          .ldc = p->n + p->gap,
                          .a_dtype = p->a_dtype,
                          .b_dtype = p->b_dtype,
                          .c_dtype = p->c_dtype};
    a->a_rs = p->a_turned ? 1 : p->k + p->gap;
    a->a_cs = p->a_turned ? p->m + p->gap : 1;
    a->b_rs = p->b_turned ? 1 : p->k + p->gap;
    a->b_cs = p->b_turned ? p->n + p->gap : 1;
}

static double run(const problem *p, nb_kernels *k, nb_queue *q, float **result)
{
    nb_matmul_args a;
    fill_args(p, q, &a);
    const size_t nx = (size_t)((p->m + p->gap) * (p->k + p->gap));
    const size_t ny = (size_t)((p->n + p->gap) * (p->k + p->gap)), nc = (size_t)(p->m * a.ldc);
    float *x = nbt_random(nx, 1, 1.0), *y = nbt_random(ny, 2, 1.0), *c0 = nbt_random(nc, 3, 1.0);
    nbt_round_values(c0, nc, p->c_dtype);
    void *sx = nbt_stored(x, nx, p->a_dtype), *sy = nbt_stored(y, ny, p->b_dtype);
    void *c = nbt_stored(c0, nc, p->c_dtype);
    a.a = sx;
    a.b = sy;
    a.c = c;
    k->matmul(&a);
    double worst = deviation(p, &a, c0);
    nbi_free(x);
    nbi_free(y);
    nbi_free(sx);
    nbi_free(sy);
    nbi_free(c0);
    if (result)
        *result = c;
    else
        nbi_free(c);
    return worst;
}

static void test_shapes(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1},      {1, 17, 5},    {3, 33, 40},    {8, 50, 2049},
                                       {9, 31, 257},   {12, 32, 256}, {13, 33, 17},   {64, 64, 64},
                                       {70, 130, 513}, {200, 40, 30}, {33, 1100, 20}, {0, 5, 5},
                                       {5, 0, 5},      {5, 7, 0},     {20, 30, 0}};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (int v = 0; v < 16; v++) {
            problem p = {sizes[s][0],
                         sizes[s][1],
                         sizes[s][2],
                         v & 1,
                         v & 2,
                         v & 4,
                         v % 3,
                         v & 4 ? -0.5f : 1.0f,
                         v & 8 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32,
                         NB_DT_F32,
                         NB_DT_F32,
                         NB_DT_F32};
            NBT_FOR_LEVELS(l, 2)
            {
                double d = run(&p, &l.k, l.q, NULL);
                if (!(d <= 1.0))
                    print_error("%s: %d x %d x %d, variant %d\n", l.k.matmul_variant, (int)p.m,
                                (int)p.n, (int)p.k, v);
                nbt_within("matmul", d, 1.0);
            }
        }
    }
}

/* Each operand and the result in either dtype; sums over several blocks of k and of columns. */
static void test_dtypes(void **state)
{
    (void)state;
    static const nb_dtype dt[] = {NB_DT_F32, NB_DT_BF16};
    static const int64_t sizes[][3] = {{1, 17, 5},     {8, 50, 2049},   {3, 2, 0},   {20, 30, 0},
                                       {13, 300, 600}, {1600, 33, 300}, {64, 64, 64}};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int v = 1; v < 64; v++) {
            const int turned = (v >> 4) & 3;
            if ((v & 7) == 0 || (sizes[s][0] > 1000 && v % 5 != 0))
                continue;
            problem p = {sizes[s][0], sizes[s][1],    sizes[s][2],
                         turned & 1,  turned & 2,     v % 5 < 2,
                         v % 3,       -0.75f,         v & 8 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32,
                         dt[v & 1],   dt[v >> 1 & 1], dt[v >> 2 & 1]};
            NBT_FOR_LEVELS(l, 2)
            nbt_within("matmul of dtypes", run(&p, &l.k, l.q, NULL), 1.0);
        }
}

/* Neither stride is 1. */
static void test_general_strides(void **state)
{
    (void)state;
    enum { M = 21, N = 37, K = 19 };
    float *x = nbt_random(M * K * 6, 1, 1.0), *y = nbt_random(N * K * 6, 2, 1.0);
    float c[M * N], zero[M * N] = {0};
    NBT_FOR_LEVELS(l, 1)
    {
        problem p = {M,         N,         K,        false, false, false, 0, 1.0f, NB_COMPUTE_F32,
                     NB_DT_F32, NB_DT_F32, NB_DT_F32};
        nb_matmul_args a = {l.q, M, N, K, x, 2 * K, 2, y, 3, 3 * N, c, N, 1.0f, false, p.compute};
        l.k.matmul(&a);
        nbt_within("strided matmul", deviation(&p, &a, zero), 1.0);
        uint16_t *h = nbt_stored(x, M * K * 6, NB_DT_BF16);
        a.a = h;
        a.a_dtype = p.a_dtype = NB_DT_BF16;
        l.k.matmul(&a);
        nbt_within("strided matmul of bf16", deviation(&p, &a, zero), 1.0);
        nbi_free(h);
    }
    nbi_free(x);
    nbi_free(y);
}

static void test_threads_same_bits(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {
        {100, 90, 300}, {7, 200, 2500}, {30, 1500, 70}, {500, 20, 64}};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        problem p = {sizes[s][0], sizes[s][1], sizes[s][2],    s & 1,     false,     true,
                     1,           1.5f,        NB_COMPUTE_F32, NB_DT_F32, NB_DT_F32, NB_DT_F32};
        float *first[NBT_MAX_LEVELS] = {NULL};
        for (int t = 0; t < NBT_THREAD_COUNTS; t++) {
            NBT_FOR_LEVELS(l, nbt_thread_counts[t])
            {
                float *c;
                run(&p, &l.k, l.q, &c);
                if (t == 0)
                    first[l.i] = c;
                else
                    assert_true(nbt_same_bits(c, first[l.i], (size_t)(p.m * (p.n + 1))));
                if (t > 0)
                    nbi_free(c);
            }
        }
        for (int i = 0; i < NBT_MAX_LEVELS; i++)
            nbi_free(first[i]);
    }
}

/* One NaN reaches exactly its row, one infinity its column. */
static void test_non_finite(void **state)
{
    (void)state;
    static const int64_t rows[] = {4, 40};
    for (int v = 0; v < 2; v++) {
        enum { N = 35, K = 50 };
        const int64_t m = rows[v];
        float *x = nbt_random((size_t)(m * K), 1, 1.0), *y = nbt_random(N * K, 2, 1.0);
        float *c = nbt_floats((size_t)(m * N));
        x[2 * K + 49] = NAN;
        y[34 * K + 3] = INFINITY;
        NBT_FOR_LEVELS(l, 1)
        {
            nb_matmul_args a = {l.q, m, N, K, x, K, 1, y, K, 1, c, N, 1.0f, false, NB_COMPUTE_BF16};
            l.k.matmul(&a);
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < N; j++)
                    assert_int_equal(isfinite(c[i * N + j]) != 0, i != 2 && j != 34);
            assert_true(isnan(c[2 * N]) && isinf(c[34]));
        }
        nbi_free(x);
        nbi_free(y);
        nbi_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_dtypes),
                                       cmocka_unit_test(test_general_strides),
                                       cmocka_unit_test(test_threads_same_bits),
                                       cmocka_unit_test(test_non_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
