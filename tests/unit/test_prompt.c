/* SPDX-License-Identifier: MIT */
/* Prompts for generation: what stands before the answer of a row must be, id for id, the untrained
 * beginning of that row in training. Tokenizer: golden/cli, one token a byte. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "byte_tokenizer.h"
#include "testutil.h"
#include "data/dataset.h"
#include "data/prompt.h"

static nb_data_config layout(nb_data_format f)
{
    return (nb_data_config){.format = f, .add_special_tokens = -1};
}

static void assert_prompt(const nb_data_config *c, const char *row, const int32_t *want, size_t n)
{
    nb_error err = {0};
    int32_t *ids = NULL;
    size_t got = 0;
    NBT_OK(nb_prompt_of_row(c, g_tok, "rows", 3, row, strlen(row), &ids, &got, &err));
    assert_int_equal(got, n);
    assert_memory_equal(ids, want, n * sizeof *ids);
    nbi_free(ids);
}

/* `with` is a training row, `without` (may be NULL) the same row without its answer. */
static void check(const nb_data_config *c, const char *with, const char *without)
{
    nb_error err = {0};
    nb_dataset *d = NULL;
    char *path = nbt_join(g_dir, "row.jsonl");
    nbt_write(path, with, strlen(with));
    NBT_OK(nb_dataset_load(&d, path, c, g_tok, 0, NULL, &err));
    nbi_free(path);
    assert_int_equal(d->n, 1);
    const nb_example *e = &d->rows[0];
    size_t n = 0;
    while ((int64_t)n < e->n && e->labels[n] == NB_LABEL_IGNORE)
        n++;
    assert_true(n > 1 && (int64_t)n < e->n);
    assert_prompt(c, with, e->ids, n);
    if (without)
        assert_prompt(c, without, e->ids, n);
    nb_dataset_close(&d);
}

static void test_alpaca(void **state)
{
    (void)state;
    const nb_data_format formats[] = {NB_DATA_ALPACA, NB_DATA_INSTRUCTION};
    for (size_t i = 0; i < 2; i++) {
        nb_data_config c = layout(formats[i]);
        check(&c, "{\"instruction\": \"say a\", \"input\": \"b\", \"output\": \"c\"}",
              "{\"instruction\": \"say a\", \"input\": \"b\"}");
        check(&c, "{\"instruction\": \"say a\", \"input\": \"\", \"output\": \"c\"}",
              "{\"instruction\": \"say a\"}");
        check(&c, "{\"instruction\": \"say a\", \"output\": \"c\"}",
              "{\"instruction\": \"say a\", \"output\": null}");
        c.add_special_tokens = 0;
        check(&c, "{\"instruction\": \"say a\", \"output\": \"c\"}", NULL);
    }
}

static void test_prompt_completion(void **state)
{
    (void)state;
    nb_data_config c = layout(NB_DATA_PROMPT_COMPLETION);
    check(&c, "{\"prompt\": \"q: a\\na:\", \"completion\": \" c\"}", "{\"prompt\": \"q: a\\na:\"}");
    /* a BOS that the text spells is not doubled, unless asked for */
    check(&c, "{\"prompt\": \"<s>a\", \"completion\": \"c\"}", NULL);
    c.add_special_tokens = 1;
    check(&c, "{\"prompt\": \"<s>a\", \"completion\": \"c\"}", NULL);
}

static void test_template(void **state)
{
    (void)state;
    nb_template_var var = {"who", "Ann"};
    nb_data_config c = layout(NB_DATA_TEMPLATE);
    c.template_text = "<s>{{x}} {who} [INST] {q} \n[/INST]\n{a} -{who}</s>";
    c.template_vars = &var;
    c.n_template_vars = 1;
    check(&c, "{\"q\": \"why?\", \"a\": \"so\"}", "{\"q\": \"why?\"}");
    c.response_template = "[/INST]";
    check(&c, "{\"q\": \"why?\", \"a\": \"so\"}", "{\"q\": \"why?\"}");
}

