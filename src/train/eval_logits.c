/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "base/fail.h"
#include "train/evaluation.h"

/* Streams the logits of all rows in order: one row's forward pass at a time, a few of its tokens'
 * logits in memory. Elements are asked for in ascending order. */
typedef struct logit_stream {
    nbi_evaluation *e;
    size_t row;        /* whose forward pass is in the workspace; (size_t)-1: none */
    int64_t row_begin; /* its first token */
    float *block;      /* [block_tokens, V] from token block_begin on */
    int64_t block_begin, block_n, block_tokens;
} logit_stream;

static nb_status next_row(logit_stream *s, nb_error *err)
{
    const nb_dataset *d = s->e->data;
    s->row_begin += s->row == (size_t)-1 ? 0 : d->rows[s->row].n;
    s->row++;
    uint32_t row = (uint32_t)s->row;
    NBI_TRY(nb_batch_make(&s->e->batch, d, &row, 1, 0, err));
    nb_model_forward(s->e->parts.model, s->e->ws, &s->e->batch.batch, NULL, false);
    return NB_OK;
}

/* Brings the logits of `token` into the block. */
static nb_status load_block(logit_stream *s, int64_t token, nb_error *err)
{
    const nb_dataset *d = s->e->data;
    while (s->row == (size_t)-1 || token >= s->row_begin + d->rows[s->row].n)
        NBI_TRY(next_row(s, err));
    int64_t left = s->row_begin + d->rows[s->row].n - token;
    s->block_begin = token;
    s->block_n = left < s->block_tokens ? left : s->block_tokens;
    nb_model_logits(s->e->parts.model, s->e->ws, token - s->row_begin, s->block_n, s->block);
    return NB_OK;
}

static nb_status fill(void *user, size_t entry, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    logit_stream *s = user;
    int64_t v = s->e->parts.model->config.vocab;
    float *out = buf;
    (void)entry;
    while (n > 0) {
        int64_t token = i0 / v;
        if (token < s->block_begin || token >= s->block_begin + s->block_n)
            NBI_TRY(load_block(s, token, err));
        int64_t at = i0 - s->block_begin * v, have = s->block_n * v - at;
        int64_t take = n < have ? n : have;
        memcpy(out, s->block + at, (size_t)take * sizeof(*out));
        out += take;
        i0 += take;
        n -= take;
    }
    return NB_OK;
}

static nb_status save_logits_file(nbi_evaluation *e, const char *path, int64_t *starts,
                                  nb_error *err)
{
    const nb_dataset *d = e->data;
    int64_t v = e->parts.model->config.vocab;
    logit_stream s = {.e = e, .row = (size_t)-1, .block_tokens = 1 + (1 << 20) / v};
    starts[0] = 0;
    for (size_t i = 0; i < d->n; i++)
        starts[i + 1] = starts[i] + d->rows[i].n;
    s.block = nbi_alloc(NBI_MEM_IO, (size_t)(s.block_tokens * v) * sizeof(float));
    if (!s.block)
        return nbi_fail_nomem(err, "logits", (size_t)(s.block_tokens * v) * sizeof(float));
    nb_st_entry entries[2] = {
        {"logits", NB_DT_F32, 2, {starts[d->n], v}, NULL},
        {"segments", NB_DT_I64, 1, {(int64_t)d->n + 1}, starts},
    };
    nb_status st = nb_safetensors_write(path, entries, 2, fill, &s, err);
    nbi_free(s.block);
    return st;
}

nb_status nbi_eval_logits(nbi_evaluation *e, nb_error *err)
{
    int64_t *starts = nbi_calloc(NBI_MEM_IO, e->data->n + 1, sizeof(*starts));
    if (!starts)
        return nbi_fail_nomem(err, "segments", (e->data->n + 1) * sizeof(*starts));
    nb_status st = save_logits_file(e, e->o->save_logits, starts, err);
    nbi_free(starts);
    return st;
}
