/* SPDX-License-Identifier: MIT */
/* Products with stored weights, and the decoder: every kind, level and direction. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/weight_util.h"

/* Bit for bit, all places of a tile at every alignment. */
static void test_decode(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{5, 64}, {7, 33}, {9, 200}, {300, 90}};
    for (size_t s = 0; s < 4; s++) {
        const int64_t n = shapes[s][0], kk = shapes[s][1];
        for (kind kd = 0; kd < K_COUNT; kd++)
            NBT_FOR_LEVELS(l, 2)
            {
                weight w = make(kd, n, kk, l.q, &l.k);
                for (int64_t col = 0; col < 5; col++) {
                    const int64_t rows = n - 2;
                    const int64_t cols = kk - col - (col & 1);
                    float *out = nbt_floats((size_t)(rows * (cols + 1)));
                    nb_decode_args a = {l.q, &w.t, 1, rows, col, cols, out, cols + 1};
                    l.k.decode(&a);
                    for (int64_t i = 0; i < rows; i++)
                        assert_true(nbt_same_bits(out + i * (cols + 1),
                                                  w.plain + (i + 1) * kk + col, (size_t)cols));
                    nbi_free(out);
                }
                drop(&w);
            }
    }
}

typedef struct shape {
    int64_t m, n, k;
} shape;

static double at_compute(float x, nb_compute c)
{
    return (double)(c == NB_COMPUTE_BF16 ? nb_round_bf16(x) : x);
}

/* Adds the terms of low rank of element (i, j) to *sum and their size to *size; returns the number
 * of their inner indices. */
static int64_t add_lowrank(const nb_qmatmul_args *a, int64_t i, int64_t j, double *sum,
                           double *size)
{
    int64_t inner = 0;
    for (int64_t e = 0; e < a->n_extra; e++) {
        const nb_lowrank *x = &a->extra[e];
        for (int64_t t = 0; t < x->r && j >= x->col0 && j < x->col0 + x->cols; t++) {
            const double u = at_compute(x->h[i * x->ldh + t], a->compute);
            const double v = at_compute(x->l[(j - x->col0) * x->l_rs + t * x->l_cs], a->compute);
            *sum += (double)x->alpha * u * v;
            *size += fabs((double)x->alpha * u * v);
            inner++;
        }
    }
    return inner;
}

/* What element (i, j) of a product of few rows may be off when it multiplies in fixed point, as
 * products that compute in bf16 may: 2^-15 of the largest x of 64, 2^-14 of a block's absmax, each
 * evenly distributed; more than five standard deviations of their sum. */
static double fixed_point(const weight *w, const nb_qgroup *g, const nb_qmatmul_args *a, int64_t i,
                          int64_t j)
{
    double squares = 0;
    if (a->compute != NB_COMPUTE_BF16 || w->t.kind == NB_QK_DENSE)
        return 0;
    for (int64_t t0 = 0; t0 < w->t.k; t0 += 64) {
        double most = 0;
        const int64_t end = t0 + 64 < w->t.k ? t0 + 64 : w->t.k;
        for (int64_t t = t0; t < end; t++)
            most = fmax(most, fabs((double)nbt_value(a->x, a->x_dtype, i * a->ldx + t)));
        for (int64_t t = t0; t < end; t++) {
            const int64_t at = (g->w_row0 + j) * w->t.k + t;
            const double x = (double)nbt_value(a->x, a->x_dtype, i * a->ldx + t);
            const double u = 0x1p-15 * most * (double)w->plain[at];
            const double v = 0x1p-14 * (double)nb_qtensor_absmax(&w->t, at / w->t.block) * x;
            squares += u * u + v * v;
        }
    }
    return 3 * sqrt(squares);
}

