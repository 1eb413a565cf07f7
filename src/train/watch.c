/* SPDX-License-Identifier: MIT */
#include "train/watch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "train/event_hook.h"
#include "train/report_page.h"
#include "train/tensorboard.h"
#include "train/trainer.h"

#define LOG_HEAD_MAX ((size_t)256 << 20)
#define MEMORY_SAMPLES 1024
#define PAGE_SHARE                                                                                 \
    300 /* a page is made at most this rarely: its own time counts one part of these */

struct nbi_watch {
    const nbi_run *run;
    size_t shown; /* entries of the history */
    nbi_tensorboard *events;
    nbi_event_hook *hook;

    nbi_run_record record;
    char *page;       /* path; NULL: none is wanted */
    double page_next; /* clock from when on a page may be made again */
    bool page_failed;
    char state[sizeof(nb_error) + 32];
    NBI_ARRAY(nbi_memory_sample) memory;
    int64_t memory_every, memory_at; /* entries between two samples; entries so far */
};

static void show_settings(const nbi_watch *w)
{
    char *settings = NULL;
    nb_error err;
    if (nb_recipe_json(w->run->r, &settings, &err) == NB_OK)
        nbi_tensorboard_text(w->events, "args/text_summary", 0, settings);
    nbi_free(settings);
}

/* ---- on_event ---- */

static void put_number(nbi_json_writer *w, const char *key, double v)
{
    if (isfinite(v))
        nbi_jw_member_f64(w, key, v);
}

/* One object on one line; `key` and `value` may be NULL. */
static void send_event(nbi_event_hook *hook, const nbi_run *run, const char *event, const char *key,
                       const char *value, int code)
{
    nbi_strbuf b = {0};
    nbi_json_writer w;
    if (!hook)
        return;
    nbi_json_writer_init(&w, &b, 0, true);
    nbi_jw_object(&w);
    nbi_jw_member_str(&w, "event", event);
    nbi_jw_member_str(&w, "output_dir", run->r->output_dir);
    nbi_jw_member_i64(&w, "step", run->at.step);
    nbi_jw_member_i64(&w, "total_steps", run->total);
    nbi_jw_member_f64(&w, "epoch", run->at.epoch_done);
    if (run->at.step > 0) {
        put_number(&w, "loss", run->loss);
        put_number(&w, "seconds", nbi_clock() - run->begin);
    }
    put_number(&w, "eval_loss",
               run->at.step > 0 ? run->result.eval_loss_after : run->result.eval_loss_before);
    if (key)
        nbi_jw_member_str(&w, key, value);
    if (code >= 0)
        nbi_jw_member_i64(&w, "exit_code", code);
    nbi_jw_object_end(&w);
    nbi_strbuf_putc(&b, '\n');
    if (!b.failed)
        nbi_event_hook_send(hook, b.s, b.n);
    nbi_strbuf_free(&b);
}

static void send_end(nbi_event_hook *hook, const nbi_run *run, nb_status st, const nb_error *err)
{
    const bool fine = st == NB_OK || st == NB_INTERRUPTED;
    send_event(hook, run, fine ? "end" : "error", st == NB_OK ? NULL : "message",
               err && err->message[0] ? err->message : nb_status_text(st), nb_status_exit_code(st));
}

/* The first line of the log, back from the file: a page shows what is on the disk. */
static void read_header(nbi_watch *w)
{
    char *path = nbi_path_join(w->run->r->output_dir, "train_log.jsonl"), *text = NULL;
    size_t n = 0;
    nbi_json *line = NULL;
    if (path && nbi_read_file(path, LOG_HEAD_MAX, &text, &n, NULL) == NB_OK &&
        nbi_json_parse(&w->record.arena, path, text, strcspn(text, "\n"), &line, NULL) == NB_OK)
        w->record.header = line;
    nbi_free(text);
    nbi_free(path);
}

static void open_page(nbi_watch *w)
{
    const nbi_run *run = w->run;
    w->page = nbi_path_join(run->r->output_dir, "report.html");
    w->record.name = run->r->output_dir;
    w->record.history = &run->history;
    w->record.state = "going on";
    read_header(w);
}

nbi_watch *nbi_watch_open(const nbi_run *run)
{
    nbi_watch *w = nbi_calloc(NBI_MEM_OTHER, 1, sizeof(*w));
    if (!w) {
        nbi_log(run->log, NB_LOG_WARN, "no memory for event files and pages of this run");
        return NULL;
    }
    w->run = run;
    w->memory_every = 1;
    nbi_run_record_begin(&w->record);
    /* what a resumed run brings along stands in its earlier files */
    w->shown = run->at.step > 0 ? run->history.entries.n : 0;
    if (run->r->tensorboard)
        w->events = nbi_tensorboard_open(run->r->output_dir, run->at.step, run->log);
    if (w->events)
        show_settings(w);
    if (run->r->report_html)
        open_page(w);
    if (run->r->on_event)
        w->hook = nbi_event_hook_open(run->r->on_event, run->log);
    send_event(w->hook, run, "start", NULL, NULL, -1);
    return w;
}

