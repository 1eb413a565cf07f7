/* SPDX-License-Identifier: MIT */
#include "train/report_text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/quantity.h"
#include "train/report_page.h"

/* ---- curves ---- */

/* On the line from the point before `at` to it; NaN outside the curve. */
static double between(const nbi_points *p, size_t at, double x)
{
    if (at == 0 || at >= p->n)
        return NAN;
    const nbi_point a = p->v[at - 1], b = p->v[at];
    return a.y + (b.y - a.y) * (x - a.x) / (b.x - a.x);
}

void nbi_sparkline(nbi_strbuf *out, const nbi_points *p, double x0, double x1, double lo, double hi,
                   int columns, bool blocks)
{
    static const char *const block[] = {"\xe2\x96\x81", "\xe2\x96\x82", "\xe2\x96\x83",
                                        "\xe2\x96\x84", "\xe2\x96\x85", "\xe2\x96\x86",
                                        "\xe2\x96\x87", "\xe2\x96\x88"};
    static const char *const plain[] = {"_", ".", ",", "-", "~", "=", "*", "#"};
    size_t at = 0;
    for (int i = 0; i < columns; i++) {
        const double end = x0 + (x1 - x0) * (i + 1) / columns;
        double sum = 0;
        int n = 0;
        bool odd = false;
        for (; at < p->n && (p->v[at].x <= end || i + 1 == columns); at++) {
            odd = odd || !isfinite(p->v[at].y);
            sum += p->v[at].y;
            n++;
        }
        const double y = n ? sum / n : between(p, at, end - (x1 - x0) / columns / 2);
        const double part = hi > lo ? (y - lo) / (hi - lo) : 0.5;
        if (odd || isnan(y))
            nbi_strbuf_putc(out, odd ? '!' : ' ');
        else
            nbi_strbuf_puts(out, (blocks ? block : plain)[(int)fmin(fmax(part * 8, 0), 7)]);
    }
}

typedef struct curves {
    nbi_points p[NBI_CURVES_MAX];
    double x0, x1, lo, hi;
    bool log; /* heights are logarithms */
} curves;

/* What falls to a small part of where it began shows nothing more on a linear scale of 8 steps. */
static void take_logarithms(curves *c, size_t n)
{
    c->log = c->lo > 0 && c->hi > 8 * c->lo;
    for (size_t i = 0; c->log && i < n; i++)
        for (size_t j = 0; j < c->p[i].n; j++)
            c->p[i].v[j].y = log(c->p[i].v[j].y);
}

static double height_of(const curves *c, double y)
{
    return c->log ? exp(y) : y;
}

static void measure(curves *c, size_t n)
{
    c->x0 = c->lo = INFINITY;
    c->x1 = c->hi = -INFINITY;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < c->p[i].n; j++) {
            const nbi_point v = c->p[i].v[j];
            c->x0 = fmin(c->x0, v.x), c->x1 = fmax(c->x1, v.x);
            if (isfinite(v.y))
                c->lo = fmin(c->lo, v.y), c->hi = fmax(c->hi, v.y);
        }
}

static size_t widest_name(const nbi_run_record *runs, size_t n)
{
    size_t most = 3;
    for (size_t i = 0; i < n; i++) {
        char clean[512];
        nbi_fail_clean(clean, sizeof clean, runs[i].name);
        const size_t len = strlen(clean);
        most = len > most ? len : most;
    }
    return most > 40 ? 40 : most;
}

/* A name cut in front, where paths are alike; as one harmless line. */
static void put_name(nbi_strbuf *out, const char *name, size_t width)
{
    char clean[512];
    nbi_fail_clean(clean, sizeof clean, name);
    const size_t len = strlen(clean);
    if (len > width)
        nbi_strbuf_printf(out, "..%s", clean + len - width + 2);
    else
        nbi_strbuf_printf(out, "%-*s", (int)width, clean);
}

