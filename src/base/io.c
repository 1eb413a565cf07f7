/* SPDX-License-Identifier: MIT */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/checked.h"

static struct {
    _Atomic uint64_t count, fail_at;
    _Atomic int kind, errno_value;
    _Atomic bool forever, no_exchange;
} fault;

void nbi_io_fail_at(uint64_t k, nbi_io_fault kind, int errno_value, bool forever)
{
    atomic_store(&fault.fail_at, 0);
    atomic_store(&fault.count, 0);
    atomic_store(&fault.kind, kind);
    atomic_store(&fault.errno_value, errno_value);
    atomic_store(&fault.forever, forever);
    atomic_store(&fault.fail_at, k);
}

uint64_t nbi_io_count(void)
{
    return atomic_load(&fault.count);
}

void nbi_io_deny_exchange(bool deny)
{
    atomic_store(&fault.no_exchange, deny);
}

enum { GO, FAIL, DIE, INTERRUPT, HALVE };

/* Counts a call and says what is to happen to it. */
static int verdict(void)
{
    uint64_t k = atomic_fetch_add(&fault.count, 1) + 1, at = atomic_load(&fault.fail_at);
    if (at == 0 || (k != at && !(k > at && atomic_load(&fault.forever))))
        return GO;
    switch (atomic_load(&fault.kind)) {
    case NBI_IO_FAULT_KILL:
        return DIE;
    case NBI_IO_FAULT_PART:
        return HALVE;
    default:
        return atomic_load(&fault.errno_value) == EINTR ? INTERRUPT : FAIL;
    }
}

/* Whether the system call is answered as one that a signal interrupted, once. */
static bool interrupted(int *what)
{
    if (*what != INTERRUPT)
        return false;
    *what = GO;
    errno = EINTR;
    return true;
}

static void give_errno(void)
{
    errno = atomic_load(&fault.errno_value);
}

static void die_if(int what)
{
    if (what == DIE)
        kill(getpid(), SIGKILL);
}

/* Runs `call` (an int expression, -1 on failure) under the fault backend. */
#define GUARDED(call)                                                                              \
    int what = verdict(), rc;                                                                      \
    if (what == FAIL) {                                                                            \
        give_errno();                                                                              \
        return -1;                                                                                 \
    }                                                                                              \
    do                                                                                             \
        rc = interrupted(&what) ? -1 : (call);                                                     \
    while (rc < 0 && errno == EINTR);                                                              \
    die_if(what);                                                                                  \
    return rc

int nbi_io_open(const char *path, int flags, int mode)
{
    GUARDED(open(path, flags | O_CLOEXEC, mode));
}

int nbi_io_close(int fd)
{
    int what = verdict();
    /* the descriptor is gone whatever close says, so EINTR must not be retried */
    int rc = close(fd);
    if (interrupted(&what))
        rc = -1;
    if (rc < 0 && errno == EINTR)
        rc = 0;
    die_if(what);
    if (what == FAIL) {
        give_errno();
        return -1;
    }
    return rc;
}

long nbi_io_read(int fd, void *buf, size_t n)
{
    int what = verdict();
    if (what == FAIL) {
        give_errno();
        return -1;
    }
    ssize_t got;
    do
        got = interrupted(&what) ? -1 : read(fd, buf, n);
    while (got < 0 && errno == EINTR);
    die_if(what);
    return got;
}

/* One write, as a system gives it that is interrupted or takes a part only. */
static ssize_t write_some(int fd, const char *p, size_t n, int *what)
{
    if (interrupted(what))
        return -1;
    if (*what == HALVE && n > 1)
        n /= 2;
    *what = *what == HALVE ? GO : *what;
    return write(fd, p, n);
}

static int write_fully(int fd, const char *p, size_t n, int what)
{
    while (n > 0) {
        ssize_t done = write_some(fd, p, n, &what);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        if (done == 0) {
            errno = ENOSPC;
            return -1;
        }
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

int nbi_io_write_all(int fd, const void *buf, size_t n)
{
    int what = verdict();
    if (what == FAIL) {
        if (atomic_load(&fault.kind) == NBI_IO_FAULT_SHORT)
            (void)write_fully(fd, buf, n / 2, GO);
        give_errno();
        return -1;
    }
    int rc = write_fully(fd, buf, n, what);
    die_if(what);
    return rc;
}

int nbi_io_fsync(int fd)
{
    GUARDED(fsync(fd));
}

int nbi_io_rename(const char *from, const char *to)
{
    GUARDED(rename(from, to));
}

static int swap_names(const char *a, const char *b)
{
    if (atomic_load(&fault.no_exchange)) {
        errno = EINVAL;
        return -1;
    }
    /* by number: older C libraries lack the wrapper */
    return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, 2u /* RENAME_EXCHANGE */);
}

int nbi_io_exchange(const char *a, const char *b)
{
    GUARDED(swap_names(a, b));
}

int nbi_io_mkdir(const char *path, int mode)
{
    GUARDED(mkdir(path, (mode_t)mode));
}

int nbi_io_unlink(const char *path)
{
    GUARDED(unlink(path));
}

int nbi_io_rmdir(const char *path)
{
    GUARDED(rmdir(path));
}

int nbi_io_stat(const char *path, struct stat *st)
{
    GUARDED(stat(path, st));
}

int nbi_io_lstat(const char *path, struct stat *st)
{
    GUARDED(lstat(path, st));
}

int nbi_io_fstat(int fd, struct stat *st)
{
    GUARDED(fstat(fd, st));
}

static int try_lock(int fd)
{
    int rc = flock(fd, LOCK_EX | LOCK_NB);
    return rc != 0 && (errno == ENOSYS || errno == EOPNOTSUPP || errno == ENOLCK) ? 0 : rc;
}

int nbi_io_lock(int fd)
{
    GUARDED(try_lock(fd));
}

static int free_bytes(const char *path, uint64_t *bytes)
{
    struct statvfs v;
    int rc = statvfs(path, &v);
    if (rc == 0 && __builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, bytes))
        *bytes = UINT64_MAX;
    return rc;
}

int nbi_io_free_bytes(const char *path, uint64_t *bytes)
{
    GUARDED(free_bytes(path, bytes));
}

static void *map(int fd, size_t n, int protection, int flags)
{
    int what = verdict();
    if (what == FAIL) {
        give_errno();
        return NULL;
    }
    void *p = mmap(NULL, n, protection, flags, fd, 0);
    die_if(what);
    return p == MAP_FAILED ? NULL : p;
}

void *nbi_io_map(int fd, size_t n)
{
    return map(fd, n, PROT_READ, MAP_PRIVATE);
}

void *nbi_io_map_shared(int fd, size_t n)
{
    return map(fd, n, PROT_READ | PROT_WRITE, MAP_SHARED);
}

static int reserve(int fd, size_t n)
{
    /* the error comes back as the result, errno stays */
    int e = posix_fallocate(fd, 0, (off_t)n);
    if (e == 0)
        return 0;
    errno = e;
    return -1;
}

int nbi_io_reserve(int fd, size_t n)
{
    GUARDED(reserve(fd, n));
}

void nbi_io_drop(void *p, size_t n)
{
    (void)madvise(p, n, MADV_DONTNEED);
}

void nbi_io_fetch(void *p, size_t n)
{
#ifdef MADV_POPULATE_WRITE
    (void)madvise(p, n, MADV_POPULATE_WRITE);
#else
    (void)madvise(p, n, MADV_WILLNEED);
#endif
}

void nbi_io_unmap(void *p, size_t n)
{
    munmap(p, n);
}
