/* SPDX-License-Identifier: MIT */
/* What holds for every operation at every level: buffers at any element's place and at the rim of
 * memory, results that do not depend on the place, subnormal numbers (which may be flushed), and
 * NaN and infinity where the reference version has them. Accuracy is the other tests' matter. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/guarded.h"

enum { ROWS = 21, D = 67, N = 37, K = 70, R = 5 };

/* ---- products ---- */

static void do_matmul(run *r)
{
    const bool turned = r->variant & 1, add = r->variant & 2;
    nb_matmul_args a = {.q = r->q,
                        .m = ROWS,
                        .n = N,
                        .k = K,
                        .a = numbers(r, ROWS * K, r->dtype),
                        .a_rs = turned ? 1 : K,
                        .a_cs = turned ? ROWS : 1,
                        .b = numbers_of(r, N * K, r->dtype, NORMAL),
                        .b_rs = turned ? 1 : K,
                        .b_cs = turned ? N : 1,
                        .c = fresh(r, ROWS * N, r->dtype),
                        .ldc = N,
                        .alpha = 0.5f,
                        .accumulate = add,
                        .compute = r->compute,
                        .a_dtype = r->dtype,
                        .b_dtype = r->dtype,
                        .c_dtype = r->dtype};
    r->k->matmul(&a);
}

enum { W_F32, W_BF16, W_F16, W_NF4, W_FP4, W_NF4_DQ, WEIGHTS };

/* Weights of a kind with any codes; their pieces lie where the run says. */
static nb_qtensor weight_of(run *r, int kind)
{
    static const nb_dtype dense[] = {NB_DT_F32, NB_DT_BF16, NB_DT_F16};
    const int64_t n = N * K, blocks = (n + 63) / 64;
    if (kind <= W_F16)
        return nb_qtensor_dense(dense[kind], numbers_of(r, n, dense[kind], NORMAL), N, K);
    nb_qtensor w = {.kind = kind == W_FP4 ? NB_QK_FP4 : NB_QK_NF4, .n = N, .k = K, .block = 64};
    uint8_t *codes = place_bytes(r, (size_t)(n + 1) / 2, 1);
    for (int64_t i = 0; i < (n + 1) / 2; i++)
        codes[i] = (uint8_t)(i * 89 + 7);
    w.data = codes;
    memcpy(w.book, kind == W_FP4 ? nb_book_fp4 : nb_book_nf4, sizeof w.book);
    w.absmax = plain(r, blocks);
    if (kind == W_NF4_DQ) {
        uint8_t *scales = place_bytes(r, (size_t)blocks, 1);
        for (int64_t i = 0; i < blocks; i++)
            scales[i] = (uint8_t)(i * 31);
        w.absmax = NULL;
        w.absmax_codes = scales;
        w.nested_absmax = plain(r, 1);
        w.nested_book = plain(r, 256);
        w.nested_block = 256;
    }
    return w;
}

static void product(run *r, int64_t rows, bool backward)
{
    const nb_qtensor w = weight_of(r, r->variant);
    const int64_t in = backward ? N : K, out = backward ? K : N;
    const nb_qgroup g = {&w, 0, N, 0, rows};
    const nb_lowrank extra = {.h = plain(r, rows * R),
                              .ldh = R,
                              .r = R,
                              .l = plain(r, out * R),
                              .l_rs = R,
                              .l_cs = 1,
                              .cols = out,
                              .alpha = 0.5f};
    nb_qmatmul_args a = {.q = r->q,
                         .groups = &g,
                         .n_groups = 1,
                         .backward = backward,
                         .x = numbers(r, rows * in, r->dtype),
                         .ldx = in,
                         .y = fresh(r, rows * out, r->dtype),
                         .ldy = out,
                         .compute = r->compute,
                         .x_dtype = r->dtype,
                         .y_dtype = r->dtype,
                         .extra = &extra,
                         .n_extra = 1};
    r->k->qmatmul(&a);
}

static void do_few_rows(run *r)
{
    product(r, 3, false);
}

static void do_forward(run *r)
{
    product(r, ROWS, false);
}

