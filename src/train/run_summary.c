/* SPDX-License-Identifier: MIT */
/* The figures of a run by its record. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "train/run_record.h"

static double header_number(const nbi_run_record *r, const char *key)
{
    double v = NAN;
    return nbi_json_to_f64(nbi_json_get(r->header, key), &v) ? v : NAN;
}

const nbi_json *nbi_run_setting(const nbi_run_record *r, const char *key)
{
    return nbi_json_get(nbi_json_get(r->header, "settings"), key);
}

void nbi_run_show_value(const nbi_json *v, nbi_strbuf *out)
{
    nbi_json_writer w;
    if (nbi_json_is_null(v))
        return;
    if (v->type == NBI_JT_STRING || v->type == NBI_JT_NUMBER) {
        nbi_strbuf_add(out, v->text, v->text_len);
    } else if (v->type == NBI_JT_BOOL) {
        nbi_strbuf_puts(out, v->boolean ? "true" : "false");
    } else {
        nbi_json_writer_init(&w, out, 0, false);
        nbi_jw_tree(&w, v);
    }
}

bool nbi_is_eval_loss(const char *name)
{
    const size_t n = strlen(name);
    return strncmp(name, "eval_", 5) == 0 && n >= 9 && strcmp(name + n - 5, "_loss") == 0;
}

/* The loss of the first set that was ever evaluated. */
static double eval_loss_of(nbi_run_summary *s, const nbi_history *h, const nbi_entry *e)
{
    for (size_t i = e->first; !s->eval_name && i < e->first + e->n; i++)
        if (nbi_is_eval_loss(h->numbers.v[i].name))
            s->eval_name = h->numbers.v[i].name;
    return s->eval_name ? nbi_history_value(h, e, s->eval_name) : NAN;
}

/* An entry of the kind told apart by the name it has. */
static void take(nbi_run_summary *s, const nbi_history *h, const nbi_entry *e)
{
    const double loss = nbi_history_value(h, e, "loss"), eval = eval_loss_of(s, h, e),
                 rate = nbi_history_value(h, e, "learning_rate");
    s->steps = e->step;
    s->epoch = e->epoch;
    if (!isnan(rate) && !(s->learning_rate >= rate))
        s->learning_rate = rate;
    if (e->kind == NBI_ENTRY_TRAIN && !isnan(rate)) {
        if (isnan(s->loss_first))
            s->loss_first = loss;
        s->loss_last = loss;
    } else if (e->kind == NBI_ENTRY_EVAL && !isnan(eval)) {
        if (isnan(s->eval_first))
            s->eval_first = eval;
        s->eval_last = eval;
        if (!(s->eval_best <= eval)) {
            s->eval_best = eval;
            s->eval_best_step = e->step;
        }
    } else if (e->kind == NBI_ENTRY_END) {
        s->seconds = nbi_history_value(h, e, "train_runtime");
        s->peak_bytes = nbi_history_value(h, e, "peak_bytes");
    }
}

static int by_height(const void *a, const void *b)
{
    const double x = ((const nbi_point *)a)->y, y = ((const nbi_point *)b)->y;
    return (x > y) - (x < y);
}

/* The median does not follow a pause or the first steps. */
static double median_of(const nbi_run_record *r, const char *name)
{
    nbi_points p = {0};
    double v = NAN;
    if (nbi_points_of(r, name, &p, NULL) == NB_OK && p.n) {
        qsort(p.v, p.n, sizeof *p.v, by_height);
        v = p.v[p.n / 2].y;
    }
    nbi_array_free(&p);
    return v;
}

void nbi_run_summarise(const nbi_run_record *r, nbi_run_summary *s)
{
    const nbi_history *h = r->history;
    const double total = header_number(r, "total_steps");
    *s = (nbi_run_summary){.total_steps = isnan(total) ? -1 : (int64_t)total,
                           .loss_first = NAN,
                           .loss_last = NAN,
                           .eval_first = NAN,
                           .eval_best = NAN,
                           .eval_last = NAN,
                           .eval_best_step = -1,
                           .seconds = NAN,
                           .learning_rate = NAN,
                           .peak_bytes = NAN,
                           .planned_bytes = header_number(r, "planned_peak_bytes"),
                           .trainable = header_number(r, "trainable_parameters"),
                           .parameters = header_number(r, "total_parameters"),
                           .epochs = NAN};
    for (size_t i = 0; i < h->entries.n; i++)
        take(s, h, &h->entries.v[i]);
    s->tokens_per_second = median_of(r, "tokens_per_second");
    const nbi_entry *last = nbi_history_last(h);
    s->state = r->state                              ? r->state
               : last && last->kind == NBI_ENTRY_END ? "finished"
                                                     : "not finished";
}
