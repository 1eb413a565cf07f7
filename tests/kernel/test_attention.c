/* SPDX-License-Identifier: MIT */
/* Attention at every level against f64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/attention_naive.h"

typedef struct setup {
    int64_t heads, kv_heads, p, window;
    float softcap, sharp; /* sharp: factor on the scores */
    int64_t gap;
    nb_attn_segment seg[3];
    int64_t n_seg, q_rows, k_rows;
} setup;

static const int32_t table[] = {5, 0, 3, 1, 7, 2};

static const setup setups[] = {
    {1, 1, 8, 0, 0, 1, 0, {{0, 1, 0, 1, 0, NULL, 0}}, 1, 1, 1},
    {2, 1, 16, 0, 0, 1, 0, {{0, 70, 0, 70, 0, NULL, 0}}, 1, 70, 70},
    {4,
     2,
     20,
     0,
     0,
     1,
     3,
     {{0, 65, 0, 65, 0, NULL, 0}, {65, 3, 65, 3, 0, NULL, 0}, {68, 130, 68, 130, 0, NULL, 0}},
     3,
     198,
     198},
    {2, 2, 32, 10, 0, 1, 0, {{0, 150, 0, 150, 0, NULL, 0}}, 1, 150, 150},
    {2, 1, 64, 100, 30, 20, 1, {{0, 90, 0, 200, 0, NULL, 0}}, 1, 90, 200},
    {3, 3, 17, 7, 0, 8, 2, {{0, 66, 0, 76, 10, NULL, 0}, {66, 5, 76, 25, 20, NULL, 0}}, 2, 71, 101},
    {8, 2, 64, 0, 0, 1, 0, {{0, 1, 0, 300, 0, NULL, 0}, {1, 4, 300, 77, 0, NULL, 0}}, 2, 5, 377},
    {2,
     1,
     24,
     0,
     0,
     4,
     0,
     {{0, 20, 0, 90, 0, table, 16}, {20, 2, 128, 60, 0, NULL, 0}},
     2,
     22,
     190},
    {1, 1, 256, 0, 50, 40, 0, {{0, 40, 0, 40, 0, NULL, 0}}, 1, 40, 40},
    {1, 1, 8, 0, 0, 300, 0, {{0, 100, 0, 100, 0, NULL, 0}}, 1, 100, 100},
    /* the largest heads fill the scratch memory: whole tiles, and sizes that are no whole vectors
     */
    {2, 1, 256, 70, 0, 1, 0, {{0, 140, 0, 140, 0, NULL, 0}}, 1, 140, 140},
    {1, 1, 251, 0, 0, 1, 1, {{0, 129, 0, 129, 0, NULL, 0}}, 1, 129, 129}};

typedef struct data {
    nb_attention_args a;
    float *q, *k, *v, *out, *lse;
} data;

static data prepare(const setup *s, nb_queue *queue)
{
    data d = {.a = {.q_ = queue,
                    .segments = s->seg,
                    .n_segments = s->n_seg,
                    .heads = s->heads,
                    .kv_heads = s->kv_heads,
                    .p = s->p,
                    .window = s->window,
                    .softcap = s->softcap}};
    d.a.scale = s->sharp / sqrtf((float)s->p);
    d.a.ldq = s->heads * s->p + s->gap;
    d.a.ldk = s->kv_heads * s->p + 2 * s->gap;
    d.a.ldv = s->kv_heads * s->p + s->gap;
    d.a.ldo = s->heads * s->p + 3 * s->gap;
    d.a.q = d.q = nbt_random((size_t)(s->q_rows * d.a.ldq), 1, 1.0);
    d.a.k = d.k = nbt_random((size_t)(s->k_rows * d.a.ldk), 2, 1.0);
    d.a.v = d.v = nbt_random((size_t)(s->k_rows * d.a.ldv), 3, 1.0);
    d.a.out = d.out = nbt_random((size_t)(s->q_rows * d.a.ldo), 4, 1.0);
    d.a.lse = d.lse = nbt_floats((size_t)(s->q_rows * s->heads));
    return d;
}

static void drop(data *d)
{
    nbi_free(d->q);
    nbi_free(d->k);
    nbi_free(d->v);
    nbi_free(d->out);
    nbi_free(d->lse);
}

