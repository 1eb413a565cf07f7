/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/rng.h"
#include "base/yaml.h"

static nb_status parse(nbi_arena *a, const char *text, nbi_json **out, nb_error *err)
{
    size_t n = strlen(text);
    char *copy = nbi_alloc(NBI_MEM_OTHER, n);
    if (n > 0)
        memcpy(copy, text, n);
    nb_status st = nbi_yaml_parse(a, "r.yaml", copy, n, out, err);
    nbi_free(copy);
    return st;
}

static void reads_a_recipe(void **state)
{
    (void)state;
    static const char text[] = "# comment\n"
                               "model: some/folder\n"
                               "learning_rate: 2e-4\n"
                               "load_in_4bit: yes\n"
                               "packing: Off\n"
                               "name: \"yes\"\n"
                               "steps: 100\n"
                               "seed: 0x10\n"
                               "nothing:\n"
                               "tilde: ~\n"
                               "template: |\n"
                               "  line one\n"
                               "  line: two\n"
                               "folded: >-\n"
                               "  a\n"
                               "  b\n"
                               "targets: [q_proj, 'v_proj', {x: 1}]\n"
                               "data:\n"
                               "  - path: a.jsonl\n"
                               "    rows: 1.0\n"
                               "  - b.jsonl\n"
                               "text: a\\nb \xC3\xA9\n"
                               "esc: \"a\\nb\\u00e9\\0\"\n";
    nbi_arena a;
    nb_error err;
    nbi_json *o;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    NBT_OK(parse(&a, text, &o, &err));
    assert_int_equal(o->type, NBI_JT_OBJECT);
    int64_t i = 0;
    double d = 0;
    bool b = false;
    const char *s = NULL;
    size_t n = 0;
    assert_true(nbi_json_to_str(nbi_json_get(o, "model"), &s, &n) && n == 11);
    assert_int_equal(nbi_json_get(o, "model")->line, 2);
    assert_true(nbi_json_to_f64(nbi_json_get(o, "learning_rate"), &d) && d == 2e-4);
    assert_true(nbi_json_to_bool(nbi_json_get(o, "load_in_4bit"), &b) && b);
    assert_true(nbi_json_to_bool(nbi_json_get(o, "packing"), &b) && !b);
    assert_int_equal(nbi_json_get(o, "name")->type, NBI_JT_STRING);
    assert_false(nbi_json_to_bool(nbi_json_get(o, "name"), &b));
    assert_true(nbi_json_to_i64(nbi_json_get(o, "steps"), &i) && i == 100);
    assert_false(nbi_json_to_i64(nbi_json_get(o, "seed"), &i));
    assert_int_equal(nbi_json_get(o, "nothing")->type, NBI_JT_NULL);
    assert_int_equal(nbi_json_get(o, "tilde")->type, NBI_JT_NULL);
    assert_string_equal(nbi_json_get(o, "template")->text, "line one\nline: two\n");
    assert_string_equal(nbi_json_get(o, "folded")->text, "a b");
    nbi_json *t = nbi_json_get(o, "targets");
    assert_true(t->type == NBI_JT_ARRAY && t->n == 3 && nbi_json_equals(t->first, "q_proj"));
    assert_int_equal(nbi_json_at(t, 1)->type, NBI_JT_STRING);
    assert_true(nbi_json_equals(nbi_json_get(nbi_json_at(t, 2), "x"), "1"));
    nbi_json *data = nbi_json_get(o, "data");
    assert_int_equal(data->n, 2);
    assert_true(nbi_json_to_i64(nbi_json_get(data->first, "rows"), &i) && i == 1);
    assert_int_equal(nbi_json_at(data, 1)->line, 21);
    assert_string_equal(nbi_json_get(o, "text")->text, "a\\nb \xC3\xA9");
    assert_int_equal(nbi_json_get(o, "esc")->text_len, 6);
    NBT_FAILS(NB_FORMAT, "r.yaml:7: \"steps\" is 100, expected an integer from 1 to 5",
              nbi_json_get_i64(o, "r.yaml", "steps", 1, 5, &i, &err));
    nbi_arena_free(&a);
}

