/* SPDX-License-Identifier: MIT */
/* Streaming: whatever the tokens, the pieces are whole characters, always the beginning of the text
 * decoded from all tokens so far, and together exactly the text. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include "testutil.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "generate/text_stream.h"

/* Bytes as "<0x..>" tokens and a few words, as Llama 2's vocabulary has them. */
static void write_byte_fallback(const char *dir)
{
    nbi_strbuf b = {0};
    char *path = nbt_join(dir, "tokenizer.json");
    nbi_strbuf_puts(&b,
                    "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,"
                    "\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"single_word\":false,"
                    "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}],"
                    "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
                    "\"prepend\":\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
                    "\"content\":\"\\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":null,"
                    "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\","
                    "\"pattern\":{\"String\":\"\\u2581\"},\"content\":\" \"},"
                    "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"},{\"type\":\"Strip\","
                    "\"content\":\" \",\"start\":1,\"stop\":0}]},"
                    "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\","
                    "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,"
                    "\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0");
    for (int i = 0; i < 256; i++)
        nbi_strbuf_printf(&b, ",\"<0x%02X>\":%d", (unsigned)i, 1 + i);
    nbi_strbuf_puts(&b, ",\"\\u2581\":257,\"a\":258,\"\\u2581a\":259,\"\\u00e9\":260,"
                        "\"\\u2581\\u4e2d\":261,\".\":262},\"merges\":[\"\\u2581 a\"]}}");
    nbt_write(path, b.s, b.n);
    nbi_strbuf_free(&b);
    nbi_free(path);
}

/* Byte-level: every byte is one printable character of the vocabulary. */
static void write_byte_level(const char *dir)
{
    nbi_strbuf b = {0};
    char *path = nbt_join(dir, "tokenizer.json");
    int extra = 0;
    nbi_strbuf_puts(&b, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,"
                        "\"added_tokens\":[],\"normalizer\":null,"
                        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                        "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,"
                        "\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
                        "\"trim_offsets\":true,\"use_regex\":true},"
                        "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
                        "\"continuing_subword_prefix\":\"\",\"end_of_word_suffix\":\"\","
                        "\"fuse_unk\":false,\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        bool plain = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        int code = plain ? i : 256 + extra++;
        nbi_strbuf_printf(&b, "%s\"\\u%04x\":%d", i ? "," : "", (unsigned)code, i);
    }
    nbi_strbuf_puts(&b, "},\"merges\":[]}}");
    nbt_write(path, b.s, b.n);
    nbi_strbuf_free(&b);
    nbi_free(path);
}

/* Mostly runs of UTF-8 text as bytes (found by encoding a character), with disturbances between. */
static int32_t next_id(const nb_tokenizer *tok, nbi_rng *r, nb_encoding *e, size_t *at)
{
    static const char *const texts[] = {"\xe4\xb8\xad",
                                        "\xf0\x9f\x98\x80",
                                        "a",
                                        "\n",
                                        " a.",
                                        "\xc3\xa9",
                                        "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x92\xbb"};
    nb_error err = {0};
    if (*at >= e->n) {
        const char *t = texts[nbi_rng_below(r, sizeof texts / sizeof *texts)];
        NBT_OK(nb_tokenizer_encode(tok, t, strlen(t), 0, e, &err));
        *at = 0;
    }
    bool disturb = *at >= e->n || nbi_rng_below(r, 8) == 0;
    for (int32_t id = -1; disturb;) {
        id = (int32_t)nbi_rng_below(r, (uint64_t)nb_tokenizer_vocab_size(tok));
        if (nb_tokenizer_token(tok, id))
            return id;
    }
    return e->ids[(*at)++];
}

