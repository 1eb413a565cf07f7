/* SPDX-License-Identifier: MIT */
/* The tensors a model consists of, by its configuration: one walk for loading, saving, random
 * initialisation and counting. */
#ifndef NBI_LAYOUT_H
#define NBI_LAYOUT_H

#include "model/config.h"

typedef enum nbi_part {
    NBI_PART_EMBED,
    NBI_PART_ATTN_NORM,
    NBI_PART_Q,
    NBI_PART_K,
    NBI_PART_V,
    NBI_PART_O,
    NBI_PART_Q_NORM,
    NBI_PART_K_NORM,
    NBI_PART_MLP_NORM,
    NBI_PART_GATE,
    NBI_PART_UP,
    NBI_PART_DOWN,
    NBI_PART_FINAL_NORM,
    NBI_PART_HEAD
} nbi_part;

#define NBI_MAX_MODULE 128

typedef struct nbi_tensor_spec {
    nbi_part part;
    int64_t layer; /* -1 outside the blocks */
    bool bias;     /* of a linear layer */
    int rank;
    int64_t shape[2];
    char module[NBI_MAX_MODULE];    /* "model.layers.0.mlp.up_proj" */
    char name[NBI_MAX_MODULE + 16]; /* module + ".weight" or ".bias" */
} nbi_tensor_spec;

/* RMSNorm weights; every other part but the embedding is held by an nb_linear. */
bool nbi_part_is_norm(nbi_part p);

/* How often a layer has this part: the number of experts for the MLP of a mixture, else 1. */
int64_t nbi_part_copies(const nb_model_config *c, nbi_part part);

typedef nb_status nbi_tensor_visit(void *user, const nbi_tensor_spec *s, nb_error *err);
/* Calls `visit` for each stored tensor in module order, weight before bias; a tied head is not
 * visited. Stops at the first failure and returns it. */
nb_status nbi_layout_walk(const nb_model_config *c, nbi_tensor_visit *visit, void *user,
                          nb_error *err) NB_MUST_CHECK;
/* The module's name with the layer put in; for the head also when it is tied. */
void nbi_layout_module(const nb_model_config *c, nbi_part part, int64_t layer,
                       char out[NBI_MAX_MODULE]);

#endif
