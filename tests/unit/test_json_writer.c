/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <locale.h>
#include "testutil.h"
#include "base/checked.h"
#include "base/json.h"
#include "base/rng.h"

static void check_f64(double v, const char *expected)
{
    char buf[32];
    assert_string_equal(nbi_format_f64(buf, v), expected);
}

/* Expected texts are Python's repr. */
static void formats_like_python(void **state)
{
    (void)state;
    check_f64(0.0, "0.0");
    check_f64(-0.0, "-0.0");
    check_f64(1.0, "1.0");
    check_f64(-2.0, "-2.0");
    check_f64(0.1, "0.1");
    check_f64(0.1 + 0.2, "0.30000000000000004");
    check_f64(1e-5, "1e-05");
    check_f64(1.5e-5, "1.5e-05");
    check_f64(1e-4, "0.0001");
    check_f64(0.00012345, "0.00012345");
    check_f64(2e-4, "0.0002");
    check_f64(123456.789, "123456.789");
    check_f64(1e15, "1000000000000000.0");
    check_f64(9999999999999998.0, "9999999999999998.0");
    check_f64(1e16, "1e+16");
    check_f64(12345678901234567.0, "1.2345678901234568e+16");
    check_f64(1e22, "1e+22");
    check_f64(1e23, "1e+23");
    check_f64(9.5e-8, "9.5e-08");
    check_f64(1e100, "1e+100");
    check_f64(1.7976931348623157e308, "1.7976931348623157e+308");
    check_f64(2.2250738585072014e-308, "2.2250738585072014e-308");
    check_f64(5e-324, "5e-324");
    check_f64(1.5e-323, "1.5e-323");
    check_f64(0x1p-44, "5.684341886080802e-14");
    check_f64(0x1p-1022, "2.2250738585072014e-308");
    check_f64(9007199254740993.0, "9007199254740992.0");
    check_f64(1.0 / 3, "0.3333333333333333");
    check_f64(100.0, "100.0");
    check_f64(NAN, "NaN");
    check_f64(INFINITY, "Infinity");
    check_f64(-INFINITY, "-Infinity");
    char buf[32];
    assert_string_equal(nbi_format_f32(buf, 0.1f), "0.1");
    assert_string_equal(nbi_format_f32(buf, 16777216.0f), "16777216.0");
    assert_string_equal(nbi_format_f32(buf, 1e-5f), "1e-05");
    assert_string_equal(nbi_format_f32(buf, 3.4028235e38f), "3.4028235e+38");
    assert_string_equal(nbi_format_f32(buf, 1e-45f), "1e-45");
    assert_string_equal(nbi_format_f32(buf, 0.3f), "0.3");
    assert_string_equal(nbi_format_f32(buf, 1.0f / 3), "0.33333334");
}

static size_t count_digits(const char *s)
{
    size_t n = 0, zeros = 0;
    for (; *s && *s != 'e'; s++) {
        if (*s < '0' || *s > '9')
            continue;
        if (*s == '0' && n == 0)
            continue;
        zeros = *s == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros;
}

static void reads_back_exactly(void **state)
{
    (void)state;
    nbi_rng r;
    char buf[32], fewer[40];
    nbi_rng_init(&r, 7, NBI_RNG_INIT, 0);
    for (int i = 0; i < 60000; i++) {
        union {
            uint64_t u;
            double d;
        } x = {nbi_rng_u64(&r)};
        if (i % 4 == 0)
            x.u &= UINT64_C(0xFFF0000000000000); /* powers of two */
        if (i % 4 == 1)
            x.d = (double)(int64_t)(nbi_rng_u64(&r) >> 30) / 1000;
        if (!isfinite(x.d))
            continue;
        double back;
        nbi_format_f64(buf, x.d);
        assert_true(nbi_parse_f64(buf, strlen(buf), &back) && back == x.d);
        assert_true(strtod(buf, NULL) == x.d);
        size_t n = count_digits(buf);
        if (n > 1) {
            snprintf(fewer, sizeof(fewer), "%.*e", (int)n - 2, x.d);
            assert_true(strtod(fewer, NULL) != x.d);
        }
    }
    for (int i = 0; i < 60000; i++) {
        union {
            uint32_t u;
            float f;
        } x = {nbi_rng_u32(&r)};
        if (i % 4 == 0)
            x.u &= 0xFF800000u;
        if (!isfinite(x.f))
            continue;
        nbi_format_f32(buf, x.f);
        assert_true(strtof(buf, NULL) == x.f);
        size_t n = count_digits(buf);
        if (n > 1) {
            snprintf(fewer, sizeof(fewer), "%.*e", (int)n - 2, (double)x.f);
            assert_true(strtof(fewer, NULL) != x.f);
        }
    }
}

static void ignores_the_locale(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "ru_RU.UTF-8", "de_DE"};
    bool set = false;
    for (size_t i = 0; i < 4 && !set; i++)
        set = setlocale(LC_ALL, names[i]) != NULL;
    if (!set) {
        print_message("no locale with a decimal comma is installed\n");
        skip();
    }
    char buf[32];
    double d;
    bool ok = strcmp(nbi_format_f64(buf, 1234.5), "1234.5") == 0 &&
              strcmp(nbi_format_f64(buf, 1.25e-10), "1.25e-10") == 0 &&
              nbi_parse_f64("1.2345678901234567890123e3", 26, &d) && d == 1234.56789012345678901;
    setlocale(LC_ALL, "C");
    assert_true(ok);
}