static void do_backward(run *r)
{
    product(r, ROWS, true);
}

static void do_thin(run *r)
{
    const int64_t rank = r->variant ? 16 : R;
    const nb_thin_term term = {.r = rank,
                               .b = plain(r, N * rank),
                               .b_rs = rank,
                               .b_cs = 1,
                               .c = fresh(r, ROWS * rank, NB_DT_F32),
                               .ldc = rank,
                               .h = plain(r, ROWS * rank),
                               .ldh = rank,
                               .d = fresh(r, N * rank, NB_DT_F32),
                               .d_rs = rank,
                               .d_cs = 1,
                               .alpha = 0.5f};
    nb_thin_args a = {.q = r->q,
                      .m = ROWS,
                      .n = N,
                      .y = numbers(r, ROWS * N, r->dtype),
                      .ldy = N,
                      .y_dtype = r->dtype,
                      .terms = &term,
                      .n_terms = 1,
                      .compute = r->compute};
    r->k->thin(&a);
}

static void do_decode(run *r)
{
    const nb_qtensor w = weight_of(r, r->variant);
    nb_decode_args a = {r->q, &w, 1, N - 2, 3, K - 5, fresh(r, (N - 2) * (K - 5), NB_DT_F32),
                        K - 5};
    r->k->decode(&a);
}

/* ---- quantising ---- */

static void do_quantize4(run *r)
{
    static const nb_dtype dtypes[] = {NB_DT_F32, NB_DT_BF16, NB_DT_F16};
    const nb_dtype t = dtypes[r->variant % 3];
    const int64_t n = 1000 + 7, block = 64;
    nb_quantize4_args a = {r->q,
                           r->variant < 3 ? NB_QK_NF4 : NB_QK_FP4,
                           t,
                           numbers(r, n, t),
                           n,
                           block,
                           fresh_bytes(r, (n + 1) / 2),
                           fresh(r, (n + block - 1) / block, NB_DT_F32)};
    r->k->quantize4(&a);
}

static void do_quantize8(run *r)
{
    const int64_t n = 700;
    float *book = plain(r, 256);
    nb_dynamic_map_signed(book);
    nb_quantize8_args a = {r->q,
                           numbers(r, n, NB_DT_F32),
                           n,
                           256,
                           book,
                           0.01f,
                           fresh_bytes(r, n),
                           fresh(r, 3, NB_DT_F32)};
    r->k->quantize8(&a);
}

/* ---- rows ---- */

static void do_rmsnorm(run *r)
{
    const nb_dtype y = r->variant ? NB_DT_BF16 : r->dtype;
    nb_rmsnorm_args a = {r->q,
                         ROWS,
                         D,
                         numbers(r, ROWS * D, r->dtype),
                         plain(r, D),
                         0.5f,
                         1e-6f,
                         fresh(r, ROWS * D, y),
                         fresh(r, ROWS, NB_DT_F32),
                         r->dtype,
                         y,
                         fresh(r, ROWS * D, NB_DT_F32)};
    r->k->rmsnorm(&a);
}

static void do_rmsnorm_bwd(run *r)
{
    nb_rmsnorm_bwd_args a = {.q = r->q,
                             .rows = ROWS,
                             .d = D,
                             .x = numbers(r, ROWS * D, NB_DT_F32),
                             .w = plain(r, D),
                             .rstd = plain(r, ROWS),
                             .dy = numbers(r, ROWS * D, r->dtype),
                             .dx = fresh(r, ROWS * D, NB_DT_F32),
                             .accumulate = r->variant,
                             .dw = fresh(r, D, NB_DT_F32),
                             .dy_dtype = r->dtype};
    r->k->rmsnorm_bwd(&a);
}

static void do_glu(run *r)
{
    const int64_t n = ROWS * D;
    nb_glu_args a = {.q = r->q,
                     .act = (nb_act)r->variant,
                     .n = n,
                     .g = numbers_of(r, n, r->dtype, r->what == SUBNORMAL ? SUBNORMAL : NORMAL),
                     .u = numbers(r, n, r->dtype),
                     .h = fresh(r, n, r->dtype),
                     .dtype = r->dtype};
    r->k->glu(&a);
}

