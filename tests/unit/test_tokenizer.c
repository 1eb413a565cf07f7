/* SPDX-License-Identifier: MIT */
/* Tokenizers made for this test (tests/golden/tokenizers); ids follow by hand from the files:
 * "bytes": the id of a byte is its value, 256.. are the merges; "pieces": 3 + byte, letters from
 * 260, merges from 286. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include "testutil.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "nibble/tokenizer.h"
#include "text/chat.h"

static nb_tokenizer *open_golden(const char *name)
{
    nb_error err;
    nb_tokenizer *tok;
    char *base = nbt_golden("tokenizers"), *dir = nbt_join(base, name);
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    nbi_free(dir);
    nbi_free(base);
    return tok;
}

static void print_ids(const char *what, const int32_t *ids, size_t n)
{
    print_error("%s", what);
    for (size_t i = 0; i < n; i++)
        print_error(" %d", (int)ids[i]);
    print_error("\n");
}

static void expect(const nb_tokenizer *tok, const char *text, unsigned flags, const int32_t *ids,
                   size_t n, const int64_t (*offsets)[2])
{
    nb_error err;
    nb_encoding e = {0};
    NBT_OK(nb_tokenizer_encode(tok, text, strlen(text), flags | (offsets ? NB_ENCODE_OFFSETS : 0),
                               &e, &err));
    if (e.n != n || memcmp(e.ids, ids, n * sizeof *ids) != 0) {
        print_error("\"%s\"\n", text);
        print_ids("got ", e.ids, e.n);
        print_ids("want", ids, n);
        fail();
    }
    for (size_t i = 0; offsets && i < n; i++) {
        assert_int_equal(e.offsets[2 * i], offsets[i][0]);
        assert_int_equal(e.offsets[2 * i + 1], offsets[i][1]);
    }
    nb_encoding_free(&e);
}

#define IDS(...)                                                                                   \
    (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t)

static void expect_decode(const nb_tokenizer *tok, const int32_t *ids, size_t n, bool skip,
                          const char *want)
{
    nb_error err;
    char *text;
    size_t len;
    NBT_OK(nb_tokenizer_decode(tok, ids, n, skip, &text, &len, &err));
    assert_string_equal(text, want);
    assert_int_equal(len, strlen(want));
    nb_free(text);
}

static void test_byte_level(void **state)
{
    (void)state;
    nb_tokenizer *t = open_golden("bytes");
    const int64_t o1[][2] = {{0, 1}, {1, 3}, {3, 5}, {5, 6}, {6, 9}};
    expect(t, "the thing", 0, IDS(116, 257, 256, 104, 260), o1);
    expect(t, " the", NB_ENCODE_SPECIAL, IDS(261, 258), NULL);
    const int64_t o2[][2] = {{0, 0}, {0, 2}, {0, 2}};
    expect(t, "\xC3\xA9", NB_ENCODE_SPECIAL, IDS(261, 195, 169), o2);
    const int64_t o3[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 4}};
    expect(t, "1234", 0, IDS('1', '2', '3', '4'), o3);
    expect(t, "", NB_ENCODE_SPECIAL, IDS(261), NULL);
    expect(t, "a<|eos|>b<think>", 0, IDS('a', 262, 'b', 263), NULL);
    expect(t, "<|eos|><think>", NB_ENCODE_SPECIAL_AS_TEXT,
           IDS('<', '|', 'e', 'o', 's', '|', '>', 263), NULL);
    /* ill-formed UTF-8: one U+FFFD for each maximal ill-formed part */
    const int64_t o4[][2] = {{0, 1}, {1, 4}, {1, 4}, {1, 4}, {4, 5}};
    expect(t, "a\xE2\x82z", 0, IDS('a', 0xEF, 0xBF, 0xBD, 'z'), o4);
    expect_decode(t, IDS(261, 116, 257, 256, 104, 260, 262), false, "<|bos|>the thing<|eos|>");
    expect_decode(t, IDS(261, 116, 257, 263, 262), true, "the<think>");
    expect_decode(t, IDS(0xE2, 0x82, 'x'), false, "\xEF\xBF\xBDx");
    nb_tokenizer_close(&t);
}

