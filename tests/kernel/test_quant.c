/* SPDX-License-Identifier: MIT */
/* Code books and quantisation: published values, the rules, and what reading restores. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel_util.h"

static void test_books(void **state)
{
    (void)state;
    static const double nf4[] = {-1.0,
                                 -0.6961928009986877,
                                 -0.5250730514526367,
                                 -0.39491748809814453,
                                 -0.28444138169288635,
                                 -0.18477343022823334,
                                 -0.09105003625154495,
                                 0.0,
                                 0.07958029955625534,
                                 0.16093020141124725,
                                 0.24611230194568634,
                                 0.33791524171829224,
                                 0.44070982933044434,
                                 0.5626170039176941,
                                 0.7229568362236023,
                                 1.0};
    static const double fp4[] = {0, 0.0625, 8, 12, 4, 6, 2, 3};
    for (int i = 0; i < 16; i++) {
        assert_true((double)nb_book_nf4[i] == nf4[i]);
        assert_true(nb_book_fp4[i] == (float)((i < 8 ? fp4[i] : -fp4[i - 8]) / 12.0));
    }
    /* thresholds lie between the sorted values */
    for (int i = 0; i < 15; i++) {
        const double a = (double)nb_book_nf4[nb_sorted_code_nf4[i]];
        const double b = (double)nb_book_nf4[nb_sorted_code_nf4[i + 1]];
        nbt_within("nf4 threshold", fabs((double)nb_thresholds_nf4[i] - (a + b) / 2), 0x1p-24);
        const double c = (double)nb_book_fp4[nb_sorted_code_fp4[i]];
        const double d = (double)nb_book_fp4[nb_sorted_code_fp4[i + 1]];
        nbt_within("fp4 threshold", fabs((double)nb_thresholds_fp4[i] - (c + d) / 2), 0x1p-24);
        assert_true(d >= c && b > a);
    }
}

static void test_dynamic_map(void **state)
{
    (void)state;
    float map[256];
    nb_dynamic_map_signed(map);
    assert_true(map[0] == -0.99296874f && map[1] == -0.97890627f && map[127] == 0.0f);
    assert_true(fabsf(map[126] + 5.5e-7f) < 1e-13f && map[254] == 0.99296874f && map[255] == 1.0f);
    for (int i = 1; i < 256; i++)
        assert_true(map[i] > map[i - 1]);
    for (int i = 1; i < 128; i++)
        assert_true(map[127 + i] == -map[127 - i]);
}

static void quantize(const nbt_level *l, nb_qkind kind, const float *x, int64_t n, int64_t block,
                     uint8_t *codes, float *absmax)
{
    nb_quantize4_args a = {l->q, kind, NB_DT_F32, x, n, block, codes, absmax};
    l->k.quantize4(&a);
}

/* The table of formats: values of a block whose largest is 1, and the code each must get. */
static void test_known_codes(void **state)
{
    (void)state;
    float x[64] = {1.0f};
    uint8_t codes[32];
    float absmax;
    NBT_FOR_LEVELS(l, 1)
    {
        for (int i = 0; i < 16; i++) {
            x[1] = nb_book_nf4[i];
            quantize(&l, NB_QK_NF4, x, 64, 64, codes, &absmax);
            assert_int_equal(codes[0], 15 << 4 | i);
            assert_int_equal(codes[1], 0x77); /* zeros */
            x[1] = nb_book_fp4[i];
            quantize(&l, NB_QK_FP4, x, 64, 64, codes, &absmax);
            assert_int_equal(codes[0], 3 << 4 | (i == 8 ? 0 : i));
            assert_int_equal(codes[1], 0);
        }
        for (int i = 0; i < 15; i++) { /* strictly above the threshold */
            x[1] = nb_thresholds_nf4[i];
            x[2] = nextafterf(x[1], 2.0f);
            quantize(&l, NB_QK_NF4, x, 64, 64, codes, &absmax);
            assert_int_equal(codes[0] & 15, i);
            assert_int_equal(codes[1] >> 4, i + 1);
        }
        x[2] = 0.0f;
        x[1] = 1e-9f; /* tiny values of FP4: signed zeros */
        quantize(&l, NB_QK_FP4, x, 64, 64, codes, &absmax);
        assert_int_equal(codes[0] & 15, 8);
        x[1] = -1e-9f;
        quantize(&l, NB_QK_FP4, x, 64, 64, codes, &absmax);
        assert_int_equal(codes[0] & 15, 0);
    }
}