/* The tokenizer of golden/cli with one merge more: a blank and the letter a. */
static nb_tokenizer *merging_tokenizer(void)
{
    static const char end[] = "\"merges\": []}}";
    static const char merge[] = ", \"\u0120a\": 260}, \"merges\": [\"\u0120 a\"]}}";
    nb_error err = {0};
    nb_tokenizer *tok = NULL;
    char *text = NULL, *from = nbt_golden("cli/tokenizer.json");
    char *to = nbt_join(g_dir, "tokenizer.json");
    size_t n = 0;
    NBT_OK(nbi_read_file(from, 1 << 20, &text, &n, &err));
    char *tail = strstr(text, end);
    assert_non_null(tail);
    while (*tail != '}') /* of the vocabulary */
        tail--;
    nbi_strbuf out = {0};
    nbi_strbuf_add(&out, text, (size_t)(tail - text));
    nbi_strbuf_puts(&out, merge);
    nbt_write(to, out.s, out.n);
    NBT_OK(nb_tokenizer_open(&tok, g_dir, NULL, &err));
    nbi_strbuf_free(&out);
    nbi_free(text);
    nbi_free(from);
    nbi_free(to);
    return tok;
}

/* "A: " before "as": the blank is part of the answer's first token, in training and in the prompt.
 */
static void test_open_blank(void **state)
{
    (void)state;
    nb_tokenizer *plain = g_tok;
    nb_data_config c = layout(NB_DATA_TEMPLATE);
    g_tok = merging_tokenizer();
    c.template_text = "Q: {q} A: {a}";
    check(&c, "{\"q\": \"why\", \"a\": \"as\"}", "{\"q\": \"why\"}");
    nb_tokenizer_close(&g_tok);
    g_tok = plain;
}

static void test_text(void **state)
{
    (void)state;
    nb_data_config c = layout(NB_DATA_TEXT);
    c.response_template = "[/INST]";
    c.train_on = NB_TRAIN_COMPLETION;
    check(&c, "{\"text\": \"<s>[INST] why [/INST] so</s>\"}",
          "{\"text\": \"<s>[INST] why [/INST]\"}");
    /* without a mark the text is the prompt */
    const int32_t want[] = {1, 4 + 'a', 4 + 'b'};
    c = layout(NB_DATA_TEXT);
    assert_prompt(&c, "{\"text\": \"ab\"}", want, 3);
}

static void assert_question(const nb_data_config *c, const char *row)
{
    nb_error err = {0};
    int32_t *a = NULL, *b = NULL;
    size_t na = 0, nb = 0;
    NBT_OK(nb_prompt_of_question(c, g_tok, "why \"so\"?", &a, &na, &err));
    NBT_OK(nb_prompt_of_row(c, g_tok, "rows", 1, row, strlen(row), &b, &nb, &err));
    assert_int_equal(na, nb);
    assert_memory_equal(a, b, na * sizeof *a);
    nbi_free(a);
    nbi_free(b);
}

static void test_question(void **state)
{
    (void)state;
    nb_data_config c = layout(NB_DATA_ALPACA);
    assert_question(&c, "{\"instruction\": \"why \\\"so\\\"?\"}");
    c = layout(NB_DATA_PROMPT_COMPLETION);
    assert_question(&c, "{\"prompt\": \"why \\\"so\\\"?\"}");
    c = layout(NB_DATA_TEMPLATE);
    c.template_text = "{q}: {q} = {a}";
    assert_question(&c, "{\"q\": \"why \\\"so\\\"?\"}");
}

static void test_refusals(void **state)
{
    (void)state;
    nb_error err = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    nb_data_config c = layout(NB_DATA_ALPACA);
#define ROW(text) nb_prompt_of_row(&c, g_tok, "rows", 3, text, strlen(text), &ids, &n, &err)
    NBT_FAILS(NB_DATA, "rows:3", ROW("{\"instruction\": 5}"));
    NBT_FAILS(NB_DATA, "rows:3", ROW("{\"instruction\": "));
    NBT_FAILS(NB_DATA, "rows:3", ROW("[1]"));
    NBT_FAILS(NB_DATA, "rows:3", ROW(""));
    c = layout(NB_DATA_TOKENIZED);
    NBT_FAILS(NB_UNSUPPORTED, "tokenized", ROW("{\"input_ids\": [1, 2]}"));
    NBT_FAILS(NB_UNSUPPORTED, "tokenized", nb_prompt_of_question(&c, g_tok, "x", &ids, &n, &err));
    c = layout(NB_DATA_TEMPLATE);
    c.template_text = "{a} {b} {c}";
    NBT_FAILS(NB_UNSUPPORTED, "template", nb_prompt_of_question(&c, g_tok, "x", &ids, &n, &err));
    c.template_text = "{a} {";
    NBT_FAILS(NB_CONFIG, "template", ROW("{\"a\": \"x\"}"));
#undef ROW
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alpaca),     cmocka_unit_test(test_prompt_completion),
        cmocka_unit_test(test_template),   cmocka_unit_test(test_text),
        cmocka_unit_test(test_question),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_open_blank),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
