/* SPDX-License-Identifier: MIT */
/* How fast a file comes from its disk. */
#ifndef NBI_DISKRATE_H
#define NBI_DISKRATE_H

#include <stdbool.h>

/* Reads the beginning of the file past the system's cache for at most a quarter of a second or 64
 * MiB. False where that cannot be done: a small file, a file system in memory, no permission. */
bool nbi_disk_rate(const char *path, double *bytes_per_second);

#endif
