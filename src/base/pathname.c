/* SPDX-License-Identifier: MIT */
#include "base/pathname.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/io.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "base/strbuf.h"

nb_status nbi_path_split(const char *path, char **dir, char **name, nb_error *err)
{
    size_t len = strlen(path), cut;
    while (len > 1 && path[len - 1] == '/')
        len--;
    for (cut = len; cut > 0 && path[cut - 1] != '/';)
        cut--;
    const char *last = path + cut;
    size_t n = len - cut;
    if (n == 0 || (n == 1 && last[0] == '.') || (n == 2 && last[0] == '.' && last[1] == '.'))
        return nbi_fail(err, NB_IO, "\"%s\" cannot be written: give a path that ends in a name",
                        path);
    while (cut > 1 && path[cut - 1] == '/')
        cut--;
    *dir = cut > 0 ? nbi_strndup(NBI_MEM_IO, path, cut) : nbi_strdup(NBI_MEM_IO, ".");
    *name = nbi_strndup(NBI_MEM_IO, last, n);
    if (*dir && *name)
        return NB_OK;
    nbi_free(*dir);
    nbi_free(*name);
    *dir = *name = NULL;
    return nbi_fail_nomem(err, path, len);
}

nb_status nbi_path_temporary(const char *dir, const char *prefix, const char *name, char **out,
                             nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s%s%s%s-%ld", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", prefix, name,
                      (long)getpid());
    *out = b.failed ? NULL : nbi_strndup(NBI_MEM_IO, b.s, b.n);
    nbi_strbuf_free(&b);
    return *out ? NB_OK : nbi_fail_nomem(err, name, strlen(name));
}

nb_status nbi_make_dirs(const char *path, nb_error *err)
{
    size_t len = strlen(path);
    char *p = nbi_strndup(NBI_MEM_IO, path, len);
    nb_status st = NB_OK;
    if (!p)
        return nbi_fail_nomem(err, path, len);
    /* the usual case, and the only one where the parents may not be readable */
    if (nbi_path_is_dir(p))
        len = 0;
    for (size_t i = 1; i <= len && st == NB_OK; i++) {
        if ((p[i] != '/' && p[i] != 0) || p[i - 1] == '/')
            continue;
        char kept = p[i];
        p[i] = 0;
        if (nbi_io_mkdir(p, 0777) != 0) {
            int why = errno;
            if (!nbi_path_is_dir(p))
                st = why == EEXIST ? nbi_fail(err, NB_IO, "%s: exists and is not a folder", p)
                                   : nbi_fail_errno(err, why, "%s: cannot create the folder", p);
        }
        p[i] = kept;
    }
    nbi_free(p);
    return st;
}

typedef NBI_ARRAY(char *) path_list;

static void free_list(path_list *l)
{
    nbi_list_dir_free(l->v, l->n);
    memset(l, 0, sizeof(*l));
}

typedef nb_status visit_fn(const char *path, const struct stat *info, nb_error *err);

static nb_status visit_entry(path_list *dirs, const char *dir, const char *name, visit_fn *visit,
                             nb_error *err)
{
    struct stat info;
    nb_status st;
    char *path = nbi_path_join(dir, name);
    if (!path)
        return nbi_fail_nomem(err, dir, strlen(dir));
    if (nbi_io_lstat(path, &info) != 0) {
        st = errno == ENOENT ? NB_OK : nbi_fail_errno(err, errno, "%s: cannot read", path);
    } else if (!S_ISDIR(info.st_mode)) {
        st = visit(path, &info, err);
    } else if (nbi_array_push(dirs, path)) {
        return NB_OK;
    } else {
        st = nbi_fail_nomem(err, path, strlen(path));
    }
    nbi_free(path);
    return st;
}

/* Calls visit for everything below root that is no folder and lists the folders, outer ones first;
 * works by a list instead of recursion. Links are not followed. */
