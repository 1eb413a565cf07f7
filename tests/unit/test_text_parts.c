/* SPDX-License-Identifier: MIT */
/* Regular expressions, normal forms, components and bad files. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "fuzzutil.h"
#include "nibble/tokenizer.h"
#include "text/normal_form.h"
#include "text/regex.h"
#include "text/unicode.h"

/* ---- regular expressions ---- */

/* The first match as text, "-" for none. */
static const char *first_match(const char *pattern, const char *text)
{
    static char out[64];
    nb_error err;
    nbi_regex *re;
    nbi_regex_run run = {0};
    bool found;
    size_t begin = 0, end = 0;
    NBT_OK(nbi_regex_compile(&re, pattern, strlen(pattern), "test", &err));
    NBT_OK(nbi_regex_find(re, &run, text, strlen(text), 0, &found, &begin, &end, &err));
    snprintf(out, sizeof out, "%.*s", found ? (int)(end - begin) : 1, found ? text + begin : "-");
    nbi_regex_run_free(&run);
    nbi_regex_free(re);
    return out;
}

static void test_regex(void **state)
{
    (void)state;
    assert_string_equal(first_match("\\p{Lu}+", "ab\xC3\x89XY."), "\xC3\x89XY");
    assert_string_equal(first_match("[^\\p{L}\\s]+", "ab 12!c"), "12!");
    assert_string_equal(first_match("\\P{L}+", "ab12c"), "12");
    assert_string_equal(first_match("[\\P{L}]+", "ab12c"), "12");
    assert_string_equal(first_match("\\p{^L}+", "ab12c"), "12");
    assert_string_equal(first_match("\\pN+", "ab12c"), "12");
    assert_string_equal(first_match("\\p{Han}+", "ab\xE4\xB8\xAD\xE6\x96\x87 c"),
                        "\xE4\xB8\xAD\xE6\x96\x87");
    assert_string_equal(first_match("\\p{Greek}+", "ab\xCE\xB1"), "\xCE\xB1");
    assert_string_equal(first_match("\\S+(?!\\S)", " ab c"), "ab");
    /* the two letters whose lower case is ASCII */
    assert_string_equal(first_match("(?i:s)", "x\xC5\xBF"), "\xC5\xBF");
    assert_string_equal(first_match("(?i:[jk])", "x\xE2\x84\xAA"), "\xE2\x84\xAA");
    assert_string_equal(first_match("\\d{1,3}(?=(?:\\d{3})*\\b)", "a12345"), "12");
    assert_string_equal(first_match("\\Bb+\\B", "b abbc"), "bb");
    assert_string_equal(first_match("^b", "a\nb"), "b");
    assert_string_equal(first_match("a.b", "a\nb a\rb"), "a\rb");
    assert_string_equal(first_match("(?m:a.b)", "a\nb"), "a\nb");
    assert_string_equal(first_match("\\h+", "xy0Afg"), "0Af");
    assert_string_equal(first_match("[\\u4E00-\\u4E2D]+", "a\xE4\xB8\xAD"), "\xE4\xB8\xAD");
    assert_string_equal(first_match("[a\\-z]+", "b-a-z"), "-a-z");
    assert_string_equal(first_match("[+-\\s]+", "a,- +b"), "- +");
    assert_string_equal(first_match("[\\s-x]+", "a x-b"), " x-");
    assert_string_equal(first_match("\\v", "a\nb"), "-");
    /* new since Unicode 14: a letter of Kawi, also in libraries that do not know it */
    assert_string_equal(first_match("\\p{Lo}", "a\xF0\x91\xBC\x84"), "\xF0\x91\xBC\x84");
}