static void refuses_by_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"a: 1\nb: &x 2\n", "r.yaml:2: anchors"},
        {"a: &x\n  b: 1\n", "r.yaml:1: anchors"},
        {"a: &x [1]\n", "r.yaml:1: anchors"},
        {"&x a: 1\n", "r.yaml:1: anchors"},
        {"a: 1\nb: *x\n", "r.yaml:2: aliases"},
        {"- *x\n", "r.yaml:1: aliases"},
        {"a: !!str 1\n", "r.yaml:1: tags"},
        {"a: ! 1\n", "r.yaml:1: tags"},
        {"a: !x [1]\n", "r.yaml:1: tags"},
        {"--- !x\na: 1\n", "tags"},
        {"%TAG ! tag:x,2000:\n---\na: 1\n", "tags"},
        {"a: {}\n<<: {b: 1}\n", "r.yaml:2: merge keys"},
        {"a: 1\n---\nb: 1\n", "only one document"},
        {"a: 1\nb: 2\na: 3\n", "r.yaml:3: duplicate key a"},
        {"x: {a: 1, 'a': 2}\n", "r.yaml:1: duplicate key a"},
        {"[a]: 1\n", "r.yaml:1: a key must be"},
        {"? {a: 1}\n: 1\n", "r.yaml:1: a key must be"},
        {": 1\n", "r.yaml:1: "},
        {"?\n: 1\n", "r.yaml:1: a key is missing"},
        {"\"a\\0\": 1\n", "r.yaml:1: a key must not hold a NUL"},
        {"a: [1, 2\n", "r.yaml:"},
        {"a: 1\n  b: 2\n", "r.yaml:2: "},
        {"a:\n\t- 1\n", "r.yaml:2: "},
        {"a: 'x\n", "r.yaml:"},
        {"a: @x\n", "r.yaml:1: "},
        {"a: 1\nb\n", "r.yaml:"},
        {"a: \xFF\n", "r.yaml: byte 3"},
        {"a: \x01\n", "r.yaml: byte 3"},
    };
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        NBT_FAILS(NB_FORMAT, bad[i].part, parse(&a, bad[i].text, &v, &err));
    NBT_FAILS(NB_FORMAT, "", nbi_yaml_parse(&a, "r.yaml", "a: \0b", 5, &v, &err));
    nbi_arena_free(&a);
}

static void limits_depth_and_size(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    char text[200];
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t depth = 31; depth <= 33; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        text[2 * depth] = 0;
        if (depth <= 32)
            NBT_OK(parse(&a, text, &v, &err));
        else
            NBT_FAILS(NB_FORMAT, "nested too deeply", parse(&a, text, &v, &err));
    }
    size_t n = ((size_t)1 << 20) + 1;
    char *big = nbi_alloc(NBI_MEM_OTHER, n);
    memset(big, '[', n);
    NBT_FAILS(NB_LIMIT, "r.yaml", nbi_yaml_parse(&a, "r.yaml", big, n, &v, &err));
    NBT_FAILS(NB_FORMAT, "nested", nbi_yaml_parse(&a, "r.yaml", big, n - 1, &v, &err));
    memset(big, ' ', n);
    NBT_OK(nbi_yaml_parse(&a, "r.yaml", big, n - 1, &v, &err));
    nbi_free(big);
    nbi_arena_free(&a);
}

static void takes_empty_documents(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# c\n", "---\n", "~\n", "null"};
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        NBT_OK(parse(&a, texts[i], &v, &err));
        assert_int_equal(v->type, NBI_JT_NULL);
    }
    nbi_arena_free(&a);
}

