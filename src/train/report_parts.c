/* SPDX-License-Identifier: MIT */
/* The tables of a page: plan against measured, evaluations, samples, data, machine, settings; and
 * the comparison of several runs. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/quantity.h"
#include "train/report_page.h"

#define EVALUATIONS_SHOWN 200
#define SAMPLES_SHOWN 20

static void cell(nbi_strbuf *b, const char *text)
{
    nbi_strbuf_puts(b, "<td>");
    nbi_html_str(b, text);
    nbi_strbuf_puts(b, "</td>");
}

static void number_cell(nbi_strbuf *b, double v, int digits)
{
    nbi_strbuf_puts(b, "<td class=\"num\">");
    if (!isnan(v))
        nbi_html_number(b, v, digits);
    nbi_strbuf_puts(b, "</td>");
}

static void value_row(nbi_strbuf *b, const char *key, const nbi_json *v)
{
    nbi_strbuf text = {0};
    double x;
    if (v && v->type == NBI_JT_NUMBER && strchr(v->text, '.') && nbi_json_to_f64(v, &x))
        nbi_strbuf_printf(&text, "%.3g", x);
    else
        nbi_run_show_value(v, &text);
    if (text.n) {
        nbi_strbuf_puts(b, "<tr><th>");
        nbi_html_str(b, key);
        nbi_strbuf_puts(b, "</th><td>");
        nbi_html_text(b, text.s, text.n);
        nbi_strbuf_puts(b, "</td></tr>\n");
    }
    nbi_strbuf_free(&text);
}

/* ---- plan against measured ---- */

typedef char *show_fn(double v, char buf[32]);

static void plan_row(nbi_strbuf *b, const char *what, double plan, double measured, show_fn *show)
{
    char x[32];
    if (!(plan > 0) || !(measured > 0))
        return;
    const double most = fmax(plan, measured);
    nbi_strbuf_printf(b, "<tr><th>%s</th><td class=\"num\">%s", what, show(plan, x));
    nbi_strbuf_printf(b, "<div class=\"bar k8\"><i style=\"width:%.1f%%\"></i></div></td>",
                      100 * plan / most);
    nbi_strbuf_printf(b, "<td class=\"num\">%s", show(measured, x));
    nbi_strbuf_printf(b, "<div class=\"bar k1\"><i style=\"width:%.1f%%\"></i></div></td>",
                      100 * measured / most);
    nbi_strbuf_printf(b, "<td class=\"num\">%+.1f %%</td></tr>\n", 100 * (measured / plan - 1));
}

static void plan_part(nbi_strbuf *b, const nbi_run_record *r, const nbi_run_summary *s)
{
    const bool memory = s->planned_bytes > 0 && s->peak_bytes > 0;
    const bool time = r->foretold_seconds > 0 && s->seconds > 0;
    if (!memory && !time)
        return;
    nbi_html_heading(b, "plan", "Plan against measured");
    nbi_strbuf_puts(b,
                    "<div class=\"card scroll\"><table>\n<tr><th></th><th class=\"num\">plan</th>"
                    "<th class=\"num\">measured</th><th class=\"num\">difference</th></tr>\n");
    plan_row(b, "peak memory", s->planned_bytes, s->peak_bytes, nbi_format_bytes);
    plan_row(b, "time, after the first logged step", r->foretold_seconds, s->seconds,
             nbi_format_duration);
    nbi_strbuf_puts(b, "</table></div>\n");
}

/* ---- evaluations ---- */

static void evaluation_row(nbi_strbuf *b, const nbi_history *h, const nbi_entry *e,
                           const char *name, double loss, bool best)
{
    nbi_strbuf_printf(b, "<tr%s><td class=\"num\">%lld</td>", best ? " class=\"best\"" : "",
                      (long long)e->step);
    number_cell(b, e->epoch, 4);
    number_cell(b, loss, 5);
    number_cell(b, nbi_history_value(h, e, name), 5);
    number_cell(b, nbi_history_value(h, e, "eval_perplexity"), 5);
    const double hits = nbi_history_value(h, e, "eval_token_accuracy");
    nbi_strbuf_puts(b, "<td class=\"num\">");
    if (isfinite(hits))
        nbi_strbuf_printf(b, "%.2f %%", 100 * hits);
    nbi_strbuf_puts(b, "</td></tr>\n");
}

/* Evaluations of the first set; the others are in the chart. */
static bool is_shown(const nbi_history *h, const nbi_entry *e, const nbi_run_summary *s)
{
    return e->kind == NBI_ENTRY_EVAL && s->eval_name &&
           !isnan(nbi_history_value(h, e, s->eval_name));
}

