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
/* What comes before the weights: configuration, kernels, queue and the open files, which are the
 * quantised cache's when there is one. (weights.c) */
nb_status nbi_model_begin(nb_model **out, const char *dir, const nb_model_load *how,
                          const nb_log *log, nb_error *err) NB_MUST_CHECK;
/* The dense tensor of a part, its dtype and shape checked. (weights_load.c) */
nb_status nbi_find_dense(nbi_loader *l, const nbi_tensor_spec *s, const nb_st_tensor **out,
                         nb_error *err) NB_MUST_CHECK;
/* NB_FORMAT when the folder holds a tensor that no part used. (weights.c) */
nb_status nbi_check_unknown(const nbi_loader *l, nb_error *err) NB_MUST_CHECK;
/* n bytes that live as long as the model. NULL: no memory. */
void *nbi_model_own(nb_model *m, nbi_memtag tag, size_t n);
/* NB_INTERRUPTED when *m->stop is set; asked before each tensor and each piece that is hashed.
 * (weights.c) */
nb_status nbi_model_polled(const nb_model *m, nb_error *err) NB_MUST_CHECK;
/* Places one tensor; visitor of nbi_layout_walk, user is the loader. (weights_load.c) */
nb_status nbi_load_tensor(void *user, const nbi_tensor_spec *s, nb_error *err) NB_MUST_CHECK;
/* The linear layer of a part; the part is one. */
nb_linear *nbi_model_linear(nb_model *m, nbi_part part, int64_t layer);
/* Where a norm's weight and its gradient are kept; the part is one. */
const float **nbi_model_norm(nb_model *m, nbi_part part, int64_t layer, float ***grad);

/* ---- quantising (weights_quant.c) ---- */

/* Bytes of the source that are held at a time: its pages leave memory behind the work, so that the
 * peak holds the 4-bit model and one piece of the other. */
#define NBI_QUANT_PIECE ((size_t)16 << 20)

typedef struct nbi_quant_sizes {
    int64_t elements, blocks, groups; /* groups of blocks, for double quantisation */
    size_t codes;                     /* bytes */
} nbi_quant_sizes;
nbi_quant_sizes nbi_quant_sizes_of(const nb_quant_config *q, const nb_st_tensor *t);

/* Where a quantised tensor goes. */
typedef struct nbi_quant_buffers {
    uint8_t *codes;     /* [codes] */
    float *absmax;      /* [blocks]; with double quantisation scratch alone */
    uint8_t *scales;    /* [blocks], double quantisation */
    float *nested;      /* [groups] */
    float *nested_book; /* [256], filled */
} nbi_quant_buffers;

/* Quantises the dense tensor t [N, K] by q (checked before); `out` points to the buffers. Pages of
 * t leave memory as they are done. NaN or infinity in it is NB_NUMERIC with the place. */
nb_status nbi_quantise_tensor(const nb_exec *exec, const nb_quant_config *q, const nb_st_tensor *t,
                              const nbi_quant_buffers *to, nb_qtensor *out,
                              nb_error *err) NB_MUST_CHECK;
/* The same into memory of the model. */
nb_status nbi_quantise_linear(nbi_loader *l, const nb_st_tensor *t, nb_qtensor *out,
                              nb_error *err) NB_MUST_CHECK;
/* The options for quantising, defaults filled in and checked. */
nb_status nbi_check_quant(nb_quant_config *q, nb_error *err) NB_MUST_CHECK;
/* generation_config.json and the tokenizer's files, as far as they exist. (model_save.c) */
nb_status nbi_model_copy_settings(const char *from, const char *into, nb_error *err) NB_MUST_CHECK;
/* True when llm_int8_skip_modules of the folder names this module. (weights_quant.c) */
bool nbi_is_skipped(const nb_model_config *c, const char *module);

#endif
