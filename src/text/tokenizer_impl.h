/* SPDX-License-Identifier: MIT */
/* Inside of nb_tokenizer; for the files of this folder only. */
#ifndef NBI_TOKENIZER_IMPL_H
#define NBI_TOKENIZER_IMPL_H

#include "nibble/tokenizer.h"
#include "text/added_token.h"
#include "text/token_model.h"

typedef enum nbi_role {
    NBI_ROLE_BOS,
    NBI_ROLE_EOS,
    NBI_ROLE_PAD,
    NBI_ROLE_UNK,
    NBI_ROLES
} nbi_role;

struct nb_tokenizer {
    nbi_arena arena;
    nbi_regexes regexes;
    nbi_vocab vocab; /* of the model */
    nbi_added added;
    nbi_components normalizer, pretokenizer, postprocessor, decoder;
    const nbi_model_kind *model_kind;
    void *model;
    bool needs_alignment;
    bool adds_bos;
    int32_t roles[NBI_ROLES];
    const char *chat_template; /* NULL: none */
};

/* tokenizer_load.c: the folder's files into a zeroed tokenizer. */
nb_status nbi_tokenizer_load(nb_tokenizer *t, const char *dir, const nb_log *log,
                             nb_error *err) NB_MUST_CHECK;
/* tokenizer_roles.c: the files beside tokenizer.json, all optional. */
nb_status nbi_tokenizer_load_roles(nb_tokenizer *t, const char *dir, const nb_log *log,
                                   nb_error *err) NB_MUST_CHECK;

#endif
