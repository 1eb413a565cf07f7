/* SPDX-License-Identifier: MIT */
#include "train/trainer_state.h"

#include <math.h>
#include <string.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/safefile.h"

/* 20,000 logged steps take some 6 MiB. */
#define STATE_MAX ((size_t)256 << 20)

/* Which kind an entry is, by the first of these that a name begins with; the Trainer's files tell
 * them apart in no other way. */
static const struct {
    const char *prefix;
    nbi_entry_kind kind;
} marks[] = {{"eval_", NBI_ENTRY_EVAL},
             {"spike_", NBI_ENTRY_TROUBLE},
             {"nonfinite_", NBI_ENTRY_TROUBLE},
             {"train_runtime", NBI_ENTRY_END}};

static nbi_entry_kind kind_of(const nbi_history *h, const nbi_entry *e)
{
    for (size_t m = 0; m < sizeof(marks) / sizeof(*marks); m++)
        for (size_t i = e->first; i < e->first + e->n; i++)
            if (strncmp(h->numbers.v[i].name, marks[m].prefix, strlen(marks[m].prefix)) == 0)
                return marks[m].kind;
    return NBI_ENTRY_TRAIN;
}

/* ---- writing ---- */

static void write_entry(nbi_json_writer *w, const nbi_history *h, const nbi_entry *e)
{
    nbi_jw_object(w);
    nbi_jw_member_f64(w, "epoch", e->epoch);
    for (size_t i = e->first; i < e->first + e->n; i++)
        nbi_history_write(w, &h->numbers.v[i]);
    nbi_jw_member_i64(w, "step", e->step);
    nbi_jw_object_end(w);
}

static void write_history(nbi_json_writer *w, const nbi_history *h)
{
    nbi_jw_key(w, "log_history");
    nbi_jw_array(w);
    for (size_t i = 0; i < h->entries.n; i++)
        write_entry(w, h, &h->entries.v[i]);
    nbi_jw_array_end(w);
}

/* The best checkpoint may be the one that is being written. */
static void write_best(nbi_json_writer *w, const nbi_run *run, bool checkpoint, nbi_strbuf *path)
{
    const nbi_progress *at = &run->at;
    bool any = at->best_step >= 0;
    nbi_strbuf_printf(path, "%s/checkpoint-%lld", run->r->output_dir, (long long)at->best_step);
    bool saved =
        any && ((checkpoint && at->best_step == at->step) || nbi_path_is_dir(nbi_strbuf_str(path)));
    nbi_jw_key(w, "best_global_step");
    any ? nbi_jw_i64(w, at->best_step) : nbi_jw_null(w);
    nbi_jw_key(w, "best_metric");
    any ? nbi_jw_f64(w, at->best_metric) : nbi_jw_null(w);
    nbi_jw_member_str(w, "best_model_checkpoint", saved ? nbi_strbuf_str(path) : NULL);
}

/* Whole epochs that the run's steps take, the last one perhaps in part. */
static int64_t epochs(const nbi_run *run)
{
    int64_t a = run->batching.accumulation, n = (int64_t)run->epoch.n_batches;
    int64_t updates = a > 0 && n > 0 ? (n + a - 1) / a : 1;
    return run->r->max_steps > 0 ? (run->total + updates - 1) / updates
                                 : (int64_t)ceil(run->r->epochs);
}

static void write_callbacks(nbi_json_writer *w, const nbi_run *run)
{
    nbi_jw_key(w, "stateful_callbacks");
    nbi_jw_object(w);
    nbi_jw_key(w, "TrainerControl");
    nbi_jw_object(w);
    nbi_jw_key(w, "args");
    nbi_jw_object(w);
    nbi_jw_member_bool(w, "should_epoch_stop", false);
    nbi_jw_member_bool(w, "should_evaluate", false);
    nbi_jw_member_bool(w, "should_log", false);
    nbi_jw_member_bool(w, "should_save", true);
    nbi_jw_member_bool(w, "should_training_stop", run->at.step >= run->total);
    nbi_jw_object_end(w);
    nbi_jw_key(w, "attributes");
    nbi_jw_object(w);
    nbi_jw_object_end(w);
    nbi_jw_object_end(w);
    nbi_jw_object_end(w);
}