static double worst_error(const weight *w, const nb_qgroup *g, const nb_qmatmul_args *a,
                          const float *y0)
{
    const int64_t n = a->backward ? w->t.k : g->w_rows, inner = a->backward ? g->w_rows : w->t.k;
    const bool few = !a->backward && g->rows <= NB_FEW_ROWS;
    double worst = 0;
    for (int64_t i = g->row0; i < g->row0 + g->rows; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (int64_t t = 0; t < inner; t++) {
                int64_t at =
                    a->backward ? (g->w_row0 + t) * w->t.k + j : (g->w_row0 + j) * w->t.k + t;
                const double u =
                    at_compute(nbt_value(a->x, a->x_dtype, i * a->ldx + t), a->compute);
                const double v = few ? (double)w->plain[at] : at_compute(w->plain[at], a->compute);
                sum += u * v;
                size += fabs(u * v);
            }
            const int64_t all = inner + add_lowrank(a, i, j, &sum, &size);
            if (a->accumulate) {
                sum += (double)y0[i * a->ldy + j];
                size += fabs((double)y0[i * a->ldy + j]);
            }
            const double off = fabs((double)nbt_value(a->y, a->y_dtype, i * a->ldy + j) - sum);
            const double d = off / (nbt_tolerance(all, size, sum, a->y_dtype == NB_DT_BF16) +
                                    (few ? fixed_point(w, g, a, i, j) : 0) + 1e-37);
            worst = d > worst || isnan(d) ? d : worst;
        }
    return worst;
}

/* How a product is asked for, beside its shape. */
typedef struct variant {
    bool backward, add, extra;
    nb_compute compute;
    nb_dtype x_dtype, y_dtype;
    int threads;
} variant;

/* Two terms of low rank over columns that overlap, l by rows and by columns. */
static void make_extra(nb_lowrank e[2], const shape *s, int64_t n, const float *h, const float *l)
{
    e[0] = (nb_lowrank){h, 6, 5, l, 5, 1, 0, n, 0.5f};
    e[1] = (nb_lowrank){h + s->m * 6, 3, 3, l + n * 5, 1, n, n / 3, n - n / 3 - n / 4, -2.0f};
}

static void run_groups(kind kd, shape s, variant v)
{
    NBT_FOR_LEVELS(l, v.threads)
    {
        weight w = make(kd, s.n, s.k, l.q, &l.k);
        /* two groups: a part of the rows with a part of the weight, the rest with all of it */
        nb_qgroup g[2] = {{&w.t, s.n / 3, s.n - s.n / 3, 0, s.m / 2},
                          {&w.t, 0, s.n, s.m / 2, s.m - s.m / 2}};
        if (v.extra)
            g[0] = (nb_qgroup){&w.t, 0, s.n, 0, s.m / 2};
        const int64_t ldx = (v.backward ? s.n : s.k) + 1, n = v.backward ? s.k : s.n;
        const int64_t ldy = n + 2;
        const size_t nx = (size_t)(s.m * ldx), ny = (size_t)(s.m * ldy);
        float *x = nbt_random(nx, 5, 1.0), *y0 = nbt_random(ny, 6, 1.0);
        float *lh = nbt_random((size_t)(s.m * 9), 7, 1.0);
        float *ll = nbt_random((size_t)(n * 8), 8, 1.0);
        nb_lowrank e[2];
        make_extra(e, &s, n, lh, ll);
        nbt_round_values(y0, ny, v.y_dtype);
        void *sx = nbt_stored(x, nx, v.x_dtype), *y = nbt_stored(y0, ny, v.y_dtype);
        nb_qmatmul_args a = {l.q, g,     2,         v.backward, sx,        ldx, y,
                             ldy, v.add, v.compute, v.x_dtype,  v.y_dtype, e,   v.extra ? 2 : 0};
        l.k.qmatmul(&a);
        double d = nbt_worse(worst_error(&w, &g[0], &a, y0), worst_error(&w, &g[1], &a, y0));
        if (!(d <= 1.0))
            print_error("%s: kind %d, %d x %d x %d, backward %d, x %d, y %d, extra %d\n",
                        l.k.qmatmul_variant, (int)kd, (int)s.m, (int)s.n, (int)s.k, v.backward,
                        (int)v.x_dtype, (int)v.y_dtype, v.extra);
        nbt_within("qmatmul", d, 1.0);
        for (int64_t i = 0; i < s.m; i++) /* nothing beside y changed */
            for (int64_t j = n; j < ldy; j++)
                assert_true(nbt_value(y, v.y_dtype, i * ldy + j) == y0[i * ldy + j]);
        drop(&w);
        nbi_free(x);
        nbi_free(sx);
        nbi_free(y0);
        nbi_free(y);
        nbi_free(lh);
        nbi_free(ll);
    }
}

