/* SPDX-License-Identifier: MIT */
/* Element types, half precision, sizes of stored weights, queues and CPU features. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "kernel/kernel.h"
#include "tensor/half.h"
#include "tensor/qtensor.h"

static void test_dtype(void **state)
{
    (void)state;
    nb_dtype t;
    for (int i = 0; i < NB_DT_COUNT; i++) {
        const char *names[] = {nb_dtype_name((nb_dtype)i), nb_dtype_torch((nb_dtype)i)};
        for (int j = 0; j < 2; j++) {
            assert_true(nb_dtype_parse(names[j], strlen(names[j]), &t));
            assert_int_equal(t, i);
        }
        assert_true(nb_dtype_size((nb_dtype)i) > 0);
    }
    assert_true(nb_dtype_parse("torch.bfloat16", 14, &t) && t == NB_DT_BF16);
    assert_false(nb_dtype_parse("torch.BF16", 10, &t));
    assert_false(nb_dtype_parse("BF16x", 5, &t));
    assert_false(nb_dtype_parse("BF1", 3, &t));
    assert_false(nb_dtype_parse("", 0, &t));
    assert_int_equal(nb_dtype_size(NB_DT_F64), 8);
    assert_int_equal(nb_dtype_size((nb_dtype)99), 0);
    assert_string_equal(nb_dtype_name((nb_dtype)-1), "?");
    assert_true(nb_dtype_is_dense_float(NB_DT_F16) && !nb_dtype_is_dense_float(NB_DT_F64));
}

/* Every finite half value converts back to itself; halfway cases go to the even neighbour. */
static void test_half(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float f = nb_f16_to_f32((uint16_t)h), b = nb_bf16_to_f32((uint16_t)h);
        if ((h & 0x7fff) > 0x7c00)
            assert_true(isnan(f) && isnan(nb_f16_to_f32(nb_f32_to_f16(f))));
        else
            assert_int_equal(nb_f32_to_f16(f), h);
        if ((h & 0x7fff) > 0x7f80)
            assert_true(isnan(b) && isnan(nb_round_bf16(b)));
        else
            assert_int_equal(nb_f32_to_bf16(b), h);
        if ((h & 0x7fff) < 0x7bff) {
            const float next = nb_f16_to_f32((uint16_t)(h + 1)), mid = 0.5f * (f + next);
            assert_int_equal(nb_f32_to_f16(mid), h + (h & 1));
            assert_int_equal(nb_f32_to_f16(nextafterf(mid, next)), h + 1);
            assert_int_equal(nb_f32_to_f16(nextafterf(mid, f)), h);
        }
        if ((h & 0x7fff) < 0x7f7f) {
            const float mid = nb_f32_from_bits(h << 16 | 0x8000u);
            assert_int_equal(nb_f32_to_bf16(mid), h + (h & 1));
        }
    }
    assert_true(nb_f16_to_f32(0x3c00) == 1.0f && nb_f16_to_f32(0x0001) == 0x1p-24f);
    assert_int_equal(nb_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(nb_f32_to_f16(65519.0f), 0x7bff);
    assert_int_equal(nb_f32_to_bf16(3.4e38f), 0x7f80);
    assert_int_equal(nb_f32_to_f16(0x1p-25f), 0);
}

static void test_bytes(void **state)
{
    (void)state;
    nb_qtensor t = nb_qtensor_dense(NB_DT_BF16, NULL, 3, 5);
    assert_int_equal(nb_qtensor_data_bytes(&t), 30);
    assert_int_equal(nb_qtensor_stat_bytes(&t), 0);
    float absmax = 0;
    t.kind = NB_QK_NF4;
    t.block = 64;
    t.n = 13; /* 65 elements: 33 bytes, 2 blocks */
    t.absmax = &absmax;
    assert_int_equal(nb_qtensor_data_bytes(&t), 33);
    assert_int_equal(nb_qtensor_stat_bytes(&t), 8);
    t.absmax = NULL;
    t.nested_block = 256;
    assert_int_equal(nb_qtensor_stat_bytes(&t), 2 + 4 + 1024);
    assert_string_equal(nb_qkind_name(NB_QK_FP4), "fp4");
}

static void test_queue(void **state)
{
    (void)state;
    nb_error err;
    nb_queue *q;
    const size_t before = nbt_in_use();
    NBT_OK(nb_queue_open(&q, 3, &err));
    assert_int_equal(q->threads, 3);
    assert_int_equal((uintptr_t)nb_queue_scratch(q, 2) % 64, 0);
    memset(nb_queue_scratch(q, 2), 1, q->scratch_bytes);
    NBT_OK(nb_queue_wait(q, &err));
    nb_queue_close(&q);
    assert_null(q);
    nb_queue_close(&q);
    NBT_OK(nb_queue_open(&q, 0, &err));
    assert_int_equal(q->threads, nb_device_cpu_count());
    assert_true(q->threads >= 1);
    nb_queue_close(&q);
    NBT_FAILS(NB_CONFIG, "100000", nb_queue_open(&q, 100000, &err));
    for (uint64_t k = 1; k <= 2; k++) {
        nbi_alloc_fail_at(k, false);
        NBT_FAILS(NB_NOMEM, "", nb_queue_open(&q, 1, &err));
        assert_null(q);
    }
    nbi_alloc_fail_at(0, false);
    assert_int_equal(nbt_in_use(), before);
}

static void test_cpu(void **state)
{
    (void)state;
    char buf[128], brand[64];
    nb_cpu_describe(0, buf, brand);
    assert_string_equal(buf, "none");
    assert_true(brand[0] != '\0');
    nb_cpu_describe(NB_CPU_AVX2 | NB_CPU_AMX, buf, brand);
    assert_string_equal(buf, "avx2 amx");
    nb_kernels k;
    nb_kernels_init(&k, 0);
    assert_string_equal(k.matmul_variant, "ref");
    nb_kernels_init(&k, nb_cpu_flags());
#define NBT_FILLED(member, type) assert_true(k.member &&k.member##_variant);
    NB_KERNEL_MAP(NBT_FILLED)
    const unsigned wide = NB_CPU_AVX2 | NB_CPU_AVX512, pairs = wide | NB_CPU_AVX512BF16;
    nb_kernels_init(&k, nb_cpu_flags() & wide);
    if (nb_cpu_flags() & NB_CPU_AVX512)
        assert_string_equal(k.qmatmul_variant, "avx512");
    nb_kernels_init(&k, nb_cpu_flags() & pairs);
    if (nb_cpu_flags() & NB_CPU_AVX512BF16)
        assert_string_equal(k.qmatmul_variant, "avx512bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dtype), cmocka_unit_test(test_half),
                                       cmocka_unit_test(test_bytes), cmocka_unit_test(test_queue),
                                       cmocka_unit_test(test_cpu)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
