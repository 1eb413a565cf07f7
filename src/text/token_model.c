/* SPDX-License-Identifier: MIT */
#include "text/token_model.h"

#include <stdio.h>
#include "base/checked.h"
#include "base/fail.h"
#include "text/bpe.h"

/* ---- WordLevel: a piece is a token or unknown ---- */

typedef struct word_level {
    const nbi_vocab *vocab;
    int32_t unk;
} word_level;

static nb_status word_level_build(nbi_load *l, nbi_model_spec *spec, void **model)
{
    word_level *m;
    NBI_TRY(nbi_load_alloc(l, sizeof *m, (void **)&m));
    m->vocab = spec->vocab;
    m->unk = spec->unk ? nbi_vocab_find(spec->vocab, spec->unk, spec->unk_len) : -1;
    *model = m;
    return NB_OK;
}

static nb_status word_level_encode(const void *model, nbi_run *run, const char *s, size_t n)
{
    const word_level *m = model;
    int32_t id = nbi_vocab_find(m->vocab, s, n);
    if (id < 0)
        id = m->unk;
    if (id < 0)
        return nbi_fail(run->err, NB_DATA,
                        "the tokenizer has neither a token for \"%.*s\" nor an unknown token",
                        (int)(n < 100 ? n : 100), s);
    return nbi_model_token(run, id, n);
}

static const nbi_model_kind kinds[] = {
    {"BPE", nbi_bpe_build, nbi_bpe_encode, nbi_bpe_release},
    {"WordLevel", word_level_build, word_level_encode, NULL},
};

/* ---- reading ---- */

typedef struct model_reader {
    nbi_json_reader *r;
    nbi_load *l;
    nbi_model_spec *spec;
    size_t merges_begin, merges_end; /* merges that came before the vocabulary */
} model_reader;

static nb_status bad(const nbi_json_reader *r, nbi_load *l, const char *what)
{
    return nbi_fail(l->err, NB_FORMAT, "%s: byte %zu: %s", l->where, r->offset, what);
}

static nb_status read_entry(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec,
                            nbi_strbuf *token)
{
    nbi_json_event ev;
    uint64_t id;
    nbi_strbuf_clear(token);
    nbi_strbuf_add(token, r->text, r->text_len);
    NBI_TRY(nbi_strbuf_check(token, l->err));
    NBI_TRY(nbi_json_next(r, &ev, l->err));
    if (ev != NBI_JSON_NUMBER || !nbi_parse_u64(r->text, r->text_len, &id) || id > NBI_VOCAB_MAX_ID)
        return nbi_fail(l->err, NB_FORMAT,
                        "%s: byte %zu: the id of token \"%.100s\" must be a whole number below %d",
                        l->where, r->offset, nbi_strbuf_str(token), NBI_VOCAB_MAX_ID + 1);
    switch (nbi_vocab_add(spec->vocab, l->arena, nbi_strbuf_str(token), token->n, (int32_t)id)) {
    case NBI_VOCAB_ADDED:
        return NB_OK;
    case NBI_VOCAB_SAME_TOKEN:
        return nbi_fail(l->err, NB_FORMAT, "%s: byte %zu: token \"%.100s\" is there twice",
                        l->where, r->offset, nbi_strbuf_str(token));
    case NBI_VOCAB_SAME_ID:
        return nbi_fail(
            l->err, NB_FORMAT, "%s: byte %zu: tokens \"%.100s\" and \"%.100s\" have the same id %d",
            l->where, r->offset, spec->vocab->tokens[id].s, nbi_strbuf_str(token), (int)id);
    default:
        return nbi_fail_nomem(l->err, "the vocabulary", token->n);
    }
}

static nb_status read_vocab(model_reader *m)
{
    nbi_json_event ev;
    nbi_strbuf token = {0};
    nb_status st = nbi_json_next(m->r, &ev, m->l->err);
    if (st == NB_OK && ev != NBI_JSON_OBJECT_BEGIN)
        return ev == NBI_JSON_ARRAY_BEGIN
                   ? nbi_fail(m->l->err, NB_UNSUPPORTED,
                              "%s: byte %zu: a vocabulary with scores (Unigram) is not supported",
                              m->l->where, m->r->offset)
                   : bad(m->r, m->l, "\"vocab\" must be an object");
    if (m->spec->has_vocab)
        return bad(m->r, m->l, "\"vocab\" is there twice");
    m->spec->has_vocab = true;
    while (st == NB_OK) {
        st = nbi_json_next(m->r, &ev, m->l->err);
        if (st != NB_OK || ev == NBI_JSON_OBJECT_END)
            break;
        st = read_entry(m->r, m->l, m->spec, &token);
    }
    nbi_strbuf_free(&token);
    return st;
}

