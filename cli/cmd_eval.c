/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "progress.h"

#include <stdio.h>

static void print_json(const nb_eval_result *e)
{
    char b[3][40];
    printf("{\"loss\": %s, \"perplexity\": %s, \"token_accuracy\": %s, \"trained_tokens\": %lld, "
           "\"rows\": %lld}\n",
           nb_json_number(e->loss, b[0]), nb_json_number(e->perplexity, b[1]),
           nb_json_number(e->token_accuracy, b[2]), (long long)e->trained_tokens,
           (long long)e->rows);
}

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    nb_eval_result e = {0};
    cli_progress progress;
    cli_progress_init(&progress);
    nb_log log = {cli_progress_log, &progress};
    nb_train_hooks hooks = {cli_progress_step, &progress, &cli_stop, &log};
    nb_status st = cli_recipe(a, true, &r, err);
    if (st == NB_OK) {
        cli_catch_signals(false);
        st = nb_evaluate(r, cli_get(a, "save_logits"), &hooks, &e, err);
    }
    cli_progress_end(&progress);
    if (st == NB_OK && cli_flag(a, "json"))
        print_json(&e);
    else if (st == NB_OK)
        printf("loss            %.6f\nperplexity      %.4f\ntoken accuracy  %.2f %%\n"
               "trained tokens  %lld\nrows            %lld\ntokens          %lld (%.0f a second)\n",
               e.loss, e.perplexity, 100.0 * e.token_accuracy, (long long)e.trained_tokens,
               (long long)e.rows, (long long)e.tokens,
               e.seconds > 0 ? (double)e.tokens / e.seconds : 0.0);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"json", "bool", "one JSON object instead of the table"},
    {"save_logits", "FILE", "safetensors file: logits [tokens, V] f32, segments [rows + 1] int64"},
    {NULL, NULL, NULL},
};

const cli_command cmd_eval = {
    .name = "eval",
    .words = "[RECIPE.yaml]",
    .max_words = 1,
    .summary = "loss, perplexity and token accuracy on a data set",
    .text =
        "  nibble eval --model DIR [--adapter DIR] [--load_in_4bit true] --data FILE\n"
        "An adapter alone finds its base, and the base is held in memory as it was in training.",
    .recipe = true,
    .options = options,
    .run = run,
};