static void evaluations(nbi_strbuf *b, const nbi_run_record *r, const nbi_run_summary *s)
{
    const nbi_history *h = r->history;
    double loss = NAN;
    size_t n = 0, at = 0;
    for (size_t i = 0; i < h->entries.n; i++)
        n += is_shown(h, &h->entries.v[i], s);
    if (n == 0)
        return;
    const size_t every = (n + EVALUATIONS_SHOWN - 1) / EVALUATIONS_SHOWN;
    nbi_html_heading(b, "evaluations", "Evaluations");
    if (every > 1)
        nbi_strbuf_printf(b, "<p class=\"soft\">One in %zu of %zu, the best and the last.</p>\n",
                          every, n);
    nbi_strbuf_puts(b, "<div class=\"card scroll\"><table>\n<tr><th class=\"num\">step</th><th "
                       "class=\"num\">epoch</th><th class=\"num\">training loss</th><th "
                       "class=\"num\">evaluation loss</th><th class=\"num\">perplexity</th><th "
                       "class=\"num\">token accuracy</th></tr>\n");
    for (size_t i = 0; i < h->entries.n; i++) {
        const nbi_entry *e = &h->entries.v[i];
        if (e->kind == NBI_ENTRY_TRAIN)
            loss = nbi_history_value(h, e, "loss");
        if (!is_shown(h, e, s))
            continue;
        const bool best = e->step == s->eval_best_step;
        if (at % every == 0 || best || at + 1 == n)
            evaluation_row(b, h, e, s->eval_name, loss, best);
        at++;
    }
    nbi_strbuf_puts(b, "</table></div>\n");
}

/* ---- samples ---- */

static const nbi_json *first_of(const nbi_json *line, const char *const *keys)
{
    for (; *keys; keys++) {
        const nbi_json *v = nbi_json_get(line, *keys);
        if (!nbi_json_is_null(v))
            return v;
    }
    return NULL;
}

static const nbi_json *question(const nbi_json *line)
{
    static const char *const keys[] = {"prompt", "question", "input", NULL};
    return first_of(line, keys);
}

static bool same_text(const nbi_json *a, const nbi_json *b)
{
    return a && b && a->text && b->text && a->text_len == b->text_len &&
           memcmp(a->text, b->text, a->text_len) == 0;
}

static void sample_text(nbi_strbuf *b, const nbi_json *line)
{
    static const char *const keys[] = {"text", "answer", "output", "completion", NULL};
    nbi_strbuf text = {0}, step = {0};
    nbi_run_show_value(first_of(line, keys), &text);
    nbi_run_show_value(nbi_json_get(line, "step"), &step);
    nbi_strbuf_puts(b, "<div><h3>");
    if (step.n) {
        nbi_strbuf_puts(b, strcmp(step.s, "0") == 0 ? "before, step " : "step ");
        nbi_html_text(b, step.s, step.n);
    }
    nbi_strbuf_puts(b, "</h3><pre>");
    nbi_html_text(b, nbi_strbuf_str(&text), text.n);
    nbi_strbuf_puts(b, "</pre></div>\n");
    nbi_strbuf_free(&text);
    nbi_strbuf_free(&step);
}

/* The answers to one question: the first, one from the middle, the last. */
static void sample_card(nbi_strbuf *b, const nbi_json *list, const nbi_json *ask)
{
    nbi_strbuf text = {0};
    const nbi_json *line[3] = {NULL};
    size_t n = 0, at = 0;
    for (const nbi_json *e = list->first; e; e = e->next)
        n += same_text(question(e), ask);
    for (const nbi_json *e = list->first; e; e = e->next)
        if (same_text(question(e), ask)) {
            if (at == 0 || at == n / 2 || at + 1 == n)
                line[at == 0 ? 0 : at + 1 == n ? 2 : 1] = e;
            at++;
        }
    nbi_run_show_value(ask, &text);
    nbi_strbuf_puts(b, "<div class=\"card sample\"><pre class=\"soft\">");
    nbi_html_text(b, nbi_strbuf_str(&text), text.n);
    nbi_strbuf_puts(b, "</pre><div>\n");
    for (int i = 0; i < 3; i++)
        if (line[i])
            sample_text(b, line[i]);
    nbi_strbuf_puts(b, "</div></div>\n");
    nbi_strbuf_free(&text);
}

static void samples(nbi_strbuf *b, const nbi_run_record *r)
{
    size_t shown = 0;
    if (!r->samples || r->samples->n == 0)
        return;
    nbi_html_heading(b, "samples", "Samples before, during and after");
    for (const nbi_json *e = r->samples->first; e && shown < SAMPLES_SHOWN; e = e->next) {
        const nbi_json *ask = question(e), *before = r->samples->first;
        while (before != e && !same_text(question(before), ask))
            before = before->next;
        if (ask && before == e) {
            sample_card(b, r->samples, ask);
            shown++;
        }
    }
}

/* ---- data, machine, settings ---- */

