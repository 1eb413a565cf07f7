/* SPDX-License-Identifier: MIT */
/* Attention problems of both dtypes for the tests. Include after kernel_util.h. */
#ifndef NBT_ATTENTION_SETUP_H
#define NBT_ATTENTION_SETUP_H

#include "kernel/attention_naive.h"

/* Largest relative error of rounding to bf16. */
#define BF16_UNIT 0x1p-8

typedef struct setup {
    int64_t heads, kv_heads, p, window;
    float softcap, sharp; /* sharp: factor on the scores */
    int64_t gap;
    nb_attn_segment seg[3];
    int64_t n_seg, q_rows, k_rows;
} setup;

/* n values in `dtype`, and the same in f64; `bytes` ends with room for one NaN more. */
typedef struct typed {
    void *bytes;
    double *wide;
    size_t n;
    nb_dtype dtype;
} typed;

NBT_UNUSED static double typed_at(const typed *x, int64_t i)
{
    return x->dtype == NB_DT_F32 ? (double)((const float *)x->bytes)[i]
                                 : (double)nb_bf16_to_f32(((const uint16_t *)x->bytes)[i]);
}

NBT_UNUSED static void typed_set(const typed *x, int64_t i, float v)
{
    if (x->dtype == NB_DT_F32)
        ((float *)x->bytes)[i] = v;
    else
        ((uint16_t *)x->bytes)[i] = nb_f32_to_bf16(v);
    x->wide[i] = typed_at(x, i);
}

NBT_UNUSED static typed typed_random(int64_t n, nb_dtype dtype, uint64_t seed)
{
    float *f = nbt_random((size_t)n, seed, 1.0);
    typed x = {nbt_floats((size_t)n), malloc((size_t)(n + 1) * sizeof(double)), (size_t)n, dtype};
    for (int64_t i = 0; i <= n; i++)
        typed_set(&x, i, f[i]);
    nbi_free(f);
    return x;
}

NBT_UNUSED static void typed_drop(typed *x)
{
    nbi_free(x->bytes);
    free(x->wide);
}

NBT_UNUSED static bool typed_same_bits(const typed *a, const typed *b)
{
    return memcmp(a->bytes, b->bytes, a->n * nb_dtype_size(a->dtype)) == 0;
}

/* One problem: operands, results and their gradients. */
typedef struct problem {
    nb_attention_args a;
    nb_attention_bwd_args b; /* its fwd is a copy of `a` */
    typed q, k, v, out, dout, dq, dk, dv;
    float *lse, *delta;
} problem;

NBT_UNUSED static problem problem_new(const setup *s, nb_dtype dtype, nb_queue *queue)
{
    problem d = {.a = {.q_ = queue,
                       .segments = s->seg,
                       .n_segments = s->n_seg,
                       .heads = s->heads,
                       .kv_heads = s->kv_heads,
                       .p = s->p,
                       .window = s->window,
                       .softcap = s->softcap,
                       .scale = s->sharp / sqrtf((float)s->p),
                       .dtype = dtype}};
    nb_attention_args *a = &d.a;
    a->ldq = s->heads * s->p + s->gap;
    a->ldk = s->kv_heads * s->p + 2 * s->gap;
    a->ldv = s->kv_heads * s->p + s->gap;
    a->ldo = s->heads * s->p + 3 * s->gap;
    d.q = typed_random(s->q_rows * a->ldq, dtype, 1);
    d.k = typed_random(s->k_rows * a->ldk, dtype, 2);
    d.v = typed_random(s->k_rows * a->ldv, dtype, 3);
    d.out = typed_random(s->q_rows * a->ldo, dtype, 4);
    d.dout = typed_random(s->q_rows * a->ldo, dtype, 5);
    /* assigned, so what is there must not matter */
    d.dq = typed_random(s->q_rows * a->ldq, dtype, 6);
    d.dk = typed_random(s->k_rows * a->ldk, dtype, 7);
    d.dv = typed_random(s->k_rows * a->ldv, dtype, 8);
    d.lse = nbt_floats((size_t)(s->q_rows * s->heads));
    d.delta = nbt_floats((size_t)(s->q_rows * s->heads));
    a->q = d.q.bytes;
    a->k = d.k.bytes;
    a->v = d.v.bytes;
    a->out = d.out.bytes;
    a->lse = d.lse;
    d.b = (nb_attention_bwd_args){.fwd = *a,
                                  .dout = d.dout.bytes,
                                  .lddo = a->ldo,
                                  .delta = d.delta,
                                  .dq = d.dq.bytes,
                                  .dk = d.dk.bytes,
                                  .dv = d.dv.bytes};
    return d;
}

NBT_UNUSED static void problem_drop(problem *d)
{
    typed *const all[] = {&d->q, &d->k, &d->v, &d->out, &d->dout, &d->dq, &d->dk, &d->dv};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        typed_drop(all[i]);
    nbi_free(d->lse);
    nbi_free(d->delta);
}

/* Results, and with `backward` gradients, are the same bits with any number of threads. */
NBT_UNUSED static void problem_same_with_threads(const setup *s, nb_dtype dtype, bool backward)
{
    problem first[NBT_MAX_LEVELS];
    for (int t = 0; t < NBT_THREAD_COUNTS; t++)
        NBT_FOR_LEVELS(l, nbt_thread_counts[t])
        {
            problem d = problem_new(s, dtype, l.q);
            l.k.attention(&d.a);
            if (backward)
                l.k.attention_bwd(&d.b);
            if (t == 0) {
                first[l.i] = d;
                continue;
            }
            const problem *f = &first[l.i];
            assert_true(typed_same_bits(&d.out, &f->out));
            assert_true(nbt_same_bits(d.lse, f->lse, (size_t)(s->q_rows * s->heads)));
            assert_true(typed_same_bits(&d.dq, &f->dq));
            assert_true(typed_same_bits(&d.dk, &f->dk));
            assert_true(typed_same_bits(&d.dv, &f->dv));
            problem_drop(&d);
        }
    unsigned unused[NBT_MAX_LEVELS];
    for (int i = 0; i < nbt_levels(unused); i++)
        problem_drop(&first[i]);
}

/* Elements of row-major [rows, width] with stride ld: |got - want| / allowed at its worst. What
 * lies between the rows must be as in `before`. */
NBT_UNUSED static double compare_rows(const typed *got, const typed *before, const double *want,
                                      const double *allowed, int64_t rows, int64_t width,
                                      int64_t ld)
{
    double worst = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < ld; c++) {
            const double x = typed_at(got, r * ld + c);
            if (c >= width)
                assert_true(x == before->wide[r * ld + c]);
            else
                worst = nbt_worse(worst, fabs(x - want[r * width + c]) / allowed[r * width + c]);
        }
    return worst;
}

static const nb_dtype attention_dtypes[] = {NB_DT_F32, NB_DT_BF16};

#endif
