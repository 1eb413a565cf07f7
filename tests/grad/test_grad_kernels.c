/* SPDX-License-Identifier: MIT */
/* Gradient kernels at every level against central differences of their forward formulas in f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/attention_naive.h"

/* Steps of 1e-4 in f64: truncation about 1e-8 of the third derivative. */
#define STEP 1e-4

typedef double loss_fn(void *user);

static double slope(double *x, loss_fn *loss, void *user)
{
    const double kept = *x;
    *x = kept + STEP;
    const double up = loss(user);
    *x = kept - STEP;
    const double down = loss(user);
    *x = kept;
    return (up - down) / (2 * STEP);
}

/* ---- attention ---- */

typedef struct attention_case {
    int64_t heads, kv_heads, p, window;
    float softcap, sharp;
    nb_attn_segment seg[2];
    int64_t n_seg, q_rows, k_rows, gap;
} attention_case;

static const attention_case attention_cases[] = {
    {2, 1, 8, 0, 0, 1, {{0, 7, 0, 7, 0, NULL, 0}, {7, 70, 7, 70, 0, NULL, 0}}, 2, 77, 77, 0},
    {2, 2, 20, 30, 0, 2, {{0, 100, 0, 100, 0, NULL, 0}}, 1, 100, 100, 1},
    {4, 2, 16, 0, 5, 4, {{0, 66, 0, 66, 0, NULL, 0}}, 1, 66, 66, 0},
    {3, 1, 33, 5, 3, 3, {{0, 10, 0, 80, 70, NULL, 0}, {10, 3, 80, 9, 6, NULL, 0}}, 2, 13, 89, 2},
    {1, 1, 256, 0, 0, 1, {{0, 66, 0, 66, 0, NULL, 0}}, 1, 66, 66, 0}};

typedef struct attention_loss {
    const nb_attention_args *a;
    double *q, *k, *v, *out, *lse;
    const float *dout;
    int64_t rows;
} attention_loss;

static double attention_value(void *user)
{
    attention_loss *s = user;
    const int64_t d = s->a->heads * s->a->p;
    naive_attention(s->a, s->q, s->k, s->v, s->out, s->lse, NULL);
    double sum = 0;
    for (int64_t i = 0; i < s->rows; i++)
        for (int64_t c = 0; c < d; c++)
            sum += s->out[i * d + c] * (double)s->dout[i * s->a->ldo + c];
    return sum;
}

/* About `wanted` elements spread over [rows, width] with stride ld; relative to the largest. */
static double compare(const float *grad, double *x, int64_t rows, int64_t width, int64_t ld,
                      int wanted, loss_fn *loss, void *user)
{
    double worst = 0, top = 0;
    const int64_t n = rows * width, hop = n / wanted + 1;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, fabs((double)grad[i / width * ld + i % width]));
    for (int64_t i = 0; i < n; i += hop) {
        const int64_t at = i / width * ld + i % width;
        worst = nbt_worse(worst, fabs(slope(&x[at], loss, user) - (double)grad[at]));
    }
    return worst / fmax(top, 1e-3);
}

