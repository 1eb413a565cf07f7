/* SPDX-License-Identifier: MIT */
/* Making models. */
#ifndef NIBBLE_MODEL_H
#define NIBBLE_MODEL_H

#include <stdint.h>
#include "nibble/recipe.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A model of random weights in the Hugging Face folder `dir` (which must not exist) from a
 * config.json: normal with its initializer_range, norms 1, biases 0, a pure function of `seed`.
 * Tokenizer files beside the config.json are copied. dtype: "float32", "bfloat16" or "float16". */
nb_status nb_init_model(const char *config_path, const char *dir, uint64_t seed, const char *dtype,
                        nb_error *err) NB_MUST_CHECK;

/* Writes the 16- or 32-bit model of the recipe (`model`, bnb_4bit_quant_type,
 * bnb_4bit_use_double_quant, threads) as a bitsandbytes folder `dir`, which must not exist. Memory
 * holds one weight at a time. */
nb_status nb_quantize_model(nb_recipe *r, const char *dir, const nb_log *log,
                            nb_error *err) NB_MUST_CHECK;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
