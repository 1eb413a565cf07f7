/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>

/* Evaluations beside the training loss, by the log: when that is lost, so is the table. */
static void print_table(const nb_train_result *result)
{
    const char *dir = result->output_dir;
    char *text = NULL;
    nb_error err;
    if (nb_report_runs(&dir, 1, NB_REPORT_ENDS, 80, &text, &err) == NB_OK)
        fputs(text, stdout);
    nb_free(text);
}

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    cli_progress progress;
    cli_progress_init(&progress);
    nb_log log = {cli_progress_log, &progress};
    nb_train_hooks hooks = {cli_progress_step, &progress, &cli_stop, &log};
    nb_train_result result = {0};
    nb_status st = cli_recipe(a, true, &r, err);
    if (st == NB_OK) {
        cli_catch_signals(true);
        st = nb_train(r, &hooks, &result, err);
    }
    cli_progress_end(&progress);
    if (st == NB_OK) {
        print_table(&result);
        printf("done: %lld steps, loss %.4f -> %.4f", (long long)result.steps, result.first_loss,
               result.last_loss);
        if (!isnan(result.eval_loss_before) && !isnan(result.eval_loss_after))
            printf(", eval loss %.4f -> %.4f", result.eval_loss_before, result.eval_loss_after);
        printf(", peak memory %.0f MiB\nsaved in %s\n", (double)result.peak_rss / 1048576.0,
               result.output_dir);
    }
    nb_recipe_free(&r);
    return st;
}

const cli_command cmd_train = {
    .name = "train",
    .words = "[RECIPE.yaml]",
    .max_words = 1,
    .summary = "fine-tune a model: QLoRA, LoRA or full",
    .text = "Trains as the recipe says. Every key of the recipe is also a flag, so a recipe file "
            "is optional:\n"
            "  nibble train --model DIR --data rows.jsonl --method qlora --output_dir out\n"
            "Ctrl-C saves a checkpoint and ends; a second Ctrl-C ends at once.",
    .recipe = true,
    .run = run,
};
