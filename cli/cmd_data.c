/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "sampling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_numbers(const char *name, const int32_t *v, int64_t n)
{
    printf(", \"%s\": [", name);
    for (int64_t i = 0; i < n; i++)
        printf(i ? ", %d" : "%d", v[i]);
    putchar(']');
}

static nb_status print_json(const nb_preview_row *r, nb_error *err)
{
    printf("{\"row\": %lld, \"line\": %lld", (long long)r->row, (long long)r->line);
    if (r->text) {
        char *quoted = nb_json_quote(r->text, r->text_len);
        if (!quoted)
            return cli_fail(err, NB_NOMEM, "out of memory");
        printf(", \"text\": %s", quoted);
        nb_free(quoted);
    }
    if (r->dropped) {
        printf(", \"dropped\": \"%s\"", r->dropped);
    } else {
        print_numbers("input_ids", r->ids, r->n);
        print_numbers("labels", r->labels, r->n);
        printf(", \"tokens\": %lld, \"trained_tokens\": %lld, \"truncated\": %s", (long long)r->n,
               (long long)r->n_trained, r->truncated ? "true" : "false");
    }
    printf("}\n");
    return NB_OK;
}

/* One token a line: position, id, whether it is trained, the piece of the vocabulary. */
static void print_token_lines(const nb_preview_row *r, const nb_tokenizer *tok, bool colour)
{
    for (int64_t i = 0; i < r->n; i++) {
        bool trained = r->labels[i] != -100;
        const char *piece = tok ? nb_tokenizer_token(tok, r->ids[i]) : NULL;
        printf("%s%6lld %8d %s ", trained && colour ? "\033[1;32m" : "", (long long)i, r->ids[i],
               trained ? "trained" : "      -");
        if (piece)
            cli_print_safe(piece, strlen(piece));
        puts(trained && colour ? "\033[0m" : "");
    }
}

/* Line feeds stay visible as a mark before the break; other control characters are escaped. */
static void print_visible(const char *s, size_t len)
{
    for (const char *end = s + len; s < end;) {
        const char *feed = memchr(s, '\n', (size_t)(end - s));
        cli_print_safe(s, (size_t)((feed ? feed : end) - s));
        if (feed)
            fputs("\xe2\x8f\x8e\n", stdout);
        s = feed ? feed + 1 : end;
    }
}

/* The text that tokens [begin, end) add to those before them: many decoders drop a blank at the
 * beginning of what they get, so a run is not decoded alone. */
static nb_status print_run(const nb_preview_row *r, const nb_tokenizer *tok, int64_t begin,
                           int64_t end, nb_error *err)
{
    char *before = NULL, *all = NULL;
    size_t n = 0, len = 0;
    nb_status st = nb_tokenizer_decode(tok, r->ids, (size_t)begin, false, &before, &n, err);
    if (st == NB_OK)
        st = nb_tokenizer_decode(tok, r->ids, (size_t)end, false, &all, &len, err);
    if (st == NB_OK && n <= len && memcmp(before, all, n) == 0) {
        print_visible(all + n, len - n);
    } else if (st == NB_OK) {
        nb_free(all);
        all = NULL;
        st =
            nb_tokenizer_decode(tok, r->ids + begin, (size_t)(end - begin), false, &all, &len, err);
        if (st == NB_OK)
            print_visible(all, len);
    }
    nb_free(before);
    nb_free(all);
    return st;
}

/* Runs of tokens with the same mask together, so that characters split over tokens come out whole.
 * Without colour, trained runs stand between >> and <<. */
static nb_status print_tokens(const nb_preview_row *r, const nb_tokenizer *tok, bool colour,
                              nb_error *err)
{
    for (int64_t i = 0; i < r->n;) {
        bool trained = r->labels[i] != -100;
        int64_t end = i;
        while (end < r->n && (r->labels[end] != -100) == trained)
            end++;
        if (trained)
            fputs(colour ? "\033[1;32m" : ">>", stdout);
        if (tok) {
            nb_status st = print_run(r, tok, i, end, err);
            if (st != NB_OK)
                return st;
        } else {
            for (int64_t j = i; j < end; j++)
                printf("%d ", r->ids[j]);
        }
        if (trained)
            fputs(colour ? "\033[0m" : "<<", stdout);
        i = end;
    }
    putchar('\n');
    return NB_OK;
}

static void print_summary(const nb_preview_summary *s)
{
    printf("\nformat %s: %lld rows, %lld used, %lld dropped, %lld truncated\n"
           "%lld tokens (longest row %lld), %lld trained (%.1f %%)\n",
           s->format, (long long)s->rows, (long long)s->used, (long long)s->dropped,
           (long long)s->truncated, (long long)s->tokens, (long long)s->max_tokens,
           (long long)s->trained_tokens,
           s->tokens ? 100.0 * (double)s->trained_tokens / (double)s->tokens : 0.0);
}

static nb_status show_row(const nb_preview *p, const nb_preview_row *r, const cli_args *a,
                          nb_error *err)
{
    const nb_tokenizer *tok = nb_preview_tokenizer(p);
    if (cli_flag(a, "json"))
        return print_json(r, err);
    printf("--- row %lld (line %lld): ", (long long)r->row, (long long)r->line);
    if (r->dropped) {
        printf("dropped: %s\n", r->dropped);
        return NB_OK;
    }
    printf("%lld tokens, %lld trained%s\n", (long long)r->n, (long long)r->n_trained,
           r->truncated ? ", truncated" : "");
    if (cli_flag(a, "tokens")) {
        print_token_lines(r, tok, cli_colour());
        return NB_OK;
    }
    return print_tokens(r, tok, cli_colour(), err);
}

static nb_status show(const nb_preview *p, const cli_args *a, int64_t limit, nb_error *err)
{
    nb_preview_row r;
    nb_preview_summary s;
    nb_status st = NB_OK;
    nb_preview_get_summary(p, &s);
    for (size_t i = 0; st == NB_OK && (limit < 0 || (int64_t)i < limit) && nb_preview_get(p, i, &r);
         i++) {
        st = show_row(p, &r, a, err);
        if (st == NB_OK)
            st = cli_output(err);
    }
    if (st == NB_OK && !cli_flag(a, "json"))
        print_summary(&s);
    return st;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    nb_preview *p = NULL;
    bool json = cli_flag(a, "json");
    int64_t limit = json ? -1 : 3;
    nb_status st = cli_int(a, "rows", 0, INT64_MAX, &limit, err);
    if (st == NB_OK)
        st = cli_recipe(a, true, &r, err);
    if (st == NB_OK)
        st = nb_preview_open(&p, r, &cli_log, err);
    if (st == NB_OK)
        st = show(p, a, limit, err);
    nb_preview_close(&p);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"json", "bool", "one JSON object a row: text, input_ids, labels, counts"},
    {"tokens", "bool", "one token a line: position, id, whether it is trained, text"},
    {"rows", "N", "rows to show [3; all with --json]"},
    {NULL, NULL, NULL},
};

const cli_command cmd_data = {
    .name = "data",
    .words = "[RECIPE.yaml]",
    .max_words = 1,
    .summary = "show the rows as the model sees them: tokens, trained ones marked",
    .text = "  nibble data recipe.yaml\n"
            "  nibble data --model DIR --data rows.csv --template '[INST] {Comment} "
            "[/INST]{Response}'\n"
            "Trained tokens are green (or between >> and << where there is no colour).",
    .recipe = true,
    .options = options,
    .run = run,
};
