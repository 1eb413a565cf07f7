/* SPDX-License-Identifier: MIT */
/* Text generation with a model and, when wanted, an adapter. */
#ifndef NIBBLE_GENERATE_H
#define NIBBLE_GENERATE_H

#include <signal.h>
#include <stdint.h>
#include "nibble/recipe.h"
#include "nibble/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* One model with its tokenizer (if the folder has one), adapter and cache. Not for use by two
 * threads at once. */
typedef struct nb_generator nb_generator;

/* Opens what the recipe's keys name: model, adapter (alone it finds its base, the base's
 * quantisation and the layout of the rows it was trained on), load_in_4bit, compute_dtype, threads,
 * cpumask. The recipe must outlive the generator. */
nb_status nb_generator_open(nb_generator **out, nb_recipe *r, const nb_log *log,
                            nb_error *err) NB_MUST_CHECK;
void nb_generator_close(nb_generator **g);
const nb_tokenizer *nb_generator_tokenizer(const nb_generator *g); /* NULL: folder without one */
/* With and without the adapter, for comparisons; no effect without an adapter. */
void nb_generator_use_adapter(nb_generator *g, bool on);
bool nb_generator_has_adapter(const nb_generator *g);

typedef struct nb_generate_options {
    int64_t max_new_tokens;    /* 256 */
    double temperature;        /* 0: greedy */
    int64_t top_k;             /* 0: off */
    double top_p;              /* 1: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1: off */
    uint64_t seed;
    bool ignore_eos;
    const char *stop_text; /* the answer ends in front of its first occurrence; NULL: none */
    const volatile sig_atomic_t *stop; /* polled; may be NULL */
    /* New text as soon as it is certain (whole characters); may be NULL. False ends the generation.
     */
    bool (*on_text)(void *user, const char *text, size_t len);
    void *user;
} nb_generate_options;
/* 256 tokens; temperature, top_k, top_p and so on from generation_config.json are not taken over:
 * greedy unless asked. */
void nb_generate_options_default(nb_generate_options *o);

typedef struct nb_generation {
    int32_t *ids; /* new ids, the stop token included when one came */
    size_t n;
    char *text;   /* without special tokens; NULL without a tokenizer */
    bool stopped; /* by a stop token or stop_text */
    int64_t prompt_tokens;
    double prompt_seconds, seconds; /* of the prompt, of the new tokens */
} nb_generation;
void nb_generation_free(nb_generation *g);

nb_status nb_generate_ids(nb_generator *g, const int32_t *ids, size_t n,
                          const nb_generate_options *o, nb_generation *result,
                          nb_error *err) NB_MUST_CHECK;

typedef struct nb_chat_message {
    const char *role, *content;
} nb_chat_message;

/* Prompt ids (nb_free) of a plain text (with the tokenizer's special tokens). */
nb_status nb_prompt_text(const nb_generator *g, const char *text, int32_t **ids, size_t *n,
                         nb_error *err) NB_MUST_CHECK;
/* Prompt ids of one question in the layout the adapter was trained with (nibble.json), or in the
 * model's chat template. *layout (may be NULL) names what was used; NB_UNSUPPORTED when there is
 * neither. */
nb_status nb_prompt_question(const nb_generator *g, const char *question, int32_t **ids, size_t *n,
                             const char **layout, nb_error *err) NB_MUST_CHECK;
/* Prompt ids of a row in the training layout, given as a JSON object without the answer. `path` and
 * `line` say in messages where it stands. */
nb_status nb_prompt_row(const nb_generator *g, const char *path, int64_t line, const char *json,
                        size_t len, int32_t **ids, size_t *n, nb_error *err) NB_MUST_CHECK;
/* Prompt ids of a conversation: of its last message alone when the adapter was trained on single
 * questions and answers, else of all of it in the model's chat template. *layout as above. */
nb_status nb_prompt_chat(const nb_generator *g, const nb_chat_message *messages, size_t n_messages,
                         int32_t **ids, size_t *n, const char **layout,
                         nb_error *err) NB_MUST_CHECK;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
