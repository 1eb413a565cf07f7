/* SPDX-License-Identifier: MIT */
/* Row-wise operations on bf16 arrays are those on the same values in f32 (which test_rowwise.c
 * compares with f64), rounded once at the store: the same bits at every level, in every
 * combination of dtypes, off any alignment, and nothing beside the array is written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"
#include "kernel/typed_util.h"

/* Runs what follows with T in {F32, BF16}. */
#define FOR_DTYPE(T) for (nb_dtype T = NB_DT_F32; T <= NB_DT_BF16; T += NB_DT_BF16 - NB_DT_F32)

/* Random numbers of dtype t with a NaN that truncation would make infinite, and infinities. */
static float *values(int64_t n, uint64_t seed, nb_dtype t, bool special)
{
    float *x = nbt_random((size_t)n, seed, 2.0);
    if (special && n > 5) {
        x[n / 2] = nb_f32_from_bits(t == NB_DT_BF16 ? 0x7f810000u : 0x7f800001u);
        x[n / 3] = INFINITY;
        x[n - 1] = -INFINITY;
        x[1] = -0.0f;
    }
    nbt_round(x, n, t);
    return x;
}

static const int64_t widths[] = {1, 3, 8, 17, 64, 131, 1030};
enum { WIDTHS = sizeof(widths) / sizeof(widths[0]) };

static void rmsnorm_case(nbt_level *l, int64_t rows, int64_t d, nb_dtype X, nb_dtype Y, bool place)
{
    const int64_t n = rows * d;
    float *x = values(n, 1, X, d != 17), *w = nbt_random((size_t)d, 2, 1.0);
    float *want = nbt_floats((size_t)n), *rs = nbt_floats((size_t)rows);
    float *rs2 = nbt_floats((size_t)rows);
    nb_rmsnorm_args a = {l->q, rows, d, x, w, 0.5f, 1e-6f, want, rs};
    l->k.rmsnorm(&a);
    nbt_typed tx = nbt_typed_of(x, n, X), ty = nbt_typed_of(want, n, Y);
    nbt_typed copy = nbt_typed_of(want, n, NB_DT_F32);
    nb_rmsnorm_args b = {l->q, rows, d, tx.p, w, 0.5f, 1e-6f, place ? tx.p : ty.p, rs2, X, Y};
    l->k.rmsnorm(&b);
    if (!place) { /* once more, with a copy of x */
        b.copy = copy.p;
        memset(ty.p, 0x11, (size_t)n * nb_dtype_size(Y));
        l->k.rmsnorm(&b);
        nbt_typed_equal("copy", &copy, x);
    }
    nbt_typed_free(&copy);
    nbt_typed_equal("rmsnorm", place ? &tx : &ty, want);
    nbt_typed trs = nbt_typed_of(rs2, rows, NB_DT_F32);
    nbt_typed_equal("rstd", &trs, rs);
    nbt_typed_free(&tx);
    nbt_typed_free(&ty);
    nbt_typed_free(&trs);
    nbi_free(x);
    nbi_free(w);
    nbi_free(want);
    nbi_free(rs);
    nbi_free(rs2);
}

static void test_rmsnorm(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    for (int i = 0; i < WIDTHS; i++)
        FOR_DTYPE(X)
        {
            FOR_DTYPE(Y)
            rmsnorm_case(&l, i % 2 ? 33 : 5, widths[i], X, Y, false);
            rmsnorm_case(&l, 5, widths[i], X, X, true);
        }
}