static void test_pieces(void **state)
{
    (void)state;
    nb_tokenizer *t = open_golden("pieces");
    const int64_t o1[][2] = {{0, 5}, {5, 6}, {6, 8}, {6, 8}};
    expect(t, "hello \xC3\xA9", 0, IDS(291, 259, 3 + 0xC3, 3 + 0xA9), o1);
    const int64_t o2[][2] = {{0, 0}, {0, 1}, {1, 5}, {5, 6}, {5, 6}, {0, 0}};
    expect(t, "a</s>b", NB_ENCODE_SPECIAL, IDS(1, 286, 2, 259, 261, 2), o2);
    expect(t, "", NB_ENCODE_SPECIAL, IDS(1, 2), NULL);
    /* [X] swallows the white space around it */
    const int64_t o3[][2] = {{0, 1}, {1, 7}, {7, 8}, {7, 8}};
    expect(t, "a [X]  b", 0, IDS(286, 293, 259, 261), o3);
    /* "word" only where it is one */
    expect(t, "word", 0, IDS(294), NULL);
    expect(t, "words", 0, IDS(259, 282, 274, 277, 263, 278), NULL);
    expect(t, "-word-", 0, IDS(259, 3 + '-', 294, 259, 3 + '-'), NULL);
    expect_decode(t, IDS(1, 291, 259, 3 + 0xC3, 3 + 0xA9, 2), true, "hello \xC3\xA9");
    expect_decode(t, IDS(291, 3 + 0xC3, 260), false,
                  "hello\xEF\xBF\xBD"
                  "a");
    nb_tokenizer_close(&t);
}

static void test_questions(void **state)
{
    (void)state;
    nb_tokenizer *t = open_golden("bytes");
    assert_int_equal(nb_tokenizer_vocab_size(t), 264);
    assert_int_equal(nb_tokenizer_bos(t), 261);
    assert_int_equal(nb_tokenizer_eos(t), 262);
    assert_int_equal(nb_tokenizer_pad(t), -1);
    assert_int_equal(nb_tokenizer_unk(t), -1);
    assert_true(nb_tokenizer_adds_bos(t));
    assert_true(nb_tokenizer_is_special(t, 262));
    assert_false(nb_tokenizer_is_special(t, 263));
    assert_false(nb_tokenizer_is_special(t, 'a'));
    assert_string_equal(nb_tokenizer_token(t, 263), "<think>");
    assert_string_equal(nb_tokenizer_token(t, 257), "he");
    assert_null(nb_tokenizer_token(t, 264));
    assert_null(nb_tokenizer_token(t, -1));
    assert_int_equal(nb_tokenizer_token_id(t, "<|eos|>"), 262);
    assert_int_equal(nb_tokenizer_token_id(t, "no such token"), -1);
    assert_string_equal(nb_tokenizer_chat_template(t), "{{ messages }}");
    assert_false(nbi_chat_supported(t));
    nb_error err;
    char *text;
    size_t n;
    NBT_FAILS(NB_DATA, "264", nb_tokenizer_decode(t, IDS(264), false, &text, &n, &err));
    NBT_FAILS(NB_DATA, "-5", nb_tokenizer_decode(t, IDS(-5), false, &text, &n, &err));
    nbi_rendered r = {0};
    NBT_FAILS(NB_UNSUPPORTED, "SHA-256", nbi_chat_render(t, NULL, 0, false, &r, &err));
    nbi_rendered_free(&r);
    nb_tokenizer_close(&t);
    nb_tokenizer_close(&t);
    t = open_golden("pieces");
    assert_int_equal(nb_tokenizer_bos(t), 1);
    assert_int_equal(nb_tokenizer_eos(t), 2);
    assert_int_equal(nb_tokenizer_pad(t), 292);
    assert_null(nb_tokenizer_chat_template(t));
    nb_tokenizer_close(&t);
    NBT_FAILS(NB_NOTFOUND, "tokenizer.json", nb_tokenizer_open(&t, "no/such/folder", NULL, &err));
    assert_null(t);
}

