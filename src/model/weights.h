/* SPDX-License-Identifier: MIT */
/* Loading: from the tensors of a folder to the parts of nb_model. */
#ifndef NBI_WEIGHTS_H
#define NBI_WEIGHTS_H

#include "model/layout.h"
#include "model/model.h"

typedef struct nbi_loader {
    nb_model *m;
    const nb_model_load *how;
    unsigned char *used;     /* [tensors of the folder] */
    float *nested_book;      /* of weights quantised here, made at the first */
    int64_t found_quantised; /* linear layers that were stored in 4 bits */
} nbi_loader;

#define NBI_LINEARS 7 /* in a block */

/* Fills m->sites (room for layers * NBI_LINEARS + 1) from the linear layers. */
nb_status nbi_model_make_sites(nb_model *m, nb_error *err) NB_MUST_CHECK;
/* How the linear layers are held, from what was asked and what the folder is. */
nb_status nbi_model_choose_quant(nb_model *m, const nb_model_load *how, const nb_log *log,
                                 nb_error *err) NB_MUST_CHECK;
/* n bytes that live as long as the model. NULL: no memory. */
void *nbi_model_own(nb_model *m, nbi_memtag tag, size_t n);
/* Places one tensor; visitor of nbi_layout_walk, user is the loader. (weights_load.c) */
nb_status nbi_load_tensor(void *user, const nbi_tensor_spec *s, nb_error *err) NB_MUST_CHECK;
/* The linear layer of a part; the part is one. */
nb_linear *nbi_model_linear(nb_model *m, nbi_part part, int64_t layer);
/* Where a norm's weight and its gradient are kept; the part is one. */
const float **nbi_model_norm(nb_model *m, nbi_part part, int64_t layer, float ***grad);
/* Quantises a dense weight into memory of the model and lets go of its pages. (weights_quant.c) */
nb_status nbi_quantise_linear(nbi_loader *l, const nb_st_tensor *t, nb_qtensor *out,
                              nb_error *err) NB_MUST_CHECK;
/* The options for quantising, defaults filled in and checked. (weights_quant.c) */
nb_status nbi_check_quant(nb_quant_config *q, nb_error *err) NB_MUST_CHECK;
/* generation_config.json and the tokenizer's files, as far as they exist. (model_save.c) */
nb_status nbi_model_copy_settings(const char *from, const char *into, nb_error *err) NB_MUST_CHECK;
/* True when llm_int8_skip_modules of the folder names this module. (weights_quant.c) */
bool nbi_is_skipped(const nb_model_config *c, const char *module);

#endif
