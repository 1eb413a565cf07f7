/* SPDX-License-Identifier: MIT */
/* SGD, Lion (f32 and 8 bits) and Adafactor at every level and number of threads against f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

enum { N = 9003 };
static const double LR = 1e-3, SCALE = 0.5, DECAY = 0.1;

/* Same bits for any number of threads. */
static void same_as_first(float **first, const float *w, int64_t n)
{
    if (*first)
        assert_true(nbt_same_bits(*first, w, (size_t)n));
    else
        *first = nbt_copy(w, (size_t)n);
}

static void check_sgd(double momentum, double dampening, bool nesterov)
{
    float *w0 = nbt_random(N, 1, 1.0), *first[NBT_MAX_LEVELS] = {0};
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            float *w = nbt_copy(w0, N), *m = nbt_floats(N);
            double *W = malloc(N * 8), *M = calloc(N, 8);
            for (int i = 0; i < N; i++)
                W[i] = (double)w0[i];
            w[N] = m[N] = -7.0f;
            for (int64_t step = 1; step <= 4; step++) {
                float *g = nbt_random(N, 10 + (uint64_t)step, 1.0);
                nb_sgd_args a = {l.q,       N,     w,        momentum != 0 ? m : NULL,
                                 g,         SCALE, LR,       momentum,
                                 dampening, DECAY, nesterov, step};
                l.k.sgd(&a);
                for (int i = 0; i < N; i++) {
                    const double d = SCALE * (double)g[i] + DECAY * W[i];
                    M[i] = step == 1 ? d : momentum * M[i] + (1 - dampening) * d;
                    W[i] -= LR * (momentum == 0 ? d : nesterov ? d + momentum * M[i] : M[i]);
                    /* a rounding of w a step, and of the update of a few lr */
                    nbt_within("sgd", fabs((double)w[i] - W[i]),
                               (double)step * (0x1p-23 * fabs(W[i]) + LR * 0x1p-18));
                }
                nbi_free(g);
            }
            assert_true(w[N] == -7.0f && m[N] == -7.0f);
            same_as_first(&first[l.i], w, N);
            nbi_free(w), nbi_free(m), free(W), free(M);
        }
    for (int i = 0; i < NBT_MAX_LEVELS; i++)
        nbi_free(first[i]);
    nbi_free(w0);
}

static void test_sgd(void **state)
{
    (void)state;
    check_sgd(0, 0, false);
    check_sgd(0.9, 0, false);
    check_sgd(0.9, 0.3, false);
    check_sgd(0.9, 0, true);
}

/* Zero gradients: the moment dies out by exact powers, its sign stays; zero moments move nothing.
 */
static void test_lion(void **state)
{
    (void)state;
    float *w0 = nbt_random(N, 2, 1.0), *first[NBT_MAX_LEVELS] = {0};
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            float *w = nbt_copy(w0, N), *m = nbt_floats(N);
            double *W = malloc(N * 8), *M = calloc(N, 8);
            for (int i = 0; i < N; i++)
                W[i] = (double)w0[i];
            for (int64_t step = 1; step <= 4; step++) {
                float *g = nbt_random(N, 20 + (uint64_t)step, 1.0);
                for (int i = 0; i < N; i += 7)
                    g[i] = 0.0f;
                nb_lion_args a = {l.q, N, w, m, g, SCALE, LR, 0.9, 0.99, DECAY};
                l.k.lion(&a);
                for (int i = 0; i < N; i++) {
                    const double d = SCALE * (double)g[i], x = 0.9 * M[i] + (1 - 0.9) * d;
                    W[i] = W[i] * (1 - LR * DECAY) - LR * ((x > 0) - (x < 0));
                    M[i] = 0.99 * M[i] + (1 - 0.99) * d;
                    if (fabs(x) < 1e-6 * (fabs(M[i]) + fabs(d))) /* either sign */
                        W[i] = (double)w[i];
                    nbt_within("lion", fabs((double)w[i] - W[i]),
                               (double)step * (0x1p-22 * fabs(W[i]) + LR * 0x1p-22));
                    nbt_within("moment", fabs((double)m[i] - M[i]), 0x1p-22);
                }
                nbi_free(g);
            }
            same_as_first(&first[l.i], w, N);
            float nan = NAN, one = 1, zero = 0;
            nb_lion_args b = {l.q, 1, &one, &zero, &nan, 1, LR, 0.9, 0.99, 0};
            l.k.lion(&b);
            assert_true(isnan(one));
            nbi_free(w), nbi_free(m), free(W), free(M);
        }
    for (int i = 0; i < NBT_MAX_LEVELS; i++)
        nbi_free(first[i]);
    nbi_free(w0);
}

