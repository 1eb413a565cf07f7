/* SPDX-License-Identifier: MIT */
/* Thin products at every level against sums in f64, over every cut of the blocked design. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

enum { GAP = 3, MOST_TERMS = 3 };

/* What a term wants; IN_PLACE: c in the place of h. */
enum { C = 1, D = 2, IN_PLACE = 4, D_TURNED = 8 };

typedef struct problem {
    int64_t m, n;
    nb_dtype y_dtype;
    nb_compute compute;
    int n_terms;
    int64_t r[MOST_TERMS];
    int what[MOST_TERMS];
} problem;

typedef struct data {
    nb_thin_args a;
    nb_thin_term term[MOST_TERMS];
    float *y, *b[MOST_TERMS], *h[MOST_TERMS], *c[MOST_TERMS], *d[MOST_TERMS], *d0[MOST_TERMS];
    float *h0[MOST_TERMS];
} data;

static size_t d_count(const problem *p, int i)
{
    return (size_t)(p->what[i] & D_TURNED ? p->r[i] * (p->n + GAP) : p->n * (p->r[i] + GAP));
}

static size_t c_count(const problem *p, int i)
{
    return (size_t)(p->m * (p->r[i] + GAP));
}

static void make_term(const problem *p, data *x, int i)
{
    const int64_t r = p->r[i], ld = r + GAP;
    const int what = p->what[i];
    const uint64_t seed = 100 * (uint64_t)i;
    x->b[i] = nbt_random((size_t)(p->n * r), seed + 1, 1.0);
    x->h[i] = nbt_random(c_count(p, i), seed + 2, 1.0);
    x->h0[i] = nbt_copy(x->h[i], c_count(p, i));
    x->c[i] = nbt_random(c_count(p, i), seed + 3, 1.0);
    x->d[i] = nbt_random(d_count(p, i), seed + 4, 1.0);
    x->d0[i] = nbt_copy(x->d[i], d_count(p, i));
    x->term[i] = (nb_thin_term){.r = r,
                                .b = x->b[i],
                                .b_rs = i % 2 ? 1 : r,
                                .b_cs = i % 2 ? p->n : 1,
                                .c = what & IN_PLACE ? x->h[i]
                                     : what & C      ? x->c[i]
                                                     : NULL,
                                .ldc = ld,
                                .h = what & D ? x->h[i] : NULL,
                                .ldh = ld,
                                .d = what & D ? x->d[i] : NULL,
                                .d_rs = what & D_TURNED ? 1 : ld,
                                .d_cs = what & D_TURNED ? p->n + GAP : 1,
                                .alpha = 0.5f + (float)i};
}

static void make_data(const problem *p, data *x, nb_queue *q)
{
    const size_t ny = (size_t)(p->m * (p->n + GAP));
    *x = (data){.y = nbt_random(ny, 7, 1.0)};
    for (int64_t i = 0; i < p->m; i++) /* beside y: must not be read */
        for (int64_t j = p->n; j < p->n + GAP; j++)
            x->y[i * (p->n + GAP) + j] = NAN;
    void *y = nbt_stored(x->y, ny, p->y_dtype);
    nbi_free(x->y);
    x->y = y;
    for (int i = 0; i < p->n_terms; i++)
        make_term(p, x, i);
    x->a = (nb_thin_args){.q = q,
                          .m = p->m,
                          .n = p->n,
                          .y = y,
                          .ldy = p->n + GAP,
                          .y_dtype = p->y_dtype,
                          .terms = x->term,
                          .n_terms = p->n_terms,
                          .compute = p->compute};
}

static void drop_data(const problem *p, data *x)
{
    nbi_free(x->y);
    for (int i = 0; i < p->n_terms; i++) {
        float *all[] = {x->b[i], x->h[i], x->h0[i], x->c[i], x->d[i], x->d0[i]};
        for (size_t j = 0; j < sizeof all / sizeof all[0]; j++)
            nbi_free(all[j]);
    }
}

static double operand(const problem *p, float x)
{
    return (double)(p->compute == NB_COMPUTE_BF16 ? nb_round_bf16(x) : x);
}

