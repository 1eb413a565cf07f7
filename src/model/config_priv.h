/* SPDX-License-Identifier: MIT */
/* Parts of the configuration reader, one file each. */
#ifndef NBI_CONFIG_PRIV_H
#define NBI_CONFIG_PRIV_H

#include "model/config.h"

#define NBI_CONFIG_MAX_BYTES (16u << 20)

/* Rope settings in the spellings of transformers 4 (rope_theta, rope_scaling) and 5
 * (rope_parameters). head_dim and max_positions are set. (rope.c) */
nb_status nbi_config_rope(nb_model_config *c, const nbi_json *doc, const char *where,
                          nb_error *err) NB_MUST_CHECK;
/* quantization_config. (config_quant.c) */
nb_status nbi_config_quant(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err) NB_MUST_CHECK;
/* layer_types, use_sliding_window, max_window_layers as the qwen families use them: fills
 * sliding_window and sliding. (window.c) */
nb_status nbi_config_qwen_window(nb_model_config *c, const nbi_json *doc, const char *where,
                                 nb_error *err) NB_MUST_CHECK;
/* One window over all layers; 0: none. (window.c) */
nb_status nbi_config_uniform_window(nb_model_config *c, int64_t window,
                                    nb_error *err) NB_MUST_CHECK;
/* Maximum positions when the document does not say. */
void nbi_config_default_positions(nb_model_config *c, int64_t n);
/* A quantization_config as transformers writes it. */
void nbi_config_quant_write(const nb_quant_config *q, nb_dtype compute, nbi_json_writer *w);

#endif