static nb_status add_merge(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec, const char *a,
                           size_t na, const char *b, size_t nb)
{
    nbi_merge m = {nbi_vocab_find(spec->vocab, a, na), nbi_vocab_find(spec->vocab, b, nb)};
    if (m.left < 0 || m.right < 0) {
        bool left = m.left < 0;
        return nbi_fail(l->err, NB_FORMAT,
                        "%s: byte %zu: merge %zu names \"%.*s\", which is not in the vocabulary",
                        l->where, r->offset, spec->merges.n,
                        (int)(left ? (na < 100 ? na : 100) : (nb < 100 ? nb : 100)), left ? a : b);
    }
    if (!nbi_array_push(&spec->merges, m))
        return nbi_fail_nomem(l->err, "the merges", sizeof m);
    return NB_OK;
}

/* "a b" */
static nb_status merge_of_string(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec)
{
    const char *s = r->text;
    size_t n = r->text_len;
    if (n >= 8 && memcmp(s, "#version", 8) == 0)
        return NB_OK;
    const char *blank = n ? memchr(s, ' ', n) : NULL;
    size_t na = blank ? (size_t)(blank - s) : 0;
    if (!blank || memchr(blank + 1, ' ', n - na - 1))
        return bad(r, l, "a merge must be two tokens with one blank between them");
    return add_merge(r, l, spec, s, na, blank + 1, n - na - 1);
}

/* ["a", "b"]; the bracket has been read */
static nb_status merge_of_pair(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec,
                               nbi_strbuf *left)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(r, &ev, l->err));
    if (ev != NBI_JSON_STRING)
        return bad(r, l, "a merge must be two strings");
    nbi_strbuf_clear(left);
    nbi_strbuf_add(left, r->text, r->text_len);
    NBI_TRY(nbi_strbuf_check(left, l->err));
    NBI_TRY(nbi_json_next(r, &ev, l->err));
    if (ev != NBI_JSON_STRING)
        return bad(r, l, "a merge must be two strings");
    NBI_TRY(add_merge(r, l, spec, nbi_strbuf_str(left), left->n, r->text, r->text_len));
    NBI_TRY(nbi_json_next(r, &ev, l->err));
    return ev == NBI_JSON_ARRAY_END ? NB_OK : bad(r, l, "a merge must be two strings");
}

static nb_status read_merges(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec)
{
    nbi_json_event ev;
    nbi_strbuf left = {0};
    nb_status st = nbi_json_next(r, &ev, l->err);
    if (st == NB_OK && ev != NBI_JSON_ARRAY_BEGIN)
        return bad(r, l, "\"merges\" must be a list");
    while (st == NB_OK) {
        st = nbi_json_next(r, &ev, l->err);
        if (st != NB_OK || ev == NBI_JSON_ARRAY_END)
            break;
        if (ev == NBI_JSON_STRING)
            st = merge_of_string(r, l, spec);
        else if (ev == NBI_JSON_ARRAY_BEGIN)
            st = merge_of_pair(r, l, spec, &left);
        else
            st = bad(r, l, "a merge must be a string or a list of two");
    }
    nbi_strbuf_free(&left);
    return st;
}

static nb_status read_merges_or_wait(model_reader *m)
{
    if (m->spec->has_merges)
        return bad(m->r, m->l, "\"merges\" is there twice");
    m->spec->has_merges = true;
    if (m->spec->has_vocab)
        return read_merges(m->r, m->l, m->spec);
    m->merges_begin = m->r->pos;
    NBI_TRY(nbi_json_skip(m->r, m->l->err));
    m->merges_end = m->r->pos;
    return NB_OK;
}

static nb_status read_text(model_reader *m, const char *key, const char **s, size_t *n)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(m->r, &ev, m->l->err));
    if (ev == NBI_JSON_NULL)
        return NB_OK;
    if (ev != NBI_JSON_STRING)
        return nbi_fail(m->l->err, NB_FORMAT, "%s: byte %zu: \"%s\" must be a string or null",
                        m->l->where, m->r->offset, key);
    *s = nbi_arena_strndup(m->l->arena, m->r->text, m->r->text_len);
    *n = m->r->text_len;
    return *s ? NB_OK : nbi_fail_nomem(m->l->err, "the tokenizer", *n);
}

