/* SPDX-License-Identifier: MIT */
/* Rows of files to ids and labels, with tokenizers made for it; order of rows and batches. The
 * tokenizer of golden/cli has one token a byte (id 4 + byte), <s> = 1 put in front, </s> = 2. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "byte_tokenizer.h"
#include "testutil.h"
#include "data/dataset.h"
#include "data/loader.h"

static nb_data_config plain(nb_data_format f)
{
    return (nb_data_config){.format = f, .add_special_tokens = -1, .keep_text = true};
}

static nb_status load_bytes(nb_dataset **d, const char *name, const void *bytes, size_t n,
                            const nb_data_config *c, nb_error *err)
{
    char *path = nbt_join(g_dir, name);
    nbt_write(path, bytes, n);
    nb_status st = nb_dataset_load(d, path, c, g_tok, 260, NULL, err);
    nbi_free(path);
    if (st != NB_OK)
        assert_null(*d);
    return st;
}

static nb_status load(nb_dataset **d, const char *name, const char *text, const nb_data_config *c,
                      nb_error *err)
{
    return load_bytes(d, name, text, strlen(text), c, err);
}

/* ids are BOS + bytes + EOS; trained from `first` (a count of bytes before, BOS not counted) on. */
static void assert_row(const nb_example *e, const char *text, int64_t first)
{
    int64_t n = (int64_t)strlen(text);
    assert_int_equal(e->n, n + 2);
    assert_true(e->ids[0] == 1 && e->ids[n + 1] == 2);
    for (int64_t i = 0; i < n; i++)
        assert_int_equal(e->ids[i + 1], 4 + (unsigned char)text[i]);
    for (int64_t i = 0; i < e->n; i++)
        assert_int_equal(e->labels[i], i < first ? NB_LABEL_IGNORE : e->ids[i]);
}

static void test_formats(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    NBT_OK(load(&d, "a.jsonl",
                "\xef\xbb\xbf{\"prompt\": \"ab\", \"completion\": \"c\"}\r\n\n  \n"
                "{\"completion\": \"\", \"prompt\": \"x\", \"other\": 1}",
                &c, &err));
    assert_true(d->n == 2 && d->format == NB_DATA_PROMPT_COMPLETION);
    assert_row(&d->rows[0], "abc", 3);
    assert_row(&d->rows[1], "x", 2);
    assert_int_equal(d->rows[0].n_trained, 2);
    assert_int_equal(d->rows[1].line, 4);
    assert_string_equal(d->rows[0].text, "abc</s>");
    assert_true(d->total_tokens == 8 && d->trained_tokens == 3 && d->max_tokens == 5);
    nb_dataset_close(&d);

    NBT_OK(load(&d, "b.json",
                " [\n {\"text\": \"ab\"},\n\n {\"text\":\n \"c</s>\"} ,{\"text\": \"<s>d\"}]\n", &c,
                &err));
    assert_true(d->n == 3 && d->format == NB_DATA_TEXT);
    assert_row(&d->rows[0], "ab", 0);
    assert_row(&d->rows[1], "c", 0); /* its own eos, one BOS */
    assert_row(&d->rows[2], "d", 0); /* its own BOS */
    assert_true(d->rows[0].line == 2 && d->rows[1].line == 4 && d->rows[2].line == 5);
    nb_dataset_close(&d);

    c.add_special_tokens = 1;
    NBT_OK(load(&d, "b2.jsonl", "{\"text\": \"<s>d\"}", &c, &err));
    assert_true(d->rows[0].n == 4 && d->rows[0].ids[0] == 1 && d->rows[0].ids[1] == 1);
    nb_dataset_close(&d);
    c.add_special_tokens = 0;
    c.no_eos = true;
    NBT_OK(load(&d, "b3.jsonl", "{\"text\": \"dd\"}", &c, &err));
    assert_int_equal(d->rows[0].n, 2);
    nb_dataset_close(&d);

    c = plain(NB_DATA_INSTRUCTION);
    NBT_OK(load(&d, "c.jsonl",
                "{\"instruction\": \"I\", \"output\": \"O\"}\n"
                "{\"instruction\": \"I\", \"input\": \"\", \"output\": \"O\"}\n"
                "{\"instruction\": \"I\", \"input\": \"X\", \"output\": \"O\"}\n",
                &c, &err));
    static const char bare[] = "### Instruction:\nI\n\n### Response:\nO";
    assert_row(&d->rows[0], bare, (int64_t)strlen(bare));
    assert_row(&d->rows[1], bare, (int64_t)strlen(bare));
    static const char with[] = "### Instruction:\nI\n\n### Input:\nX\n\n### Response:\nO";
    assert_row(&d->rows[2], with, (int64_t)strlen(with));
    nb_dataset_close(&d);
    c.train_on = NB_TRAIN_ALL;
    NBT_OK(load(&d, "c2.jsonl", "{\"instruction\": \"I\", \"output\": \"O\"}\n", &c, &err));
    assert_row(&d->rows[0], bare, 0);
    nb_dataset_close(&d);

    c = plain(NB_DATA_AUTO);
    c.text_column = "body";
    c.response_template = "A:";
    c.train_on = NB_TRAIN_COMPLETION;
    NBT_OK(load(&d, "d.csv", "body,n\nQ:xA:yA:z,1\nnothing,2\n", &c, &err));
    assert_true(d->n == 1 && d->n_dropped == 1);
    assert_row(&d->rows[0], "Q:xA:yA:z", 9);
    assert_non_null(strstr(d->dropped[0].dropped, "response_template"));
    assert_true(d->dropped[0].row == 1 && d->dropped[0].line == 3);
    nb_dataset_close(&d);
}

