/* SPDX-License-Identifier: MIT */
/* Pages of runs: report.html of one, the comparison of several. */
#ifndef NBI_REPORT_PAGE_H
#define NBI_REPORT_PAGE_H

#include "train/report_html.h"

/* Appends a whole page. n = 1: everything known of that run; n > 1: curves in one picture each, a
 * table of figures, and the settings that differ. At most NBI_CURVES_MAX runs. NB_NOMEM. */
nb_status nbi_report_page(const nbi_run_record *runs, size_t n, nbi_strbuf *out,
                          nb_error *err) NB_MUST_CHECK;

/* The parts, in their order. */
void nbi_page_tiles(nbi_strbuf *b, const nbi_run_record *r, const nbi_run_summary *s);
nb_status nbi_page_charts(nbi_strbuf *b, const nbi_run_record *runs, size_t n,
                          nb_error *err) NB_MUST_CHECK;
void nbi_page_details(nbi_strbuf *b, const nbi_run_record *r, const nbi_run_summary *s);
void nbi_page_comparison(nbi_strbuf *b, const nbi_run_record *runs, size_t n);

/* Settings in which runs differ: name and value by run. `visit` is called for each. */
typedef void nbi_setting_visit(void *user, const char *key, const nbi_json *const *values,
                               size_t n);
void nbi_settings_that_differ(const nbi_run_record *runs, size_t n, nbi_setting_visit *visit,
                              void *user);

#endif