/* ---- memory over time ---- */

/* A long run keeps every second sample as often as needed. */
static void thin_memory(nbi_watch *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->memory.n; i += 2)
        w->memory.v[kept++] = w->memory.v[i];
    w->memory.n = kept;
    w->memory_every *= 2;
}

static void sample_memory(nbi_watch *w, int64_t step)
{
    nbi_memory_sample s = {.step = step};
    if (w->memory_at++ % w->memory_every)
        return;
    for (int tag = 0; tag < NBI_MEMTAG_COUNT; tag++)
        s.bytes[tag] = nbi_mem_current((nbi_memtag)tag);
    if (w->memory.n && w->memory.v[w->memory.n - 1].step == step)
        return;
    if (w->memory.n == MEMORY_SAMPLES)
        thin_memory(w);
    if (!nbi_array_push(&w->memory, s))
        w->memory_every *= 2; /* fewer, later */
}

/* ---- the page ---- */

static nb_status make_page(nbi_watch *w, nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_run_record *r = &w->record;
    r->memory = w->memory.v;
    r->n_memory = w->memory.n;
    r->warnings = w->run->notes.warnings;
    r->n_warnings = w->run->notes.n;
    nb_status st = nbi_report_page(r, 1, &b, err);
    if (st == NB_OK)
        st = nbi_write_file(w->page, b.s, b.n, err);
    nbi_strbuf_free(&b);
    return st;
}

static void show_page(nbi_watch *w, bool last)
{
    nb_error err = {NB_OK, ""};
    const double begin = nbi_clock();
    if (!w->page || (!last && begin < w->page_next))
        return;
    nbi_run_record_samples(&w->record, w->run->r->output_dir);
    if (make_page(w, &err) != NB_OK && !w->page_failed) {
        nbi_log(w->run->log, NB_LOG_WARN, "report.html: %s; the training goes on", err.message);
        w->page_failed = true;
    }
    w->page_next = nbi_clock() + PAGE_SHARE * (nbi_clock() - begin);
}

/* ---- what happens ---- */

void nbi_watch_entries(nbi_watch *w)
{
    bool evaluated = false;
    if (!w)
        return;
    const nbi_history *h = &w->run->history;
    for (; w->shown < h->entries.n; w->shown++) {
        const nbi_entry *e = &h->entries.v[w->shown];
        nbi_tensorboard_entry(w->events, h, e);
        if (w->page)
            sample_memory(w, e->step);
        evaluated = evaluated || e->kind == NBI_ENTRY_EVAL;
        if (e->kind == NBI_ENTRY_TRAIN && !(w->record.foretold_seconds > 0))
            w->record.foretold_seconds = nbi_clock() - w->run->begin + nbi_run_seconds_left(w->run);
    }
    if (!evaluated || !(w->run->begin > 0))
        return;
    show_page(w, false);
    send_event(w->hook, w->run, "eval", NULL, NULL, -1);
}

void nbi_watch_saved(nbi_watch *w, const char *path)
{
    if (!w)
        return;
    show_page(w, false);
    send_event(w->hook, w->run, "save", "path", path, -1);
}

static void end_page(nbi_watch *w, nb_status st, const nb_error *err)
{
    const char *message = err && err->message[0] ? err->message : nb_status_text(st);
    /* the message of an interrupted run says that it was */
    snprintf(
        w->state, sizeof w->state, "%s%s",
        st == NB_OK || st == NB_INTERRUPTED ? "" : "failed: ", st == NB_OK ? "finished" : message);
    w->record.state = w->state;
    show_page(w, true);
}

void nbi_watch_end(const nbi_run *run, nb_status st, const nb_error *err)
{
    if (run->watch) {
        end_page(run->watch, st, err);
        send_end(run->watch->hook, run, st, err);
    } else if (run->r->on_event) { /* it failed before there was anything to show */
        nbi_event_hook *hook = nbi_event_hook_open(run->r->on_event, run->log);
        send_end(hook, run, st, err);
        nbi_event_hook_close(&hook);
    }
}

void nbi_watch_close(nbi_watch **w)
{
    if (!w || !*w)
        return;
    nbi_event_hook_close(&(*w)->hook);
    nbi_tensorboard_close(&(*w)->events);
    nbi_run_record_close(&(*w)->record);
    nbi_array_free(&(*w)->memory);
    nbi_free((*w)->page);
    nbi_free(*w);
    *w = NULL;
}
