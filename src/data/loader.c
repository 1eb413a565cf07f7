/* SPDX-License-Identifier: MIT */
#include "data/loader.h"

#include <stdio.h>
#include <string.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/mapfile.h"
#include "base/rng.h"
#include "data/rowsource.h"

static nb_status bad_entry(const char *path, int64_t line, const char *found, size_t n_rows,
                           nb_error *err)
{
    return nbi_fail(err, NB_DATA, "%s:%lld: found %s, expected a list of row numbers from 0 to %zu",
                    path, (long long)line, found, n_rows - 1);
}

typedef struct order_file {
    const char *path;
    size_t n_rows;
    uint32_t *last_line; /* [n_rows] line where the row was last seen: a row stands once in a line,
                          * so that no batch holds a row twice */
} order_file;

static nb_status read_numbers(nb_order *o, nbi_json_reader *r, const order_file *f, int64_t line,
                              nb_error *err)
{
    const char *path = f->path;
    size_t n_rows = f->n_rows;
    nbi_json_event ev;
    char found[40];
    NBI_TRY(nbi_json_next(r, &ev, err));
    if (ev != NBI_JSON_ARRAY_BEGIN)
        return bad_entry(path, line, "no list", n_rows, err);
    for (;;) {
        NBI_TRY(nbi_json_next(r, &ev, err));
        if (ev == NBI_JSON_ARRAY_END)
            break;
        uint64_t row;
        if (ev != NBI_JSON_NUMBER)
            return bad_entry(path, line, "something else than numbers", n_rows, err);
        int shown = r->text_len < sizeof found - 1 ? (int)r->text_len : (int)sizeof found - 1;
        snprintf(found, sizeof found, "%.*s", shown, r->text);
        if (!nbi_parse_u64(r->text, r->text_len, &row) || row >= n_rows)
            return bad_entry(path, line, found, n_rows, err);
        if (f->last_line[row] == (uint32_t)line)
            return nbi_fail(err, NB_DATA, "%s:%lld: row %s stands twice in the line", path,
                            (long long)line, found);
        f->last_line[row] = (uint32_t)line;
        if (!nbi_array_push(&o->fixed, (uint32_t)row))
            return nbi_fail_nomem(err, path, (o->fixed.n + 1) * sizeof(uint32_t));
    }
    return nbi_json_next(r, &ev, err); /* nothing may follow */
}

static nb_status read_line(nb_order *o, const order_file *f, int64_t line, const char *text,
                           size_t len, nb_error *err)
{
    const char *path = f->path;
    size_t n_rows = f->n_rows;
    nbi_json_reader r;
    size_t before = o->fixed.n;
    nbi_json_reader_init(&r, path, text, len);
    nb_status st = read_numbers(o, &r, f, line, err);
    nbi_json_reader_free(&r);
    if (st == NB_FORMAT)
        return bad_entry(path, line, "no valid JSON", n_rows, err);
    if (st == NB_OK && o->fixed.n == before)
        return bad_entry(path, line, "an empty list", n_rows, err);
    if (st == NB_OK && !nbi_array_push(&o->fixed_start, (uint64_t)o->fixed.n))
        return nbi_fail_nomem(err, path, (o->fixed_start.n + 1) * sizeof(uint64_t));
    return st;
}

static nb_status read_lines(nb_order *o, const order_file *f, const char *text, size_t size,
                            nb_error *err)
{
    const char *path = f->path;
    if (!nbi_array_push(&o->fixed_start, (uint64_t)0))
        return nbi_fail_nomem(err, path, sizeof(uint64_t));
    nbi_lines l = {.text = text, .len = size};
    const char *s;
    size_t n;
    while (nbi_lines_next(&l, &s, &n))
        NBI_TRY(read_line(o, f, l.line, s, n, err));
    if (o->fixed_start.n < 2)
        return nbi_fail(err, NB_DATA, "%s: no line with a list of row numbers", path);
    return NB_OK;
}

nb_status nb_order_read(nb_order *o, const char *path, size_t n_rows, nb_error *err)
{
    nbi_mapfile map;
    NBI_TRY(nbi_mapfile_open(&map, path, err));
    o->fixed.n = o->fixed_start.n = 0;
    order_file f = {path, n_rows, nbi_calloc(NBI_MEM_SCRATCH, n_rows, sizeof(uint32_t))};
    nb_status st = f.last_line ? read_lines(o, &f, (const char *)map.data, map.size, err)
                               : nbi_fail_nomem(err, path, n_rows * sizeof(uint32_t));
    nbi_free(f.last_line);
    if (st == NB_OK)
        st = nbi_mapfile_check(&map, err);
    nbi_mapfile_close(&map);
    if (st != NB_OK)
        nb_order_free(o);
    return st;
}

void nb_order_free(nb_order *o)
{
    nbi_array_free(&o->fixed);
    nbi_array_free(&o->fixed_start);
}

