/* SPDX-License-Identifier: MIT */
/* The "model" of tokenizer.json: what cuts a piece of text into tokens of the vocabulary. */
#ifndef NBI_TOKEN_MODEL_H
#define NBI_TOKEN_MODEL_H

#include "text/component.h"
#include "text/vocab.h"

typedef struct nbi_merge {
    int32_t left, right;
} nbi_merge;

/* The object as read; the vocabulary goes straight to its place. */
typedef struct nbi_model_spec {
    char type[32];
    nbi_vocab *vocab;
    bool has_vocab, has_merges;
    NBI_ARRAY(nbi_merge) merges;
    const char *unk, *prefix, *suffix; /* NULL: none; in the arena */
    size_t unk_len, prefix_len, suffix_len;
    double dropout;
    bool fuse_unk, byte_fallback, ignore_merges;
} nbi_model_spec;

typedef struct nbi_model_kind {
    const char *type;
    nb_status (*build)(nbi_load *l, nbi_model_spec *spec, void **model);
    /* Appends the tokens of s[0..n), n > 0, with nbi_model_token. */
    nb_status (*encode)(const void *model, nbi_run *run, const char *s, size_t n);
    void (*release)(void *model); /* NULL is fine */
} nbi_model_kind;

/* Reads the object the reader stands at (its value is next). Frees nothing on failure: the caller
 * frees spec->merges. */
nb_status nbi_model_read(nbi_json_reader *r, nbi_load *l, nbi_model_spec *spec) NB_MUST_CHECK;
/* Finds the kind of spec->type and builds it. NB_UNSUPPORTED by name. */
nb_status nbi_model_build(nbi_load *l, nbi_model_spec *spec, const nbi_model_kind **kind,
                          void **model) NB_MUST_CHECK;

/* One token that covers `len` bytes of the piece. */
static inline nb_status nbi_model_token(nbi_run *run, int32_t id, size_t len)
{
    nbi_token t = {id, 0, (uint32_t)len, UINT32_MAX};
    return nbi_array_push(&run->tokens, t) ? NB_OK : nbi_run_nomem(run);
}

#endif
