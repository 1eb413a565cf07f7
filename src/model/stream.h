/* SPDX-License-Identifier: MIT */
/* Weights that stay in their file: what a pass reads is resident while it is read, and no longer.
 *
 * Streamed layers. The weights of a block (or the head) lie in a mapped file; they are let go of
 * when the pass is through with them, and the next ones are read ahead meanwhile. The same numbers
 * in the same order, so the results are the same bits.
 *
 * The embedding's rows. A frozen table that is not the head's too is read in groups of rows and let
 * go of after each, streamed or not: of the whole table at most NBI_EMBED_WINDOWS windows are
 * resident. Passes of a single row (generation) keep what they touch. */
#ifndef NBI_STREAM_H
#define NBI_STREAM_H

#include "model/model.h"

#define NBI_EMBED_WINDOWS 64 /* of NBI_FAULT_BYTES */

/* Finds where the weights of each layer lie; m->stream is set. NB_CONFIG when weights are not in a
 * file (quantised in memory, trained). */
nb_status nbi_stream_open(nb_model *m, nb_error *err) NB_MUST_CHECK;
void nbi_stream_close(struct nbi_stream **s);

/* Around all reads of a layer's weights; `layer` == layers is the head. `next` is read ahead; -1:
 * nothing. Without m->stream they do nothing. */
void nbi_layer_begin(const nb_model *m, int64_t layer, int64_t next);
void nbi_layer_end(const nb_model *m, int64_t layer);

/* y[m, D] = rows of the embedding. */
void nbi_embed_rows(const nb_model *m, const nb_batch *b, float *y);

#endif
