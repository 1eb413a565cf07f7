/* SPDX-License-Identifier: MIT */
/* Tables and pages of runs, by their train_log.jsonl: of finished runs, stopped ones, and those
 * that go on. */
#ifndef NIBBLE_REPORT_H
#define NIBBLE_REPORT_H

#include <stddef.h>
#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define NB_REPORT_RUNS_MAX 12

typedef enum nb_report_form {
    NB_REPORT_TABLE, /* figures, curves of block characters (UTF-8), settings that differ */
    NB_REPORT_ASCII, /* the same without any character beyond ASCII */
    NB_REPORT_ENDS,  /* what stands at the end of a training: a table of step, epoch, training loss
                      * and evaluation losses, at most 40 rows; ASCII, "" without evaluations */
    NB_REPORT_JSON,  /* one object on one line, ASCII */
    NB_REPORT_HTML   /* one self-contained page */
} nb_report_form;

/* Reports on 1 to NB_REPORT_RUNS_MAX runs; a run is a folder with train_log.jsonl, or such a file.
 * `width`: columns of the terminal, for the tables. *text is freed with nb_free. NB_USAGE for a
 * wrong number of runs, NB_NOTFOUND, NB_FORMAT with file and line. */
nb_status nb_report_runs(const char *const *runs, size_t n, nb_report_form form, int width,
                         char **text, nb_error *err) NB_MUST_CHECK;
/* Writes the page into a file, whole or not at all. */
nb_status nb_report_write(const char *const *runs, size_t n, const char *path,
                          nb_error *err) NB_MUST_CHECK;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
