/* SPDX-License-Identifier: MIT */
#include "text/tokenizer_impl.h"

#include "base/fail.h"
#include "base/utf8.h"

/* Offsets are kept in 32 bits while encoding. */
#define MAX_TEXT ((size_t)1 << 30)

nb_status nb_tokenizer_open(nb_tokenizer **out, const char *dir, const nb_log *log, nb_error *err)
{
    *out = NULL;
    nb_tokenizer *t = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *t);
    if (!t)
        return nbi_fail_nomem(err, "the tokenizer", sizeof *t);
    nbi_arena_init(&t->arena, NBI_MEM_OTHER);
    nb_status st = nbi_tokenizer_load(t, dir, log, err);
    if (st == NB_OK)
        st = nbi_tokenizer_load_roles(t, dir, log, err);
    if (st != NB_OK) {
        nb_tokenizer_close(&t);
        return st;
    }
    *out = t;
    return NB_OK;
}

void nb_tokenizer_close(nb_tokenizer **tok)
{
    if (!tok || !*tok)
        return;
    nb_tokenizer *t = *tok;
    *tok = NULL;
    if (t->model_kind && t->model_kind->release)
        t->model_kind->release(t->model);
    nbi_array_free(&t->normalizer);
    nbi_array_free(&t->pretokenizer);
    nbi_array_free(&t->postprocessor);
    nbi_array_free(&t->decoder);
    nbi_added_free(&t->added);
    nbi_vocab_free(&t->vocab);
    for (size_t i = 0; i < t->regexes.n; i++)
        nbi_regex_free(t->regexes.v[i]);
    nbi_array_free(&t->regexes);
    nbi_arena_free(&t->arena);
    nbi_free(t);
}

/* ---- encoding ---- */

/* Earlier pieces of the same text and the tokens they gave. */
typedef struct cache_entry {
    uint32_t begin, len, token, count;
} cache_entry;

enum { CACHE_BITS = 12, CACHE_MAX_PIECE = 64, CACHE_FROM_PIECES = 200 };

static nb_status start(nbi_run *run)
{
    nbi_aligned *t = &run->text;
    for (size_t i = 0; i < run->original_len;) {
        size_t len = nbi_utf8_len(run->original[i]);
        nbi_aligned_add(t, run->original + i, len, (nbi_align){(uint32_t)i, (uint32_t)(i + len)});
        i += len;
    }
    NBI_TRY(nbi_aligned_check(t, run->err));
    nbi_piece whole = {0, t->n, 0, -1};
    if (t->n > 0 && !nbi_array_push(&run->pieces, whole))
        return nbi_run_nomem(run);
    return NB_OK;
}

/* Text to pieces. */
static nb_status cut(const nb_tokenizer *tok, nbi_run *run, bool special_as_text)
{
    NBI_TRY(start(run));
    if (tok->added.raw.nodes.n > 0)
        NBI_TRY(nbi_added_split(&tok->added, false, special_as_text, run));
    for (size_t i = 0; i < tok->normalizer.n; i++) {
        const nbi_component *c = &tok->normalizer.v[i];
        NBI_TRY(nbi_run_rewrite(run, c->kind->run.normalize, c->param));
    }
    /* from here on a piece begins where its first character does */
    for (size_t i = 0; run->text.track && i < run->pieces.n; i++)
        run->pieces.v[i].orig = run->text.a[run->pieces.v[i].begin].begin;
    if (tok->added.normalized.nodes.n > 0)
        NBI_TRY(nbi_added_split(&tok->added, true, special_as_text, run));
    for (size_t i = 0; i < tok->pretokenizer.n; i++) {
        const nbi_component *c = &tok->pretokenizer.v[i];
        NBI_TRY(c->kind->run.pretokenize(c->param, run));
    }
    return NB_OK;
}

