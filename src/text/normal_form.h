/* SPDX-License-Identifier: MIT */
#ifndef NBI_NORMAL_FORM_H
#define NBI_NORMAL_FORM_H

#include "text/aligned.h"

/* Appends NFD (NFKD with compat), or with compose NFC (NFKC), of `in` by Unicode 9 (UAX #15). */
nb_status nbi_normal_form(const nbi_view *in, nbi_aligned *out, bool compat, bool compose,
                          nb_error *err) NB_MUST_CHECK;

/* Appends s in front of a non-empty text. */
nb_status nbi_prepend(const char *s, size_t n, const nbi_view *in, nbi_aligned *out);

#endif
