/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <stdio.h>
#include <string.h>

typedef struct job {
    nb_tokenizer *tok;
    nb_encoding e;
    unsigned flags;
    bool offsets;
} job;

static void print_ids(const job *j)
{
    if (j->offsets)
        printf("{\"ids\": ");
    putchar('[');
    for (size_t i = 0; i < j->e.n; i++)
        printf(i ? ", %d" : "%d", j->e.ids[i]);
    putchar(']');
    if (j->offsets) {
        printf(", \"offsets\": [");
        for (size_t i = 0; i < j->e.n; i++)
            printf("%s[%lld, %lld]", i ? ", " : "", (long long)j->e.offsets[2 * i],
                   (long long)j->e.offsets[2 * i + 1]);
        printf("]}");
    }
    putchar('\n');
}

static nb_status encode(job *j, const char *text, size_t len, nb_error *err)
{
    nb_status st = nb_tokenizer_encode(j->tok, text, len, j->flags, &j->e, err);
    if (st == NB_OK)
        print_ids(j);
    return st;
}

static nb_status decode(job *j, const int32_t *ids, size_t n, bool skip, nb_error *err)
{
    char *text = NULL, *quoted = NULL;
    size_t len;
    nb_status st = nb_tokenizer_decode(j->tok, ids, n, skip, &text, &len, err);
    if (st == NB_OK) {
        quoted = nb_json_quote(text, len);
        if (quoted)
            printf("%s\n", quoted);
        else
            st = cli_fail(err, NB_NOMEM, "out of memory");
    }
    nb_free(quoted);
    nb_free(text);
    return st;
}

/* Puts the place in the file in front of a message. */
static nb_status at_line(nb_status st, const char *path, const nb_rows *rows, nb_error *err)
{
    nb_error mine = *err;
    return cli_fail(err, st, "%s:%lld: %s", path, (long long)nb_rows_line(rows), mine.message);
}

static nb_status run_file(job *j, const cli_args *a, const char *path, nb_error *err)
{
    nb_rows *rows = NULL;
    bool end = false;
    nb_status st = nb_rows_open(&rows, path, err);
    while (st == NB_OK) {
        const char *text;
        const int32_t *ids;
        size_t n;
        if (cli_flag(a, "decode")) {
            st = nb_rows_next_ids(rows, &ids, &n, &end, err);
            if (st == NB_OK && !end &&
                (st = decode(j, ids, n, cli_flag(a, "skip_special"), err)) != NB_OK)
                st = at_line(st, path, rows, err);
        } else {
            st = nb_rows_next_text(rows, "text", &text, &n, &end, err);
            if (st == NB_OK && !end && (st = encode(j, text, n, err)) != NB_OK)
                st = at_line(st, path, rows, err);
        }
        if (end)
            break;
        if (st == NB_OK)
            st = cli_output(err);
    }
    nb_rows_close(&rows);
    return st;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    const char *model = cli_get(a, "model"), *input = cli_get(a, "input"), *text = cli_word(a, 0);
    job j = {0};
    if (!model)
        return cli_fail(err, NB_USAGE,
                        "tokenize: needs --model DIR (a folder with tokenizer.json)");
    if (!input == !text)
        return cli_fail(err, NB_USAGE,
                        "tokenize: takes one TEXT (in quotes) or --input FILE.jsonl");
    if (!input && cli_flag(a, "decode"))
        return cli_fail(err, NB_USAGE,
                        "tokenize: --decode needs --input FILE.jsonl with one list of ids a line");
    j.flags = cli_flag(a, "no_special") ? 0 : NB_ENCODE_SPECIAL;
    j.offsets = cli_flag(a, "offsets");
    if (j.offsets)
        j.flags |= NB_ENCODE_OFFSETS;
    if (cli_flag(a, "special_as_text"))
        j.flags |= NB_ENCODE_SPECIAL_AS_TEXT;
    nb_status st = nb_tokenizer_open(&j.tok, model, &cli_log, err);
    if (st == NB_OK)
        st = input ? run_file(&j, a, input, err) : encode(&j, text, strlen(text), err);
    nb_encoding_free(&j.e);
    nb_tokenizer_close(&j.tok);
    return st;
}

static const cli_option options[] = {
    {"model", "DIR", "folder with tokenizer.json"},
    {"input", "FILE", "JSON lines: {\"text\": ...}, or with --decode one list of ids a line"},
    {"no_special", "bool", "do not add BOS and the like"},
    {"special_as_text", "bool", "special tokens inside the text are ordinary text"},
    {"offsets", "bool", "print byte offsets too"},
    {"decode", "bool", "ids to text: one JSON string a line"},
    {"skip_special", "bool", "with --decode: leave out special tokens"},
    {NULL, NULL, NULL},
};

const cli_command cmd_tokenize = {
    .name = "tokenize",
    .words = "[TEXT]",
    .max_words = 1,
    .summary = "text to token ids and back",
    .text = "Prints one JSON list of ids for each row.\n"
            "  nibble tokenize --model DIR \"some text\"\n"
            "  nibble tokenize --model DIR --input rows.jsonl",
    .options = options,
    .run = run,
};