static void do_glu_bwd(run *r)
{
    const int64_t n = ROWS * D;
    nb_glu_bwd_args a = {.q = r->q,
                         .act = (nb_act)r->variant,
                         .n = n,
                         .g = numbers_of(r, n, r->dtype, r->what == SUBNORMAL ? SUBNORMAL : NORMAL),
                         .u = numbers_of(r, n, r->dtype, NORMAL),
                         .dh = numbers(r, n, r->dtype),
                         .dg = fresh(r, n, r->dtype),
                         .du = fresh(r, n, r->dtype),
                         .h = fresh(r, n, r->dtype),
                         .dtype = r->dtype};
    r->k->glu_bwd(&a);
}

static void do_rope_table(run *r)
{
    nb_rope_table_args a = {
        r->q, ROWS, 9, integers(r, ROWS, 1000), plain(r, 9), 1.0f, fresh(r, ROWS * 18, NB_DT_F32)};
    r->k->rope_table(&a);
}

static void do_rope(run *r)
{
    enum { HEADS = 3, P = 22, HALF = 9 };
    void *x = result(r, numbers(r, ROWS * HEADS * P, r->dtype), ROWS * HEADS * P, r->dtype);
    void *x2 = result(r, numbers(r, ROWS * P, r->dtype), ROWS * P, r->dtype);
    nb_rope_args a = {.q = r->q,
                      .rows = ROWS,
                      .heads = HEADS,
                      .p = P,
                      .half = HALF,
                      .x = x,
                      .cs = plain(r, ROWS * 2 * HALF),
                      .inverse = r->variant,
                      .dtype = r->dtype,
                      .x2 = x2,
                      .heads2 = 1};
    r->k->rope(&a);
}

static void do_axpy(run *r)
{
    nb_axpy_args a = {
        r->q,      ROWS * D, 0.5f, numbers(r, ROWS * D, NB_DT_F32), fresh(r, ROWS * D, NB_DT_F32),
        r->variant};
    r->k->axpy(&a);
}

static void do_bias(run *r)
{
    nb_bias_args a = {r->q, ROWS,    D, numbers(r, D, NB_DT_F32), fresh(r, ROWS * D, r->dtype),
                      D,    r->dtype};
    r->k->bias(&a);
}

static void do_bias_bwd(run *r)
{
    nb_bias_bwd_args a = {
        r->q, ROWS, D, numbers(r, ROWS * D, r->dtype), D, fresh(r, D, NB_DT_F32), r->dtype};
    r->k->bias_bwd(&a);
}

static void do_dropout(run *r)
{
    nb_dropout_args a = {.q = r->q,
                         .rows = ROWS,
                         .d = D,
                         .x = numbers(r, ROWS * D, r->dtype),
                         .y = fresh(r, ROWS * D, NB_DT_F32),
                         .p = 0.3f,
                         .seed = 5,
                         .example = integers(r, ROWS, 7),
                         .token = integers(r, ROWS, 50),
                         .x_dtype = r->dtype,
                         .accumulate = r->variant};
    r->k->dropout(&a);
}

/* ---- attention, loss, tables ---- */

static nb_attention_args attention_args(run *r, const nb_attn_segment *s)
{
    enum { HEADS = 4, P = 20 };
    return (nb_attention_args){
        .q_ = r->q,
        .segments = s,
        .n_segments = 2,
        .heads = HEADS,
        .kv_heads = 2,
        .p = P,
        .q = numbers_of(r, ROWS * HEADS * P, r->dtype, r->what == SUBNORMAL ? SUBNORMAL : NORMAL),
        .k = numbers_of(r, ROWS * 2 * P, r->dtype, r->what == SUBNORMAL ? SUBNORMAL : NORMAL),
        .v = numbers(r, ROWS * 2 * P, r->dtype),
        .ldq = HEADS * P,
        .ldk = 2 * P,
        .ldv = 2 * P,
        .scale = 0.3f,
        .window = r->variant ? 5 : 0,
        .out = fresh(r, ROWS * HEADS * P, r->dtype),
        .ldo = HEADS * P,
        .lse = fresh(r, ROWS * HEADS, NB_DT_F32),
        .dtype = r->dtype};
}

