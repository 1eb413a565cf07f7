/* SPDX-License-Identifier: MIT */
/* What a run was made from, by content: so that a resumed run goes on with the same. */
#ifndef NBI_IDENTITY_H
#define NBI_IDENTITY_H

#include "data/dataset.h"
#include "train/evaluator.h"
#include "train/recipe.h"

/* SHA-256 each, "" for what there is not.
 * X(name in nibble_state.json, what a message calls it)
 * model_weights: of each weight file the size and, above NBI_WEIGHTS_WHOLE bytes, NBI_WEIGHTS_PARTS
 * evenly spaced parts of NBI_WEIGHTS_PART bytes, the first and the last among them. */
#define NBI_IDENTITY_MAP(X)                                                                        \
    X(model_config, "model (config.json)")                                                         \
    X(model_weights, "model (weights)")                                                            \
    X(tokenizer, "tokenizer")                                                                      \
    X(data, "data")                                                                                \
    X(eval_data, "eval_data")                                                                      \
    X(sample_order, "sample_order")

#define NBI_WEIGHTS_WHOLE ((size_t)16 << 20)
#define NBI_WEIGHTS_PART ((size_t)64 << 10)
#define NBI_WEIGHTS_PARTS 256

typedef struct nbi_identity {
#define NBI_IDENTITY_FIELD(name, text) char name[65];
    NBI_IDENTITY_MAP(NBI_IDENTITY_FIELD)
#undef NBI_IDENTITY_FIELD
} nbi_identity;

/* `model`: its folder. The data sets are loaded. */
nb_status nbi_identity_make(nbi_identity *id, const nb_recipe *r, const char *model,
                            const nb_dataset *data, const nbi_eval_sets *evals,
                            nb_error *err) NB_MUST_CHECK;

#endif
