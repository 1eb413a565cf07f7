/* SPDX-License-Identifier: MIT */
/* Turns tokens that come one by one into text that can be shown at once. */
#ifndef NB_TEXT_STREAM_H
#define NB_TEXT_STREAM_H

#include "nibble/tokenizer.h"

/* What was handed out is always a prefix of what the tokenizer decodes from all tokens so far, and
 * never part of a character. */
typedef struct nb_text_stream nb_text_stream;

nb_status nb_text_stream_open(nb_text_stream **out, const nb_tokenizer *tok, bool skip_special,
                              nb_error *err) NB_MUST_CHECK;
void nb_text_stream_close(nb_text_stream **s);
/* Adds a token; text[0..len) is what became certain (len may be 0), valid until the next call. */
nb_status nb_text_stream_push(nb_text_stream *s, int32_t id, const char **text, size_t *len,
                              nb_error *err) NB_MUST_CHECK;
/* After the last token: the rest, with U+FFFD for characters that were never completed. */
nb_status nb_text_stream_finish(nb_text_stream *s, const char **text, size_t *len,
                                nb_error *err) NB_MUST_CHECK;

#endif
