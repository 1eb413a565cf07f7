/* SPDX-License-Identifier: MIT */
/* Damaged tokenizer files, the same ones in every run: whatever comes in, opening ends with a
 * status and a message, and what opens encodes and decodes without a fault. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "fuzzutil.h"
#include "nibble/tokenizer.h"

/* Pieces of the format, to get past the syntax. */
static const char *const words[] = {"null",
                                    "true",
                                    "false",
                                    "0",
                                    "-1",
                                    "1e9",
                                    "4194303",
                                    "4194304",
                                    "\"\"",
                                    "[]",
                                    "{}",
                                    "\\u0000",
                                    "\\ud800",
                                    "\"a\"",
                                    "{\"type\":\"NFC\"}",
                                    "{\"type\":\"Lowercase\"}",
                                    "{\"type\":\"Fuse\"}",
                                    "{\"type\":\"ByteLevel\"}",
                                    "{\"type\":\"Metaspace\",\"replacement\":\"_\"}",
                                    ",",
                                    ":",
                                    "\"",
                                    "[",
                                    "]",
                                    "{",
                                    "}",
                                    "\xC3",
                                    "\xE2\x96\x81",
                                    "\xF0\x9F\x98\x80",
                                    "<0x41>",
                                    "(?i:",
                                    "\\\\p{L}",
                                    "[^",
                                    "{1,3}",
                                    "+",
                                    "*",
                                    "normalizer",
                                    "merges",
                                    "vocab",
                                    "added_tokens",
                                    "lstrip",
                                    "normalized"};

static void use(const nb_tokenizer *t, int *decoded)
{
    static const char *const texts[] = {
        "",
        "the thing in hello",
        "a [X] word</s><|bos|> b<think>",
        "\xC3\xA9 e\xCC\x81 \xED\x95\x9C",
        "\xFF\xE2\x82 x\xF0\x9F\x98\x80",
        "   \n\n 1234567 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    nb_encoding e = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        for (unsigned flags = 0; flags < 8; flags++) {
            nb_error err = {0};
            size_t n = strlen(texts[i]), m;
            char *back;
            if (nb_tokenizer_encode(t, texts[i], n, flags, &e, &err) != NB_OK) {
                assert_int_not_equal(err.message[0], 0);
                continue;
            }
            for (size_t k = 0; k < e.n; k++)
                assert_non_null(nb_tokenizer_token(t, e.ids[k]));
            if (nb_tokenizer_decode(t, e.ids, e.n, flags & 1, &back, &m, &err) == NB_OK) {
                ++*decoded;
                nb_free(back);
            }
        }
    }
    nb_encoding_free(&e);
}

static void attack(const char *name, const char *file, uint64_t seed, int rounds)
{
    char *base = nbt_golden("tokenizers"), *from = nbt_join(base, name), *dir = nbt_tmpdir();
    char *seed_path = nbt_join(from, file), *path = nbt_join(dir, file);
    char *whole_from = nbt_join(from, "tokenizer.json"), *whole = nbt_join(dir, "tokenizer.json");
    size_t n, m;
    char *good = nbt_read(seed_path, &n), *rest = nbt_read(whole_from, &m);
    size_t cap = n + 400;
    char *s = nbi_alloc(NBI_MEM_OTHER, cap);
    int opened = 0, decoded = 0;
    nbi_rng g;
    nbi_rng_init(&g, seed, NBI_RNG_SAMPLE, 0);
    nbt_write_plainly(whole, rest, m);
    size_t before = nbt_in_use();
    for (int i = 0; i < rounds; i++) {
        nb_error err = {0};
        nb_tokenizer *t;
        memcpy(s, good, n);
        nbt_write_plainly(path, s,
                          nbt_mutate(&g, s, n, cap, words, sizeof words / sizeof words[0]));
        nb_status st = nb_tokenizer_open(&t, dir, NULL, &err);
        if (st == NB_OK) {
            opened++;
            use(t, &decoded);
            nb_tokenizer_close(&t);
        } else {
            assert_null(t);
            assert_int_equal(err.code, st);
            assert_int_not_equal(err.message[0], 0);
        }
        assert_int_equal(nbt_in_use(), before);
    }
    printf("  %s/%s: %d files, %d opened, %d texts decoded\n", name, file, rounds, opened, decoded);
    assert_true(opened > 0 && opened < rounds);
    nbi_free(s);
    nbi_free(good);
    nbi_free(rest);
    nbi_free(whole);
    nbi_free(whole_from);
    nbi_free(path);
    nbi_free(seed_path);
    nbi_free(from);
    nbi_free(base);
    nbt_tmpdir_remove(dir);
}

static void test_pieces(void **state)
{
    (void)state;
    attack("pieces", "tokenizer.json", 1, 2000);
}

static void test_bytes(void **state)
{
    (void)state;
    attack("bytes", "tokenizer.json", 2, 400);
}

static void test_config(void **state)
{
    (void)state;
    attack("bytes", "tokenizer_config.json", 3, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_bytes),
                                       cmocka_unit_test(test_config)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
