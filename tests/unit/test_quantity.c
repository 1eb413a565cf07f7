/* SPDX-License-Identifier: MIT */
/* Sizes and times as typed, and what the system says about memory. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/stat.h>
#include "base/meminfo.h"
#include "base/quantity.h"
#include "testutil.h"

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"6GiB", 6ull << 30},    {"6G", 6ull << 30},
                {"6GB", 6000000000},     {"6000MB", 6000000000},
                {"6000 mb", 6000000000}, {"1.5g", 3ull << 29},
                {"4096", 4096},          {"80%", 800},
                {"100 %", 1000},         {"512KiB", 512ull << 10},
                {"2T", 2ull << 40}};
    static const char *const bad[] = {"",    "G",   "0",   "-1",   "6Gib ps", "6X",
                                      "1e3", "inf", "nan", "1..5", "0%",      "1G2"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t v = 0;
        if (!nbi_parse_bytes(good[i].text, 1000, &v) || v != good[i].bytes)
            fail_msg("%s: %llu", good[i].text, (unsigned long long)v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t v;
        if (nbi_parse_bytes(bad[i], 1000, &v))
            fail_msg("\"%s\" passes", bad[i]);
    }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double seconds;
    } good[] = {{"90m", 5400},    {"2h", 7200},   {"1h30m", 5400}, {"45s", 45},      {"45", 45},
                {"1d 2h", 93600}, {"1.5h", 5400}, {"10min", 600},  {"2 hours", 7200}};
    static const char *const bad[] = {"", "h", "0", "2x", "-1h", "1h-3m", "nan"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        double v = 0;
        if (!nbi_parse_duration(good[i].text, &v) || v != good[i].seconds)
            fail_msg("%s: %g", good[i].text, v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double v;
        if (nbi_parse_duration(bad[i], &v))
            fail_msg("\"%s\" passes", bad[i]);
    }
}

static void texts(void **state)
{
    (void)state;
    char b[32];
    assert_string_equal(nbi_format_bytes(1.5 * 0x1p20, b), "1.5 MiB");
    assert_string_equal(nbi_format_bytes(12.5 * 0x1p30, b), "12.50 GiB");
    assert_string_equal(nbi_format_duration(0.25, b), "0.25 s");
    assert_string_equal(nbi_format_duration(5400, b), "90 min");
    assert_string_equal(nbi_format_duration(7200 * 10, b), "20.0 h");
    assert_string_equal(nbi_format_grouped(1234567, b), "1,234,567");
    assert_string_equal(nbi_format_grouped(12, b), "12");
}

/* ---- a system made of files ---- */

static void put(const char *root, const char *path, const char *text)
{
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s/%s", root, path);
    for (char *s = strchr(b.s + strlen(root) + 1, '/'); s; s = strchr(s + 1, '/')) {
        *s = 0;
        mkdir(b.s, 0755);
        *s = '/';
    }
    nbt_write_text(b.s, text);
    nbi_strbuf_free(&b);
}

#define MEMINFO                                                                                    \
    "MemTotal:       1000000 kB\nMemFree:  1 kB\nMemAvailable:    600000 kB\nCached: 5 kB\n"

static void machine(void **state)
{
    (void)state;
    nbi_meminfo m;
    char *root = nbt_tmpdir();
    assert_false(nbi_meminfo_read(&m, root));
    put(root, "proc/meminfo", MEMINFO);
    assert_true(nbi_meminfo_read(&m, root));
    assert_true(m.total == 1000000ull * 1024 && m.available == 600000ull * 1024 && !m.group);
    /* the least limit on the way up, with the file cache given back */
    put(root, "proc/self/cgroup", "0::/a/b\n");
    put(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
    put(root, "sys/fs/cgroup/a/memory.max", "500000000\n");
    put(root, "sys/fs/cgroup/a/memory.current", "300000000\n");
    put(root, "sys/fs/cgroup/a/memory.stat",
        "anon 1\nfile 2\ninactive_file 50000000\nactive_file 30000000\n");
    assert_true(nbi_meminfo_read(&m, root));
    assert_true(m.total == 500000000 && m.available == 280000000 && m.group);
    /* used beyond the limit */
    put(root, "sys/fs/cgroup/a/b/memory.max", "100000000\n");
    put(root, "sys/fs/cgroup/a/b/memory.current", "110000000\n");
    assert_true(nbi_meminfo_read(&m, root));
    assert_true(m.total == 100000000 && m.available == 0);
    nbt_tmpdir_remove(root);
}

static void machine_v1(void **state)
{
    (void)state;
    nbi_meminfo m;
    char *root = nbt_tmpdir();
    put(root, "proc/meminfo", MEMINFO);
    put(root, "proc/self/cgroup", "7:cpu,memoryless:/x\n5:hugetlb,memory:/docker/1\n0::/\n");
    put(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "200000000\n");
    put(root, "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "150000000\n");
    put(root, "sys/fs/cgroup/memory/docker/1/memory.stat",
        "inactive_file 7\ntotal_inactive_file 20000000\ntotal_active_file 10000000\n");
    assert_true(nbi_meminfo_read(&m, root));
    assert_true(m.total == 200000000 && m.available == 80000000 && m.group);
    nbt_tmpdir_remove(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),   cmocka_unit_test(times),      cmocka_unit_test(texts),
        cmocka_unit_test(machine), cmocka_unit_test(machine_v1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
