/* SPDX-License-Identifier: MIT */
/* Regular expressions of tokenizer.json (Oniguruma's Ruby syntax, Unicode 16 classes) on PCRE2.
 *
 * \p{..} \s \w \d \b are expanded to explicit ranges, so that the installed library's Unicode
 * version does not matter; properties outside the table (\p{Greek}, \p{Sc}, ...) are the library's.
 * What the two syntaxes mean differently is translated or refused by name. */
#ifndef NBI_REGEX_H
#define NBI_REGEX_H

#include <stdbool.h>
#include <stddef.h>
#include "base/strbuf.h"
#include "nibble/status.h"

/* Immutable once compiled; shared by threads. */
typedef struct nbi_regex nbi_regex;

/* `where` names the file and section for messages. NB_FORMAT for a bad pattern, NB_UNSUPPORTED,
 * NB_LIMIT, NB_NOMEM. */
nb_status nbi_regex_compile(nbi_regex **out, const char *pattern, size_t len, const char *where,
                            nb_error *err) NB_MUST_CHECK;
void nbi_regex_free(nbi_regex *re);

/* What one caller needs to match; zero-initialise, use with any regex, free at the end. */
typedef struct nbi_regex_run {
    void *match_data;
} nbi_regex_run;
void nbi_regex_run_free(nbi_regex_run *run);

/* Leftmost match in s[from..n) (well-formed UTF-8); what stands before `from` is visible to
 * look-behind. *found tells whether there is one. NB_LIMIT when the pattern needs too many steps.
 */
nb_status nbi_regex_find(const nbi_regex *re, nbi_regex_run *run, const char *s, size_t n,
                         size_t from, bool *found, size_t *begin, size_t *end,
                         nb_error *err) NB_MUST_CHECK;

/* The translation alone (regex_expand.c). */
nb_status nbi_regex_expand(nbi_strbuf *out, const char *pattern, size_t len, const char *where,
                           nb_error *err) NB_MUST_CHECK;

#endif
