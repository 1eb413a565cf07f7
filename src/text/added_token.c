/* SPDX-License-Identifier: MIT */
#include "text/added_token.h"

#include <stdlib.h>
#include "base/fail.h"
#include "base/log.h"
#include "text/unicode.h"

/* ---- trie ---- */

static void trie_init(nbi_trie *t)
{
    for (int i = 0; i < 256; i++)
        t->root[i] = -1;
}

/* Node for `byte` in the list that starts at *head; made when missing. -1: no memory. */
static int32_t trie_step(nbi_trie *t, int32_t parent, unsigned char byte)
{
    int32_t head = parent < 0 ? t->root[byte] : t->nodes.v[parent].child;
    for (int32_t i = head; i >= 0; i = t->nodes.v[i].sibling) {
        if (t->nodes.v[i].byte == byte)
            return i;
    }
    nbi_trie_node node = {-1, parent < 0 ? -1 : head, -1, byte};
    if (t->nodes.n >= INT32_MAX || !nbi_array_push(&t->nodes, node))
        return -1;
    int32_t k = (int32_t)(t->nodes.n - 1);
    if (parent < 0)
        t->root[byte] = k;
    else
        t->nodes.v[parent].child = k;
    return k;
}

static bool trie_add(nbi_trie *t, const char *s, size_t n, int32_t token)
{
    int32_t at = -1;
    for (size_t i = 0; i < n; i++) {
        at = trie_step(t, at, (unsigned char)s[i]);
        if (at < 0)
            return false;
    }
    if (at >= 0 && t->nodes.v[at].token < 0)
        t->nodes.v[at].token = token;
    return true;
}

/* Longest token that starts at s; -1 if there is none. */
static int32_t trie_match(const nbi_trie *t, const char *s, size_t n, size_t *len)
{
    int32_t found = -1, at = t->root[(unsigned char)s[0]];
    for (size_t i = 0; at >= 0;) {
        const nbi_trie_node *node = &t->nodes.v[at];
        i++;
        if (node->token >= 0) {
            found = node->token;
            *len = i;
        }
        at = node->child;
        while (at >= 0 && (i >= n || t->nodes.v[at].byte != (unsigned char)s[i]))
            at = t->nodes.v[at].sibling;
    }
    return found;
}

/* ---- loading ---- */

static nb_status load_one(nbi_load *l, const nbi_json *v, nbi_added_token *t)
{
    int64_t id;
    *t = (nbi_added_token){0};
    if (v->type != NBI_JT_OBJECT)
        return nbi_load_fail(l, v, "an added token must be an object");
    NBI_TRY(nbi_load_string(l, v, "content", &t->s, &t->n));
    const nbi_json *j = nbi_json_get(v, "id");
    if (!nbi_json_to_i64(j, &id) || id < 0 || id > NBI_VOCAB_MAX_ID)
        return nbi_load_fail(l, j ? j : v,
                             "the id of added token \"%.100s\" must be a whole number below %d",
                             t->s, NBI_VOCAB_MAX_ID + 1);
    t->id = (int32_t)id;
    NBI_TRY(nbi_load_bool(l, v, "special", &t->special));
    t->normalized = !t->special;
    NBI_TRY(nbi_load_bool(l, v, "normalized", &t->normalized));
    NBI_TRY(nbi_load_bool(l, v, "single_word", &t->single_word));
    NBI_TRY(nbi_load_bool(l, v, "lstrip", &t->lstrip));
    NBI_TRY(nbi_load_bool(l, v, "rstrip", &t->rstrip));
    t->pattern = t->s;
    t->pattern_n = t->n;
    return NB_OK;
}

