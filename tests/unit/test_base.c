/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "testutil.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/strmap.h"
#include "base/utf8.h"

/* ---- strmap ---- */

static void maps_strings(void **state)
{
    (void)state;
    enum { N = 20000 };
    nbi_strmap m = {0};
    static char keys[N][16];
    bool existed;
    int64_t v;
    assert_false(nbi_strmap_get(&m, "a", 1, &v));
    for (int i = 0; i < N; i++) {
        snprintf(keys[i], sizeof(keys[i]), "%x", i * 7919);
        assert_true(nbi_strmap_put(&m, keys[i], strlen(keys[i]), i, &existed));
        assert_false(existed);
    }
    for (int i = 0; i < N; i += 3) {
        assert_true(nbi_strmap_put(&m, keys[i], strlen(keys[i]), -i, &existed));
        assert_true(existed);
    }
    assert_int_equal(m.n, N);
    for (int i = 0; i < N; i++) {
        assert_true(nbi_strmap_get(&m, keys[i], strlen(keys[i]), &v));
        assert_int_equal(v, i % 3 == 0 ? -i : i);
        assert_true(nbi_strmap_get(&m, keys[i], strlen(keys[i]), NULL));
    }
    assert_false(nbi_strmap_get(&m, "nope", 4, &v));
    nbi_strmap_free(&m);
    assert_false(nbi_strmap_get(&m, keys[1], 1, &v));
}

static void maps_any_bytes(void **state)
{
    (void)state;
    static const char bytes[] = "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    nbi_strmap m = {0};
    int64_t v;
    for (size_t len = 0; len < sizeof(bytes); len++)
        assert_true(nbi_strmap_put(&m, bytes, len, (int64_t)len, NULL));
    assert_int_equal(m.n, sizeof(bytes));
    for (size_t len = 0; len < sizeof(bytes); len++)
        assert_true(nbi_strmap_get(&m, bytes, len, &v) && v == (int64_t)len);
    assert_true(nbi_strmap_get(&m, "", 0, &v) && v == 0);
    nbi_strmap_free(&m);
    size_t before = nbt_in_use();
    nbi_alloc_fail_at(1, true);
    assert_false(nbi_strmap_put(&m, "a", 1, 1, NULL));
    nbi_alloc_fail_at(0, false);
    assert_false(nbi_strmap_reserve(&m, SIZE_MAX / 4));
    assert_true(nbi_strmap_put(&m, "a", 1, 1, NULL));
    nbi_strmap_free(&m);
    assert_int_equal(nbt_in_use(), before);
}

/* ---- rng ---- */

static void matches_philox_vectors(void **state)
{
    (void)state;
    /* known answers of Random123's philox4x32-10 */
    static const struct {
        uint32_t ctr[4], key[2], out[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t out[4];
        nbi_philox(kat[i].ctr, kat[i].key, out);
        assert_memory_equal(out, kat[i].out, sizeof(out));
    }
}

static void keeps_streams_apart(void **state)
{
    (void)state;
    nbi_rng a, b;
    nbi_rng_init(&a, 1, NBI_RNG_INIT, 5);
    b = a;
    for (int i = 0; i < 10; i++)
        assert_int_equal(nbi_rng_u32(&a), nbi_rng_u32(&b));
    uint32_t first[4];
    nbi_rng_init(&a, 1, NBI_RNG_INIT, 5);
    first[0] = nbi_rng_u32(&a);
    nbi_rng_init(&a, 2, NBI_RNG_INIT, 5);
    first[1] = nbi_rng_u32(&a);
    nbi_rng_init(&a, 1, NBI_RNG_SHUFFLE, 5);
    first[2] = nbi_rng_u32(&a);
    nbi_rng_init(&a, 1, NBI_RNG_INIT, 6);
    first[3] = nbi_rng_u32(&a);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < i; k++)
            assert_int_not_equal(first[i], first[k]);
    /* pinned: these numbers must not change between versions */
    nbi_rng_init(&a, 42, NBI_RNG_SHUFFLE, 3);
    assert_int_equal(nbi_rng_u32(&a), 1149391229u);
    assert_int_equal(nbi_rng_u64(&a), UINT64_C(15446887483024397417));
    assert_int_equal(nbi_rng_below(&a, 1000), 212);
}

