/* SPDX-License-Identifier: MIT */
/* Life of a data set after loading: counts, messages, splitting off a part. */
#include <math.h>
#include <string.h>
#include "base/fail.h"
#include "base/rng.h"
#include "data/dataset_priv.h"

nb_dataset *nbi_dataset_new(const char *path)
{
    nb_dataset *d = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *d);
    if (!d)
        return NULL;
    nbi_arena_init(&d->arena, NBI_MEM_OTHER);
    d->path = nbi_strdup(NBI_MEM_OTHER, path);
    if (!d->path)
        nb_dataset_close(&d);
    return d;
}

void nb_dataset_close(nb_dataset **d)
{
    if (!d || !*d)
        return;
    nbi_free((*d)->path);
    nbi_free((*d)->rows);
    nbi_free((*d)->dropped);
    nbi_arena_free(&(*d)->arena);
    nbi_free(*d);
    *d = NULL;
}

void nbi_dataset_count(nb_dataset *d)
{
    d->total_tokens = d->trained_tokens = d->max_tokens = d->n_truncated = 0;
    for (size_t i = 0; i < d->n; i++) {
        const nb_example *e = &d->rows[i];
        d->total_tokens += e->n;
        d->trained_tokens += e->n_trained;
        d->n_truncated += e->truncated;
        if (e->n > d->max_tokens)
            d->max_tokens = e->n;
    }
}

/* "2 with no trained tokens left (lines 3, 9)" */
static void describe_reason(const nb_dataset *d, const char *reason, nbi_strbuf *out)
{
    enum { LISTED = 8 };
    size_t total = 0, shown = 0;
    for (size_t i = 0; i < d->n_dropped; i++)
        total += d->dropped[i].dropped == reason;
    nbi_strbuf_printf(out, "%s%zu with \"%s\" (line%s", out->n ? "; " : "", total, reason,
                      total > 1 ? "s" : "");
    for (size_t i = 0; i < d->n_dropped && shown < LISTED; i++)
        if (d->dropped[i].dropped == reason)
            nbi_strbuf_printf(out, "%s %lld", shown++ ? "," : "", (long long)d->dropped[i].line);
    nbi_strbuf_puts(out, total > shown ? ", ...)" : ")");
}

static void describe_dropped(const nb_dataset *d, nbi_strbuf *out)
{
    enum { KINDS = 8 }; /* reasons are constants; there are fewer */
    const char *seen[KINDS];
    size_t n = 0;
    for (size_t i = 0; i < d->n_dropped; i++) {
        bool known = false;
        for (size_t j = 0; j < n; j++)
            known = known || seen[j] == d->dropped[i].dropped;
        if (known || n == KINDS)
            continue;
        seen[n++] = d->dropped[i].dropped;
        describe_reason(d, d->dropped[i].dropped, out);
    }
}

static void log_lines(const nb_dataset *d, const nbi_layout *l, bool spelled_bos, const char *why,
                      const nb_log *log)
{
    nbi_log(
        log, NB_LOG_INFO,
        "%s: format %s, %zu rows, %zu used, %zu dropped, %lld tokens, %lld trained, longest row "
        "%lld",
        d->path, nb_data_format_name(d->format), d->n + d->n_dropped, d->n, d->n_dropped,
        (long long)d->total_tokens, (long long)d->trained_tokens, (long long)d->max_tokens);
    if (d->n_dropped)
        nbi_log(log, NB_LOG_WARN, "%s: dropped %s", d->path, why);
    if (d->n_truncated)
        nbi_log(log, NB_LOG_NOTE, "%s: %lld rows cut to %lld tokens on the %s", d->path,
                (long long)d->n_truncated, (long long)l->config->max_seq_length,
                l->config->truncate_left ? "left" : "right");
    if (spelled_bos)
        nbi_log(
            log, NB_LOG_NOTE,
            "%s: rows spell their own %s; it is the BOS, none is added (add_special_tokens: true "
            "adds one)",
            d->path, l->bos_text);
    if (l->config->mask_eos)
        nbi_log(log, NB_LOG_WARN,
                "%s: mask_eos: the stop token is never trained, so the model does "
                "not learn to stop",
                d->path);
}

