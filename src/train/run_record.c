/* SPDX-License-Identifier: MIT */
#include "train/run_record.h"

#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"

#define LOG_MAX ((size_t)1 << 30)
#define SAMPLES_MAX ((size_t)64 << 20)

/* ---- reading ---- */

static nbi_entry_kind kind_of(const nbi_json *line)
{
    if (nbi_json_get(line, "train_runtime") || nbi_json_get(line, "train_loss"))
        return NBI_ENTRY_END;
    for (const nbi_json *e = line->first; e; e = e->next)
        if (strncmp(e->key, "eval_", 5) == 0)
            return NBI_ENTRY_EVAL;
    return NBI_ENTRY_TRAIN;
}

/* A later start that went back to a checkpoint says its steps again. */
static void go_back(nbi_history *h, int64_t step)
{
    while (h->entries.n && nbi_history_last(h)->step > step)
        h->numbers.n = h->entries.v[--h->entries.n].first;
}

static nb_status take_numbers(nbi_history *h, const nbi_json *line, nb_error *err)
{
    for (const nbi_json *e = line->first; e; e = e->next) {
        double v;
        if (strcmp(e->key, "step") == 0 || strcmp(e->key, "epoch") == 0)
            continue;
        if (e->type == NBI_JT_NUMBER && nbi_json_to_f64(e, &v))
            NBI_TRY(nbi_history_add(h, e->key, v, !strpbrk(e->text, ".eE"), err));
        else if (nbi_json_equals(e, "NaN"))
            NBI_TRY(nbi_history_add(h, e->key, NAN, false, err));
        else if (nbi_json_equals(e, "Infinity") || nbi_json_equals(e, "-Infinity"))
            NBI_TRY(
                nbi_history_add(h, e->key, e->text[0] == '-' ? -INFINITY : INFINITY, false, err));
    }
    return NB_OK;
}

/* The last line of earlier versions had steps, seconds and peaks only. */
static nb_status take_old_end(nbi_history *h, const nbi_json *line, nb_error *err)
{
    double seconds = NAN;
    int64_t steps = 0;
    const nbi_entry *last = nbi_history_last(h);
    (void)nbi_json_to_i64(nbi_json_get(line, "steps"), &steps);
    (void)nbi_json_to_f64(nbi_json_get(line, "seconds"), &seconds);
    NBI_TRY(nbi_history_begin(h, NBI_ENTRY_END, steps, last ? last->epoch : 0, err));
    NBI_TRY(nbi_history_add(h, "train_runtime", seconds, false, err));
    return take_numbers(h, line, err);
}

/* `kept`: the tree lives as long as the record. */
static nb_status take_line(nbi_run_record *r, const nbi_json *line, bool kept, nb_error *err)
{
    int64_t step = 0;
    double epoch = 0;
    nbi_history *h = &r->own;
    if (line->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "no object");
    if (nbi_json_get(line, "settings")) {
        if (kept)
            r->header = line;
        return NB_OK;
    }
    if (!nbi_json_get(line, "step"))
        return nbi_json_get(line, "steps") ? take_old_end(h, line, err) : NB_OK;
    if (!nbi_json_to_i64(nbi_json_get(line, "step"), &step) || step < 0)
        return nbi_fail(err, NB_FORMAT, "step: expected a whole number from 0");
    (void)nbi_json_to_f64(nbi_json_get(line, "epoch"), &epoch);
    go_back(h, step);
    NBI_TRY(nbi_history_begin(h, kind_of(line), step, epoch, err));
    return take_numbers(h, line, err);
}

/* Only the first line is kept as a tree; those of entries become numbers. */
static nb_status parse_line(nbi_run_record *r, const char *path, const char *text, size_t n,
                            nb_error *err)
{
    static const char mark[] = "\"settings\"";
    nbi_arena arena;
    nbi_json *line;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_arena *to = memmem(text, n, mark, sizeof mark - 1) ? &r->arena : &arena;
    nb_status st = nbi_json_parse(to, path, text, n, &line, err);
    if (st == NB_OK)
        st = take_line(r, line, to == &r->arena, err);
    nbi_arena_free(&arena);
    return st;
}

nb_status nbi_run_record_parse(nbi_run_record *r, const char *path, const char *text, size_t n,
                               nb_error *err)
{
    int number = 1;
    for (size_t at = 0; at < n; number++) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t len = end ? (size_t)(end - text) - at : n - at;
        const nb_status st = parse_line(r, path, text + at, len, err);
        if (st == NB_FORMAT && !end)
            break; /* torn */
        if (st != NB_OK)
            return nbi_fail_prefix(err, st, "%s: line %d", path, number);
        at += len + 1;
    }
    if (!r->header && r->own.entries.n == 0)
        return nbi_fail(err, NB_FORMAT, "%s: no line of a run is in it", path);
    return NB_OK;
}