static double y_at(const problem *p, const data *x, int64_t i, int64_t j)
{
    return operand(p, nbt_value(x->y, p->y_dtype, i * x->a.ldy + j));
}

/* |got - sum| against the tolerance of a sum of k products. */
static double relative(double got, double sum, double size, int64_t k)
{
    return fabs(got - sum) / (nbt_tolerance(k, size, sum, false) + 1e-37);
}

static double c_deviation(const problem *p, const data *x, int i, int64_t row, int64_t col)
{
    const nb_thin_term *t = &x->term[i];
    double sum = 0, size = 0;
    for (int64_t j = 0; j < p->n; j++) {
        const double v =
            y_at(p, x, row, j) * operand(p, t->b[j * t->b_rs + col * t->b_cs]) * (double)t->alpha;
        sum += v;
        size += fabs(v);
    }
    return relative((double)t->c[row * t->ldc + col], sum, size, p->n);
}

static double d_deviation(const problem *p, const data *x, int i, int64_t row, int64_t col)
{
    const nb_thin_term *t = &x->term[i];
    const int64_t at = row * t->d_rs + col * t->d_cs;
    double sum = (double)x->d0[i][at], size = fabs(sum);
    for (int64_t j = 0; j < p->m; j++) {
        const double v =
            y_at(p, x, j, row) * operand(p, x->h0[i][j * t->ldh + col]) * (double)t->alpha;
        sum += v;
        size += fabs(v);
    }
    return relative((double)t->d[at], sum, size, p->m);
}

/* About `samples` of the elements of both results; every one when there are few. */
static double deviation(const problem *p, const data *x, int i)
{
    double worst = 0;
    const int64_t r = p->r[i], all_c = p->m * r, all_d = p->n * r, samples = 300;
    for (int64_t e = 0; e < all_c && x->term[i].c; e += 1 + all_c / samples)
        worst = nbt_worse(c_deviation(p, x, i, e / r, e % r), worst);
    for (int64_t e = 0; e < all_d && x->term[i].d; e += 1 + all_d / samples)
        worst = nbt_worse(d_deviation(p, x, i, e / r, e % r), worst);
    return worst;
}

/* Nothing beside the results changed. */
static void check_gaps(const problem *p, const data *x, int i)
{
    const int64_t r = p->r[i];
    for (int64_t row = 0; row < p->m; row++)
        for (int64_t g = r; g < r + GAP; g++)
            assert_true(x->h[i][row * (r + GAP) + g] == x->h0[i][row * (r + GAP) + g]);
    const int64_t lines = p->what[i] & D_TURNED ? r : p->n, line = p->what[i] & D_TURNED ? p->n : r;
    for (int64_t row = 0; row < lines; row++)
        for (int64_t g = line; g < line + GAP; g++)
            assert_true(x->d[i][row * (line + GAP) + g] == x->d0[i][row * (line + GAP) + g]);
}

static void check(const problem *p)
{
    NBT_FOR_LEVELS(l, 1)
    {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            data x;
            nb_queue *q = nbt_queue(threads);
            make_data(p, &x, q);
            l.k.thin(&x.a);
            for (int i = 0; i < p->n_terms; i++) {
                const double d = deviation(p, &x, i);
                if (!(d <= 1.0))
                    fail_msg("%s: %d x %d, term %d of rank %d: off by %g tolerances",
                             l.k.thin_variant, (int)p->m, (int)p->n, i, (int)p->r[i], d);
                check_gaps(p, &x, i);
            }
            const nb_thin_term *t = &x.term[0];
            const float *some = t->d ? x.d[0] : t->c;
            const size_t n = t->d ? d_count(p, 0) : c_count(p, 0);
            if (!first)
                first = nbt_copy(some, n);
            assert_true(nbt_same_bits(first, some, n));
            drop_data(p, &x);
            nb_queue_close(&q);
        }
        nbi_free(first);
    }
}

