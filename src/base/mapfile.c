/* SPDX-License-Identifier: MIT */
#include "base/mapfile.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/array.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/io.h"
#include "base/mapguard.h"

static nb_status map_fd(nbi_mapfile *m, int fd, const char *path, nb_error *err)
{
    struct stat st, again;
    if (nbi_io_fstat(fd, &st) != 0)
        return nbi_fail_errno(err, errno, "%s: cannot read", path);
    if (S_ISDIR(st.st_mode))
        return nbi_fail(err, NB_IO, "%s: is a folder, expected a file", path);
    if (!S_ISREG(st.st_mode))
        return nbi_fail(err, NB_IO, "%s: is not a regular file", path);
    if ((uint64_t)st.st_size > PTRDIFF_MAX)
        return nbi_fail(err, NB_LIMIT, "%s: too large for the address space", path);
    m->size = (size_t)st.st_size;
    if (m->size == 0)
        return NB_OK;
    void *p = nbi_io_map(fd, m->size);
    if (!p)
        return nbi_fail_errno(err, errno, "%s: cannot map", path);
    m->data = p;
    if (nbi_io_fstat(fd, &again) != 0)
        return nbi_fail_errno(err, errno, "%s: cannot read", path);
    if (again.st_size != st.st_size)
        return nbi_fail(err, NB_IO, "%s: file changed or truncated while reading", path);
    if (!nbi_mapguard_add(p, m->size))
        return nbi_fail(err, NB_LIMIT, "%s: too many mapped files", path);
    return NB_OK;
}

nb_status nbi_mapfile_open(nbi_mapfile *m, const char *path, nb_error *err)
{
    memset(m, 0, sizeof(*m));
    m->path = nbi_strdup(NBI_MEM_IO, path);
    if (!m->path)
        return nbi_fail_nomem(err, path, strlen(path));
    /* without O_NONBLOCK a named pipe would wait for its writer */
    int fd = nbi_io_open(path, O_RDONLY | O_NONBLOCK, 0);
    nb_status st = NB_OK;
    if (fd < 0) {
        st = nbi_fail_errno(err, errno, "%s: cannot open", path);
    } else {
        st = map_fd(m, fd, path, err);
        nbi_io_close(fd);
    }
    if (st != NB_OK)
        nbi_mapfile_close(m);
    return st;
}

nb_status nbi_mapfile_check(const nbi_mapfile *m, nb_error *err)
{
    struct stat st;
    bool changed = m->data && nbi_mapguard_hit(m->data);
    /* a file that was removed or renamed meanwhile is still whole behind the mapping */
    if (!changed && nbi_io_stat(m->path, &st) == 0)
        changed = (uint64_t)st.st_size != m->size;
    if (changed)
        return nbi_fail(err, NB_IO, "%s: file changed or truncated while reading", m->path);
    return NB_OK;
}

void nbi_mapfile_close(nbi_mapfile *m)
{
    if (m->data) {
        nbi_mapguard_remove(m->data);
        nbi_io_unmap((void *)(uintptr_t)m->data, m->size);
    }
    nbi_free(m->path);
    memset(m, 0, sizeof(*m));
}

/* Shrinks [*p, *p + *n) to whole pages; false when there is none. */
static bool whole_pages(const void **p, size_t *n)
{
    long page = sysconf(_SC_PAGESIZE);
    if (page <= 0)
        return false;
    uintptr_t mask = (uintptr_t)page - 1, begin = (uintptr_t)*p, end = begin + *n;
    begin = (begin + mask) & ~mask;
    end &= ~mask;
    *p = (const void *)begin;
    *n = begin < end ? end - begin : 0;
    return begin < end;
}

void nbi_mapfile_small_pages(const void *p, size_t n)
{
    if (whole_pages(&p, &n))
        (void)madvise((void *)(uintptr_t)p, n, MADV_NOHUGEPAGE);
}

void nbi_mapfile_release(const void *p, size_t n)
{
    if (whole_pages(&p, &n))
        (void)madvise((void *)(uintptr_t)p, n, MADV_DONTNEED);
}

void nbi_mapfile_prefetch(const void *p, size_t n)
{
    if (whole_pages(&p, &n))
        (void)madvise((void *)(uintptr_t)p, n, MADV_WILLNEED);
}

size_t nbi_mapfile_resident(const void *p, size_t n)
{
    const uint64_t present = 1ull << 63;
    if (!whole_pages(&p, &n))
        return 0;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), found = 0;
    int fd = nbi_io_open("/proc/self/pagemap", O_RDONLY, 0);
    if (fd < 0)
        return SIZE_MAX;
    for (size_t i = 0; i < n / page; i++) {
        uint64_t entry = 0;
        if (pread(fd, &entry, sizeof(entry), (off_t)(((uintptr_t)p / page + i) * sizeof(entry))) !=
            (ssize_t)sizeof(entry)) {
            found = SIZE_MAX;
            break;
        }
        found += entry & present ? page : 0;
    }
    nbi_io_close(fd);
    return found;
}

