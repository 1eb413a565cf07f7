/* SPDX-License-Identifier: MIT */
/* Charts as SVG that stretches with the page: lines are drawn in a square of 1000 units that takes
 * the shape of its box, ticks and labels are text beside it and keep their size. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/quantity.h"
#include "train/report_html.h"

#define SIDE 1000.0

nbi_axis nbi_axis_make(double lo, double hi, int want)
{
    if (!(hi > lo)) { /* a constant curve lies in the middle */
        const double room = lo != 0 ? fabs(lo) * 0.5 : 1;
        lo -= room;
        hi += room;
    }
    const double raw = (hi - lo) / want, power = pow(10, floor(log10(raw))), m = raw / power;
    const double step = (m <= 1.001                  ? 1
                         : m <= 2.001                ? 2
                         : m <= 2.501 && power >= 10 ? 2.5
                         : m <= 5.001                ? 5
                                                     : 10) *
                        power;
    nbi_axis a = {.lo = floor(lo / step + 1e-9) * step, .step = step};
    a.n = (int)ceil((hi - a.lo) / step - 1e-9) + 1;
    a.hi = a.lo + (a.n - 1) * step;
    return a;
}

static void tick_text(double v, double step, char buf[40])
{
    const double size = fabs(v);
    char whole[32];
    if (size < step * 1e-6)
        snprintf(buf, 40, "0");
    else if (size >= 1e9 || step < 1e-3)
        snprintf(buf, 40, "%.3g", v);
    else if (step >= 1)
        snprintf(buf, 40, "%s", nbi_format_grouped((int64_t)llround(v), whole));
    else
        snprintf(buf, 40, "%.*f", (int)ceil(-log10(step) - 1e-9), v);
}

typedef struct frame {
    double x0, x1, y0, y1;
    double unit; /* of the ticks of y */
    const char *unit_text;
    nbi_axis y;
    size_t odd; /* points that are not finite */
} frame;

/* False: nothing to show. */
static bool measure(const nbi_chart *c, frame *f)
{
    double x0 = INFINITY, x1 = -INFINITY, y0 = INFINITY, y1 = -INFINITY;
    for (size_t i = 0; i < c->n; i++) {
        const nbi_points *p = &c->curve[i].p;
        for (size_t j = 0; j < p->n; j++) {
            if (!isfinite(p->v[j].y)) {
                f->odd++;
                continue;
            }
            x0 = fmin(x0, p->v[j].x), x1 = fmax(x1, p->v[j].x);
            y0 = fmin(y0, p->v[j].y), y1 = fmax(y1, p->v[j].y);
        }
    }
    if (!(x1 >= x0))
        return false;
    f->x0 = x0 <= 0.3 * x1 ? 0 : x0;
    f->x1 = x1 > f->x0 ? x1 : f->x0 + 1;
    /* an axis begins at zero unless that would flatten the curve */
    if (y0 >= 0 && y1 > 0 && (c->from_zero || y0 <= 0.4 * y1))
        y0 = 0;
    f->unit = 1;
    f->unit_text = "";
    if (c->bytes) {
        f->unit = y1 >= 4.0 * (1u << 30) ? 1u << 30 : 1u << 20;
        f->unit_text = f->unit > (1u << 20) ? " GiB" : " MiB";
    }
    f->y = nbi_axis_make(y0 / f->unit, y1 / f->unit, 5);
    f->y0 = f->y.lo * f->unit;
    f->y1 = f->y.hi * f->unit;
    return true;
}

/* ---- lines ---- */

static void coordinate(nbi_strbuf *b, double v)
{
    char s[32];
    int n = snprintf(s, sizeof s, "%.2f", v);
    while (n > 1 && s[n - 1] == '0')
        n--;
    n -= s[n - 1] == '.';
    nbi_strbuf_add(b, s, (size_t)n);
}

static void point(nbi_strbuf *b, const frame *f, char command, double x, double y)
{
    nbi_strbuf_putc(b, command);
    coordinate(b, (x - f->x0) / (f->x1 - f->x0) * SIDE);
    nbi_strbuf_putc(b, ' ');
    coordinate(b, (1 - (y - f->y0) / (f->y1 - f->y0)) * SIDE);
}

static void begin_path(nbi_strbuf *b, const nbi_curve *c, const char *kind)
{
    nbi_strbuf_printf(b, "<path class=\"%s k%d%s\" data-name=\"", kind, c->colour,
                      c->faint ? " faint" : "");
    nbi_html_str(b, c->label);
    nbi_strbuf_puts(b, "\" d=\"");
}

static void draw_line(nbi_strbuf *b, const nbi_curve *c, const frame *f)
{
    bool pen = false;
    begin_path(b, c, "line");
    for (size_t i = 0; i < c->p.n; i++) {
        const nbi_point *p = &c->p.v[i];
        if (isfinite(p->y))
            point(b, f, pen ? 'L' : 'M', p->x, p->y);
        pen = isfinite(p->y);
    }
    nbi_strbuf_puts(b, "\"/>");
    if (c->p.n > 60 || (!c->dots && c->p.n > 1))
        return;
    nbi_strbuf_printf(b, "<path class=\"dots k%d\" d=\"", c->colour);
    for (size_t i = 0; i < c->p.n; i++)
        if (isfinite(c->p.v[i].y)) {
            point(b, f, 'M', c->p.v[i].x, c->p.v[i].y);
            nbi_strbuf_puts(b, "h0");
        }
    nbi_strbuf_puts(b, "\"/>");
}

