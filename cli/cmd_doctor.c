/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <stdio.h>

static nb_status run(const cli_args *a, nb_error *err)
{
    char *text = NULL;
    int64_t threads = 0;
    nb_status st = cli_int(a, "threads", 0, 4096, &threads, err);
    if (st == NB_OK)
        st = nb_doctor(cli_get(a, "cpumask"), (int)threads, cli_flag(a, "json"), &text, err);
    if (st == NB_OK)
        fputs(text, stdout);
    nb_free(text);
    return st;
}

static const cli_option options[] = {
    {"threads", "N", "threads to measure with [all]"},
    {"cpumask", "LEVEL", "highest instruction set to use: ref, avx2, avx512, avx512bf16, amx"},
    {"json", "bool", "one JSON object"},
    {NULL, NULL, NULL},
};

const cli_command cmd_doctor = {
    .name = "doctor",
    .words = "",
    .summary = "CPU features, chosen kernels, memory, measured speed",
    .text = "Says what this machine offers and what nibble makes of it.",
    .options = options,
    .run = run,
};