static void test_zero_and_odd(void **state)
{
    (void)state;
    float x[67] = {0}, absmax[2];
    uint8_t codes[34];
    NBT_FOR_LEVELS(l, 2)
    {
        memset(codes, 0xee, sizeof(codes));
        quantize(&l, NB_QK_NF4, x, 67, 64, codes, absmax);
        for (int i = 0; i < 34; i++)
            assert_int_equal(codes[i], 0x77);
        assert_true(absmax[0] == 0.0f && absmax[1] == 1e-38f);
        quantize(&l, NB_QK_FP4, x, 67, 64, codes, absmax);
        for (int i = 0; i < 34; i++)
            assert_int_equal(codes[i], 0);
        x[66] = -3.0f;
        x[5] = NAN; /* counts as 0 */
        quantize(&l, NB_QK_NF4, x, 67, 64, codes, absmax);
        assert_int_equal(codes[33], 0x07);
        assert_int_equal(codes[2], 0x77);
        assert_true(absmax[0] == 0.0f && absmax[1] == 3.0f);
        x[66] = 0.0f;
        x[5] = 0.0f;
    }
}

/* Each value goes to the nearest entry (its own midpoint rule aside), any dtype. */
static void test_nearest(void **state)
{
    (void)state;
    enum { N = 3000 };
    float *x = nbt_random(N, 1, 1.0), absmax[(N + 63) / 64];
    uint16_t h[N];
    uint8_t a[N / 2], b[N / 2];
    for (int i = 0; i < N; i++) {
        h[i] = nb_f32_to_bf16(x[i]);
        x[i] = nb_bf16_to_f32(h[i]);
    }
    NBT_FOR_LEVELS(l, 3)
    {
        quantize(&l, NB_QK_NF4, x, N, 64, a, absmax);
        nb_quantize4_args as_bf16 = {l.q, NB_QK_NF4, NB_DT_BF16, h, N, 64, b, absmax};
        l.k.quantize4(&as_bf16);
        assert_memory_equal(a, b, N / 2);
        for (int i = 0; i < N; i++) {
            const double s = (double)x[i] / (double)absmax[i / 64];
            const int code = i % 2 ? a[i / 2] & 15 : a[i / 2] >> 4;
            for (int c = 0; c < 16; c++)
                assert_true(fabs(s - (double)nb_book_nf4[code]) <=
                            fabs(s - (double)nb_book_nf4[c]) + 0x1p-22);
        }
    }
    nbi_free(x);
}

static void test_quantize8(void **state)
{
    (void)state;
    enum { N = 1000 };
    float *x = nbt_random(N, 1, 0.01), map[256], absmax[4];
    uint8_t codes[N];
    nb_dynamic_map_signed(map);
    for (int i = 256; i < 512; i++)
        x[i] = 0.5f; /* the offset: a zero block */
    NBT_FOR_LEVELS(l, 2)
    {
        nb_quantize8_args a = {l.q, x, N, 256, map, 0.5f, codes, absmax};
        l.k.quantize8(&a);
        assert_true(absmax[1] == 0.0f);
        for (int i = 0; i < N; i++) {
            if (i / 256 == 1) {
                assert_int_equal(codes[i], 127);
                continue;
            }
            const double s = ((double)(x[i] - 0.5f)) / (double)absmax[i / 256];
            for (int c = 0; c < 256; c++)
                assert_true(fabs(s - (double)map[codes[i]]) <= fabs(s - (double)map[c]) + 0x1p-22);
        }
    }
    nbi_free(x);
}

/* The nested scale rounds twice: a fused multiply-add would give other bits. */
static void test_nested_scale_is_not_fused(void **state)
{
    (void)state;
    enum { N = 64 * 300 };
    uint8_t codes[N / 2], scales[300];
    float map[256], nested[2] = {0.0371234f, 0.0123457f}, out[N];
    int differ = 0;
    nb_dynamic_map_signed(map);
    for (int i = 0; i < N / 2; i++)
        codes[i] = 0xff;
    for (int i = 0; i < 300; i++)
        scales[i] = (uint8_t)(i * 37);
    nb_qtensor t = {.kind = NB_QK_NF4,
                    .n = 300,
                    .k = 64,
                    .data = codes,
                    .block = 64,
                    .absmax_codes = scales,
                    .nested_absmax = nested,
                    .nested_book = map,
                    .nested_block = 256,
                    .nested_offset = 0.0412345f};
    memcpy(t.book, nb_book_nf4, sizeof(t.book));
    NBT_FOR_LEVELS(l, 1)
    {
        nb_decode_args a = {l.q, &t, 0, 300, 0, 64, out, 64};
        l.k.decode(&a);
        for (int i = 0; i < 300; i++) {
            volatile float product = map[scales[i]] * nested[i / 256];
            volatile float sum = product + t.nested_offset;
            assert_true(out[64 * i] == sum && out[64 * i + 63] == sum);
            differ += fmaf(map[scales[i]], nested[i / 256], t.nested_offset) != sum;
        }
    }
    assert_true(differ > 0); /* else this test shows nothing */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_books),
                                       cmocka_unit_test(test_dynamic_map),
                                       cmocka_unit_test(test_known_codes),
                                       cmocka_unit_test(test_zero_and_odd),
                                       cmocka_unit_test(test_nearest),
                                       cmocka_unit_test(test_quantize8),
                                       cmocka_unit_test(test_nested_scale_is_not_fused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
