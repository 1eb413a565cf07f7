/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/json.h"
#include "base/rng.h"

/* Parses a copy of exactly this size, so that the sanitizers see any read past the end. */
static nb_status parse_n(nbi_arena *a, const char *text, size_t len, nbi_json **out, nb_error *err)
{
    char *copy = nbi_alloc(NBI_MEM_OTHER, len);
    if (len > 0)
        memcpy(copy, text, len);
    nb_status st = nbi_json_parse(a, "x.json", copy, len, out, err);
    nbi_free(copy);
    return st;
}

static nb_status parse(nbi_arena *a, const char *text, nbi_json **out, nb_error *err)
{
    return parse_n(a, text, strlen(text), out, err);
}

static void accepts_valid(void **state)
{
    (void)state;
    static const char *const ok[] = {"0",
                                     "-0",
                                     "1e5",
                                     "1E+5",
                                     "-1.5e-3",
                                     "0.0",
                                     "0e0",
                                     "10",
                                     "1234567890123456789012345678901",
                                     "\"\"",
                                     "\"\\u0000\"",
                                     "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
                                     "true",
                                     "false",
                                     "null",
                                     "[]",
                                     "{}",
                                     " [ ] ",
                                     "\t{\r\n}\n",
                                     "[1,2,3]",
                                     "{\"a\":1}",
                                     "{\"\":0}",
                                     "{\"a\":{\"a\":1}}",
                                     "[[],{},[{}]]",
                                     "\xEF\xBB\xBF[1]",
                                     "\"\x7F\"",
                                     "[\"\xF0\x9F\x98\x80\"]",
                                     "{\"a\":1 , \"b\" : [ true , null ] }"};
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t i = 0; i < sizeof(ok) / sizeof(ok[0]); i++) {
        if (parse(&a, ok[i], &v, &err) != NB_OK)
            fail_msg("%s: %s", ok[i], err.message);
        assert_non_null(v);
    }
    nbi_arena_free(&a);
}

static void refuses_invalid(void **state)
{
    (void)state;
    /* text, byte that the message must name */
    static const struct {
        const char *text;
        size_t at;
    } bad[] = {
        {"", 0},
        {"  ", 2},
        {"{", 1},
        {"[1,]", 3},
        {"[,1]", 1},
        {"[1 2]", 3},
        {"[1", 2},
        {"]", 0},
        {"[}", 1},
        {"{]", 1},
        {"{\"a\"}", 4},
        {"{\"a\":}", 5},
        {"{\"a\":1,}", 7},
        {"{\"a\" 1}", 5},
        {"{a:1}", 1},
        {"{1:2}", 1},
        {"{\"a\":1 \"b\":2}", 7},
        {"[1]]", 3},
        {"1 2", 2},
        {"{} x", 3},
        {"01", 1},
        {"-01", 2},
        {"+1", 0},
        {"-", 1},
        {".5", 0},
        {"1.", 2},
        {"1.e1", 2},
        {"1e", 2},
        {"1e+", 3},
        {"0x10", 1},
        {"1_0", 1},
        {"NaN", 0},
        {"Infinity", 0},
        {"-Infinity", 1},
        {"nul", 0},
        {"nulll", 4},
        {"True", 0},
        {"'a'", 0},
        {"\"a", 2},
        {"\"a\\", 3},
        {"\"a\\\"", 4},
        {"\"\\x41\"", 2},
        {"\"\\u12\"", 3},
        {"\"\\u123g\"", 3},
        {"\"\\U1234\"", 2},
        {"\"a\nb\"", 2},
        {"\"a\tb\"", 2},
        {"\"a\x1F\"", 2},
        {"[1]/*c*/", 3},
        {"//c\n1", 0},
        {"\xEF\xBB\xBF", 3},
        {"\xEF\xBB\xBF\xEF\xBB\xBF[]", 3},
        {"\xEF\xBB[]", 0},
        {"[\"\\ud800\", \"\\u\"]", 14},
        {"\x0C[]", 0},
        {"[\xC2\xA0]", 1},
    };
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char place[64];
        snprintf(place, sizeof(place), "x.json: byte %zu: ", bad[i].at);
        nb_status st = parse(&a, bad[i].text, &v, &err);
        if (st != NB_FORMAT || strncmp(err.message, place, strlen(place)) != 0)
            fail_msg("%s: expected %s, got %d %s", bad[i].text, place, st,
                     st == NB_OK ? "" : err.message);
    }
    NBT_FAILS(NB_FORMAT, "byte 1: expected", parse_n(&a, "[\0]", 3, &v, &err));
    NBT_FAILS(NB_FORMAT, "byte 2: control", parse_n(&a, "\"a\0\"", 4, &v, &err));
    nbi_arena_free(&a);
}