static void test_template(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_template_var vars[] = {{"sys", "S{q}"}};
    nb_data_config c = plain(NB_DATA_AUTO);
    c.template_text = "<s>{{{sys}}} {q}:{a}!";
    c.template_vars = vars;
    c.n_template_vars = 1;
    NBT_OK(load(&d, "t.jsonl", "{\"q\": \"1\", \"a\": \"b\"}\n{\"q\": 2.50, \"a\": true}\n", &c,
                &err));
    assert_int_equal(d->format, NB_DATA_TEMPLATE);
    assert_row(&d->rows[0], "{S{q}} 1:b!", 10);
    assert_row(&d->rows[1], "{S{q}} 2.50:true!", 13);
    nb_dataset_close(&d);

    c.max_seq_length = 4; /* the BOS stays, the end stays */
    c.truncate_left = true;
    NBT_OK(load(&d, "t.jsonl", "{\"q\": \"1\", \"a\": \"b\"}\n", &c, &err));
    assert_true(d->rows[0].n == 4 && d->rows[0].truncated && d->n_truncated == 1);
    assert_true(d->rows[0].ids[0] == 1 && d->rows[0].ids[1] == 4 + 'b' && d->rows[0].ids[3] == 2);
    assert_int_equal(d->rows[0].labels[0], NB_LABEL_IGNORE);
    nb_dataset_close(&d);
    c.truncate_left = false;

    c = plain(NB_DATA_TEMPLATE);
    static const char *const wrong[] = {"{q", "}", "{}", "{a{b}", "{q} }", "{q", "none", "{nope}"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c.template_text = wrong[i];
        NBT_FAILS(NB_CONFIG, "template", load(&d, "t.jsonl", "{\"q\": \"1\"}", &c, &err));
    }
    NBT_FAILS(NB_CONFIG, "columns are \"q\"", load(&d, "t.jsonl", "{\"q\": \"1\"}", &c, &err));
    c.template_text = "{q}{sys}";
    c.template_vars = vars;
    c.n_template_vars = 1;
    NBT_FAILS(NB_CONFIG, "also a column",
              load(&d, "t.jsonl", "{\"q\": \"1\", \"sys\": \"2\"}", &c, &err));
    c.template_text = NULL;
    NBT_FAILS(NB_CONFIG, "needs the key template", load(&d, "t.jsonl", "{\"q\": \"1\"}", &c, &err));
}

