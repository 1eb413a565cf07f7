/* SPDX-License-Identifier: MIT */
/* Answers to fixed prompts before, during and after a training: greedy, so that they differ by what
 * was learned alone. samples.jsonl holds a line for each. Private to train/. */
#ifndef NBI_SAMPLES_H
#define NBI_SAMPLES_H

#include "base/strbuf.h"
#include "generate/asker.h"

typedef struct nbi_run nbi_run;

typedef struct nbi_sample {
    char *prompt; /* as given */
    int32_t *ids; /* in the layout of the training */
    size_t n;
} nbi_sample;

typedef struct nbi_samples {
    NBI_ARRAY(nbi_sample) v;
    nb_asker *asker;
    nbi_strbuf lines; /* what samples.jsonl holds */
    bool said;        /* that it cannot be written */
} nbi_samples;

/* The prompts of sample_prompts; nothing when there are none. Needs the tokenizer and the training
 * rows, whose layout they take. NB_CONFIG, NB_DATA with the prompt or line. */
nb_status nbi_samples_read(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Tokens that a prompt and its answer take together at most; 0: there are none. */
int64_t nbi_samples_tokens(const nbi_run *run);
/* Memory to generate with; lines of a resumed run up to its checkpoint are taken over. */
nb_status nbi_samples_open(nbi_run *run, nb_error *err) NB_MUST_CHECK;
/* Answers all prompts with the parameters as they are, unless that was done at this step. */
nb_status nbi_run_sample(nbi_run *run, nb_error *err) NB_MUST_CHECK;
void nbi_samples_free(nbi_samples *s);

#endif
