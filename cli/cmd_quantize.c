/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "progress.h"

#include <stdio.h>

static nb_status run(const cli_args *a, nb_error *err)
{
    const char *dir = cli_get(a, "output");
    nb_recipe *r = NULL;
    cli_progress progress;
    if (!dir)
        return cli_fail(err, NB_USAGE,
                        "quantize: takes a model and the folder to make: nibble quantize --model "
                        "DIR --output DIR");
    cli_progress_init(&progress);
    nb_log log = {cli_progress_log, &progress};
    nb_status st = cli_recipe(a, false, &r, err);
    if (st == NB_OK)
        st = nb_quantize_model(r, dir, &log, err);
    cli_progress_end(&progress);
    if (st == NB_OK)
        printf("made %s\n", dir);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"output", "DIR", "folder to make"},
    {NULL, NULL, NULL},
};

const cli_command cmd_quantize = {
    .name = "quantize",
    .words = "",
    .summary = "a 16-bit model as a 4-bit folder of bitsandbytes",
    .text = "  nibble quantize --model DIR --output DIR [--bnb_4bit_use_double_quant true]\n"
            "Codes and scales are those of bitsandbytes; embedding, head and norms stay as they "
            "are.",
    .recipe = true,
    .options = options,
    .run = run,
};
