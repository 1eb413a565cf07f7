/* SPDX-License-Identifier: MIT */
/* How much memory there is for this process: the machine and the control groups it is in. */
#ifndef NBI_MEMINFO_H
#define NBI_MEMINFO_H

#include <stdbool.h>
#include <stdint.h>

typedef struct nbi_meminfo {
    uint64_t total;     /* the least of the machine's memory and the groups' limits */
    uint64_t available; /* what may still be taken, with what caches would give back */
    bool group;         /* a control group has less than the machine */
} nbi_meminfo;

/* From /proc/meminfo and the groups of version 1 and 2; false when nothing can be read. `root`
 * stands in front of every path: "" but in tests. */
bool nbi_meminfo_read(nbi_meminfo *m, const char *root);

#endif
