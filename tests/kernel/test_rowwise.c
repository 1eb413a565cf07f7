/* SPDX-License-Identifier: MIT */
/* Normalisation, activations, rotation, dropout and small operations at every level against f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

static const double ULP = 0x1p-23;

static void test_rmsnorm(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {5, 7}, {33, 64}, {4, 1000}, {0, 8}};
    for (size_t s = 0; s < 5; s++) {
        const int64_t rows = shapes[s][0], d = shapes[s][1];
        float *x = nbt_random((size_t)(rows * d), s, 3.0), *w = nbt_random((size_t)d, 9, 1.0);
        NBT_FOR_LEVELS(l, 2)
        {
            float *y = nbt_copy(x, (size_t)(rows * d)), *rstd = nbt_floats((size_t)rows);
            nb_rmsnorm_args a = {l.q, rows, d, y, w, 0.5f, 1e-6f, y, rstd}; /* in place */
            l.k.rmsnorm(&a);
            for (int64_t i = 0; i < rows; i++) {
                double sq = 0;
                for (int64_t c = 0; c < d; c++)
                    sq += (double)x[i * d + c] * (double)x[i * d + c];
                const double r = 1.0 / sqrt(sq / (double)d + (double)1e-6f);
                nbt_within("rstd", fabs((double)rstd[i] - r), ULP * r);
                for (int64_t c = 0; c < d; c++) {
                    const double want = (double)x[i * d + c] * r * ((double)w[c] + 0.5);
                    /* w + offset may cancel: its rounding counts in full */
                    const double size = fabs((double)x[i * d + c]) * r * (fabs((double)w[c]) + 0.5);
                    nbt_within("rmsnorm", fabs((double)y[i * d + c] - want), 2 * ULP * size);
                }
            }
            nbi_free(y);
            nbi_free(rstd);
        }
        nbi_free(x);
        nbi_free(w);
    }
}

/* A sum of squares beyond f32 keeps its digits. */
static void test_rmsnorm_large(void **state)
{
    (void)state;
    float x[20], w[20], y[20], rstd;
    for (int i = 0; i < 20; i++) {
        x[i] = 1e25f;
        w[i] = 1.0f;
    }
    NBT_FOR_LEVELS(l, 1)
    {
        nb_rmsnorm_args a = {l.q, 1, 20, x, w, 0.0f, 1e-6f, y, &rstd};
        l.k.rmsnorm(&a);
        nbt_within("rmsnorm of 1e25", fabs((double)y[19] - 1.0), 2 * ULP);
        x[3] = NAN;
        l.k.rmsnorm(&a);
        for (int i = 0; i < 20; i++)
            assert_true(isnan(y[i]));
        x[3] = 1e25f;
    }
}

static double act(nb_act a, double g)
{
    if (a == NB_ACT_SILU)
        return g / (1 + exp(-g));
    if (a == NB_ACT_GELU_ERF)
        return 0.5 * g * erfc(-g / sqrt(2.0));
    return g / (1 + exp(-2 * sqrt(2.0 / M_PI) * (g + 0.044715 * g * g * g)));
}

static void test_glu(void **state)
{
    (void)state;
    enum { N = 9001 };
    float *g = nbt_random(N, 1, 3.0), *u = nbt_random(N, 2, 1.0);
    g[0] = 80.0f;
    g[1] = -80.0f;
    g[2] = 0.0f;
    g[3] = 1e-30f;
    NBT_FOR_LEVELS(l, 2)
    {
        for (nb_act a = NB_ACT_SILU; a <= NB_ACT_GELU_ERF; a++) {
            float *h = nbt_copy(g, N); /* in place of g */
            nb_glu_args b = {l.q, a, N, h, u, h};
            l.k.glu(&b);
            for (int i = 0; i < N; i++) {
                const double want = act(a, (double)g[i]) * (double)u[i];
                /* the exponent's own rounding shows where the gate is nearly closed */
                const double slack = 6 + 6 * fabs((double)g[i]) * (1 + (double)(g[i] * g[i]));
                nbt_within("glu", fabs((double)h[i] - want), ULP * slack * fabs(want) + 1e-37);
            }
            nbi_free(h);
        }
        float h, bad = NAN, one = 1.0f;
        nb_glu_args b = {l.q, NB_ACT_SILU, 1, &bad, &one, &h};
        l.k.glu(&b);
        assert_true(isnan(h));
    }
    nbi_free(g);
    nbi_free(u);
}