static cache_entry *cache_slot(nbi_run *run, const char *s, size_t n)
{
    if (!run->cache || n > CACHE_MAX_PIECE)
        return NULL;
    uint64_t h = n;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * UINT64_C(0x9E3779B97F4A7C15);
    return (cache_entry *)run->cache + (h >> (64 - CACHE_BITS));
}

/* Tokens of one piece; their begin and end are 0 and their length. */
static nb_status encode_piece(const nb_tokenizer *tok, nbi_run *run, const nbi_piece *p)
{
    const char *s = run->text.s + p->begin;
    size_t n = p->end - p->begin, first = run->tokens.n;
    cache_entry *c = cache_slot(run, s, n);
    if (c && c->len == n && memcmp(run->text.s + c->begin, s, n) == 0) {
        if (!nbi_array_reserve(&run->tokens, c->count))
            return nbi_run_nomem(run);
        memcpy(run->tokens.v + first, run->tokens.v + c->token, c->count * sizeof *run->tokens.v);
        run->tokens.n += c->count;
        return NB_OK;
    }
    NBI_TRY(tok->model_kind->encode(tok->model, run, s, n));
    if (c && run->tokens.n < UINT32_MAX)
        *c = (cache_entry){(uint32_t)p->begin, (uint32_t)n, (uint32_t)first,
                           (uint32_t)(run->tokens.n - first)};
    return NB_OK;
}

/* Lengths within the piece become ranges of the original. A model may claim more bytes than the
 * piece has (prefixes that fall back to bytes); the plain position is all that is left then. */
static void place_tokens(nbi_run *run, const nbi_piece *p, nbi_token *t, size_t n)
{
    size_t at = 0, len = p->end - p->begin;
    const nbi_align *a = run->text.a + p->begin;
    for (size_t i = 0; i < n; i++) {
        size_t end = at + t[i].end;
        if (end > len || end == at)
            t[i].begin = (uint32_t)at, t[i].end = (uint32_t)end;
        else
            t[i].begin = a[at].begin, t[i].end = a[end - 1].end;
        at = end;
    }
}

static nb_status encode_pieces(const nb_tokenizer *tok, nbi_run *run)
{
    /* ranges are filled in afterwards: the cache copies tokens as the model gave them */
    NBI_ARRAY(uint32_t) counts = {0};
    nb_status st = NB_OK;
    if (run->pieces.n > UINT32_MAX / 2 || !nbi_array_reserve(&counts, run->pieces.n + 1))
        return nbi_run_nomem(run);
    if (run->pieces.n >= CACHE_FROM_PIECES)
        run->cache = nbi_calloc(NBI_MEM_IO, (size_t)1 << CACHE_BITS, sizeof(cache_entry));
    for (size_t i = 0; i < run->pieces.n && st == NB_OK; i++) {
        const nbi_piece *p = &run->pieces.v[i];
        size_t first = run->tokens.n;
        if (p->id >= 0) {
            nbi_token t = {p->id, 0, (uint32_t)(p->end - p->begin), (uint32_t)i};
            st = nbi_array_push(&run->tokens, t) ? NB_OK : nbi_run_nomem(run);
        } else {
            st = encode_piece(tok, run, p);
        }
        counts.v[i] = (uint32_t)(run->tokens.n - first);
    }
    size_t at = 0;
    for (size_t i = 0; i < run->pieces.n && st == NB_OK && run->text.track; i++) {
        place_tokens(run, &run->pieces.v[i], run->tokens.v + at, counts.v[i]);
        at += counts.v[i];
    }
    nbi_array_free(&counts);
    return st;
}

static nb_status reserve_result(nb_encoding *e, size_t n, bool offsets, nb_error *err)
{
    if (n > e->cap || !e->ids) {
        size_t cap = n > 16 ? n : 16;
        int32_t *ids = nbi_realloc(NBI_MEM_IO, e->ids, cap * sizeof *ids);
        if (!ids)
            return nbi_fail_nomem(err, "token ids", cap * sizeof *ids);
        e->ids = ids;
        e->cap = cap;
        nbi_free(e->offsets);
        e->offsets = NULL;
    }
    if (offsets && !e->offsets) {
        e->offsets = nbi_alloc(NBI_MEM_IO, e->cap * 2 * sizeof *e->offsets);
        if (!e->offsets)
            return nbi_fail_nomem(err, "token offsets", e->cap * 2 * sizeof *e->offsets);
    }
    return NB_OK;
}

