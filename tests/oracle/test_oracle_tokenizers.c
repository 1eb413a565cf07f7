/* SPDX-License-Identifier: MIT */
/* Tokenizers of the reference data: every folder found is compared line by line; a component that
 * is not supported is named and the folder counted as skipped. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/sha256.h"
#include "nibble/tokenizer.h"
#include "text/chat.h"
#include "text/tokenizer_impl.h"

typedef struct tally {
    int lines, bad, shown;
} tally;

static nbi_json *parse(nbi_arena *arena, const char *text, size_t n)
{
    nb_error err;
    nbi_json *v = NULL;
    NBT_OK(nbi_json_parse(arena, "vector", text, n, &v, &err));
    return v;
}

static void complain(tally *t, const char *what, const nbi_json *line, const nb_encoding *e,
                     const nbi_json *want)
{
    t->bad++;
    if (t->shown++ >= 5)
        return;
    const nbi_json *text = nbi_json_get(line, "text");
    printf("    %s differs for \"%.*s\"\n      got ", what,
           (int)(text->text_len < 120 ? text->text_len : 120), text->text);
    for (size_t i = 0; e && i < e->n && i < 40; i++)
        printf(" %d", (int)e->ids[i]);
    printf("\n      want");
    const nbi_json *w = want ? want->first : NULL;
    for (int i = 0; w && i < 40; w = w->next, i++)
        printf(" %s", w->text ? w->text : "[]");
    printf("\n");
}

static bool same_ids(const nb_encoding *e, const nbi_json *want)
{
    if (e->n != want->n)
        return false;
    const nbi_json *w = want->first;
    for (size_t i = 0; i < e->n; i++, w = w->next) {
        int64_t id;
        if (!nbi_json_to_i64(w, &id) || id != e->ids[i])
            return false;
    }
    return true;
}

static bool same_offsets(const nb_encoding *e, const nbi_json *want)
{
    if (e->n != want->n)
        return false;
    const nbi_json *w = want->first;
    for (size_t i = 0; i < e->n; i++, w = w->next) {
        int64_t a, b;
        if (!nbi_json_to_i64(nbi_json_at(w, 0), &a) || !nbi_json_to_i64(nbi_json_at(w, 1), &b) ||
            a != e->offsets[2 * i] || b != e->offsets[2 * i + 1])
            return false;
    }
    return true;
}

static void check_decode(const nb_tokenizer *tok, const nb_encoding *e, bool skip,
                         const nbi_json *line, const nbi_json *want, const char *what, tally *t)
{
    nb_error err;
    char *text;
    size_t n;
    if (!want)
        return;
    NBT_OK(nb_tokenizer_decode(tok, e->ids, e->n, skip, &text, &n, &err));
    if (n != want->text_len || memcmp(text, want->text, n) != 0) {
        complain(t, what, line, NULL, NULL);
        if (t->shown <= 5)
            printf("      got  \"%s\"\n      want \"%s\"\n", text, want->text);
    }
    nb_free(text);
}

/* Raw bytes from the key "hex", else the text. */
static char *input_of(const nbi_json *line, size_t *n)
{
    const nbi_json *hex = nbi_json_get(line, "hex"), *text = nbi_json_get(line, "text");
    if (!hex || hex->type != NBI_JT_STRING) {
        *n = text->text_len;
        return nbi_strndup(NBI_MEM_OTHER, text->text, *n);
    }
    *n = hex->text_len / 2;
    char *out = nbi_strndup(NBI_MEM_OTHER, hex->text, hex->text_len);
    for (size_t i = 0; i < *n; i++) {
        char two[3] = {hex->text[2 * i], hex->text[2 * i + 1], 0};
        out[i] = (char)strtoul(two, NULL, 16);
    }
    return out;
}