static void rmsnorm_bwd_case(nbt_level *l, int64_t rows, int64_t d, const nb_dtype t[3], bool add,
                             bool place)
{
    const int64_t n = rows * d;
    float *x = values(n, 1, t[0], d == 131), *dy = values(n, 2, t[1], d == 64);
    float *want = place ? nbt_copy(dy, (size_t)n) : values(n, 3, t[2], false);
    float *w = nbt_random((size_t)d, 4, 1.0), *rstd = nbt_random((size_t)rows, 5, 1.0);
    float *dw = nbt_floats((size_t)d), *dw2 = nbt_floats((size_t)d);
    nbt_typed tx = nbt_typed_of(x, n, t[0]), tdy = nbt_typed_of(dy, n, t[1]);
    nbt_typed tdx = nbt_typed_of(want, n, t[2]);
    nb_rmsnorm_bwd_args a = {l->q, rows, d, x, w, rstd, dy, 0.25f, want, add, dw};
    l->k.rmsnorm_bwd(&a);
    nb_rmsnorm_bwd_args b = a;
    b.x = tx.p;
    b.dy = tdy.p;
    b.dx = place ? tdy.p : tdx.p;
    b.dw = dw2;
    b.x_dtype = t[0];
    b.dy_dtype = t[1];
    b.dx_dtype = t[2];
    l->k.rmsnorm_bwd(&b);
    nbt_typed_equal("dx", place ? &tdy : &tdx, want);
    nbt_typed tdw = nbt_typed_of(dw2, d, NB_DT_F32);
    nbt_typed_equal("dw", &tdw, dw);
    for (int64_t c = 0; c < d; c++) { /* the sum itself, rows in order */
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)dy[r * d + c] * (double)x[r * d + c] * (double)rstd[r];
        if (isfinite(sum))
            nbt_within("dw", fabs((double)dw[c] - sum), 0x1p-24 * fabs(sum));
        else
            assert_true(!isfinite(dw[c]));
    }
    nbt_typed_free(&tx);
    nbt_typed_free(&tdy);
    nbt_typed_free(&tdx);
    nbt_typed_free(&tdw);
    nbi_free(x);
    nbi_free(dy);
    nbi_free(want);
    nbi_free(w);
    nbi_free(rstd);
    nbi_free(dw);
    nbi_free(dw2);
}

static void test_rmsnorm_bwd(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    for (int i = 0; i < WIDTHS; i++) {
        for (unsigned c = 0; c < 16; c++) {
            const nb_dtype t[] = {nbt_act_dtypes[c & 1], nbt_act_dtypes[c >> 1 & 1],
                                  nbt_act_dtypes[c >> 2 & 1]};
            rmsnorm_bwd_case(&l, i % 2 ? 37 : 6, widths[i], t, c >> 3, false);
        }
        for (unsigned c = 0; c < 4; c++) {
            const nb_dtype t[] = {nbt_act_dtypes[c & 1], nbt_act_dtypes[c >> 1],
                                  nbt_act_dtypes[c >> 1]};
            rmsnorm_bwd_case(&l, 6, widths[i], t, false, true);
        }
    }
}

static void glu_case(nbt_level *l, nb_act act, int64_t n, nb_dtype T)
{
    float *g = values(n, 1, T, true), *u = values(n, 2, T, n % 2), *dh = values(n, 3, T, false);
    float *h = nbt_floats((size_t)n), *dg = nbt_floats((size_t)n), *du = nbt_floats((size_t)n);
    nb_glu_args a = {l->q, act, n, g, u, h};
    l->k.glu(&a);
    nb_glu_bwd_args b = {l->q, act, n, g, u, dh, dg, du, NULL};
    l->k.glu_bwd(&b);
    nbt_typed tg = nbt_typed_of(g, n, T), tu = nbt_typed_of(u, n, T), td = nbt_typed_of(dh, n, T);
    nbt_typed th = nbt_typed_of(u, n, T); /* h in the place of u */
    nb_glu_args c = {l->q, act, n, tg.p, th.p, th.p, T};
    l->k.glu(&c);
    nbt_typed_equal("glu", &th, h);
    /* all three results in the places of the operands */
    nb_glu_bwd_args e = {l->q, act, n, tg.p, tu.p, td.p, tg.p, tu.p, td.p, T};
    l->k.glu_bwd(&e);
    nbt_typed_equal("dg", &tg, dg);
    nbt_typed_equal("du", &tu, du);
    nbt_typed_equal("h of glu_bwd", &td, h);
    nbt_typed_free(&tg);
    nbt_typed_free(&tu);
    nbt_typed_free(&td);
    nbt_typed_free(&th);
    nbi_free(g);
    nbi_free(u);
    nbi_free(dh);
    nbi_free(h);
    nbi_free(dg);
    nbi_free(du);
}

