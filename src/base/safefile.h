/* SPDX-License-Identifier: MIT */
/* Files and folders that appear whole or not at all.
 *
 * A file is written as ".tmp-<name>-<pid>" beside its target, synced, renamed, and the folder
 * synced. A folder (checkpoint, adapter, model) is built as ".tmp-<name>-<pid>", each file synced,
 * the folder synced, then renamed onto the target, then the parent synced; an existing target is
 * replaced (renamed aside first, removed last). After a failed fsync the file is given up, never
 * retried. */
#ifndef NBI_SAFEFILE_H
#define NBI_SAFEFILE_H

#include <stddef.h>
#include <stdint.h>
#include "nibble/status.h"

typedef struct nbi_safefile {
    int fd;
    char *path, *tmp;
    uint64_t written;
} nbi_safefile;

nb_status nbi_safefile_create(nbi_safefile *f, const char *path, nb_error *err) NB_MUST_CHECK;
/* Buffered by the caller; each call is one or more write(2). */
nb_status nbi_safefile_write(nbi_safefile *f, const void *buf, size_t n,
                             nb_error *err) NB_MUST_CHECK;
/* fsync + rename + fsync of the folder. Whatever comes back, f is closed and no temporary is left.
 */
nb_status nbi_safefile_commit(nbi_safefile *f, nb_error *err) NB_MUST_CHECK;
/* Removes the temporary; harmless after commit or on a zeroed record. */
void nbi_safefile_abort(nbi_safefile *f);
/* create + write + commit. */
nb_status nbi_write_file(const char *path, const void *buf, size_t n, nb_error *err) NB_MUST_CHECK;

typedef struct nbi_safedir {
    char *path; /* target */
    char *tmp;  /* write the files in here */
} nbi_safedir;

/* Creates missing parents of `path` and an empty temporary folder beside it. Stale temporaries of
 * the same target whose process is gone are removed. */
nb_status nbi_safedir_create(nbi_safedir *d, const char *path, nb_error *err) NB_MUST_CHECK;
/* Puts the folder in place; d is released in any case. */
nb_status nbi_safedir_commit(nbi_safedir *d, nb_error *err) NB_MUST_CHECK;
void nbi_safedir_abort(nbi_safedir *d);

/* Removes what processes that are gone left of files and folders of any name in `dir`, and puts
 * back a folder that was renamed aside when its successor never came. */
void nbi_clean_temporaries(const char *dir);

/* mkdir -p. */
nb_status nbi_make_dirs(const char *path, nb_error *err) NB_MUST_CHECK;
/* Removes a folder and what is in it (no links followed); a missing one is fine. */
nb_status nbi_remove_tree(const char *path, nb_error *err) NB_MUST_CHECK;
/* Copies a file through nbi_safefile. */
nb_status nbi_copy_file(const char *from, const char *to, nb_error *err) NB_MUST_CHECK;
/* Free bytes on the file system that holds `path` (or its nearest existing parent). */
nb_status nbi_free_space(const char *path, uint64_t *bytes, nb_error *err) NB_MUST_CHECK;

/* Exclusive advisory lock on folder/.lock, held until the handle is closed or the process ends.
 * NB_BUSY with the pid of the holder when taken. */
nb_status nbi_dirlock_take(const char *dir, int *handle, nb_error *err) NB_MUST_CHECK;
void nbi_dirlock_release(int handle);

#endif
