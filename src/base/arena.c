/* SPDX-License-Identifier: MIT */
#include "base/arena.h"

#include <string.h>
#include "base/checked.h"

struct nbi_arena_chunk {
    struct nbi_arena_chunk *next;
    size_t size, used; /* of the bytes after the head */
};

enum { HEAD = 64, FIRST_CHUNK = 4096, LAST_CHUNK = 512 * 1024 };
_Static_assert(sizeof(struct nbi_arena_chunk) <= HEAD, "the data must start aligned");

void nbi_arena_init(nbi_arena *a, nbi_memtag tag)
{
    a->head = NULL;
    a->tag = tag;
}

static char *data_of(struct nbi_arena_chunk *c)
{
    return (char *)c + HEAD;
}

static void *take(struct nbi_arena_chunk *c, size_t n, size_t align)
{
    size_t at = (c->used + align - 1) & ~(align - 1);
    if (at > c->size || n > c->size - at)
        return NULL;
    c->used = at + n;
    return data_of(c) + at;
}

void *nbi_arena_alloc(nbi_arena *a, size_t n, size_t align)
{
    void *p = a->head ? take(a->head, n, align) : NULL;
    if (p)
        return p;
    size_t size = a->head ? a->head->size * 2 : FIRST_CHUNK - HEAD;
    if (size > LAST_CHUNK)
        size = LAST_CHUNK;
    bool own = n > size / 4;
    if (own)
        size = n;
    size_t total;
    if (!nbi_add_size(size, HEAD, &total))
        return NULL;
    struct nbi_arena_chunk *c = nbi_alloc(a->tag, total);
    if (!c)
        return NULL;
    c->size = size;
    c->used = 0;
    if (own && a->head) {
        /* a block for itself goes second, so that the rest of the head is still used */
        c->next = a->head->next;
        a->head->next = c;
    } else {
        c->next = a->head;
        a->head = c;
    }
    return take(c, n, align);
}

char *nbi_arena_strndup(nbi_arena *a, const char *s, size_t len)
{
    size_t total;
    char *p = nbi_add_size(len, 1, &total) ? nbi_arena_alloc(a, total, 1) : NULL;
    if (p) {
        if (len > 0)
            memcpy(p, s, len);
        p[len] = 0;
    }
    return p;
}

void nbi_arena_free(nbi_arena *a)
{
    while (a->head) {
        struct nbi_arena_chunk *c = a->head;
        a->head = c->next;
        nbi_free(c);
    }
}