static void finds_ill_formed_text(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",
                                      "\xBF",
                                      "\xC0\x80",
                                      "\xC1\xBF",
                                      "\xC3",
                                      "\xE0\x80\x80",
                                      "\xE0\x9F\xBF",
                                      "\xED\xA0\x80",
                                      "\xED\xBF\xBF",
                                      "\xE2\x82",
                                      "\xF0\x80\x80\x80",
                                      "\xF0\x8F\xBF\xBF",
                                      "\xF4\x90\x80\x80",
                                      "\xF5\x80\x80\x80",
                                      "\xFF",
                                      "\xFE"};
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        /* at every distance from the start, before and after an escape */
        for (size_t before = 0; before < 20; before++) {
            char text[80], place[48];
            int n = snprintf(text, sizeof(text), "[\"\xC3\xA9\\n%.*s%s\"]", (int)before,
                             "abcdefghijklmnopqrstu", bad[i]);
            snprintf(place, sizeof(place), "byte %zu: expected UTF-8", 6 + before);
            NBT_FAILS(NB_FORMAT, place, parse_n(&a, text, (size_t)n, &v, &err));
            n = snprintf(text, sizeof(text), "{\"%.*s%s\":1}", (int)before, "abcdefghijklmnopqrstu",
                         bad[i]);
            snprintf(place, sizeof(place), "byte %zu: expected UTF-8", 2 + before);
            NBT_FAILS(NB_FORMAT, place, parse_n(&a, text, (size_t)n, &v, &err));
            n = snprintf(text, sizeof(text), "[\"%.*s%cabcdefghijk\"]", (int)before,
                         "abcdefghijklmnopqrstu", (int)i * 2 + 1);
            snprintf(place, sizeof(place), "byte %zu: control characters", 2 + before);
            NBT_FAILS(NB_FORMAT, place, parse_n(&a, text, (size_t)n, &v, &err));
        }
    }
    nbi_arena_free(&a);
}

static void unescapes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *value;
        size_t len;
    } cases[] = {
        {"\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"", "A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10},
        {"\"a\\u0000b\"", "a\0b", 3},
        {"\"\\ud800\"", "\xEF\xBF\xBD", 3},
        {"\"\\udc00x\"", "\xEF\xBF\xBDx", 4},
        {"\"\\ud800\\u0041\"",
         "\xEF\xBF\xBD"
         "A",
         4},
        {"\"\\ud800\\ud800\\udc00\"", "\xEF\xBF\xBD\xF0\x90\x80\x80", 7},
        {"\"\\udbff\\udfff\"", "\xF4\x8F\xBF\xBF", 4},
        {"\"\\ud800\\n\"", "\xEF\xBF\xBD\n", 4},
        {"\"\\uD83D\"", "\xEF\xBF\xBD", 3},
        {"\"long enough to be scanned by words \\\" and on \\\\\"",
         "long enough to be scanned by words \" and on \\", 46},
    };
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        NBT_OK(parse(&a, cases[i].text, &v, &err));
        assert_int_equal(v->type, NBI_JT_STRING);
        assert_int_equal(v->text_len,
                         strlen(cases[i].value) + (cases[i].len == 3 && i == 1 ? 2 : 0));
        assert_memory_equal(v->text, cases[i].value, v->text_len + 1);
    }
    nbi_arena_free(&a);
}

static void limits_depth(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t depth = 63; depth <= 65; depth++) {
        char text[200], objects[600] = "";
        size_t n = 0;
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        for (size_t i = 0; i + 1 < depth; i++)
            n += (size_t)sprintf(objects + n, "{\"k\":");
        n += (size_t)sprintf(objects + n, "{}");
        memset(objects + n, '}', depth - 1);
        objects[n + depth - 1] = 0;
        if (depth <= 64) {
            NBT_OK(parse(&a, text, &v, &err));
            NBT_OK(parse(&a, objects, &v, &err));
        } else {
            NBT_FAILS(NB_FORMAT, "byte 64: nested", parse(&a, text, &v, &err));
            NBT_FAILS(NB_FORMAT, "byte 320: nested", parse(&a, objects, &v, &err));
        }
    }
    size_t n = 3000000;
    char *deep = nbi_alloc(NBI_MEM_OTHER, n);
    memset(deep, '[', n);
    NBT_FAILS(NB_FORMAT, "nested", nbi_json_parse(&a, "x", deep, n, &v, &err));
    nbi_free(deep);
    nbi_arena_free(&a);
}

