/* SPDX-License-Identifier: MIT */
#include "text/bpe_pairs.h"

#include "base/fail.h"

static void put(nbi_pairs *p, nbi_merge g, uint32_t rank, int32_t result)
{
    uint64_t key = (uint64_t)(uint32_t)g.left << 32 | (uint32_t)g.right;
    size_t i = nbi_pairs_slot(p, key);
    while (p->slots[i].key != NBI_NO_PAIR && p->slots[i].key != key)
        i = (i + 1) & p->mask;
    p->slots[i] = (nbi_pair){key, rank, result}; /* the last of equal merges counts */
}

/* Does the token of this id read a followed by b[cut..]? */
static bool is_joined(const nbi_vocab *v, int64_t id, const nbi_vocab_entry *a,
                      const nbi_vocab_entry *b, size_t cut)
{
    const nbi_vocab_entry *e = nbi_vocab_at(v, id);
    return e && e->n == a->n + b->n - cut && memcmp(e->s, a->s, a->n) == 0 &&
           memcmp(e->s + a->n, b->s + cut, b->n - cut) == 0;
}

/* The token a merge makes, -1 if there is none, -2 without memory. Most files list the merges in
 * the order of the tokens they make, so the neighbours of the last result are tried first. */
static int32_t merge_result(const nbi_model_spec *spec, nbi_merge g, int32_t last,
                            nbi_strbuf *joined)
{
    const nbi_vocab_entry *a = &spec->vocab->tokens[g.left], *b = &spec->vocab->tokens[g.right];
    size_t cut = spec->prefix_len < b->n ? spec->prefix_len : b->n;
    if (is_joined(spec->vocab, last, a, b, cut))
        return last;
    if (is_joined(spec->vocab, (int64_t)last + 1, a, b, cut))
        return last + 1;
    nbi_strbuf_clear(joined);
    nbi_strbuf_add(joined, a->s, a->n);
    nbi_strbuf_add(joined, b->s + cut, b->n - cut);
    return joined->failed ? -2 : nbi_vocab_find(spec->vocab, nbi_strbuf_str(joined), joined->n);
}

static nb_status make_slots(nbi_load *l, size_t merges, nbi_pairs *p)
{
    unsigned bits = 4;
    while (((size_t)1 << bits) < merges * 2)
        bits++;
    size_t cap = (size_t)1 << bits;
    p->mask = cap - 1;
    p->shift = 64 - bits;
    p->slots = nbi_alloc(NBI_MEM_OTHER, cap * sizeof *p->slots);
    if (!p->slots)
        return nbi_fail_nomem(l->err, "the merges", cap * sizeof *p->slots);
    for (size_t i = 0; i < cap; i++)
        p->slots[i].key = NBI_NO_PAIR;
    return NB_OK;
}

nb_status nbi_pairs_build(nbi_pairs *p, nbi_load *l, const nbi_model_spec *spec)
{
    nbi_strbuf joined = {0};
    int32_t result = -1;
    nb_status st = make_slots(l, spec->merges.n, p);
    for (size_t i = 0; i < spec->merges.n && st == NB_OK; i++) {
        nbi_merge g = spec->merges.v[i];
        result = merge_result(spec, g, result, &joined);
        if (result >= 0)
            put(p, g, (uint32_t)i, result);
        else if (result == -2)
            st = nbi_fail_nomem(l->err, "the merges", joined.n);
        else
            st = nbi_fail(l->err, NB_FORMAT,
                          "%s: merge %zu (\"%.60s\" and \"%.60s\") gives a token that is not in "
                          "the vocabulary",
                          l->where, i, spec->vocab->tokens[g.left].s,
                          spec->vocab->tokens[g.right].s);
    }
    nbi_strbuf_free(&joined);
    return st;
}

void nbi_pairs_free(nbi_pairs *p)
{
    nbi_free(p->slots);
    *p = (nbi_pairs){0};
}
