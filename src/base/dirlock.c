/* SPDX-License-Identifier: MIT */
#include "base/safefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/io.h"
#include "base/mapfile.h"

static nb_status busy(int fd, const char *dir, nb_error *err)
{
    char text[32];
    uint64_t pid;
    long n = nbi_io_read(fd, text, sizeof(text));
    size_t len = n > 0 ? (size_t)n : 0;
    while (len > 0 && text[len - 1] == '\n')
        len--;
    if (nbi_parse_u64(text, len, &pid))
        return nbi_fail(err, NB_BUSY, "%s: in use by process %llu; wait for it or stop it", dir,
                        (unsigned long long)pid);
    return nbi_fail(err, NB_BUSY, "%s: in use by another process; wait for it or stop it", dir);
}

/* The number only serves the message above, so a failure to store it is no failure of the lock. */
static void store_pid(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == 0)
        (void)nbi_io_write_all(fd, text, (size_t)n);
}

nb_status nbi_dirlock_take(const char *dir, int *handle, nb_error *err)
{
    nb_status st = NB_OK;
    char *path = nbi_path_join(dir, ".lock");
    if (!path)
        return nbi_fail_nomem(err, dir, strlen(dir));
    int fd = nbi_io_open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
    if (fd < 0) {
        st = nbi_fail_errno(err, errno, "%s: cannot create", path);
    } else if (nbi_io_lock(fd) == 0) {
        store_pid(fd);
        *handle = fd;
    } else {
        st = errno == EWOULDBLOCK ? busy(fd, dir, err)
                                  : nbi_fail_errno(err, errno, "%s: cannot lock", path);
        nbi_io_close(fd);
    }
    nbi_free(path);
    return st;
}

void nbi_dirlock_release(int handle)
{
    if (handle >= 0)
        nbi_io_close(handle);
}
