/* SPDX-License-Identifier: MIT */
#include "data/dataset.h"

#include <string.h>
#include "base/fail.h"
#include "base/sha256.h"
#include "data/choices.h"
#include "data/dataset_priv.h"
#include "data/mask.h"
#include "data/rowsource.h"

/* Rows worked on between two gatherings; bounds the memory that results hold twice. */
enum { BLOCK_ROWS = 2048 };

typedef struct loading {
    nb_dataset *d;
    nbi_rowsource src;
    const nbi_schema *schema;
    nbi_layout layout;
    int64_t vocab;
    bool spelled_bos; /* a row's own text does */
    nb_example *rows; /* [n] all rows in file order */
} loading;

/* What one thread needs from row to row. */
typedef struct worker {
    nbi_arena arena;
    nbi_rendering r;
    nbi_masker m;
} worker;

static void worker_free(worker *w)
{
    nbi_arena_free(&w->arena);
    nbi_strbuf_free(&w->r.text);
    nbi_rendered_free(&w->r.chat);
    nbi_rendered_free(&w->r.chat_prompt);
    nbi_array_free(&w->r.ids);
    nbi_array_free(&w->r.labels);
    nbi_masker_free(&w->m);
}

/* Empties the rendering but keeps its memory. */
static void worker_reset(worker *w)
{
    nbi_rendering old = w->r;
    memset(&w->r, 0, sizeof w->r);
    w->r.text = old.text;
    w->r.ids.v = old.ids.v;
    w->r.ids.cap = old.ids.cap;
    w->r.labels.v = old.labels.v;
    w->r.labels.cap = old.labels.cap;
    nbi_strbuf_clear(&w->r.text);
    nbi_rendered_free(&old.chat);
    nbi_rendered_free(&old.chat_prompt);
}

static nb_status check_ids(const loading *l, const nbi_row *row, const nbi_masked *m, nb_error *err)
{
    for (int64_t i = 0; l->vocab > 0 && i < m->n; i++) {
        int32_t worst = m->ids[i] >= m->labels[i] ? m->ids[i] : m->labels[i];
        if (worst < l->vocab)
            continue;
        const char *token = l->layout.tok ? nb_tokenizer_token(l->layout.tok, worst) : NULL;
        return nbi_fail(
            err, NB_DATA,
            "%s:%lld: token %lld has id %d%s%s%s, but the model has only %lld ids; data, "
            "tokenizer and model do not belong together",
            row->path, (long long)row->line, (long long)i, worst, token ? " (\"" : "",
            token ? token : "", token ? "\")" : "", (long long)l->vocab);
    }
    return NB_OK;
}

/* Copies the result out of the worker; memory of the heap until it is gathered. */
static nb_status keep(const loading *l, const worker *w, const nbi_masked *m, nb_example *e,
                      nb_error *err)
{
    size_t bytes = (size_t)m->n * sizeof(int32_t);
    e->n = m->n;
    e->n_trained = m->n_trained;
    e->truncated = m->truncated;
    if (!m->any_label)
        e->dropped = w->r.reason ? w->r.reason : m->n == 0 ? "no tokens" : "no trained tokens left";
    e->ids = nbi_alloc(NBI_MEM_IO, bytes);
    e->labels = nbi_alloc(NBI_MEM_IO, bytes);
    if (!e->ids || !e->labels)
        return nbi_fail_nomem(err, l->src.map.path, bytes);
    if (bytes) {
        memcpy(e->ids, m->ids, bytes);
        memcpy(e->labels, m->labels, bytes);
    }
    if (l->layout.config->keep_text && !w->r.has_ids) {
        e->text = nbi_strndup(NBI_MEM_IO, nbi_strbuf_str(&w->r.text), w->r.text.n);
        if (!e->text)
            return nbi_fail_nomem(err, l->src.map.path, w->r.text.n);
        e->text_len = w->r.text.n;
    }
    return NB_OK;
}

static nb_status one_row(loading *l, size_t i, worker *w, nb_example *e, nb_error *err)
{
    nbi_row row = {.path = l->src.map.path, .line = l->src.records.v[i].line};
    nbi_json *v = NULL;
    nbi_masked m;
    NBI_TRY(nbi_rowsource_poll(&l->src, err));
    worker_reset(w);
    nbi_arena_free(&w->arena);
    NBI_TRY(nbi_rowsource_row(&l->src, i, &w->arena, &v, err));
    row.v = v;
    if (l->layout.config->choice != NBI_CHOICE_NONE)
        NBI_TRY(nbi_choices_put(l->layout.config, &row, &w->arena, v, err));
    NBI_TRY(l->schema->render(&l->layout, &row, &w->r, err));
    nb_status st = nbi_mask_row(&l->layout, &w->r, &w->m, &m, err);
    if (st != NB_OK)
        return nbi_fail_prefix(err, st, "%s:%lld", row.path, (long long)row.line);
    NBI_TRY(check_ids(l, &row, &m, err));
    e->row = (int64_t)i;
    e->line = row.line;
    NBI_TRY(keep(l, w, &m, e, err));
    if (m.spelled_bos && w->r.special) { /* not when a chat template spells it */
#pragma omp atomic write
        l->spelled_bos = true;
    }
    if (e->dropped && l->layout.config->empty_labels_error)
        return nbi_fail(err, NB_DATA, "%s:%lld: %s (on_empty_labels: drop leaves such rows out)",
                        row.path, (long long)row.line, e->dropped);
    return NB_OK;
}