static void data_row(nbi_strbuf *b, const char *what, const nbi_json *d)
{
    static const char *const counts[] = {"rows", "dropped_rows", "truncated_rows", "tokens",
                                         "trained_tokens"};
    char x[32];
    nbi_strbuf path = {0}, hash = {0};
    nbi_run_show_value(nbi_json_get(d, "path"), &path);
    nbi_run_show_value(nbi_json_get(d, "sha256"), &hash);
    nbi_strbuf_puts(b, "<tr><th>");
    nbi_html_str(b, what);
    nbi_strbuf_puts(b, "</th>");
    cell(b, nbi_strbuf_str(&path));
    for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
        int64_t v;
        const bool known = nbi_json_to_i64(nbi_json_get(d, counts[j]), &v);
        nbi_strbuf_printf(b, "<td class=\"num\">%s</td>", known ? nbi_format_grouped(v, x) : "");
    }
    nbi_strbuf_puts(b, "<td>");
    nbi_html_text(b, nbi_strbuf_str(&hash), hash.n < 12 ? hash.n : 12);
    nbi_strbuf_puts(b, "</td></tr>\n");
    nbi_strbuf_free(&path);
    nbi_strbuf_free(&hash);
}

/* One set, or a map of sets by name. */
static void data_rows(nbi_strbuf *b, const char *what, const nbi_json *d)
{
    if (!d || d->type != NBI_JT_OBJECT)
        return;
    if (nbi_json_get(d, "rows")) {
        data_row(b, what, d);
        return;
    }
    for (const nbi_json *e = d->first; e; e = e->next)
        data_row(b, e->key, e);
}

static void data_part(nbi_strbuf *b, const nbi_run_record *r)
{
    if (!nbi_json_get(r->header, "data"))
        return;
    nbi_html_heading(b, "data", "Data");
    nbi_strbuf_puts(b, "<div class=\"card scroll\"><table>\n<tr><th></th><th>file</th><th "
                       "class=\"num\">rows</th><th class=\"num\">dropped</th><th class=\"num\">cut"
                       "</th><th class=\"num\">tokens</th><th class=\"num\">trained on</th>"
                       "<th>SHA-256</th></tr>\n");
    data_rows(b, "training", nbi_json_get(r->header, "data"));
    data_rows(b, "evaluation", nbi_json_get(r->header, "eval_data"));
    nbi_strbuf_puts(b, "</table></div>\n");
}

static void machine_part(nbi_strbuf *b, const nbi_run_record *r)
{
    static const char *const rows[][2] = {{"cpu", "processor"},
                                          {"cpu_flags", "instruction sets"},
                                          {"threads", "threads"},
                                          {"kernels", "matrix products"},
                                          {"compute_dtype", "compute type"},
                                          {"seconds_to_first_step", "seconds to the first step"}};
    if (!r->header)
        return;
    nbi_html_heading(b, "machine", "Machine");
    nbi_strbuf_puts(b, "<div class=\"card scroll\"><table>\n");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        value_row(b, rows[i][1], nbi_json_get(r->header, rows[i][0]));
    const nbi_json *versions = nbi_json_get(r->header, "versions");
    for (const nbi_json *v = versions ? versions->first : NULL; v; v = v->next)
        value_row(b, v->key, v);
    nbi_strbuf_puts(b, "</table></div>\n");
}

static void settings_part(nbi_strbuf *b, const nbi_run_record *r)
{
    const nbi_json *all = nbi_json_get(r->header, "settings");
    if (!all || all->type != NBI_JT_OBJECT)
        return;
    nbi_html_heading(b, "settings", "Settings");
    nbi_strbuf_puts(b, "<details class=\"card\" open><summary>all settings in force</summary>"
                       "<div class=\"settings\">\n");
    for (const nbi_json *e = all->first; e; e = e->next) {
        nbi_strbuf text = {0};
        nbi_run_show_value(e, &text);
        nbi_strbuf_puts(b, "<div><span class=\"soft\">");
        nbi_html_str(b, e->key);
        nbi_strbuf_puts(b, "</span><span>");
        if (text.n)
            nbi_html_text(b, text.s, text.n);
        else
            nbi_strbuf_puts(b, "&ndash;");
        nbi_strbuf_puts(b, "</span></div>\n");
        nbi_strbuf_free(&text);
    }
    nbi_strbuf_puts(b, "</div></details>\n");
}

void nbi_page_details(nbi_strbuf *b, const nbi_run_record *r, const nbi_run_summary *s)
{
    plan_part(b, r, s);
    evaluations(b, r, s);
    samples(b, r);
    data_part(b, r);
    machine_part(b, r);
    settings_part(b, r);
}

/* ---- several runs ---- */

