/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <langinfo.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int columns(void)
{
    struct winsize w = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 120;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    const char *runs[NB_REPORT_RUNS_MAX], *html = cli_get(a, "html");
    char *text = NULL;
    int64_t width = columns();
    size_t n = 0;
    for (const char *word; n < NB_REPORT_RUNS_MAX && (word = cli_word(a, n)); n++)
        runs[n] = word;
    if (n == 0)
        return cli_fail(err, NB_USAGE, "report: takes the output folders of one or more runs");
    nb_status st = cli_int(a, "width", 40, 1000, &width, err);
    if (st == NB_OK && html)
        st = nb_report_write(runs, n, html, err);
    if (st == NB_OK && html)
        fprintf(stderr, "wrote %s\n", html);
    if (st != NB_OK || (html && !cli_flag(a, "json")))
        return st;
    const bool utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    const nb_report_form form = cli_flag(a, "json") ? NB_REPORT_JSON
                                : utf8              ? NB_REPORT_TABLE
                                                    : NB_REPORT_ASCII;
    st = nb_report_runs(runs, n, form, (int)width, &text, err);
    if (st == NB_OK)
        fputs(text, stdout);
    nb_free(text);
    return st;
}

static const cli_option options[] = {
    {"html", "FILE", "write one page with all curves instead of printing"},
    {"json", "bool", "one JSON object"},
    {"width", "N", "columns to print into; default: the terminal's, else 120"},
    {NULL, NULL, NULL},
};

const cli_command cmd_report = {
    .name = "report",
    .words = "RUN [RUN...]",
    .max_words = NB_REPORT_RUNS_MAX,
    .summary = "figures and curves of runs, side by side, on the terminal or as a page",
    .text = "Takes output folders (or train_log.jsonl files) of finished runs, stopped ones, and "
            "those that go on.",
    .options = options,
    .run = run,
};