static const char sample[] =
    "{\"name\": \"a\\u00e9\xF0\x9F\x98\x80\", \"n\": [1, -2.5e+3, 0], \"t\": true, \"f\": false,"
    " \"z\": null, \"o\": {\"deep\": {\"er\": [[], {}, \"\\\\\\\"\\ud83d\\ude00\"]}}, \"\": 1e-7}";

static void fails_at_every_truncation(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    NBT_OK(parse(&a, sample, &v, &err));
    for (size_t len = 0; len + 1 < sizeof(sample); len++) {
        NBT_FAILS(NB_FORMAT, "x.json: byte ", parse_n(&a, sample, len, &v, &err));
        nbi_arena_free(&a);
    }
}

static void refuses_duplicates(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    NBT_FAILS(NB_FORMAT, "byte 7: duplicate key a", parse(&a, "{\"a\":1,\"a\":1}", &v, &err));
    NBT_FAILS(NB_FORMAT, "duplicate key a", parse(&a, "{\"a\":1,\"\\u0061\":1}", &v, &err));
    NBT_FAILS(NB_FORMAT, "duplicate key", parse(&a, "{\"\":1,\"\":1}", &v, &err));
    NBT_OK(parse(&a, "{\"a\":{\"a\":[{\"a\":1},{\"a\":1}]},\"b\":{\"a\":1}}", &v, &err));
    NBT_FAILS(NB_FORMAT, "NUL", parse(&a, "{\"a\\u0000\":1}", &v, &err));
    for (int n = 1; n < 40; n++) {
        for (int twice = 0; twice < n; twice++) {
            nbi_strbuf b = {0};
            nbi_strbuf_putc(&b, '{');
            for (int i = 0; i < n; i++)
                nbi_strbuf_printf(&b, "\"k%d\":{\"k0\":%d},", i, i);
            nbi_strbuf_printf(&b, "\"k%d\":0}", twice);
            NBT_FAILS(NB_FORMAT, "duplicate key k", parse(&a, b.s, &v, &err));
            nbi_strbuf_clear(&b);
            nbi_strbuf_putc(&b, '{');
            for (int i = 0; i < n; i++)
                nbi_strbuf_printf(&b, "\"k%d\":{\"k0\":%d},", i, i);
            nbi_strbuf_printf(&b, "\"k%d\":0}", n);
            NBT_OK(parse(&a, b.s, &v, &err));
            assert_int_equal(v->n, n + 1);
            nbi_strbuf_free(&b);
        }
    }
    /* what one object holds is free again in the next */
    nbi_strbuf b = {0};
    for (int o = 0; o < 3; o++) {
        nbi_strbuf_puts(&b, o == 0 ? "[" : ",");
        for (int i = 0; i < 20; i++)
            nbi_strbuf_printf(&b, "%s\"k%d\":0", i == 0 ? "{" : ",", i);
        nbi_strbuf_puts(&b, "}");
    }
    nbi_strbuf_puts(&b, "]");
    NBT_OK(parse(&a, b.s, &v, &err));
    nbi_strbuf_free(&b);
    nbi_arena_free(&a);
}

static void reads_and_skips(void **state)
{
    (void)state;
    static const char text[] = "{\"a\": [1, {\"b\": [2]}], \"c\": \"x\", \"d\": {} }";
    nbi_json_reader r;
    nbi_json_event ev;
    nb_error err;
    nbi_json_reader_init(&r, "x.json", text, sizeof(text) - 1);
    NBT_OK(nbi_json_next(&r, &ev, &err));
    assert_int_equal(ev, NBI_JSON_OBJECT_BEGIN);
    NBT_OK(nbi_json_next(&r, &ev, &err));
    assert_int_equal(ev, NBI_JSON_KEY);
    assert_int_equal(r.offset, 1);
    NBT_OK(nbi_json_skip(&r, &err));
    NBT_OK(nbi_json_next(&r, &ev, &err));
    assert_int_equal(ev, NBI_JSON_KEY);
    assert_int_equal(r.text_len, 1);
    assert_memory_equal(r.text, "c", 1);
    NBT_OK(nbi_json_skip(&r, &err));
    NBT_OK(nbi_json_skip(&r, &err)); /* key and value at once */
    NBT_OK(nbi_json_next(&r, &ev, &err));
    assert_int_equal(ev, NBI_JSON_OBJECT_END);
    for (int i = 0; i < 2; i++) {
        NBT_OK(nbi_json_next(&r, &ev, &err));
        assert_int_equal(ev, NBI_JSON_END);
        assert_int_equal(r.offset, sizeof(text) - 1);
    }
    nbi_json_reader_free(&r);

    nbi_json_reader_init(&r, "x.json", "[1 2]", 5);
    NBT_OK(nbi_json_skip(&r, &err) == NB_FORMAT ? NB_OK : NB_INTERNAL);
    NBT_FAILS(NB_FORMAT, "after an error", nbi_json_next(&r, &ev, &err));
    nbi_json_reader_free(&r);
}

