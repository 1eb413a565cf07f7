/* SPDX-License-Identifier: MIT */
/* Products in bf16 at sizes that cross every cut of the blocked design, against sums in f64 of
 * elements drawn at random: all kinds of weights, both directions, low-rank terms. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/weight_util.h"

enum { SAMPLES = 600, RANK = 40 };

typedef struct shape {
    int64_t m, n, k;
} shape;

typedef struct product {
    nb_qmatmul_args a;
    weight w;
    float *x, *y0, *h, *l;
    nb_lowrank extra;
    int64_t m, n, inner;
} product;

static product make_product(kind kd, shape s, int variant, nb_queue *q, const nb_kernels *k)
{
    const bool backward = variant & 1, add = variant & 2, extra = variant & 4;
    const nb_dtype xt = variant & 8 ? NB_DT_BF16 : NB_DT_F32;
    const nb_dtype yt = variant & 16 ? NB_DT_BF16 : NB_DT_F32;
    product p = {.w = make(kd, s.n, s.k, q, k), .m = s.m};
    p.n = backward ? s.k : s.n;
    p.inner = backward ? s.n : s.k;
    const int64_t ldx = p.inner + 3, ldy = p.n + 5;
    const size_t nx = (size_t)(s.m * ldx), ny = (size_t)(s.m * ldy);
    p.x = nbt_random(nx, 11, 1.0);
    p.y0 = nbt_random(ny, 12, 1.0);
    p.h = nbt_random((size_t)(s.m * RANK), 13, 1.0);
    p.l = nbt_random((size_t)(p.n * RANK), 14, 1.0);
    nbt_round_values(p.y0, ny, yt);
    /* some columns at both ends without the term */
    p.extra = (nb_lowrank){p.h, RANK, RANK - 1, p.l, 1, p.n, 5, p.n - 9, 0.25f};
    p.a = (nb_qmatmul_args){.q = q,
                            .n_groups = 1,
                            .backward = backward,
                            .x = nbt_stored(p.x, nx, xt),
                            .ldx = ldx,
                            .y = nbt_stored(p.y0, ny, yt),
                            .ldy = ldy,
                            .accumulate = add,
                            .compute = NB_COMPUTE_BF16,
                            .x_dtype = xt,
                            .y_dtype = yt,
                            .n_extra = extra};
    return p;
}

static void drop_product(product *p)
{
    drop(&p->w);
    nbi_free(p->x);
    nbi_free(p->y0);
    nbi_free(p->h);
    nbi_free(p->l);
    nbi_free((void *)(uintptr_t)p->a.x);
    nbi_free(p->a.y);
}

static double rounded(float x)
{
    return (double)nb_round_bf16(x);
}

/* Error of element (i, j) relative to its tolerance. */
static double deviation(const product *p, int64_t i, int64_t j)
{
    double sum = 0, size = 0;
    const int64_t k = p->w.t.k;
    for (int64_t t = 0; t < p->inner; t++) {
        const double u = rounded(p->x[i * p->a.ldx + t]);
        const double v = rounded(p->w.plain[p->a.backward ? t * k + j : j * k + t]);
        sum += u * v;
        size += fabs(u * v);
    }
    const nb_lowrank *e = &p->extra;
    for (int64_t t = 0; p->a.n_extra && j >= e->col0 && j < e->col0 + e->cols && t < e->r; t++) {
        const double u = rounded(e->h[i * e->ldh + t]);
        const double v = rounded(e->l[(j - e->col0) * e->l_rs + t * e->l_cs]) * (double)e->alpha;
        sum += u * v;
        size += fabs(u * v);
    }
    if (p->a.accumulate) {
        sum += (double)p->y0[i * p->a.ldy + j];
        size += fabs((double)p->y0[i * p->a.ldy + j]);
    }
    const double got = (double)nbt_value(p->a.y, p->a.y_dtype, i * p->a.ldy + j);
    const double tolerance =
        nbt_tolerance(p->inner + RANK, size, sum, p->a.y_dtype == NB_DT_BF16) + 1e-37;
    return fabs(got - sum) / tolerance;
}

