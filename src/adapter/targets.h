/* SPDX-License-Identifier: MIT */
/* Which modules an adapter goes to: PEFT's matching rules (formats page 2.2). */
#ifndef NB_TARGETS_H
#define NB_TARGETS_H

#include "model/model.h"

typedef struct nb_pattern {
    char *key;    /* regular expression, matched as (.*\.)?(key)$ against the module path */
    double value; /* rank or alpha */
} nb_pattern;

/* Strings are owned by the record. */
typedef struct nb_lora_config {
    int64_t r;      /* 16 */
    double alpha;   /* 32 */
    double dropout; /* 0 */
    bool rslora;
    NBI_ARRAY(char *) targets; /* names: path == item or path ends with "." + item */
    bool all_linear;           /* every linear but the output head */
    char *targets_regex;       /* target_modules given as one string: full match */
    NBI_ARRAY(char *) exclude; /* names, as targets */
    char *exclude_regex;       /* exclude_modules given as one string: full match */
    NBI_ARRAY(int64_t) layers; /* layers_to_transform; empty: all */
    NBI_ARRAY(char *)
    layers_pattern; /* name of the list that the layer's number follows; empty: any */
    NBI_ARRAY(nb_pattern) rank_pattern, alpha_pattern; /* first match wins, in file order */
    char *base_model;                                  /* base_model_name_or_path, may be NULL */
} nb_lora_config;

void nb_lora_config_default(nb_lora_config *c); /* the recipe's defaults, targets empty */
void nb_lora_config_free(nb_lora_config *c);
/* Deep copy into *to (overwritten, not freed); on failure *to is empty. */
nb_status nb_lora_config_copy(nb_lora_config *to, const nb_lora_config *from,
                              nb_error *err) NB_MUST_CHECK;

/* Sites of `m` that match, in module order, into a list owned by the caller (nbi_free). No match is
 * NB_CONFIG with the names that exist (last parts, each once); with `strict` so is a single target
 * name that matches no module. Names, patterns and layers follow PEFT's check_target_module_exists:
 * a target equal to the whole path is taken whatever `layers` says. */
nb_status nb_targets_find(nb_model *m, const nb_lora_config *c, bool strict, nb_site ***sites,
                          size_t *n, nb_error *err) NB_MUST_CHECK;
/* Rank and scale (alpha / r, or alpha / sqrt(r)) of one site; NB_CONFIG for a rank that is not a
 * whole number from 1 to 65536 and for patterns that are no regular expressions. */
nb_status nb_targets_rank(const nb_lora_config *c, const char *module, int64_t *rank, double *scale,
                          nb_error *err) NB_MUST_CHECK;

#endif