nb_status nbi_trainer_state_text(const nbi_run *run, bool checkpoint, nbi_strbuf *out,
                                 nb_error *err)
{
    const nb_recipe *r = run->r;
    nbi_json_writer w;
    nbi_strbuf path = {0};
    nbi_json_writer_init(&w, out, 2, true);
    nbi_jw_object(&w);
    write_best(&w, run, checkpoint, &path);
    nbi_jw_member_f64(&w, "epoch", run->at.epoch_done);
    nbi_jw_member_i64(&w, "eval_steps", r->eval_steps);
    nbi_jw_member_i64(&w, "global_step", run->at.step);
    nbi_jw_member_bool(&w, "is_hyper_param_search", false);
    nbi_jw_member_bool(&w, "is_local_process_zero", true);
    nbi_jw_member_bool(&w, "is_world_process_zero", true);
    write_history(&w, &run->history);
    nbi_jw_member_i64(&w, "logging_steps", r->logging_steps);
    nbi_jw_member_i64(&w, "max_steps", run->total);
    nbi_jw_member_i64(&w, "num_input_tokens_seen", run->at.tokens_seen);
    nbi_jw_member_i64(&w, "num_train_epochs", epochs(run));
    nbi_jw_member_i64(&w, "save_steps", r->save_steps);
    write_callbacks(&w, run);
    nbi_jw_member_f64(&w, "total_flos", nbi_run_operations(run));
    nbi_jw_member_i64(&w, "train_batch_size", r->batch);
    nbi_jw_member_str(&w, "trial_name", NULL);
    nbi_jw_member_str(&w, "trial_params", NULL);
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(out, '\n');
    out->failed = out->failed || path.failed;
    nbi_strbuf_free(&path);
    return nbi_strbuf_check(out, err);
}

nb_status nbi_trainer_state_write(const nbi_run *run, const char *dir, nb_error *err)
{
    nbi_strbuf text = {0};
    const bool checkpoint = strcmp(dir, run->r->output_dir) != 0;
    char *path = nbi_path_join(dir, NBI_TRAINER_STATE);
    nb_status st =
        path ? nbi_trainer_state_text(run, checkpoint, &text, err) : nbi_fail_nomem(err, dir, 0);
    if (st == NB_OK)
        st = nbi_write_file(path, text.s, text.n, err);
    nbi_strbuf_free(&text);
    nbi_free(path);
    return st;
}

/* ---- reading ---- */

typedef struct reading {
    nbi_json_reader r;
    nbi_history *h;
    int64_t global_step;
    bool has_step, has_history;
    nbi_entry entry; /* at hand */
    bool step_seen, epoch_seen;
} reading;

static nb_status bad(const reading *g, nb_error *err, const char *what)
{
    return nbi_fail(err, NB_FORMAT, "%s: byte %zu: log entry %zu: %s; the file is damaged",
                    g->r.name, g->r.offset, g->h->entries.n, what);
}

/* A number, or the text of one that is not finite; *whole: written as a whole number. */
static bool to_number(const nbi_json_reader *r, nbi_json_event ev, double *v, bool *whole)
{
    static const struct {
        const char *text;
        double value;
    } special[] = {{"NaN", NAN}, {"Infinity", INFINITY}, {"-Infinity", -INFINITY}};
    *whole = false;
    if (ev == NBI_JSON_NUMBER) {
        for (size_t i = 0; i < r->text_len; i++)
            if (strchr(".eE", r->text[i]))
                return nbi_parse_f64(r->text, r->text_len, v);
        *whole = true;
        return nbi_parse_f64(r->text, r->text_len, v);
    }
    for (size_t i = 0; ev == NBI_JSON_STRING && i < 3; i++)
        if (nbi_json_text_is(r, special[i].text)) {
            *v = special[i].value;
            return true;
        }
    return false;
}

static nb_status take_step(reading *g, int64_t *step, bool *seen, nb_error *err)
{
    nbi_json_event ev;
    double v;
    bool whole;
    NBI_TRY(nbi_json_next(&g->r, &ev, err));
    if (*seen || !to_number(&g->r, ev, &v, &whole) || !whole || v < 0 || v > 0x1p53)
        return bad(g, err, "expected one step, a whole number from 0");
    *step = (int64_t)v;
    *seen = true;
    return NB_OK;
}

static nb_status take_epoch(reading *g, nb_error *err)
{
    nbi_json_event ev;
    bool whole;
    NBI_TRY(nbi_json_next(&g->r, &ev, err));
    if (g->epoch_seen || !to_number(&g->r, ev, &g->entry.epoch, &whole))
        return bad(g, err, "expected one epoch, a number");
    g->epoch_seen = true;
    return NB_OK;
}