/* The same rows as finished texts and as columns. */
static void test_text_and_csv(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *a = NULL, *b = NULL;
    nb_template_var var = {"I", "do it.\n\nNow.\n"};
    nb_data_config c = plain(NB_DATA_TEXT), t = plain(NB_DATA_TEMPLATE);
    c.text_column = "example";
    t.template_text = "<s>[INST] {I} \n{comment} \n[/INST]\n{response} -Me</s>";
    t.template_vars = &var;
    t.n_template_vars = 1;
    for (int side = 0; side < 4; side++) {
        c.max_seq_length = t.max_seq_length = side < 2 ? 0 : 30;
        c.truncate_left = t.truncate_left = side & 1;
        NBT_OK(load(
            &a, "e.jsonl",
            "{\"example\": \"<s>[INST] do it.\\n\\nNow.\\n \\nsay \\\"a\\\", b \\n[/INST]\\nOK \\n "
            "-Me</s>\"}",
            &c, &err));
        t.train_on = NB_TRAIN_ALL;
        NBT_OK(
            load(&b, "e.csv", "comment,response\r\n\"say \"\"a\"\", b\",\"OK \n\"\r\n", &t, &err));
        assert_int_equal(a->rows[0].n, b->rows[0].n);
        assert_memory_equal(a->rows[0].ids, b->rows[0].ids, (size_t)a->rows[0].n * 4);
        assert_memory_equal(a->rows[0].labels, b->rows[0].labels, (size_t)a->rows[0].n * 4);
        assert_int_equal(a->rows[0].ids[0], 1); /* one BOS, kept on whichever side is cut */
        assert_int_not_equal(a->rows[0].ids[1], 1);
        nb_dataset_close(&a);
        nb_dataset_close(&b);
    }
}

static void test_tokenized(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    NBT_OK(load(&d, "k.jsonl",
                "{\"ids\": [5, 6, 7], \"labels\": [-100, -100, 7]}\n"
                "{\"input_ids\": [5, 6, 7, 3, 3], \"attention_mask\": [1, 1, 1, 0, 0]}\n"
                "{\"input_ids\": [5, 6, 7], \"completion_mask\": [0, 1, 1]}\n"
                "{\"input_ids\": [5, 6, 7], \"assistant_masks\": [false, true, false]}\n"
                "{\"input_ids\": [5, 6], \"labels\": [-100, -100]}\n"
                "{\"input_ids\": [], \"labels\": []}\n"
                "{\"input_ids\": [5], \"labels\": null}\n",
                &c, &err));
    assert_true(d->format == NB_DATA_TOKENIZED && d->n == 5 && d->n_dropped == 2);
    assert_true(d->rows[0].labels[2] == 7 && d->rows[0].n_trained == 1 && !d->rows[0].text);
    assert_true(d->rows[1].n == 3 && d->rows[1].labels[0] == 5 && d->rows[1].n_trained == 2);
    assert_true(d->rows[2].labels[0] == -100 && d->rows[2].labels[1] == 6);
    assert_true(d->rows[3].labels[1] == 6 && d->rows[3].labels[2] == -100);
    assert_true(d->rows[4].n == 1 && d->rows[4].n_trained == 0);
    nb_dataset_close(&d);

    static const struct {
        const char *row, *part;
    } wrong[] = {
        {"{\"input_ids\": [5, 260]}", "model has only 260"},
        {"{\"input_ids\": [5, 6], \"labels\": [5, 300]}", "id 300"},
        {"{\"input_ids\": [5, -1]}", "entry 1 is -1"},
        {"{\"input_ids\": [5, 1.5]}", "entry 1 is 1.5"},
        {"{\"input_ids\": [5, \"6\"]}", "entry 1 is a text"},
        {"{\"input_ids\": [5, 99999999999]}", "entry 1"},
        {"{\"input_ids\": [5, 6], \"labels\": [5]}", "has 1 entries, the ids have 2"},
        {"{\"input_ids\": [5, 6], \"labels\": [5, -7]}", "entry 1 is -7"},
        {"{\"input_ids\": [5, 6], \"attention_mask\": [1, 2]}", "attention_mask"},
        {"{\"input_ids\": {\"a\": 1}}", ""},
    };
    c.format = NB_DATA_TOKENIZED;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        NBT_FAILS(NB_DATA, wrong[i].part, load(&d, "k.jsonl", wrong[i].row, &c, &err));
}