static void test_glu(void **state)
{
    (void)state;
    static const int64_t sizes[] = {1, 7, 16, 35, 4099, 9001};
    NBT_FOR_LEVELS(l, 2)
    for (nb_act act = NB_ACT_SILU; act <= NB_ACT_GELU_ERF; act++)
        for (int i = 0; i < 6; i++)
            FOR_DTYPE(T)
    glu_case(&l, act, sizes[i], T);
}

static void rope_case(nbt_level *l, const int64_t s[5], nb_dtype T, bool inverse)
{
    const int64_t rows = s[0], n = rows * s[1] * s[3], n2 = rows * s[2] * s[3];
    float *x = values(n, 1, T, true), *x2 = values(n2, 2, T, false);
    float *cs = nbt_random((size_t)(rows * s[4] * 2), 3, 1.0);
    nbt_typed tx = nbt_typed_of(x, n, T), tx2 = nbt_typed_of(x2, n2, T);
    nb_rope_args a = {l->q, rows, s[1], s[3], s[4], x, cs, inverse};
    l->k.rope(&a);
    nb_rope_args b = {l->q, rows, s[2], s[3], s[4], x2, cs, inverse};
    l->k.rope(&b);
    nb_rope_args c = {l->q, rows, s[1], s[3], s[4], tx.p, cs, inverse, T, tx2.p, s[2]};
    l->k.rope(&c);
    nbt_typed_equal("rope", &tx, x);
    nbt_typed_equal("rope of the second", &tx2, x2);
    nbt_typed_free(&tx);
    nbt_typed_free(&tx2);
    nbi_free(x);
    nbi_free(x2);
    nbi_free(cs);
}

static void test_rope(void **state)
{
    (void)state;
    static const int64_t shapes[][5] = {{6, 3, 1, 8, 4},     {5, 2, 2, 40, 10}, {3, 1, 4, 256, 128},
                                        {33, 8, 2, 64, 32},  {2, 3, 1, 7, 3},   {1, 1, 1, 2, 1},
                                        {2, 1, 1, 300, 150}, {9, 4, 2, 128, 64}};
    NBT_FOR_LEVELS(l, 2)
    for (int i = 0; i < 8; i++)
        FOR_DTYPE(T)
        {
            rope_case(&l, shapes[i], T, false);
            rope_case(&l, shapes[i], T, true);
        }
}

static void bias_case(nbt_level *l, int64_t rows, int64_t d, int64_t ld, nb_dtype T)
{
    const int64_t n = (rows - 1) * ld + d;
    float *y = values(n, 1, T, true), *b = nbt_random((size_t)d, 2, 1.0);
    float *db = nbt_copy(b, (size_t)d), *db2 = nbt_copy(b, (size_t)d);
    nbt_typed ty = nbt_typed_of(y, n, T);
    nb_bias_bwd_args e = {l->q, rows, d, y, ld, db};
    l->k.bias_bwd(&e);
    nb_bias_bwd_args f = {l->q, rows, d, ty.p, ld, db2, T};
    l->k.bias_bwd(&f);
    nbt_typed tdb = nbt_typed_of(db2, d, NB_DT_F32);
    nbt_typed_equal("bias_bwd", &tdb, db);
    nb_bias_args a = {l->q, rows, d, b, y, ld};
    l->k.bias(&a);
    nb_bias_args c = {l->q, rows, d, b, ty.p, ld, T};
    l->k.bias(&c);
    nbt_typed_equal("bias", &ty, y);
    nbt_typed_free(&ty);
    nbt_typed_free(&tdb);
    nbi_free(y);
    nbi_free(b);
    nbi_free(db);
    nbi_free(db2);
}

static void test_bias(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    for (int i = 0; i < WIDTHS; i++)
        FOR_DTYPE(T)
        {
            bias_case(&l, 21, widths[i], widths[i], T);
            bias_case(&l, 70, widths[i], widths[i] + 5, T);
        }
}

