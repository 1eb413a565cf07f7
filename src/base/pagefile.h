/* SPDX-License-Identifier: MIT */
/* Memory that lives in a file: zeroed, larger than what may be resident, walked from begin to end
 * while the part behind the walk is let go. The file has no name, so nothing is left of it. */
#ifndef NBI_PAGEFILE_H
#define NBI_PAGEFILE_H

#include <stddef.h>
#include "nibble/status.h"

typedef struct nbi_pagefile {
    unsigned char *data; /* [size], starts on a page */
    size_t size;
    char *dir; /* where the file lies, for messages; owned */
} nbi_pagefile;

/* Makes an unlinked file of `size` bytes (> 0) in `dir` with all its blocks reserved, so that no
 * later write finds the disk full, and maps it. `what`: "optimizer state", for messages. */
nb_status nbi_pagefile_open(nbi_pagefile *f, const char *dir, size_t size, const char *what,
                            nb_error *err) NB_MUST_CHECK;
/* Brings the pages of [from, to) in, faster than touching them one after the other. */
void nbi_pagefile_fetch(const nbi_pagefile *f, size_t from, size_t to);
/* Takes the pages from the one of byte `from` up to the one of byte `to`, that one not included
 * unless the file ends there, out of the resident set; so runs that meet leave nothing behind. What
 * was written stays with the file: the kernel writes it back when it wants the memory. */
void nbi_pagefile_drop(const nbi_pagefile *f, size_t from, size_t to);
/* NB_IO when a page could not be read or written since it was opened. */
nb_status nbi_pagefile_check(const nbi_pagefile *f, nb_error *err) NB_MUST_CHECK;
/* Harmless on a zeroed record. */
void nbi_pagefile_close(nbi_pagefile *f);

#endif