static nb_status read_flag(model_reader *m, const char *key, bool *flag)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(m->r, &ev, m->l->err));
    if (ev == NBI_JSON_TRUE || ev == NBI_JSON_FALSE)
        *flag = ev == NBI_JSON_TRUE;
    else if (ev != NBI_JSON_NULL)
        return nbi_fail(m->l->err, NB_FORMAT, "%s: byte %zu: \"%s\" must be true, false or null",
                        m->l->where, m->r->offset, key);
    return NB_OK;
}

static nb_status read_dropout(model_reader *m)
{
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(m->r, &ev, m->l->err));
    if (ev == NBI_JSON_NULL)
        return NB_OK;
    if (ev != NBI_JSON_NUMBER || !nbi_parse_f64(m->r->text, m->r->text_len, &m->spec->dropout))
        return bad(m->r, m->l, "\"dropout\" must be a number or null");
    return NB_OK;
}

static nb_status read_type(model_reader *m)
{
    const char *s = NULL;
    size_t n = 0;
    NBI_TRY(read_text(m, "type", &s, &n));
    snprintf(m->spec->type, sizeof m->spec->type, "%s", s ? s : "");
    return NB_OK;
}

static nb_status read_member(model_reader *m)
{
    nbi_model_spec *s = m->spec;
    if (nbi_json_text_is(m->r, "vocab"))
        return read_vocab(m);
    if (nbi_json_text_is(m->r, "merges"))
        return read_merges_or_wait(m);
    if (nbi_json_text_is(m->r, "type"))
        return read_type(m);
    if (nbi_json_text_is(m->r, "unk_token"))
        return read_text(m, "unk_token", &s->unk, &s->unk_len);
    if (nbi_json_text_is(m->r, "continuing_subword_prefix"))
        return read_text(m, "continuing_subword_prefix", &s->prefix, &s->prefix_len);
    if (nbi_json_text_is(m->r, "end_of_word_suffix"))
        return read_text(m, "end_of_word_suffix", &s->suffix, &s->suffix_len);
    if (nbi_json_text_is(m->r, "fuse_unk"))
        return read_flag(m, "fuse_unk", &s->fuse_unk);
    if (nbi_json_text_is(m->r, "byte_fallback"))
        return read_flag(m, "byte_fallback", &s->byte_fallback);
    if (nbi_json_text_is(m->r, "ignore_merges"))
        return read_flag(m, "ignore_merges", &s->ignore_merges);
    if (nbi_json_text_is(m->r, "dropout"))
        return read_dropout(m);
    return nbi_json_skip(m->r, m->l->err);
}

nb_status nbi_model_read(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec)
{
    model_reader m = {r, l, spec, 0, 0};
    nbi_json_event ev;
    NBI_TRY(nbi_json_next(r, &ev, l->err));
    if (ev != NBI_JSON_OBJECT_BEGIN)
        return bad(r, l, "\"model\" must be an object");
    for (;;) {
        NBI_TRY(nbi_json_next(r, &ev, l->err));
        if (ev == NBI_JSON_OBJECT_END)
            break;
        NBI_TRY(read_member(&m));
    }
    if (m.merges_end > 0 && spec->has_vocab) {
        nbi_json_reader late;
        nbi_json_reader_init(&late, l->where, r->buf + m.merges_begin,
                             m.merges_end - m.merges_begin);
        nb_status st = read_merges(&late, l, spec);
        nbi_json_reader_free(&late);
        return st;
    }
    return NB_OK;
}

nb_status nbi_model_build(nbi_load *l, nbi_model_spec *spec, const nbi_model_kind **kind,
                          void **model)
{
    /* files of old versions leave the type of BPE out */
    const char *type = spec->type[0] ? spec->type : "BPE";
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].type, type) != 0)
            continue;
        if (!spec->has_vocab)
            return nbi_fail(l->err, NB_FORMAT, "%s: the model has no \"vocab\"", l->where);
        *kind = &kinds[i];
        return kinds[i].build(l, spec, model);
    }
    return nbi_fail(l->err, NB_UNSUPPORTED,
                    "%s: model type \"%.60s\" is not supported (supported: BPE, WordLevel)",
                    l->where, type);
}