static void converts(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *o;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    NBT_OK(
        parse(&a,
              "{\"i\":-7,\"e\":1e3,\"f\":512.0,\"h\":0.5,\"big\":1000000000000000019884624838656,"
              "\"max\":9223372036854775807,\"over\":9223372036854775808,\"s\":\"12\",\"t\":true,"
              "\"z\":null,\"inf\":1e999,\"l\":[1,2,3]}",
              &o, &err));
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    assert_true(nbi_json_to_i64(nbi_json_get(o, "i"), &i) && i == -7);
    assert_true(nbi_json_to_i64(nbi_json_get(o, "e"), &i) && i == 1000);
    assert_true(nbi_json_to_i64(nbi_json_get(o, "f"), &i) && i == 512);
    assert_true(nbi_json_to_i64(nbi_json_get(o, "max"), &i) && i == INT64_MAX);
    assert_false(nbi_json_to_i64(nbi_json_get(o, "h"), &i));
    assert_false(nbi_json_to_i64(nbi_json_get(o, "big"), &i));
    assert_false(nbi_json_to_i64(nbi_json_get(o, "over"), &i));
    assert_false(nbi_json_to_i64(nbi_json_get(o, "s"), &i));
    assert_false(nbi_json_to_i64(nbi_json_get(o, "absent"), &i));
    assert_true(nbi_json_to_f64(nbi_json_get(o, "big"), &d) && d == 1e30);
    assert_false(nbi_json_to_f64(nbi_json_get(o, "inf"), &d));
    assert_false(nbi_json_to_f64(nbi_json_get(o, "s"), &d));
    assert_true(nbi_json_to_bool(nbi_json_get(o, "t"), &b) && b);
    assert_false(nbi_json_to_bool(nbi_json_get(o, "i"), &b));
    assert_true(nbi_json_is_null(nbi_json_get(o, "z")) && nbi_json_is_null(NULL));
    assert_true(nbi_json_equals(nbi_json_get(o, "s"), "12"));
    assert_false(nbi_json_equals(nbi_json_get(o, "i"), "-7"));
    assert_string_equal(nbi_json_at(nbi_json_get(o, "l"), 2)->text, "3");
    assert_null(nbi_json_at(nbi_json_get(o, "l"), 3));
    assert_null(nbi_json_get(nbi_json_get(o, "l"), "i"));

    i = 42;
    NBT_OK(nbi_json_get_i64(o, "x.json", "absent", 0, 10, &i, &err));
    NBT_OK(nbi_json_get_i64(o, "x.json", "z", 0, 10, &i, &err));
    assert_int_equal(i, 42);
    NBT_OK(nbi_json_get_i64(o, "x.json", "f", 0, 512, &i, &err));
    assert_int_equal(i, 512);
    NBT_FAILS(NB_FORMAT, "x.json: \"i\" is -7, expected an integer from 0 to 5",
              nbi_json_get_i64(o, "x.json", "i", 0, 5, &i, &err));
    NBT_FAILS(NB_FORMAT, "\"s\" is \"12\", expected a number",
              nbi_json_get_f64(o, "x.json", "s", &d, &err));
    NBT_FAILS(NB_FORMAT, "\"l\" is a list, expected true or false",
              nbi_json_get_bool(o, "x.json", "l", &b, &err));
    NBT_FAILS(NB_FORMAT, "\"t\" is true, expected a string",
              nbi_json_get_str(o, "x.json", "t", &s, &err));
    NBT_OK(nbi_json_get_str(o, "x.json", "s", &s, &err));
    assert_string_equal(s, "12");
    nbi_arena_free(&a);
}