typedef struct code_state {
    float w[N], scale[(N + 255) / 256 + 1], m[N]; /* m: what the codes stand for */
    uint8_t codes[N + 16];
} code_state;

/* The moment that codes hold, in f64, goes on as Lion says; new codes are the nearest of its sign.
 */
static void check_codes(const nb_dynamic8 *book, const code_state *old, const code_state *s,
                        const float *g)
{
    for (int i = 0; i < N; i++) {
        const double d = SCALE * (double)g[i], m0 = (double)old->m[i];
        const double x = 0.9 * m0 + (1 - 0.9) * d, m = 0.99 * m0 + (1 - 0.99) * d;
        const double w = (double)old->w[i] * (1 - LR * DECAY) - LR * ((x > 0) - (x < 0));
        if (fabs(x) > 1e-6 * (fabs(m0) + fabs(d)))
            nbt_within("w", fabs((double)s->w[i] - w), 0x1p-22 * fabs(w) + LR * 0x1p-22);
        const double top = (double)s->scale[i / 256], unit = top > 0 ? m / top : 0;
        double best = INFINITY;
        for (int c = 0; c < 256; c++)
            if (unit < 0 ? book->value[c] < 0.0f : book->value[c] >= 0.0f)
                best = fmin(best, fabs((double)book->value[c] - unit));
        const double slack = 0x1p-20 * (fabs(m0) + fabs(d)) / (top > 0 ? top : 1) + 0x1p-20;
        assert_true(fabs(unit) <= 1 + slack);
        if (fabs(unit) > slack)
            nbt_within("code", fabs((double)book->value[s->codes[i]] - unit) - best, slack);
    }
}

static void test_lion8(void **state)
{
    (void)state;
    static nb_dynamic8 book;
    static code_state s, old, first;
    nb_dynamic8_init(&book, true);
    bool ran = false;
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            float *w0 = nbt_random(N, 3, 1.0), *m = nbt_floats(N), *w = nbt_copy(w0, N);
            memset(&s, 0, sizeof s);
            memcpy(s.w, w0, sizeof s.w);
            memset(s.codes, 127, N);
            memset(s.codes + N, 0xa5, 16);
            for (uint64_t step = 1; step <= 3; step++) {
                float *g = nbt_random(N, 30 + step, 1.0);
                for (int i = 0; i < N; i++)
                    g[i] *= i / 256 == 3 ? 0.0f : powf(10.0f, (float)-(i % 5));
                old = s;
                nb_optim8_args a = {.q = l.q,
                                    .n = N,
                                    .w = s.w,
                                    .m = s.codes,
                                    .m_scale = s.scale,
                                    .m_book = &book,
                                    .grad = g,
                                    .grad_scale = SCALE,
                                    .lr = LR,
                                    .beta1 = 0.9,
                                    .beta2 = 0.99,
                                    .weight_decay = DECAY};
                nb_optim8_args f = a;
                l.k.lion8(&a);
                for (int i = 0; i < N; i++)
                    s.m[i] = book.value[s.codes[i]] * s.scale[i / 256];
                if (t == 0)
                    check_codes(&book, &old, &s, g);
                f.w = w, f.m = m, f.m_scale = NULL;
                l.k.lion8(&f);
                if (step == 1) /* from zero state: the step itself knows no codes */
                    assert_true(nbt_same_bits(w, s.w, N));
                nbi_free(g);
            }
            assert_int_equal(s.codes[N], 0xa5);
            assert_true(s.scale[(N + 255) / 256] == 0.0f);
            if (ran) /* single operations only: the same bits everywhere */
                assert_memory_equal(&s, &first, sizeof s);
            first = s;
            ran = true;
            nbi_free(w0), nbi_free(m), nbi_free(w);
        }
}

typedef struct factored {
    int64_t rows, cols;
    bool vector;
    double lr, beta1, beta2, clip;
    double *w, *m, *row, *col;
} factored;