static nb_status walk(const char *root, visit_fn *visit, path_list *dirs, nb_error *err)
{
    char *first = nbi_strdup(NBI_MEM_IO, root);
    if (!first || !nbi_array_push(dirs, first)) {
        nbi_free(first);
        return nbi_fail_nomem(err, root, strlen(root));
    }
    nb_status st = NB_OK;
    for (size_t i = 0; i < dirs->n && st == NB_OK; i++) {
        char **names;
        size_t n;
        NBI_TRY(nbi_list_dir(dirs->v[i], &names, &n, err));
        for (size_t k = 0; k < n && st == NB_OK; k++)
            st = visit_entry(dirs, dirs->v[i], names[k], visit, err);
        nbi_list_dir_free(names, n);
    }
    return st;
}

static nb_status remove_file(const char *path, const struct stat *info, nb_error *err)
{
    (void)info;
    if (nbi_io_unlink(path) != 0 && errno != ENOENT)
        return nbi_fail_errno(err, errno, "%s: cannot remove", path);
    return NB_OK;
}

nb_status nbi_remove_tree(const char *path, nb_error *err)
{
    struct stat info;
    path_list dirs = {0};
    if (nbi_io_lstat(path, &info) != 0)
        return errno == ENOENT ? NB_OK : nbi_fail_errno(err, errno, "%s: cannot remove", path);
    if (!S_ISDIR(info.st_mode))
        return remove_file(path, &info, err);
    nb_status st = walk(path, remove_file, &dirs, err);
    for (size_t i = dirs.n; i-- > 0 && st == NB_OK;)
        if (nbi_io_rmdir(dirs.v[i]) != 0 && errno != ENOENT)
            st = nbi_fail_errno(err, errno, "%s: cannot remove the folder", dirs.v[i]);
    free_list(&dirs);
    return st;
}

static nb_status sync_path(const char *path, int flags, nb_error *err)
{
    int fd = nbi_io_open(path, O_RDONLY | flags, 0);
    if (fd < 0)
        return nbi_fail_errno(err, errno, "%s: cannot open to sync", path);
    nb_status st = NB_OK;
    /* some network file systems refuse fsync of a folder */
    if (nbi_io_fsync(fd) != 0 && !(errno == EINVAL && flags == O_DIRECTORY))
        st = nbi_fail_errno(err, errno, "%s: cannot sync to the disk", path);
    nbi_io_close(fd);
    return st;
}

static nb_status sync_file(const char *path, const struct stat *info, nb_error *err)
{
    return S_ISREG(info->st_mode) ? sync_path(path, O_NOFOLLOW, err) : NB_OK;
}

nb_status nbi_sync_dir(const char *path, nb_error *err)
{
    return sync_path(path, O_DIRECTORY, err);
}

nb_status nbi_sync_tree(const char *path, nb_error *err)
{
    path_list dirs = {0};
    nb_status st = walk(path, sync_file, &dirs, err);
    for (size_t i = dirs.n; i-- > 0 && st == NB_OK;)
        st = nbi_sync_dir(dirs.v[i], err);
    free_list(&dirs);
    return st;
}

nb_status nbi_free_space(const char *path, uint64_t *bytes, nb_error *err)
{
    char *p = nbi_strdup(NBI_MEM_IO, path[0] ? path : ".");
    if (!p)
        return nbi_fail_nomem(err, path, strlen(path));
    nb_status st = NB_OK;
    while (nbi_io_free_bytes(p, bytes) != 0) {
        size_t n = strlen(p);
        if (errno != ENOENT || strcmp(p, ".") == 0 || strcmp(p, "/") == 0) {
            st = nbi_fail_errno(err, errno, "%s: cannot find out the free space", path);
            break;
        }
        while (n > 0 && p[n - 1] == '/')
            n--;
        while (n > 0 && p[n - 1] != '/')
            n--;
        while (n > 1 && p[n - 1] == '/')
            n--;
        if (n == 0)
            p[n++] = '.';
        p[n] = 0;
    }
    nbi_free(p);
    return st;
}