static void draws_evenly(void **state)
{
    (void)state;
    nbi_rng r;
    enum { N = 200000 };
    double sum = 0, sum2 = 0, nsum = 0, nsum2 = 0, n4 = 0;
    int count[7] = {0};
    nbi_rng_init(&r, 3, NBI_RNG_SAMPLE, 0);
    for (int i = 0; i < N; i++) {
        float f = nbi_rng_f32(&r);
        double d = nbi_rng_f64(&r), z = nbi_rng_normal(&r);
        assert_true(f >= 0 && f < 1 && d >= 0 && d < 1 && isfinite(z));
        sum += d;
        sum2 += (double)f;
        nsum += z;
        nsum2 += z * z;
        n4 += z * z * z * z;
        count[nbi_rng_below(&r, 7)]++;
    }
    /* five standard deviations of each mean */
    double s = 5 / sqrt((double)N);
    assert_true(fabs(sum / N - 0.5) < s * sqrt(1.0 / 12));
    assert_true(fabs(sum2 / N - 0.5) < s * sqrt(1.0 / 12));
    assert_true(fabs(nsum / N) < s);
    assert_true(fabs(nsum2 / N - 1) < s * sqrt(2.0));
    assert_true(fabs(n4 / N - 3) < s * sqrt(96.0));
    for (int i = 0; i < 7; i++)
        assert_true(fabs(count[i] - N / 7.0) < 5 * sqrt(N * 6.0 / 49));
    assert_int_equal(nbi_rng_below(&r, 1), 0);
    assert_true(nbi_rng_below(&r, UINT64_MAX) < UINT64_MAX);

    uint32_t v[100];
    int moved = 0;
    bool seen[100] = {false};
    for (uint32_t i = 0; i < 100; i++)
        v[i] = i;
    nbi_rng_shuffle(&r, v, 100);
    for (uint32_t i = 0; i < 100; i++) {
        moved += v[i] != i;
        assert_false(seen[v[i]]);
        seen[v[i]] = true;
    }
    assert_true(moved > 80);
    nbi_rng_shuffle(&r, v, 0);
}

/* ---- sha256 ---- */

static void digests(void **state)
{
    (void)state;
    char hex[65], file_hex[65];
    nb_error err;
    NBT_OK(nbi_sha256_hex("", 0, hex, &err));
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    NBT_OK(nbi_sha256_hex("abc", 3, hex, &err));
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "f");
    size_t n = 700001;
    char *data = nbi_alloc(NBI_MEM_IO, n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i * i >> 7);
    nbt_write(path, data, n);
    NBT_OK(nbi_sha256_hex(data, n, hex, &err));
    NBT_OK(nbi_sha256_file(path, file_hex, &err));
    assert_string_equal(hex, file_hex);
    NBT_FAILS(NB_NOTFOUND, "no-such-file", nbi_sha256_file("no-such-file", hex, &err));
    NBT_FAILS(NB_IO, "cannot read", nbi_sha256_file(dir, hex, &err));
    nbi_free(data);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

/* ---- utf8 ---- */

static void codes_every_point(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        char s[4];
        uint32_t back;
        size_t n = nbi_utf8_encode(cp, s);
        bool surrogate = cp >= 0xD800 && cp <= 0xDFFF;
        if (nbi_utf8_decode(s, n, &back) != n || back != (surrogate ? 0xFFFD : cp) ||
            nbi_utf8_check(s, n) != n)
            fail_msg("U+%04X", cp);
        for (size_t cut = 1; cut < n; cut++)
            if (nbi_utf8_decode(s, cut, &back) != cut || back != 0xFFFFFFFF)
                fail_msg("U+%04X cut at %zu", cp, cut);
    }
    char s[4];
    assert_int_equal(nbi_utf8_encode(0x110000, s), 3);
    assert_memory_equal(s, "\xEF\xBF\xBD", 3);
}

