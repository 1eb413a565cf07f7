/* SPDX-License-Identifier: MIT */
/* A ragged batch: a flat stream of M tokens with segment boundaries. No padding, no mask. */
#ifndef NB_BATCH_H
#define NB_BATCH_H

#include <stdint.h>

/* All arrays are borrowed and hold m elements unless said otherwise. */
typedef struct nb_batch {
    int64_t m;                /* tokens */
    const int32_t *ids;       /* 0..V-1, checked by whoever made the batch */
    const int32_t *targets;   /* what row i must predict: the label of the next token of the same
                               * segment, NB_IGNORE_INDEX at a segment's last row and where there is
                               * no loss; NULL when only hidden states or logits are wanted */
    const int32_t *positions; /* position of the token in its segment, from 0 */
    const int32_t *example;   /* index of the row in its data set: keys dropout and NEFTune's noise;
                               * may be   NULL without */
    int64_t n_segments;
    const int64_t *starts; /* [n_segments + 1], starts[0] = 0, starts[n_segments] = m */
    int64_t n_targets;     /* targets that are not NB_IGNORE_INDEX */
    uint32_t epoch;        /* keys dropout */
} nb_batch;

#endif
