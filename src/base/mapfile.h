/* SPDX-License-Identifier: MIT */
/* Whole files read-only: mapped or read into memory. */
#ifndef NBI_MAPFILE_H
#define NBI_MAPFILE_H

#include "base/alloc.h"
#include "nibble/status.h"

typedef struct nbi_mapfile {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
    char *path; /* owned copy for messages */
} nbi_mapfile;

/* Maps a regular file read-only; the size is checked again after mapping. A file that is truncated
 * by someone else while mapped must not kill the process: reads that hit a missing page are served
 * zeros and remembered (SIGBUS handler installed on first use), see nbi_mapfile_check. */
nb_status nbi_mapfile_open(nbi_mapfile *m, const char *path, nb_error *err) NB_MUST_CHECK;
/* NB_IO "file changed or truncated while reading" when that happened to this mapping or the file's
 * size differs now. Call after having read. */
nb_status nbi_mapfile_check(const nbi_mapfile *m, nb_error *err) NB_MUST_CHECK;
void nbi_mapfile_close(nbi_mapfile *m);
/* Of n bytes at p inside a mapping, the pages that lie in them as a whole.
 * release: they leave this process, and count as resident again when they are read again.
 * prefetch: the system starts to read them, if they are not in memory, without waiting.
 * small_pages: a fault brings NBI_FAULT_BYTES at most, where the system would map the file by huge
 * pages of 2 MiB. */
#define NBI_FAULT_BYTES ((size_t)65536)
void nbi_mapfile_small_pages(const void *p, size_t n);
void nbi_mapfile_release(const void *p, size_t n);
void nbi_mapfile_prefetch(const void *p, size_t n);
/* Bytes of the pages above that are mapped by this process now (/proc/self/pagemap); SIZE_MAX where
 * that cannot be told. For tests. */
size_t nbi_mapfile_resident(const void *p, size_t n);

/* Reads a whole file of at most max_bytes (else NB_LIMIT); *out is NUL-terminated, freed with
 * nbi_free. */
nb_status nbi_read_file(const char *path, size_t max_bytes, char **out, size_t *len,
                        nb_error *err) NB_MUST_CHECK;

bool nbi_path_exists(const char *path);
bool nbi_path_is_dir(const char *path);
/* dir + "/" + name into a new string (nbi_free); NULL: no memory. */
char *nbi_path_join(const char *dir, const char *name);
/* Names in a folder (without . and ..), sorted by bytes. Free each and the list with nbi_free. */
nb_status nbi_list_dir(const char *path, char ***names, size_t *n, nb_error *err) NB_MUST_CHECK;
void nbi_list_dir_free(char **names, size_t n);

#endif
