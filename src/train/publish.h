/* SPDX-License-Identifier: MIT */
#ifndef NBI_PUBLISH_H
#define NBI_PUBLISH_H

#include "nibble/status.h"

/* Moves every file of the folder `from` into the folder `to` (same file system), replacing files of
 * the same name. A failure puts back what was there before: `to` holds the old set or the new one.
 * The file without which nothing loads (adapter_config.json, config.json) leaves first and comes
 * last: a process that is killed meanwhile leaves a folder that does not load, never a mixture. */
nb_status nbi_publish_files(const char *from, const char *to, nb_error *err) NB_MUST_CHECK;
/* Finishes what a killed process left of the above in the folder `to`: the new set when it was in
 * place, else the old one as far as there was one. What fails is left for the next time. */
void nbi_publish_recover(const char *to);

#endif
