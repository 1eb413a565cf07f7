/* SPDX-License-Identifier: MIT */
/* Parts of path names and whole-tree operations shared by safefile.c and safedir.c. */
#ifndef NBI_PATHNAME_H
#define NBI_PATHNAME_H

#include <stdbool.h>
#include "nibble/status.h"

/* Splits into folder and last name, slashes at the end dropped ("a" -> "." and "a"). New strings
 * (nbi_free). NB_IO when the last name is empty, "." or "..". */
nb_status nbi_path_split(const char *path, char **dir, char **name, nb_error *err) NB_MUST_CHECK;
/* dir/<prefix><name>-<pid of this process>, a new string. */
nb_status nbi_path_temporary(const char *dir, const char *prefix, const char *name, char **out,
                             nb_error *err) NB_MUST_CHECK;
/* fsync of a folder; file systems that cannot are fine. */
nb_status nbi_sync_dir(const char *path, nb_error *err) NB_MUST_CHECK;
/* fsync of every file and folder in a folder and of itself. */
nb_status nbi_sync_tree(const char *path, nb_error *err) NB_MUST_CHECK;

#endif