static void repairs_ill_formed(void **state)
{
    (void)state;
    /* expected as Python's bytes.decode(errors="replace"), R for U+FFFD */
    static const struct {
        const char *in, *out;
        size_t first_bad;
    } cases[] = {
        {"abc", "abc", 3},
        {"\xC0\x80", "RR", 0},
        {"a\xE2\x82", "aR", 1},
        {"\xE2\x82z", "Rz", 0},
        {"\xE0\x80\x80", "RRR", 0},
        {"\xED\xA0\x80", "RRR", 0},
        {"\xF0\x90\x80", "R", 0},
        {"\xF0\x8F\xBF\xBF", "RRRR", 0},
        {"\xF4\x90\x80\x80", "RRRR", 0},
        {"\xF1\x80\x80\xC3", "RR", 0},
        {"\xFF\xFE", "RR", 0},
        {"12345678\x80"
         "12345678",
         "12345678R12345678", 8},
        {"1234567\xC3\xA9\x80", "1234567\xC3\xA9R", 9},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        nbi_strbuf b = {0}, expected = {0};
        for (const char *p = cases[i].out; *p; p++)
            nbi_strbuf_add(&expected, *p == 'R' ? "\xEF\xBF\xBD" : p, *p == 'R' ? 3 : 1);
        nbi_utf8_sanitize(&b, cases[i].in, strlen(cases[i].in));
        assert_string_equal(b.s, expected.s);
        assert_int_equal(nbi_utf8_check(cases[i].in, strlen(cases[i].in)), cases[i].first_bad);
        nbi_strbuf_free(&b);
        nbi_strbuf_free(&expected);
    }
}

/* ---- checked ---- */

static bool u64(const char *s, uint64_t *r)
{
    return nbi_parse_u64(s, strlen(s), r);
}

static bool i64(const char *s, int64_t *r)
{
    return nbi_parse_i64(s, strlen(s), r);
}

static void parses_integers(void **state)
{
    (void)state;
    uint64_t u;
    int64_t i;
    assert_true(u64("0", &u) && u == 0);
    assert_true(u64("007", &u) && u == 7);
    assert_true(u64("18446744073709551615", &u) && u == UINT64_MAX);
    static const char *const bad_u[] = {"",
                                        "-1",
                                        "+1",
                                        " 1",
                                        "1 ",
                                        "1a",
                                        "0x1",
                                        "1.0",
                                        "18446744073709551616",
                                        "99999999999999999999",
                                        "\xD9\xA1"};
    for (size_t k = 0; k < sizeof(bad_u) / sizeof(bad_u[0]); k++)
        assert_false(u64(bad_u[k], &u));
    assert_false(nbi_parse_u64("1\0", 2, &u));
    assert_true(i64("-9223372036854775808", &i) && i == INT64_MIN);
    assert_true(i64("9223372036854775807", &i) && i == INT64_MAX);
    assert_true(i64("-0", &i) && i == 0);
    assert_false(i64("9223372036854775808", &i));
    assert_false(i64("-9223372036854775809", &i));
    assert_false(i64("-", &i));
    assert_false(i64("--1", &i));
    size_t s;
    assert_false(nbi_add_size(SIZE_MAX, 1, &s));
    assert_false(nbi_mul_size(SIZE_MAX / 2, 3, &s));
    assert_true(nbi_mul_size(SIZE_MAX / 2, 2, &s) && s == SIZE_MAX - 1);
    assert_false(nbi_add_i64(INT64_MIN, -1, &i));
    assert_false(nbi_mul_i64(INT64_MIN, -1, &i));
}

static void check_f64(const char *text)
{
    double d = -1;
    if (!nbi_parse_f64(text, strlen(text), &d) || d != strtod(text, NULL))
        fail_msg("%s: %.17g", text, d);
}