static nb_status take_number(reading *g, nb_error *err)
{
    enum { NAME_MAX_BYTES = 255 };
    char name[NAME_MAX_BYTES + 1];
    nbi_json_event ev;
    double v;
    bool whole;
    if (g->r.text_len == 0 || g->r.text_len > NAME_MAX_BYTES)
        return bad(g, err, "expected the name of a number");
    memcpy(name, g->r.text, g->r.text_len);
    name[g->r.text_len] = 0;
    const nbi_entry *e = nbi_history_last(g->h);
    for (size_t i = e->first; i < e->first + e->n; i++)
        if (strcmp(g->h->numbers.v[i].name, name) == 0)
            return bad(g, err, "a name is there twice");
    NBI_TRY(nbi_json_next(&g->r, &ev, err));
    if (!to_number(&g->r, ev, &v, &whole))
        return bad(g, err, "expected a number");
    return nbi_history_add(g->h, name, v, whole, err);
}

/* After the entry's opening brace. */
static nb_status take_entry(reading *g, nb_error *err)
{
    nbi_json_event ev;
    int64_t before = g->h->entries.n ? nbi_history_last(g->h)->step : 0;
    g->step_seen = g->epoch_seen = false;
    NBI_TRY(nbi_history_begin(g->h, NBI_ENTRY_TRAIN, 0, 0, err));
    for (;;) {
        NBI_TRY(nbi_json_next(&g->r, &ev, err));
        if (ev == NBI_JSON_OBJECT_END)
            break;
        if (nbi_json_text_is(&g->r, "step"))
            NBI_TRY(take_step(g, &g->entry.step, &g->step_seen, err));
        else if (nbi_json_text_is(&g->r, "epoch"))
            NBI_TRY(take_epoch(g, err));
        else
            NBI_TRY(take_number(g, err));
    }
    nbi_entry *e = &g->h->entries.v[g->h->entries.n - 1];
    if (!g->step_seen || !g->epoch_seen || e->n == 0)
        return bad(g, err, "expected step, epoch and numbers");
    if (g->entry.step < before)
        return bad(g, err, "its step comes before the one of the entry before");
    e->step = g->entry.step;
    e->epoch = g->entry.epoch;
    e->kind = kind_of(g->h, e);
    return NB_OK;
}

static nb_status take_history(reading *g, nb_error *err)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(&g->r, &ev, err));
    if (ev != NBI_JSON_ARRAY_BEGIN || g->has_history)
        return bad(g, err, "expected one log_history, a list");
    g->has_history = true;
    for (;;) {
        NBI_TRY(nbi_json_next(&g->r, &ev, err));
        if (ev == NBI_JSON_ARRAY_END)
            return NB_OK;
        if (ev != NBI_JSON_OBJECT_BEGIN)
            return bad(g, err, "expected an object");
        NBI_TRY(take_entry(g, err));
    }
}

static nb_status take_document(reading *g, nb_error *err)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(&g->r, &ev, err));
    if (ev != NBI_JSON_OBJECT_BEGIN)
        return bad(g, err, "expected an object");
    for (;;) {
        NBI_TRY(nbi_json_next(&g->r, &ev, err));
        if (ev == NBI_JSON_OBJECT_END)
            break;
        if (nbi_json_text_is(&g->r, "log_history"))
            NBI_TRY(take_history(g, err));
        else if (nbi_json_text_is(&g->r, "global_step"))
            NBI_TRY(take_step(g, &g->global_step, &g->has_step, err));
        else
            NBI_TRY(nbi_json_skip(&g->r, err));
    }
    NBI_TRY(nbi_json_next(&g->r, &ev, err)); /* nothing may follow */
    if (!g->has_step || !g->has_history)
        return nbi_fail(err, NB_FORMAT, "%s: %s is missing; the file is damaged", g->r.name,
                        g->has_step ? "log_history" : "global_step");
    if (g->h->entries.n && nbi_history_last(g->h)->step > g->global_step)
        return bad(g, err, "its step comes after global_step");
    return NB_OK;
}

nb_status nbi_trainer_state_read(const char *dir, nbi_history *history, int64_t *global_step,
                                 nb_error *err)
{
    char *path = nbi_path_join(dir, NBI_TRAINER_STATE), *text = NULL;
    size_t n;
    reading g = {.h = history};
    nb_status st =
        path ? nbi_read_file(path, STATE_MAX, &text, &n, err) : nbi_fail_nomem(err, dir, 0);
    if (st == NB_OK) {
        nbi_json_reader_init(&g.r, path, text, n);
        st = take_document(&g, err);
        nbi_json_reader_free(&g.r);
    }
    if (st == NB_OK && global_step)
        *global_step = g.global_step;
    nbi_free(text);
    nbi_free(path);
    return st;
}
