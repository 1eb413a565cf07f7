/* SPDX-License-Identifier: MIT */
/* A model without weights, for plans. */
#ifndef NBI_SKETCH_H
#define NBI_SKETCH_H

#include "model/model.h"

/* Bytes a model takes in memory once loaded, and while it is. */
typedef struct nb_sketch_bytes {
    uint64_t linears, embed, head, vectors; /* values as held; a tied head is 0 */
    uint64_t stats;                         /* of the 4-bit codes */
    uint64_t params;                        /* trained values (full fine-tuning): all of them */
    uint64_t mapped;    /* part of these that lies in mapped files and not in allocated memory */
    uint64_t embed_row; /* bytes of one row of the embedding, as stored */
    uintptr_t embed_at; /* where it begins in a mapping of its file; 0: no weights at hand */
    uint64_t load_peak; /* most that is resident while the weights are loaded in this order: what is
                         * there already, and the part of the source that is being converted */
    uint64_t cache_peak;    /* most that making a folder for quantized_cache takes */
    uint64_t largest_layer; /* values and statistics of one block */
    int64_t linear_weights; /* of the blocks */
} nb_sketch_bytes;

/* `config` is borrowed and outlives the model. Linear layers have shape, kind and block sizes as
 * nb_model_open would give them with `how`, but no data; sites are known, kernels and weights are
 * not; m->params lists trained weights by their number of elements alone. Works for
 * nb_workspace_size, nb_targets_find and adapter sketches, and is closed with nb_model_close. `dir`
 * (may be NULL) is the folder; when it holds weights their dtypes count, otherwise config.json's. A
 * mixture counts every expert in `bytes`, and its sites are as wide as the experts that see a
 * token. NB_UNSUPPORTED as nb_model_open. */
nb_status nb_model_sketch(nb_model **out, const nb_model_config *config, const char *dir,
                          const nb_model_load *how, nb_sketch_bytes *bytes,
                          nb_error *err) NB_MUST_CHECK;

#endif