/* Random text of characters of all lengths. */
static size_t random_text(nbi_rng *g, char *out, size_t chars)
{
    size_t n = 0;
    for (size_t i = 0; i < chars; i++) {
        static const uint32_t limits[] = {0x80, 0x800, 0x10000, 0x110000};
        uint32_t cp = (unsigned char)"the in hello \n"[nbi_rng_below(g, 14)];
        if (nbi_rng_below(g, 3) == 0)
            cp = (uint32_t)nbi_rng_below(g, limits[nbi_rng_below(g, 4)]);
        n += nbi_utf8_encode(cp, out + n);
    }
    return n;
}

/* Byte-level tokens spell the text, and their ranges cover it without gaps. */
static void test_round_trip(void **state)
{
    (void)state;
    nb_tokenizer *t = open_golden("bytes");
    nbi_rng g;
    nbi_rng_init(&g, 7, NBI_RNG_SAMPLE, 0);
    for (int round = 0; round < 300; round++) {
        nb_error err;
        nb_encoding e = {0};
        char text[400 * 4], *back;
        size_t n = random_text(&g, text, nbi_rng_below(&g, 400)), m;
        NBT_OK(nb_tokenizer_encode(t, text, n, NB_ENCODE_OFFSETS, &e, &err));
        NBT_OK(nb_tokenizer_decode(t, e.ids, e.n, false, &back, &m, &err));
        assert_int_equal(m, n);
        assert_memory_equal(back, text, n);
        int64_t covered = 0;
        for (size_t i = 0; i < e.n; i++) {
            assert_true(e.offsets[2 * i] <= covered);
            assert_true(e.offsets[2 * i + 1] >= covered);
            covered = e.offsets[2 * i + 1];
        }
        assert_int_equal(covered, n);
        nb_free(back);
        nb_encoding_free(&e);
    }
    nb_tokenizer_close(&t);
}

/* ---- merging against the definition ---- */

typedef struct plain_bpe {
    char tokens[64][16];
    int left[64], right[64];
    int n; /* tokens; the first 4 are letters */
} plain_bpe;

/* Random merges over the letters a-d, as a tokenizer.json without any other stage. */
static void make_plain(plain_bpe *p, nbi_rng *g, nbi_strbuf *json)
{
    memset(p, 0, sizeof *p);
    for (p->n = 0; p->n < 4; p->n++)
        p->tokens[p->n][0] = (char)('a' + p->n);
    while (p->n < 40) {
        int a = (int)nbi_rng_below(g, (uint64_t)p->n), b = (int)nbi_rng_below(g, (uint64_t)p->n);
        char joined[40];
        bool known = false;
        snprintf(joined, sizeof joined, "%s%s", p->tokens[a], p->tokens[b]);
        for (int i = 0; i < p->n; i++)
            known |= strcmp(joined, p->tokens[i]) == 0;
        if (known || strlen(joined) > 15)
            continue;
        memcpy(p->tokens[p->n], joined, strlen(joined) + 1);
        p->left[p->n] = a;
        p->right[p->n++] = b;
    }
    nbi_strbuf_puts(json, "{\"model\":{\"type\":\"BPE\",\"merges\":[");
    for (int i = 4; i < p->n; i++)
        nbi_strbuf_printf(json, "%s[\"%s\",\"%s\"]", i > 4 ? "," : "", p->tokens[p->left[i]],
                          p->tokens[p->right[i]]);
    nbi_strbuf_puts(json, "],\"vocab\":{");
    for (int i = 0; i < p->n; i++)
        nbi_strbuf_printf(json, "%s\"%s\":%d", i ? "," : "", p->tokens[i], i);
    nbi_strbuf_puts(json, "}}}");
}

/* The definition: join the leftmost pair of the lowest rank, again and again. */
static size_t merge_plainly(const plain_bpe *p, int32_t *v, size_t n)
{
    for (;;) {
        int best = 64;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (int k = 4; k < best && k < p->n; k++) {
                if (p->left[k] == v[i] && p->right[k] == v[i + 1]) {
                    best = k;
                    at = i;
                }
            }
        }
        if (best == 64)
            return n;
        v[at] = best;
        memmove(v + at + 1, v + at + 2, (n - at - 2) * sizeof *v);
        n--;
    }
}