static void parses_floats(void **state)
{
    (void)state;
    static const char *const good[] = {
        "0", "1", "-1", "+1.5", ".5", "5.", "-0.5", "1e5", "1E-5", "2e-4", "1e22", "1e23", "1e-22",
        "1e-23", "9007199254740993", "9007199254740992.5", "1.7976931348623157e308",
        "1.7976931348623158e308", "4.9e-324", "2.4703282292062328e-324", "2.4703282292062327e-324",
        "2.2250738585072011e-308", "1e-400", "0e999999999999999999999", "0.000000000000000000001",
        "123456789012345678901234567890", "0.1e1", "8.5", "1000000000000000019884624838656",
        "00001.50000", "1e00000000000000000000001",
        /* half way between two doubles, decided by the last digit */
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126"};
    for (size_t k = 0; k < sizeof(good) / sizeof(good[0]); k++)
        check_f64(good[k]);
    static const char *const bad[] = {"",         "-",
                                      "+",        ".",
                                      "e5",       ".e5",
                                      "1e",       "1e+",
                                      "1e5.0",    "inf",
                                      "-inf",     "nan",
                                      "Infinity", "0x1p3",
                                      "1 ",       " 1",
                                      "1,5",      "1_0",
                                      "1e999",    "-1e999",
                                      "1.8e308",  "1e99999999999999999999999",
                                      "--1",      "1d5",
                                      "1f"};
    double d;
    for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++)
        assert_false(nbi_parse_f64(bad[k], strlen(bad[k]), &d));
    assert_true(nbi_parse_f64("-0", 2, &d) && d == 0 && signbit(d));
}

/* Longer than what is looked at digit by digit: the tail must still decide ties. */
static void parses_long_floats(void **state)
{
    (void)state;
    static char text[5000];
    double d;
    for (int k = 0; k < 3; k++) {
        int n = sprintf(text, "1.00000000000000011102230246251565404236316680908203125");
        memset(text + n, '0', 2000);
        sprintf(text + n + 2000, k == 0 ? "0" : k == 1 ? "1" : "1e-3");
        check_f64(text);
    }
    memset(text, '9', 400);
    text[400] = 0;
    assert_false(nbi_parse_f64(text, 400, &d));
    strcpy(text + 400, "e-400");
    check_f64(text);
    memset(text, '0', 3000);
    text[1] = '.';
    strcpy(text + 3000, "25e2990");
    check_f64(text);
    memset(text, '1', 1500);
    strcpy(text + 1500, "e-1300");
    check_f64(text);
    nbi_rng r;
    nbi_rng_init(&r, 11, NBI_RNG_INIT, 0);
    for (int i = 0; i < 20000; i++) {
        int n = 0, digits = 1 + (int)nbi_rng_below(&r, 25);
        for (int k = 0; k < digits; k++)
            n += sprintf(text + n, "%d%s", (int)nbi_rng_below(&r, 10), k == digits / 3 ? "." : "");
        sprintf(text + n, "e%d", (int)nbi_rng_below(&r, 600) - 300);
        check_f64(text);
    }
}

/* ---- fail, status, log, clock ---- */

static void records_errors(void **state)
{
    (void)state;
    nb_error err;
    memset(&err, 0, sizeof(err));
    assert_int_equal(nbi_fail(&err, NB_DATA, "%s:%d: bad", "a.csv", 3), NB_DATA);
    assert_int_equal(err.code, NB_DATA);
    assert_string_equal(err.message, "a.csv:3: bad");
    assert_int_equal(nbi_fail(NULL, NB_DATA, "x"), NB_DATA);
    assert_int_equal(nbi_fail_errno(&err, ENOSPC, "%s: cannot write", "f"), NB_IO);
    assert_string_equal(err.message, "f: cannot write: No space left on device");
    assert_int_equal(nbi_fail_errno(&err, ENOENT, "f"), NB_NOTFOUND);
    assert_int_equal(nbi_fail_errno(&err, ENOTDIR, "f"), NB_NOTFOUND);
    assert_int_equal(nbi_fail_errno(&err, ENOMEM, "f"), NB_NOMEM);
    assert_int_equal(nbi_fail_errno(NULL, ENOMEM, "f"), NB_NOMEM);
    nbi_fail(&err, NB_FORMAT, "inner");
    assert_int_equal(nbi_fail_prefix(&err, NB_IO, "outer %d", 1), NB_FORMAT);
    assert_string_equal(err.message, "outer 1: inner");
    assert_int_equal(nbi_fail_prefix(NULL, NB_IO, "outer"), NB_IO);
    nbi_fail(&err, NB_FORMAT, "again: %s", err.message);
    assert_string_equal(err.message, "again: outer 1: inner");
    nbi_fail(&err, NB_FORMAT, "%s",
             "e\x1B[31m\n\x7F \xC3\xA9 \xC2\x9B \xFF \xE2\x80\xAE \xE2\x82\xAC");
    assert_string_equal(err.message,
                        "e\\x1b[31m\\x0a\\x7f \xC3\xA9 \\xc2\\x9b \\xff \\xe2\\x80\\xae "
                        "\xE2\x82\xAC");
}

