/* SPDX-License-Identifier: MIT */
#include "train/report_page.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/quantity.h"

/* ---- tiles ---- */

static void tile(nbi_strbuf *b, const char *value, const char *what)
{
    nbi_strbuf_puts(b, "<div class=\"tile\"><b>");
    nbi_html_str(b, value);
    nbi_strbuf_puts(b, "</b><span>");
    nbi_html_str(b, what);
    nbi_strbuf_puts(b, "</span></div>\n");
}

static void tile_change(nbi_strbuf *b, double from, double to, const char *what)
{
    char text[80];
    if (isnan(to))
        return;
    if (isnan(from))
        snprintf(text, sizeof text, "%.4g", to);
    else
        snprintf(text, sizeof text, "%.3g \xe2\x86\x92 %.3g", from, to);
    tile(b, text, what);
}

void nbi_page_tiles(nbi_strbuf *b, const nbi_run_record *r, const nbi_run_summary *s)
{
    char text[96], more[96], x[32], y[32];
    (void)r;
    nbi_strbuf_puts(b, "<div class=\"tiles\">\n");
    tile_change(b, s->eval_first, s->eval_last, "evaluation loss, first to last");
    if (s->eval_best_step >= 0 && s->eval_best < s->eval_last) {
        snprintf(text, sizeof text, "%.4g", s->eval_best);
        snprintf(more, sizeof more, "best evaluation loss, at step %lld",
                 (long long)s->eval_best_step);
        tile(b, text, more);
    }
    tile_change(b, s->loss_first, s->loss_last, "training loss, first to last");
    if (s->total_steps > 0)
        snprintf(text, sizeof text, "%s of %s", nbi_format_grouped(s->steps, x),
                 nbi_format_grouped(s->total_steps, y));
    else
        nbi_format_grouped(s->steps, text);
    snprintf(more, sizeof more, "steps, %.4g epochs", s->epoch);
    tile(b, text, more);
    if (isfinite(s->seconds))
        tile(b, nbi_format_duration(s->seconds, x), "time");
    if (isfinite(s->tokens_per_second) && s->tokens_per_second < 1e15)
        tile(b, nbi_format_grouped((int64_t)s->tokens_per_second, x), "tokens/s, median");
    if (isfinite(s->peak_bytes))
        tile(b, nbi_format_bytes(s->peak_bytes, x), "peak memory");
    if (isfinite(s->trainable) && s->parameters > 0 && s->trainable < 1e15) {
        snprintf(more, sizeof more, "trained parameters, %.3g %% of all",
                 100 * s->trainable / s->parameters);
        tile(b, nbi_format_grouped((int64_t)s->trainable, x), more);
    }
    nbi_strbuf_puts(b, "</div>\n");
}

/* ---- charts ---- */

static nb_status add_curve(nbi_chart *c, const nbi_run_record *r, const char *name,
                           const char *label, int colour, bool dots, nb_error *err)
{
    nbi_curve *k = &c->curve[c->n];
    *k = (nbi_curve){.label = label, .colour = colour, .dots = dots};
    if (c->n == NBI_CURVES_MAX)
        return NB_OK;
    nb_status st = nbi_points_of(r, name, &k->p, err);
    if (st == NB_OK && k->p.n)
        c->n++;
    else
        nbi_array_free(&k->p);
    return st;
}

enum { NOISY = 100, PART = 80 };

/* The mean of the points around each, about a fortieth of all; fewer at the ends. */
static nb_status smoothed(const nbi_points *raw, nbi_points *out, nb_error *err)
{
    const size_t n = raw->n, around = n / PART > 2 ? n / PART : 2;
    for (size_t i = 0; i < n; i++) {
        const size_t from = i < around ? 0 : i - around,
                     to = n - 1 - i < around ? n - 1 : i + around;
        double sum = 0, count = 0;
        for (size_t j = from; j <= to; j++)
            if (isfinite(raw->v[j].y))
                sum += raw->v[j].y, count++;
        const nbi_point p = {raw->v[i].x, count > 0 ? sum / count : NAN};
        if (!nbi_array_push(out, p)) {
            nbi_array_free(out);
            return nbi_fail_nomem(err, "a curve", sizeof p);
        }
    }
    return NB_OK;
}

/* Many noisy points of the last curve: a smoothed one in front of it, or (`instead`) in its place.
 */
