/* SPDX-License-Identifier: MIT */
/* Loading rows while somebody watches: what is said, and stopping in the middle. Tokenizers:
 * golden/cli (see test_dataset.c) and that of models/nibble-world, whose chat template begins with
 * its BOS. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "data/dataset.h"

static const nb_data_config automatic = {.add_special_tokens = -1};

static char *g_dir;

static int setup(void **state)
{
    (void)state;
    g_dir = nbt_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbt_tmpdir_remove(g_dir);
    return 0;
}

/* All lines said while loading, and a stop flag that a warning sets. */
typedef struct listener {
    nbi_strbuf said;
    volatile sig_atomic_t stop;
} listener;

static void listen(void *user, nb_log_level level, const char *line)
{
    listener *l = user;
    nbi_strbuf_printf(&l->said, "%s\n", line);
    l->stop = l->stop || level == NB_LOG_WARN;
}

static nb_tokenizer *open_tokenizer(const char *source_dir)
{
    nb_error err = {0};
    nb_tokenizer *tok = NULL;
    char *dir = nbt_source(source_dir);
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    nbi_free(dir);
    return tok;
}

static nb_status load(const char *name, const char *text, const nb_data_config *c,
                      const nb_tokenizer *tok, const nb_log *log, nb_error *err)
{
    nb_dataset *d = NULL;
    char *path = nbt_join(g_dir, name);
    nbt_write_text(path, text);
    nb_status st = nb_dataset_load(&d, path, c, tok, 0, log, err);
    assert_true((st == NB_OK) == (d != NULL));
    nb_dataset_close(&d);
    nbi_free(path);
    return st;
}

static void test_stopped_scan(void **state)
{
    (void)state;
    nb_error err;
    nb_tokenizer *tok = open_tokenizer("tests/golden/cli");
    volatile sig_atomic_t stop = 0;
    nb_data_config c = automatic;
    c.stop = &stop;
    static const char *const files[][2] = {{"a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\"}\n"},
                                           {"a.json", "[{\"text\": \"a\"}, {\"text\": \"b\"}]"},
                                           {"a.csv", "text\na\nb\n"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        stop = 0;
        NBT_OK(load(files[i][0], files[i][1], &c, tok, NULL, &err));
        stop = 1;
        NBT_FAILS(NB_INTERRUPTED, files[i][0], load(files[i][0], files[i][1], &c, tok, NULL, &err));
    }
    /* the scan itself looks at the flag: the mistake behind the first row is never reached */
    NBT_FAILS(NB_INTERRUPTED, "a.json", load("a.json", "[{}, x]", &c, tok, NULL, &err));
    NBT_FAILS(NB_INTERRUPTED, "a.csv", load("a.csv", "text\na,b\n", &c, tok, NULL, &err));
    nb_tokenizer_close(&tok);
}

/* The flag is set after the scan, by the line that says that the tokenizer has no eos. */
static void test_stopped_rows(void **state)
{
    (void)state;
    nb_error err;
    nb_tokenizer *tok = NULL;
    listener l = {0};
    nb_log log = {listen, &l};
    char *json = nbt_golden("cli/tokenizer.json"), *path = nbt_join(g_dir, "tokenizer.json");
    size_t n;
    char *text = nbt_read(json, &n);
    nbt_write(path, text, n);
    nbi_free(path);
    path = nbt_join(g_dir, "tokenizer_config.json");
    nbt_write_text(path, "{\"eos_token\": null}");
    NBT_OK(nb_tokenizer_open(&tok, g_dir, NULL, &err));
    nb_data_config c = automatic;
    NBT_OK(load("b.jsonl", "{\"text\": \"a\"}\n", &c, tok, &log, &err));
    assert_true(l.stop);
    l.stop = 0;
    c.stop = &l.stop;
    NBT_FAILS(NB_INTERRUPTED, "b.jsonl",
              load("b.jsonl", "{\"text\": \"a\"}\n", &c, tok, &log, &err));
    nbi_strbuf_free(&l.said);
    nb_tokenizer_close(&tok);
    nbi_free(path);
    nbi_free(text);
    nbi_free(json);
}

static bool notes_bos(const char *text, const nb_tokenizer *tok)
{
    nb_error err;
    listener l = {0};
    nb_log log = {listen, &l};
    NBT_OK(load("c.jsonl", text, &automatic, tok, &log, &err));
    bool found = strstr(nbi_strbuf_str(&l.said), "spell their own <|bos|>") != NULL;
    nbi_strbuf_free(&l.said);
    return found;
}

/* A BOS in the text of a row is worth a line, that of the chat template is not. */
static void test_spelled_bos(void **state)
{
    (void)state;
    nb_tokenizer *tok = open_tokenizer("models/nibble-world");
    static const char turns[] = "[{\"role\": \"user\", \"content\": \"a\"}]",
                      answer[] = "[{\"role\": \"assistant\", \"content\": \"b\"}]";
    char row[300];
    assert_true(notes_bos("{\"text\": \"<|bos|>a\"}", tok));
    assert_false(notes_bos("{\"text\": \"a\"}", tok));
    assert_true(notes_bos("{\"prompt\": \"<|bos|>a\", \"completion\": \"b\"}", tok));
    snprintf(row, sizeof row, "{\"prompt\": %s, \"completion\": %s}", turns, answer);
    assert_false(notes_bos(row, tok));
    snprintf(row, sizeof row, "{\"messages\": [%.*s, %s}", (int)strlen(turns) - 2, turns + 1,
             answer + 1);
    assert_false(notes_bos(row, tok));
    nb_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped_scan),
        cmocka_unit_test(test_stopped_rows),
        cmocka_unit_test(test_spelled_bos),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