/* The class's formulas, in double. */
static void exact_adafactor(const factored *f, const float *g)
{
    const int64_t n = f->rows * f->cols;
    double mean = 0, size = 0, *u = malloc((size_t)n * 8);
    for (int64_t r = 0; !f->vector && r < f->rows; r++) {
        double sum = 0;
        for (int64_t c = 0; c < f->cols; c++)
            sum += pow(SCALE * (double)g[r * f->cols + c], 2) + 1e-30;
        f->row[r] = f->beta2 * f->row[r] + (1 - f->beta2) * sum / (double)f->cols;
        mean += f->row[r] / (double)f->rows;
    }
    for (int64_t c = 0; c < f->cols; c++) {
        double sum = 0;
        for (int64_t r = 0; r < f->rows; r++)
            sum += pow(SCALE * (double)g[r * f->cols + c], 2) + 1e-30;
        f->col[c] = f->beta2 * f->col[c] + (1 - f->beta2) * sum / (double)f->rows;
    }
    for (int64_t i = 0; i < n; i++) {
        const double r = f->vector ? 1 : f->row[i / f->cols] / mean;
        u[i] = SCALE * (double)g[i] / sqrt(r) / sqrt(f->col[i % f->cols]);
        size += u[i] * u[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        u[i] *= f->lr / fmax(1, sqrt(size) / f->clip);
        f->m[i] = f->beta1 * f->m[i] + (1 - f->beta1) * u[i];
        f->w[i] += -DECAY * f->lr * f->w[i] - (f->beta1 > 0 ? f->m[i] : u[i]);
    }
    free(u);
}

static void check_adafactor(int64_t rows, int64_t cols, bool vector, double beta1)
{
    const int64_t n = rows * cols;
    float *w0 = nbt_random((size_t)n, 4, 1.0), *first[NBT_MAX_LEVELS] = {0};
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            factored f = {rows,
                          cols,
                          vector,
                          LR,
                          beta1,
                          0,
                          1,
                          calloc((size_t)n, 8),
                          calloc((size_t)n, 8),
                          calloc((size_t)rows, 8),
                          calloc((size_t)cols, 8)};
            float *w = nbt_copy(w0, (size_t)n), *m = nbt_floats((size_t)n);
            float *row = nbt_floats((size_t)rows), *col = nbt_floats((size_t)cols);
            float *factor = nbt_floats((size_t)cols);
            w[n] = m[n] = row[rows] = col[cols] = factor[cols] = -7.0f;
            for (int64_t i = 0; i < n; i++)
                f.w[i] = (double)w0[i];
            for (int step = 1; step <= 3; step++) {
                float *g = nbt_random((size_t)n, 40 + (uint64_t)step, 1.0);
                for (int64_t i = 0; i < n; i++)
                    g[i] *= powf(3.0f, (float)-(i % cols % 5));
                f.beta2 = 1 - pow(step, -0.8);
                f.clip = step == 2 ? 0.3 : 1;
                exact_adafactor(&f, g);
                nb_adafactor_args a = {l.q,
                                       rows,
                                       cols,
                                       w,
                                       beta1 > 0 ? m : NULL,
                                       vector ? NULL : row,
                                       col,
                                       factor,
                                       g,
                                       SCALE,
                                       LR,
                                       beta1,
                                       f.beta2,
                                       1e-30,
                                       f.clip,
                                       DECAY};
                l.k.adafactor(&a);
                for (int64_t i = 0; i < n; i++) {
                    /* an element's update is at most lr times the root of n */
                    const double most = LR * sqrt((double)n);
                    nbt_within("adafactor", fabs((double)w[i] - f.w[i]),
                               step * (0x1p-22 * fabs(f.w[i]) + most * 0x1p-20));
                }
                nbi_free(g);
            }
            assert_true(w[n] == -7.0f && m[n] == -7.0f && row[rows] == -7.0f);
            assert_true(col[cols] == -7.0f && factor[cols] == -7.0f);
            same_as_first(&first[l.i], w, n);
            nbi_free(w), nbi_free(m), nbi_free(row), nbi_free(col), nbi_free(factor);
            free(f.w), free(f.m), free(f.row), free(f.col);
        }
    for (int i = 0; i < NBT_MAX_LEVELS; i++)
        nbi_free(first[i]);
    nbi_free(w0);
}

static void test_adafactor(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1},    {1, 7},   {5, 1},     {37, 129},
                                        {16, 999}, {801, 8}, {3, 20001}, {67, 301}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_adafactor(shapes[i][0], shapes[i][1], false, i % 2 ? 0.9 : 0);
    check_adafactor(1, 1, true, 0);
    check_adafactor(1, 1003, true, 0);
    check_adafactor(1, 1003, true, 0.9);
}

static void test_not_finite(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    {
        enum { R = 5, C = 9 };
        float *w = nbt_random(R * C, 5, 1.0), *g = nbt_random(R * C, 6, 1.0);
        float row[R] = {0}, col[C] = {0}, factor[C];
        g[13] = NAN;
        nb_adafactor_args a = {l.q, R, C, w, NULL, row, col, factor, g, 1, LR, 0, 0, 1e-30, 1, 0};
        l.k.adafactor(&a);
        assert_true(isnan(w[13]));
        nbi_free(w), nbi_free(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgd), cmocka_unit_test(test_lion), cmocka_unit_test(test_lion8),
        cmocka_unit_test(test_adafactor), cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
