/* SPDX-License-Identifier: MIT */
/* Added tokens: strings that are cut out of the text before anything else looks at it. */
#ifndef NBI_ADDED_TOKEN_H
#define NBI_ADDED_TOKEN_H

#include "text/component.h"
#include "text/vocab.h"

typedef struct nbi_added_token {
    const char *s; /* as written in the file */
    size_t n;
    const char *pattern; /* what is looked for: s, or its normalised form */
    size_t pattern_n;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized, special;
} nbi_added_token;

typedef struct nbi_trie_node {
    int32_t child, sibling; /* -1: none */
    int32_t token;          /* index of the token that ends here, -1: none */
    unsigned char byte;
} nbi_trie_node;

typedef struct nbi_trie {
    NBI_ARRAY(nbi_trie_node) nodes;
    int32_t root[256];
} nbi_trie;

typedef struct nbi_added {
    NBI_ARRAY(nbi_added_token) tokens; /* ascending ids */
    nbi_vocab vocab;                   /* the same by text and id */
    nbi_trie raw, normalized;          /* what is looked for before and after normalising */
} nbi_added;

/* Reads the list "added_tokens". Ids must agree with the model's vocabulary, l->vocab. */
nb_status nbi_added_load(nbi_added *a, const nbi_json *v, nbi_load *l,
                         const nbi_components *normalizer) NB_MUST_CHECK;
void nbi_added_free(nbi_added *a);
/* NULL: not an added token. */
const nbi_added_token *nbi_added_find(const nbi_added *a, int32_t id);

/* Cuts tokens out of every piece of text. With special_as_text, special tokens are passed over. */
nb_status nbi_added_split(const nbi_added *a, bool normalized, bool special_as_text,
                          nbi_run *run) NB_MUST_CHECK;

#endif
