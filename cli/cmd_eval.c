/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>

static void json_number(const char *key, double v)
{
    char b[40];
    printf(", \"%s\": %s", key, nb_json_number(v, b));
}

static void json_members(const nb_eval_report *r)
{
    const nb_eval_result *e = &r->loss;
    const nb_answer_scores *s = &r->answers;
    char b[40];
    printf("\"loss\": %s", nb_json_number(e->loss, b));
    json_number("perplexity", e->perplexity);
    json_number("token_accuracy", e->token_accuracy);
    printf(", \"trained_tokens\": %lld, \"rows\": %lld", (long long)e->trained_tokens,
           (long long)e->rows);
    if (r->choices.rows > 0) {
        json_number("choice_accuracy", r->choices.accuracy);
        json_number("choice_accuracy_normalised", r->choices.accuracy_normalised);
        json_number("choice_chance", r->choices.chance);
    }
    if (s->rows == 0)
        return;
    printf(", \"answers\": %lld", (long long)s->rows);
    json_number("exact", s->exact);
    json_number("rouge1", s->rouge1);
    json_number("rouge2", s->rouge2);
    json_number("rougel", s->rougel);
    json_number("json", s->json);
    if (!isnan(s->matches))
        json_number("matches", s->matches);
    json_number("markers", s->markers);
    json_number("stopped", s->stopped);
}

/* `base`: NULL unless compared. */
static void print_json(const nb_eval_report *r, const nb_eval_report *base)
{
    putchar('{');
    json_members(r);
    if (base) {
        printf(", \"base\": {");
        json_members(base);
        putchar('}');
    }
    printf("}\n");
}

/* A line of the table: one figure, or base and adapter and their difference. */
static void line(const char *name, const char *format, double v, const double *base)
{
    printf("%-16s", name);
    if (!base) {
        printf(format, v);
        putchar('\n');
        return;
    }
    char a[40], b[40], c[40];
    snprintf(a, sizeof a, format, *base);
    snprintf(b, sizeof b, format, v);
    snprintf(c, sizeof c, format, v - *base);
    printf("%14s%14s%14s\n", a, b, c);
}

static void print_losses(const nb_eval_report *r, const nb_eval_report *base)
{
    const nb_eval_result *e = &r->loss;
    const double before[] = {base ? base->loss.loss : 0, base ? base->loss.perplexity : 0,
                             base ? 100 * base->loss.token_accuracy : 0};
    if (base)
        printf("%-16s%14s%14s%14s\n", "", "base", "adapter", "difference");
    line("loss", "%.6f", e->loss, base ? &before[0] : NULL);
    line("perplexity", "%.4f", e->perplexity, base ? &before[1] : NULL);
    line("token accuracy", "%.2f %%", 100 * e->token_accuracy, base ? &before[2] : NULL);
}

static void print_scores(const nb_eval_report *r, const nb_eval_report *base)
{
    static const char *const names[] = {"exact match", "rouge1",  "rouge2",  "rougeL",
                                        "JSON",        "matches", "markers", "stopped"};
    const nb_answer_scores *s = &r->answers, *t = base ? &base->answers : NULL;
    const double v[] = {s->exact, s->rouge1,  s->rouge2,  s->rougel,
                        s->json,  s->matches, s->markers, s->stopped};
    for (size_t i = 0; s->rows > 0 && i < sizeof v / sizeof *v; i++) {
        const double before[] = {t ? t->exact : 0,   t ? t->rouge1 : 0, t ? t->rouge2 : 0,
                                 t ? t->rougel : 0,  t ? t->json : 0,   t ? t->matches : 0,
                                 t ? t->markers : 0, t ? t->stopped : 0};
        const double b = 100 * before[i];
        if (!isnan(v[i]))
            line(names[i], "%.2f %%", 100 * v[i], t ? &b : NULL);
    }
}