static void test_regex_refusals(void **state)
{
    (void)state;
    nb_error err;
    nbi_regex *re;
    static const struct {
        const char *pattern;
        nb_status st;
        const char *part;
    } bad[] = {
        {"[a[bc]]", NB_UNSUPPORTED, "nested class"}, {"[[:alpha:]]", NB_UNSUPPORTED, "POSIX"},
        {"[a&&b]", NB_UNSUPPORTED, "intersection"},  {"\\X", NB_UNSUPPORTED, "\\X"},
        {"(a", NB_FORMAT, "bad regular expression"}, {"[a", NB_UNSUPPORTED, "unfinished"},
        {"\\p{L", NB_UNSUPPORTED, "unfinished"},     {"a\\", NB_UNSUPPORTED, "backslash"},
        {"\\p{Nonsense}", NB_FORMAT, "bad regular"}, {"\\u12", NB_UNSUPPORTED, "four"},
        {"*a", NB_FORMAT, "bad regular expression"}, {"\\p", NB_UNSUPPORTED, "unfinished"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        NBT_FAILS(bad[i].st, bad[i].part,
                  nbi_regex_compile(&re, bad[i].pattern, strlen(bad[i].pattern), "test", &err));
        assert_null(re);
    }
}

/* Too many steps end with a message, too deep matches of the JIT go on in the interpreter. */
static void test_regex_limits(void **state)
{
    (void)state;
    nb_error err;
    nbi_regex *re;
    nbi_regex_run run = {0};
    bool found;
    size_t begin, end, n = 300000;
    NBT_OK(nbi_regex_compile(&re, "(a+)+$", 6, "test", &err));
    NBT_FAILS(NB_LIMIT, "(a+)+$",
              nbi_regex_find(re, &run, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 43, 0, &found,
                             &begin, &end, &err));
    nbi_regex_free(re);
    char *text = nbi_alloc(NBI_MEM_OTHER, n);
    for (size_t i = 0; i < n; i++)
        text[i] = "ab"[i % 2];
    /* each \w becomes thousands of ranges */
    for (size_t i = 0; i < 60000; i++)
        text[i] = "\\w"[i % 2];
    NBT_FAILS(NB_LIMIT, "too many classes", nbi_regex_compile(&re, text, 60000, "test", &err));
    for (size_t i = 0; i < 60000; i++)
        text[i] = "ab"[i % 2];
    text[n - 1] = 'c';
    NBT_OK(nbi_regex_compile(&re, "(?:(a)|b)*c", 11, "test", &err));
    NBT_OK(nbi_regex_find(re, &run, text, n, 0, &found, &begin, &end, &err));
    assert_true(found);
    assert_int_equal(begin, 0);
    assert_int_equal(end, n);
    nbi_free(text);
    nbi_regex_run_free(&run);
    nbi_regex_free(re);
}

/* ---- normal forms ---- */

static void expect_form(const char *text, bool compat, bool compose, const char *want,
                        const char *begins)
{
    nb_error err;
    nbi_aligned in = {.track = true}, out = {.track = true};
    for (size_t i = 0; text[i];) {
        size_t n = nbi_utf8_len(text[i]);
        nbi_aligned_add(&in, text + i, n, (nbi_align){(uint32_t)i, (uint32_t)(i + n)});
        i += n;
    }
    nbi_view v = nbi_aligned_view(&in, 0);
    NBT_OK(nbi_normal_form(&v, &out, compat, compose, &err));
    assert_int_equal(out.n, strlen(want));
    assert_memory_equal(out.s, want, out.n);
    for (size_t i = 0; i < out.n; i++)
        assert_int_equal(out.a[i].begin, begins[i] - '0');
    nbi_aligned_free(&in);
    nbi_aligned_free(&out);
}

static void test_normal_forms(void **state)
{
    (void)state;
    expect_form("e\xCC\x81", false, true, "\xC3\xA9", "00");
    expect_form("\xC3\xA9x", false, false, "e\xCC\x81x", "0002");
    /* dot below before dot above, whatever the order was; the marks keep their places of origin */
    expect_form("q\xCC\x87\xCC\xA3", false, false, "q\xCC\xA3\xCC\x87", "01133");
    expect_form("\xEF\xAC\x81", true, true, "fi", "00");
    expect_form("\xEF\xAC\x81", false, true, "\xEF\xAC\x81", "000");
    /* Hangul by arithmetic */
    expect_form("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", false, true, "\xED\x95\x9C", "000");
    expect_form("\xED\x95\x9C", false, false, "\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB", "000000000");
    /* a mark of the same class in between blocks composition */
    expect_form("e\xCD\x86\xCC\x81", false, true, "e\xCD\x86\xCC\x81", "01133");
    expect_form("plain", true, true, "plain", "01234");
    /* assigned after Unicode 9: U+11938 has a decomposition since 13 and stays whole */
    expect_form("\xF0\x91\xA4\xB8", false, false, "\xF0\x91\xA4\xB8", "0000");
}

static void test_classes(void **state)
{
    (void)state;
    assert_true(nbi_uni_is(0x10FFFF, NBI_SET_C));
    assert_true(nbi_uni_is('_', NBI_SET_WORD) && nbi_uni_is('_', NBI_SET_P));
    assert_true(nbi_uni_is(0xB2, NBI_SET_WORD) && !nbi_uni_is(0xB2, NBI_SET_WORD18));
    assert_true(nbi_uni_is(0x200D, NBI_SET_WORD18) && !nbi_uni_is(0x200D, NBI_SET_WORD));
    assert_true(nbi_uni_is_space(0x3000) && nbi_uni_is_space(0x85) && !nbi_uni_is_space(0x200B));
    assert_true(nbi_uni_is_punct('$') && !nbi_uni_is_punct('a') && nbi_uni_is_punct(0x3001));
    assert_true(nbi_uni_is_digit(0xB2) && nbi_uni_is_digit('0') && !nbi_uni_is_digit('a'));
    uint32_t low[2];
    assert_int_equal(nbi_uni_lower(0x130, low), 2);
    assert_int_equal(nbi_uni_lower(0xC9, low), 1);
    assert_int_equal(low[0], 0xE9);
    nbi_uni_lower(0x101, low);
    assert_int_equal(low[0], 0x101);
}

/* ---- components ---- */

static char *work_dir; /* one for all tests */

static int make_work_dir(void **state)
{
    (void)state;
    work_dir = nbt_tmpdir();
    return 0;
}

static int remove_work_dir(void **state)
{
    (void)state;
    nbt_tmpdir_remove(work_dir);
    return 0;
}

static nb_status open_json(const char *json, size_t n, nb_tokenizer **t, nb_error *err)
{
    char *path = nbt_join(work_dir, "tokenizer.json");
    nbt_write_plainly(path, json, n);
    nb_status st = nb_tokenizer_open(t, work_dir, NULL, err);
    nbi_free(path);
    return st;
}

/* A vocabulary of single characters without merges shows what a pre-tokenizer does when the pieces
 * are WordLevel tokens; unknown pieces have id 0. */
#define WORDS                                                                                      \
    "\"model\":{\"type\":\"WordLevel\",\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"-\":2,"    \
    "\"a-\":3,\"-a\":4,\"--\":5,\"b\":6,\"12\":7,\"1\":8,\"2\":9,\"_a\":10,\"_\":11,\"A\":12,"     \
    "\"_b\":13,\"a--b\":14}}"

static void expect_words(const char *stages, const char *text, const char *want)
{
    nb_error err;
    nb_tokenizer *t;
    nb_encoding e = {0};
    char json[900], got[200] = "";
    size_t k = 0;
    int n = snprintf(json, sizeof json, "{%s%s%s}", stages, stages[0] ? "," : "", WORDS);
    NBT_OK(open_json(json, (size_t)n, &t, &err));
    NBT_OK(nb_tokenizer_encode(t, text, strlen(text), 0, &e, &err));
    for (size_t i = 0; i < e.n; i++)
        k += (size_t)snprintf(got + k, sizeof got - k, "%s%d", i ? " " : "", (int)e.ids[i]);
    if (strcmp(got, want) != 0)
        print_error("%s on \"%s\"\n", stages, text);
    assert_string_equal(got, want);
    nb_encoding_free(&e);
    nb_tokenizer_close(&t);
}

#define SPLIT(behavior, invert)                                                                    \
    "\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"String\":\"-\"},\"behavior\":"           \
    "\"" behavior "\",\"invert\":" invert "}"

static void test_components(void **state)
{
    (void)state;
    expect_words("", "a--b", "14");
    expect_words(SPLIT("Removed", "false"), "a--b", "1 6");
    expect_words(SPLIT("Isolated", "false"), "a--b", "1 2 2 6");
    expect_words(SPLIT("MergedWithPrevious", "false"), "a--b", "3 2 6");
    expect_words(SPLIT("MergedWithNext", "false"), "a--a", "1 2 4");
    expect_words(SPLIT("Contiguous", "false"), "a--b", "1 5 6");
    expect_words(SPLIT("Removed", "true"), "a--b", "2 2");
    expect_words("\"pre_tokenizer\":{\"type\":\"Whitespace\"}", "a-- b", "1 5 6");
    expect_words("\"pre_tokenizer\":{\"type\":\"WhitespaceSplit\"}", "a-- b ", "0 6");
    expect_words("\"pre_tokenizer\":{\"type\":\"Digits\",\"individual_digits\":true}", "a12",
                 "1 8 9");
    expect_words("\"pre_tokenizer\":{\"type\":\"Digits\"}", "a12b", "1 7 6");
    expect_words("\"pre_tokenizer\":{\"type\":\"Punctuation\"}", "a--b", "1 2 2 6");
    expect_words("\"pre_tokenizer\":{\"type\":\"CharDelimiterSplit\",\"delimiter\":\"-\"}", "a-b",
                 "1 6");
    expect_words("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}", "a b",
                 "10 13");
    expect_words("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\","
                 "\"prepend_scheme\":\"never\"}",
                 "a b", "1 13");
    expect_words("\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\","
                 "\"prepend_scheme\":\"first\"},\"added_tokens\":[{\"id\":20,\"content\":\"X\"}]",
                 "aXa", "10 20 1");
    expect_words("\"normalizer\":{\"type\":\"Lowercase\"}", "A", "1");
    expect_words("\"normalizer\":{\"type\":\"Strip\"}",
                 " \xE3\x80\x80"
                 "a\n",
                 "1");
    expect_words("\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}", "a", "10");
    expect_words("\"normalizer\":{\"type\":\"Prepend\",\"prepend\":\"_\"}", "", "");
    expect_words(
        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"NFD\"},{\"type\":"
        "\"StripAccents\"},{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"e+\"},"
        "\"content\":\"a\"}]}",
        "\xC3\xA9"
        "e",
        "1");
}

/* ---- bad files ---- */

#define BPE_MODEL(vocab, merges)                                                                   \
    "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}}"
#define WITH(stages) "{" stages ",\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}}"

static void test_bad_files(void **state)
{
    (void)state;
    static const struct {
        const char *json;
        nb_status st;
        const char *part;
    } bad[] = {
        {"", NB_FORMAT, "byte 0"},
        {"[]", NB_FORMAT, "expected an object"},
        {"{}", NB_FORMAT, "no \"model\""},
        {"{\"model\":3}", NB_FORMAT, "byte 9: \"model\" must be an object"},
        {"{\"model\":{}}", NB_FORMAT, "no \"vocab\""},
        {"{\"model\":{\"vocab\":{}}}", NB_FORMAT, "no \"merges\""},
        {"{\"model\":{\"type\":\"Nonsense\",\"vocab\":{}}}", NB_UNSUPPORTED, "Nonsense"},
        {"{\"model\":{\"vocab\":[[\"a\",0.5]]}}", NB_UNSUPPORTED, "Unigram"},
        {BPE_MODEL("{\"a\":-1}", "[]"), NB_FORMAT, "\"a\""},
        {BPE_MODEL("{\"a\":1.5}", "[]"), NB_FORMAT, "\"a\""},
        {BPE_MODEL("{\"a\":4194304}", "[]"), NB_FORMAT, "below 4194304"},
        {BPE_MODEL("{\"a\":99999999999999999999}", "[]"), NB_FORMAT, "whole number"},
        {BPE_MODEL("{\"a\":\"0\"}", "[]"), NB_FORMAT, "whole number"},
        {BPE_MODEL("{\"a\":0,\"b\":0}", "[]"), NB_FORMAT, "\"a\" and \"b\" have the same id 0"},
        {BPE_MODEL("{\"a\":0,\"a\":1}", "[]"), NB_FORMAT, "twice"},
        {BPE_MODEL("{\"a\":0}", "[\"a b\"]"), NB_FORMAT, "names \"b\""},
        {BPE_MODEL("{\"a\":0}", "[[\"b\",\"a\"]]"), NB_FORMAT, "names \"b\""},
        {BPE_MODEL("{\"a\":0}", "[\"a a\"]"), NB_FORMAT, "not in the vocabulary"},
        {BPE_MODEL("{\"a\":0}", "[\"aa\"]"), NB_FORMAT, "one blank"},
        {BPE_MODEL("{\"a\":0}", "[\"a a a\"]"), NB_FORMAT, "one blank"},
        {BPE_MODEL("{\"a\":0}", "[[\"a\"]]"), NB_FORMAT, "two strings"},
        {BPE_MODEL("{\"a\":0}", "[[\"a\",\"a\",\"a\"]]"), NB_FORMAT, "merge"},
        {BPE_MODEL("{\"a\":0}", "[5]"), NB_FORMAT, "a merge must be"},
        {BPE_MODEL("{\"a\":0}", "{}"), NB_FORMAT, "\"merges\" must be a list"},
        {"{\"model\":{\"merges\":[\"a b\"],\"vocab\":{\"a\":0}}}", NB_FORMAT, "names \"b\""},
        {"{\"model\":{\"dropout\":0.1,\"vocab\":{\"a\":0},\"merges\":[]}}", NB_UNSUPPORTED,
         "dropout"},
        {"{\"model\":{\"fuse_unk\":1,\"vocab\":{\"a\":0},\"merges\":[]}}", NB_FORMAT, "fuse_unk"},
        {WITH("\"normalizer\":{\"type\":\"Precompiled\"}"), NB_UNSUPPORTED, "\"Precompiled\""},
        {WITH("\"normalizer\":[]"), NB_FORMAT, "\"normalizer\" must be"},
        {WITH("\"normalizer\":{\"type\":\"Prepend\"}"), NB_FORMAT, "\"prepend\""},
        {WITH("\"normalizer\":{\"type\":\"Replace\",\"content\":\"\",\"pattern\":{\"Regex\":\"(\"}"
              "}"),
         NB_FORMAT, "bad regular expression"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Odd\"}"), NB_FORMAT,
         "behavior"},
        {WITH("\"pre_tokenizer\":{\"type\":\"Sequence\"}"), NB_FORMAT, "pretokenizers"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
              "\"id\":\"x\"}}]}"),
         NB_FORMAT, "\"x\" has no ids"},
        {WITH("\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{"
              "\"id\":\"A\"}},{\"Sequence\":{\"id\":\"A\"}}]}"),
         NB_FORMAT, "only once"},
        {WITH("\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"a\",0],\"sep\":[\"b\",9]"
              "}"),
         NB_FORMAT, "id 9"},
        {WITH("\"decoder\":{\"type\":\"Strip\",\"content\":\"ab\"}"), NB_FORMAT, "one character"},
        {WITH("\"added_tokens\":[{\"id\":0,\"content\":\"b\"}]"), NB_FORMAT, "id 0"},
        {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"b\"},{\"id\":7,\"content\":\"c\"}]"),
         NB_FORMAT, "id 7"},
        {WITH("\"added_tokens\":[{\"id\":7,\"content\":\"b\"},{\"id\":8,\"content\":\"b\"}]"),
         NB_FORMAT, "twice"},
        {WITH("\"added_tokens\":[{\"id\":-7,\"content\":\"b\"}]"), NB_FORMAT, "whole number"},
        {WITH("\"added_tokens\":[{\"content\":\"b\"}]"), NB_FORMAT, "whole number"},
        {WITH("\"added_tokens\":[4]"), NB_FORMAT, "object"},
        {WITH("\"decoder\":null,\"decoder\":null"), NB_FORMAT, "twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        nb_error err;
        nb_tokenizer *t;
        size_t before = nbt_in_use();
        NBT_FAILS(bad[i].st, bad[i].part, open_json(bad[i].json, strlen(bad[i].json), &t, &err));
        assert_non_null(strstr(err.message, "tokenizer.json"));
        assert_null(strchr(err.message, '\n'));
        assert_int_equal(nbt_in_use(), before);
    }
}

