/* SPDX-License-Identifier: MIT */
/* The texts by which a layout tells question and answer apart, such as "### Response:". An answer
 * that holds one goes on with the layout instead of ending: a sign of too much training. */
#ifndef NBI_MARKERS_H
#define NBI_MARKERS_H

#include "base/array.h"
#include "data/dataset.h"

typedef struct nbi_markers {
    nbi_arena arena;
    NBI_ARRAY(const char *) v; /* none for formats without a layout of their own */
} nbi_markers;

/* Of a format (not AUTO): the headings of alpaca and instruction, lines of a template beside its
 * fields, the response_template of texts. */
nb_status nbi_markers_of(const nb_data_config *config, nbi_markers *out,
                         nb_error *err) NB_MUST_CHECK;
void nbi_markers_free(nbi_markers *m);
/* Does a NUL-terminated text hold one? */
bool nbi_markers_in(const nbi_markers *m, const char *text);

#endif
