/* SPDX-License-Identifier: MIT */
/* What splits or replaces text: a literal string, a regular expression, or a test of characters. */
#ifndef NBI_TEXT_PATTERN_H
#define NBI_TEXT_PATTERN_H

#include "text/component.h"

/* Exactly one of literal, re, is is set. */
typedef struct nbi_pattern {
    const char *literal;
    size_t literal_len; /* > 0 */
    const nbi_regex *re;
    bool (*is)(uint32_t cp);
} nbi_pattern;

/* From {"String": ...} or {"Regex": ...} under v's key "pattern". */
nb_status nbi_pattern_load(nbi_load *l, const nbi_json *v, nbi_pattern *p) NB_MUST_CHECK;

/* Next match at or after *pos; *after_match tells whether the one before ended at *pos (an empty
 * match there does not count). Start with *pos = 0, *after_match = false. */
nb_status nbi_pattern_next(const nbi_pattern *p, nbi_regex_run *run, const char *s, size_t n,
                           size_t *pos, bool *after_match, bool *found, size_t *begin, size_t *end,
                           nb_error *err) NB_MUST_CHECK;

typedef enum nbi_behavior {
    NBI_SPLIT_REMOVED,
    NBI_SPLIT_ISOLATED,
    NBI_SPLIT_MERGED_WITH_PREVIOUS,
    NBI_SPLIT_MERGED_WITH_NEXT,
    NBI_SPLIT_CONTIGUOUS
} nbi_behavior;

/* From the string under `key`; *b keeps its value when absent. */
nb_status nbi_behavior_load(nbi_load *l, const nbi_json *v, const char *key,
                            nbi_behavior *b) NB_MUST_CHECK;

/* Splits every piece of text; with invert, what does not match is the delimiter. */
nb_status nbi_run_split(nbi_run *run, const nbi_pattern *p, nbi_behavior b,
                        bool invert) NB_MUST_CHECK;

#endif