static void check_line(const nb_tokenizer *tok, const nbi_json *line, tally *t)
{
    nb_error err;
    nb_encoding e = {0}, plain = {0};
    size_t n;
    char *text = input_of(line, &n);
    const nbi_json *ids = nbi_json_get(line, "ids"), *no = nbi_json_get(line, "ids_no_special");
    const nbi_json *as_text = nbi_json_get(line, "ids_special_as_text");
    const nbi_json *offsets = nbi_json_get(line, "offsets");
    const nbi_json *skip = nbi_json_get(line, "decoded_skip_special");
    t->lines++;
    NBT_OK(nb_tokenizer_encode(tok, text, n, NB_ENCODE_SPECIAL | NB_ENCODE_OFFSETS, &e, &err));
    if (!same_ids(&e, ids))
        complain(t, "ids", line, &e, ids);
    else if (offsets && !same_offsets(&e, offsets))
        complain(t, "offsets", line, &e, ids);
    check_decode(tok, &e, false, line, nbi_json_get(line, "decoded"), "decoded", t);
    check_decode(tok, &e, true, line, skip ? skip : nbi_json_get(line, "decoded"),
                 "decoded_skip_special", t);
    NBT_OK(nb_tokenizer_encode(tok, text, n, 0, &plain, &err));
    if (!same_ids(&plain, no ? no : ids))
        complain(t, "ids_no_special", line, &plain, no ? no : ids);
    NBT_OK(nb_tokenizer_encode(tok, text, n, NB_ENCODE_SPECIAL_AS_TEXT, &plain, &err));
    const nbi_json *want = as_text ? as_text : no ? no : ids;
    if (!same_ids(&plain, want))
        complain(t, "ids_special_as_text", line, &plain, want);
    nbi_free(text);
    nb_encoding_free(&e);
    nb_encoding_free(&plain);
}

static void check_vectors(const nb_tokenizer *tok, const char *path, tally *t)
{
    size_t n;
    char *all = nbt_read(path, &n);
    for (char *s = all, *end = all + n; s < end;) {
        char *nl = memchr(s, '\n', (size_t)(end - s));
        size_t len = (size_t)((nl ? nl : end) - s);
        nbi_arena arena;
        nbi_arena_init(&arena, NBI_MEM_OTHER);
        if (len > 0)
            check_line(tok, parse(&arena, s, len), t);
        nbi_arena_free(&arena);
        s += len + 1;
    }
    nbi_free(all);
}

static void check_big(const nb_tokenizer *tok, const char *dir, const char *tokenizers, tally *t)
{
    char *json_path = nbt_join(dir, "big.json"), *text_path = nbt_join(tokenizers, "big.txt");
    if (nbi_path_exists(json_path) && nbi_path_exists(text_path)) {
        nb_error err;
        nbi_arena arena;
        size_t n, m;
        char *json = nbt_read(json_path, &m), *text = nbt_read(text_path, &n), hex[65];
        nbi_arena_init(&arena, NBI_MEM_OTHER);
        nbi_json *want = parse(&arena, json, m);
        nb_encoding e = {0};
        double t0 = nbi_clock();
        NBT_OK(nb_tokenizer_encode(tok, text, n, 0, &e, &err));
        double seconds = nbi_clock() - t0;
        NBT_OK(nbi_sha256_hex(e.ids, e.n * sizeof *e.ids, hex, &err)); /* little-endian ids */
        bool same = nbi_json_equals(nbi_json_get(want, "sha256"), hex);
        printf("    big.txt: %zu ids, %s, %.1f MB/s\n", e.n, same ? "equal" : "DIFFERENT",
               (double)n / 1e6 / seconds);
        t->lines++;
        if (!same) {
            t->bad++;
            const nbi_json *w = nbi_json_get(want, "every_step")->first;
            for (size_t i = 0; w && i < e.n; i += 500, w = w->next) {
                int64_t id;
                if (nbi_json_to_i64(w, &id) && id != e.ids[i]) {
                    printf("      first difference before id %zu\n", i);
                    break;
                }
            }
        }
        nb_encoding_free(&e);
        nbi_arena_free(&arena);
        nbi_free(json);
        nbi_free(text);
    }
    nbi_free(json_path);
    nbi_free(text_path);
}