/* One line a run, all to the same scale. */
static nb_status put_curves(nbi_strbuf *out, const nbi_run_record *runs, size_t n, const char *name,
                            const char *title, bool blocks, int width, nb_error *err)
{
    curves c = {.x0 = 0};
    nb_status st = NB_OK;
    const size_t room = widest_name(runs, n);
    const int columns = width - (int)room - 26;
    for (size_t i = 0; st == NB_OK && i < n; i++)
        st = nbi_points_of(&runs[i], name, &c.p[i], err);
    measure(&c, n);
    if (st == NB_OK && c.hi >= c.lo) {
        const double lo = c.lo, hi = c.hi;
        take_logarithms(&c, n);
        if (c.log)
            c.lo = log(lo), c.hi = log(hi);
        nbi_strbuf_printf(out, "\n%s, %.4g to %.4g%s, steps %.0f to %.0f\n", title, lo, hi,
                          c.log ? " (logarithmic)" : "", c.x0, c.x1);
        for (size_t i = 0; i < n; i++) {
            if (!c.p[i].n)
                continue;
            put_name(out, runs[i].name, room);
            nbi_strbuf_printf(out, "  %9.4g  ", height_of(&c, c.p[i].v[0].y));
            nbi_sparkline(out, &c.p[i], c.x0, c.x1, c.lo, c.hi,
                          columns < 8     ? 8
                          : columns > 100 ? 100
                                          : columns,
                          blocks);
            nbi_strbuf_printf(out, "  %.4g\n", height_of(&c, c.p[i].v[c.p[i].n - 1].y));
        }
    }
    for (size_t i = 0; i < n; i++)
        nbi_array_free(&c.p[i]);
    return st;
}

/* ---- figures ---- */

static void put_number(nbi_strbuf *out, int width, double v, const char *format)
{
    char text[32] = "-";
    if (!isnan(v))
        snprintf(text, sizeof text, format, v);
    nbi_strbuf_printf(out, "  %*s", width, text);
}

static void put_figures(nbi_strbuf *out, const nbi_run_record *r, size_t room)
{
    nbi_run_summary s;
    char x[32], steps[48];
    nbi_run_summarise(r, &s);
    put_name(out, r->name, room);
    if (s.total_steps > 0 && s.steps != s.total_steps)
        snprintf(steps, sizeof steps, "%lld/%lld", (long long)s.steps, (long long)s.total_steps);
    else
        snprintf(steps, sizeof steps, "%lld", (long long)s.steps);
    nbi_strbuf_printf(out, "  %11s", steps);
    put_number(out, 8, s.loss_last, "%.4g");
    put_number(out, 8, s.eval_first, "%.4g");
    put_number(out, 8, s.eval_best, "%.4g");
    put_number(out, 8, s.eval_last, "%.4g");
    put_number(out, 8, s.learning_rate, "%.3g");
    put_number(out, 8, s.tokens_per_second, "%.0f");
    nbi_strbuf_printf(out, "  %10s", s.peak_bytes > 0 ? nbi_format_bytes(s.peak_bytes, x) : "-");
    nbi_strbuf_printf(out, "  %s\n", s.seconds > 0 ? nbi_format_duration(s.seconds, x) : s.state);
}

static void put_setting(void *user, const char *key, const nbi_json *const *values, size_t n)
{
    nbi_strbuf *out = user;
    nbi_strbuf_printf(out, "%-28s", key);
    for (size_t i = 0; i < n; i++) {
        nbi_strbuf v = {0};
        char clean[512];
        nbi_run_show_value(values[i], &v);
        nbi_fail_clean(clean, sizeof clean, v.n ? nbi_strbuf_str(&v) : "-");
        nbi_strbuf_printf(out, "  %s%s", clean, i + 1 < n ? "" : "\n");
        nbi_strbuf_free(&v);
    }
}

nb_status nbi_report_text(const nbi_run_record *runs, size_t n, bool blocks, int width,
                          nbi_strbuf *out, nb_error *err)
{
    const size_t room = widest_name(runs, n);
    nbi_strbuf_printf(out, "%-*s  %11s  %8s  %8s  %8s  %8s  %8s  %8s  %10s  %s\n", (int)room, "run",
                      "steps", "loss", "eval", "best", "last", "rate", "tokens/s", "peak", "time");
    for (size_t i = 0; i < n; i++)
        put_figures(out, &runs[i], room);
    NBI_TRY(put_curves(out, runs, n, "loss", "training loss", blocks, width, err));
    NBI_TRY(put_curves(out, runs, n, "eval_loss", "evaluation loss", blocks, width, err));
    NBI_TRY(put_curves(out, runs, n, "learning_rate", "learning rate", blocks, width, err));
    NBI_TRY(put_curves(out, runs, n, "grad_norm", "gradient norm", blocks, width, err));
    if (n > 1) {
        nbi_strbuf differ = {0};
        nbi_settings_that_differ(runs, n, put_setting, &differ);
        if (differ.n)
            nbi_strbuf_printf(out, "\nsettings that differ\n%s", nbi_strbuf_str(&differ));
        nbi_strbuf_free(&differ);
    }
    return NB_OK;
}

/* ---- the table at the end of a training ---- */

enum { SETS_MAX = 4, ROWS_MAX = 40 };

typedef struct ends {
    const nbi_history *h;
    const char *set[SETS_MAX]; /* names of losses */
    size_t n;
} ends;