static nb_tokenizer *open_text(const char *json)
{
    nb_error err;
    nb_tokenizer *t;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "tokenizer.json");
    nbt_write_text(path, json);
    NBT_OK(nb_tokenizer_open(&t, dir, NULL, &err));
    nbi_free(path);
    nbt_tmpdir_remove(dir);
    return t;
}

static void test_merging(void **state)
{
    (void)state;
    nbi_rng g;
    nbi_rng_init(&g, 11, NBI_RNG_SAMPLE, 1);
    for (int round = 0; round < 20; round++) {
        plain_bpe p;
        nbi_strbuf json = {0};
        make_plain(&p, &g, &json);
        nb_tokenizer *t = open_text(json.s);
        for (int k = 0; k < 30; k++) {
            nb_error err;
            nb_encoding e = {0};
            char text[300];
            int32_t want[300];
            /* short pieces are scanned, long ones go through the heap */
            size_t n = nbi_rng_below(&g, k % 2 ? 60 : 300);
            for (size_t i = 0; i < n; i++) {
                want[i] = (int32_t)nbi_rng_below(&g, 4);
                text[i] = (char)('a' + want[i]);
            }
            n = merge_plainly(&p, want, n);
            size_t len = 0;
            for (size_t i = 0; i < n; i++)
                len += strlen(p.tokens[want[i]]);
            NBT_OK(nb_tokenizer_encode(t, text, len, 0, &e, &err));
            assert_int_equal(e.n, n);
            if (n)
                assert_memory_equal(e.ids, want, n * sizeof *want);
            nb_encoding_free(&e);
        }
        nb_tokenizer_close(&t);
        nbi_strbuf_free(&json);
    }
}

/* A repeated piece is taken from the cache: the same tokens as alone. */
static void test_many_pieces(void **state)
{
    (void)state;
    nb_error err;
    nb_tokenizer *t = open_golden("bytes");
    nb_encoding e = {0};
    nbi_strbuf text = {0};
    for (int i = 0; i < 3000; i++)
        nbi_strbuf_printf(&text, " the %d", i % 37);
    NBT_OK(nb_tokenizer_encode(t, text.s, text.n, NB_ENCODE_OFFSETS, &e, &err));
    size_t at = 0;
    for (int i = 0; i < 3000; i++) {
        char number[16];
        int digits = snprintf(number, sizeof number, "%d", i % 37);
        assert_int_equal(e.ids[at], 258);
        assert_int_equal(e.offsets[2 * at + 1] - e.offsets[2 * at], 4);
        assert_int_equal(e.ids[++at], ' ');
        for (int k = 0; k < digits; k++)
            assert_int_equal(e.ids[++at], number[k]);
        at++;
    }
    assert_int_equal(at, e.n);
    assert_int_equal(e.offsets[2 * at - 1], text.n);
    nbi_strbuf_free(&text);
    nb_encoding_free(&e);
    nb_tokenizer_close(&t);
}

/* ---- chat ---- */

/* Opens a folder with the golden "bytes" tokenizer and the template of the project's model. */
static nb_tokenizer *open_with_own_template(bool with_config)
{
    nb_error err;
    nb_tokenizer *t;
    char *dir = nbt_tmpdir();
    const char *files[][2] = {
        {"tests/golden/tokenizers/bytes/tokenizer.json", "tokenizer.json"},
        {"models/nibble-world/chat_template.jinja", "chat_template.jinja"},
        {"tests/golden/tokenizers/bytes/tokenizer_config.json", "tokenizer_config.json"}};
    for (int i = 0; i < (with_config ? 3 : 2); i++) {
        char *from = nbt_source(files[i][0]), *to = nbt_join(dir, files[i][1]);
        NBT_OK(nbi_copy_file(from, to, &err));
        nbi_free(from);
        nbi_free(to);
    }
    NBT_OK(nb_tokenizer_open(&t, dir, NULL, &err));
    nbt_tmpdir_remove(dir);
    return t;
}