static bool same_value(const nbi_json *a, const nbi_json *b)
{
    nbi_strbuf x = {0}, y = {0};
    nbi_run_show_value(a, &x);
    nbi_run_show_value(b, &y);
    const bool same = strcmp(nbi_strbuf_str(&x), nbi_strbuf_str(&y)) == 0;
    nbi_strbuf_free(&x);
    nbi_strbuf_free(&y);
    return same;
}

void nbi_settings_that_differ(const nbi_run_record *runs, size_t n, nbi_setting_visit *visit,
                              void *user)
{
    const nbi_json *values[NBI_CURVES_MAX] = {NULL}, *longest = NULL;
    /* runs of different versions have different keys: those of the longest list are looked at */
    for (size_t i = 0; i < n; i++) {
        const nbi_json *s = nbi_json_get(runs[i].header, "settings");
        if (s && s->type == NBI_JT_OBJECT && (!longest || s->n > longest->n))
            longest = s;
    }
    for (const nbi_json *e = longest ? longest->first : NULL; e; e = e->next) {
        bool differs = false;
        for (size_t i = 0; i < n; i++) {
            values[i] = nbi_run_setting(&runs[i], e->key);
            differs = differs || !same_value(values[i], values[0]);
        }
        if (differs && strcmp(e->key, "output_dir") != 0)
            visit(user, e->key, values, n);
    }
}

static void setting_row(void *user, const char *key, const nbi_json *const *values, size_t n)
{
    nbi_strbuf *b = user;
    nbi_strbuf_puts(b, "<tr><th>");
    nbi_html_str(b, key);
    nbi_strbuf_puts(b, "</th>");
    for (size_t i = 0; i < n; i++) {
        nbi_strbuf text = {0};
        nbi_run_show_value(values[i], &text);
        nbi_strbuf_puts(b, "<td>");
        nbi_html_text(b, nbi_strbuf_str(&text), text.n);
        nbi_strbuf_puts(b, "</td>");
        nbi_strbuf_free(&text);
    }
    nbi_strbuf_puts(b, "</tr>\n");
}

static void run_row(nbi_strbuf *b, const nbi_run_record *r, int colour)
{
    nbi_run_summary s;
    char x[32];
    nbi_run_summarise(r, &s);
    nbi_strbuf_printf(b, "<tr><td><i class=\"mark k%d\"></i>", colour);
    nbi_html_str(b, r->name);
    nbi_strbuf_puts(b, "</td>");
    cell(b, s.state);
    nbi_strbuf_printf(b, "<td class=\"num\">%lld</td>", (long long)s.steps);
    number_cell(b, s.loss_last, 5);
    number_cell(b, s.eval_first, 5);
    number_cell(b, s.eval_best, 5);
    number_cell(b, s.eval_last, 5);
    number_cell(b, s.learning_rate, 3);
    nbi_strbuf_printf(b, "<td class=\"num\">%s</td>",
                      s.tokens_per_second >= 0 && s.tokens_per_second < 1e15
                          ? nbi_format_grouped((int64_t)s.tokens_per_second, x)
                          : "");
    nbi_strbuf_printf(b, "<td class=\"num\">%s</td>",
                      s.peak_bytes > 0 ? nbi_format_bytes(s.peak_bytes, x) : "");
    nbi_strbuf_printf(b, "<td class=\"num\">%s</td></tr>\n",
                      s.seconds > 0 ? nbi_format_duration(s.seconds, x) : "");
}

void nbi_page_comparison(nbi_strbuf *b, const nbi_run_record *runs, size_t n)
{
    nbi_html_heading(b, "figures", "Figures");
    nbi_strbuf_puts(b, "<div class=\"card scroll\"><table>\n<tr><th>run</th><th></th><th "
                       "class=\"num\">steps</th><th class=\"num\">loss</th><th class=\"num\">eval, "
                       "first</th><th class=\"num\">best</th><th class=\"num\">last</th><th "
                       "class=\"num\">learning rate</th><th class=\"num\">tokens/s</th><th "
                       "class=\"num\">peak memory</th><th class=\"num\">time</th></tr>\n");
    for (size_t i = 0; i < n; i++)
        run_row(b, &runs[i], (int)i % 8 + 1);
    nbi_strbuf_puts(b, "</table></div>\n");
    nbi_html_heading(b, "settings", "Settings that differ");
    nbi_strbuf_puts(b, "<div class=\"card scroll\"><table>\n<tr><th></th>");
    for (size_t i = 0; i < n; i++) {
        nbi_strbuf_puts(b, "<th>");
        nbi_html_str(b, runs[i].name);
        nbi_strbuf_puts(b, "</th>");
    }
    nbi_strbuf_puts(b, "</tr>\n");
    nbi_settings_that_differ(runs, n, setting_row, b);
    nbi_strbuf_puts(b, "</table></div>\n");
    nbi_html_heading(b, "curves", "Curves");
}
