/* SPDX-License-Identifier: MIT */
/* Answers of a model to the questions of a data set's rows, and what they are worth. */
#ifndef NBI_ANSWERS_H
#define NBI_ANSWERS_H

#include "data/dataset.h"
#include "data/markers.h"
#include "generate/asker.h"
#include "nibble/train.h"
#include "text/regex.h"
#include "train/scores.h"

/* A row as question and answer: what stands before its last trained part, and that part.
 * Positions of the row's ids. */
typedef struct nbi_question {
    int64_t begin, end; /* of the wanted answer; begin = 0: the row asks nothing */
} nbi_question;
nbi_question nbi_question_of(const nb_example *e);

typedef struct nbi_scored {
    nb_answer answer;
    nbi_rouge rouge;
    bool exact, json, matches, markers;
} nbi_scored;
void nbi_scored_free(nbi_scored *s);

/* What answers are scored by beside the wanted one. */
typedef struct nbi_criteria {
    const nbi_regex *pattern; /* may be NULL */
    const nbi_markers *markers;
} nbi_criteria;

/* Asks and scores. `wanted`: text of the wanted answer. */
nb_status nbi_score_row(nb_asker *asker, const nb_example *e, const char *wanted, size_t wanted_len,
                        const nbi_criteria *by, nbi_scored *out, nb_error *err) NB_MUST_CHECK;
/* The text of the wanted answer (nbi_free), without special tokens. */
nb_status nbi_wanted_text(const nb_tokenizer *tok, const nb_example *e, char **text, size_t *len,
                          nb_error *err) NB_MUST_CHECK;

/* Sums: add every row, then make means of them once. */
void nbi_scores_add(nb_answer_scores *sum, const nbi_scored *s);
void nbi_scores_finish(nb_answer_scores *sum, bool has_pattern);

#endif
