/* SPDX-License-Identifier: MIT */
/* Small files of the system: /proc and control groups. */
#ifndef NBI_PROCFILE_H
#define NBI_PROCFILE_H

#include <stdbool.h>
#include <stddef.h>

/* A small text file, cut at size - 1 bytes and NUL-terminated; false when it cannot be read. */
bool nbi_read_small(const char *path, char *buf, size_t size);

/* Calls `visit` with the folder of this process's control group and of each group above it, up to
 * the root: below /sys/fs/cgroup for version 2 (`controller` NULL), below /sys/fs/cgroup/controller
 * for version 1. `root` stands in front of every path: "" but in tests. A container often sees only
 * the root, which is then its own group. */
typedef void nbi_cgroup_visit(void *user, const char *folder);
void nbi_cgroup_walk(const char *root, const char *controller, nbi_cgroup_visit *visit, void *user);

#endif
