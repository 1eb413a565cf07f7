/* SPDX-License-Identifier: MIT */
/* Runs on a terminal: figures, sparkline curves, settings that differ; and as JSON. */
#ifndef NBI_REPORT_TEXT_H
#define NBI_REPORT_TEXT_H

#include "train/run_record.h"

/* Appends lines of at most `width` columns where names allow it. `blocks`: curves of the characters
 * U+2581..U+2588, else of ASCII. n <= NBI_CURVES_MAX. */
nb_status nbi_report_text(const nbi_run_record *runs, size_t n, bool blocks, int width,
                          nbi_strbuf *out, nb_error *err) NB_MUST_CHECK;
/* A table of training loss and evaluation losses by evaluated step; nothing without any. */
void nbi_report_ends(const nbi_run_record *r, nbi_strbuf *out);
/* One object with a list `runs`, one line. */
void nbi_report_json(const nbi_run_record *runs, size_t n, nbi_strbuf *out);

/* Appends `columns` characters that show the curve between `lo` and `hi`: the mean of the points in
 * each part, or of the
 * line between its neighbours; a blank outside the curve, "!" where one is not finite. */
void nbi_sparkline(nbi_strbuf *out, const nbi_points *p, double x0, double x1, double lo, double hi,
                   int columns, bool blocks);

#endif
