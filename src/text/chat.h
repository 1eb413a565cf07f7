/* SPDX-License-Identifier: MIT */
/* Chat templates: messages to text, with the spans that came from the assistant.
 *
 * Until the template interpreter exists, templates are recognised by the SHA-256 of their text in
 * one table of known ones, each rendered by a C function; any other is refused (NB_UNSUPPORTED)
 * with a line that names its hash and offers the recipe key `template`. */
#ifndef NBI_CHAT_H
#define NBI_CHAT_H

#include "base/strbuf.h"
#include "nibble/tokenizer.h"

typedef struct nbi_message {
    const char *role; /* "system", "user", "assistant", ... */
    const char *content;
    size_t content_len;
} nbi_message;

typedef struct nbi_span {
    size_t begin, end; /* bytes of the rendered text */
} nbi_span;

typedef struct nbi_rendered {
    nbi_strbuf text;
    nbi_span *spans; /* what the template's {% generation %} blocks cover, ascending */
    size_t n_spans, cap_spans;
} nbi_rendered;

/* Renders with the tokenizer's own template. Errors a template raises are NB_DATA with its text.
 * The result is to be encoded WITHOUT NB_ENCODE_SPECIAL. */
nb_status nbi_chat_render(const nb_tokenizer *tok, const nbi_message *messages, size_t n,
                          bool add_generation_prompt, nbi_rendered *out,
                          nb_error *err) NB_MUST_CHECK;
void nbi_rendered_free(nbi_rendered *r);
/* True when the tokenizer has a template that nbi_chat_render knows. */
bool nbi_chat_supported(const nb_tokenizer *tok);

#endif