/* The losses of the sets at this step, which are entries of their own; true when there is one. */
static bool losses_at(const ends *t, size_t *entry, double v[SETS_MAX])
{
    const nbi_history *h = t->h;
    const int64_t step = h->entries.v[*entry].step;
    bool any = false;
    for (size_t j = 0; j < SETS_MAX; j++)
        v[j] = NAN;
    for (; *entry < h->entries.n && h->entries.v[*entry].step == step; ++*entry)
        for (size_t j = 0; j < t->n; j++) {
            const double x = nbi_history_value(h, &h->entries.v[*entry], t->set[j]);
            v[j] = isnan(x) ? v[j] : x;
            any = any || !isnan(x);
        }
    return any;
}

static size_t walk_ends(const ends *t, size_t every, size_t last, nbi_strbuf *out)
{
    double loss = NAN, v[SETS_MAX];
    size_t rows = 0;
    for (size_t i = 0; i < t->h->entries.n;) {
        const nbi_entry *e = &t->h->entries.v[i];
        if (!isnan(nbi_history_value(t->h, e, "learning_rate"))) /* a logged step */
            loss = nbi_history_value(t->h, e, "loss");
        if (!losses_at(t, &i, v))
            continue;
        if (out && (rows % every == 0 || rows + 1 == last)) {
            nbi_strbuf_printf(out, "%8lld  %7.2f", (long long)e->step, e->epoch);
            put_number(out, 13, loss, "%.4f");
            for (size_t j = 0; j < t->n; j++)
                put_number(out, 15, v[j], "%.4f");
            nbi_strbuf_putc(out, '\n');
        }
        rows++;
    }
    return rows;
}

void nbi_report_ends(const nbi_run_record *r, nbi_strbuf *out)
{
    ends t = {.h = r->history};
    for (size_t i = 0; i < t.h->names.n && t.n < SETS_MAX; i++)
        if (nbi_is_eval_loss(t.h->names.v[i]))
            t.set[t.n++] = t.h->names.v[i];
    const size_t rows = walk_ends(&t, 1, 0, NULL);
    if (rows == 0)
        return;
    nbi_strbuf_printf(out, "%8s  %7s  %13s", "step", "epoch", "training loss");
    for (size_t j = 0; j < t.n; j++) {
        char clean[128];
        nbi_fail_clean(clean, sizeof clean, t.set[j]);
        nbi_strbuf_printf(out, "  %15s", strcmp(clean, "eval_loss") ? clean : "evaluation loss");
    }
    nbi_strbuf_putc(out, '\n');
    walk_ends(&t, (rows + ROWS_MAX - 1) / ROWS_MAX, rows, out);
}

/* ---- JSON ---- */

static void member(nbi_json_writer *w, const char *key, double v)
{
    nbi_jw_key(w, key);
    if (isnan(v))
        nbi_jw_null(w);
    else
        nbi_jw_f64(w, v);
}

static void put_json(nbi_json_writer *w, const nbi_run_record *r)
{
    nbi_run_summary s;
    const nbi_json *settings = nbi_json_get(r->header, "settings");
    nbi_run_summarise(r, &s);
    nbi_jw_object(w);
    nbi_jw_member_str(w, "run", r->name);
    nbi_jw_member_str(w, "state", s.state);
    nbi_jw_member_i64(w, "steps", s.steps);
    nbi_jw_member_i64(w, "total_steps", s.total_steps);
    member(w, "epoch", s.epoch);
    member(w, "loss_first", s.loss_first);
    member(w, "loss_last", s.loss_last);
    member(w, "eval_loss_first", s.eval_first);
    member(w, "eval_loss_best", s.eval_best);
    nbi_jw_member_i64(w, "eval_loss_best_step", s.eval_best_step);
    member(w, "eval_loss_last", s.eval_last);
    member(w, "learning_rate", s.learning_rate);
    member(w, "tokens_per_second", s.tokens_per_second);
    member(w, "seconds", s.seconds);
    member(w, "peak_bytes", s.peak_bytes);
    member(w, "planned_peak_bytes", s.planned_bytes);
    nbi_jw_key(w, "settings");
    if (settings)
        nbi_jw_tree(w, settings);
    else
        nbi_jw_null(w);
    nbi_jw_object_end(w);
}

void nbi_report_json(const nbi_run_record *runs, size_t n, nbi_strbuf *out)
{
    nbi_json_writer w;
    nbi_json_writer_init(&w, out, 0, true);
    nbi_jw_object(&w);
    nbi_jw_key(&w, "runs");
    nbi_jw_array(&w);
    for (size_t i = 0; i < n; i++)
        put_json(&w, &runs[i]);
    nbi_jw_array_end(&w);
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(out, '\n');
}
