/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "progress.h"

#include <stdio.h>

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    char *text = NULL;
    cli_progress progress;
    cli_progress_init(&progress);
    nb_log log = {cli_progress_log, &progress};
    nb_train_hooks hooks = {cli_progress_step, &progress, &cli_stop, &log};
    nb_plan_form form = cli_flag(a, "json")      ? NB_PLAN_JSON
                        : cli_flag(a, "compare") ? NB_PLAN_COMPARE
                                                 : NB_PLAN_TABLE;
    nb_status st = cli_recipe(a, true, &r, err);
    if (st == NB_OK) {
        cli_catch_signals(false);
        st = nb_plan_recipe(r, form, &hooks, &text, NULL, err);
    }
    cli_progress_end(&progress);
    if (st == NB_OK)
        fputs(text, stdout);
    nb_free(text);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"json", "bool", "one JSON object instead of the table"},
    {"compare", "bool", "full fine-tuning, LoRA and QLoRA side by side"},
    {NULL, NULL, NULL},
};

const cli_command cmd_plan = {
    .name = "plan",
    .words = "[RECIPE.yaml]",
    .max_words = 1,
    .summary = "memory and time of a training before it is started, and what would fit",
    .text = "  nibble plan RECIPE.yaml [--memory_limit 6GiB] [--time_budget 2h]\n"
            "  nibble plan --model CONFIG.json --method qlora\n"
            "Reads the rows but no weights. A config.json alone is enough for a model.",
    .recipe = true,
    .options = options,
    .run = run,
};
