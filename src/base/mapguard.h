/* SPDX-License-Identifier: MIT */
/* Keeps reads of mapped files from killing the process when the file shrinks: a page that is gone
 * becomes a page of zeros and the mapping is marked. */
#ifndef NBI_MAPGUARD_H
#define NBI_MAPGUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Guards [p, p + n) from now on; installs the SIGBUS handler at the first call. false when there
 * are too many mappings. Thread safe, as are the others. */
bool nbi_mapguard_add(const void *p, size_t n);
/* Harmless for a mapping that is not guarded. */
void nbi_mapguard_remove(const void *p);
/* Whether a page of the mapping that starts at p was replaced. */
bool nbi_mapguard_hit(const void *p);

#endif
