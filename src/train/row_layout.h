/* SPDX-License-Identifier: MIT */
/* The row layout of a training: it travels with the adapter in nibble.json under the keys of the
 * recipe, so that questions are asked and data is evaluated as it was trained. */
#ifndef NBI_ROW_LAYOUT_H
#define NBI_ROW_LAYOUT_H

#include "train/recipe.h"

/* One JSON object in a new string (nbi_free). `found`: the format in use when the recipe says auto.
 */
nb_status nbi_row_layout_json(const nb_recipe *r, nb_data_format found, char **json,
                              nb_error *err) NB_MUST_CHECK;
/* Sets the keys in `json` that the recipe does not give; nothing when the recipe gives a layout of
 * its own. Unknown keys are passed over. */
nb_status nbi_row_layout_adopt(nb_recipe *r, const char *json, nb_error *err) NB_MUST_CHECK;

#endif
