/* SPDX-License-Identifier: MIT */
/* Tokenizers: text to token ids and back, from a Hugging Face folder's tokenizer.json. */
#ifndef NIBBLE_TOKENIZER_H
#define NIBBLE_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nibble/log.h"
#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Immutable once opened: any number of threads may encode and decode with it at once. */
typedef struct nb_tokenizer nb_tokenizer;

/* Opens dir/tokenizer.json (the only file that must exist) and, when present,
 * tokenizer_config.json, special_tokens_map.json, chat_template.jinja. On success *out is owned by
 * the caller. NB_NOTFOUND, NB_FORMAT, NB_UNSUPPORTED (a component this version does not know, by
 * name), NB_NOMEM, NB_IO. */
nb_status nb_tokenizer_open(nb_tokenizer **out, const char *dir, const nb_log *log,
                            nb_error *err) NB_MUST_CHECK;
/* Sets *tok to NULL; NULL and *tok == NULL are fine. */
void nb_tokenizer_close(nb_tokenizer **tok);

/* Result of an encoding. Zero-initialise, reuse over calls, free at the end. */
typedef struct nb_encoding {
    int32_t *ids;     /* [n] */
    int64_t *offsets; /* [n][2]: begin and end in BYTES of the text; filled when asked for */
    size_t n;
    size_t cap; /* private */
} nb_encoding;
void nb_encoding_free(nb_encoding *e);

typedef enum nb_encode_flags {
    NB_ENCODE_SPECIAL = 1,        /* run the post-processor: add BOS and the like */
    NB_ENCODE_OFFSETS = 2,        /* fill offsets; tokens holding part of a character have its whole
                                   * range, tokens added by the post-processor [0, 0) */
    NB_ENCODE_SPECIAL_AS_TEXT = 4 /* special added tokens inside the text are ordinary text */
} nb_encode_flags;

/* Encodes text[0..len). Ill-formed UTF-8: each maximal ill-formed part counts as U+FFFD; offsets
 * then refer to the repaired text. On failure *e holds no result but stays valid. */
nb_status nb_tokenizer_encode(const nb_tokenizer *tok, const char *text, size_t len, unsigned flags,
                              nb_encoding *e, nb_error *err) NB_MUST_CHECK;

/* Decodes ids into a new NUL-terminated UTF-8 string (free with nb_free). Ids outside the
 * vocabulary are an error (NB_DATA). */
nb_status nb_tokenizer_decode(const nb_tokenizer *tok, const int32_t *ids, size_t n,
                              bool skip_special, char **text, size_t *len,
                              nb_error *err) NB_MUST_CHECK;

/* Number of ids: highest id in use + 1 (vocabulary and added tokens). */
int64_t nb_tokenizer_vocab_size(const nb_tokenizer *tok);
/* Text of one token as it stands in the vocabulary, NULL if there is none; borrowed. */
const char *nb_tokenizer_token(const nb_tokenizer *tok, int32_t id);
/* Id of a token by its text, -1 if there is none. */
int32_t nb_tokenizer_token_id(const nb_tokenizer *tok, const char *token);
bool nb_tokenizer_is_special(const nb_tokenizer *tok, int32_t id);
/* Ids by role from tokenizer_config.json / special_tokens_map.json, -1 when not known. A folder
 * with only tokenizer.json: guessed from well-known names of special tokens. */
int32_t nb_tokenizer_bos(const nb_tokenizer *tok);
int32_t nb_tokenizer_eos(const nb_tokenizer *tok);
int32_t nb_tokenizer_pad(const nb_tokenizer *tok);
int32_t nb_tokenizer_unk(const nb_tokenizer *tok);
/* True when the post-processor puts the BOS in front. */
bool nb_tokenizer_adds_bos(const nb_tokenizer *tok);
/* The folder's chat template (chat_template.jinja before the key in tokenizer_config.json), NULL if
 * there is none; borrowed. */
const char *nb_tokenizer_chat_template(const nb_tokenizer *tok);

/* Frees memory handed out by this library. NULL is fine. */
void nb_free(void *p);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