static void dropout_case(nbt_level *l, int64_t rows, int64_t d, nb_dtype X, nb_dtype Y, float p)
{
    const int64_t n = rows * d;
    float *x = values(n, 1, X, true), *want = nbt_floats((size_t)n);
    int32_t example[64], token[64];
    for (int i = 0; i < 64; i++) {
        example[i] = i / 7;
        token[i] = i % 7;
    }
    nb_dropout_args a = {l->q, rows, d, x, want, p, 7, 3, 1, example, token};
    l->k.dropout(&a);
    nbt_typed tx = nbt_typed_of(x, n, X), ty = nbt_typed_of(want, n, Y);
    nb_dropout_args b = {l->q, rows, d, tx.p, ty.p, p, 7, 3, 1, example, token, X, Y};
    l->k.dropout(&b);
    nbt_typed_equal("dropout", &ty, want);
    if (X == Y) {
        b.y = tx.p;
        l->k.dropout(&b);
        nbt_typed_equal("dropout in place", &tx, want);
    }
    nbt_typed_free(&tx);
    nbt_typed_free(&ty);
    nbi_free(x);
    nbi_free(want);
}

/* Added to what is there, between rows of other strides: as the plain call and a sum. */
static void dropout_add_case(nbt_level *l, int64_t rows, int64_t d, nb_dtype X, nb_dtype Y)
{
    const int64_t ldx = d + 3, ldy = d + 5;
    float *x = values(rows * ldx, 1, X, true), *y = values(rows * ldy, 2, Y, true);
    float *row = nbt_floats((size_t)d);
    int32_t example[64] = {0}, token[64];
    for (int i = 0; i < 64; i++)
        token[i] = i;
    nbt_typed tx = nbt_typed_of(x, rows * ldx, X), ty = nbt_typed_of(y, rows * ldy, Y);
    nb_dropout_args b = {l->q, rows,    d,     tx.p, ty.p, 0.4f, 7,   3,
                         1,    example, token, X,    Y,    ldx,  ldy, true};
    l->k.dropout(&b);
    for (int64_t r = 0; r < rows; r++) {
        nb_dropout_args a = {l->q, 1, d, x + r * ldx, row, 0.4f, 7, 3, 1, example, token + r};
        l->k.dropout(&a);
        for (int64_t c = 0; c < d; c++)
            y[r * ldy + c] += row[c];
    }
    nbt_typed_equal("dropout added", &ty, y);
    nbt_typed_free(&tx);
    nbt_typed_free(&ty);
    nbi_free(x);
    nbi_free(y);
    nbi_free(row);
}

static void test_dropout(void **state)
{
    (void)state;
    NBT_FOR_LEVELS(l, 2)
    for (int i = 0; i < WIDTHS; i++)
        FOR_DTYPE(X)
        {
            FOR_DTYPE(Y)
            {
                dropout_case(&l, 9, widths[i], X, Y, 0.3f);
                dropout_case(&l, 9, widths[i], X, Y, 0.0f);
                dropout_add_case(&l, 9, widths[i], X, Y);
            }
        }
}

/* Every upper half, with the lower halves that decide: rounding as nb_f32_to_bf16 defines it. */
static void test_rounding(void **state)
{
    (void)state;
    static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    enum { N = 65536 };
    float *x = nbt_floats(N);
    const int32_t zero = 0;
    NBT_FOR_LEVELS(l, 1)
    for (int k = 0; k < 6; k++) {
        for (uint32_t i = 0; i < N; i++)
            x[i] = nb_f32_from_bits(i << 16 | low[k]);
        nbt_typed y = nbt_typed_of(x, N, NB_DT_BF16);
        memset(y.p, 0x11, 2 * N);
        /* a rate of 0 copies */
        nb_dropout_args a = {l.q, 1, N, x, y.p, 0.0f, 7, 3, 1, &zero, &zero, NB_DT_F32, NB_DT_BF16};
        l.k.dropout(&a);
        nbt_typed_equal("rounding", &y, x);
        nbt_typed_free(&y);
    }
    nbi_free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rmsnorm), cmocka_unit_test(test_rmsnorm_bwd),
        cmocka_unit_test(test_glu),     cmocka_unit_test(test_rope),
        cmocka_unit_test(test_bias),    cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_rounding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
