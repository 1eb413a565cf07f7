/* SPDX-License-Identifier: MIT */
/* The one I/O layer: every system call on files of nibble goes through these functions, so that
 * tests can make the k-th call fail, write short, or end the process. They behave as the system
 * calls (errno), with EINTR retried and short writes completed in nbi_io_write_all. */
#ifndef NBI_IO_H
#define NBI_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

int nbi_io_open(const char *path, int flags, int mode); /* O_CLOEXEC added */
int nbi_io_close(int fd);
/* Bytes read (0 at the end of file) or -1. */
long nbi_io_read(int fd, void *buf, size_t n);
/* 0, or -1 with errno. */
int nbi_io_write_all(int fd, const void *buf, size_t n);
int nbi_io_fsync(int fd);
int nbi_io_rename(const char *from, const char *to);
/* Swaps two names in one step (renameat2 RENAME_EXCHANGE); EINVAL or ENOSYS where it is unknown. */
int nbi_io_exchange(const char *a, const char *b);
int nbi_io_mkdir(const char *path, int mode);
int nbi_io_unlink(const char *path);
int nbi_io_rmdir(const char *path);
int nbi_io_stat(const char *path, struct stat *st);
int nbi_io_lstat(const char *path, struct stat *st);
int nbi_io_fstat(int fd, struct stat *st);
/* Exclusive flock without waiting (EWOULDBLOCK when taken). File systems that know no locks
 * (ENOSYS, EOPNOTSUPP, ENOLCK) give 0. */
int nbi_io_lock(int fd);
/* Bytes a user may still write on the file system of `path`. */
int nbi_io_free_bytes(const char *path, uint64_t *bytes);
/* Read-only private mapping, or NULL with errno. n > 0. */
void *nbi_io_map(int fd, size_t n);
/* Shared mapping for reading and writing. */
void *nbi_io_map_shared(int fd, size_t n);
/* Gives the file n bytes with all blocks allocated (posix_fallocate). */
int nbi_io_reserve(int fd, size_t n);
/* Takes pages of a mapping out of the resident set; a shared one keeps what was written. Advice:
 * failure changes nothing but the memory in use, so it is not reported. */
void nbi_io_drop(void *p, size_t n);
/* Brings pages of a writable mapping in, all at once where the system can. Advice as well. */
void nbi_io_fetch(void *p, size_t n);
void nbi_io_unmap(void *p, size_t n);

typedef enum nbi_io_fault {
    NBI_IO_FAULT_ERRNO, /* the call fails with the given errno; EINTR: it is interrupted once and
                         * made again, as all are */
    NBI_IO_FAULT_SHORT, /* a write stores half of its bytes, then fails with the given errno */
    NBI_IO_FAULT_PART,  /* the system takes half of a write at first; the call goes on */
    NBI_IO_FAULT_KILL   /* the process ends by SIGKILL after the call */
} nbi_io_fault;
/* The k-th call from now on (1-based) has the fault; with `forever` all later ones too. k = 0: off.
 */
void nbi_io_fail_at(uint64_t k, nbi_io_fault kind, int errno_value, bool forever);
uint64_t nbi_io_count(void);
/* Makes nbi_io_exchange answer as a file system that lacks it. */
void nbi_io_deny_exchange(bool deny);

#endif