/* Every prefix of a good file is refused. */
static void test_truncated(void **state)
{
    (void)state;
    char *path = nbt_golden("tokenizers/pieces/tokenizer.json");
    size_t n;
    char *json = nbt_read(path, &n);
    while (n > 0 && json[n - 1] != '}')
        n--;
    for (size_t k = 0; k < n; k += k % 31 + 1) {
        nb_error err;
        nb_tokenizer *t;
        NBT_FAILS(NB_FORMAT, "byte", open_json(json, k, &t, &err));
        assert_null(t);
    }
    nbi_free(json);
    nbi_free(path);
}

/* Steps that double the text, one after the other, end before they fill the memory. */
static void test_growth(void **state)
{
    (void)state;
    static const char step[] =
        "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":\"aa\"}";
    nb_error err;
    nb_tokenizer *t;
    nb_encoding e = {0};
    nbi_strbuf json = {0};
    char *text;
    size_t len;
    for (int decoder = 0; decoder < 2; decoder++) {
        nbi_strbuf_clear(&json);
        nbi_strbuf_puts(&json, decoder ? "{\"decoder\":{\"type\":\"Sequence\",\"decoders\":["
                                       : "{\"normalizer\":{\"type\":\"Sequence\","
                                         "\"normalizers\":[");
        for (int i = 0; i < 60; i++)
            nbi_strbuf_printf(&json, "%s%s", i ? "," : "", step);
        nbi_strbuf_puts(&json, "]},\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},"
                               "\"merges\":[]}}");
        NBT_OK(open_json(json.s, json.n, &t, &err));
        if (decoder)
            NBT_FAILS(NB_LIMIT, "decodes 1 bytes",
                      nb_tokenizer_decode(t, (const int32_t[]){0}, 1, false, &text, &len, &err));
        else
            NBT_FAILS(NB_LIMIT, "rewrites 1 bytes", nb_tokenizer_encode(t, "a", 1, 0, &e, &err));
        nb_tokenizer_close(&t);
    }
    nb_encoding_free(&e);
    nbi_strbuf_free(&json);
}