/* Reads to the end into *buf of *cap bytes, one of which is kept for the NUL. */
static nb_status read_fd(int fd, const char *path, size_t max_bytes, char **buf, size_t cap,
                         size_t *len, nb_error *err)
{
    size_t n = 0;
    for (;;) {
        if (n + 1 == cap) {
            char *p;
            if (cap > SIZE_MAX / 2 || !(p = nbi_realloc(NBI_MEM_IO, *buf, cap * 2)))
                return nbi_fail_nomem(err, path, cap);
            *buf = p;
            cap *= 2;
        }
        long got = nbi_io_read(fd, *buf + n, cap - n - 1);
        if (got < 0)
            return nbi_fail_errno(err, errno, "%s: cannot read", path);
        if (got == 0)
            break;
        n += (size_t)got;
        if (n > max_bytes)
            return nbi_fail(err, NB_LIMIT, "%s: larger than the limit of %zu bytes", path,
                            max_bytes);
    }
    (*buf)[n] = 0;
    *len = n;
    return NB_OK;
}

nb_status nbi_read_file(const char *path, size_t max_bytes, char **out, size_t *len, nb_error *err)
{
    struct stat info;
    nb_status st = NB_OK;
    char *buf = NULL;
    int fd = nbi_io_open(path, O_RDONLY, 0);
    if (fd < 0)
        return nbi_fail_errno(err, errno, "%s: cannot open", path);
    if (nbi_io_fstat(fd, &info) != 0) {
        st = nbi_fail_errno(err, errno, "%s: cannot read", path);
        goto done;
    }
    if (S_ISDIR(info.st_mode)) {
        st = nbi_fail(err, NB_IO, "%s: is a folder, expected a file", path);
        goto done;
    }
    if (info.st_size > 0 && (uint64_t)info.st_size > max_bytes) {
        st = nbi_fail(err, NB_LIMIT, "%s: %lld bytes, more than the limit of %zu", path,
                      (long long)info.st_size, max_bytes);
        goto done;
    }
    /* one byte for the NUL and one so that the end is seen without growing */
    size_t cap = S_ISREG(info.st_mode) ? (size_t)info.st_size + 2 : 64 * 1024;
    buf = nbi_alloc(NBI_MEM_IO, cap);
    st = buf ? read_fd(fd, path, max_bytes, &buf, cap, len, err) : nbi_fail_nomem(err, path, cap);
done:
    nbi_io_close(fd);
    if (st == NB_OK)
        *out = buf;
    else
        nbi_free(buf);
    return st;
}

bool nbi_path_exists(const char *path)
{
    struct stat st;
    return nbi_io_stat(path, &st) == 0;
}

bool nbi_path_is_dir(const char *path)
{
    struct stat st;
    return nbi_io_stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *nbi_path_join(const char *dir, const char *name)
{
    size_t d = strlen(dir), n = strlen(name), total;
    bool slash = d > 0 && dir[d - 1] != '/';
    if (!nbi_add_size(d, n, &total) || !nbi_add_size(total, 2, &total))
        return NULL;
    char *p = nbi_alloc(NBI_MEM_IO, total);
    if (p) {
        memcpy(p, dir, d);
        if (slash)
            p[d] = '/';
        memcpy(p + d + slash, name, n + 1);
    }
    return p;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

nb_status nbi_list_dir(const char *path, char ***names, size_t *n, nb_error *err)
{
    NBI_ARRAY(char *) list = {0};
    nb_status st = NB_OK;
    int fd = nbi_io_open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
    if (fd < 0)
        return nbi_fail_errno(err, errno, "%s: cannot open the folder", path);
    DIR *d = fdopendir(fd);
    if (!d) {
        st = nbi_fail_errno(err, errno, "%s: cannot read the folder", path);
        nbi_io_close(fd);
        return st;
    }
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) {
            if (errno != 0)
                st = nbi_fail_errno(err, errno, "%s: cannot read the folder", path);
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *name = nbi_strdup(NBI_MEM_IO, e->d_name);
        if (!name || !nbi_array_push(&list, name)) {
            nbi_free(name);
            st = nbi_fail_nomem(err, path, list.n);
            break;
        }
    }
    closedir(d);
    if (st != NB_OK) {
        nbi_list_dir_free(list.v, list.n);
        return st;
    }
    if (list.n > 1)
        qsort(list.v, list.n, sizeof(*list.v), by_bytes);
    *names = list.v;
    *n = list.n;
    return NB_OK;
}

void nbi_list_dir_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        nbi_free(names[i]);
    nbi_free(names);
}