/* Files that cut or pad every text: nibble leaves that to the recipe, so ids differ by design. */
static bool cuts_or_pads(const char *dir)
{
    char *path = nbt_join(dir, "tokenizer.json");
    nb_error err;
    nbi_arena arena;
    nbi_json *v;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse_file(&arena, path, (size_t)1 << 28, &v, &err));
    bool r = !nbi_json_is_null(nbi_json_get(v, "truncation")) ||
             !nbi_json_is_null(nbi_json_get(v, "padding"));
    nbi_arena_free(&arena);
    nbi_free(path);
    return r;
}

/* 0: fine or skipped, 1: differs. */
static int check_folder(const char *dir, const char *name, const char *tokenizers)
{
    nb_error err = {0};
    nb_tokenizer *tok;
    tally t = {0};
    size_t before = nbt_in_use();
    double t0 = nbi_clock();
    nb_status st = nb_tokenizer_open(&tok, dir, NULL, &err);
    double seconds = nbi_clock() - t0;
    if (st == NB_UNSUPPORTED) {
        printf("  %s: skipped, %s\n", name, strrchr(err.message, '/'));
        return 0;
    }
    NBT_OK(st);
    if (cuts_or_pads(dir)) {
        printf("  %s: skipped, truncation and padding of the file are left to the recipe\n", name);
        nb_tokenizer_close(&tok);
        return 0;
    }
    char *vectors = nbt_join(dir, "vectors.jsonl");
    if (nbi_path_exists(vectors))
        check_vectors(tok, vectors, &t);
    check_big(tok, dir, tokenizers, &t);
    printf("  %s: %d of %d differ (%lld ids, loaded in %.0f ms)\n", name, t.bad, t.lines,
           (long long)nb_tokenizer_vocab_size(tok), seconds * 1e3);
    nbi_free(vectors);
    nb_tokenizer_close(&tok);
    assert_int_equal(nbt_in_use(), before);
    return t.bad > 0;
}

static int check_folders(const char *tokenizers, const char *below)
{
    nb_error err;
    char *dir = nbt_join(tokenizers, below), **names;
    size_t n;
    int bad = 0;
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        char *folder = nbt_join(dir, names[i]), *file = nbt_join(folder, "tokenizer.json");
        if (nbi_path_exists(file))
            bad += check_folder(folder, names[i], tokenizers);
        nbi_free(file);
        nbi_free(folder);
    }
    nbi_list_dir_free(names, n);
    nbi_free(dir);
    return bad;
}

static void test_tokenizers(void **state)
{
    (void)state;
    char *dir = nbt_join(nbt_oracle(), "text/tokenizers");
    int bad = check_folders(dir, ".") + check_folders(dir, "synthetic");
    nbi_free(dir);
    assert_int_equal(bad, 0);
}

/* ---- stories260k ---- */

static nb_tokenizer *open_stories(void)
{
    nb_error err;
    nb_tokenizer *tok;
    char *dir = nbt_join(nbt_oracle(), "stories260k/model");
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    nbi_free(dir);
    return tok;
}

static nbi_json *open_cases(nbi_arena *arena, const char *name)
{
    nb_error err;
    nbi_json *v;
    char *path = nbt_join(nbt_oracle(), name);
    nbi_arena_init(arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse_file(arena, path, (size_t)1 << 26, &v, &err));
    nbi_free(path);
    return v;
}

