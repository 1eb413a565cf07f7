/* SPDX-License-Identifier: MIT */
/* Choosing the next token from logits, with the settings and the order of transformers: repetition
 * penalty, temperature, top_k, top_p, min_p. */
#ifndef NB_SAMPLER_H
#define NB_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>
#include "nibble/status.h"

typedef struct nb_sampler_options {
    double temperature;        /* 0: greedy, the lowest id among equals */
    int64_t top_k;             /* keep the k best and those equal to the k-th; 0: off */
    double top_p;              /* keep the best until their probabilities reach top_p; 1: off */
    double min_p;              /* drop what is less likely than min_p times the best; 0: off */
    double repetition_penalty; /* scores of tokens seen before: divided if positive, multiplied if
                                * negative; 1: off */
    uint64_t seed;
} nb_sampler_options;

/* Greedy, everything off. */
void nb_sampler_options_default(nb_sampler_options *o);
/* NB_CONFIG names the setting that is out of range. */
nb_status nb_sampler_options_check(const nb_sampler_options *o, nb_error *err) NB_MUST_CHECK;

typedef struct nb_sampler nb_sampler;
nb_status nb_sampler_open(nb_sampler **out, const nb_sampler_options *o, int64_t vocab,
                          nb_error *err) NB_MUST_CHECK;
void nb_sampler_close(nb_sampler **s);
/* Notes a token of the prompt or of the answer for the repetition penalty. */
void nb_sampler_see(nb_sampler *s, int32_t id);
/* The next token by logits[vocab], -1 when they hold NaN or no finite maximum. The i-th call uses
 * the i-th number of the seed's stream. */
int32_t nb_sampler_pick(nb_sampler *s, const float *logits);

#endif
