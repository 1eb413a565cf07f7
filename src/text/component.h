/* SPDX-License-Identifier: MIT */
/* The stages of a tokenizer are lists of components, each known by the "type" it has in
 * tokenizer.json. A stage is one table of kinds in one file; a new kind is one function (two with
 * parameters) and one line of that table.
 *
 * Sequences are flattened while loading. Parameters live in the tokenizer's arena and are immutable
 * afterwards; everything that changes while encoding is in the caller's nbi_run. */
#ifndef NBI_COMPONENT_H
#define NBI_COMPONENT_H

#include <string.h>
#include "base/array.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "nibble/log.h"
#include "text/aligned.h"
#include "text/regex.h"

typedef struct nbi_vocab nbi_vocab;

/* ---- while loading ---- */

typedef NBI_ARRAY(nbi_regex *) nbi_regexes;

typedef struct nbi_load {
    const char *where; /* file name */
    size_t base;       /* added to the offsets of trees in messages */
    nbi_arena *arena;  /* lives as long as the tokenizer */
    nbi_regexes *regexes;
    const nbi_vocab *vocab;
    const nb_log *log;
    bool needs_alignment; /* set by components that look at positions in the original text */
    int depth;
    nb_error *err;
} nbi_load;

/* Zeroed memory of the tokenizer's lifetime. */
nb_status nbi_load_alloc(nbi_load *l, size_t size, void **out) NB_MUST_CHECK;
/* Compiles a pattern; owned by the tokenizer. */
nb_status nbi_load_regex(nbi_load *l, const char *pattern, size_t len,
                         const nbi_regex **out) NB_MUST_CHECK;
/* A required string member, any bytes. */
nb_status nbi_load_string(nbi_load *l, const nbi_json *v, const char *key, const char **s,
                          size_t *len) NB_MUST_CHECK;
/* A required member that is exactly one character. */
nb_status nbi_load_char(nbi_load *l, const nbi_json *v, const char *key,
                        uint32_t *cp) NB_MUST_CHECK;
/* An optional boolean. */
nb_status nbi_load_bool(nbi_load *l, const nbi_json *v, const char *key, bool *r) NB_MUST_CHECK;
/* NB_FORMAT "file: byte N: what"; v NULL: the begin of the section. */
nb_status nbi_load_fail(nbi_load *l, const nbi_json *v, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- while encoding ---- */

/* A part of the text: still text (id < 0) or an added token. */
typedef struct nbi_piece {
    size_t begin, end; /* bytes of nbi_run.text */
    uint32_t orig;     /* where it begins in the original; right only when tracked */
    int32_t id;
} nbi_piece;

typedef struct nbi_match {
    size_t begin, end;
    bool match, drop;
} nbi_match;

typedef struct nbi_token {
    int32_t id;
    uint32_t begin, end; /* bytes of the original; when not tracked, begin = 0, end = length */
    uint32_t piece;      /* of an added token, else UINT32_MAX */
} nbi_token;

typedef NBI_ARRAY(nbi_token) nbi_tokens;
typedef NBI_ARRAY(nbi_match) nbi_matches;

/* All that one call of encode needs; zero-initialise, nbi_run_free at the end. */
typedef struct nbi_run {
    const char *original; /* well-formed text */
    size_t original_len;
    nbi_aligned text, next;
    NBI_ARRAY(nbi_piece) pieces, more;
    nbi_matches matches;
    nbi_tokens tokens, more_tokens;
    nbi_regex_run regex;
    struct nbi_bpe_run *bpe;
    void *cache;
    const nbi_vocab *vocab;
    nb_error *err;
} nbi_run;

void nbi_run_free(nbi_run *run);
nb_status nbi_run_nomem(nbi_run *run);
nb_status nbi_run_push_piece(nbi_run *run, nbi_piece p) NB_MUST_CHECK; /* to `more` */
static inline void nbi_run_swap_pieces(nbi_run *run)
{
    __typeof__(run->pieces) t;
    memcpy(&t, &run->pieces, sizeof t);
    memcpy(&run->pieces, &run->more, sizeof t);
    memcpy(&run->more, &t, sizeof t);
}

/* Whether text that had n0 bytes has grown to n by a step that no real tokenizer makes: a few
 * replacements that double it, one after the other, would fill all memory. */
static inline bool nbi_grown_too_far(size_t n, size_t n0)
{
    return n / 64 > n0 + 16384;
}

/* Rewrites one piece of text; whatever is appended to out takes its place. */
typedef nb_status nbi_rewrite_fn(const void *param, nbi_run *run, const nbi_view *in,
                                 nbi_aligned *out);
/* Puts every piece that is text through fn; pieces that become empty vanish. */
nb_status nbi_run_rewrite(nbi_run *run, nbi_rewrite_fn *fn, const void *param) NB_MUST_CHECK;

/* A list of strings, end to end. */
typedef struct nbi_strings {
    nbi_strbuf text;
    NBI_ARRAY(size_t) ends;
} nbi_strings;

/* Ends the string whose bytes were appended to text. */
nb_status nbi_strings_end(nbi_strings *l, nb_error *err) NB_MUST_CHECK;
void nbi_strings_free(nbi_strings *l);
/* The i-th string and its length. */
static inline const char *nbi_string_at(const nbi_strings *l, size_t i, size_t *n)
{
    size_t begin = i ? l->ends.v[i - 1] : 0;
    *n = l->ends.v[i] - begin;
    return *n ? l->text.s + begin : "";
}

/* ---- kinds ---- */

typedef struct nbi_kind {
    const char *type;
    /* NULL: takes no parameters. May leave *param NULL. */
    nb_status (*load)(nbi_load *l, const nbi_json *v, const void **param);
    union {
        nbi_rewrite_fn *normalize;
        nb_status (*pretokenize)(const void *param, nbi_run *run);
        /* on run->tokens; tokens may only be added when add_special is set */
        nb_status (*process)(const void *param, nbi_run *run, bool add_special);
        nb_status (*decode)(const void *param, const nbi_strings *in, nbi_strings *out,
                            nb_error *err);
    } run;
} nbi_kind;

typedef struct nbi_stage {
    const char *name;     /* key in the file, for messages */
    const char *children; /* key of the list in a Sequence */
    const nbi_kind *kinds;
    size_t n;
} nbi_stage;

extern const nbi_stage nbi_stage_normalizer, nbi_stage_pretokenizer, nbi_stage_postprocessor,
    nbi_stage_decoder;

typedef struct nbi_component {
    const nbi_kind *kind;
    const void *param;
} nbi_component;

typedef NBI_ARRAY(nbi_component) nbi_components;

/* Appends what v describes (null: nothing). NB_UNSUPPORTED for an unknown type, by name. */
nb_status nbi_components_load(nbi_components *list, const nbi_stage *stage, const nbi_json *v,
                              nbi_load *l) NB_MUST_CHECK;

/* The 256 characters that stand for bytes in byte-level vocabularies (component.c). */
uint32_t nbi_byte_char(unsigned char byte);
/* The byte that cp stands for, or -1. */
int nbi_char_byte(uint32_t cp);
/* Rewrites text to that alphabet. */
nb_status nbi_rewrite_bytes(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out);

#endif