static void test_csv(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    NBT_OK(load(&d, "q.csv",
                "\xef\xbb\xbfprompt,completion,,\"x \"\"y\"\"\"\r\n"
                "\" a \"\"q\"\"\r\nnext\", b ,,\r\n"
                "\r\n"
                "\"\",\"c,d\",1,2",
                &c, &err));
    assert_int_equal(d->n, 2);
    assert_row(&d->rows[0], " a \"q\"\r\nnext b ", 13);
    assert_row(&d->rows[1], "c,d", 1);
    assert_true(d->rows[0].line == 2 && d->rows[1].line == 5);
    nb_dataset_close(&d);
    NBT_OK(load(&d, "q.tsv", "text\tb\nx,y\tz\n", &c, &err));
    assert_row(&d->rows[0], "x,y", 0);
    nb_dataset_close(&d);
    NBT_OK(load(&d, "q.csv", "text;b\nx,y;z\n", &c, &err));
    assert_row(&d->rows[0], "x,y", 0);
    nb_dataset_close(&d);
    NBT_OK(load_bytes(&d, "q.csv", "text,b\n\"a\0b\",c\n", 15, &c, &err));
    assert_int_equal(d->rows[0].n, 5); /* a NUL is a character */
    nb_dataset_close(&d);

    static const struct {
        const char *text, *part;
    } wrong[] = {
        {"text,b\n1,2\n3\n", "q.csv:3: the row has 1 fields, the header 2"},
        {"text,b\n1,2,3\n", "q.csv:2: the row has 3 fields"},
        {"text,b\n\"1,2\n", "q.csv:2: a quote"},
        {"text,b\n1,\"2\n\n", "q.csv:2: a quote"},
        {"text,b\n1,2\n\"a\"b,c\n", "q.csv:3: a quote"},
        {"text,text\n1,2\n", "names column \"text\" twice"},
        {"text,b\n", "no rows"},
        {"\n\n", "no header"},
        {"a,b\n1,2\n", "fields \"a\", \"b\""},
        {"text,b\n\xff,2\n", "q.csv:2: field 1 holds byte 0xFF"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        NBT_FAILS(NB_DATA, wrong[i].part, load(&d, "q.csv", wrong[i].text, &c, &err));
    nbi_strbuf many = {0};
    for (int i = 0; i < 4097; i++)
        nbi_strbuf_printf(&many, "%sc%d", i ? "," : "", i);
    NBT_FAILS(NB_LIMIT, "4096 columns", load(&d, "q.csv", many.s, &c, &err));
    nbi_strbuf_free(&many);
}

static void test_bad_rows(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    static const struct {
        nb_data_format format;
        const char *text, *part;
    } wrong[] = {
        {NB_DATA_AUTO, "", "empty"},
        {NB_DATA_AUTO, "\n \n", "no "},
        {NB_DATA_AUTO, "[]", "no rows"},
        {NB_DATA_AUTO, "[1]", "r.jsonl:1: the row is a number"},
        {NB_DATA_AUTO, "[{\"text\": \"a\"}", "byte"},
        {NB_DATA_AUTO, "[{\"text\": \"a\"}] x", "byte"},
        {NB_DATA_AUTO, "{\"text\": \"a\"}\n[1]\n", "r.jsonl:2: the row is a list"},
        {NB_DATA_AUTO, "{\"text\": \"a\"}\n{\"text\": \"b\"\n", "r.jsonl:2"},
        {NB_DATA_AUTO, "{\"text\": \"a\"}\n{\"text\": \"b\", \"text\": \"c\"}\n", "r.jsonl:2"},
        {NB_DATA_AUTO, "{\"text\": \"a\xff\"}\n", "r.jsonl:1"},
        {NB_DATA_AUTO, "{\"text\": \"a\"}\n{\"text\": 3}\n",
         "r.jsonl:2: field \"text\": found a number, expected a text"},
        {NB_DATA_AUTO, "{\"text\": \"a\"}\n{\"prompt\": \"b\", \"completion\": \"c\"}\n",
         "looks like format prompt_completion"},
        {NB_DATA_ALPACA, "{\"instruction\": \"a\"}\n", "r.jsonl:1: field \"output\" is missing"},
        {NB_DATA_ALPACA, "{\"instruction\": null, \"output\": \"\"}\n",
         "\"instruction\": found null"},
        {NB_DATA_ALPACA, "{\"instruction\": \"a\", \"output\": \"b\", \"system\": \"s\"}\n",
         "\"system\""},
        {NB_DATA_AUTO, "{\"conversations\": []}\n", "\"conversations\""},
        {NB_DATA_AUTO, "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}\n",
         "no known"},
        {NB_DATA_AUTO, "{\"instruction\": \"a\", \"output\": 5}\n",
         "r.jsonl:1: field \"output\": found a number, expected a text; the row looks like format "
         "alpaca"},
        {NB_DATA_AUTO, "{\"prompt\": \"a\", \"completion\": [\"b\"]}\n",
         "\"completion\": found a list, expected a text; the row looks like format "
         "prompt_completion"},
        {NB_DATA_AUTO, "{\"prompt\": {}, \"completion\": 1}\n",
         "\"prompt\": found an object, expected a text or a list"},
        {NB_DATA_AUTO, "{\"ids\": \"1 2\", \"input_ids\": null}\n",
         "\"ids\": found a text, expected a list; the row looks like format tokenized"},
        {NB_DATA_AUTO, "{\"messages\": \"[]\"}\n", "\"messages\": found a text, expected a list"},
        {NB_DATA_MESSAGES, "{\"messages\": 1}\n", "found a number"},
        {NB_DATA_MESSAGES, "{\"messages\": []}\n", "an empty list"},
        {NB_DATA_MESSAGES, "{\"messages\": [{\"role\": \"user\"}]}\n",
         "message 0 has no \"content\""},
        {NB_DATA_MESSAGES, "{\"messages\": [{\"role\": 1, \"content\": \"a\"}]}\n",
         "message 0 is a number"},
        {NB_DATA_MESSAGES, "{\"messages\": [2]}\n", "message 0 is a number"},
        {NB_DATA_MESSAGES, "{\"messages\": [{\"role\": \"user\\u0000\", \"content\": \"\"}]}\n",
         "NUL"},
        {NB_DATA_AUTO, "PAR1....", "Parquet"},
        {NB_DATA_AUTO, "\xff\xfe{", "UTF-16"},
        {NB_DATA_TOKENIZED, "{\"input_ids\": [5], \"labels\": [-100]}\n{\"input_ids\": []}",
         "none of the 2 rows"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        c.format = wrong[i].format;
        NBT_FAILS(NB_DATA, wrong[i].part, load(&d, "r.jsonl", wrong[i].text, &c, &err));
    }
    c = plain(NB_DATA_TEXT);
    c.train_on = NB_TRAIN_COMPLETION;
    NBT_FAILS(NB_CONFIG, "response_template", load(&d, "r.jsonl", "{\"text\": \"a\"}", &c, &err));
    c = plain(NB_DATA_TOKENIZED);
    c.empty_labels_error = true;
    NBT_FAILS(
        NB_DATA, "r.jsonl:2",
        load(&d, "r.jsonl", "{\"ids\": [5, 6]}\n{\"ids\": [5], \"labels\": [-100]}\n", &c, &err));
    char *path = nbt_join(g_dir, "none.jsonl");
    NBT_FAILS(NB_NOTFOUND, "none.jsonl", nb_dataset_load(&d, path, &c, g_tok, 0, NULL, &err));
    nbi_free(path);
    c = plain(NB_DATA_AUTO);
    path = nbt_join(g_dir, "r.jsonl");
    nbt_write_text(path, "{\"text\": \"a\"}");
    NBT_FAILS(NB_CONFIG, "needs a tokenizer", nb_dataset_load(&d, path, &c, NULL, 0, NULL, &err));
    nbi_free(path);
}

/* The first bad row is the one reported, whatever the threads do; nothing leaks. */
static void test_first_error(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    nbi_strbuf b = {0};
    size_t before;
    for (int i = 1; i <= 5000; i++)
        nbi_strbuf_puts(&b, i == 2500 || i == 2501 || i == 3900 ? "{\"text\": 1}\n"
                                                                : "{\"text\": \"abc\"}\n");
    before = nbt_in_use();
    for (int i = 0; i < 3; i++)
        NBT_FAILS(NB_DATA, "m.jsonl:2500:", load(&d, "m.jsonl", b.s, &c, &err));
    assert_int_equal(nbt_in_use(), before);
    c.max_rows = 2499;
    NBT_OK(load(&d, "m.jsonl", b.s, &c, &err));
    assert_int_equal(d->n, 2499);
    for (size_t i = 0; i < d->n; i++) {
        assert_row(&d->rows[i], "abc", 0);
        assert_int_equal(d->rows[i].line, i + 1);
    }
    nb_dataset_close(&d);
    assert_int_equal(nbt_in_use(), before);
    nbi_strbuf_free(&b);
}

static void test_long_line(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    size_t n = ((size_t)64 << 20) + 100;
    char *big = malloc(n + 1);
    memset(big, 'a', n);
    big[n] = 0;
    memcpy(big, "{\"text\": \"", 10);
    memcpy(big + n - 2, "\"}", 2);
    NBT_FAILS(NB_LIMIT, "z.jsonl:1: the row has", load(&d, "z.jsonl", big, &c, &err));
    memset(big, 'a', n);
    memcpy(big, "text,b\nx", 8);
    NBT_FAILS(NB_LIMIT, "z.csv:2: field 1", load(&d, "z.csv", big, &c, &err));
    free(big);
}

/* Each allocation fails once: an error, no leak, no crash. */
static void test_no_memory(void **state)
{
    (void)state;
    nb_data_config c = plain(NB_DATA_AUTO);
    static const char *const files[] = {"o.jsonl", "o.csv", "o.json"};
    static const char *const texts[] = {
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"c\", \"completion\": \"d\"}\n",
        "instruction,output\na,\"b\nc\"\nd,e\n", "[{\"input_ids\": [5, 6]}, {\"input_ids\": [7]}]"};
    for (size_t f = 0; f < 3; f++) {
        char *path = nbt_join(g_dir, files[f]);
        bool done = false;
        nbt_write_text(path, texts[f]);
        size_t before = nbt_in_use();
        for (uint64_t k = 1; !done && k < 5000; k++) {
            nb_error err = {0};
            nb_dataset *d = NULL;
            nbi_alloc_fail_at(k, false);
            nb_status st = nb_dataset_load(&d, path, &c, g_tok, 0, NULL, &err);
            done = nbi_alloc_count() < k;
            nbi_alloc_fail_at(0, false);
            assert_true(done ? st == NB_OK : st == NB_OK || st == NB_NOMEM);
            nb_dataset_close(&d);
        }
        assert_true(done);
        assert_int_equal(nbt_in_use(), before);
        nbi_free(path);
    }
}

static nb_dataset *numbered(size_t n)
{
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    nbi_strbuf b = {0};
    for (size_t i = 0; i < n; i++) {
        nbi_strbuf_puts(&b, "{\"input_ids\": [7");
        for (size_t j = 0; j < i % 5; j++)
            nbi_strbuf_printf(&b, ", %zu", 8 + j);
        nbi_strbuf_puts(&b, "]}\n");
    }
    NBT_OK(load(&d, "n.jsonl", b.s, &c, &err));
    nbi_strbuf_free(&b);
    return d;
}

static void test_split(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = numbered(59), *part = NULL, *again = numbered(59), *part2 = NULL;
    int64_t tokens = d->total_tokens;
    NBT_OK(nb_dataset_split(d, 0, 0.15, 7, &part, &err));
    assert_true(part->n == 9 && d->n == 50); /* rounded up */
    assert_int_equal(d->total_tokens + part->total_tokens, tokens);
    unsigned char seen[59] = {0};
    for (size_t i = 0; i < d->n; i++)
        seen[d->rows[i].row]++;
    for (size_t i = 0; i < part->n; i++)
        seen[part->rows[i].row]++;
    for (size_t i = 0; i < 59; i++)
        assert_int_equal(seen[i], 1);
    for (size_t i = 1; i < part->n; i++)
        assert_true(part->rows[i].row > part->rows[i - 1].row);
    for (size_t i = 1; i < d->n; i++)
        assert_true(d->rows[i].row > d->rows[i - 1].row);
    nb_dataset_close(&d); /* the part stands alone */
    NBT_OK(nb_dataset_split(again, 9, 0, 7, &part2, &err));
    for (size_t i = 0; i < 9; i++) {
        assert_int_equal(part->rows[i].row, part2->rows[i].row);
        assert_memory_equal(part->rows[i].ids, part2->rows[i].ids, (size_t)part->rows[i].n * 4);
    }
    nb_dataset_close(&part);
    nb_dataset_close(&part2);
    NBT_FAILS(NB_CONFIG, "cannot split", nb_dataset_split(again, 50, 0, 1, &part, &err));
    NBT_FAILS(NB_CONFIG, "cannot split", nb_dataset_split(again, 0, 0, 1, &part, &err));
    nb_dataset_close(&again);
}

static void test_order(void **state)
{
    (void)state;
    nb_error err = {0};
    enum { N = 100 };
    uint32_t a[N], b[N];
    size_t n;
    nb_order o = {.seed = 3};
    NBT_OK(nb_order_epoch(&o, 5, N, a, &n, &err));
    for (uint32_t i = 0; i < N; i++)
        assert_int_equal(a[i], i);
    o.shuffle = true;
    NBT_OK(nb_order_epoch(&o, 0, N, a, &n, &err));
    NBT_OK(nb_order_epoch(&o, 0, N, b, &n, &err));
    assert_memory_equal(a, b, sizeof a);
    NBT_OK(nb_order_epoch(&o, 1, N, b, &n, &err));
    assert_memory_not_equal(a, b, sizeof a);
    unsigned char seen[N] = {0};
    for (size_t i = 0; i < N; i++)
        seen[b[i]]++;
    for (size_t i = 0; i < N; i++)
        assert_int_equal(seen[i], 1);
    o.seed = 4;
    NBT_OK(nb_order_epoch(&o, 0, N, b, &n, &err));
    assert_memory_not_equal(a, b, sizeof a);

    char *path = nbt_join(g_dir, "order.jsonl");
    nbt_write_text(path, "[2, 0, 1]\n\n[1]\r\n");
    NBT_OK(nb_order_read(&o, path, 3, &err));
    NBT_OK(nb_order_epoch(&o, 2, 3, a, &n, &err));
    assert_true(n == 3 && a[0] == 2 && a[1] == 0 && a[2] == 1);
    NBT_OK(nb_order_epoch(&o, 3, 3, a, &n, &err));
    assert_true(n == 1 && a[0] == 1);
    nb_order_free(&o);
    static const struct {
        const char *text, *part;
    } wrong[] = {{"[3]", "order.jsonl:1: found 3"},
                 {"[0]\n[-1]", "order.jsonl:2: found -1"},
                 {"[0, 0]", "stands twice"},
                 {"[]", "an empty list"},
                 {"{}", "no list"},
                 {"[\"a\"]", "something else"},
                 {"[0", "no valid JSON"},
                 {"[0] 1", "no valid JSON"},
                 {"\n", "no line"},
                 {"[1.5]", "found 1.5"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        nbt_write_text(path, wrong[i].text);
        NBT_FAILS(NB_DATA, wrong[i].part, nb_order_read(&o, path, 3, &err));
    }
    nb_order_free(&o);
    nbi_free(path);
}

static void test_batch(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    nb_batch_buffer b = {0};
    NBT_OK(load(&d, "b.jsonl",
                "{\"ids\": [5, 6, 7], \"labels\": [5, -100, 7]}\n"
                "{\"ids\": [8]}\n"
                "{\"ids\": [9, 10, 11, 12], \"labels\": [-100, 10, 11, 12]}\n",
                &c, &err));
    const uint32_t rows[] = {2, 1, 0};
    for (int repeat = 0; repeat < 2; repeat++) {
        NBT_OK(nb_batch_make(&b, d, rows, 3, 4, &err));
        const nb_batch *x = &b.batch;
        const int32_t ids[] = {9, 10, 11, 12, 8, 5, 6, 7};
        const int32_t targets[] = {10, 11, 12, -100, -100, -100, 7, -100};
        const int32_t positions[] = {0, 1, 2, 3, 0, 0, 1, 2};
        const int32_t example[] = {2, 2, 2, 2, 1, 0, 0, 0};
        const int64_t starts[] = {0, 4, 5, 8};
        assert_true(x->m == 8 && x->n_segments == 3 && x->n_targets == 4 && x->epoch == 4);
        assert_memory_equal(x->ids, ids, sizeof ids);
        assert_memory_equal(x->targets, targets, sizeof targets);
        assert_memory_equal(x->positions, positions, sizeof positions);
        assert_memory_equal(x->example, example, sizeof example);
        assert_memory_equal(x->starts, starts, sizeof starts);
        NBT_OK(nb_batch_make(&b, d, rows + 1, 1, 0, &err)); /* smaller, then larger again */
        assert_true(b.batch.m == 1 && b.batch.n_targets == 0);
    }
    const uint32_t out[] = {3};
    NBT_FAILS(NB_INTERNAL, "row 3", nb_batch_make(&b, d, out, 1, 0, &err));
    assert_int_equal(nb_batch_max_tokens(d, 1), 4);
    assert_int_equal(nb_batch_max_tokens(d, 2), 7);
    assert_int_equal(nb_batch_max_tokens(d, 3), 8);
    assert_int_equal(nb_batch_max_tokens(d, 99), 8);
    nb_batch_free(&b);
    nb_dataset_close(&d);
    d = numbered(20); /* four rows of each length 1 to 5 */
    assert_int_equal(nb_batch_max_tokens(d, 6), 4 * 5 + 2 * 4);
    nb_dataset_close(&d);
}

/* A tokenizer whose post-processor ends with eos gets no second one. */
static void test_own_eos(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_tokenizer *tok = NULL;
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_AUTO);
    char *dir = nbt_golden("tokenizers/pieces"), *path = nbt_join(g_dir, "p.jsonl");
    nbt_write_text(path, "{\"text\": \"hello\"}\n{\"text\": \"<s>hello\"}\n");
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    NBT_OK(nb_dataset_load(&d, path, &c, tok, 0, NULL, &err));
    for (size_t i = 0; i < 2; i++) {
        const nb_example *e = &d->rows[i];
        assert_true(e->ids[0] == 1 && e->ids[1] != 1);
        assert_true(e->ids[e->n - 1] == 2 && e->ids[e->n - 2] != 2);
    }
    nb_dataset_close(&d);
    nb_tokenizer_close(&tok);
    nbi_free(path);
    nbi_free(dir);
}

static void test_masks(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_PROMPT_COMPLETION);
    static const char row[] = "{\"prompt\": \"abcdef\", \"completion\": \"xyz\"}\n";
    c.train_on = NB_TRAIN_ALL;
    NBT_OK(load(&d, "m.jsonl", row, &c, &err));
    assert_row(&d->rows[0], "abcdefxyz", 0);
    nb_dataset_close(&d);
    c.train_on = NB_TRAIN_DEFAULT;
    c.mask_eos = true;
    NBT_OK(load(&d, "m.jsonl", row, &c, &err));
    assert_int_equal(d->rows[0].n_trained, 3);
    assert_int_equal(d->rows[0].labels[10], NB_LABEL_IGNORE);
    nb_dataset_close(&d);
    c.mask_eos = false;
    c.max_seq_length = 4;
    c.truncate_left = true; /* no BOS is kept, none is added */
    NBT_OK(load(&d, "m.jsonl", row, &c, &err));
    assert_true(d->rows[0].n == 4 && d->rows[0].ids[0] == 4 + 'x' && d->rows[0].n_trained == 3);
    nb_dataset_close(&d);
    c.truncate_left = false; /* nothing to train on is left */
    NBT_FAILS(NB_DATA, "no trained tokens left", load(&d, "m.jsonl", row, &c, &err));
    c.max_seq_length = 9;
    NBT_OK(load(&d, "m.jsonl", row, &c, &err));
    assert_true(d->rows[0].n == 9 && d->rows[0].n_trained == 2 && d->n_truncated == 1);
    nb_dataset_close(&d);
}

/* A conversation of many turns: every answer with its eos is trained, nothing else, and the work
 * grows with its length only (turns times tokens would take minutes). */
static void test_many_turns(void **state)
{
    (void)state;
    enum { TURNS = 50000 };
    nb_error err = {0};
    nb_tokenizer *tok = NULL;
    nb_dataset *d = NULL;
    nb_data_config c = plain(NB_DATA_MESSAGES);
    char *dir = nbt_source("models/nibble-world"), *path = nbt_join(g_dir, "turns.jsonl");
    nbi_strbuf row = {0};
    NBT_OK(nb_tokenizer_open(&tok, dir, NULL, &err));
    nbi_strbuf_puts(&row, "{\"messages\": [");
    for (int i = 0; i < TURNS; i++)
        nbi_strbuf_printf(&row,
                          "%s{\"role\": \"user\", \"content\": \"question %d\"}, "
                          "{\"role\": \"assistant\", \"content\": \"%s\"}",
                          i ? ", " : "", i, i % 3 ? "an answer" : "");
    nbi_strbuf_puts(&row, "]}\n");
    nbt_write(path, row.s, row.n);
    NBT_OK(nb_dataset_load(&d, path, &c, tok, 0, NULL, &err));
    const nb_example *e = &d->rows[0];
    int32_t begin = nb_tokenizer_token_id(tok, "<|assistant|>"), eos = nb_tokenizer_eos(tok);
    bool answer = false;
    int64_t answers = 0;
    assert_true(begin >= 0 && eos >= 0);
    for (int64_t i = 0; i < e->n; i++) {
        assert_int_equal(e->labels[i], answer ? e->ids[i] : NB_LABEL_IGNORE);
        answers += answer && e->ids[i] == eos;
        answer = e->ids[i] == begin || (answer && e->ids[i] != eos);
    }
    assert_int_equal(answers, TURNS);
    nb_dataset_close(&d);
    nb_tokenizer_close(&tok);
    nbi_strbuf_free(&row);
    nbi_free(path);
    nbi_free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),      cmocka_unit_test(test_template),
        cmocka_unit_test(test_text_and_csv), cmocka_unit_test(test_tokenized),
        cmocka_unit_test(test_csv),          cmocka_unit_test(test_bad_rows),
        cmocka_unit_test(test_first_error),  cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_no_memory),    cmocka_unit_test(test_split),
        cmocka_unit_test(test_order),        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_own_eos),      cmocka_unit_test(test_masks),
        cmocka_unit_test(test_many_turns),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