static nb_status smooth(nbi_chart *c, const char *label, bool instead, nb_error *err)
{
    nbi_curve *raw = c->n ? &c->curve[c->n - 1] : NULL;
    nbi_points p = {0};
    if (!raw || raw->p.n < NOISY || (!instead && c->n == NBI_CURVES_MAX))
        return NB_OK;
    nbi_points_thin(&raw->p, 10 * NBI_CURVE_POINTS); /* bounds the work */
    NBI_TRY(smoothed(&raw->p, &p, err));
    if (instead) {
        nbi_array_free(&raw->p);
        memcpy(&raw->p, &p, sizeof p);
        c->note = "smoothed over a fortieth of the points";
        return NB_OK;
    }
    nbi_curve *k = &c->curve[c->n++];
    *k = (nbi_curve){.label = label, .colour = raw->colour};
    memcpy(&k->p, &p, sizeof p);
    raw->faint = true;
    return NB_OK;
}

/* Training and every evaluation set in one picture. */
static nb_status loss_chart(nbi_strbuf *b, const nbi_run_record *r, nb_error *err)
{
    nbi_chart c = {.title = "Loss", .note = "mean over trained tokens", .wide = true};
    const nbi_history *h = r->history;
    nb_status st = add_curve(&c, r, "loss", "training", 1, false, err);
    if (st == NB_OK)
        st = smooth(&c, "training, smoothed", false, err);
    for (size_t i = 0, colour = 2; st == NB_OK && i < h->names.n; i++)
        if (nbi_is_eval_loss(h->names.v[i])) {
            const char *name = h->names.v[i];
            st = add_curve(&c, r, name, strcmp(name, "eval_loss") == 0 ? "evaluation" : name,
                           (int)(colour++ - 1) % 8 + 1, true, err);
        }
    nbi_html_chart(b, &c);
    return st;
}

/* One number of all runs. */
static nb_status chart_of(nbi_strbuf *b, const nbi_run_record *runs, size_t n, const char *name,
                          nbi_chart c, nb_error *err)
{
    nb_status st = NB_OK;
    const bool eval = strncmp(name, "eval_", 5) == 0;
    const bool noisy = !eval && strcmp(name, "learning_rate") != 0;
    for (size_t i = 0; st == NB_OK && i < n; i++) {
        const size_t before = c.n;
        st = add_curve(&c, &runs[i], name, n > 1 ? runs[i].name : c.title, (int)i % 8 + 1, eval,
                       err);
        if (st == NB_OK && noisy && c.n > before)
            st = smooth(&c, "smoothed", n > 1, err);
    }
    nbi_html_chart(b, &c);
    return st;
}

/* `tags`: a bit for each tag in the band. */
static bool push_band(nbi_curve *k, const nbi_run_record *r, unsigned tags, double *floor)
{
    for (size_t i = 0; i < r->n_memory; i++) {
        const nbi_memory_sample *m = &r->memory[i];
        const nbi_point low = {(double)m->step, floor[i]};
        for (int tag = 0; tag < NBI_MEMTAG_COUNT; tag++)
            floor[i] += tags >> tag & 1 ? (double)m->bytes[tag] : 0;
        const nbi_point high = {low.x, floor[i]};
        if (!nbi_array_push(&k->base, low) || !nbi_array_push(&k->p, high))
            return false;
    }
    return true;
}

/* The tags that never reach a hundredth of the whole; "other" is one of them. */
static unsigned small_tags(const nbi_run_record *r)
{
    double most[NBI_MEMTAG_COUNT] = {0}, whole = 0;
    unsigned tags = 1u << NBI_MEM_OTHER;
    for (int tag = 0; tag < NBI_MEMTAG_COUNT; tag++) {
        for (size_t i = 0; i < r->n_memory; i++)
            most[tag] = fmax(most[tag], (double)r->memory[i].bytes[tag]);
        whole += most[tag];
    }
    for (int tag = 0; tag < NBI_MEMTAG_COUNT; tag++)
        tags |= most[tag] < 0.01 * whole ? 1u << tag : 0;
    return tags;
}

static bool fill_memory(nbi_chart *c, const nbi_run_record *r, double *floor)
{
    const unsigned small = small_tags(r);
    bool ok = true;
    for (int tag = 0; ok && tag < NBI_MEMTAG_COUNT; tag++) {
        const unsigned tags = tag == NBI_MEM_OTHER ? small : 1u << tag & ~small;
        c->curve[c->n] =
            (nbi_curve){.label = nbi_memtag_text((nbi_memtag)tag), .colour = (int)c->n % 8 + 1};
        if (tags)
            ok = push_band(&c->curve[c->n++], r, tags, floor);
    }
    return ok;
}

