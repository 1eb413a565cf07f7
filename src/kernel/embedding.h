/* SPDX-License-Identifier: MIT */
#ifndef NB_EMBEDDING_H
#define NB_EMBEDDING_H

#include "device/device.h"
#include "tensor/dtype.h"

/* y[i,:] = table[ids[i],:] in f32; table [v, d] of a dense float dtype; y [rows, d] contiguous. Ids
 * were checked by the caller. */
typedef struct nb_embed_args {
    nb_queue *q;
    int64_t rows, d;
    nb_dtype dtype;
    const void *table;
    const int32_t *ids;
    float *y;
} nb_embed_args;
typedef void nb_embed_fn(const nb_embed_args *a);

/* dtable[ids[i],:] += dy[i,:], rows in ascending order for each element (columns are split over
 * threads), so the sum does not depend on the number of threads. */
typedef struct nb_embed_bwd_args {
    nb_queue *q;
    int64_t rows, d;
    const int32_t *ids;
    const float *dy;
    float *dtable;
} nb_embed_bwd_args;
typedef void nb_embed_bwd_fn(const nb_embed_bwd_args *a);

/* y[i,c] += scale * (2 u - 1), u uniform in [0, 1) with 24 bits (NEFTune, Jain et al. 2023). u is
 * word c % 4 of philox4x32-10 with counter {c / 4, token[i], example[i], epoch} and a key made of
 * seed and purpose, so that recomputing, packing, accumulating and resuming leave it as it is.
 * y [rows, d] f32. */
typedef struct nb_noise_args {
    nb_queue *q;
    int64_t rows, d;
    float *y;
    float scale;
    uint64_t seed;
    uint32_t epoch;
    const int32_t *example; /* [rows] */
    const int32_t *token;   /* [rows] position in the example */
} nb_noise_args;
typedef void nb_noise_fn(const nb_noise_args *a);

#endif
