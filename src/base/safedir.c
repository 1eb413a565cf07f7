/* SPDX-License-Identifier: MIT */
#include "base/safefile.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/checked.h"
#include "base/fail.h"
#include "base/io.h"
#include "base/mapfile.h"
#include "base/pathname.h"

#define TMP_PREFIX ".tmp-"
/* The target while it is renamed aside, on file systems that cannot swap two names. It may be the
 * only complete copy, so it is put back when the target is missing. */
#define OLD_PREFIX ".old-"

static void release(nbi_safedir *d)
{
    nbi_free(d->path);
    nbi_free(d->tmp);
    memset(d, 0, sizeof(*d));
}

/* Whether `entry` is <prefix><name>-<pid> of a process that is gone (or of this one: then it is
 * left from an earlier process with the same id); *len receives the length of the name. */
static bool is_stale(const char *entry, const char *prefix, size_t *len)
{
    size_t p = strlen(prefix);
    uint64_t pid;
    const char *dash = strrchr(entry, '-');
    if (strncmp(entry, prefix, p) != 0 || dash <= entry + p)
        return false;
    *len = (size_t)(dash - entry) - p;
    if (!nbi_parse_u64(dash + 1, strlen(dash + 1), &pid) || pid == 0 || pid > INT_MAX)
        return false;
    return (pid_t)pid == getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

/* A replaced folder goes, unless its successor never came. */
static void clean_entry(const char *dir, const char *entry, const char *name, bool tmp)
{
    struct stat info;
    char *path = nbi_path_join(dir, entry), *target = nbi_path_join(dir, name);
    if (path && target) {
        if (!tmp && nbi_io_lstat(target, &info) != 0 && errno == ENOENT)
            (void)nbi_io_rename(path, target);
        else
            (void)!nbi_remove_tree(path, NULL);
    }
    nbi_free(path);
    nbi_free(target);
}

/* What cannot be cleaned up is no reason to refuse the new folder. only: NULL: all names. */
static void clean_stale(const char *dir, const char *only)
{
    char **names;
    size_t n, len;
    if (nbi_list_dir(dir, &names, &n, NULL) != NB_OK)
        return;
    for (size_t i = 0; i < n; i++) {
        bool tmp = is_stale(names[i], TMP_PREFIX, &len);
        if (!tmp && !is_stale(names[i], OLD_PREFIX, &len))
            continue;
        const char *at = names[i] + strlen(tmp ? TMP_PREFIX : OLD_PREFIX);
        if (only && (strlen(only) != len || strncmp(at, only, len) != 0))
            continue;
        char *name = nbi_strndup(NBI_MEM_IO, at, len);
        if (name)
            clean_entry(dir, names[i], name, tmp);
        nbi_free(name);
    }
    nbi_list_dir_free(names, n);
}

void nbi_clean_temporaries(const char *dir)
{
    clean_stale(dir, NULL);
}

/* The target itself, with a link to a folder replaced by the folder it points to. */
static nb_status resolve(const char *path, char **out, nb_error *err)
{
    struct stat info;
    char real[PATH_MAX];
    if (nbi_io_lstat(path, &info) == 0) {
        if (S_ISLNK(info.st_mode) && realpath(path, real))
            path = real;
        if (nbi_io_stat(path, &info) == 0 && !S_ISDIR(info.st_mode))
            return nbi_fail(err, NB_IO, "%s: exists and is not a folder", path);
    }
    *out = nbi_strdup(NBI_MEM_IO, path);
    return *out ? NB_OK : nbi_fail_nomem(err, path, strlen(path));
}

nb_status nbi_safedir_create(nbi_safedir *d, const char *path, nb_error *err)
{
    char *dir = NULL, *name = NULL;
    nb_status st;
    memset(d, 0, sizeof(*d));
    NBI_TRY_GOTO(resolve(path, &d->path, err), done);
    NBI_TRY_GOTO(nbi_path_split(d->path, &dir, &name, err), done);
    NBI_TRY_GOTO(nbi_make_dirs(dir, err), done);
    clean_stale(dir, name);
    NBI_TRY_GOTO(nbi_path_temporary(dir, TMP_PREFIX, name, &d->tmp, err), done);
    if (nbi_io_mkdir(d->tmp, 0777) != 0)
        st = nbi_fail_errno(err, errno, "%s: cannot create the folder", d->tmp);
done:
    nbi_free(dir);
    nbi_free(name);
    if (st != NB_OK)
        release(d);
    return st;
}

/* Twice, for a failure that does not last; what is left then goes at the next creation. */
static void discard(const char *path)
{
    if (nbi_remove_tree(path, NULL) == NB_OK || nbi_remove_tree(path, NULL) == NB_OK)
        return;
}

/* For file systems without an exchange of names: the target is missing for a moment. */
static nb_status rename_aside(nbi_safedir *d, const char *dir, const char *name, nb_error *err)
{
    char *old;
    NBI_TRY(nbi_path_temporary(dir, OLD_PREFIX, name, &old, err));
    nb_status st = NB_OK;
    if (nbi_io_rename(d->path, old) != 0) {
        st = nbi_fail_errno(err, errno, "%s: cannot replace", d->path);
    } else if (nbi_io_rename(d->tmp, d->path) != 0) {
        st = nbi_fail_errno(err, errno, "%s: cannot put the new folder in place", d->path);
        if (nbi_io_rename(old, d->path) != 0)
            st = nbi_fail_prefix(err, st, "the old folder is now %s", old);
    } else if (nbi_io_rename(old, d->tmp) != 0) {
        discard(old);
    }
    nbi_free(old);
    return st;
}

/* Afterwards d->tmp, when it exists, is what is to be removed. */
static nb_status put_in_place(nbi_safedir *d, const char *dir, const char *name, nb_error *err)
{
    struct stat info;
    if (nbi_io_lstat(d->path, &info) == 0) {
        if (nbi_io_exchange(d->tmp, d->path) == 0)
            return NB_OK;
        if (errno == EINVAL || errno == ENOSYS || errno == ENOTSUP)
            return rename_aside(d, dir, name, err);
    } else if (errno == ENOENT && nbi_io_rename(d->tmp, d->path) == 0) {
        return NB_OK;
    }
    return nbi_fail_errno(err, errno, "%s: cannot put the new folder in place", d->path);
}

nb_status nbi_safedir_commit(nbi_safedir *d, nb_error *err)
{
    char *dir = NULL, *name = NULL;
    nb_status st;
    NBI_TRY_GOTO(nbi_path_split(d->path, &dir, &name, err), done);
    NBI_TRY_GOTO(nbi_sync_tree(d->tmp, err), done);
    NBI_TRY_GOTO(put_in_place(d, dir, name, err), done);
    st = nbi_sync_dir(dir, err);
done:
    nbi_free(dir);
    nbi_free(name);
    nbi_safedir_abort(d);
    return st;
}

void nbi_safedir_abort(nbi_safedir *d)
{
    if (d->tmp)
        discard(d->tmp);
    release(d);
}
