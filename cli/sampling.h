/* SPDX-License-Identifier: MIT */
/* The flags that generate and chat share. */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H

#include "args.h"

#define CLI_SAMPLING_OPTIONS                                                                       \
    {"max_new_tokens", "N", "tokens to make at most [256]"},                                       \
        {"temperature", "X", "0: greedy [0]"},                                                     \
        {"top_k", "N", "only the N most likely tokens; 0: all [0]"},                               \
        {"top_p", "X", "only the most likely tokens that make up this share [1]"},                 \
        {"min_p", "X", "only tokens at least this likely relative to the best [0]"},               \
        {"repetition_penalty", "X", "above 1: tokens that occurred are less likely [1]"},          \
        {"seed", "N", "seed of the sampling [42]"},                                                \
    {                                                                                              \
        "stop", "TEXT", "the answer ends in front of this text"                                    \
    }

nb_status cli_sampling(const cli_args *a, nb_generate_options *o, nb_error *err);
/* Streams to stdout; for nb_generate_options.on_text. What a model writes is not trusted: on a
 * terminal control characters are shown as escapes. */
/* Text for people: control characters but line feeds and tabs as \\x.. */
void cli_print_safe(const char *text, size_t len);
bool cli_stream_text(void *user, const char *text, size_t len);

#endif
