/* SPDX-License-Identifier: MIT */
/* The rows of a recipe as `nibble data` shows them (include/nibble/dataset.h). */
#include "nibble/dataset.h"

#include "base/fail.h"
#include "train/recipe.h"

struct nb_preview {
    nb_tokenizer *tok;
    nb_dataset *set;
    const nb_example **rows; /* [n] in file order */
    size_t n;
};

/* Pre-tokenised rows need no tokenizer; every other format says what is missing by itself. */
static nb_status open_tokenizer(nb_preview *p, const nb_recipe *r, const nb_log *log, nb_error *err)
{
    const char *dir = r->tokenizer ? r->tokenizer : r->model;
    if (!dir)
        return NB_OK;
    nb_error mine = {NB_OK, ""};
    nb_status st = nb_tokenizer_open(&p->tok, dir, log, &mine);
    if (st == NB_NOTFOUND && r->data_config.format == NB_DATA_TOKENIZED)
        return NB_OK;
    if (st != NB_OK && err)
        *err = mine;
    return st;
}

/* Used and dropped rows are two lists in file order; this is one. */
static nb_status merge(nb_preview *p, nb_error *err)
{
    const nb_dataset *d = p->set;
    p->n = d->n + d->n_dropped;
    p->rows = nbi_calloc(NBI_MEM_OTHER, p->n, sizeof *p->rows);
    if (!p->rows)
        return nbi_fail_nomem(err, "data preview", p->n * sizeof *p->rows);
    for (size_t i = 0, used = 0, dropped = 0; i < p->n; i++) {
        bool take =
            dropped == d->n_dropped || (used < d->n && d->rows[used].row < d->dropped[dropped].row);
        p->rows[i] = take ? &d->rows[used++] : &d->dropped[dropped++];
    }
    return NB_OK;
}

nb_status nb_preview_open(nb_preview **out, nb_recipe *r, const nb_log *log, nb_error *err)
{
    NBI_TRY(nb_recipe_finish(r, log, err));
    if (!r->data)
        return nbi_fail(err, NB_CONFIG, "data: not given; name the file of rows (--data FILE)");
    nb_preview *p = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *p);
    if (!p)
        return nbi_fail_nomem(err, "data preview", sizeof *p);
    nb_data_config config = r->data_config;
    config.keep_text = true;
    nb_status st = open_tokenizer(p, r, log, err);
    if (st == NB_OK)
        st = nb_dataset_load(&p->set, r->data, &config, p->tok, 0, log, err);
    if (st == NB_OK)
        st = merge(p, err);
    if (st != NB_OK)
        nb_preview_close(&p);
    *out = p;
    return st;
}

void nb_preview_close(nb_preview **p)
{
    if (!*p)
        return;
    nbi_free((*p)->rows);
    nb_dataset_close(&(*p)->set);
    nb_tokenizer_close(&(*p)->tok);
    nbi_free(*p);
    *p = NULL;
}

void nb_preview_get_summary(const nb_preview *p, nb_preview_summary *s)
{
    const nb_dataset *d = p->set;
    *s = (nb_preview_summary){.format = nb_data_format_name(d->format),
                              .rows = (int64_t)(d->n + d->n_dropped),
                              .used = (int64_t)d->n,
                              .dropped = (int64_t)d->n_dropped,
                              .truncated = d->n_truncated,
                              .tokens = d->total_tokens,
                              .trained_tokens = d->trained_tokens,
                              .max_tokens = d->max_tokens};
}

bool nb_preview_get(const nb_preview *p, size_t i, nb_preview_row *row)
{
    if (i >= p->n)
        return false;
    const nb_example *e = p->rows[i];
    *row = (nb_preview_row){.row = e->row,
                            .line = e->line,
                            .text = e->text,
                            .text_len = e->text_len,
                            .ids = e->ids,
                            .labels = e->labels,
                            .n = e->n,
                            .n_trained = e->n_trained,
                            .truncated = e->truncated,
                            .dropped = e->dropped};
    return true;
}

const nb_tokenizer *nb_preview_tokenizer(const nb_preview *p)
{
    return p->tok;
}