/* Expected text by the template, read by eye. */
static void test_own_chat(void **state)
{
    (void)state;
    nb_error err;
    /* the file comes before the key of tokenizer_config.json */
    nb_tokenizer *t = open_with_own_template(true);
    assert_true(nbi_chat_supported(t));
    const nbi_message m[] = {{"user", "hi", 2}, {"assistant", "ho", 2}};
    nbi_rendered r = {0};
    NBT_OK(nbi_chat_render(t, m, 2, true, &r, &err));
    assert_string_equal(r.text.s, "<|bos|><|user|>hi<|assistant|>ho<|eos|><|assistant|>");
    assert_int_equal(r.n_spans, 1);
    assert_int_equal(r.spans[0].begin, strlen("<|bos|><|user|>hi<|assistant|>"));
    assert_int_equal(r.spans[0].end - r.spans[0].begin, strlen("ho<|eos|>"));
    const nbi_message odd = {"tool", "", 0};
    NBT_FAILS(NB_DATA, "tool", nbi_chat_render(t, &odd, 1, false, &r, &err));
    nbi_rendered_free(&r);
    nb_tokenizer_close(&t);
    /* a folder without a configuration: well-known names decide; this one has none of them */
    t = open_with_own_template(false);
    assert_int_equal(nb_tokenizer_bos(t), -1);
    nb_tokenizer_close(&t);
}

/* ---- threads ---- */

static void *encode_often(void *arg)
{
    nb_tokenizer *t = arg;
    nb_encoding e = {0};
    nb_error err;
    intptr_t bad = 0;
    for (int i = 0; i < 300; i++) {
        const char *s = i % 2 ? "the thing in the thing" : "  he, the 123 \xE4\xB8\xAD";
        if (nb_tokenizer_encode(t, s, strlen(s), 0, &e, &err) != NB_OK || e.n == 0 ||
            e.ids[0] != (i % 2 ? 116 : ' '))
            bad++;
    }
    nb_encoding_free(&e);
    return (void *)bad;
}

static void test_threads(void **state)
{
    (void)state;
    nb_tokenizer *t = open_golden("bytes");
    pthread_t th[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&th[i], NULL, encode_often, t), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        pthread_join(th[i], &bad);
        assert_null(bad);
    }
    nb_tokenizer_close(&t);
}

/* ---- no memory ---- */

static nb_status whole_story(const char *dir, nb_error *err)
{
    nb_tokenizer *t = NULL;
    nb_encoding e = {0};
    char *text = NULL, s[900];
    size_t n;
    memset(s, 'h', sizeof s);
    for (int i = 100; i < 900; i += 2)
        s[i] = ' ';
    nb_status st = nb_tokenizer_open(&t, dir, NULL, err);
    if (st == NB_OK)
        st = nb_tokenizer_encode(t, s, sizeof s, 3, &e, err);
    if (st == NB_OK)
        st = nb_tokenizer_decode(t, e.ids, e.n, false, &text, &n, err);
    nb_free(text);
    nb_encoding_free(&e);
    nb_tokenizer_close(&t);
    return st;
}

static void test_no_memory(void **state)
{
    (void)state;
    const char *names[] = {"tokenizers/bytes", "tokenizers/pieces"};
    for (int i = 0; i < 2; i++) {
        char *dir = nbt_golden(names[i]);
        size_t before = nbt_in_use();
        nb_status st = NB_NOMEM;
        uint64_t k = 0;
        for (int quiet = 0; quiet < 50; k++) {
            nb_error err = {0};
            nbi_alloc_fail_at(k + 1, false);
            st = whole_story(dir, &err);
            bool reached = nbi_alloc_count() > k;
            nbi_alloc_fail_at(0, false);
            if (st != NB_OK && (st != NB_NOMEM || err.code != NB_NOMEM)) {
                print_error("allocation %d: %s\n", (int)k + 1, err.message);
                fail();
            }
            assert_int_equal(nbt_in_use(), before);
            quiet = reached ? 0 : quiet + 1;
        }
        assert_int_equal(st, NB_OK);
        assert_true(k > 100);
        nbi_free(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_byte_level), cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_questions),  cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_merging),    cmocka_unit_test(test_many_pieces),
        cmocka_unit_test(test_own_chat),   cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