/* d act / dg */
static double slope(nb_act a, double g)
{
    const double k = sqrt(2.0 / M_PI);
    if (a == NB_ACT_GELU_ERF)
        return 0.5 * erfc(-g / sqrt(2.0)) + 0.5 * k * g * exp(-0.5 * g * g);
    const double x = a == NB_ACT_SILU ? g : 2 * k * (g + 0.044715 * g * g * g);
    const double dx = a == NB_ACT_SILU ? 1 : 2 * k * (1 + 3 * 0.044715 * g * g);
    const double s = 1 / (1 + exp(-x));
    return s + g * s * (1 - s) * dx;
}

static void test_glu_bwd(void **state)
{
    (void)state;
    enum { N = 9001 };
    float *g = nbt_random(N, 1, 3.0), *u = nbt_random(N, 2, 1.0), *dh = nbt_random(N, 3, 1.0);
    g[0] = 1e15f; /* its square is finite */
    g[1] = -1e15f;
    g[2] = 0.0f;
    g[3] = -95.0f;
    g[4] = 88.5f;
    g[5] = -88.5f;
    g[6] = -12.0f;
    NBT_FOR_LEVELS(l, 2)
    for (nb_act a = NB_ACT_SILU; a <= NB_ACT_GELU_ERF; a++) {
        float *dg = nbt_floats(N), *du = nbt_floats(N), *h = nbt_floats(N), *h2 = nbt_floats(N);
        nb_glu_bwd_args b = {l.q, a, N, g, u, dh, dg, du, h};
        l.k.glu_bwd(&b);
        nb_glu_args c = {l.q, a, N, g, u, h2};
        l.k.glu(&c);
        assert_true(nbt_same_bits(h, h2, N));
        for (int i = 0; i < N; i++) {
            const double x = (double)g[i], y = fabs(x) < 1e3 ? x : copysign(1e3, x);
            const double d = (double)dh[i], v = (double)u[i],
                         f = fabs(x) < 1e3 ? act(a, x) : fmax(x, 0);
            const double s = slope(a, y), slack = 6 + 6 * fabs(y) * (1 + y * y);
            nbt_within("du", fabs((double)du[i] - d * f), ULP * slack * fabs(d * f) + 1e-37);
            /* the slope's terms may cancel: their roundings count in full */
            nbt_within("dg", fabs((double)dg[i] - d * v * s),
                       ULP * fabs(d * v) * (8 + fmin(slack, 100) * fabs(s)) + 1e-37);
        }
        nbi_free(dg);
        nbi_free(du);
        nbi_free(h);
        nbi_free(h2);
    }
    nbi_free(g);
    nbi_free(u);
    nbi_free(dh);
}

static void test_rope(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {{6, 3, 8, 4}, {5, 2, 40, 10}, {3, 1, 256, 128}};
    for (size_t s = 0; s < 3; s++) {
        const int64_t rows = shapes[s][0], heads = shapes[s][1], p = shapes[s][2],
                      half = shapes[s][3];
        const size_t n = (size_t)(rows * heads * p);
        int32_t pos[] = {0, 5, 100000, 7, 1, 2};
        float inv[128], *x = nbt_random(n, s, 1.0), *cs = nbt_floats((size_t)(rows * half * 2));
        for (int64_t j = 0; j < half; j++)
            inv[j] = powf(10000.0f, -(float)j / (float)half);
        NBT_FOR_LEVELS(l, 2)
        {
            float *y = nbt_copy(x, n);
            nb_rope_table_args t = {l.q, rows, half, pos, inv, 1.5f, cs};
            l.k.rope_table(&t);
            nb_rope_args a = {l.q, rows, heads, p, half, y, cs, false};
            l.k.rope(&a);
            for (int64_t i = 0; i < rows; i++)
                for (int64_t h = 0; h < heads; h++)
                    for (int64_t c = 0; c < p; c++) {
                        const float *xr = x + (i * heads + h) * p;
                        const float got = y[(i * heads + h) * p + c];
                        if (c >= 2 * half) {
                            assert_true(got == xr[c]);
                            continue;
                        }
                        const int64_t j = c % half;
                        /* the angle is an f32 product by contract */
                        const double angle = (double)((float)pos[i] * inv[j]);
                        const double u = (double)xr[j], v = (double)xr[j + half];
                        const double want = c < half ? u * cos(angle) - v * sin(angle)
                                                     : v * cos(angle) + u * sin(angle);
                        nbt_within("rope", fabs((double)got - 1.5 * want),
                                   2 * 1.5 * ULP * (fabs(u) + fabs(v)));
                    }
            /* back: the factor 1.5 comes twice */
            a.inverse = true;
            l.k.rope(&a);
            for (size_t i = 0; i < n; i++)
                if ((int64_t)(i % (size_t)p) < 2 * half)
                    nbt_within("inverse rope", fabs((double)y[i] - 2.25 * (double)x[i]), 20 * ULP);
            nbi_free(y);
        }
        nbi_free(x);
        nbi_free(cs);
    }
}

