/* SPDX-License-Identifier: MIT */
/* The AdamW step with 8-bit moments against f64, and the search for the nearest code. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

static nb_dynamic8 books[2];

static int init_books(void **state)
{
    (void)state;
    nb_dynamic8_init(&books[0], true);
    nb_dynamic8_init(&books[1], false);
    return 0;
}

/* Distance of the code's value beyond that of the nearest entry of x's sign, relative to x. */
static double excess(const nb_dynamic8 *t, float x, uint8_t code)
{
    double best = INFINITY;
    for (int i = 0; i < 256; i++)
        if (x >= 0.0f ? t->value[i] >= 0.0f : t->value[i] < 0.0f)
            best = fmin(best, fabs((double)t->value[i] - (double)x));
    assert_true(x >= 0.0f ? t->value[code] >= 0.0f : t->value[code] < 0.0f);
    return (fabs((double)t->value[code] - (double)x) - best) / fmax(fabs((double)x), 1e-7);
}

/* The groups say the same as the map, up to two roundings of its largest term. */
static void test_groups(void **state)
{
    (void)state;
    for (int b = 0; b < 2; b++) {
        const nb_dynamic8 *t = &books[b];
        const float *v = t->value + (b == 0 ? 127 : 0);
        int at = 0;
        for (int g = 0; g < NB_DYNAMIC8_GROUPS; g++) {
            const int n = g == 0 || g == 8 ? 1 : b == 0 ? 1 << (g - 1) : 1 << g;
            assert_true(t->first[g] == (float)at && t->last[g] == (float)(at + n - 1));
            for (int i = 0; i < n; i++, at++)
                nbt_within("entry",
                           fabs((double)t->from[g] + (double)t->step[g] * i - (double)v[at]),
                           0x1p-22 * fabs((double)v[at]));
        }
        assert_int_equal(at, b == 0 ? 129 : 256);
        for (int i = 0; i + 1 < 256; i++)
            assert_true(t->value[i] < t->value[i + 1]);
    }
}

enum { N = 9003, BLOCKS = (N + 255) / 256, GUARD = 64 };

typedef struct moments {
    float *w, *m_scale, *v_scale;
    uint8_t *m, *v;
} moments;

static moments open_moments(const float *w)
{
    moments s = {nbt_copy(w, N), nbt_floats(BLOCKS + GUARD), nbt_floats(BLOCKS + GUARD),
                 nbi_calloc(NBI_MEM_OTHER, N + GUARD, 1), nbi_calloc(NBI_MEM_OTHER, N + GUARD, 1)};
    for (int i = 0; i < GUARD; i++) {
        s.m_scale[BLOCKS + i] = s.v_scale[BLOCKS + i] = -7.0f;
        s.m[N + i] = s.v[N + i] = 0xa5;
    }
    return s;
}

static void close_moments(moments *s)
{
    for (int i = 0; i < GUARD; i++) {
        assert_true(s->m_scale[BLOCKS + i] == -7.0f && s->v_scale[BLOCKS + i] == -7.0f);
        assert_true(s->m[N + i] == 0xa5 && s->v[N + i] == 0xa5);
    }
    nbi_free(s->w);
    nbi_free(s->m_scale);
    nbi_free(s->v_scale);
    nbi_free(s->m);
    nbi_free(s->v);
}

static nb_optim8_args args(const nbt_level *l, moments *s, const float *g, int64_t step)
{
    return (nb_optim8_args){.q = l->q,
                            .n = N,
                            .w = s->w,
                            .m = s->m,
                            .v = s->v,
                            .m_scale = s->m_scale,
                            .v_scale = s->v_scale,
                            .m_book = &books[0],
                            .v_book = &books[1],
                            .grad = g,
                            .grad_scale = 0.5,
                            .lr = 1e-3,
                            .beta1 = 0.9,
                            .beta2 = 0.999,
                            .eps = 1e-8,
                            .weight_decay = 0.1,
                            .step = step};
}

/* Gradients over many magnitudes; a block of zeros; a block that is tiny. */
static float *gradients(uint64_t seed)
{
    float *g = nbt_random(N, seed, 0.01);
    for (int i = 0; i < N; i++)
        g[i] *= powf(10.0f, (float)(-(i % 6)));
    for (int i = 512; i < 768; i++)
        g[i] = 0.0f;
    for (int i = 768; i < 1024; i++)
        g[i] *= 1e-18f; /* squares are subnormal */
    return g;
}

