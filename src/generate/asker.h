/* SPDX-License-Identifier: MIT */
/* Prompts to texts with a model as it stands: greedy answers, one after the other. What evaluations
 * and the samples of a training share. */
#ifndef NB_ASKER_H
#define NB_ASKER_H

#include <signal.h>
#include "model/model.h"
#include "nibble/tokenizer.h"

typedef struct nb_asker nb_asker;

typedef struct nb_asker_options {
    int64_t longest_prompt; /* tokens */
    int64_t max_new_tokens;
    const volatile sig_atomic_t *stop; /* polled; may be NULL */
} nb_asker_options;

typedef struct nb_answer {
    char *text;    /* of the new tokens, without special ones; nbi_free */
    size_t len, n; /* bytes, tokens */
    bool stopped;  /* a stop token ended it, not max_new_tokens */
    double seconds;
} nb_answer;

/* Model (adapters attached as at the first open) and tokenizer are borrowed; the model may change
 * between answers. Memory of NBI_MEM_KV and a workspace for longest_prompt + max_new_tokens. */
nb_status nb_asker_open(nb_asker **out, nb_model *m, const nb_tokenizer *tok,
                        const nb_asker_options *o, nb_error *err) NB_MUST_CHECK;
void nb_asker_close(nb_asker **a);
/* NB_LIMIT when the prompt is longer than said, NB_INTERRUPTED when asked to stop, NB_NUMERIC when
 * the logits hold NaN; then *answer is empty. */
nb_status nb_asker_ask(nb_asker *a, const int32_t *ids, size_t n, nb_answer *answer,
                       nb_error *err) NB_MUST_CHECK;
void nb_answer_free(nb_answer *answer);

#endif
