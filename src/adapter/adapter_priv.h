/* SPDX-License-Identifier: MIT */
/* Shared by the files of adapter/. */
#ifndef NBI_ADAPTER_PRIV_H
#define NBI_ADAPTER_PRIV_H

#include "adapter/adapter.h"
#include "base/json.h"

#define NBI_PEFT_PREFIX "base_model.model."

#define NBI_ADAPTER_CONFIG "adapter_config.json"
#define NBI_ADAPTER_WEIGHTS "adapter_model.safetensors"
#define NBI_ADAPTER_NOTE "nibble.json"
#define NBI_ADAPTER_CONFIG_MAX (16u << 20)

/* Sites, zero matrices and attached hooks for a configuration. */
nb_status nbi_adapter_build(nb_adapter **out, nb_model *m, const nb_lora_config *config,
                            uint64_t seed, bool trainable, bool strict,
                            nb_error *err) NB_MUST_CHECK;

/* adapter_config.json: reads what LoRA needs, refuses what would change the result. `unknown` (may
 * be NULL) receives the keys that were ignored, comma-separated. */
nb_status nbi_peft_config_read(const char *path, nb_lora_config *c, nbi_strbuf *unknown,
                               nb_error *err) NB_MUST_CHECK;
nb_status nbi_peft_config_write(const nb_adapter *a, const char *path, nb_error *err) NB_MUST_CHECK;

/* Last part of the name of site i: "q_proj". */
const char *nbi_module_name(const nb_adapter *a, size_t i);

nb_status nbi_adapter_note_read(const char *path, nb_adapter_note *n, nb_error *err) NB_MUST_CHECK;
nb_status nbi_adapter_note_write(const nb_adapter_note *n, const char *path,
                                 nb_error *err) NB_MUST_CHECK;

#endif