static void check(product *p, const char *variant)
{
    uint64_t random = 12345;
    for (int s = 0; s < SAMPLES; s++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int64_t i = (int64_t)((random >> 33) % (uint64_t)p->m);
        int64_t j = (int64_t)((random >> 17) % (uint64_t)p->n);
        if (s < 4) { /* the corners too */
            i = s & 1 ? p->m - 1 : 0;
            j = s & 2 ? p->n - 1 : 0;
        }
        const double d = deviation(p, i, j);
        if (!(d <= 1.0))
            fail_msg("%s: %d x %d x %d, element %d, %d is off by %g tolerances", variant, (int)p->m,
                     (int)p->n, (int)p->inner, (int)i, (int)j, d);
    }
    for (int64_t i = 0; i < p->m; i++) /* nothing beside y changed */
        for (int64_t j = p->n; j < p->a.ldy; j++)
            assert_true(nbt_value(p->a.y, p->a.y_dtype, i * p->a.ldy + j) ==
                        p->y0[i * p->a.ldy + j]);
}

static void run(kind kd, shape s, int variant, int threads)
{
    NBT_FOR_LEVELS(l, threads)
    {
        product p = make_product(kd, s, variant, l.q, &l.k);
        const nb_qgroup g = {&p.w.t, 0, s.n, 0, s.m};
        p.a.groups = &g;
        p.a.extra = &p.extra;
        l.k.qmatmul(&p.a);
        check(&p, l.k.qmatmul_variant);
        drop_product(&p);
    }
}

/* Around the cuts: units of 12 and 32 rows, strips of 32 columns, blocks of columns and of inner
 * indices. */
