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
        quantize(&l, NB_QK_NF4, x, 67, 64, codes, absmax);
        assert_int_equal(codes[33], 0x07);
        assert_true(absmax[0] == 0.0f && absmax[1] == 3.0f);
        x[66] = 0.0f;
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

enum { LONGEST = 4096 * 3 + 77 };

/* Values that are hard to place: thresholds and their neighbours, subnormals, zeros, large ones;
 * `i` counts. The first of 32 is the largest, so that the others keep their value. */
static float hard_value(nbi_rng *r, int64_t i)
{
    const float *t = i % 3 ? nb_thresholds_nf4 : nb_thresholds_fp4;
    const float at = t[(i / 3) % 15];
    if (i % 32 == 0)
        return i % 64 ? 1.0f : -1.0f;
    switch (i % 7) {
    case 0:
        return at;
    case 1:
        return nextafterf(at, 2.0f);
    case 2:
        return nextafterf(at, -2.0f);
    case 3:
        return (i / 1024) % 2 ? 1e-42f : -0.0f;
    default:
        return (float)nbi_rng_normal(r) * ((i / 2048) % 2 ? 1e-39f : 0.3f);
    }
}

static void fill_hard(nb_dtype dtype, void *x, int64_t n, uint64_t seed, bool poisoned)
{
    nbi_rng r;
    nbi_rng_init(&r, seed, NBI_RNG_INIT, 0);
    for (int64_t i = 0; i < n; i++) {
        float v = hard_value(&r, i + (int64_t)seed);
        if ((i / 512) % 8 == 7)
            v *= 3e4f;
        if (poisoned && i % 777 == 3)
            v = i % 2 ? NAN : -INFINITY;
        if (dtype == NB_DT_F32)
            ((float *)x)[i] = v;
        else
            ((uint16_t *)x)[i] = dtype == NB_DT_BF16 ? nb_f32_to_bf16(v) : nb_f32_to_f16(v);
    }
}

typedef struct result4 {
    uint8_t codes[LONGEST / 2 + 64];
    float absmax[LONGEST / 32 + 16];
} result4;

/* Bytes behind the result keep their value. */
static void quantize_guarded(const nbt_level *l, nb_quantize4_args a, result4 *out)
{
    const size_t bytes = (size_t)(a.n / 2 + a.n % 2);
    const size_t blocks = (size_t)(a.n / a.block + (a.n % a.block != 0));
    memset(out, 0xa5, sizeof(*out));
    a.q = l->q;
    a.codes = out->codes;
    a.absmax = out->absmax;
    l->k.quantize4(&a);
    for (size_t i = bytes; i < sizeof(out->codes); i++)
        assert_int_equal(out->codes[i], 0xa5);
    for (size_t i = blocks * 4; i < sizeof(out->absmax); i++)
        assert_int_equal(((uint8_t *)out->absmax)[i], 0xa5);
}

/* Every variant, any number of threads, any length and alignment: the bits of the reference. */
static void test_variants_agree(void **state)
{
    (void)state;
    static const int64_t lengths[] = {0, 1, 2, 31, 32, 33, 63, 64, 65, 4095, 4096, 4097, LONGEST};
    static const nb_dtype dtypes[] = {NB_DT_F32, NB_DT_BF16, NB_DT_F16};
    float *store = nbt_floats(LONGEST + 2);
    result4 *want = malloc(sizeof(*want)), *got = malloc(sizeof(*got));
    nbt_level ref = {.q = nbt_queue(1)};
    nb_kernels_init(&ref.k, 0);
    NBT_FOR_LEVELS(l, 3)
    {
        for (int c = 0; c < 3 * 2 * 4 * 13; c++) {
            const nb_dtype dtype = dtypes[c % 3];
            const int64_t n = lengths[c / 3 % 13];
            void *x = (char *)store + (c % 2) * (int64_t)nb_dtype_size(dtype);
            fill_hard(dtype, x, n, (uint64_t)c, c % 5 == 4);
            for (int64_t block = 32; block <= 4096; block *= 4) {
                nb_quantize4_args a = {.kind = c / 39 % 2 ? NB_QK_FP4 : NB_QK_NF4,
                                       .dtype = dtype,
                                       .x = x,
                                       .n = n,
                                       .block = block};
                quantize_guarded(&ref, a, want);
                quantize_guarded(&l, a, got);
                assert_memory_equal(want, got, sizeof(*want));
            }
        }
    }
    nb_queue_close(&ref.q);
    free(want);
    free(got);
    nbi_free(store);
}

