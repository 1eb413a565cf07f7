/* SPDX-License-Identifier: MIT */
/* How good an answer is beside the one that was asked for: measures on texts. */
#ifndef NBI_SCORES_H
#define NBI_SCORES_H

#include <stdbool.h>
#include <stddef.h>
#include "nibble/status.h"

/* F measures in [0, 1]; 0 when either text has no word (no pair of words for rouge2). */
typedef struct nbi_rouge {
    double rouge1, rouge2, rougel;
} nbi_rouge;

/* ROUGE (Lin, "ROUGE: a package for automatic evaluation of summaries", 2004) on words as the
 * rouge_score package cuts them without its stemmer: the text in lower case, words are the runs of
 * a-z and 0-9. rouge1 and rouge2 count words and pairs of neighbours that both have, each at most
 * as often as the other has it; rougel takes the longest common subsequence of words. */
nb_status nbi_rouge_of(const char *answer, size_t answer_len, const char *wanted, size_t wanted_len,
                       nbi_rouge *out, nb_error *err) NB_MUST_CHECK;

/* Equal bytes once white space at both ends is gone. */
bool nbi_exact_match(const char *answer, size_t answer_len, const char *wanted, size_t wanted_len);

/* The whole answer, but for white space around it, is one JSON value. */
nb_status nbi_is_json(const char *answer, size_t len, bool *is, nb_error *err) NB_MUST_CHECK;

#endif