/* Rows do not depend on each other; the error reported is that of the first bad row, whatever the
 * number of threads. */
static nb_status run_block(loading *l, size_t begin, size_t end, nb_error *err)
{
    size_t bad = SIZE_MAX;
    nb_status bad_status = NB_OK;
#pragma omp parallel if (end - begin > 64)
    {
        worker w = {0};
        nb_error mine = {NB_OK, ""};
        nbi_arena_init(&w.arena, NBI_MEM_IO);
#pragma omp for schedule(dynamic, 16)
        for (size_t i = begin; i < end; i++) {
            size_t seen;
#pragma omp atomic read
            seen = bad;
            if (i > seen)
                continue;
            nb_status st = one_row(l, i, &w, &l->rows[i], &mine);
            if (st != NB_OK) {
#pragma omp critical(nbi_dataset_error)
                if (i < bad) {
#pragma omp atomic write
                    bad = i;
                    bad_status = st;
                    if (err)
                        *err = mine;
                }
            }
        }
        worker_free(&w);
    }
    return bad_status;
}

static void drop_block(loading *l, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        nbi_free(l->rows[i].ids);
        nbi_free(l->rows[i].labels);
        nbi_free(l->rows[i].text);
    }
}

/* Moves the results of a block into the data set's arena. */
static nb_status gather(loading *l, size_t begin, size_t end, nb_error *err)
{
    for (size_t i = begin; i < end; i++) {
        nb_example *e = &l->rows[i];
        size_t bytes = (size_t)e->n * sizeof(int32_t);
        int32_t *ids = nbi_arena_alloc(&l->d->arena, 2 * bytes + 1, _Alignof(int32_t));
        char *text = e->text ? nbi_arena_strndup(&l->d->arena, e->text, e->text_len) : NULL;
        if (!ids || (e->text && !text)) {
            drop_block(l, i, end);
            return nbi_fail_nomem(err, l->src.map.path, 2 * bytes);
        }
        memcpy(ids, e->ids, bytes);
        memcpy(ids + e->n, e->labels, bytes);
        nbi_free(e->ids);
        nbi_free(e->labels);
        nbi_free(e->text);
        e->ids = ids;
        e->labels = ids + e->n;
        e->text = text;
    }
    return NB_OK;
}

static nb_status run_all(loading *l, nb_error *err)
{
    size_t n = l->src.records.n;
    l->rows = nbi_calloc(NBI_MEM_IO, n, sizeof *l->rows);
    if (!l->rows)
        return nbi_fail_nomem(err, l->src.map.path, n * sizeof *l->rows);
    for (size_t begin = 0; begin < n; begin += BLOCK_ROWS) {
        size_t end = n - begin < BLOCK_ROWS ? n : begin + BLOCK_ROWS;
        nb_status st = run_block(l, begin, end, err);
        if (st != NB_OK) {
            drop_block(l, begin, end);
            return st;
        }
        NBI_TRY(gather(l, begin, end, err));
    }
    return NB_OK;
}

static nb_status separate(loading *l, nb_error *err)
{
    nb_dataset *d = l->d;
    size_t n = l->src.records.n, n_dropped = 0;
    for (size_t i = 0; i < n; i++)
        n_dropped += l->rows[i].dropped != NULL;
    d->rows = nbi_calloc(NBI_MEM_OTHER, n - n_dropped, sizeof *d->rows);
    d->dropped = nbi_calloc(NBI_MEM_OTHER, n_dropped, sizeof *d->dropped);
    if (!d->rows || !d->dropped)
        return nbi_fail_nomem(err, l->src.map.path, n * sizeof *d->rows);
    for (size_t i = 0; i < n; i++)
        *(l->rows[i].dropped ? &d->dropped[d->n_dropped++] : &d->rows[d->n++]) = l->rows[i];
    nbi_dataset_count(d);
    return NB_OK;
}

/* The schema, found by the first row when the format is AUTO. */
static nb_status find_schema(loading *l, const nb_data_config *c, const nbi_row *first,
                             nb_error *err)
{
    nb_data_format f = c->format;
    if (f == NB_DATA_AUTO && c->template_text)
        f = NB_DATA_TEMPLATE;
    if (f == NB_DATA_AUTO && c->text_column)
        f = NB_DATA_TEXT;
    l->schema = f == NB_DATA_AUTO ? nbi_schema_guess(first->v) : nbi_schema_find(f);
    return l->schema ? NB_OK : nbi_schema_unknown(first, err);
}

