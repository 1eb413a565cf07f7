/* SPDX-License-Identifier: MIT */
/* Text that remembers, for each of its bytes, which part of the original it stands for. */
#ifndef NBI_ALIGNED_H
#define NBI_ALIGNED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nibble/status.h"

typedef struct nbi_align {
    uint32_t begin, end; /* bytes of the original */
} nbi_align;

/* Growing text. `a` is NULL and stays so unless `track` was set before the first byte. Failure to
 * allocate is sticky (`failed`). Zero-initialise. */
typedef struct nbi_aligned {
    char *s;
    nbi_align *a;
    size_t n, cap;
    bool track, failed;
} nbi_aligned;

/* A borrowed part of such a text. */
typedef struct nbi_view {
    const char *s;
    const nbi_align *a; /* NULL when not tracked */
    size_t n;
    uint32_t orig; /* where the part begins in the original */
} nbi_view;

void nbi_aligned_free(nbi_aligned *t);
static inline void nbi_aligned_clear(nbi_aligned *t)
{
    t->n = 0;
}
/* All bytes of s get the same alignment. */
void nbi_aligned_add(nbi_aligned *t, const char *s, size_t n, nbi_align same);
/* Copies bytes [begin, end) of v with their alignments. */
void nbi_aligned_copy(nbi_aligned *t, const nbi_view *v, size_t begin, size_t end);
nb_status nbi_aligned_check(const nbi_aligned *t, nb_error *err) NB_MUST_CHECK;
static inline nbi_view nbi_aligned_view(const nbi_aligned *t, uint32_t orig)
{
    return (nbi_view){t->s, t->track ? t->a : NULL, t->n, orig};
}

/* Rewrites a view character by character. `change` says what a new character replaces: 0 the next
 * character of the input, -k the next one and the k after it, 1 nothing (it shares the alignment of
 * what stands before). */
typedef struct nbi_rewrite {
    const nbi_view *in;
    size_t pos;
    nbi_aligned *out;
} nbi_rewrite;

void nbi_rewrite_put(nbi_rewrite *r, const char *s, size_t len, int64_t change);
void nbi_rewrite_put_cp(nbi_rewrite *r, uint32_t cp, int64_t change);
/* Drops the next k characters of the input. */
void nbi_rewrite_skip(nbi_rewrite *r, size_t k);

/* Byte length of the well-formed character that starts with `lead`. */
static inline size_t nbi_utf8_len(char lead)
{
    unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}
/* Decodes one character of well-formed text. */
uint32_t nbi_utf8_get(const char *s);

#endif