/* One step from the state before it, in f64: the weights, and codes nearest to the new moments. */
static void check_step(const moments *old, const moments *new, const float *g, double step)
{
    const double c1 = 1 - pow(0.9, step), c2 = sqrt(1 - pow(0.999, step));
    for (int i = 0; i < N; i++) {
        const int b = i / 256;
        const double d = 0.5 * (double)g[i];
        const double m0 = (double)books[0].value[old->m[i]] * (double)old->m_scale[b];
        const double v0 = (double)books[1].value[old->v[i]] * (double)old->v_scale[b];
        const double m = 0.9 * m0 + 0.1 * d, v = 0.999 * v0 + 0.001 * d * d;
        double w = (double)old->w[i] - 1e-3 * c2 / c1 * m / (sqrt(v) + c2 * 1e-8);
        w *= 1 - 1e-3 * 0.1;
        /* roundings of w, of the update (below 10 lr), and of m where its terms cancel */
        const double cancel = (fabs(m0) + fabs(d)) / (sqrt(v) + 1e-9);
        nbt_within("w", fabs((double)new->w[i] - w),
                   0x1p-22 * fabs(w) + 1e-3 * 0x1p-19 * (1 + cancel));
        const double ms = (double)new->m_scale[b], vs = (double)new->v_scale[b];
        const double m_slack = 0x1p-20 * (fabs(m0) + fabs(d)) + ms * 0x1p-22 + 0x1p-149;
        if (fabs(m) > ms + m_slack || v > vs * (1 + 0x1p-20) + 0x1p-147)
            fail_msg("scale of block %d", b);
        if (ms > 0 && fabs(m) > m_slack)
            nbt_within("m", excess(&books[0], (float)(m / ms), new->m[i]) * fabs(m),
                       4 * m_slack + 0x1p-21 * fabs(m));
        if (vs > 0x1p-120)
            nbt_within("v", excess(&books[1], (float)(v / vs), new->v[i]), 0x1p-19);
    }
}

static void test_step(void **state)
{
    (void)state;
    float *w0 = nbt_random(N, 1, 1.0);
    moments first = {0};
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            moments s = open_moments(w0);
            for (int64_t step = 1; step <= 4; step++) {
                float *g = gradients(10 + (uint64_t)step);
                moments old = open_moments(s.w);
                memcpy(old.m, s.m, N);
                memcpy(old.v, s.v, N);
                memcpy(old.m_scale, s.m_scale, BLOCKS * sizeof(float));
                memcpy(old.v_scale, s.v_scale, BLOCKS * sizeof(float));
                nb_optim8_args a = args(&l, &s, g, step);
                l.k.adamw8(&a);
                if (t == 0)
                    check_step(&old, &s, g, (double)step);
                close_moments(&old);
                nbi_free(g);
            }
            /* nothing but single operations: the same bits everywhere */
            if (first.w) {
                assert_memory_equal(s.w, first.w, N * sizeof(float));
                assert_memory_equal(s.m, first.m, N);
                assert_memory_equal(s.v, first.v, N);
                assert_memory_equal(s.m_scale, first.m_scale, BLOCKS * sizeof(float));
                assert_memory_equal(s.v_scale, first.v_scale, BLOCKS * sizeof(float));
                close_moments(&s);
            } else {
                first = s;
            }
        }
    close_moments(&first);
    nbi_free(w0);
}

/* f32 moments, as of small tensors, and parts of a tensor. */
static void test_small_and_parts(void **state)
{
    (void)state;
    float *w0 = nbt_random(N, 3, 1.0), *g = gradients(4);
    NBT_FOR_LEVELS(l, 2)
    {
        moments s = open_moments(w0), p = open_moments(w0);
        float *m = nbt_floats(N), *v = nbt_floats(N), *w = nbt_copy(w0, N);
        for (int step = 1; step <= 2; step++) {
            nb_optim8_args a = args(&l, &s, g, step), b = args(&l, &p, g, step), f = a;
            l.k.adamw8(&a);
            b.n = 1280;
            l.k.adamw8(&b);
            b = args(&l, &p, g + 1280, step);
            b.n = N - 1280;
            b.w = p.w + 1280;
            b.m = p.m + 1280;
            b.v = p.v + 1280;
            b.m_scale = p.m_scale + 5;
            b.v_scale = p.v_scale + 5;
            l.k.adamw8(&b);
            f.w = w;
            f.m = m;
            f.v = v;
            f.m_scale = f.v_scale = NULL;
            l.k.adamw8(&f);
            if (step == 1) /* from zero state: the step itself knows no codes */
                assert_memory_equal(w, s.w, N * sizeof(float));
        }
        assert_memory_equal(p.w, s.w, N * sizeof(float));
        assert_memory_equal(p.m, s.m, N);
        for (int i = 0; i < N; i++) {
            const double d = 0.5 * (double)g[i], want = 0.9 * 0.1 * d + 0.1 * d;
            nbt_within("m", fabs((double)m[i] - want), 0x1p-22 * fabs(want));
        }
        nbi_free(m);
        nbi_free(v);
        nbi_free(w);
        close_moments(&s);
        close_moments(&p);
    }
    nbi_free(w0);
    nbi_free(g);
}

static void test_not_finite(void **state)
{
    (void)state;
    float *w0 = nbt_random(N, 5, 1.0), *g = gradients(6);
    g[300] = NAN;
    g[N - 1] = INFINITY;
    NBT_FOR_LEVELS(l, 1)
    {
        moments s = open_moments(w0);
        nb_optim8_args a = args(&l, &s, g, 1);
        l.k.adamw8(&a);
        assert_true(isnan(s.w[300]) && isnan(s.w[N - 1]));
        assert_true(isfinite(s.w[299]) && isfinite(s.w[N - 2]));
        close_moments(&s);
    }
    nbi_free(w0);
    nbi_free(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups), cmocka_unit_test(test_step),
                                       cmocka_unit_test(test_small_and_parts),
                                       cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, init_books, NULL);
}
