/* SPDX-License-Identifier: MIT */
#include "text/bpe.h"

#include <stdio.h>
#include "base/fail.h"
#include "base/utf8.h"
#include "text/bpe_pairs.h"

#define NO_RANK UINT32_MAX

/* Characters below this have their token in a table. */
enum { DIRECT = 0x3000 };
/* Pieces of up to this many symbols are merged by scanning, longer ones with a heap. */
enum { SHORT = 40 };

typedef struct bpe {
    const nbi_vocab *vocab;
    nbi_pairs pairs;
    int32_t *direct; /* [DIRECT]; NULL with a prefix or suffix, where position matters */
    int32_t byte_id[256];
    const char *unk, *prefix, *suffix;
    size_t unk_len, prefix_len, suffix_len;
    int32_t unk_id;
    bool fuse_unk, byte_fallback, ignore_merges;
} bpe;

typedef struct symbol {
    int32_t id;
    uint32_t len;       /* bytes; 0: merged away */
    int32_t prev, next; /* -1: none */
} symbol;

struct nbi_bpe_run {
    NBI_ARRAY(symbol) symbols;
    NBI_ARRAY(uint64_t) heap; /* rank << 32 | position */
    nbi_strbuf text;
};

void nbi_bpe_run_free(struct nbi_bpe_run *r)
{
    if (!r)
        return;
    nbi_array_free(&r->symbols);
    nbi_array_free(&r->heap);
    nbi_strbuf_free(&r->text);
    nbi_free(r);
}

/* ---- building ---- */

static nb_status build_direct(nbi_load *l, bpe *m)
{
    if (m->prefix_len > 0 || m->suffix_len > 0)
        return NB_OK;
    NBI_TRY(nbi_load_alloc(l, DIRECT * sizeof *m->direct, (void **)&m->direct));
    for (uint32_t cp = 0; cp < DIRECT; cp++) {
        char s[4];
        size_t n = nbi_utf8_encode(cp, s);
        m->direct[cp] = nbi_vocab_find(m->vocab, s, n);
    }
    return NB_OK;
}

nb_status nbi_bpe_build(nbi_load *l, nbi_model_spec *spec, void **model)
{
    *model = NULL;
    if (spec->dropout > 0)
        return nbi_fail(l->err, NB_UNSUPPORTED,
                        "%s: BPE with dropout %g gives random tokens; set \"dropout\" to null",
                        l->where, spec->dropout);
    if (!spec->has_merges)
        return nbi_fail(l->err, NB_FORMAT, "%s: the BPE model has no \"merges\"", l->where);
    bpe *m = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *m);
    if (!m)
        return nbi_fail_nomem(l->err, "the tokenizer", sizeof *m);
    *model = m;
    m->vocab = spec->vocab;
    m->unk = spec->unk;
    m->unk_len = spec->unk_len;
    m->prefix = spec->prefix ? spec->prefix : "";
    m->prefix_len = spec->prefix_len;
    m->suffix = spec->suffix ? spec->suffix : "";
    m->suffix_len = spec->suffix_len;
    m->fuse_unk = spec->fuse_unk;
    m->byte_fallback = spec->byte_fallback;
    m->ignore_merges = spec->ignore_merges;
    m->unk_id = m->unk ? nbi_vocab_find(m->vocab, m->unk, m->unk_len) : -1;
    for (unsigned b = 0; b < 256; b++) {
        char name[8];
        snprintf(name, sizeof name, "<0x%02X>", b);
        m->byte_id[b] = nbi_vocab_find(m->vocab, name, 6);
    }
    NBI_TRY(build_direct(l, m));
    return nbi_pairs_build(&m->pairs, l, spec);
}

void nbi_bpe_release(void *model)
{
    bpe *m = model;
    if (!m)
        return;
    nbi_pairs_free(&m->pairs);
    nbi_free(m);
}

/* ---- characters to symbols ---- */

typedef struct speller {
    const bpe *m;
    nbi_run *run;
    struct nbi_bpe_run *r;
    bool pending; /* an unknown character not yet written */
    uint32_t pending_len;
} speller;