/* A block with NaN or infinity can be told by its scale, and its neighbours are what they were. */
static void test_not_finite(void **state)
{
    (void)state;
    float *x = nbt_random(256, 5, 1.0), absmax[4];
    uint8_t codes[128];
    NBT_FOR_LEVELS(l, 1)
    {
        for (int i = 64; i < 128; i += 9) {
            const float keep = x[i];
            x[i] = NAN;
            quantize(&l, NB_QK_NF4, x, 256, 64, codes, absmax);
            assert_true(isnan(absmax[1]) && isfinite(absmax[0]) && isfinite(absmax[2]));
            x[i] = -INFINITY;
            quantize(&l, NB_QK_FP4, x, 256, 64, codes, absmax);
            assert_true(isinf(absmax[1]) && isfinite(absmax[0]) && isfinite(absmax[2]));
            x[i] = keep;
        }
    }
    nbi_free(x);
}

static void test_variants_agree_8(void **state)
{
    (void)state;
    enum { N = 1500, GUARD = 32 };
    static const int64_t blocks[] = {32, 256, 2048};
    float map[256], want_scale[N], scale[N];
    uint8_t want[N + GUARD], got[N + GUARD];
    nb_dynamic_map_signed(map);
    nb_quantize8_args a = {.book = map, .offset = 0.25f};
    nb_queue *one = nbt_queue(1);
    NBT_FOR_LEVELS(l, 3)
    {
        for (int c = 0; c < 60; c++) {
            float *x = nbt_random(N + 1, (uint64_t)c, c % 3 ? 0.5 : 1e-4);
            /* midpoints of the map, where the rule decides */
            for (int i = 0; i < 255; i++)
                x[i + 64] = 0.25f + (map[i] + map[i + 1]) * 0.5f;
            x[64 + 255] = 1.25f;
            if (c % 7 == 0)
                x[c] = NAN;
            a.n = N - c * 13;
            a.x = x + c % 2;
            a.block = blocks[c / 2 % 3];
            nb_kernels ref;
            nb_kernels_init(&ref, 0);
            a.q = one, a.codes = want, a.absmax = want_scale;
            memset(want, 0xa5, sizeof(want));
            memset(got, 0xa5, sizeof(got));
            ref.quantize8(&a);
            a.q = l.q, a.codes = got, a.absmax = scale;
            l.k.quantize8(&a);
            assert_memory_equal(want, got, sizeof(want));
            assert_memory_equal(want_scale, scale,
                                (size_t)((a.n + a.block - 1) / a.block) * sizeof(float));
            nbi_free(x);
        }
    }
    nb_queue_close(&one);
}

/* Whatever the length, the mean is that of the f64 sum to half an ulp or so. */
static void test_mean(void **state)
{
    (void)state;
    assert_true(nb_quant_mean(NULL, 0) == 0.0f);
    for (int64_t n = 1; n < 200; n += 3) {
        float *x = nbt_random((size_t)n, (uint64_t)n, 2.0);
        double sum = 0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)x[i];
        nbt_within("mean", fabs((double)nb_quant_mean(x, n) - sum / (double)n),
                   fabs(sum / (double)n) * 0x1p-24 + 1e-14);
        nbi_free(x);
    }
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
                                       cmocka_unit_test(test_variants_agree),
                                       cmocka_unit_test(test_not_finite),
                                       cmocka_unit_test(test_variants_agree_8),
                                       cmocka_unit_test(test_mean),
                                       cmocka_unit_test(test_nested_scale_is_not_fused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