static void test_small_ones(void **state)
{
    (void)state;
    enum { R = 70, D = 131, LD = 133 };
    float *x = nbt_random(R * LD, 1, 1.0), *y0 = nbt_random(R * LD, 2, 1.0);
    float *b = nbt_random(D, 3, 1.0);
    NBT_FOR_LEVELS(l, 3)
    {
        float *y = nbt_copy(y0, R * LD), *db = nbt_copy(b, D);
        nb_axpy_args a = {l.q, R * LD, -0.3f, x, y, true};
        l.k.axpy(&a);
        for (int i = 0; i < R * LD; i++) {
            nbt_within("axpy", fabs((double)y[i] - ((double)y0[i] + (double)-0.3f * (double)x[i])),
                       ULP * (1 + fabs((double)x[i]) + fabs((double)y0[i])));
        }
        a.accumulate = false;
        a.x = y; /* y is x */
        a.alpha = 2.0f;
        float *before = nbt_copy(y, R * LD);
        l.k.axpy(&a);
        for (int i = 0; i < R * LD; i++)
            assert_true(y[i] == 2.0f * before[i]);
        nb_bias_args c = {l.q, R, D, b, y, LD};
        l.k.bias(&c);
        for (int i = 0; i < R * LD; i++)
            assert_true(y[i] == 2.0f * before[i] + (i % LD < D ? b[i % LD] : 0.0f));
        nb_bias_bwd_args e = {l.q, R, D, x, LD, db};
        l.k.bias_bwd(&e);
        for (int j = 0; j < D; j++) {
            double sum = 0;
            for (int r = 0; r < R; r++)
                sum += (double)x[r * LD + j];
            nbt_within("bias_bwd", fabs((double)db[j] - sum - (double)b[j]),
                       ULP * (fabs(sum) + fabs((double)b[j])));
        }
        nbi_free(before);
        nbi_free(y);
        nbi_free(db);
    }
    nbi_free(x);
    nbi_free(y0);
    nbi_free(b);
}

/* The mask as the contract defines it, one element at a time. */
static bool kept(const nb_dropout_args *a, int64_t r, int64_t c)
{
    uint32_t key[4], u[4];
    const uint32_t seed[2] = {(uint32_t)a->seed, (uint32_t)(a->seed >> 32)};
    const uint32_t purpose[4] = {NBI_RNG_DROPOUT, a->site, 0, 0};
    nbi_philox(purpose, seed, key);
    const uint32_t ctr[4] = {(uint32_t)(c / 4), (uint32_t)a->token[r], (uint32_t)a->example[r],
                             a->epoch};
    nbi_philox(ctr, key, u);
    return (float)(u[c % 4] >> 8) * 0x1p-24f >= a->p;
}

static void test_noise(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{1, 1}, {3, 5}, {7, 64}, {33, 67}};
    for (size_t n = 0; n < 4; n++) {
        const int64_t rows = shapes[n][0], d = shapes[n][1];
        float *x = nbt_random((size_t)(rows * d), n, 1.0);
        int32_t example[33], token[33];
        for (int i = 0; i < 33; i++)
            example[i] = i / 5, token[i] = i % 5;
        uint32_t key[4];
        const uint64_t seed = 0x123456789abcdef0u;
        nbi_philox((uint32_t[4]){NBI_RNG_NEFTUNE}, (uint32_t[2]){(uint32_t)seed, seed >> 32}, key);
        for (int t = 0; t < NBT_THREAD_COUNTS; t++)
            NBT_FOR_LEVELS(l, nbt_thread_counts[t])
            {
                float *y = nbt_copy(x, (size_t)(rows * d));
                y[rows * d] = -7.0f;
                nb_noise_args a = {l.q, rows, d, y, 0.25f, seed, 3, example, token};
                l.k.noise(&a);
                for (int64_t r = 0; r < rows; r++)
                    for (int64_t c = 0; c < d; c++) {
                        uint32_t w[4];
                        nbi_philox((uint32_t[4]){(uint32_t)c / 4, (uint32_t)token[r],
                                                 (uint32_t)example[r], 3},
                                   key, w);
                        const float u = (float)(w[c % 4] >> 8) * 0x1p-24f;
                        assert_true(y[r * d + c] == x[r * d + c] + (2 * u - 1) * 0.25f);
                    }
                assert_true(y[rows * d] == -7.0f);
                nbi_free(y);
            }
        nbi_free(x);
    }
}

