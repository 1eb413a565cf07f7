/* SPDX-License-Identifier: MIT */
#include "generate/session.h"

#include "base/alloc.h"
#include "base/fail.h"

enum { PROMPT_CHUNK = 256 };

struct nb_session {
    nb_model *model;
    nb_workspace *ws;
    nb_kvcache *kv;
    int64_t chunk;
    int32_t *ids;       /* [capacity] tokens in the cache */
    int32_t *positions; /* [capacity] 0, 1, 2, ... */
    float *logits;      /* [vocab] */
    bool has_logits;
};

/* Frequencies that depend on the length are those of the whole prompt, which therefore must go in
 * at once. */
int64_t nb_session_rows(const nb_model_config *f, int64_t capacity)
{
    bool whole = f->rope.type == NB_ROPE_DYNAMIC && capacity > f->max_positions;
    return whole || capacity < PROMPT_CHUNK ? capacity : PROMPT_CHUNK;
}

static nb_status allocate(nb_session *s, int64_t capacity, nb_error *err)
{
    NBI_TRY(nb_kvcache_open(&s->kv, s->model, capacity, err));
    NBI_TRY(nb_workspace_open(&s->ws, s->model, &(nb_pass_plan){.max_rows = s->chunk}, err));
    s->ids = nbi_calloc(NBI_MEM_KV, (size_t)capacity, sizeof *s->ids);
    s->positions = nbi_calloc(NBI_MEM_KV, (size_t)capacity, sizeof *s->positions);
    s->logits = nbi_calloc(NBI_MEM_SCRATCH, (size_t)s->model->config.vocab, sizeof *s->logits);
    if (!s->ids || !s->positions || !s->logits)
        return nbi_fail_nomem(err, "generation", (unsigned long long)capacity * 8);
    for (int64_t i = 0; i < capacity; i++)
        s->positions[i] = (int32_t)i;
    return NB_OK;
}

nb_status nb_session_open(nb_session **out, nb_model *m, int64_t capacity, nb_error *err)
{
    *out = NULL;
    nb_session *s = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *s);
    if (!s)
        return nbi_fail_nomem(err, "generation", sizeof *s);
    s->model = m;
    s->chunk = nb_session_rows(&m->config, capacity);
    nb_status st = allocate(s, capacity, err);
    if (st != NB_OK) {
        nb_session_close(&s);
        return st;
    }
    *out = s;
    return NB_OK;
}

void nb_session_close(nb_session **s)
{
    if (!s || !*s)
        return;
    nb_kvcache_close(&(*s)->kv);
    nb_workspace_close(&(*s)->ws);
    nbi_free((*s)->ids);
    nbi_free((*s)->positions);
    nbi_free((*s)->logits);
    nbi_free(*s);
    *s = NULL;
}

int64_t nb_session_capacity(const nb_session *s)
{
    return s->kv->capacity;
}

int64_t nb_session_length(const nb_session *s)
{
    return s->kv->length;
}

void nb_session_rewind(nb_session *s, int64_t length)
{
    if (length < s->kv->length)
        s->kv->length = length < 0 ? 0 : length;
    s->has_logits = false;
}

int64_t nb_session_common(const nb_session *s, const int32_t *ids, size_t n)
{
    int64_t i = 0;
    while (i < s->kv->length && (size_t)i < n && s->ids[i] == ids[i])
        i++;
    return i;
}

static nb_status check_ids(const nb_session *s, const int32_t *ids, size_t n, nb_error *err)
{
    int64_t room = s->kv->capacity - s->kv->length, vocab = s->model->config.vocab;
    if (n == 0)
        return nbi_fail(err, NB_DATA, "the prompt holds no token");
    if (n > (size_t)room)
        return nbi_fail(err, NB_LIMIT, "%zu more tokens do not fit: %lld of %lld are in use", n,
                        (long long)s->kv->length, (long long)s->kv->capacity);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return nbi_fail(err, NB_DATA,
                            "token id %d at position %zu of the prompt is outside the model's "
                            "vocabulary of %lld",
                            ids[i], i, (long long)vocab);
    return NB_OK;
}

