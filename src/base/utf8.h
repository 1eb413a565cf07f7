/* SPDX-License-Identifier: MIT */
#ifndef NBI_UTF8_H
#define NBI_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/strbuf.h"

/* Decodes one code point at s[0..len), len > 0. Returns its byte length and stores it; for an
 * ill-formed sequence returns the length of the maximal ill-formed part (WHATWG) and stores
 * 0xFFFFFFFF. */
size_t nbi_utf8_decode(const char *s, size_t len, uint32_t *cp);
/* 1..4 bytes into out; surrogates and values above U+10FFFF become U+FFFD. */
size_t nbi_utf8_encode(uint32_t cp, char out[4]);
/* Bytes of the byte order mark at the beginning: 3, or 0 without one. */
size_t nbi_utf8_bom(const char *s, size_t len);
/* Offset of the first ill-formed byte, or len. */
size_t nbi_utf8_check(const char *s, size_t len);
/* Appends s with each maximal ill-formed part replaced by U+FFFD. */
void nbi_utf8_sanitize(nbi_strbuf *out, const char *s, size_t len);

#endif