static void write_sample(nbi_json_writer *w)
{
    nbi_jw_object(w);
    nbi_jw_key(w, "a");
    nbi_jw_i64(w, -1);
    nbi_jw_key(w, "list");
    nbi_jw_array(w);
    nbi_jw_f64(w, 0.5);
    nbi_jw_str(w, "x");
    nbi_jw_array(w);
    nbi_jw_array_end(w);
    nbi_jw_object(w);
    nbi_jw_object_end(w);
    nbi_jw_array_end(w);
    nbi_jw_key(w, "o");
    nbi_jw_object(w);
    nbi_jw_key(w, "t");
    nbi_jw_bool(w, true);
    nbi_jw_key(w, "z");
    nbi_jw_null(w);
    nbi_jw_key(w, "nan");
    nbi_jw_f64(w, NAN);
    nbi_jw_object_end(w);
    nbi_jw_object_end(w);
}

static void lays_out_like_python(void **state)
{
    (void)state;
    nbi_strbuf b = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &b, 0, true);
    write_sample(&w);
    assert_string_equal(b.s, "{\"a\": -1, \"list\": [0.5, \"x\", [], {}], "
                             "\"o\": {\"t\": true, \"z\": null, \"nan\": \"NaN\"}}");
    nbi_strbuf_clear(&b);
    nbi_json_writer_init(&w, &b, 2, true);
    write_sample(&w);
    assert_string_equal(b.s,
                        "{\n  \"a\": -1,\n  \"list\": [\n    0.5,\n    \"x\",\n    [],\n    {}\n"
                        "  ],\n  \"o\": {\n    \"t\": true,\n    \"z\": null,\n"
                        "    \"nan\": \"NaN\"\n  }\n}");
    nbi_strbuf_free(&b);
}

static void escapes_like_python(void **state)
{
    (void)state;
    static const char text[] =
        "q\" b\\ /\b\f\n\r\t\x01\x1F\x7F \xC3\xA9 \xE2\x82\xAC \xF0\x9F\x98\x80"
        " \xFF \xE2\x82 \0 end";
    nbi_strbuf b = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_strn(&w, text, sizeof(text) - 1);
    assert_string_equal(b.s, "\"q\\\" b\\\\ /\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f \\u00e9 \\u20ac "
                             "\\ud83d\\ude00 \\ufffd \\ufffd \\u0000 end\"");
    nbi_strbuf_clear(&b);
    nbi_json_writer_init(&w, &b, 0, false);
    nbi_jw_strn(&w, text, sizeof(text) - 1);
    assert_string_equal(b.s,
                        "\"q\\\" b\\\\ /\\b\\f\\n\\r\\t\\u0001\\u001f\x7F \xC3\xA9 \xE2\x82\xAC "
                        "\xF0\x9F\x98\x80 \xEF\xBF\xBD \xEF\xBF\xBD \\u0000 end\"");
    nbi_strbuf_free(&b);
}

static void copies_trees(void **state)
{
    (void)state;
    static const char *const texts[] = {
        ("{\"n\": 1.50e+01, \"big\": 1000000000000000019884624838656, \"l\": [[], [[1], 2], {}], "
         "\"\": {\"x\": null, \"y\": [true, false]}}"),
        "[]",
        "{}",
        "[[[[]]]]",
        "\"s\"",
        "-0",
        "[{\"a\": {}}, {\"b\": []}]"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        nbi_arena a;
        nb_error err;
        nbi_json *v;
        nbi_strbuf b = {0};
        nbi_json_writer w;
        nbi_arena_init(&a, NBI_MEM_OTHER);
        NBT_OK(nbi_json_parse(&a, "x", texts[i], strlen(texts[i]), &v, &err));
        nbi_json_writer_init(&w, &b, 0, true);
        nbi_jw_tree(&w, v);
        assert_string_equal(b.s, texts[i]);
        /* a member inside a list being written: without its key and its siblings */
        if (i == 0) {
            nbi_strbuf_clear(&b);
            nbi_json_writer_init(&w, &b, 0, true);
            nbi_jw_array(&w);
            nbi_jw_tree(&w, nbi_json_get(v, "l"));
            nbi_jw_tree(&w, nbi_json_get(v, "n"));
            nbi_jw_array_end(&w);
            assert_string_equal(b.s, "[[[], [[1], 2], {}], 1.50e+01]");
        }
        nbi_strbuf_free(&b);
        nbi_arena_free(&a);
    }
}

static void keeps_to_the_depth(void **state)
{
    (void)state;
    nbi_strbuf b = {0};
    nb_error err;
    nbi_json_writer w;
    nbi_json_writer_init(&w, &b, 0, true);
    for (int i = 0; i < 65; i++)
        nbi_jw_array(&w);
    assert_true(b.failed);
    NBT_FAILS(NB_NOMEM, "", nbi_strbuf_check(&b, &err));
    nbi_strbuf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_like_python), cmocka_unit_test(reads_back_exactly),
        cmocka_unit_test(ignores_the_locale),  cmocka_unit_test(lays_out_like_python),
        cmocka_unit_test(escapes_like_python), cmocka_unit_test(copies_trees),
        cmocka_unit_test(keeps_to_the_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
