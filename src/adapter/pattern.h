/* SPDX-License-Identifier: MIT */
/* Regular expressions of adapter configurations (Python's re as far as module paths need it). */
#ifndef NBI_PATTERN_H
#define NBI_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include "nibble/status.h"

typedef struct nbi_regex nbi_regex;

/* NB_CONFIG with the place of the fault. */
nb_status nbi_regex_open(nbi_regex **out, const char *pattern, nb_error *err) NB_MUST_CHECK;
void nbi_regex_close(nbi_regex **r);
/* re.fullmatch / re.match on `text`; *group (may be NULL) receives where group 1 lies, or (0, 0).
 * NB_CONFIG when the pattern needs too many steps. */
nb_status nbi_regex_test(nbi_regex *r, const char *text, bool full, bool *found, size_t group[2],
                         nb_error *err) NB_MUST_CHECK;
/* One use: open, full match, close. */
nb_status nbi_regex_fullmatch(const char *pattern, const char *text, bool *found,
                              nb_error *err) NB_MUST_CHECK;

#endif
