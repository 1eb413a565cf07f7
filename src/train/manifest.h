/* SPDX-License-Identifier: MIT */
/* manifest.json of a checkpoint: size and SHA-256 of each of its files, and a hash of the list
 * itself as its last member. It is written last, so a folder without one is not complete. */
#ifndef NBI_MANIFEST_H
#define NBI_MANIFEST_H

#include "nibble/status.h"

#define NBI_MANIFEST "manifest.json"

/* Lists every file of the folder, none of them synced yet. */
nb_status nbi_manifest_write(const char *dir, nb_error *err) NB_MUST_CHECK;
/* Reads every file that is listed. NB_FORMAT names the first one that is missing or differs; files
 * that are not listed are no business of the manifest. */
nb_status nbi_manifest_check(const char *dir, nb_error *err) NB_MUST_CHECK;

#endif