/* One term of each kind, and three of different kinds. */
static void check_kinds(int64_t m, int64_t n, nb_dtype dtype, nb_compute compute)
{
    const int kinds[] = {C, D, D | D_TURNED, C | D, C | D | IN_PLACE};
    const int64_t ranks[] = {1, 16, 8, 35, 16};
    for (int i = 0; i < 5; i++)
        check(&(problem){m, n, dtype, compute, 1, {ranks[i]}, {kinds[i]}});
    check(
        &(problem){m, n, dtype, compute, 3, {16, 7, 33}, {C | D | IN_PLACE, D | D_TURNED, C | D}});
    check(&(problem){m, n, dtype, compute, 3, {16, 7, 33}, {C, C, C}});
}

static void shapes(void **state)
{
    (void)state;
    const int64_t shape[][2] = {{1, 1},    {1, 64},   {3, 33},    {16, 32},  {31, 47},  {33, 65},
                                {64, 129}, {67, 513}, {128, 704}, {5, 1031}, {130, 100}};
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++)
        for (int v = 0; v < 3; v++)
            check_kinds(shape[i][0], shape[i][1], v & 1 ? NB_DT_BF16 : NB_DT_F32,
                        v ? NB_COMPUTE_BF16 : NB_COMPUTE_F32);
}

/* More rows than wait at a time, more columns than a span has, more ranks than tiles. */
static void large(void **state)
{
    (void)state;
    const nb_compute bf16 = NB_COMPUTE_BF16;
    check(&(problem){1100, 96, NB_DT_BF16, bf16, 1, {16}, {C | D | IN_PLACE}});
    check(&(problem){515, 300, NB_DT_F32, bf16, 2, {16, 40}, {C | D | IN_PLACE, D}});
    check(&(problem){70, 9001, NB_DT_BF16, bf16, 1, {16}, {C | D | IN_PLACE}});
    check(&(problem){70, 9001, NB_DT_BF16, bf16, 1, {5}, {D | D_TURNED}});
    check(&(problem){40, 33000, NB_DT_F32, bf16, 1, {16}, {C | D | IN_PLACE}});
    check(&(problem){40, 200, NB_DT_BF16, bf16, 1, {300}, {C | D | IN_PLACE}});
}

static void nothing_to_do(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    {
        float c[4] = {1, 2, 3, 4}, d[4] = {5, 6, 7, 8};
        const float y[4] = {0}, b[4] = {0};
        nb_thin_term t = {.r = 2, .b = b, .b_rs = 2, .b_cs = 1, .c = c, .ldc = 2, .alpha = 1.0f};
        nb_thin_args a = {.q = l.q,
                          .m = 2,
                          .n = 0,
                          .y = y,
                          .ldy = 2,
                          .terms = &t,
                          .n_terms = 1,
                          .compute = NB_COMPUTE_BF16};
        l.k.thin(&a); /* an empty sum */
        for (int i = 0; i < 4; i++)
            assert_true(c[i] == 0.0f);
        t = (nb_thin_term){.r = 2, .h = b, .ldh = 2, .d = d, .d_rs = 2, .d_cs = 1, .alpha = 1.0f};
        a.m = 0;
        a.n = 2;
        l.k.thin(&a);
        assert_true(d[0] == 5.0f && d[3] == 8.0f);
        a.n_terms = 0;
        a.m = 2;
        l.k.thin(&a);
    }
}

/* NaN in one row of y: in that row of c, and in all of its column of d. */
static void nan_spreads(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    {
        const problem p = {50, 70, NB_DT_BF16, NB_COMPUTE_BF16, 1, {16}, {C | D}};
        data x;
        make_data(&p, &x, l.q);
        ((uint16_t *)(void *)x.y)[20 * x.a.ldy + 40] = nb_f32_to_bf16(NAN);
        l.k.thin(&x.a);
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t r = 0; r < 16; r++)
                assert_true(isnan(x.c[0][i * x.term[0].ldc + r]) == (i == 20));
        for (int64_t j = 0; j < p.n; j++)
            for (int64_t r = 0; r < 16; r++)
                assert_true(isnan(x.d[0][j * x.term[0].d_rs + r]) == (j == 40));
        drop_data(&p, &x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(shapes), cmocka_unit_test(large),
                                       cmocka_unit_test(nothing_to_do),
                                       cmocka_unit_test(nan_spreads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