static void test_products(void **state)
{
    (void)state;
    static const shape shapes[] = {{3, 9, 65}, {17, 30, 40}, {40, 70, 129}, {50, 64, 320}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (kind kd = 0; kd < K_COUNT; kd++)
            for (int v = 0; v < 8; v++)
                run_groups(kd, shapes[s],
                           (variant){.backward = v & 1,
                                     .add = v & 2,
                                     .compute = v & 4 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32,
                                     .threads = 1 + v % 3});
}

/* Operands and results in either dtype, with and without terms of low rank. */
static void test_dtypes_and_lowrank(void **state)
{
    (void)state;
    static const nb_dtype dt[] = {NB_DT_F32, NB_DT_BF16};
    static const shape shapes[] = {{2, 9, 65}, {11, 40, 90}, {40, 70, 300}, {37, 300, 33}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int v = 1; v < 64; v++)
            run_groups((kind)((v + (int)s) % K_COUNT), shapes[s],
                       (variant){.backward = v & 8,
                                 .add = v & 16,
                                 .extra = v & 4,
                                 .compute = v & 32 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32,
                                 .x_dtype = dt[v & 1],
                                 .y_dtype = dt[v >> 1 & 1],
                                 .threads = 1 + v % 2});
}

/* Few rows: whole and half vectors of codes, blocks that span rows, borders of nested blocks, more
 * inner indices than are taken at a time. */
static void test_few_rows(void **state)
{
    (void)state;
    static const nb_dtype dt[] = {NB_DT_F32, NB_DT_BF16};
    static const shape shapes[] = {{2, 33, 128},  {16, 5, 64},    {7, 70, 320},
                                   {3, 197, 384}, {5, 17, 16576}, {9, 3, 17000}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (kind kd = 0; kd < K_COUNT; kd++)
            for (int v = 0; v<32; v += shapes[s].k> 1000 ? 5 : 1)
                run_groups(kd, shapes[s],
                           (variant){.add = v & 1,
                                     .extra = v & 2,
                                     .compute = v & 4 ? NB_COMPUTE_BF16 : NB_COMPUTE_F32,
                                     .x_dtype = dt[v >> 3 & 1],
                                     .y_dtype = dt[v >> 4 & 1],
                                     .threads = 1 + v % 2});
}

/* A row of few gets the bits it gets alone. */
/* Enough rows of the weight that one row of x reads several parts at a time. */
static void row_alone(int64_t kk)
{
    enum { M = NB_FEW_ROWS, N = 150 };
    float *x = nbt_random((size_t)(M * kk), 5, 1.0);
    for (kind kd = 0; kd < K_COUNT; kd++)
        for (int c = 0; c < 2; c++)
            NBT_FOR_LEVELS(l, 1)
            {
                const nb_compute compute = c ? NB_COMPUTE_BF16 : NB_COMPUTE_F32;
                weight w = make(kd, N, kk, l.q, &l.k);
                float all[M * N], one[N];
                for (int64_t m = 2; m <= M; m++) {
                    nb_qgroup g = {&w.t, 0, N, 0, m}, h = {&w.t, 0, N, 0, 1};
                    nb_qmatmul_args a = {l.q, &g, 1, false, x, kk, all, N, false, compute};
                    l.k.qmatmul(&a);
                    for (int64_t i = 0; i < m; i++) {
                        nb_qmatmul_args b = {l.q, &h,  1, false, x + i * kk,
                                             kk,  one, N, false, compute};
                        l.k.qmatmul(&b);
                        assert_true(nbt_same_bits(all + i * N, one, N));
                    }
                }
                drop(&w);
            }
    nbi_free(x);
}

static void test_row_alone_same_bits(void **state)
{
    (void)state;
    row_alone(448);
    row_alone(896); /* blocks of scales end inside rows */
}

static void test_threads_same_bits(void **state)
{
    (void)state;
    static const shape s = {60, 100, 300};
    for (int backward = 0; backward < 2; backward++) {
        float *first[NBT_MAX_LEVELS] = {NULL};
        const int64_t ldx = backward ? s.n : s.k, ldy = backward ? s.k : s.n;
        float *x = nbt_random((size_t)(s.m * ldx), 5, 1.0);
        for (int t = 0; t < NBT_THREAD_COUNTS; t++) {
            NBT_FOR_LEVELS(l, nbt_thread_counts[t])
            {
                weight w = make(K_NF4_DQ, s.n, s.k, l.q, &l.k);
                nb_qgroup g = {&w.t, 0, s.n, 0, s.m};
                float *y = nbt_floats((size_t)(s.m * ldy));
                nb_qmatmul_args a = {l.q, &g, 1, backward, x, ldx, y, ldy, false, NB_COMPUTE_F32};
                l.k.qmatmul(&a);
                if (t == 0) {
                    first[l.i] = y;
                } else {
                    assert_true(nbt_same_bits(y, first[l.i], (size_t)(s.m * ldy)));
                    nbi_free(y);
                }
                drop(&w);
            }
        }
        for (int i = 0; i < NBT_MAX_LEVELS; i++)
            nbi_free(first[i]);
        nbi_free(x);
    }
}

/* Address space of which only what is touched becomes memory. */
static void *reserve(size_t n)
{
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* The last rows of a weight with more elements than 32 bits count. */
static void test_far_rows(void **state)
{
    (void)state;
    enum { K = 4096, BLOCK = 64, ROWS = 2 };
    const int64_t n = ((int64_t)1 << 20) + 3, count = n * K, from = count - ROWS * K;
    const size_t code_bytes = (size_t)count / 2, scale_bytes = (size_t)(count / BLOCK) * 4;
    uint8_t *codes = reserve(code_bytes);
    float *absmax = reserve(scale_bytes);
    uint16_t *dense = reserve((size_t)count * 2);
    if (!codes || !absmax || !dense)
        skip(); /* too little address space */
    float *x = nbt_random(ROWS * K, 3, 1.0), *plain = nbt_floats(ROWS * K);
    NBT_FOR_LEVELS(l, 2)
    {
        nb_qtensor w[2] = {{.kind = NB_QK_NF4, .dtype = NB_DT_F32, .n = n, .k = K, .data = codes},
                           nb_qtensor_dense(NB_DT_BF16, dense, n, K)};
        w[0].block = BLOCK;
        w[0].absmax = absmax;
        memcpy(w[0].book, nb_book_nf4, sizeof(w[0].book));
        nb_quantize4_args z = {l.q,      NB_QK_NF4, NB_DT_F32,        x,
                               ROWS * K, BLOCK,     codes + from / 2, absmax + from / BLOCK};
        l.k.quantize4(&z);
        for (int64_t i = 0; i < ROWS * K; i++)
            dense[from + i] = nb_f32_to_bf16(x[i]);
        for (int kd = 0; kd < 2; kd++) {
            for (int64_t i = 0; i < ROWS * K; i++)
                plain[i] = kd ? nb_bf16_to_f32(dense[from + i])
                              : code_value(&w[0], from + i) * absmax[(from + i) / BLOCK];
            float *out = nbt_floats(ROWS * K), *y = nbt_floats(ROWS), *dx = nbt_floats(K);
            nb_decode_args d = {l.q, &w[kd], n - ROWS, ROWS, 0, K, out, K};
            l.k.decode(&d);
            assert_true(nbt_same_bits(out, plain, ROWS * K));
            nb_qgroup g = {&w[kd], n - ROWS, ROWS, 0, 1};
            nb_qmatmul_args f = {l.q, &g, 1, false, x, K, y, ROWS, false, NB_COMPUTE_F32};
            l.k.qmatmul(&f);
            nb_qmatmul_args b = {l.q, &g, 1, true, y, ROWS, dx, K, false, NB_COMPUTE_F32};
            l.k.qmatmul(&b);
            weight view = {.t = {.k = K}, .plain = plain};
            nb_qgroup here = {NULL, 0, ROWS, 0, 1};
            nbt_within("far rows", worst_error(&view, &here, &f, NULL), 1.0);
            nbt_within("far rows, backward", worst_error(&view, &here, &b, NULL), 1.0);
            nbi_free(out);
            nbi_free(y);
            nbi_free(dx);
        }
    }
    nbi_free(x);
    nbi_free(plain);
    munmap(codes, code_bytes);
    munmap(absmax, scale_bytes);
    munmap(dense, (size_t)count * 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_decode),
                                       cmocka_unit_test(test_products),
                                       cmocka_unit_test(test_few_rows),
                                       cmocka_unit_test(test_row_alone_same_bits),
                                       cmocka_unit_test(test_dtypes_and_lowrank),
                                       cmocka_unit_test(test_threads_same_bits),
                                       cmocka_unit_test(test_far_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