static nb_status add_symbol(speller *p, int32_t id, size_t len)
{
    symbol s = {id, (uint32_t)len, 0, 0};
    if (p->r->symbols.n >= INT32_MAX)
        return nbi_fail(p->run->err, NB_LIMIT, "a piece of text has more than %d symbols",
                        INT32_MAX);
    return nbi_array_push(&p->r->symbols, s) ? NB_OK : nbi_run_nomem(p->run);
}

static nb_status write_pending(speller *p)
{
    if (!p->pending)
        return NB_OK;
    p->pending = false;
    return add_symbol(p, p->m->unk_id, p->pending_len);
}

/* A character without a token: its bytes if all of them have tokens (and then a pending unknown
 * stays pending, as the format's defining library has it), else the unknown token, else nothing. */
static nb_status add_unknown(speller *p, const char *s, size_t n, size_t len)
{
    const bpe *m = p->m;
    bool all = m->byte_fallback;
    for (size_t i = 0; i < n && all; i++)
        all = m->byte_id[(unsigned char)s[i]] >= 0;
    if (all) {
        for (size_t i = 0; i < n; i++)
            NBI_TRY(add_symbol(p, m->byte_id[(unsigned char)s[i]], 1));
        return NB_OK;
    }
    if (!m->unk)
        return NB_OK;
    if (m->unk_id < 0)
        return nbi_fail(p->run->err, NB_DATA,
                        "the tokenizer's unknown token \"%.60s\" is not in its vocabulary", m->unk);
    if (p->pending && m->fuse_unk) {
        p->pending_len += (uint32_t)len;
        return NB_OK;
    }
    NBI_TRY(write_pending(p));
    p->pending = true;
    p->pending_len = (uint32_t)len;
    return NB_OK;
}

static nb_status spell_char(speller *p, const char *s, size_t len, bool first, bool last)
{
    const bpe *m = p->m;
    const char *name = s;
    size_t n = len;
    int32_t id = -1;
    if (m->direct) {
        uint32_t cp = nbi_utf8_get(s);
        id = cp < DIRECT ? m->direct[cp] : nbi_vocab_find(m->vocab, s, len);
    } else {
        nbi_strbuf *t = &p->r->text;
        nbi_strbuf_clear(t);
        if (!first)
            nbi_strbuf_add(t, m->prefix, m->prefix_len);
        nbi_strbuf_add(t, s, len);
        if (last)
            nbi_strbuf_add(t, m->suffix, m->suffix_len);
        NBI_TRY(nbi_strbuf_check(t, p->run->err));
        name = nbi_strbuf_str(t);
        n = t->n;
        id = nbi_vocab_find(m->vocab, name, n);
    }
    if (id < 0)
        return add_unknown(p, name, n, len);
    NBI_TRY(write_pending(p));
    return add_symbol(p, id, len);
}

static nb_status spell(const bpe *m, nbi_run *run, const char *s, size_t n)
{
    speller p = {m, run, run->bpe, false, 0};
    run->bpe->symbols.n = 0;
    for (size_t i = 0; i < n;) {
        size_t len = nbi_utf8_len(s[i]);
        if (len > n - i)
            len = n - i;
        NBI_TRY(spell_char(&p, s + i, len, i == 0, i + len >= n));
        i += len;
    }
    return write_pending(&p);
}

/* ---- merging ---- */

/* Few symbols: look for the best pair each time. Returns how many are left. */
static size_t merge_short(const bpe *m, symbol *v, size_t n)
{
    uint32_t rank[SHORT];
    int32_t result[SHORT];
    for (size_t i = 0; i + 1 < n; i++) {
        const nbi_pair *s = nbi_pairs_find(&m->pairs, v[i].id, v[i + 1].id);
        rank[i] = s ? s->rank : NO_RANK;
        result[i] = s ? s->result : -1;
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best])
                best = i;
        if (rank[best] == NO_RANK)
            break;
        v[best].id = result[best];
        v[best].len += v[best + 1].len;
        n--;
        for (size_t i = best + 1; i < n; i++)
            v[i] = v[i + 1];
        for (size_t i = best; i + 1 < n; i++) {
            rank[i] = rank[i + 1];
            result[i] = result[i + 1];
        }
        for (size_t i = best > 0 ? best - 1 : 0; i <= best && i + 1 < n; i++) {
            const nbi_pair *s = nbi_pairs_find(&m->pairs, v[i].id, v[i + 1].id);
            rank[i] = s ? s->rank : NO_RANK;
            result[i] = s ? s->result : -1;
        }
    }
    return n;
}

