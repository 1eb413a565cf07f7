/* SPDX-License-Identifier: MIT */
#include "base/safefile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/alloc.h"
#include "base/fail.h"
#include "base/io.h"
#include "base/pathname.h"

static void release(nbi_safefile *f)
{
    nbi_free(f->path);
    nbi_free(f->tmp);
    memset(f, 0, sizeof(*f));
    f->fd = -1;
}

/* A file of this name can only be left from an earlier process with the same id. */
static int open_new(const char *tmp)
{
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    int fd = nbi_io_open(tmp, flags, 0666);
    if (fd < 0 && errno == EEXIST && nbi_io_unlink(tmp) == 0)
        fd = nbi_io_open(tmp, flags, 0666);
    return fd;
}

nb_status nbi_safefile_create(nbi_safefile *f, const char *path, nb_error *err)
{
    char *dir, *name;
    memset(f, 0, sizeof(*f));
    f->fd = -1;
    NBI_TRY(nbi_path_split(path, &dir, &name, err));
    nb_status st = nbi_path_temporary(dir, ".tmp-", name, &f->tmp, err);
    if (st == NB_OK) {
        f->path = nbi_strdup(NBI_MEM_IO, path);
        if (!f->path)
            st = nbi_fail_nomem(err, path, strlen(path));
    }
    if (st == NB_OK) {
        f->fd = open_new(f->tmp);
        if (f->fd < 0)
            st = nbi_fail_errno(err, errno, "%s: cannot create", path);
    }
    nbi_free(dir);
    nbi_free(name);
    if (st != NB_OK)
        release(f);
    return st;
}

nb_status nbi_safefile_write(nbi_safefile *f, const void *buf, size_t n, nb_error *err)
{
    if (nbi_io_write_all(f->fd, buf, n) != 0)
        return nbi_fail_errno(err, errno, "%s: cannot write after %llu bytes", f->path,
                              (unsigned long long)f->written);
    f->written += n;
    return NB_OK;
}

static nb_status put_in_place(nbi_safefile *f, nb_error *err)
{
    char *dir, *name;
    if (nbi_io_rename(f->tmp, f->path) != 0)
        return nbi_fail_errno(err, errno, "%s: cannot put the new file in place", f->path);
    nbi_free(f->tmp); /* nothing is left to remove */
    f->tmp = NULL;
    NBI_TRY(nbi_path_split(f->path, &dir, &name, err));
    nb_status st = nbi_sync_dir(dir, err);
    nbi_free(dir);
    nbi_free(name);
    return st;
}

nb_status nbi_safefile_commit(nbi_safefile *f, nb_error *err)
{
    nb_status st = NB_OK;
    if (nbi_io_fsync(f->fd) != 0)
        st = nbi_fail_errno(err, errno, "%s: cannot sync to the disk", f->path);
    int fd = f->fd;
    f->fd = -1;
    if (nbi_io_close(fd) != 0 && st == NB_OK)
        st = nbi_fail_errno(err, errno, "%s: cannot write", f->path);
    if (st == NB_OK)
        st = put_in_place(f, err);
    nbi_safefile_abort(f);
    return st;
}

void nbi_safefile_abort(nbi_safefile *f)
{
    /* a zeroed record has no temporary, and then its fd 0 is not ours */
    if (f->tmp) {
        if (f->fd >= 0)
            nbi_io_close(f->fd);
        nbi_io_unlink(f->tmp);
    }
    release(f);
}

nb_status nbi_write_file(const char *path, const void *buf, size_t n, nb_error *err)
{
    nbi_safefile f;
    NBI_TRY(nbi_safefile_create(&f, path, err));
    nb_status st = nbi_safefile_write(&f, buf, n, err);
    if (st != NB_OK) {
        nbi_safefile_abort(&f);
        return st;
    }
    return nbi_safefile_commit(&f, err);
}

enum { COPY_CHUNK = 512 * 1024 };

static nb_status copy_rest(int fd, const char *from, nbi_safefile *f, char *buf, nb_error *err)
{
    for (;;) {
        long n = nbi_io_read(fd, buf, COPY_CHUNK);
        if (n < 0)
            return nbi_fail_errno(err, errno, "%s: cannot read", from);
        if (n == 0)
            return NB_OK;
        NBI_TRY(nbi_safefile_write(f, buf, (size_t)n, err));
    }
}

nb_status nbi_copy_file(const char *from, const char *to, nb_error *err)
{
    nbi_safefile f = {0};
    nb_status st;
    int fd = nbi_io_open(from, O_RDONLY, 0);
    if (fd < 0)
        return nbi_fail_errno(err, errno, "%s: cannot open", from);
    char *buf = nbi_alloc(NBI_MEM_IO, COPY_CHUNK);
    if (!buf) {
        st = nbi_fail_nomem(err, from, COPY_CHUNK);
        goto done;
    }
    NBI_TRY_GOTO(nbi_safefile_create(&f, to, err), done);
    NBI_TRY_GOTO(copy_rest(fd, from, &f, buf, err), done);
    st = nbi_safefile_commit(&f, err);
done:
    nbi_safefile_abort(&f);
    nbi_free(buf);
    nbi_io_close(fd);
    return st;
}
