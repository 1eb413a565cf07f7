/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <stdio.h>

static nb_status run(const cli_args *a, nb_error *err)
{
    const char *path = cli_word(a, 0);
    char *text = NULL;
    if (!path)
        return cli_fail(err, NB_USAGE,
                        "inspect: takes a path: a model, adapter, checkpoint or tokenizer "
                        "folder, or a .safetensors file");
    nb_status st = nb_inspect(path, cli_flag(a, "tensors"), cli_flag(a, "json"), &text, err);
    if (st == NB_OK)
        fputs(text, stdout);
    nb_free(text);
    return st;
}

static const cli_option options[] = {
    {"tensors", "bool", "list every tensor"},
    {"json", "bool", "one JSON object"},
    {NULL, NULL, NULL},
};

const cli_command cmd_inspect = {
    .name = "inspect",
    .words = "PATH",
    .max_words = 1,
    .summary = "what a model, adapter, checkpoint, tokenizer or tensor file is",
    .text = "Says what is there, its sizes and types.",
    .options = options,
    .run = run,
};