/* A token the vocabulary has keeps the id it has there, whatever the list says. */
static nb_status settle_id(nbi_load *l, const nbi_json *v, nbi_added_token *t)
{
    int32_t known = nbi_vocab_find(l->vocab, t->s, t->n);
    const nbi_vocab_entry *other = nbi_vocab_at(l->vocab, t->id);
    if (known >= 0 && known != t->id) {
        nbi_log(l->log, NB_LOG_WARN,
                "%s: added token \"%.100s\" has id %d in the list and %d in the vocabulary, which "
                "counts",
                l->where, t->s, (int)t->id, (int)known);
        t->id = known;
    } else if (known < 0 && other) {
        return nbi_load_fail(l, v,
                             "added token \"%.100s\" has id %d, which the vocabulary gives to "
                             "\"%.100s\"",
                             t->s, (int)t->id, other->s);
    }
    return NB_OK;
}

static nb_status add_one(nbi_added *a, nbi_load *l, const nbi_json *v, nbi_added_token *t)
{
    NBI_TRY(settle_id(l, v, t));
    switch (nbi_vocab_add(&a->vocab, l->arena, t->s, t->n, t->id)) {
    case NBI_VOCAB_NO_MEMORY:
        return nbi_fail_nomem(l->err, "the added tokens", t->n);
    case NBI_VOCAB_SAME_ID:
        /* the same token listed again changes nothing */
        if (nbi_vocab_find(&a->vocab, t->s, t->n) == t->id)
            return NB_OK;
        return nbi_load_fail(l, v, "added token \"%.100s\" has id %d, as another one has", t->s,
                             (int)t->id);
    case NBI_VOCAB_SAME_TOKEN:
        return nbi_load_fail(l, v, "added token \"%.100s\" is there twice, with different ids",
                             t->s);
    default:
        return nbi_array_push(&a->tokens, *t) ? NB_OK
                                              : nbi_fail_nomem(l->err, "the added tokens", t->n);
    }
}

/* Tokens with the flag `normalized` are found in their normalised form. */
static nb_status normalise_pattern(nbi_added_token *t, nbi_load *l,
                                   const nbi_components *normalizer)
{
    nbi_run run = {.original = t->s, .original_len = t->n, .err = l->err};
    nbi_aligned_add(&run.text, t->s, t->n, (nbi_align){0, 0});
    nbi_piece whole = {0, t->n, 0, -1};
    nb_status st = nbi_aligned_check(&run.text, l->err);
    if (st == NB_OK && !nbi_array_push(&run.pieces, whole))
        st = nbi_run_nomem(&run);
    for (size_t i = 0; i < normalizer->n && st == NB_OK; i++)
        st = nbi_run_rewrite(&run, normalizer->v[i].kind->run.normalize, normalizer->v[i].param);
    if (st == NB_OK) {
        t->pattern = nbi_arena_strndup(l->arena, run.text.s ? run.text.s : "", run.text.n);
        t->pattern_n = run.text.n;
        if (!t->pattern)
            st = nbi_run_nomem(&run);
    }
    nbi_run_free(&run);
    return st;
}

static int by_id(const void *a, const void *b)
{
    int32_t x = ((const nbi_added_token *)a)->id, y = ((const nbi_added_token *)b)->id;
    return (x > y) - (x < y);
}

nb_status nbi_added_load(nbi_added *a, const nbi_json *v, nbi_load *l,
                         const nbi_components *normalizer)
{
    trie_init(&a->raw);
    trie_init(&a->normalized);
    if (nbi_json_is_null(v))
        return NB_OK;
    if (v->type != NBI_JT_ARRAY)
        return nbi_load_fail(l, v, "\"added_tokens\" must be a list");
    for (const nbi_json *j = v->first; j; j = j->next) {
        nbi_added_token t;
        NBI_TRY(load_one(l, j, &t));
        if (t.n == 0)
            continue;
        if (t.normalized && normalizer->n > 0)
            NBI_TRY(normalise_pattern(&t, l, normalizer));
        NBI_TRY(add_one(a, l, j, &t));
    }
    if (a->tokens.n > 0)
        qsort(a->tokens.v, a->tokens.n, sizeof *a->tokens.v, by_id);
    for (size_t i = 0; i < a->tokens.n; i++) {
        const nbi_added_token *t = &a->tokens.v[i];
        nbi_trie *trie = t->normalized ? &a->normalized : &a->raw;
        if (!trie_add(trie, t->pattern, t->pattern_n, (int32_t)i))
            return nbi_fail_nomem(l->err, "the added tokens", t->n);
    }
    return NB_OK;
}

