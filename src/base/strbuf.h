/* SPDX-License-Identifier: MIT */
/* Growing byte string, always NUL-terminated once something was written. Failure is sticky: after a
 * failed allocation further appends do nothing and `failed` stays set, so it is checked once. */
#ifndef NBI_STRBUF_H
#define NBI_STRBUF_H

#include "base/alloc.h"
#include "nibble/status.h"

typedef struct nbi_strbuf {
    char *s; /* NULL while empty and never reserved */
    size_t n, cap;
    bool failed;
} nbi_strbuf;

void nbi_strbuf_add(nbi_strbuf *b, const char *s, size_t len);
void nbi_strbuf_puts(nbi_strbuf *b, const char *s);
void nbi_strbuf_putc(nbi_strbuf *b, char c);
void nbi_strbuf_printf(nbi_strbuf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The text, "" when empty; valid until the next change. */
const char *nbi_strbuf_str(const nbi_strbuf *b);
/* n = 0; keeps the memory and clears `failed`. */
void nbi_strbuf_clear(nbi_strbuf *b);
void nbi_strbuf_free(nbi_strbuf *b);
/* NB_OK, or NB_NOMEM recorded in *err when an append failed. */
nb_status nbi_strbuf_check(const nbi_strbuf *b, nb_error *err) NB_MUST_CHECK;

/* Does the text s end with the text suffix? */
bool nbi_ends_with(const char *s, const char *suffix);

#endif