static void reads_values_of_the_command_line(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    int64_t i;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    NBT_OK(nbi_yaml_parse_value(&a, "--x", "[q, v]", &v, &err));
    assert_true(v->type == NBI_JT_ARRAY && v->n == 2);
    NBT_OK(nbi_yaml_parse_value(&a, "--x", "{a: 1}", &v, &err));
    assert_true(nbi_json_to_i64(nbi_json_get(v, "a"), &i) && i == 1);
    NBT_OK(nbi_yaml_parse_value(&a, "--x", "a: b # \"c\" *d", &v, &err));
    assert_true(v->type == NBI_JT_SCALAR && nbi_json_equals(v, "a: b # \"c\" *d"));
    NBT_OK(nbi_yaml_parse_value(&a, "--x", "", &v, &err));
    assert_true(nbi_json_equals(v, ""));
    NBT_OK(nbi_yaml_parse_value(&a, "--x", "null", &v, &err));
    assert_int_equal(v->type, NBI_JT_NULL);
    NBT_FAILS(NB_FORMAT, "--x:1", nbi_yaml_parse_value(&a, "--x", "[a", &v, &err));
    NBT_FAILS(NB_FORMAT, "--x", nbi_yaml_parse_value(&a, "--x", "[a] b", &v, &err));
    nbi_arena_free(&a);
}

static void writes_scalars_as_json(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_strbuf b = {0};
    nbi_json_writer w;
    nbi_arena_init(&a, NBI_MEM_OTHER);
    NBT_OK(parse(&a, "{i: 1, f: 2e-4, t: true, y: yes, n: ~, s: a b, q: '1', h: .5, o: 007}", &v,
                 &err));
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_tree(&w, v);
    assert_string_equal(b.s, "{\"i\": 1, \"f\": 2e-4, \"t\": true, \"y\": \"yes\", \"n\": null, "
                             "\"s\": \"a b\", \"q\": \"1\", \"h\": \".5\", \"o\": \"007\"}");
    nbi_strbuf_free(&b);
    nbi_arena_free(&a);
}

static void survives_damage(void **state)
{
    (void)state;
    static const char sample[] = "a: [1, 'x', \"y\\n\"]\nb:\n  - c: |\n      t\n    d: {e: ~}\n"
                                 "  - f # g\n? h\n: i\n";
    nbi_rng rng;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_rng_init(&rng, 2, NBI_RNG_SHUFFLE, 0);
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (int round = 0; round < 10000; round++) {
        char text[sizeof(sample)];
        memcpy(text, sample, sizeof(sample));
        for (uint64_t hits = 1 + nbi_rng_below(&rng, 4); hits > 0; hits--) {
            static const char pool[] = "{}[],:\"'\\-?|>&*!%#~ \n\t\x80\xC3";
            text[nbi_rng_below(&rng, sizeof(sample) - 1)] =
                pool[nbi_rng_below(&rng, sizeof(pool) - 1)];
        }
        nb_status st = nbi_yaml_parse(&a, "r", text, sizeof(sample) - 1, &v, &err);
        assert_true(st == NB_OK || st == NB_FORMAT);
        nbi_arena_free(&a);
    }
}

static void survives_lack_of_memory(void **state)
{
    (void)state;
    nbi_arena a;
    nb_error err;
    nbi_json *v;
    nbi_strbuf b = {0};
    for (int i = 0; i < 300; i++)
        nbi_strbuf_printf(&b, "key%d: [%d, {a: b}]\n", i, i);
    size_t before = nbt_in_use();
    nbi_arena_init(&a, NBI_MEM_OTHER);
    for (uint64_t k = 1;; k++) {
        nbi_alloc_fail_at(k, false);
        nb_status st = nbi_yaml_parse(&a, "r", b.s, b.n, &v, &err);
        uint64_t count = nbi_alloc_count();
        nbi_alloc_fail_at(0, false);
        nbi_arena_free(&a);
        assert_int_equal(nbt_in_use(), before);
        assert_int_equal(st, count < k ? NB_OK : NB_NOMEM);
        if (count < k)
            break;
    }
    nbi_strbuf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_recipe),
        cmocka_unit_test(refuses_by_line),
        cmocka_unit_test(limits_depth_and_size),
        cmocka_unit_test(takes_empty_documents),
        cmocka_unit_test(reads_values_of_the_command_line),
        cmocka_unit_test(writes_scalars_as_json),
        cmocka_unit_test(survives_damage),
        cmocka_unit_test(survives_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
