/* SPDX-License-Identifier: MIT */
/* The order of the rows and ragged batches made from them. */
#ifndef NB_LOADER_H
#define NB_LOADER_H

#include "data/dataset.h"
#include "tensor/batch.h"

/* Order of the rows of one epoch: identity, or a shuffle that is a pure function of (seed, epoch),
 * or line `epoch` (modulo the number of lines) of a sample_order file. */
typedef struct nb_order {
    uint64_t seed;
    bool shuffle;
    NBI_ARRAY(uint32_t) fixed;       /* rows of all lines of the file, one after the other */
    NBI_ARRAY(uint64_t) fixed_start; /* first index of each line, and the end */
} nb_order;

/* One JSON list of row numbers (0-based among the used rows) a line. NB_DATA when a number is out
 * of range. */
nb_status nb_order_read(nb_order *o, const char *path, size_t n_rows, nb_error *err) NB_MUST_CHECK;
void nb_order_free(nb_order *o);
/* Fills rows[n_rows]; *n receives how many (n_rows unless the file's line is shorter). */
nb_status nb_order_epoch(const nb_order *o, uint32_t epoch, size_t n_rows, uint32_t *rows,
                         size_t *n, nb_error *err) NB_MUST_CHECK;

/* A batch with its memory, reused from step to step. */
typedef struct nb_batch_buffer {
    nb_batch batch;
    int64_t cap, seg_cap;
    int32_t *ids, *targets, *positions, *example;
    int64_t *starts;
} nb_batch_buffer;

/* Makes the ragged batch of the given rows. */
nb_status nb_batch_make(nb_batch_buffer *b, const nb_dataset *d, const uint32_t *rows, size_t n,
                        uint32_t epoch, nb_error *err) NB_MUST_CHECK;
void nb_batch_free(nb_batch_buffer *b);
/* Most tokens that any batch of `batch_rows` rows can hold, in whatever order: the sum of the
 * longest ones. */
int64_t nb_batch_max_tokens(const nb_dataset *d, int64_t batch_rows);

#endif
