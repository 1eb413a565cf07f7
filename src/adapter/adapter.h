/* SPDX-License-Identifier: MIT */
/* Adapters: what is trained beside a frozen base. One kind a file, listed in adapter.c; the trainer
 * and generation see only this interface. */
#ifndef NB_ADAPTER_H
#define NB_ADAPTER_H

#include "adapter/targets.h"

/* What nibble remembers beside PEFT's files, in nibble.json of the adapter folder. */
typedef struct nb_adapter_note {
    nb_quant_config quant; /* how the base was held in training; load_in_4bit false: dense */
    nb_compute compute;
    char *base_dir; /* folder of the base as given; may be NULL */
    char
        *layout_json; /* the data layout of training (format, template, ...) as JSON; may be NULL */
} nb_adapter_note;
void nb_adapter_note_free(nb_adapter_note *n);

typedef struct nb_adapter {
    nb_model *model;            /* borrowed */
    nb_lora_config config;      /* owned copy */
    nb_param_list params;       /* A and B of each site in module order, PEFT's names; owned */
    struct nb_lora_site *sites; /* see lora.h */
    size_t n_sites;
    int64_t n_parameters;
    struct nb_lora_shared *shared; /* see lora.h */
    bool sketch;                   /* sizes only: no values, no gradients, no scratch */
    size_t scratch_bytes;          /* of what the sites share */
} nb_adapter;

/* An adapter on a model without weights (model/sketch.h): sites, parameters without memory, and
 * hooks that know the size of their state. For plans; closed with nb_adapter_close. `strict` as for
 * a new one, false for what an adapter folder says. */
nb_status nb_adapter_sketch(nb_adapter **out, nb_model *m, const nb_lora_config *config,
                            bool strict, nb_error *err) NB_MUST_CHECK;

/* New LoRA on a model: A ~ U(-1/sqrt(in), 1/sqrt(in)) keyed by seed and module name, B = 0 (PEFT's
 * default). Hooks are attached to the sites until close. `seed` also keys dropout. */
nb_status nb_adapter_new_lora(nb_adapter **out, nb_model *m, const nb_lora_config *config,
                              uint64_t seed, bool trainable, nb_error *err) NB_MUST_CHECK;
/* Loads a PEFT LoRA folder onto a model (F32, F16 or BF16 tensors; unknown configuration keys are
 * ignored with one log line; a method, bias mode or option that changes the result and is not
 * supported is NB_UNSUPPORTED by name; missing or unused tensors are NB_FORMAT by name). */
nb_status nb_adapter_load(nb_adapter **out, nb_model *m, const char *dir, uint64_t seed,
                          bool trainable, const nb_log *log, nb_error *err) NB_MUST_CHECK;
/* Detaches the hooks and frees. */
void nb_adapter_close(nb_adapter **a);

/* Reads only adapter_config.json (and nibble.json if there is one) to find base and quantisation.
 * config or note may be NULL. */
nb_status nb_adapter_read_config(const char *dir, nb_lora_config *config, nb_adapter_note *note,
                                 nb_error *err) NB_MUST_CHECK;

/* Writes adapter_config.json, adapter_model.safetensors and nibble.json into an existing folder,
 * then re-opens and verifies them: names, shapes, values finite, and not all B zero when `trained`.
 */
nb_status nb_adapter_save(const nb_adapter *a, const nb_adapter_note *note, const char *into,
                          bool trained, nb_error *err) NB_MUST_CHECK;

/* "adapters on 28 of 28 linear weights" plus the skipped ones by name, for the log. */
void nb_adapter_coverage(const nb_adapter *a, nbi_strbuf *out);

#endif