static void cuts_long_errors(void **state)
{
    (void)state;
    nb_error err;
    char text[9000];
    for (size_t n = 980; n < 1020; n++) {
        for (size_t k = 0; k < n; k++)
            text[k] = "\xC3\xA9"[k % 2];
        text[n - n % 2] = 0;
        nbi_fail(&err, NB_FORMAT, "%s", text);
        size_t len = strlen(err.message);
        assert_true(len < sizeof(err.message));
        if (n - n % 2 < sizeof(err.message)) {
            assert_int_equal(len, n - n % 2);
        } else {
            assert_string_equal(err.message + len - 3, "...");
            assert_int_equal(nbi_utf8_check(err.message, len), len);
            assert_true(len > sizeof(err.message) - 6);
        }
    }
    memset(text, '\n', sizeof(text));
    text[sizeof(text) - 1] = 0;
    nbi_fail(&err, NB_FORMAT, "%s", text);
    assert_int_equal(strlen(err.message), 999 - 3 - (999 - 3) % 4 + 3);
    nbi_fail_prefix(&err, NB_FORMAT, "%s", text);
    nbi_fail_prefix(&err, NB_FORMAT, "p");
    assert_int_equal(strncmp(err.message, "p: \\x0a", 7), 0);
}

static void knows_every_status(void **state)
{
    (void)state;
    bool used[256] = {false};
    for (int s = NB_OK; s <= NB_INTERRUPTED; s++) {
        int code = nb_status_exit_code((nb_status)s);
        assert_true(code >= 0 && code < 256 && !used[code]);
        used[code] = true;
        assert_true(nb_status_text((nb_status)s)[0] != 0);
    }
    assert_int_equal(nb_status_exit_code(NB_OK), 0);
    assert_int_equal(nb_status_exit_code((nb_status)1000), 1);
    assert_int_equal(nb_status_exit_code((nb_status)-1), 1);
    assert_string_equal(nb_status_text((nb_status)1000), "unknown status");
    assert_true(strchr(nb_version(), '.') != NULL);
}

typedef struct sink {
    int lines;
    nb_log_level level;
    char last[5000];
} sink;

static void keep_line(void *user, nb_log_level level, const char *line)
{
    sink *s = user;
    s->lines++;
    s->level = level;
    snprintf(s->last, sizeof(s->last), "%s", line);
}

static void logs_lines(void **state)
{
    (void)state;
    static sink s;
    nb_log log = {keep_line, &s}, none = {NULL, NULL};
    nbi_log(NULL, NB_LOG_INFO, "x");
    nbi_log(&none, NB_LOG_INFO, "x");
    nbi_log(&log, NB_LOG_WARN, "%s=%d", "a\x1B", 3);
    assert_int_equal(s.lines, 1);
    assert_int_equal(s.level, NB_LOG_WARN);
    assert_string_equal(s.last, "a\\x1b=3");
    nbi_log(&log, NB_LOG_INFO, "%06000d", 1);
    assert_int_equal(strlen(s.last), 4095);
}

static void tells_the_time(void **state)
{
    (void)state;
    double a = nbi_clock(), b = nbi_clock(), p = nbi_clock_process();
    assert_true(a > 0 && b >= a);
    assert_true(p >= 0 && p < 3600);
    assert_true(nbi_clock_process() >= p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_strings),
        cmocka_unit_test(maps_any_bytes),
        cmocka_unit_test(matches_philox_vectors),
        cmocka_unit_test(keeps_streams_apart),
        cmocka_unit_test(draws_evenly),
        cmocka_unit_test(digests),
        cmocka_unit_test(codes_every_point),
        cmocka_unit_test(repairs_ill_formed),
        cmocka_unit_test(parses_integers),
        cmocka_unit_test(parses_floats),
        cmocka_unit_test(parses_long_floats),
        cmocka_unit_test(records_errors),
        cmocka_unit_test(cuts_long_errors),
        cmocka_unit_test(knows_every_status),
        cmocka_unit_test(logs_lines),
        cmocka_unit_test(tells_the_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