nb_status nbi_dataset_report(const nb_dataset *d, const nbi_layout *l, bool spelled_bos,
                             const nb_log *log, nb_error *err)
{
    nbi_strbuf why = {0};
    describe_dropped(d, &why);
    nb_status st = nbi_strbuf_check(&why, err);
    if (st == NB_OK && d->trained_tokens == 0)
        st = nbi_fail(err, NB_DATA, "%s: none of the %zu rows has a token to train on%s%s", d->path,
                      d->n + d->n_dropped, why.n ? ": " : "", nbi_strbuf_str(&why));
    if (st == NB_OK)
        log_lines(d, l, spelled_bos, nbi_strbuf_str(&why), log);
    nbi_strbuf_free(&why);
    return st;
}

/* Copies a row into the arena of `to`. */
static bool copy_row(nb_dataset *to, const nb_example *e)
{
    size_t bytes = (size_t)e->n * sizeof(int32_t);
    nb_example *c = &to->rows[to->n];
    *c = *e;
    c->ids = nbi_arena_alloc(&to->arena, 2 * bytes + 1, _Alignof(int32_t));
    c->text = e->text ? nbi_arena_strndup(&to->arena, e->text, strlen(e->text)) : NULL;
    if (!c->ids || (e->text && !c->text))
        return false;
    c->labels = c->ids + e->n;
    memcpy(c->ids, e->ids, bytes);
    memcpy(c->labels, e->labels, bytes);
    to->n++;
    return true;
}

/* chosen[i] != 0: row i goes to the part. */
static nb_status move_rows(nb_dataset *d, const unsigned char *chosen, size_t n, nb_dataset *part,
                           nb_error *err)
{
    part->format = d->format;
    memcpy(part->sha256, d->sha256, sizeof part->sha256);
    part->rows = nbi_calloc(NBI_MEM_OTHER, n, sizeof *part->rows);
    if (!part->rows)
        return nbi_fail_nomem(err, d->path, n * sizeof *part->rows);
    for (size_t i = 0; i < d->n; i++)
        if (chosen[i] && !copy_row(part, &d->rows[i]))
            return nbi_fail_nomem(err, d->path, (size_t)d->rows[i].n * 2 * sizeof(int32_t));
    size_t left = 0;
    for (size_t i = 0; i < d->n; i++)
        if (!chosen[i])
            d->rows[left++] = d->rows[i];
    d->n = left;
    nbi_dataset_count(d);
    nbi_dataset_count(part);
    return NB_OK;
}

static nb_status choose(const nb_dataset *d, size_t n, uint64_t seed, unsigned char *chosen,
                        nb_error *err)
{
    uint32_t *order = nbi_alloc(NBI_MEM_SCRATCH, d->n * sizeof *order);
    if (!order)
        return nbi_fail_nomem(err, d->path, d->n * sizeof *order);
    for (size_t i = 0; i < d->n; i++)
        order[i] = (uint32_t)i;
    nbi_rng rng;
    nbi_rng_init(&rng, seed, NBI_RNG_SPLIT, 0);
    nbi_rng_shuffle(&rng, order, d->n);
    for (size_t i = 0; i < n; i++)
        chosen[order[i]] = 1;
    nbi_free(order);
    return NB_OK;
}

nb_status nb_dataset_split(nb_dataset *d, int64_t n_rows, double fraction, uint64_t seed,
                           nb_dataset **part, nb_error *err)
{
    /* the fraction is rounded up, as the usual splitting functions do */
    double want = n_rows > 0 ? (double)n_rows : ceil(fraction * (double)d->n);
    *part = NULL;
    if (!(want >= 1.0) || want >= (double)d->n)
        return nbi_fail(
            err, NB_CONFIG,
            "%s: cannot split off %.0f of %zu rows for evaluation; at least one row must "
            "be on each side",
            d->path, want, d->n);
    size_t n = (size_t)want;
    unsigned char *chosen = nbi_calloc(NBI_MEM_SCRATCH, d->n, 1);
    nb_dataset *p = nbi_dataset_new(d->path);
    nb_status st = chosen && p ? NB_OK : nbi_fail_nomem(err, d->path, d->n);
    if (st == NB_OK)
        st = choose(d, n, seed, chosen, err);
    if (st == NB_OK)
        st = move_rows(d, chosen, n, p, err);
    nbi_free(chosen);
    if (st != NB_OK)
        nb_dataset_close(&p);
    *part = p;
    return st;
}
