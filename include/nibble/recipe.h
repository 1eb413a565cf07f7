/* SPDX-License-Identifier: MIT */
/* Recipes: the settings of a run, by the names of Hugging Face's tools. */
#ifndef NIBBLE_RECIPE_H
#define NIBBLE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include "nibble/log.h"
#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

typedef struct nb_recipe nb_recipe;

/* An empty recipe with defaults. */
nb_status nb_recipe_new(nb_recipe **out, nb_error *err) NB_MUST_CHECK;
/* Reads a YAML file into it. Unknown keys are NB_CONFIG with file:line and the nearest known key;
 * a wrong type or range names key, value and what is expected. */
nb_status nb_recipe_read(nb_recipe *r, const char *path, nb_error *err) NB_MUST_CHECK;
/* One setting by text, as on the command line ("learning_rate", "2e-4"); later ones win. */
nb_status nb_recipe_set(nb_recipe *r, const char *key, const char *value,
                        nb_error *err) NB_MUST_CHECK;
/* Derives what was not given (method, rates by method, ...), checks combinations, and says through
 * `log` what was accepted without effect. Called by everything that runs a recipe; calling it twice
 * is fine. */
nb_status nb_recipe_finish(nb_recipe *r, const nb_log *log, nb_error *err) NB_MUST_CHECK;
void nb_recipe_free(nb_recipe **r);

/* The folder for results, NULL when it is not given. Borrowed. */
const char *nb_recipe_output_dir(const nb_recipe *r);

/* All settings as one JSON object on one line, ASCII (free with nb_free). */
nb_status nb_recipe_json(const nb_recipe *r, char **json, nb_error *err) NB_MUST_CHECK;

/* The table of keys, for help and documentation: index from 0 until false comes back. */
typedef struct nb_recipe_key {
    const char *name, *type, *default_text, *help;
    const char *group; /* "model", "data", ... */
} nb_recipe_key;
bool nb_recipe_key_at(size_t i, nb_recipe_key *key);
/* How many letters must be put in, left out or changed to make one name of the other; SIZE_MAX when
 * either is longer than 64. Up to a third of a name's length is near enough for a suggestion. */
size_t nb_name_distance(const char *a, const char *b);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