void nbi_run_record_begin(nbi_run_record *r)
{
    *r = (nbi_run_record){0};
    nbi_arena_init(&r->arena, NBI_MEM_OTHER);
    nbi_arena_init(&r->sample_arena, NBI_MEM_OTHER);
    nbi_history_init(&r->own);
    r->history = &r->own;
}

nb_status nbi_run_record_read(nbi_run_record *r, const char *path, nb_error *err)
{
    char *text = NULL;
    size_t n = 0;
    nbi_run_record_begin(r);
    bool folder = nbi_path_is_dir(path);
    char *file = folder ? nbi_path_join(path, "train_log.jsonl") : nbi_strdup(NBI_MEM_OTHER, path);
    r->name = nbi_arena_strndup(&r->arena, path, strlen(path));
    nb_status st = file && r->name ? nbi_read_file(file, LOG_MAX, &text, &n, err)
                                   : nbi_fail_nomem(err, path, 0);
    if (st == NB_OK)
        st = nbi_run_record_parse(r, file, text, n, err);
    if (st == NB_OK && folder)
        nbi_run_record_samples(r, path);
    nbi_free(text);
    nbi_free(file);
    return st;
}

/* Lines become the elements of one list, so that they are read at once. */
void nbi_run_record_samples(nbi_run_record *r, const char *dir)
{
    char *path = nbi_path_join(dir, "samples.jsonl"), *text = NULL;
    size_t n = 0;
    nbi_json *list = NULL;
    nbi_strbuf b = {0};
    nbi_arena_free(&r->sample_arena);
    r->samples = NULL;
    if (path && nbi_path_exists(path) &&
        nbi_read_file(path, SAMPLES_MAX, &text, &n, NULL) == NB_OK) {
        while (n && text[n - 1] != '\n') /* a line that is being written */
            n--;
        nbi_strbuf_putc(&b, '[');
        for (size_t i = 0; i < n; i++)
            nbi_strbuf_putc(&b, text[i] == '\n' ? (i + 1 < n ? ',' : ' ') : text[i]);
        nbi_strbuf_putc(&b, ']');
        if (!b.failed && nbi_json_parse(&r->sample_arena, path, b.s, b.n, &list, NULL) == NB_OK)
            r->samples = list;
    }
    nbi_strbuf_free(&b);
    nbi_free(text);
    nbi_free(path);
}

void nbi_run_record_close(nbi_run_record *r)
{
    nbi_history_free(&r->own);
    nbi_arena_free(&r->sample_arena);
    nbi_arena_free(&r->arena);
    *r = (nbi_run_record){0};
}

/* ---- points ---- */

nb_status nbi_points_of(const nbi_run_record *r, const char *name, nbi_points *out, nb_error *err)
{
    const nbi_history *h = r->history;
    const char *known = NULL;
    out->n = 0;
    for (size_t i = 0; i < h->names.n && !known; i++)
        if (strcmp(h->names.v[i], name) == 0)
            known = h->names.v[i];
    for (size_t i = 0; known && i < h->entries.n; i++) {
        const nbi_entry *e = &h->entries.v[i];
        for (size_t j = e->first; j < e->first + e->n; j++) {
            const nbi_point p = {(double)e->step, h->numbers.v[j].value};
            if (h->numbers.v[j].name == known && !nbi_array_push(out, p))
                return nbi_fail_nomem(err, "a curve", sizeof p);
        }
    }
    return NB_OK;
}

static double height(const nbi_point *p)
{
    return isfinite(p->y) ? p->y : INFINITY;
}

void nbi_points_thin(nbi_points *p, size_t max)
{
    const size_t n = p->n, parts = max / 2;
    size_t kept = 0;
    if (n <= max)
        return;
    for (size_t i = 0; i < parts; i++) {
        size_t from = n * i / parts, to = n * (i + 1) / parts, low = from, high = from;
        for (size_t j = from + 1; j < to; j++) {
            if (height(&p->v[j]) < height(&p->v[low]))
                low = j;
            if (height(&p->v[j]) > height(&p->v[high]))
                high = j;
        }
        const nbi_point a = p->v[low < high ? low : high], b = p->v[low < high ? high : low];
        p->v[kept++] = a; /* kept <= from: nothing unread is overwritten */
        if (low != high)
            p->v[kept++] = b;
    }
    p->n = kept;
}