/* Bands on top of each other, one for each tag that counts. */
static nb_status memory_chart(nbi_strbuf *b, const nbi_run_record *r, nb_error *err)
{
    nbi_chart c = {.title = "Memory by use",
                   .note = "allocated, beside mapped files",
                   .wide = true,
                   .from_zero = true,
                   .bytes = true};
    if (r->n_memory == 0)
        return NB_OK;
    double *floor = nbi_calloc(NBI_MEM_OTHER, r->n_memory, sizeof *floor);
    const bool ok = floor && fill_memory(&c, r, floor);
    nbi_free(floor);
    nbi_html_chart(b, &c);
    return ok ? NB_OK : nbi_fail_nomem(err, "a chart of memory", 0);
}

nb_status nbi_page_charts(nbi_strbuf *b, const nbi_run_record *runs, size_t n, nb_error *err)
{
    nb_status st = NB_OK;
    nbi_strbuf_puts(b, "<div class=\"charts\">\n");
    if (n == 1) {
        NBI_TRY_GOTO(loss_chart(b, runs, err), end);
    } else {
        const nbi_chart train = {"Training loss", "mean over trained tokens", .wide = true};
        const nbi_chart eval = {"Evaluation loss", "mean over trained tokens", .wide = true};
        NBI_TRY_GOTO(chart_of(b, runs, n, "loss", train, err), end);
        NBI_TRY_GOTO(chart_of(b, runs, n, "eval_loss", eval, err), end);
    }
    const nbi_chart rate = {"Learning rate", "of the logged step", .from_zero = true};
    const nbi_chart norm = {"Gradient norm", "before clipping", .from_zero = true};
    const nbi_chart speed = {"Speed", "tokens a second", .from_zero = true};
    const nbi_chart hits = {"Token accuracy", "part of the evaluated tokens foretold right"};
    NBI_TRY_GOTO(chart_of(b, runs, n, "learning_rate", rate, err), end);
    NBI_TRY_GOTO(chart_of(b, runs, n, "grad_norm", norm, err), end);
    NBI_TRY_GOTO(chart_of(b, runs, n, "tokens_per_second", speed, err), end);
    NBI_TRY_GOTO(chart_of(b, runs, n, "eval_token_accuracy", hits, err), end);
    if (n == 1)
        NBI_TRY_GOTO(memory_chart(b, runs, err), end);
end:
    nbi_strbuf_puts(b, "</div>\n");
    return st;
}

/* ---- the whole ---- */

static void setting_word(nbi_strbuf *b, const nbi_run_record *r, const char *key,
                         const char *before)
{
    nbi_strbuf value = {0};
    nbi_run_show_value(nbi_run_setting(r, key), &value);
    if (value.n) {
        nbi_strbuf_puts(b, before);
        nbi_html_text(b, value.s, value.n);
    }
    nbi_strbuf_free(&value);
}

static void warnings(nbi_strbuf *b, const nbi_run_record *r)
{
    if (!r->n_warnings)
        return;
    nbi_strbuf_puts(b, "<ul class=\"warnings\" id=\"warnings\">\n");
    for (size_t i = 0; i < r->n_warnings; i++) {
        nbi_strbuf_puts(b, "<li>");
        nbi_html_str(b, r->warnings[i]);
        nbi_strbuf_puts(b, "</li>\n");
    }
    nbi_strbuf_puts(b, "</ul>\n");
}

static nb_status one_run(const nbi_run_record *r, nbi_strbuf *b, nb_error *err)
{
    nbi_run_summary s;
    nbi_run_summarise(r, &s);
    nbi_html_begin(b, r->name);
    nbi_strbuf_puts(b, "<h1>");
    nbi_html_str(b, r->name);
    nbi_strbuf_puts(b, "</h1>\n<p class=\"soft\">");
    nbi_html_str(b, s.state);
    setting_word(b, r, "method", " \xc2\xb7 ");
    setting_word(b, r, "model", " of ");
    nbi_strbuf_puts(b, "</p>\n");
    nbi_page_tiles(b, r, &s);
    warnings(b, r);
    nb_status st = nbi_page_charts(b, r, 1, err);
    nbi_page_details(b, r, &s);
    nbi_html_end(b);
    return st;
}

nb_status nbi_report_page(const nbi_run_record *runs, size_t n, nbi_strbuf *out, nb_error *err)
{
    if (n == 1) {
        NBI_TRY(one_run(runs, out, err));
        return nbi_strbuf_check(out, err);
    }
    nbi_html_begin(out, "Runs compared");
    nbi_strbuf_printf(out, "<h1>%zu runs</h1>\n", n);
    nbi_page_comparison(out, runs, n);
    NBI_TRY(nbi_page_charts(out, runs, n, err));
    nbi_html_end(out);
    return nbi_strbuf_check(out, err);
}