static const nb_attn_segment two_segments[] = {{.q_len = 17, .k_len = 17},
                                               {17, ROWS - 17, 17, ROWS - 17, 0, NULL, 0}};

static void do_attention(run *r)
{
    nb_attention_args a = attention_args(r, two_segments);
    r->k->attention(&a);
}

static void do_attention_bwd(run *r)
{
    nb_attention_args f = attention_args(r, two_segments);
    nb_attention_bwd_args a = {.fwd = f,
                               .dout = numbers_of(r, ROWS * f.ldo, r->dtype, NORMAL),
                               .lddo = f.ldo,
                               .delta = plain(r, ROWS * f.heads),
                               .dq = fresh(r, ROWS * f.ldq, r->dtype),
                               .dk = fresh(r, ROWS * f.ldk, r->dtype),
                               .dv = fresh(r, ROWS * f.ldv, r->dtype)};
    r->k->attention(&f);
    r->k->attention_bwd(&a);
}

static void do_cross_entropy(run *r)
{
    float *logits = result(r, numbers(r, ROWS * D, NB_DT_F32), ROWS * D, r->dtype);
    if (r->dtype == NB_DT_BF16) /* the first half of each row is the gradient */
        r->n_out--;
    nb_cross_entropy_args a = {.q = r->q,
                               .rows = ROWS,
                               .v = D,
                               .logits = logits,
                               .target = integers(r, ROWS, D),
                               .grad_scale = 0.25f,
                               .want_grad = r->variant,
                               .nll = fresh(r, ROWS, NB_DT_F32),
                               .grad_dtype = r->dtype};
    r->k->cross_entropy(&a);
}

static void do_noise(run *r)
{
    nb_noise_args a = {.q = r->q,
                       .rows = ROWS,
                       .d = D,
                       .y = fresh(r, ROWS * D, NB_DT_F32),
                       .scale = 0.3f,
                       .seed = 5,
                       .epoch = 2,
                       .example = integers(r, ROWS, 7),
                       .token = integers(r, ROWS, 50)};
    r->k->noise(&a);
}

static void do_embed(run *r)
{
    nb_embed_args a = {r->q,
                       ROWS,
                       D,
                       r->dtype,
                       numbers(r, 50 * D, r->dtype),
                       integers(r, ROWS, 50),
                       fresh(r, ROWS * D, NB_DT_F32)};
    r->k->embed(&a);
}

static void do_embed_bwd(run *r)
{
    nb_embed_bwd_args a = {r->q,
                           ROWS,
                           D,
                           integers(r, ROWS, 13),
                           numbers(r, ROWS * D, NB_DT_F32),
                           fresh(r, 13 * D, NB_DT_F32)};
    r->k->embed_bwd(&a);
}

/* ---- optimizers ---- */

static void do_adamw(run *r)
{
    const int64_t n = ROWS * D;
    float *v = fresh(r, n, NB_DT_F32);
    for (int64_t i = 0; i < n; i++)
        v[i] = fabsf(v[i]);
    nb_adamw_args a = {r->q,
                       n,
                       fresh(r, n, NB_DT_F32),
                       fresh(r, n, NB_DT_F32),
                       v,
                       numbers(r, n, NB_DT_F32),
                       0.5,
                       1e-3,
                       0.9,
                       0.999,
                       1e-8,
                       0.01,
                       3};
    r->k->adamw(&a);
}

static void do_sgd(run *r)
{
    const int64_t n = ROWS * D;
    nb_sgd_args a = {.q = r->q,
                     .n = n,
                     .w = fresh(r, n, NB_DT_F32),
                     .m = fresh(r, n, NB_DT_F32),
                     .grad = numbers(r, n, NB_DT_F32),
                     .grad_scale = 0.5,
                     .lr = 1e-3,
                     .momentum = 0.9,
                     .weight_decay = 0.01,
                     .nesterov = r->variant,
                     .step = 2};
    r->k->sgd(&a);
}