static void draw_area(nbi_strbuf *b, const nbi_curve *c, const frame *f)
{
    begin_path(b, c, "area");
    for (size_t i = 0; i < c->p.n; i++)
        point(b, f, i ? 'L' : 'M', c->p.v[i].x, c->p.v[i].y);
    for (size_t i = c->base.n; i-- > 0;)
        point(b, f, 'L', c->base.v[i].x, c->base.v[i].y);
    nbi_strbuf_puts(b, "Z\"/>");
}

/* ---- axes ---- */

static void draw_axes(nbi_strbuf *b, const frame *f)
{
    nbi_strbuf_puts(b, "<path class=\"grid\" d=\"");
    for (int i = 1; i < f->y.n; i++) {
        nbi_strbuf_puts(b, "M0 ");
        coordinate(b, SIDE - SIDE * i / (f->y.n - 1));
        nbi_strbuf_puts(b, "H1000");
    }
    nbi_strbuf_puts(b, "\"/><path class=\"axis\" d=\"M0 1000H1000\"/>");
}

static void label_axes(nbi_strbuf *b, const frame *f)
{
    char text[40];
    for (int i = 0; i < f->y.n; i++) {
        tick_text(f->y.lo + i * f->y.step, f->y.step, text);
        nbi_strbuf_printf(b, "<span class=\"y\" style=\"bottom:%.2f%%\">%s%s</span>",
                          100.0 * i / (f->y.n - 1), text, i == f->y.n - 1 ? f->unit_text : "");
    }
    const nbi_axis x = nbi_axis_make(f->x0, f->x1, 6);
    const double step = fmax(x.step, 1); /* updates are whole */
    for (int i = 0; i < x.n; i++) {
        const double v = ceil(x.lo / step) * step + i * step;
        if (v < f->x0 || v > f->x1)
            continue;
        tick_text(v, step, text);
        nbi_strbuf_printf(b, "<span class=\"x\" style=\"left:%.2f%%\">%s</span>",
                          100 * (v - f->x0) / (f->x1 - f->x0), text);
    }
    nbi_strbuf_puts(b, "<span class=\"u\">step</span>");
}

static void caption(nbi_strbuf *b, const nbi_chart *c, const frame *f)
{
    nbi_strbuf_puts(b, "<figcaption><b>");
    nbi_html_str(b, c->title);
    nbi_strbuf_puts(b, "</b><span>");
    nbi_html_str(b, c->note);
    if (f->odd)
        nbi_strbuf_printf(b, "; %zu value%s not finite", f->odd, f->odd == 1 ? " is" : "s are");
    nbi_strbuf_puts(b, "</span>");
    if (c->n > 1) {
        nbi_strbuf_puts(b, "<ul class=\"key\">");
        for (size_t i = 0; i < c->n; i++) {
            const nbi_curve *k = &c->curve[i];
            nbi_strbuf_printf(b, "<li><i class=\"k%d%s%s\"></i>", k->colour,
                              k->base.n ? " box" : "", k->faint ? " faint" : "");
            nbi_html_str(b, k->label);
            nbi_strbuf_puts(b, "</li>");
        }
        nbi_strbuf_puts(b, "</ul>");
    }
    nbi_strbuf_puts(b, "</figcaption>");
}

static void draw(nbi_strbuf *b, const nbi_chart *c, const frame *f)
{
    nbi_strbuf_printf(b, "<figure%s>", c->wide ? " class=\"wide\"" : "");
    caption(b, c, f);
    nbi_strbuf_printf(b,
                      "<div class=\"plot\" data-x0=\"%.17g\" data-x1=\"%.17g\" data-y0=\"%.17g\" "
                      "data-y1=\"%.17g\"%s>",
                      f->x0, f->x1, f->y0, f->y1, c->bytes ? " data-bytes=\"1\"" : "");
    nbi_strbuf_puts(b, "<svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=\"none\" role=\"img\" "
                       "aria-label=\"");
    nbi_html_str(b, c->title);
    nbi_strbuf_puts(b, "\">");
    draw_axes(b, f);
    for (size_t i = 0; i < c->n; i++)
        if (c->curve[i].base.n)
            draw_area(b, &c->curve[i], f);
        else
            draw_line(b, &c->curve[i], f);
    nbi_strbuf_puts(b, "</svg>");
    label_axes(b, f);
    nbi_strbuf_puts(b, "</div></figure>\n");
}

void nbi_html_chart(nbi_strbuf *b, nbi_chart *c)
{
    frame f = {0};
    for (size_t i = 0; i < c->n; i++)
        if (!c->curve[i].base.n)
            nbi_points_thin(&c->curve[i].p, NBI_CURVE_POINTS);
    if (measure(c, &f))
        draw(b, c, &f);
    for (size_t i = 0; i < c->n; i++) {
        nbi_array_free(&c->curve[i].p);
        nbi_array_free(&c->curve[i].base);
    }
    c->n = 0;
}