static void test_bad_folder(void **state)
{
    (void)state;
    static const struct {
        const char *file, *text, *part;
    } bad[] = {{"tokenizer_config.json", "{\"bos_token\":5}", "bos_token"},
               {"tokenizer_config.json", "[]", "expected an object"},
               {"tokenizer_config.json", "{\"chat_template\":7}", "chat_template"},
               {"tokenizer_config.json", "{\"chat_template\":\"a\\u0000b\"}", "NUL"},
               {"tokenizer_config.json", "{\"eos_token\":\"a\\u0000b\"}", "eos_token"},
               {"special_tokens_map.json", "{\"eos_token\":{}}", "eos_token"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        nb_error err;
        nb_tokenizer *t;
        char *dir = nbt_tmpdir(), *path = nbt_join(dir, "tokenizer.json");
        nbt_write_text(path, BPE_MODEL("{\"a\":0}", "[]"));
        nbi_free(path);
        path = nbt_join(dir, bad[i].file);
        nbt_write_text(path, bad[i].text);
        NBT_FAILS(NB_FORMAT, bad[i].part, nb_tokenizer_open(&t, dir, NULL, &err));
        assert_non_null(strstr(err.message, path));
        nbi_free(path);
        nbt_tmpdir_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_regex),        cmocka_unit_test(test_regex_refusals),
        cmocka_unit_test(test_regex_limits), cmocka_unit_test(test_normal_forms),
        cmocka_unit_test(test_classes),      cmocka_unit_test(test_components),
        cmocka_unit_test(test_bad_files),    cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_bad_folder),   cmocka_unit_test(test_growth),
    };
    return cmocka_run_group_tests(tests, make_work_dir, remove_work_dir);
}