static void do_lion(run *r)
{
    const int64_t n = ROWS * D;
    nb_lion_args a = {.q = r->q,
                      .n = n,
                      .w = fresh(r, n, NB_DT_F32),
                      .m = fresh(r, n, NB_DT_F32),
                      .grad = numbers(r, n, NB_DT_F32),
                      .grad_scale = 0.5,
                      .lr = 1e-3,
                      .beta1 = 0.9,
                      .beta2 = 0.99,
                      .weight_decay = 0.01};
    r->k->lion(&a);
}

/* Moments that are sums of squares. */
static float *squares(run *r, int64_t n)
{
    float *p = fresh(r, n, NB_DT_F32);
    for (int64_t i = 0; i < n; i++)
        p[i] = p[i] * p[i] + 0.1f;
    return p;
}

static void do_adafactor(run *r)
{
    nb_adafactor_args a = {.q = r->q,
                           .rows = ROWS,
                           .cols = D,
                           .w = fresh(r, ROWS * D, NB_DT_F32),
                           .m = fresh(r, ROWS * D, NB_DT_F32),
                           .row = squares(r, ROWS),
                           .col = squares(r, D),
                           .factor = plain(r, D),
                           .grad = numbers(r, ROWS * D, NB_DT_F32),
                           .grad_scale = 0.5,
                           .lr = 1e-3,
                           .beta1 = 0.9,
                           .beta2 = 0.8,
                           .eps = 1e-30,
                           .clip = 1.0,
                           .weight_decay = 0.01};
    r->k->adafactor(&a);
}

static void step8(run *r, nb_optim8_fn *step)
{
    static nb_dynamic8 books[2]; /* the same in every run */
    const int64_t n = 3 * NB_OPTIM8_BLOCK + 17;
    nb_dynamic8_init(&books[0], true);
    nb_dynamic8_init(&books[1], false);
    uint8_t *m = fresh_bytes(r, n), *v = fresh_bytes(r, n);
    for (int64_t i = 0; i < n; i++) {
        m[i] = (uint8_t)(i * 37);
        v[i] = (uint8_t)(i * 53);
    }
    float *scales = fresh(r, 8, NB_DT_F32);
    for (int i = 0; i < 8; i++)
        scales[i] = fabsf(scales[i]);
    nb_optim8_args a = {.q = r->q,
                        .n = n,
                        .w = fresh(r, n, NB_DT_F32),
                        .m = m,
                        .v = v,
                        .m_scale = scales,
                        .v_scale = scales + 4,
                        .m_book = &books[0],
                        .v_book = &books[1],
                        .grad = numbers(r, n, NB_DT_F32),
                        .grad_scale = 0.5,
                        .lr = 1e-3,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .eps = 1e-8,
                        .step = 3};
    step(&a);
}

static void do_adamw8(run *r)
{
    step8(r, r->k->adamw8);
}

static void do_lion8(run *r)
{
    step8(r, r->k->lion8);
}

static void do_sumsq(run *r)
{
    double sum = 0;
    nb_sumsq_args a = {r->q, ROWS * D, numbers(r, ROWS * D, NB_DT_F32), &sum};
    float *to = fresh(r, 1, NB_DT_F32);
    r->k->sumsq(&a);
    to[0] = (float)sum;
}

/* ---- all of them ---- */

enum { TYPED = 1, COMPUTED = 2, FINITE = 4 };