void nbi_added_free(nbi_added *a)
{
    nbi_array_free(&a->tokens);
    nbi_array_free(&a->raw.nodes);
    nbi_array_free(&a->normalized.nodes);
    nbi_vocab_free(&a->vocab);
}

const nbi_added_token *nbi_added_find(const nbi_added *a, int32_t id)
{
    nbi_added_token key = {.id = id};
    return a->tokens.n ? bsearch(&key, a->tokens.v, a->tokens.n, sizeof key, by_id) : NULL;
}

/* ---- matching ---- */

static size_t char_before(const char *s, size_t i)
{
    do
        i--;
    while (i > 0 && ((unsigned char)s[i] & 0xC0) == 0x80);
    return i;
}

static bool is_word(const char *s)
{
    return nbi_uni_is(nbi_utf8_get(s), NBI_SET_WORD18);
}

static bool stands_alone(const char *s, size_t n, size_t begin, size_t end)
{
    return (begin == 0 || !is_word(s + char_before(s, begin))) && (end == n || !is_word(s + end));
}

typedef struct cutter {
    nbi_run *run;
    nbi_piece piece;
    const char *s;
    size_t n;
} cutter;

static nb_status cut(cutter *c, size_t begin, size_t end, int32_t id)
{
    if (begin >= end)
        return NB_OK;
    nbi_piece p = {c->piece.begin + begin, c->piece.begin + end, c->piece.orig, id};
    if (c->run->text.track)
        p.orig = c->run->text.a[p.begin].begin;
    return nbi_run_push_piece(c->run, p);
}

static nb_status cut_piece(const nbi_added *a, const nbi_trie *trie, bool special_as_text,
                           cutter *c)
{
    size_t done = 0; /* what stands before has been given out */
    for (size_t pos = 0; pos < c->n;) {
        size_t len = 0, begin = pos;
        int32_t k = trie_match(trie, c->s + pos, c->n - pos, &len);
        if (k < 0) {
            pos++;
            continue;
        }
        const nbi_added_token *t = &a->tokens.v[k];
        size_t end = pos = begin + len;
        if ((t->special && special_as_text) ||
            (t->single_word && !stands_alone(c->s, c->n, begin, end)))
            continue;
        if (t->lstrip) {
            while (begin > 0 && nbi_uni_is_space(nbi_utf8_get(c->s + char_before(c->s, begin))))
                begin = char_before(c->s, begin);
            if (begin < done)
                begin = done;
        }
        while (t->rstrip && end < c->n && nbi_uni_is_space(nbi_utf8_get(c->s + end)))
            end += nbi_utf8_len(c->s[end]);
        NBI_TRY(cut(c, done, begin, -1));
        NBI_TRY(cut(c, begin, end, t->id));
        done = end;
    }
    return cut(c, done, c->n, -1);
}

nb_status nbi_added_split(const nbi_added *a, bool normalized, bool special_as_text, nbi_run *run)
{
    const nbi_trie *trie = normalized ? &a->normalized : &a->raw;
    run->more.n = 0;
    for (size_t i = 0; i < run->pieces.n; i++) {
        nbi_piece p = run->pieces.v[i];
        cutter c = {run, p, run->text.s + p.begin, p.end - p.begin};
        if (p.id >= 0)
            NBI_TRY(nbi_run_push_piece(run, p));
        else
            NBI_TRY(cut_piece(a, trie, special_as_text, &c));
    }
    nbi_run_swap_pieces(run);
    return NB_OK;
}
