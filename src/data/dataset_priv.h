/* SPDX-License-Identifier: MIT */
#ifndef NBI_DATASET_PRIV_H
#define NBI_DATASET_PRIV_H

#include "data/schema.h"

/* Empty, with its path; NULL: no memory. */
nb_dataset *nbi_dataset_new(const char *path);
/* Sums over the used rows. */
void nbi_dataset_count(nb_dataset *d);
/* The lines about a loaded set; NB_DATA when there is nothing to train on. */
nb_status nbi_dataset_report(const nb_dataset *d, const nbi_layout *l, bool spelled_bos,
                             const nb_log *log, nb_error *err) NB_MUST_CHECK;

#endif
