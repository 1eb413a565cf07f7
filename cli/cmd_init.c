/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <stdio.h>

static nb_status run(const cli_args *a, nb_error *err)
{
    const char *config = cli_word(a, 0), *dir = cli_word(a, 1), *dtype = cli_get(a, "dtype");
    int64_t seed = 42;
    if (!config || !dir)
        return cli_fail(
            err, NB_USAGE,
            "init: takes a config.json and the folder to make: nibble init CONFIG.json DIR");
    nb_status st = cli_int(a, "seed", 0, INT64_MAX, &seed, err);
    if (st == NB_OK)
        st = nb_init_model(config, dir, (uint64_t)seed, dtype ? dtype : "float32", err);
    if (st == NB_OK)
        printf("made %s (random weights, seed %lld)\n", dir, (long long)seed);
    return st;
}

static const cli_option options[] = {
    {"seed", "N", "seed of the random weights [42]"},
    {"dtype", "TYPE", "float32, bfloat16 or float16 [float32]"},
    {NULL, NULL, NULL},
};

const cli_command cmd_init = {
    .name = "init",
    .words = "CONFIG.json DIR",
    .max_words = 2,
    .summary = "make a model of random weights from a config.json",
    .text = "Writes a Hugging Face folder; tokenizer files beside the config.json come along.",
    .options = options,
    .run = run,
};
