/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/arena.h"
#include "base/array.h"
#include "base/strbuf.h"
#include "nibble/tokenizer.h"

static void aligns_and_counts(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,      1, 63, 64, 65, 4096, 1000000, 1 << 20, (1 << 20) + 1,
                                   5000000};
    size_t before = nbi_mem_current(NBI_MEM_KV);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        unsigned char *p = nbi_alloc(NBI_MEM_KV, n);
        unsigned char *z = nbi_calloc(NBI_MEM_KV, n, 1);
        assert_true(p && z && p != z);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_int_equal((uintptr_t)z % 64, 0);
        assert_int_equal(nbi_mem_current(NBI_MEM_KV), before + 2 * n);
        if (n > 0)
            memset(p, 0xA5, n);
        for (size_t k = 0; k < n; k++)
            assert_int_equal(z[k], 0);
        nbi_free(p);
        nb_free(z);
        assert_int_equal(nbi_mem_current(NBI_MEM_KV), before);
    }
    nbi_free(NULL);
    nb_free(NULL);
}

static void refuses_the_impossible(void **state)
{
    (void)state;
    size_t before = nbt_in_use();
    assert_null(nbi_alloc(NBI_MEM_IO, SIZE_MAX));
    assert_null(nbi_alloc(NBI_MEM_IO, SIZE_MAX - 64));
    assert_null(nbi_calloc(NBI_MEM_IO, SIZE_MAX / 2, 3));
    assert_null(nbi_calloc(NBI_MEM_IO, (size_t)1 << 62, 4));
    assert_int_equal(nbt_in_use(), before);
}

static void keeps_peaks(void **state)
{
    (void)state;
    nbi_mem_reset_peaks();
    size_t base = nbi_mem_current(NBI_MEM_SCALES);
    void *a = nbi_alloc(NBI_MEM_SCALES, 1000), *b = nbi_alloc(NBI_MEM_SCALES, 500);
    nbi_free(a);
    assert_int_equal(nbi_mem_peak(NBI_MEM_SCALES), base + 1500);
    assert_int_equal(nbi_mem_current(NBI_MEM_SCALES), base + 500);
    nbi_mem_reset_peaks();
    assert_int_equal(nbi_mem_peak(NBI_MEM_SCALES), base + 500);
    nbi_free(b);
    assert_string_equal(nbi_memtag_text(NBI_MEM_OPTIMIZER), "optimizer");
    assert_string_equal(nbi_memtag_text((nbi_memtag)99), "unknown");
}

static void reallocates(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,    100, 90, 1 << 20,    3 << 20, (1 << 20) + 7,
                                   1000, 0,   10, 900 * 1024, 0};
    unsigned char *p = NULL;
    size_t old = 0, before = nbt_in_use();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t n = sizes[i];
        p = nbi_realloc(i == 0 ? NBI_MEM_KV : NBI_MEM_IO, p, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < n && k < old; k++)
            assert_int_equal(p[k], (unsigned char)(k * 7));
        for (size_t k = 0; k < n; k++)
            p[k] = (unsigned char)(k * 7);
        assert_int_equal(nbt_in_use(), before + n);
        old = n;
    }
    nbi_free(p);
    p = nbi_alloc(NBI_MEM_KV, 100);
    p[99] = 9;
    nbi_alloc_fail_at(1, false);
    assert_null(nbi_realloc(NBI_MEM_KV, p, 2 << 20));
    nbi_alloc_fail_at(0, false);
    assert_null(nbi_realloc(NBI_MEM_KV, p, SIZE_MAX));
    assert_int_equal(p[99], 9);
    nbi_free(p);
    assert_int_equal(nbt_in_use(), before);
}

static void fails_on_demand(void **state)
{
    (void)state;
    for (int forever = 0; forever < 2; forever++) {
        nbi_alloc_fail_at(3, forever);
        for (int i = 1; i <= 5; i++) {
            void *p = nbi_alloc(NBI_MEM_IO, 10);
            assert_int_equal(p == NULL, i == 3 || (forever && i > 3));
            nbi_free(p);
        }
        assert_int_equal(nbi_alloc_count(), 5);
        nbi_alloc_fail_at(0, false);
    }
    assert_int_equal(nbi_alloc_count(), 0);
}

static void returns_large_blocks(void **state)
{
    (void)state;
    size_t n = (size_t)64 << 20, rss = nbi_mem_rss();
    if (rss == 0)
        skip();
    char *p = nbi_alloc(NBI_MEM_WEIGHTS, n);
    memset(p, 1, n);
    assert_true(nbi_mem_rss() >= rss + n / 2);
    assert_true(nbi_mem_rss_peak() >= rss + n / 2);
    nbi_free(p);
#ifndef __SANITIZE_ADDRESS__
    assert_true(nbi_mem_rss() < rss + n / 2);
#endif
}