static void print_choices(const nb_choice_scores *c, const nb_choice_scores *base)
{
    const double b[] = {base ? 100 * base->accuracy : 0,
                        base ? 100 * base->accuracy_normalised : 0};
    if (c->rows == 0)
        return;
    line("choices", "%.2f %%", 100 * c->accuracy, base ? &b[0] : NULL);
    line("  by length", "%.2f %%", 100 * c->accuracy_normalised, base ? &b[1] : NULL);
    printf("  by chance     %.2f %%\n", 100 * c->chance);
}

static void print_table(const nb_eval_report *r, const nb_eval_report *base)
{
    const nb_eval_result *e = &r->loss;
    const nb_answer_scores *s = &r->answers;
    print_losses(r, base);
    print_choices(&r->choices, base ? &base->choices : NULL);
    print_scores(r, base);
    printf("trained tokens  %lld\nrows            %lld\ntokens          %lld (%.0f a second)\n",
           (long long)e->trained_tokens, (long long)e->rows, (long long)e->tokens,
           e->seconds > 0 ? (double)e->tokens / e->seconds : 0.0);
    if (s->rows > 0)
        printf("answers         %lld, %lld tokens (%.1f a second)\n", (long long)s->rows,
               (long long)s->tokens, s->seconds > 0 ? (double)s->tokens / s->seconds : 0.0);
}

static nb_status read_options(const cli_args *a, nb_eval_options *o, nb_error *err)
{
    nb_eval_options_default(o);
    o->save_logits = cli_get(a, "save_logits");
    o->examples = cli_get(a, "examples");
    o->pattern = cli_get(a, "pattern");
    o->answers = cli_flag(a, "answers") || o->pattern;
    o->compare = cli_flag(a, "compare");
    nb_status st = cli_int(a, "max_new_tokens", 1, 1 << 20, &o->max_new_tokens, err);
    return st == NB_OK ? cli_int(a, "answer_rows", 0, INT32_MAX, &o->answer_rows, err) : st;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    nb_eval_options o;
    nb_eval_report report, base;
    cli_progress progress;
    cli_progress_init(&progress);
    nb_log log = {cli_progress_log, &progress};
    nb_train_hooks hooks = {cli_progress_step, &progress, &cli_stop, &log};
    nb_status st = read_options(a, &o, err);
    if (st == NB_OK)
        st = cli_recipe(a, true, &r, err);
    if (st == NB_OK) {
        cli_catch_signals(false);
        st = nb_evaluate(r, &o, &hooks, &report, &base, err);
    }
    cli_progress_end(&progress);
    if (st == NB_OK)
        (cli_flag(a, "json") ? print_json : print_table)(&report, o.compare ? &base : NULL);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"json", "bool", "one JSON object instead of the table"},
    {"compare", "bool", "the base without the adapter beside it"},
    {"answers", "bool",
     "answer each row and compare with the wanted answer: exact match, ROUGE, JSON"},
    {"pattern", "REGEX", "share of answers that this matches somewhere; implies answers"},
    {"max_new_tokens", "N", "longest answer (128)"},
    {"answer_rows", "N", "answer only the first N rows; 0: all (0)"},
    {"examples", "FILE", "JSON lines, one a row: loss, token accuracy, question, answers, scores"},
    {"save_logits", "FILE", "safetensors file: logits [tokens, V] f32, segments [rows + 1] int64"},
    {NULL, NULL, NULL},
};

const cli_command cmd_eval = {
    .name = "eval",
    .words = "[RECIPE.yaml]",
    .max_words = 1,
    .summary = "loss, perplexity, token accuracy and answers on a data set",
    .text =
        "  nibble eval --model DIR [--adapter DIR] [--load_in_4bit true] --data FILE\n"
        "An adapter alone finds its base, and the base is held in memory as it was in training.\n"
        "Rows with choices (a list) and answer (number, letter or text of one) are ranked by the\n"
        "log-likelihood of each choice, also for its length.\n"
        "With --answers each row is asked as in training and its answer scored; --compare does "
        "the\n"
        "same without the adapter.",
    .recipe = true,
    .options = options,
    .run = run,
};
