/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "sampling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct prompt {
    int32_t *ids;
    size_t n;
} prompt;

static nb_status parse_ids(const char *s, prompt *p, nb_error *err)
{
    size_t cap = strlen(s) / 2 + 1;
    p->ids = malloc(cap * sizeof *p->ids);
    if (!p->ids)
        return cli_fail(err, NB_NOMEM, "out of memory");
    while (*s) {
        char *end;
        long v = strtol(s, &end, 10);
        if (end == s || v < 0 || v > INT32_MAX || (*end && *end != ',') || p->n == cap)
            return cli_fail(
                err, NB_USAGE,
                "--prompt_ids: expected numbers with commas such as 1,2,3, found '%.40s'", s);
        p->ids[p->n++] = (int32_t)v;
        s = *end ? end + 1 : end;
    }
    return p->n ? NB_OK : cli_fail(err, NB_USAGE, "--prompt_ids is empty");
}

/* `adapter`: "true" or "false" in a comparison, else NULL. */
static nb_status print_json(const nb_generation *g, const char *adapter, nb_error *err)
{
    putchar('{');
    if (adapter)
        printf("\"adapter\": %s, ", adapter);
    printf("\"new_ids\": [");
    for (size_t i = 0; i < g->n; i++)
        printf(i ? ", %d" : "%d", g->ids[i]);
    putchar(']');
    if (g->text) {
        char *quoted = nb_json_quote(g->text, strlen(g->text));
        if (!quoted)
            return cli_fail(err, NB_NOMEM, "out of memory");
        printf(", \"text\": %s", quoted);
        nb_free(quoted);
    }
    printf(", \"stopped\": %s}\n", g->stopped ? "true" : "false");
    return NB_OK;
}

/* One answer to one prompt, streamed or as JSON. */
static nb_status answer(nb_generator *g, const prompt *p, const char *adapter, const cli_args *a,
                        nb_error *err)
{
    nb_generate_options o;
    nb_generation out = {0};
    bool json = cli_flag(a, "json");
    nb_status st = cli_sampling(a, &o, err);
    if (st != NB_OK)
        return st;
    if (!json)
        o.on_text = cli_stream_text;
    st = nb_generate_ids(g, p->ids, p->n, &o, &out, err);
    if (st == NB_OK && json)
        st = print_json(&out, adapter, err);
    if (st == NB_INTERRUPTED && !json)
        putchar('\n');
    if (st == NB_OK && !json) {
        if (!out.text)
            for (size_t i = 0; i < out.n; i++)
                printf(i ? ",%d" : "%d", out.ids[i]);
        putchar('\n');
        if (cli_flag(a, "stats"))
            fprintf(stderr,
                    "prompt %lld tokens in %.2f s, %zu new tokens in %.2f s (%.1f a second)\n",
                    (long long)out.prompt_tokens, out.prompt_seconds, out.n, out.seconds,
                    out.seconds > 0 ? (double)out.n / out.seconds : 0.0);
    }
    nb_generation_free(&out);
    return st;
}

static nb_status answers(nb_generator *g, const prompt *p, const cli_args *a, nb_error *err)
{
    if (!cli_flag(a, "compare"))
        return answer(g, p, NULL, a, err);
    if (!nb_generator_has_adapter(g))
        return cli_fail(err, NB_USAGE, "--compare needs --adapter DIR");
    if (!cli_flag(a, "json"))
        printf("--- base\n");
    nb_generator_use_adapter(g, false);
    nb_status st = answer(g, p, "false", a, err);
    nb_generator_use_adapter(g, true);
    if (st == NB_OK && !cli_flag(a, "json"))
        printf("--- with the adapter\n");
    return st == NB_OK ? answer(g, p, "true", a, err) : st;
}

static nb_status from_rows(nb_generator *g, const char *path, const cli_args *a, nb_error *err)
{
    nb_rows *rows = NULL;
    nb_status st = nb_rows_open(&rows, path, err);
    while (st == NB_OK) {
        const char *json;
        size_t len;
        bool end = false;
        prompt p = {0};
        st = cli_stop ? cli_fail(err, NB_INTERRUPTED, "interrupted")
                      : nb_rows_next_object(rows, &json, &len, &end, err);
        if (end)
            break;
        if (st == NB_OK)
            st = nb_prompt_row(g, path, nb_rows_line(rows), json, len, &p.ids, &p.n, err);
        if (st == NB_OK)
            st = answers(g, &p, a, err);
        if (st == NB_OK)
            st = cli_output(err);
        nb_free(p.ids);
    }
    nb_rows_close(&rows);
    return st;
}

static nb_status one_prompt(nb_generator *g, const cli_args *a, nb_error *err)
{
    const char *ids = cli_get(a, "prompt_ids"), *text = cli_get(a, "prompt"),
               *question = cli_get(a, "question");
    prompt p = {0};
    nb_status st;
    if (ids) {
        st = parse_ids(ids, &p, err);
        if (st == NB_OK)
            st = answers(g, &p, a, err);
        free(p.ids);
        return st;
    }
    if (question) {
        const char *layout = "";
        st = nb_prompt_question(g, question, &p.ids, &p.n, &layout, err);
        if (st == NB_OK)
            fprintf(stderr, "asked in the layout of %s\n", layout);
    } else {
        st = nb_prompt_text(g, text, &p.ids, &p.n, err);
    }
    if (st == NB_OK)
        st = answers(g, &p, a, err);
    nb_free(p.ids);
    return st;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    nb_generator *g = NULL;
    const char *input = cli_get(a, "input");
    int given =
        !!cli_get(a, "prompt") + !!cli_get(a, "prompt_ids") + !!cli_get(a, "question") + !!input;
    if (given != 1)
        return cli_fail(err, NB_USAGE,
                        "generate: takes one of --prompt TEXT, --question TEXT, --prompt_ids "
                        "1,2,3, --input ROWS.jsonl");
    nb_status st = cli_recipe(a, false, &r, err);
    if (st == NB_OK)
        st = nb_generator_open(&g, r, &cli_log, err);
    if (st == NB_OK) {
        cli_catch_signals(false);
        st = input ? from_rows(g, input, a, err) : one_prompt(g, a, err);
    }
    nb_generator_close(&g);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"prompt", "TEXT", "text to continue"},
    {"question", "TEXT", "asked in the adapter's training layout or the model's chat template"},
    {"input", "FILE", "JSON lines in the adapter's training layout, without the answer"},
    {"prompt_ids", "IDS", "token ids with commas"},
    CLI_SAMPLING_OPTIONS,
    {"ignore_eos", "bool", "go on after a stop token"},
    {"compare", "bool", "first without the adapter, then with it"},
    {"json", "bool", "one JSON object a line: new_ids, text"},
    {"stats", "bool", "tokens a second on stderr"},
    {NULL, NULL, NULL},
};

const cli_command cmd_generate = {
    .name = "generate",
    .words = "",
    .summary = "continue a text or answer a question, with or without an adapter",
    .text = "  nibble generate --model DIR --prompt \"Once upon a time\"\n"
            "  nibble generate --adapter DIR --question \"Who keeps the bees?\" --compare",
    .recipe = true,
    .options = options,
    .run = run,
};