static void test_cuts(void **state)
{
    (void)state;
    static const shape shapes[] = {{13, 33, 64},   {33, 290, 192}, {65, 31, 1216},
                                   {290, 64, 320}, {24, 70, 2688}, {17, 2700, 64}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (kind kd = 0; kd < K_COUNT; kd++)
            for (int v = 0; v < 2; v++) /* every combination comes up with some kind and shape */
                run(kd, shapes[s], (int)((unsigned)(7 * (int)kd + 13 * (int)s + 16 * v) % 32u),
                    1 + (int)kd % 3);
}

/* Both directions of the kind that training uses, all dtypes, with and without low-rank terms. */
static void test_nf4_all_variants(void **state)
{
    (void)state;
    for (int v = 0; v < 32; v++)
        run(K_NF4_DQ, (shape){45, 100, 384}, v, 1 + v % 2);
}

/* More rows than the packed left operand has room for. */
static void test_many_rows(void **state)
{
    (void)state;
    run(K_BF16, (shape){5000, 40, 64}, 8, 2);
    run(K_NF4, (shape){2100, 70, 4096}, 24, 2);
}

/* A row gives the same bits whatever else is in the batch, and on any number of threads. */
static void test_rows_same_bits(void **state)
{
    (void)state;
    static const int64_t sizes[] = {9, 40, 300};
    for (int backward = 0; backward < 2; backward++)
        NBT_FOR_LEVELS(l, 1)
        {
            product all = make_product(K_NF4_DQ, (shape){300, 320, 1280}, 8 | backward, l.q, &l.k);
            float *first = nbt_floats((size_t)all.n);
            for (int s = 0; s < 3 && l.k.qmatmul_variant[0] == 'a'; s++)
                for (int t = 1; t <= 3; t++) {
                    nb_queue *q = nbt_queue(t);
                    const nb_qgroup g = {&all.w.t, 0, 320, 0, sizes[s]};
                    all.a.groups = &g;
                    all.a.q = q;
                    l.k.qmatmul(&all.a);
                    if (s == 0 && t == 1)
                        memcpy(first, all.a.y, (size_t)all.n * 4);
                    assert_true(nbt_same_bits(all.a.y, first, (size_t)all.n));
                    nb_queue_close(&q);
                }
            nbi_free(first);
            drop_product(&all);
        }
}

/* Products with the same left operand in one call: as in calls of their own. */
static void test_same_left(void **state)
{
    (void)state;
    static const shape shapes[] = {{40, 100, 1216}, {5, 70, 1216}, {2100, 33, 640}, {33, 300, 320}};
    static const int64_t columns[] = {0, -67,
                                      128}; /* beside those of the shape; few of the second */
    for (size_t z = 0; z < sizeof(shapes) / sizeof(shapes[0]); z++)
        NBT_FOR_LEVELS(l, 2)
        {
            product p[3], alone[3];
            nb_qgroup g[3];
            for (int i = 0; i < 3; i++) {
                const kind kd = i == 1 ? K_BF16 : K_NF4_DQ;
                const int variant = i == 2 ? 8 | 4 | 16 : 8;
                shape s = shapes[z];
                s.n += columns[i] > -s.n ? columns[i] : 0;
                p[i] = make_product(kd, s, variant, l.q, &l.k);
                alone[i] = make_product(kd, s, variant, l.q, &l.k);
                g[i] = (nb_qgroup){&p[i].w.t, 0, s.n, 0, s.m};
                p[i].a.groups = alone[i].a.groups = &g[i];
                p[i].a.extra = alone[i].a.extra = &p[i].extra;
                l.k.qmatmul(&alone[i].a);
            }
            const void *x[] = {p[1].a.x, p[2].a.x};
            p[1].a.x = p[2].a.x = p[0].a.x;
            p[0].a.next = &p[1].a;
            p[1].a.next = &p[2].a;
            l.k.qmatmul(&p[0].a);
            p[1].a.x = x[0];
            p[2].a.x = x[1];
            for (int i = 0; i < 3; i++) {
                const size_t bytes =
                    (size_t)(p[i].m * p[i].a.ldy) * (p[i].a.y_dtype == NB_DT_BF16 ? 2 : 4);
                if (p[i].m > NB_FEW_ROWS) /* which leave W unrounded */
                    check(&p[i], l.k.qmatmul_variant);
                assert_memory_equal(p[i].a.y, alone[i].a.y, bytes);
                drop_product(&p[i]);
                drop_product(&alone[i]);
            }
        }
}

/* Gradients of weights: the inner index runs over tokens; results as thin as adapters. */
static void test_weight_gradients(void **state)
{
    (void)state;
    static const shape shapes[] = {{16, 300, 70}, {300, 16, 70}, {8, 65, 3000}, {64, 48, 2600}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++) {
        const shape z = shapes[s];
        for (int v = 0; v < 4; v++)
            NBT_FOR_LEVELS(l, 1 + v % 2)
            {
                const nb_dtype at = v & 1 ? NB_DT_BF16 : NB_DT_F32;
                const nb_dtype bt = v & 2 ? NB_DT_BF16 : NB_DT_F32;
                float *dy = nbt_random((size_t)(z.k * z.m), 1, 1.0);
                float *x = nbt_random((size_t)(z.k * z.n), 2, 1.0);
                float *c = nbt_floats((size_t)(z.m * z.n));
                void *a = nbt_stored(dy, (size_t)(z.k * z.m), at);
                void *b = nbt_stored(x, (size_t)(z.k * z.n), bt);
                nb_matmul_args m = {l.q, z.m, z.n,      z.k,   a,
                                    1,   z.m, b,        1,     z.n,
                                    c,   z.n, 0.75f,    false, NB_COMPUTE_BF16,
                                    at,  bt,  NB_DT_F32};
                l.k.matmul(&m);
                for (int64_t i = 0; i < z.m; i += 3)
                    for (int64_t j = 0; j < z.n; j += 5) {
                        double sum = 0, size = 0;
                        for (int64_t t = 0; t < z.k; t++) {
                            const double p = rounded(dy[t * z.m + i]) * rounded(x[t * z.n + j]);
                            sum += p;
                            size += fabs(p);
                        }
                        nbt_within("weight gradient", fabs((double)c[i * z.n + j] - 0.75 * sum),
                                   nbt_tolerance(z.k, 0.75 * size, 0, false));
                    }
                nbi_free(dy);
                nbi_free(x);
                nbi_free(c);
                nbi_free(a);
                nbi_free(b);
            }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts),      cmocka_unit_test(test_nf4_all_variants),
        cmocka_unit_test(test_many_rows), cmocka_unit_test(test_rows_same_bits),
        cmocka_unit_test(test_same_left), cmocka_unit_test(test_weight_gradients)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