static nb_status give_out(const nbi_run *run, bool offsets, nb_encoding *e)
{
    size_t n = run->tokens.n;
    NBI_TRY(reserve_result(e, n, offsets, run->err));
    for (size_t i = 0; i < n; i++)
        e->ids[i] = run->tokens.v[i].id;
    for (size_t i = 0; i < n && offsets; i++) {
        e->offsets[2 * i] = run->tokens.v[i].begin;
        e->offsets[2 * i + 1] = run->tokens.v[i].end;
    }
    e->n = n;
    return NB_OK;
}

static nb_status encode(const nb_tokenizer *tok, nbi_run *run, unsigned flags, nb_encoding *e)
{
    bool offsets = flags & NB_ENCODE_OFFSETS;
    run->text.track = offsets || tok->needs_alignment;
    NBI_TRY(cut(tok, run, flags & NB_ENCODE_SPECIAL_AS_TEXT));
    NBI_TRY(encode_pieces(tok, run));
    for (size_t i = 0; i < tok->postprocessor.n; i++) {
        const nbi_component *c = &tok->postprocessor.v[i];
        NBI_TRY(c->kind->run.process(c->param, run, flags & NB_ENCODE_SPECIAL));
    }
    return give_out(run, offsets, e);
}

nb_status nb_tokenizer_encode(const nb_tokenizer *tok, const char *text, size_t len, unsigned flags,
                              nb_encoding *e, nb_error *err)
{
    e->n = 0;
    if (len > MAX_TEXT)
        return nbi_fail(err, NB_LIMIT, "a text of %zu bytes; at most %zu can be tokenised at once",
                        len, MAX_TEXT);
    nbi_strbuf repaired = {0};
    nbi_run run = {.original = text, .original_len = len, .vocab = &tok->vocab, .err = err};
    nb_status st = NB_OK;
    if (len > 0 && nbi_utf8_check(text, len) != len) {
        nbi_utf8_sanitize(&repaired, text, len);
        st = nbi_strbuf_check(&repaired, err);
        run.original = nbi_strbuf_str(&repaired);
        run.original_len = repaired.n;
    }
    if (st == NB_OK)
        st = encode(tok, &run, flags, e);
    nbi_run_free(&run);
    nbi_strbuf_free(&repaired);
    return st;
}

void nb_encoding_free(nb_encoding *e)
{
    nbi_free(e->ids);
    nbi_free(e->offsets);
    *e = (nb_encoding){0};
}

/* ---- decoding ---- */

/* The text a token goes into the decoders with. Added tokens go in as they are found in normalised
 * text, which is what the decoders undo. */
static nb_status token_strings(const nb_tokenizer *tok, const int32_t *ids, size_t n,
                               bool skip_special, nbi_strings *out, nb_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const nbi_added_token *a = nbi_added_find(&tok->added, ids[i]);
        const nbi_vocab_entry *v = a ? NULL : nbi_vocab_at(&tok->vocab, ids[i]);
        if (!a && !v)
            return nbi_fail(err, NB_DATA, "token id %d is not in the vocabulary (%lld ids)",
                            (int)ids[i], (long long)nb_tokenizer_vocab_size(tok));
        if (a && a->special && skip_special)
            continue;
        nbi_strbuf_add(&out->text, a ? a->pattern : v->s, a ? a->pattern_n : v->n);
        NBI_TRY(nbi_strings_end(out, err));
    }
    return NB_OK;
}

