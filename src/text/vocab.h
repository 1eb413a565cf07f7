/* SPDX-License-Identifier: MIT */
/* Tokens by id and ids by token. */
#ifndef NBI_VOCAB_H
#define NBI_VOCAB_H

#include "base/arena.h"
#include "base/strmap.h"
#include "nibble/status.h"

#define NBI_VOCAB_MAX_ID (4 * 1024 * 1024 - 1)

typedef struct nbi_vocab_entry {
    const char *s; /* NUL-terminated, NULL: no token has this id */
    size_t n;
} nbi_vocab_entry;

typedef struct nbi_vocab {
    nbi_strmap ids;
    nbi_vocab_entry *tokens; /* by id */
    size_t n, cap;           /* highest id + 1 */
    size_t count;
} nbi_vocab;

typedef enum nbi_vocab_result {
    NBI_VOCAB_ADDED,
    NBI_VOCAB_SAME_TOKEN, /* this token has an id already */
    NBI_VOCAB_SAME_ID,    /* this id has a token already */
    NBI_VOCAB_NO_MEMORY
} nbi_vocab_result;

/* Copies the token into the arena. id is in [0, NBI_VOCAB_MAX_ID]. On any result but ADDED nothing
 * changed. */
nbi_vocab_result nbi_vocab_add(nbi_vocab *v, nbi_arena *arena, const char *s, size_t n, int32_t id);
/* -1: not there. */
int32_t nbi_vocab_find(const nbi_vocab *v, const char *s, size_t n);
/* NULL: no such id. */
static inline const nbi_vocab_entry *nbi_vocab_at(const nbi_vocab *v, int64_t id)
{
    return id >= 0 && (size_t)id < v->n && v->tokens[id].s ? &v->tokens[id] : NULL;
}
void nbi_vocab_free(nbi_vocab *v);

#endif
