/* SPDX-License-Identifier: MIT */
/* Command lines: `nibble COMMAND [words] [--key value | --key=value | --switch]`. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nibble/nibble.h"

/* An option of one command (recipe keys come on top for commands that take a recipe). */
typedef struct cli_option {
    const char *name; /* without dashes */
    const char
        *type; /* "bool" options may stand without a value; else shown in the help: "N", "FILE" */
    const char *help;
} cli_option;

typedef struct cli_arg {
    const char *key; /* NULL: a plain word */
    const char *value;
} cli_arg;

typedef struct cli_args {
    const struct cli_command *command;
    cli_arg *v;
    size_t n;
    bool help;
} cli_args;

/* A command: one file and one line in main.c. */
typedef struct cli_command {
    const char *name, *words, *summary;
    const char *text; /* paragraphs below the usage line */
    bool recipe;      /* every recipe key is a flag */
    size_t max_words;
    const cli_option *options; /* up to a NULL name */
    nb_status (*run)(const cli_args *a, nb_error *err);
} cli_command;

/* Splits argv after the command's name; unknown flags are NB_USAGE with the nearest known one. The
 * array is freed with free(). */
nb_status cli_args_parse(cli_args *a, const cli_command *c, int argc, char **argv, nb_error *err);
/* Value of an own option or recipe key, NULL when not given; the last one wins. */
const char *cli_get(const cli_args *a, const char *key);
bool cli_flag(const cli_args *a, const char *key);
nb_status cli_int(const cli_args *a, const char *key, int64_t min, int64_t max, int64_t *r,
                  nb_error *err);
nb_status cli_double(const cli_args *a, const char *key, double min, double max, double *r,
                     nb_error *err);
/* i-th plain word, NULL past the end. */
const char *cli_word(const cli_args *a, size_t i);
/* A recipe from the first word (a YAML file, when `file` is set and there is one) and all recipe
 * keys among the flags. */
nb_status cli_recipe(const cli_args *a, bool file, nb_recipe **r, nb_error *err);
nb_status cli_fail(nb_error *err, nb_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void cli_help(const cli_command *c);

/* The sink that prints the library's messages to stderr. */
extern const nb_log cli_log;
/* Set by SIGINT, SIGTERM and SIGHUP; a second SIGINT ends the process at once. */
extern volatile sig_atomic_t cli_stop;
/* `saves`: the first SIGINT says on a terminal that what was done is being saved. */
void cli_catch_signals(bool saves);
/* True when stdout is a terminal and NO_COLOR is not set. */
bool cli_colour(void);
/* NB_IO as soon as something could not be written to stdout (full disk, closed pipe), so that long
 * listings end there. */
nb_status cli_output(nb_error *err);

#endif