static void parses_files(void **state)
{
    (void)state;
    nb_error err;
    nbi_arena a;
    nbi_json *v;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "c.json");
    nbi_arena_init(&a, NBI_MEM_OTHER);
    nbt_write_text(path, sample);
    NBT_OK(nbi_json_parse_file(&a, path, 1000, &v, &err));
    assert_int_equal(v->n, 7);
    NBT_FAILS(NB_LIMIT, "c.json", nbi_json_parse_file(&a, path, 100, &v, &err));
    NBT_FAILS(NB_NOTFOUND, "nothing.json", nbi_json_parse_file(&a, "nothing.json", 100, &v, &err));
    NBT_FAILS(NB_IO, "folder", nbi_json_parse_file(&a, dir, 100, &v, &err));
    nbi_arena_free(&a);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

/* Random damage must never do worse than a refusal, and what is accepted must come out of the
 * writer as something that is read back the same. */
static void survives_damage(void **state)
{
    (void)state;
    nbi_rng rng;
    nbi_arena a, a2;
    nb_error err;
    nbi_json *v;
    size_t len = sizeof(sample) - 1, accepted = 0;
    nbi_rng_init(&rng, 1, NBI_RNG_SHUFFLE, 0);
    nbi_arena_init(&a, NBI_MEM_OTHER);
    nbi_arena_init(&a2, NBI_MEM_OTHER);
    for (int round = 0; round < 20000; round++) {
        char text[sizeof(sample)];
        memcpy(text, sample, sizeof(sample));
        for (uint64_t hits = 1 + nbi_rng_below(&rng, 3); hits > 0; hits--) {
            static const char pool[] = "{}[],:\"\\u0e-+.tn \x80\xC3\xF0";
            uint64_t at = nbi_rng_below(&rng, len);
            text[at] = nbi_rng_below(&rng, 2) ? pool[nbi_rng_below(&rng, sizeof(pool))]
                                              : (char)nbi_rng_u32(&rng);
        }
        nb_status st = parse_n(&a, text, len, &v, &err);
        if (st == NB_OK) {
            nbi_strbuf once = {0}, again = {0};
            nbi_json_writer w;
            accepted++;
            nbi_json_writer_init(&w, &once, 0, round % 2 == 0);
            nbi_jw_tree(&w, v);
            NBT_OK(parse(&a2, once.s, &v, &err));
            nbi_json_writer_init(&w, &again, 0, round % 2 == 0);
            nbi_jw_tree(&w, v);
            assert_string_equal(once.s, again.s);
            nbi_strbuf_free(&once);
            nbi_strbuf_free(&again);
        } else {
            assert_int_equal(st, NB_FORMAT);
        }
        nbi_arena_free(&a);
        nbi_arena_free(&a2);
    }
    assert_true(accepted > 100);
}

static void survives_lack_of_memory(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v = NULL;
    nbi_strbuf b = {0};
    nbi_strbuf_puts(&b, "{\"long\": \"");
    for (int i = 0; i < 3000; i++)
        nbi_strbuf_puts(&b, "\\u00e9 ");
    nbi_strbuf_puts(&b, "\"");
    for (int i = 0; i < 60; i++)
        nbi_strbuf_printf(&b, ", \"k%d\": [%d]", i, i);
    nbi_strbuf_puts(&b, "}");
    size_t before = nbt_in_use();
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (uint64_t k = 1;; k++) {
        nbi_alloc_fail_at(k, k % 2 == 0);
        nb_status st = nbi_json_parse(&a, "x.json", b.s, b.n, &v, &err);
        uint64_t count = nbi_alloc_count();
        nbi_alloc_fail_at(0, false);
        nbi_arena_free(&a);
        assert_int_equal(nbt_in_use(), before);
        if (count < k) {
            assert_int_equal(st, NB_OK);
            assert_true(k > 5);
            break;
        }
        assert_int_equal(st, NB_NOMEM);
    }
    nbi_strbuf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_valid),
        cmocka_unit_test(refuses_invalid),
        cmocka_unit_test(finds_ill_formed_text),
        cmocka_unit_test(unescapes),
        cmocka_unit_test(limits_depth),
        cmocka_unit_test(fails_at_every_truncation),
        cmocka_unit_test(refuses_duplicates),
        cmocka_unit_test(reads_and_skips),
        cmocka_unit_test(converts),
        cmocka_unit_test(parses_files),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
