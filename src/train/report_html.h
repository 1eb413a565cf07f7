/* SPDX-License-Identifier: MIT */
/* The pieces a page is made of: escaped text, the frame with its style sheet, charts. A page is one
 * file without anything from elsewhere; its script only shows values under the pointer. Appending
 * never fails by itself: nbi_strbuf remembers. */
#ifndef NBI_REPORT_HTML_H
#define NBI_REPORT_HTML_H

#include "train/run_record.h"

/* Text between tags or inside a quoted attribute: & < > " ' escaped, control characters, ill-formed
 * UTF-8 and overrides of the writing direction replaced by U+FFFD. */
void nbi_html_text(nbi_strbuf *b, const char *s, size_t n);
void nbi_html_str(nbi_strbuf *b, const char *s);
/* A number with `digits` significant digits, "not finite" for NaN and infinities. */
void nbi_html_number(nbi_strbuf *b, double v, int digits);

void nbi_html_begin(nbi_strbuf *b, const char *title);
void nbi_html_end(nbi_strbuf *b);
/* <h2>; `id` is a plain word. */
void nbi_html_heading(nbi_strbuf *b, const char *id, const char *title);

#define NBI_CURVES_MAX 12
#define NBI_CURVE_POINTS 2000

typedef struct nbi_curve {
    const char *label;
    int colour;      /* 1 .. 8 */
    bool faint;      /* drawn behind a smoothed one */
    bool dots;       /* a dot at each point */
    nbi_points p;    /* ascending in x; thinned by the chart */
    nbi_points base; /* of an area: its lower border, as many points; else empty */
} nbi_curve;

typedef struct nbi_chart {
    const char *title, *note; /* note: what is shown, with its unit */
    bool wide, from_zero;
    bool bytes; /* ticks in MiB or GiB */
    nbi_curve curve[NBI_CURVES_MAX];
    size_t n;
} nbi_chart;

/* Appends the chart; nothing when it has no finite point. Frees the points in any case. */
void nbi_html_chart(nbi_strbuf *b, nbi_chart *c);

/* Ticks at round values: the first multiple of the step at or below lo, and so on. */
typedef struct nbi_axis {
    double lo, hi, step;
    int n; /* ticks: lo + i * step, i < n */
} nbi_axis;

/* An axis that holds [lo, hi] with about `want` steps. */
nbi_axis nbi_axis_make(double lo, double hi, int want);

#endif