static void check_attention(nbt_level *l, const attention_case *c)
{
    nb_attention_bwd_args b = {.fwd = {.q_ = l->q,
                                       .segments = c->seg,
                                       .n_segments = c->n_seg,
                                       .heads = c->heads,
                                       .kv_heads = c->kv_heads,
                                       .p = c->p,
                                       .window = c->window,
                                       .softcap = c->softcap}};
    nb_attention_args *a = &b.fwd;
    const int64_t d = c->heads * c->p, g = c->kv_heads * c->p;
    a->scale = c->sharp / sqrtf((float)c->p);
    a->ldq = d + c->gap;
    a->ldk = g + c->gap;
    a->ldv = g + 2 * c->gap;
    b.lddo = a->ldo = d + 3 * c->gap;
    const size_t nq = (size_t)(c->q_rows * a->ldq), nk = (size_t)(c->k_rows * a->ldk),
                 nv = (size_t)(c->k_rows * a->ldv), no = (size_t)(c->q_rows * a->ldo);
    float *q = nbt_random(nq, 1, 1.0), *k = nbt_random(nk, 2, 1.0), *v = nbt_random(nv, 3, 1.0);
    float *out = nbt_floats(no), *lse = nbt_floats((size_t)(c->q_rows * c->heads));
    float *dout = nbt_random(no, 4, 1.0), *delta = nbt_floats((size_t)(c->q_rows * c->heads));
    a->q = q;
    a->k = k;
    a->v = v;
    a->out = out;
    a->lse = lse;
    b.dout = dout;
    b.delta = delta;
    b.dq = nbt_random(nq, 5, 1.0); /* assigned, so what is there must not matter */
    b.dk = nbt_random(nk, 6, 1.0);
    b.dv = nbt_random(nv, 7, 1.0);
    l->k.attention(a);
    l->k.attention_bwd(&b);
    attention_loss s = {a,
                        naive_widen(q, nq),
                        naive_widen(k, nk),
                        naive_widen(v, nv),
                        calloc((size_t)(c->q_rows * d), sizeof(double)),
                        calloc((size_t)(c->q_rows * c->heads), sizeof(double)),
                        dout,
                        c->q_rows};
    const double allowed = 0x1p-24 * 100;
    const int probes = c->p > 64 ? 12 : 60; /* each costs two passes in f64 */
    nbt_within("dq", compare(b.dq, s.q, c->q_rows, d, a->ldq, probes, attention_value, &s),
               allowed);
    nbt_within("dk", compare(b.dk, s.k, c->k_rows, g, a->ldk, probes, attention_value, &s),
               allowed);
    nbt_within("dv", compare(b.dv, s.v, c->k_rows, g, a->ldv, probes, attention_value, &s),
               allowed);
    float *const owned[] = {q, k, v, out, lse, dout, delta, b.dq, b.dk, b.dv};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        nbi_free(owned[i]);
    double *const wide[] = {s.q, s.k, s.v, s.out, s.lse};
    for (size_t i = 0; i < sizeof(wide) / sizeof(wide[0]); i++)
        free(wide[i]);
}

static void test_attention(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(attention_cases) / sizeof(attention_cases[0]); i++)
        NBT_FOR_LEVELS(l, 2)
        {
            check_attention(&l, &attention_cases[i]);
        }
}

/* ---- rmsnorm ---- */

typedef struct norm_loss {
    int64_t rows, d;
    double *x, *w, offset, eps;
    const float *dy;
} norm_loss;

static double norm_value(void *user)
{
    norm_loss *s = user;
    double sum = 0;
    for (int64_t i = 0; i < s->rows; i++) {
        double sq = 0;
        for (int64_t c = 0; c < s->d; c++)
            sq += s->x[i * s->d + c] * s->x[i * s->d + c];
        const double rstd = 1.0 / sqrt(sq / (double)s->d + s->eps);
        for (int64_t c = 0; c < s->d; c++)
            sum += s->x[i * s->d + c] * rstd * (s->w[c] + s->offset) * (double)s->dy[i * s->d + c];
    }
    return sum;
}

static void check_rmsnorm(nbt_level *l, int64_t rows, int64_t d, bool accumulate, bool in_place)
{
    const size_t n = (size_t)(rows * d);
    float *x = nbt_random(n, 1, 0.7), *w = nbt_random((size_t)d, 2, 0.3);
    float *dy = nbt_random(n, 3, 1.0), *y = nbt_floats(n), *rstd = nbt_floats((size_t)rows);
    float *dx0 = nbt_random(n, 4, 1.0), *dx = nbt_copy(in_place ? dy : dx0, n);
    float *dw0 = nbt_random((size_t)d, 5, 1.0), *dw = nbt_copy(dw0, (size_t)d);
    nb_rmsnorm_args f = {l->q, rows, d, x, w, 1.0f, 1e-5f, y, rstd};
    l->k.rmsnorm(&f);
    nb_rmsnorm_bwd_args b = {l->q, rows, d,          x, w, rstd, in_place ? dx : dy,
                             1.0f, dx,   accumulate, dw};
    l->k.rmsnorm_bwd(&b);
    for (size_t i = 0; i < n && accumulate; i++)
        dx[i] -= dx0[i];
    for (int64_t i = 0; i < d; i++)
        dw[i] -= dw0[i];
    norm_loss s = {rows, d, naive_widen(x, n), naive_widen(w, (size_t)d), 1.0, 1e-5, dy};
    nbt_within("rmsnorm dx", compare(dx, s.x, rows, d, d, 100, norm_value, &s), 0x1p-24 * 50);
    nbt_within("rmsnorm dw", compare(dw, s.w, 1, d, d, 100, norm_value, &s), 0x1p-24 * 50);
    free(s.x);
    free(s.w);
    float *const owned[] = {x, w, dy, y, rstd, dx0, dx, dw0, dw};
    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        nbi_free(owned[i]);
}