static void check_sequence(const nb_tokenizer *tok, uint64_t seed, bool skip_special)
{
    enum { N = 40 };
    nb_error err = {0};
    nb_text_stream *s;
    nb_encoding e = {0};
    nbi_strbuf sent = {0};
    nbi_rng r;
    int32_t ids[N];
    size_t at = 0, len, n;
    const char *piece;
    char *text = NULL;
    nbi_rng_init(&r, seed, NBI_RNG_SAMPLE, 5);
    NBT_OK(nb_text_stream_open(&s, tok, skip_special, &err));
    for (size_t i = 0; i <= N; i++) {
        if (i < N) {
            ids[i] = next_id(tok, &r, &e, &at);
            NBT_OK(nb_text_stream_push(s, ids[i], &piece, &len, &err));
        } else {
            NBT_OK(nb_text_stream_finish(s, &piece, &len, &err));
        }
        assert_int_equal(nbi_utf8_check(piece, len), len);
        nbi_strbuf_add(&sent, piece, len);
        NBT_OK(nb_tokenizer_decode(tok, ids, i < N ? i + 1 : N, skip_special, &text, &n, &err));
        assert_true(sent.n <= n);
        assert_memory_equal(nbi_strbuf_str(&sent), text, sent.n);
        if (i == N)
            assert_int_equal(sent.n, n);
        nb_free(text);
    }
    nb_encoding_free(&e);
    nbi_strbuf_free(&sent);
    nb_text_stream_close(&s);
}

static void check_tokenizer(const char *dir, uint64_t sequences)
{
    nb_error err = {0};
    nb_tokenizer *tok;
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    for (uint64_t seed = 0; seed < sequences; seed++)
        check_sequence(tok, seed, seed % 2);
    nb_tokenizer_close(&tok);
}

static void pieces_make_up_the_text(void **state)
{
    (void)state;
    size_t before = nbt_in_use();
    char *dir = nbt_tmpdir();
    write_byte_fallback(dir);
    check_tokenizer(dir, 60);
    write_byte_level(dir);
    check_tokenizer(dir, 60);
    nbt_tmpdir_remove(dir);
    assert_int_equal(nbt_in_use(), before);
}

static void shows_characters_as_soon_as_complete(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_tokenizer *tok;
    nb_text_stream *s;
    const char *piece;
    size_t len;
    char *dir = nbt_tmpdir();
    write_byte_level(dir);
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    NBT_OK(nb_text_stream_open(&s, tok, true, &err));
    const struct {
        int32_t byte;
        const char *shown;
    } steps[] = {{'a', "a"},   {0xe4, ""}, {0xb8, ""}, {0xad, "\xe4\xb8\xad"},
                 {'\n', "\n"}, {0xe4, ""}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        NBT_OK(nb_text_stream_push(s, steps[i].byte, &piece, &len, &err));
        assert_int_equal(len, strlen(steps[i].shown));
        assert_memory_equal(piece, steps[i].shown, len);
    }
    NBT_OK(nb_text_stream_finish(s, &piece, &len, &err));
    assert_int_equal(len, 3); /* U+FFFD */
    NBT_FAILS(NB_DATA, "", nb_text_stream_push(s, 100000, &piece, &len, &err));
    nb_text_stream_close(&s);
    nb_tokenizer_close(&tok);
    nbt_tmpdir_remove(dir);
}

/* Real vocabularies, when the reference data are there. */
static void real_tokenizers(void **state)
{
    (void)state;
    if (!nbt_oracle())
        return;
    char *root = nbt_join(nbt_oracle(), "text/tokenizers");
    DIR *d = opendir(root);
    for (struct dirent *e; d && (e = readdir(d));) {
        nb_error err = {0};
        nb_tokenizer *tok;
        char *dir = nbt_join(root, e->d_name), *file = nbt_join(dir, "tokenizer.json");
        if (e->d_name[0] != '.' && access(file, F_OK) == 0) {
            if (nb_tokenizer_open(&tok, dir, NULL, &err) == NB_OK) {
                nb_tokenizer_close(&tok);
                check_tokenizer(dir, 10);
                printf("%s: streamed\n", e->d_name);
            } else {
                printf("%s: %s\n", e->d_name, err.message);
            }
        }
        nbi_free(dir);
        nbi_free(file);
    }
    if (d)
        closedir(d);
    nbi_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_make_up_the_text),
        cmocka_unit_test(shows_characters_as_soon_as_complete),
        cmocka_unit_test(real_tokenizers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