nb_status nb_session_feed(nb_session *s, const int32_t *ids, size_t n,
                          const volatile sig_atomic_t *interrupt, nb_error *err)
{
    NBI_TRY(check_ids(s, ids, n, err));
    int64_t end = s->kv->length + (int64_t)n;
    s->has_logits = false;
    for (size_t i = 0; i < n; i++)
        s->ids[s->kv->length + (int64_t)i] = ids[i];
    while (s->kv->length < end) {
        int64_t row0 = s->kv->length, left = end - row0;
        int64_t rows = left < s->chunk ? left : s->chunk;
        int64_t starts[2] = {0, rows};
        if (interrupt && *interrupt)
            return nbi_fail(err, NB_INTERRUPTED, "interrupted while reading the prompt");
        nb_batch b = {.m = rows,
                      .ids = s->ids + row0,
                      .positions = s->positions + row0,
                      .n_segments = 1,
                      .starts = starts};
        nb_model_forward(s->model, s->ws, &b, s->kv, false);
        if (s->kv->length == end)
            nb_model_logits(s->model, s->ws, rows - 1, 1, s->logits);
    }
    s->has_logits = true;
    return NB_OK;
}

const float *nb_session_logits(const nb_session *s)
{
    return s->has_logits ? s->logits : NULL;
}

static bool stops(const nb_session *s, const nb_session_options *o, int32_t id)
{
    const nb_model_config *f = &s->model->config;
    if (o->ignore_eos)
        return false;
    for (int i = 0; i < f->n_eos; i++)
        if (f->eos[i] == id)
            return true;
    for (size_t i = 0; i < o->n_stop; i++)
        if (o->stop_ids[i] == id)
            return true;
    return false;
}

static nb_status generate(nb_session *s, nb_sampler *sampler, const nb_session_options *o,
                          int32_t *ids, size_t *n, nb_finish *finish, nb_error *err)
{
    *finish = NB_FINISH_LENGTH;
    for (int64_t i = 0; i < s->kv->length; i++)
        nb_sampler_see(sampler, s->ids[i]);
    while ((int64_t)*n < o->max_new_tokens) {
        if (o->interrupt && *o->interrupt) {
            *finish = NB_FINISH_INTERRUPTED;
            return NB_OK;
        }
        if (*n > 0)
            NBI_TRY(nb_session_feed(s, &ids[*n - 1], 1, NULL, err));
        int32_t id = nb_sampler_pick(sampler, s->logits);
        if (id < 0)
            return nbi_fail(err, NB_NUMERIC,
                            "the model's output after %lld tokens holds no usable numbers (NaN)",
                            (long long)s->kv->length);
        nb_sampler_see(sampler, id);
        ids[(*n)++] = id;
        bool go_on = !o->on_token || o->on_token(o->user, id);
        if (stops(s, o, id)) {
            *finish = NB_FINISH_STOP;
            return NB_OK;
        }
        if (!go_on) {
            *finish = NB_FINISH_CALLER;
            return NB_OK;
        }
    }
    return NB_OK;
}

nb_status nb_session_generate(nb_session *s, const nb_session_options *o, int32_t *ids, size_t *n,
                              nb_finish *finish, nb_error *err)
{
    nb_sampler *sampler;
    int64_t room = s->kv->capacity - s->kv->length + 1;
    *n = 0;
    if (!s->has_logits)
        return nbi_fail(err, NB_DATA, "there is no prompt to continue");
    if (o->max_new_tokens > room)
        return nbi_fail(
            err, NB_LIMIT, "%lld new tokens after %lld do not fit into a context of %lld",
            (long long)o->max_new_tokens, (long long)s->kv->length, (long long)s->kv->capacity);
    NBI_TRY(nb_sampler_open(&sampler, &o->sampler, s->model->config.vocab, err));
    nb_status st = generate(s, sampler, o, ids, n, finish, err);
    nb_sampler_close(&sampler);
    return st;
}