static void fills_arenas(void **state)
{
    (void)state;
    nbi_arena a;
    size_t before = nbt_in_use();
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (int round = 0; round < 2; round++) {
        char *last = NULL;
        for (size_t i = 0; i < 3000; i++) {
            size_t align = (size_t)1 << (i % 7), n = i % 50 == 49 ? 20000 : i % 97;
            char *p = nbi_arena_alloc(&a, n, align);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % align, 0);
            memset(p, (int)i, n);
            last = p;
        }
        assert_non_null(last);
        char *s = nbi_arena_strndup(&a, "abcdef", 3), *e = nbi_arena_strndup(&a, NULL, 0);
        assert_string_equal(s, "abc");
        assert_string_equal(e, "");
        char *big = nbi_arena_alloc(&a, 3 << 20, 64);
        memset(big, 1, 3 << 20);
        assert_string_equal(s, "abc");
        assert_null(nbi_arena_alloc(&a, SIZE_MAX, 1));
        assert_null(nbi_arena_alloc(&a, SIZE_MAX - 64, 1));
        nbi_arena_free(&a);
        assert_int_equal(nbt_in_use(), before);
    }
    nbi_arena_free(&a);
}

static void grows_arrays(void **state)
{
    (void)state;
    NBI_ARRAY(int32_t) ids = {0};
    for (int32_t i = 0; i < 10000; i++)
        assert_true(nbi_array_push(&ids, i));
    for (int32_t i = 0; i < 10000; i++)
        assert_int_equal(ids.v[i], i);
    assert_true(nbi_array_reserve(&ids, 100000));
    assert_true(ids.cap >= 110000 && ids.n == 10000);
    size_t cap = ids.cap;
    assert_false(nbi_array_reserve(&ids, SIZE_MAX));
    assert_false(nbi_array_reserve(&ids, SIZE_MAX / 2));
    nbi_alloc_fail_at(1, true);
    assert_false(nbi_array_reserve(&ids, cap));
    nbi_alloc_fail_at(0, false);
    assert_true(ids.cap == cap && ids.v[9999] == 9999);
    nbi_array_free(&ids);
    assert_true(!ids.v && ids.n == 0 && ids.cap == 0);
}

static void builds_strings(void **state)
{
    (void)state;
    nbi_strbuf b = {0};
    nb_error err;
    assert_string_equal(nbi_strbuf_str(&b), "");
    nbi_strbuf_add(&b, NULL, 0);
    assert_string_equal(nbi_strbuf_str(&b), "");
    nbi_strbuf_puts(&b, "ab");
    nbi_strbuf_putc(&b, 'c');
    nbi_strbuf_add(&b, "d\0e", 3);
    nbi_strbuf_printf(&b, "%d-%s", 42, "x");
    assert_int_equal(b.n, 10);
    assert_memory_equal(b.s, "abcd\0e42-x", 11);
    for (size_t i = 0; i < 300; i++) { /* each length meets each fill level of the buffer */
        nbi_strbuf c = {0};
        for (size_t k = 0; k < i; k++)
            nbi_strbuf_putc(&c, 'x');
        nbi_strbuf_printf(&c, "%0*d", (int)(i % 70) + 1, 7);
        assert_int_equal(c.n, i + i % 70 + 1);
        assert_int_equal(c.s[c.n - 1], '7');
        nbi_strbuf_free(&c);
    }
    nbi_strbuf_clear(&b);
    assert_string_equal(nbi_strbuf_str(&b), "");
    NBT_OK(nbi_strbuf_check(&b, &err));
    nbi_alloc_fail_at(1, false);
    for (int i = 0; i < 100; i++)
        nbi_strbuf_puts(&b, "0123456789");
    nbi_alloc_fail_at(0, false);
    assert_true(b.failed && b.n < 1000);
    nbi_strbuf_puts(&b, "more");
    NBT_FAILS(NB_NOMEM, "out of memory", nbi_strbuf_check(&b, &err));
    nbi_strbuf_clear(&b);
    nbi_strbuf_puts(&b, "again");
    assert_string_equal(b.s, "again");
    nbi_strbuf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aligns_and_counts), cmocka_unit_test(refuses_the_impossible),
        cmocka_unit_test(keeps_peaks),       cmocka_unit_test(reallocates),
        cmocka_unit_test(fails_on_demand),   cmocka_unit_test(returns_large_blocks),
        cmocka_unit_test(fills_arenas),      cmocka_unit_test(grows_arrays),
        cmocka_unit_test(builds_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