nb_status nb_order_epoch(const nb_order *o, uint32_t epoch, size_t n_rows, uint32_t *rows,
                         size_t *n, nb_error *err)
{
    if (o->fixed_start.n > 1) {
        size_t line = epoch % (o->fixed_start.n - 1);
        uint64_t begin = o->fixed_start.v[line], count = o->fixed_start.v[line + 1] - begin;
        if (count > n_rows)
            return nbi_fail(err, NB_DATA,
                            "sample_order: the list of epoch %u has %llu rows, the data set %zu",
                            epoch, (unsigned long long)count, n_rows);
        memcpy(rows, o->fixed.v + begin, (size_t)count * sizeof *rows);
        *n = (size_t)count;
        return NB_OK;
    }
    for (size_t i = 0; i < n_rows; i++)
        rows[i] = (uint32_t)i;
    *n = n_rows;
    if (o->shuffle) {
        nbi_rng rng;
        nbi_rng_init(&rng, o->seed, NBI_RNG_SHUFFLE, epoch);
        nbi_rng_shuffle(&rng, rows, n_rows);
    }
    return NB_OK;
}

static bool grow_i32(int32_t **p, int64_t n)
{
    int32_t *q = nbi_realloc(NBI_MEM_IO, *p, (size_t)n * sizeof **p);
    if (q)
        *p = q;
    return q != NULL;
}

static nb_status reserve(nb_batch_buffer *b, int64_t tokens, int64_t segments, nb_error *err)
{
    if (tokens > b->cap) {
        if (!grow_i32(&b->ids, tokens) || !grow_i32(&b->targets, tokens) ||
            !grow_i32(&b->positions, tokens) || !grow_i32(&b->example, tokens))
            return nbi_fail_nomem(err, "batch", (size_t)tokens * 4 * sizeof(int32_t));
        b->cap = tokens;
    }
    if (segments + 1 > b->seg_cap) {
        size_t bytes = (size_t)(segments + 1) * sizeof *b->starts;
        int64_t *p = nbi_realloc(NBI_MEM_IO, b->starts, bytes);
        if (!p)
            return nbi_fail_nomem(err, "batch", bytes);
        b->starts = p;
        b->seg_cap = segments + 1;
    }
    return NB_OK;
}

/* One row as a segment at token `at`; returns how many targets it has. */
static int64_t put_row(nb_batch_buffer *b, const nb_example *e, uint32_t row, int64_t at)
{
    int64_t targets = 0;
    memcpy(b->ids + at, e->ids, (size_t)e->n * sizeof *b->ids);
    for (int64_t i = 0; i < e->n; i++) {
        int32_t target = i + 1 < e->n ? e->labels[i + 1] : NB_LABEL_IGNORE;
        b->targets[at + i] = target;
        b->positions[at + i] = (int32_t)i;
        b->example[at + i] = (int32_t)row;
        targets += target != NB_LABEL_IGNORE;
    }
    return targets;
}

nb_status nb_batch_make(nb_batch_buffer *b, const nb_dataset *d, const uint32_t *rows, size_t n,
                        uint32_t epoch, nb_error *err)
{
    int64_t tokens = 0, at = 0, targets = 0;
    for (size_t i = 0; i < n; i++) {
        if (rows[i] >= d->n)
            return nbi_fail(err, NB_INTERNAL, "batch: row %u of %zu", rows[i], d->n);
        if (!nbi_add_i64(tokens, d->rows[rows[i]].n, &tokens) || tokens > INT32_MAX)
            return nbi_fail(err, NB_LIMIT,
                            "a batch of %zu rows has more than %d tokens; make "
                            "per_device_train_batch_size or max_seq_length smaller",
                            n, INT32_MAX);
    }
    NBI_TRY(reserve(b, tokens, (int64_t)n, err));
    for (size_t i = 0; i < n; i++) {
        b->starts[i] = at;
        targets += put_row(b, &d->rows[rows[i]], rows[i], at);
        at += d->rows[rows[i]].n;
    }
    b->starts[n] = at;
    b->batch = (nb_batch){.m = tokens,
                          .ids = b->ids,
                          .targets = b->targets,
                          .positions = b->positions,
                          .example = b->example,
                          .n_segments = (int64_t)n,
                          .starts = b->starts,
                          .n_targets = targets,
                          .epoch = epoch};
    return NB_OK;
}

void nb_batch_free(nb_batch_buffer *b)
{
    nbi_free(b->ids);
    nbi_free(b->targets);
    nbi_free(b->positions);
    nbi_free(b->example);
    nbi_free(b->starts);
    memset(b, 0, sizeof *b);
}

int64_t nb_batch_max_tokens(const nb_dataset *d, int64_t batch_rows)
{
    int64_t sum = 0, left = batch_rows < (int64_t)d->n ? batch_rows : (int64_t)d->n;
    /* the `left` longest rows, by counting how many rows are longer than a length */
    for (int64_t low, high = d->max_tokens; left > 0 && high > 0; high = low) {
        int64_t count = 0;
        low = 0;
        for (size_t i = 0; i < d->n; i++) {
            int64_t len = d->rows[i].n;
            count += len == high;
            if (len < high && len > low)
                low = len;
        }
        count = count < left ? count : left;
        sum += count * high;
        left -= count;
    }
    return sum;
}
