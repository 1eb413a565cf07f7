/* SPDX-License-Identifier: MIT */
/* The quantised cache: 4-bit forms of models, each a bitsandbytes folder named by the SHA-256 of
 * the source's weights and by how they were quantised.
 *
 *   CACHE/<16 digits of the source's hash>-nf4-64-dq256/   model.safetensors, config.json, ...,
 *                                                          cache.json: what it was made from and
 *                                                          size, time and hash of its weights
 *   CACHE/<16 digits>.source                               the source's hash by the place, size and
 *                                                          time of its files, so that it need not
 *                                                          be computed at each start
 *
 * Weights alone come from it; configuration and tokenizer are always the source's. An entry whose
 * file was touched since is read through before it is believed. */
#ifndef NBI_QUANT_CACHE_H
#define NBI_QUANT_CACHE_H

#include "model/model.h"

#define NBI_QUANT_CACHE_PIECE ((size_t)4 << 20) /* of a file, hashed by one thread */

/* The folder with the 4-bit form of the open source m->files by m->quant (nbi_free), made when it
 * is missing or damaged (said). NULL when `cache` cannot be used (said): quantise in memory then.
 * Fails only for what is wrong with the source, or memory. */
nb_status nbi_quant_cache_find(nb_model *m, const char *cache, char **folder, const nb_log *log,
                               nb_error *err) NB_MUST_CHECK;

#endif
