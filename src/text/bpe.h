/* SPDX-License-Identifier: MIT */
/* Byte-pair encoding: the neighbours with the lowest merge rank join until none can. */
#ifndef NBI_BPE_H
#define NBI_BPE_H

#include "text/token_model.h"

nb_status nbi_bpe_build(nbi_load *l, nbi_model_spec *spec, void **model) NB_MUST_CHECK;
/* Time O(n log n) for a piece of n characters. */
nb_status nbi_bpe_encode(const void *model, nbi_run *run, const char *s, size_t n) NB_MUST_CHECK;
void nbi_bpe_release(void *model);
void nbi_bpe_run_free(struct nbi_bpe_run *r);

#endif