static void test_forward(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof(setups) / sizeof(setups[0]); n++) {
        const setup *s = &setups[n];
        NBT_FOR_LEVELS(l, 2)
        {
            data d = prepare(s, l.q);
            double *q = naive_widen(d.q, (size_t)(s->q_rows * d.a.ldq));
            double *k = naive_widen(d.k, (size_t)(s->k_rows * d.a.ldk));
            double *v = naive_widen(d.v, (size_t)(s->k_rows * d.a.ldv));
            double *out = calloc((size_t)(s->q_rows * s->heads * s->p), sizeof(double));
            double *lse = calloc((size_t)(s->q_rows * s->heads), sizeof(double));
            naive_attention(&d.a, q, k, v, out, lse);
            float *before = nbt_copy(d.out, (size_t)(s->q_rows * d.a.ldo));
            l.k.attention(&d.a);
            double worst = 0, worst_lse = 0;
            /* a score of size |q||k|scale ~ sharp*sqrt(p) is off by its rounding, which the
             * exponential turns into a relative error of the probabilities */
            const double size = 1 + (double)s->sharp * sqrt((double)s->p);
            for (int64_t i = 0; i < s->q_rows; i++) {
                for (int64_t c = 0; c < d.a.ldo; c++) {
                    const float got = d.out[i * d.a.ldo + c];
                    if (c >= s->heads * s->p)
                        assert_true(got == before[i * d.a.ldo + c]);
                    else
                        worst = nbt_worse(worst, fabs((double)got - out[i * s->heads * s->p + c]));
                }
                for (int64_t h = 0; h < s->heads; h++)
                    worst_lse = nbt_worse(
                        worst_lse, fabs((double)d.lse[i * s->heads + h] - lse[i * s->heads + h]));
            }
            nbt_within("attention", worst, 0x1p-24 * size * 16);
            nbt_within("lse", worst_lse, 0x1p-24 * size * 16);
            free(q);
            free(k);
            free(v);
            free(out);
            free(lse);
            nbi_free(before);
            drop(&d);
        }
    }
}

static void run_backward(nbt_level *l, data *d, float *grad[3], const setup *s)
{
    nb_attention_bwd_args b = {.fwd = d->a, .lddo = d->a.ldo};
    float *dout = nbt_random((size_t)(s->q_rows * d->a.ldo), 9, 1.0);
    b.dout = dout;
    b.delta = nbt_floats((size_t)(s->q_rows * s->heads));
    b.dq = grad[0] = nbt_floats((size_t)(s->q_rows * d->a.ldq));
    b.dk = grad[1] = nbt_floats((size_t)(s->k_rows * d->a.ldk));
    b.dv = grad[2] = nbt_floats((size_t)(s->k_rows * d->a.ldv));
    l->k.attention_bwd(&b);
    nbi_free(dout);
    nbi_free(b.delta);
}

static void test_threads_same_bits(void **state)
{
    (void)state;
    static const size_t which[] = {2, 5};
    for (size_t n = 0; n < 2; n++) {
        const setup *s = &setups[which[n]];
        data first[3];
        float *grads[3][3];
        for (int t = 0; t < NBT_THREAD_COUNTS; t++)
            NBT_FOR_LEVELS(l, nbt_thread_counts[t])
            {
                data d = prepare(s, l.q);
                float *g[3];
                l.k.attention(&d.a);
                run_backward(&l, &d, g, s);
                if (t == 0) {
                    first[l.i] = d;
                    memcpy(grads[l.i], g, sizeof(g));
                    continue;
                }
                assert_true(nbt_same_bits(d.out, first[l.i].out, (size_t)(s->q_rows * d.a.ldo)));
                assert_true(nbt_same_bits(d.lse, first[l.i].lse, (size_t)(s->q_rows * s->heads)));
                const int64_t size[] = {s->q_rows * d.a.ldq, s->k_rows * d.a.ldk,
                                        s->k_rows * d.a.ldv};
                for (int i = 0; i < 3; i++) {
                    assert_true(nbt_same_bits(g[i], grads[l.i][i], (size_t)size[i]));
                    nbi_free(g[i]);
                }
                drop(&d);
            }
        unsigned unused[3];
        for (int i = 0; i < nbt_levels(unused); i++) {
            drop(&first[i]);
            for (int j = 0; j < 3; j++)
                nbi_free(grads[i][j]);
        }
    }
}

/* A NaN in a key is seen by the queries from its position on, in its segment and group only. */
static void test_nan_propagates(void **state)
{
    (void)state;
    const setup *s = &setups[2];
    NBT_FOR_LEVELS(l, 1)
    {
        data d = prepare(s, l.q);
        d.k[(68 + 100) * d.a.ldk + s->p] = NAN; /* third segment, key 100, group 1 */
        l.k.attention(&d.a);
        for (int64_t i = 0; i < s->q_rows; i++)
            for (int64_t h = 0; h < s->heads; h++)
                assert_int_equal(isnan(d.out[i * d.a.ldo + h * s->p]) != 0,
                                 i >= 68 + 100 && h >= 2);
        drop(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forward),
                                       cmocka_unit_test(test_threads_same_bits),
                                       cmocka_unit_test(test_nan_propagates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
