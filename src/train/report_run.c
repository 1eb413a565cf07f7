/* SPDX-License-Identifier: MIT */
/* nb_report_runs: reads the runs and hands them to the form asked for. */
#include "nibble/report.h"

#include <string.h>
#include "base/fail.h"
#include "base/safefile.h"
#include "train/report_page.h"
#include "train/report_text.h"

_Static_assert(NB_REPORT_RUNS_MAX == NBI_CURVES_MAX, "a curve for each run");

static nb_status render(const nbi_run_record *r, size_t n, nb_report_form form, int width,
                        nbi_strbuf *out, nb_error *err)
{
    switch (form) {
    case NB_REPORT_JSON:
        nbi_report_json(r, n, out);
        break;
    case NB_REPORT_ENDS:
        nbi_report_ends(&r[0], out);
        break;
    case NB_REPORT_HTML:
        return nbi_report_page(r, n, out, err);
    case NB_REPORT_TABLE:
    case NB_REPORT_ASCII:
        NBI_TRY(nbi_report_text(r, n, form == NB_REPORT_TABLE, width, out, err));
        break;
    }
    return nbi_strbuf_check(out, err);
}

static nb_status report(const char *const *runs, size_t n, nb_report_form form, int width,
                        nbi_strbuf *out, nb_error *err)
{
    nbi_run_record r[NB_REPORT_RUNS_MAX];
    nb_status st = NB_OK;
    size_t read = 0;
    if (n < 1 || n > NB_REPORT_RUNS_MAX)
        return nbi_fail(err, NB_USAGE, "report: takes 1 to %d runs, found %zu", NB_REPORT_RUNS_MAX,
                        n);
    while (st == NB_OK && read < n) {
        st = nbi_run_record_read(&r[read], runs[read], err);
        read++;
    }
    if (st == NB_OK)
        st = render(r, n, form, width, out, err);
    for (size_t i = 0; i < read; i++)
        nbi_run_record_close(&r[i]);
    return st;
}

nb_status nb_report_runs(const char *const *runs, size_t n, nb_report_form form, int width,
                         char **text, nb_error *err)
{
    nbi_strbuf out = {0};
    *text = NULL;
    nb_status st = report(runs, n, form, width, &out, err);
    if (st == NB_OK && !out.s) /* a text in any case */
        nbi_strbuf_puts(&out, "");
    if (st == NB_OK)
        st = nbi_strbuf_check(&out, err);
    if (st == NB_OK)
        *text = out.s;
    else
        nbi_strbuf_free(&out);
    return st;
}

nb_status nb_report_write(const char *const *runs, size_t n, const char *path, nb_error *err)
{
    nbi_strbuf out = {0};
    nb_status st = report(runs, n, NB_REPORT_HTML, 0, &out, err);
    if (st == NB_OK)
        st = nbi_write_file(path, out.s, out.n, err);
    nbi_strbuf_free(&out);
    return st;
}