static nb_status join_with_blanks(nbi_strings *l, nb_error *err)
{
    nbi_strbuf joined = {0};
    for (size_t i = 0, begin = 0; i < l->ends.n; begin = l->ends.v[i++]) {
        if (i > 0)
            nbi_strbuf_putc(&joined, ' ');
        nbi_strbuf_add(&joined, nbi_strbuf_str(&l->text) + begin, l->ends.v[i] - begin);
    }
    nbi_strbuf_free(&l->text);
    l->text = joined;
    return nbi_strbuf_check(&l->text, err);
}

static nb_status run_decoders(const nb_tokenizer *tok, nbi_strings *l, nb_error *err)
{
    if (tok->decoder.n == 0)
        return join_with_blanks(l, err);
    size_t before = l->text.n;
    for (size_t i = 0; i < tok->decoder.n; i++) {
        const nbi_component *c = &tok->decoder.v[i];
        nbi_strings next = {0};
        nb_status st = c->kind->run.decode(c->param, l, &next, err);
        if (st == NB_OK)
            st = nbi_strbuf_check(&next.text, err);
        if (st == NB_OK && nbi_grown_too_far(next.text.n, before))
            st = nbi_fail(err, NB_LIMIT, "the tokenizer decodes %zu bytes of tokens to %zu", before,
                          next.text.n);
        nbi_strings_free(l);
        memcpy(l, &next, sizeof *l);
        NBI_TRY(st);
    }
    return NB_OK;
}

nb_status nb_tokenizer_decode(const nb_tokenizer *tok, const int32_t *ids, size_t n,
                              bool skip_special, char **text, size_t *len, nb_error *err)
{
    nbi_strings l = {0};
    *text = NULL;
    *len = 0;
    nb_status st = token_strings(tok, ids, n, skip_special, &l, err);
    if (st == NB_OK)
        st = run_decoders(tok, &l, err);
    if (st == NB_OK) {
        *text = nbi_strndup(NBI_MEM_IO, nbi_strbuf_str(&l.text), l.text.n);
        *len = l.text.n;
        if (!*text)
            st = nbi_fail_nomem(err, "decoded text", l.text.n);
    }
    nbi_strings_free(&l);
    return st;
}

/* ---- questions ---- */

int64_t nb_tokenizer_vocab_size(const nb_tokenizer *tok)
{
    size_t n = tok->vocab.n > tok->added.vocab.n ? tok->vocab.n : tok->added.vocab.n;
    return (int64_t)n;
}

const char *nb_tokenizer_token(const nb_tokenizer *tok, int32_t id)
{
    const nbi_vocab_entry *e = nbi_vocab_at(&tok->added.vocab, id);
    if (!e)
        e = nbi_vocab_at(&tok->vocab, id);
    return e ? e->s : NULL;
}

int32_t nb_tokenizer_token_id(const nb_tokenizer *tok, const char *token)
{
    size_t n = strlen(token);
    int32_t id = nbi_vocab_find(&tok->added.vocab, token, n);
    return id >= 0 ? id : nbi_vocab_find(&tok->vocab, token, n);
}

bool nb_tokenizer_is_special(const nb_tokenizer *tok, int32_t id)
{
    const nbi_added_token *a = nbi_added_find(&tok->added, id);
    return a && a->special;
}

int32_t nb_tokenizer_bos(const nb_tokenizer *tok)
{
    return tok->roles[NBI_ROLE_BOS];
}

int32_t nb_tokenizer_eos(const nb_tokenizer *tok)
{
    return tok->roles[NBI_ROLE_EOS];
}

int32_t nb_tokenizer_pad(const nb_tokenizer *tok)
{
    return tok->roles[NBI_ROLE_PAD];
}

int32_t nb_tokenizer_unk(const nb_tokenizer *tok)
{
    return tok->roles[NBI_ROLE_UNK];
}

bool nb_tokenizer_adds_bos(const nb_tokenizer *tok)
{
    return tok->adds_bos;
}

const char *nb_tokenizer_chat_template(const nb_tokenizer *tok)
{
    return tok->chat_template;
}
