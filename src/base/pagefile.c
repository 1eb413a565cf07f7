/* SPDX-License-Identifier: MIT */
#include "base/pagefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/fail.h"
#include "base/io.h"
#include "base/mapfile.h"
#include "base/mapguard.h"

/* A file that is open and has no name any more. */
static int open_nameless(const char *dir)
{
    char name[64];
    snprintf(name, sizeof(name), ".tmp-pages-%ld", (long)getpid());
    char *path = nbi_path_join(dir, name);
    if (!path) {
        errno = ENOMEM;
        return -1;
    }
    int fd = nbi_io_open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
    if (fd >= 0 && nbi_io_unlink(path) != 0) {
        int saved = errno;
        nbi_io_close(fd);
        errno = saved;
        fd = -1;
    }
    nbi_free(path);
    return fd;
}

static nb_status fill(nbi_pagefile *f, int fd, const char *what, nb_error *err)
{
    if (nbi_io_reserve(fd, f->size) != 0)
        return nbi_fail_errno(
            err, errno,
            "%s: cannot reserve %.1f MiB of disk for the %s (make room, or name a "
            "folder on another disk)",
            f->dir, (double)f->size / 1048576, what);
    unsigned char *p = nbi_io_map_shared(fd, f->size);
    if (!p)
        return nbi_fail_errno(err, errno, "%s: cannot map the %s (%zu bytes)", f->dir, what,
                              f->size);
    f->data = p;
    if (!nbi_mapguard_add(p, f->size))
        return nbi_fail(err, NB_LIMIT, "%s: too many mapped files", f->dir);
    return NB_OK;
}

nb_status nbi_pagefile_open(nbi_pagefile *f, const char *dir, size_t size, const char *what,
                            nb_error *err)
{
    *f = (nbi_pagefile){.size = size, .dir = nbi_strdup(NBI_MEM_OTHER, dir)};
    if (!f->dir)
        return nbi_fail_nomem(err, "a path", strlen(dir));
    int fd = open_nameless(dir);
    nb_status st;
    if (fd < 0) {
        st = nbi_fail_errno(err, errno, "%s: cannot make a file for the %s", dir, what);
    } else {
        st = fill(f, fd, what, err);
        nbi_io_close(fd);
    }
    if (st != NB_OK)
        nbi_pagefile_close(f);
    return st;
}

void nbi_pagefile_fetch(const nbi_pagefile *f, size_t from, size_t to)
{
    from = from / (size_t)sysconf(_SC_PAGESIZE) * (size_t)sysconf(_SC_PAGESIZE);
    nbi_io_fetch(f->data + from, to - from);
}

void nbi_pagefile_drop(const nbi_pagefile *f, size_t from, size_t to)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    from = from / page * page;
    to = to == f->size ? to : to / page * page;
    if (from < to)
        nbi_io_drop(f->data + from, to - from);
}

nb_status nbi_pagefile_check(const nbi_pagefile *f, nb_error *err)
{
    if (f->data && nbi_mapguard_hit(f->data))
        return nbi_fail(err, NB_IO, "%s: the disk could not be read or written", f->dir);
    return NB_OK;
}

void nbi_pagefile_close(nbi_pagefile *f)
{
    if (f->data) {
        nbi_mapguard_remove(f->data);
        nbi_io_unmap(f->data, f->size);
    }
    nbi_free(f->dir);
    *f = (nbi_pagefile){0};
}