static void test_stories_cases(void **state)
{
    (void)state;
    nb_tokenizer *tok = open_stories();
    nbi_arena arena;
    nbi_json *cases = open_cases(&arena, "stories260k/tokenizer_cases.json");
    tally t = {0};
    for (const nbi_json *c = cases->first; c; c = c->next) {
        nb_error err;
        nb_encoding e = {0};
        const nbi_json *text = nbi_json_get(c, "text"), *ids = nbi_json_get(c, "ids");
        t.lines++;
        NBT_OK(nb_tokenizer_encode(tok, text->text, text->text_len, NB_ENCODE_SPECIAL, &e, &err));
        if (!same_ids(&e, ids))
            complain(&t, "ids", c, &e, ids);
        check_decode(tok, &e, false, c, nbi_json_get(c, "decoded"), "decoded", &t);
        check_decode(tok, &e, true, c, nbi_json_get(c, "decoded_skip_special"), "decoded_skip", &t);
        NBT_OK(nb_tokenizer_encode(tok, text->text, text->text_len, 0, &e, &err));
        if (!same_ids(&e, nbi_json_get(c, "ids_no_special")))
            complain(&t, "ids_no_special", c, &e, nbi_json_get(c, "ids_no_special"));
        nb_encoding_free(&e);
    }
    printf("  stories260k: %d of %d differ\n", t.bad, t.lines);
    assert_int_equal(t.bad, 0);
    assert_true(nb_tokenizer_adds_bos(tok));
    assert_int_equal(nb_tokenizer_bos(tok), 1);
    assert_int_equal(nb_tokenizer_eos(tok), 2);
    assert_int_equal(nb_tokenizer_pad(tok), -1);
    nbi_arena_free(&arena);
    nb_tokenizer_close(&tok);
}

/* A token is trained when its first character lies in a span. */
static bool mask_agrees(const nb_encoding *e, const nbi_rendered *r, const nbi_json *mask)
{
    const nbi_json *m = mask->first;
    if (mask->n != e->n)
        return false;
    for (size_t i = 0; i < e->n; i++, m = m->next) {
        int64_t want, got = 0;
        for (size_t k = 0; k < r->n_spans; k++)
            got |= e->offsets[2 * i] >= (int64_t)r->spans[k].begin &&
                   e->offsets[2 * i] < (int64_t)r->spans[k].end;
        if (!nbi_json_to_i64(m, &want) || want != got)
            return false;
    }
    return true;
}

static void test_stories_chat(void **state)
{
    (void)state;
    nb_tokenizer *tok = open_stories();
    nbi_arena arena;
    nbi_json *cases = open_cases(&arena, "stories260k/chat_cases.json");
    int lines = 0, bad = 0;
    assert_true(nbi_chat_supported(tok));
    for (const nbi_json *c = cases->first; c; c = c->next) {
        nb_error err;
        nbi_message m[32];
        nbi_rendered r = {0};
        nb_encoding e = {0};
        size_t n = 0;
        bool prompt = false;
        const nbi_json *want = nbi_json_get(c, "text");
        for (const nbi_json *j = nbi_json_get(c, "messages")->first; j && n < 32; j = j->next) {
            const nbi_json *content = nbi_json_get(j, "content");
            m[n++] = (nbi_message){nbi_json_get(j, "role")->text, content->text, content->text_len};
        }
        nbi_json_to_bool(nbi_json_get(c, "add_generation_prompt"), &prompt);
        NBT_OK(nbi_chat_render(tok, m, n, prompt, &r, &err));
        NBT_OK(nb_tokenizer_encode(tok, r.text.s, r.text.n, NB_ENCODE_OFFSETS, &e, &err));
        bool text = r.text.n == want->text_len && memcmp(r.text.s, want->text, r.text.n) == 0;
        bool ids = same_ids(&e, nbi_json_get(c, "ids"));
        bool mask = mask_agrees(&e, &r, nbi_json_get(c, "assistant_mask"));
        lines++;
        bad += !text || !ids || !mask;
        printf("  chat case %d: text %s, ids %s, mask %s\n", lines, text ? "equal" : "DIFFERENT",
               ids ? "equal" : "DIFFERENT", mask ? "equal" : "DIFFERENT");
        nb_encoding_free(&e);
        nbi_rendered_free(&r);
    }
    nbi_arena_free(&arena);
    nb_tokenizer_close(&tok);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories_cases),
        cmocka_unit_test(test_stories_chat),
        cmocka_unit_test(test_tokenizers),
    };
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