static void test_rmsnorm(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    {
        check_rmsnorm(&l, 5, 7, false, false);
        check_rmsnorm(&l, 20, 100, true, false);
        check_rmsnorm(&l, 9, 64, false, true);
    }
}

/* ---- gated activations ---- */

static double act(nb_act a, double g)
{
    if (a == NB_ACT_SILU)
        return g / (1 + exp(-g));
    if (a == NB_ACT_GELU_ERF)
        return 0.5 * g * erfc(-g / sqrt(2.0));
    return 0.5 * g * (1 + tanh(sqrt(2.0 / M_PI) * (g + 0.044715 * g * g * g)));
}

static void test_glu(void **state)
{
    (void)state;
    enum { N = 5003 };
    float *g = nbt_random(N, 1, 4.0), *u = nbt_random(N, 2, 1.0), *dh = nbt_random(N, 3, 1.0);
    NBT_FOR_LEVELS(l, 3)
    {
        for (nb_act a = NB_ACT_SILU; a <= NB_ACT_GELU_ERF; a++) {
            float *dg = nbt_floats(N), *du = nbt_copy(dh, N); /* du in dh's place */
            nb_glu_bwd_args b = {l.q, a, N, g, u, du, dg, du};
            l.k.glu_bwd(&b);
            for (int i = 0; i < N; i++) {
                const double x = (double)g[i], e = 1e-5;
                const double d = (act(a, x + e) - act(a, x - e)) / (2 * e);
                const double scale = fabs((double)dh[i]) * 0x1p-24;
                nbt_within("du", fabs((double)du[i] - (double)dh[i] * act(a, x)),
                           scale * 12 * (fabs(act(a, x)) + 0.01));
                nbt_within("dg", fabs((double)dg[i] - (double)dh[i] * (double)u[i] * d),
                           scale * 24 * (1 + fabs((double)u[i])));
            }
            nbi_free(dg);
            nbi_free(du);
        }
    }
    nbi_free(g);
    nbi_free(u);
    nbi_free(dh);
}

/* ---- cross-entropy ---- */

typedef struct ce_loss {
    int64_t v;
    double *x;
    int32_t target;
} ce_loss;

static double ce_value(void *user)
{
    ce_loss *s = user;
    double sum = 0;
    for (int64_t i = 0; i < s->v; i++)
        sum += exp(s->x[i]);
    return log(sum) - s->x[s->target];
}

static void test_cross_entropy(void **state)
{
    (void)state;
    static const int64_t sizes[] = {3, 40, 1000};
    for (size_t n = 0; n < 3; n++)
        NBT_FOR_LEVELS(l, 2)
        {
            const int64_t v = sizes[n], rows = 4;
            float *x = nbt_random((size_t)(rows * v), n, 2.0), *nll = nbt_floats((size_t)rows);
            double *wide = naive_widen(x, (size_t)(rows * v));
            const int32_t target[] = {0, (int32_t)v - 1, NB_IGNORE_INDEX, (int32_t)v / 2};
            nb_cross_entropy_args a = {l.q, rows, v, x, target, 0.25f, true, nll, NULL};
            l.k.cross_entropy(&a);
            for (int64_t r = 0; r < rows; r++) {
                ce_loss s = {v, wide + r * v, target[r]};
                for (int64_t i = 0; i < v; i++) {
                    const double want = target[r] < 0 ? 0 : 0.25 * slope(&s.x[i], ce_value, &s);
                    nbt_within("dlogits", fabs((double)x[r * v + i] - want), 0x1p-24 * 4);
                }
            }
            nbi_free(x);
            nbi_free(nll);
            free(wide);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention),
                                       cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_glu),
                                       cmocka_unit_test(test_cross_entropy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