static void test_dropout(void **state)
{
    (void)state;
    enum { R = 50, D = 203 };
    float *x = nbt_random(R * D, 1, 1.0), *y = nbt_floats(R * D);
    int32_t example[R], token[R];
    for (int i = 0; i < R; i++) {
        example[i] = i / 7;
        token[i] = i % 7;
    }
    static const float rates[] = {0.0f, 0.1f, 0.5f, 0.93f};
    for (int n = 0; n < 4; n++)
        NBT_FOR_LEVELS(l, 2)
        {
            nb_dropout_args a = {l.q, R, D,       x,    y, rates[n], 0x123456789abcdef0u,
                                 3,   1, example, token};
            l.k.dropout(&a);
            int64_t count = 0;
            for (int64_t i = 0; i < R * D; i++) {
                const bool keep = kept(&a, i / D, i % D);
                assert_true(y[i] == (keep ? x[i] * (1.0f / (1.0f - rates[n])) : 0.0f));
                count += keep;
            }
            const double q = 1 - (double)rates[n], m = R * D;
            nbt_within("share kept", fabs((double)count / m - q), 5 * sqrt(q * (1 - q) / m));
            /* a row keeps its mask wherever it stands */
            float one[D];
            nb_dropout_args b = a;
            b.rows = 1;
            b.x = x + 33 * D;
            b.y = one;
            b.example = example + 33;
            b.token = token + 33;
            l.k.dropout(&b);
            assert_true(nbt_same_bits(one, y + 33 * D, D));
        }
    nbi_free(x);
    nbi_free(y);
}

static void test_embedding(void **state)
{
    (void)state;
    enum { V = 11, D = 70, R = 25 };
    float *t = nbt_random(V * D, 1, 1.0), *dy = nbt_random(R * D, 2, 1.0), *y = nbt_floats(R * D);
    uint16_t h[V * D], f[V * D];
    int32_t ids[R];
    for (int i = 0; i < V * D; i++) {
        h[i] = nb_f32_to_bf16(t[i]);
        f[i] = nb_f32_to_f16(t[i]);
    }
    for (int i = 0; i < R; i++)
        ids[i] = (i * 7) % (V - 1);
    NBT_FOR_LEVELS(l, 2)
    {
        const void *tables[] = {t, f, h};
        static const nb_dtype dtypes[] = {NB_DT_F32, NB_DT_F16, NB_DT_BF16};
        for (int n = 0; n < 3; n++) {
            nb_embed_args a = {l.q, R, D, dtypes[n], tables[n], ids, y};
            l.k.embed(&a);
            for (int i = 0; i < R * D; i++) {
                const int at = ids[i / D] * D + i % D;
                assert_true(y[i] == (n == 0   ? t[at]
                                     : n == 1 ? nb_f16_to_f32(f[at])
                                              : nb_bf16_to_f32(h[at])));
            }
        }
        float *dt = nbt_copy(t, V * D), *want = nbt_copy(t, V * D);
        nb_embed_bwd_args b = {l.q, R, D, ids, dy, dt};
        l.k.embed_bwd(&b);
        for (int i = 0; i < R * D; i++)
            want[ids[i / D] * D + i % D] += dy[i];
        assert_true(nbt_same_bits(dt, want, V * D));
        nbi_free(dt);
        nbi_free(want);
    }
    nbi_free(t);
    nbi_free(dy);
    nbi_free(y);
}

/* Sums over rows and in-row sums do not know how many threads there are. */
static void test_threads_same_bits(void **state)
{
    (void)state;
    enum { R = 70, D = 300 };
    float *x = nbt_random(R * D, 1, 1.0), *dy = nbt_random(R * D, 2, 1.0), *w = nbt_random(D, 3, 1);
    float first[NBT_MAX_LEVELS][2 * R * D + R + D];
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            float *all = nbt_floats(2 * R * D + R + D);
            float *y = all, *dx = y + R * D, *rstd = dx + R * D, *dw = rstd + R;
            nb_rmsnorm_args a = {l.q, R, D, x, w, 0.0f, 1e-6f, y, rstd};
            l.k.rmsnorm(&a);
            nb_rmsnorm_bwd_args b = {l.q, R, D, x, w, rstd, dy, 0.0f, dx, false, dw};
            l.k.rmsnorm_bwd(&b);
            nb_bias_bwd_args c = {l.q, R, D, dy, D, dw};
            l.k.bias_bwd(&c);
            if (t == 0)
                memcpy(first[l.i], all, sizeof(first[0]));
            else
                assert_true(nbt_same_bits(all, first[l.i], 2 * R * D + R + D));
            nbi_free(all);
        }
    nbi_free(x);
    nbi_free(dy);
    nbi_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm),   cmocka_unit_test(test_rmsnorm_large),
        cmocka_unit_test(test_glu),       cmocka_unit_test(test_glu_bwd),
        cmocka_unit_test(test_rope),      cmocka_unit_test(test_small_ones),
        cmocka_unit_test(test_dropout),   cmocka_unit_test(test_noise),
        cmocka_unit_test(test_embedding), cmocka_unit_test(test_threads_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
