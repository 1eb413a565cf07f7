/* SPDX-License-Identifier: MIT */
#include "text/vocab.h"

#include <string.h>

static bool make_room(nbi_vocab *v, size_t id)
{
    if (id < v->cap)
        return true;
    size_t cap = v->cap ? v->cap * 2 : 1024;
    if (cap <= id)
        cap = id + 1;
    nbi_vocab_entry *t = nbi_realloc(NBI_MEM_OTHER, v->tokens, cap * sizeof *t);
    if (!t)
        return false;
    memset(t + v->cap, 0, (cap - v->cap) * sizeof *t);
    v->tokens = t;
    v->cap = cap;
    return true;
}

nbi_vocab_result nbi_vocab_add(nbi_vocab *v, nbi_arena *arena, const char *s, size_t n, int32_t id)
{
    size_t i = (size_t)id;
    if (!make_room(v, i))
        return NBI_VOCAB_NO_MEMORY;
    if (v->tokens[i].s)
        return NBI_VOCAB_SAME_ID;
    if (nbi_strmap_get(&v->ids, s, n, NULL))
        return NBI_VOCAB_SAME_TOKEN;
    char *copy = nbi_arena_strndup(arena, s, n);
    if (!copy || !nbi_strmap_put(&v->ids, copy, n, id, NULL))
        return NBI_VOCAB_NO_MEMORY;
    v->tokens[i] = (nbi_vocab_entry){copy, n};
    if (v->n <= i)
        v->n = i + 1;
    v->count++;
    return NBI_VOCAB_ADDED;
}

int32_t nbi_vocab_find(const nbi_vocab *v, const char *s, size_t n)
{
    int64_t id;
    return nbi_strmap_get(&v->ids, s, n, &id) ? (int32_t)id : -1;
}

void nbi_vocab_free(nbi_vocab *v)
{
    nbi_strmap_free(&v->ids);
    nbi_free(v->tokens);
    *v = (nbi_vocab){0};
}
