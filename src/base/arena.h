/* SPDX-License-Identifier: MIT */
/* Bump allocator: many small objects of one lifetime (parsed documents, vocabularies). */
#ifndef NBI_ARENA_H
#define NBI_ARENA_H

#include "base/alloc.h"

typedef struct nbi_arena {
    struct nbi_arena_chunk *head;
    nbi_memtag tag;
} nbi_arena;

void nbi_arena_init(nbi_arena *a, nbi_memtag tag);
/* n bytes aligned to `align` (a power of two up to 64); NULL when there is no memory. */
void *nbi_arena_alloc(nbi_arena *a, size_t n, size_t align);
/* Copy of len bytes with a NUL after them. */
char *nbi_arena_strndup(nbi_arena *a, const char *s, size_t len);
/* Frees all; the arena can be used again. */
void nbi_arena_free(nbi_arena *a);

#endif