static const struct {
    const char *name;
    void (*call)(run *r);
    int variants, flags;
    double length; /* of its longest sums */
} operations[] = {
    {"matmul", do_matmul, 4, TYPED | COMPUTED, K},
    {"qmatmul of few rows", do_few_rows, WEIGHTS, TYPED | COMPUTED, K + R},
    {"qmatmul", do_forward, WEIGHTS, TYPED | COMPUTED, K + R},
    {"qmatmul backward", do_backward, WEIGHTS, TYPED | COMPUTED, N + R},
    {"thin", do_thin, 2, TYPED | COMPUTED, N},
    {"decode", do_decode, WEIGHTS, 0, 1},
    {"quantize4", do_quantize4, 6, FINITE, 1},
    {"quantize8", do_quantize8, 1, FINITE, 1},
    {"rmsnorm", do_rmsnorm, 2, TYPED, D},
    {"rmsnorm_bwd", do_rmsnorm_bwd, 2, TYPED, D},
    {"glu", do_glu, 3, TYPED, 8},
    {"glu_bwd", do_glu_bwd, 3, TYPED, 8},
    {"rope_table", do_rope_table, 1, 0, 1},
    {"rope", do_rope, 2, TYPED, 2},
    {"axpy", do_axpy, 2, 0, 2},
    {"bias", do_bias, 1, TYPED, 2},
    {"bias_bwd", do_bias_bwd, 1, TYPED, ROWS},
    {"dropout", do_dropout, 2, TYPED, 2},
    {"attention", do_attention, 2, TYPED, ROWS},
    {"attention_bwd", do_attention_bwd, 2, TYPED, ROWS *ROWS},
    {"cross_entropy", do_cross_entropy, 2, TYPED, D},
    {"noise", do_noise, 1, 0, 2},
    {"embed", do_embed, 1, TYPED, 1},
    {"embed_bwd", do_embed_bwd, 1, 0, ROWS},
    {"adamw", do_adamw, 1, 0, 8},
    {"sgd", do_sgd, 2, 0, 8},
    {"lion", do_lion, 1, 0, 8},
    {"adafactor", do_adafactor, 1, 0, ROWS *D},
    {"adamw8", do_adamw8, 1, FINITE, 8},
    {"lion8", do_lion8, 1, FINITE, 8},
    {"sumsq", do_sumsq, 1, 0, 1},
};

/* Every place against the aligned one, and that against the lowest level. */
static void one(size_t op, run first)
{
    char name[96];
    const bool narrow = first.dtype == NB_DT_BF16;
    run want = first;
    NBT_FOR_LEVELS(l, 1)
    {
        snprintf(name, sizeof name, "%s at level %d, form %d, content %d%s%s", operations[op].name,
                 l.i, first.variant, (int)first.what, narrow ? ", bf16" : "",
                 first.compute == NB_COMPUTE_BF16 ? ", products in bf16" : "");
        run a = first;
        a.k = &l.k;
        a.q = l.q;
        operations[op].call(&a);
        for (place p = ODD; p < PLACES; p++) {
            run b = first;
            b.k = &l.k;
            b.q = l.q;
            b.where = p;
            operations[op].call(&b);
            same_results(name, &a, &b);
            run_free(&b);
        }
        if (l.i == 0) {
            want = a;
        } else {
            near_results(name, &a, &want, operations[op].length);
            run_free(&a);
        }
    }
    run_free(&want);
}

static void every_operation(void **state)
{
    (void)state;
    for (size_t op = 0; op < sizeof operations / sizeof *operations; op++) {
        const int flags = operations[op].flags;
        for (int form = 0; form < operations[op].variants; form++)
            for (content what = NORMAL; what < CONTENTS; what++)
                for (int t = 0; t < (flags & TYPED ? 2 : 1); t++)
                    for (int c = 0; c < (flags & COMPUTED ? 2 : 1); c++)
                        if (what != SPECIAL || !(flags & FINITE))
                            one(op, (run){.variant = form,
                                          .what = what,
                                          .dtype = t ? NB_DT_BF16 : NB_DT_F32,
                                          .compute = c ? NB_COMPUTE_BF16 : NB_COMPUTE_F32});
    }
}

/* The table above has every operation of the kernel table. */
static void none_is_missing(void **state)
{
    (void)state;
    static const char *const all[] = {
#define NAME(member, type) #member,
        NB_KERNEL_MAP(NAME)
#undef NAME
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        bool found = false;
        for (size_t op = 0; op < sizeof operations / sizeof *operations; op++)
            found = found || strcmp(operations[op].name, all[i]) == 0;
        if (!found)
            fail_msg("no call of %s", all[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(none_is_missing),
                                       cmocka_unit_test(every_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