static void sift_down(uint64_t *h, size_t n, size_t i)
{
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= n)
            return;
        if (c + 1 < n && h[c + 1] < h[c])
            c++;
        if (h[i] <= h[c])
            return;
        uint64_t t = h[i];
        h[i] = h[c];
        h[c] = t;
        i = c;
    }
}

static bool heap_push(struct nbi_bpe_run *r, uint64_t x)
{
    if (!nbi_array_push(&r->heap, x))
        return false;
    uint64_t *h = r->heap.v;
    size_t i = r->heap.n - 1;
    while (i > 0 && h[(i - 1) / 2] > x) {
        h[i] = h[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    h[i] = x;
    return true;
}

static bool push_pair(const bpe *m, struct nbi_bpe_run *r, int32_t left)
{
    const symbol *v = r->symbols.v;
    const nbi_pair *s = nbi_pairs_find(&m->pairs, v[left].id, v[v[left].next].id);
    return !s || heap_push(r, (uint64_t)s->rank << 32 | (uint32_t)left);
}

/* The heap may hold pairs that have changed since; they are told by their rank. */
static bool merge_long(const bpe *m, struct nbi_bpe_run *r)
{
    symbol *v = r->symbols.v;
    size_t n = r->symbols.n;
    r->heap.n = 0;
    for (size_t i = 0; i < n; i++) {
        v[i].prev = (int32_t)i - 1;
        v[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i + 1 < n; i++)
        if (!push_pair(m, r, (int32_t)i))
            return false;
    while (r->heap.n > 0) {
        uint64_t top = r->heap.v[0];
        r->heap.v[0] = r->heap.v[--r->heap.n];
        sift_down(r->heap.v, r->heap.n, 0);
        symbol *a = &v[(uint32_t)top];
        if (a->len == 0 || a->next < 0)
            continue;
        symbol *b = &v[a->next];
        const nbi_pair *s = nbi_pairs_find(&m->pairs, a->id, b->id);
        if (!s || s->rank != top >> 32)
            continue;
        a->id = s->result;
        a->len += b->len;
        b->len = 0;
        a->next = b->next;
        if (a->next >= 0) {
            v[a->next].prev = (int32_t)(uint32_t)top;
            if (!push_pair(m, r, (int32_t)(uint32_t)top))
                return false;
        }
        if (a->prev >= 0 && !push_pair(m, r, a->prev))
            return false;
    }
    return true;
}

nb_status nbi_bpe_encode(const void *model, nbi_run *run, const char *s, size_t n)
{
    const bpe *m = model;
    if (m->ignore_merges) {
        int32_t id = nbi_vocab_find(m->vocab, s, n);
        if (id >= 0)
            return nbi_model_token(run, id, n);
    }
    if (n > INT32_MAX / 4)
        return nbi_fail(run->err, NB_LIMIT, "a piece of text of %zu bytes is too long", n);
    if (!run->bpe) {
        run->bpe = nbi_calloc(NBI_MEM_IO, 1, sizeof *run->bpe);
        if (!run->bpe)
            return nbi_run_nomem(run);
    }
    NBI_TRY(spell(m, run, s, n));
    struct nbi_bpe_run *r = run->bpe;
    if (r->symbols.n <= SHORT)
        r->symbols.n = merge_short(m, r->symbols.v, r->symbols.n);
    else if (!merge_long(m, r))
        return nbi_run_nomem(run);
    for (size_t i = 0; i < r->symbols.n; i++) {
        if (r->symbols.v[i].len > 0)
            NBI_TRY(nbi_model_token(run, r->symbols.v[i].id, r->symbols.v[i].len));
    }
    return NB_OK;
}