/* The tokens by role, and what the post-processor does to an empty text. */
static nb_status find_tokens(nbi_layout *y, const nb_tokenizer *tok, nb_error *err)
{
    nb_encoding e = {0};
    y->bos = nb_tokenizer_bos(tok);
    y->eos = nb_tokenizer_eos(tok);
    y->bos_text = y->bos >= 0 ? nb_tokenizer_token(tok, y->bos) : NULL;
    y->eos_text = y->eos >= 0 ? nb_tokenizer_token(tok, y->eos) : NULL;
    nb_status st = nb_tokenizer_encode(tok, "", 0, NB_ENCODE_SPECIAL, &e, err);
    y->special_ends = st == NB_OK && e.n > 0 && y->eos >= 0 && e.ids[e.n - 1] == y->eos;
    nb_encoding_free(&e);
    return st;
}

static nb_status prepare(loading *l, const nb_data_config *c, const nb_tokenizer *tok,
                         const nbi_row *first, const nb_log *log, nb_error *err)
{
    NBI_TRY(find_schema(l, c, first, err));
    nbi_layout *y = &l->layout;
    *y = (nbi_layout){.config = c, .train_on = c->train_on, .tok = tok, .bos = -1, .eos = -1};
    nbi_arena_init(&y->arena, NBI_MEM_OTHER);
    if (y->train_on == NB_TRAIN_DEFAULT)
        y->train_on = l->schema->train_on;
    else if (y->train_on != NB_TRAIN_ALL && l->schema->string_answer)
        y->train_on = NB_TRAIN_COMPLETION;
    if (tok)
        NBI_TRY(find_tokens(y, tok, err));
    if (l->schema->needs_tokenizer && !tok)
        return nbi_fail(
            err, NB_CONFIG,
            "%s: format %s needs a tokenizer, and the model folder has none; name one with "
            "tokenizer, or give pre-tokenised rows (input_ids, labels)",
            first->path, l->schema->name);
    if (l->schema->needs_tokenizer && !y->eos_text && !c->no_eos &&
        l->schema->format != NB_DATA_MESSAGES)
        nbi_log(
            log, NB_LOG_WARN,
            "%s: the tokenizer names no eos token; answers get none, so the model cannot learn to "
            "stop",
            first->path);
    return l->schema->prepare ? l->schema->prepare(y, first, err) : NB_OK;
}

static nb_status load(loading *l, const char *path, const nb_data_config *c,
                      const nb_tokenizer *tok, const nb_log *log, nb_error *err)
{
    nbi_arena scratch;
    nbi_json *v = NULL;
    NBI_TRY(nbi_rowsource_open(&l->src, path, c->max_rows, c->stop, log, err));
    if (l->src.records.n == 0)
        return nbi_fail(err, NB_DATA, "%s: no rows", path);
    if (l->src.records.n > UINT32_MAX)
        return nbi_fail(err, NB_LIMIT, "%s: more than %u rows", path, UINT32_MAX);
    nbi_arena_init(&scratch, NBI_MEM_IO);
    nb_status st = nbi_rowsource_row(&l->src, 0, &scratch, &v, err);
    if (st == NB_OK) {
        nbi_row first = {path, l->src.records.v[0].line, v};
        if (c->choice != NBI_CHOICE_NONE)
            st = nbi_choices_put(c, &first, &scratch, v, err);
        if (st == NB_OK)
            st = prepare(l, c, tok, &first, log, err);
    }
    nbi_arena_free(&scratch);
    NBI_TRY(st);
    l->d->format = l->schema->format;
    NBI_TRY(run_all(l, err));
    NBI_TRY(nbi_sha256_hex(l->src.map.data, l->src.map.size, l->d->sha256, err));
    NBI_TRY(nbi_mapfile_check(&l->src.map, err));
    NBI_TRY(separate(l, err));
    return nbi_dataset_report(l->d, &l->layout, l->spelled_bos, log, err);
}

nb_status nb_dataset_load(nb_dataset **out, const char *path, const nb_data_config *config,
                          const nb_tokenizer *tok, int64_t vocab, const nb_log *log, nb_error *err)
{
    loading l = {.d = nbi_dataset_new(path), .vocab = vocab};
    *out = NULL;
    if (!l.d)
        return nbi_fail_nomem(err, path, sizeof *l.d);
    nb_status st = load(&l, path, config, tok, log, err);
    nbi_rowsource_close(&l.src);
    nbi_arena_free(&l.layout.arena);
    nbi_free(l.rows);
    if (st != NB_OK)
        nb_dataset_close(&l.d);
    *out = l.d;
    return st;
}
