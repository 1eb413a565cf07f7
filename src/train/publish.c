/* SPDX-License-Identifier: MIT */
#include "train/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/mapfile.h"
#include "base/strbuf.h"

/* How a file is called that waits for its successor to be in place. */
#define OLD ".old-"

/* One file on its way. */
typedef struct move {
    char *source, *target, *aside; /* aside: where the old target waits */
    bool kept, moved;              /* the old one is aside; the new one is in place */
} move;

static void free_moves(move *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nbi_free(v[i].source);
        nbi_free(v[i].target);
        nbi_free(v[i].aside);
    }
    nbi_free(v);
}

static bool plan(move *m, const char *from, const char *to, const char *name)
{
    nbi_strbuf old = {0};
    nbi_strbuf_printf(&old, "%s/" OLD "%s", to, name);
    m->source = nbi_path_join(from, name);
    m->target = nbi_path_join(to, name);
    m->aside = old.failed ? NULL : nbi_strdup(NBI_MEM_OTHER, nbi_strbuf_str(&old));
    nbi_strbuf_free(&old);
    return m->source && m->target && m->aside;
}

static nb_status set_aside(move *m, nb_error *err)
{
    if (!m->kept && nbi_path_exists(m->target)) {
        if (nbi_io_rename(m->target, m->aside) != 0)
            return nbi_fail_errno(err, errno, "%s: cannot be replaced", m->target);
        m->kept = true;
    }
    return NB_OK;
}

static nb_status forward(move *m, nb_error *err)
{
    NBI_TRY(set_aside(m, err));
    if (nbi_io_rename(m->source, m->target) != 0)
        return nbi_fail_errno(err, errno, "%s: cannot be put in place", m->target);
    m->moved = true;
    return NB_OK;
}

/* The last one is the key: it leaves first and returns last here too. */
static void back(move *v, size_t n)
{
    if (v[n - 1].moved)
        (void)nbi_io_unlink(v[n - 1].target);
    for (size_t i = 0; i < n; i++) {
        if (v[i].kept)
            (void)nbi_io_rename(v[i].aside, v[i].target);
        else if (v[i].moved && i < n - 1)
            (void)nbi_io_unlink(v[i].target);
    }
}

static nb_status sync_folder(const char *dir, nb_error *err)
{
    int fd = nbi_io_open(dir, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return nbi_fail_errno(err, errno, "%s", dir);
    int failed = nbi_io_fsync(fd) ? errno : 0;
    nbi_io_close(fd);
    return failed ? nbi_fail_errno(err, failed, "%s: cannot be synced", dir) : NB_OK;
}

/* Each stage reaches the disk before the next. */
static nb_status in_stages(move *v, size_t n, const char *to, nb_error *err)
{
    NBI_TRY(set_aside(&v[n - 1], err));
    NBI_TRY(sync_folder(to, err));
    for (size_t i = 0; i < n - 1; i++)
        NBI_TRY(forward(&v[i], err));
    NBI_TRY(sync_folder(to, err));
    NBI_TRY(forward(&v[n - 1], err));
    return sync_folder(to, err);
}

static nb_status move_all(move *v, size_t n, const char *to, nb_error *err)
{
    nb_status st = in_stages(v, n, to, err);
    if (st != NB_OK) {
        back(v, n);
        return st;
    }
    for (size_t i = 0; i < n; i++)
        (void)nbi_io_unlink(v[i].aside); /* also one that a killed run left */
    return NB_OK;
}

static bool is_key(const char *name)
{
    return strcmp(name, "adapter_config.json") == 0 || strcmp(name, "config.json") == 0;
}

/* Puts the name of the key at the end of the list. */
static void key_last(char **names, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (is_key(names[i])) {
            char *key = names[i];
            names[i] = names[n - 1];
            names[n - 1] = key;
            return;
        }
}

nb_status nbi_publish_files(const char *from, const char *to, nb_error *err)
{
    char **names;
    size_t n;
    NBI_TRY(nbi_list_dir(from, &names, &n, err));
    key_last(names, n);
    move *v = nbi_calloc(NBI_MEM_IO, n + 1, sizeof(*v));
    bool ok = v != NULL;
    for (size_t i = 0; ok && i < n; i++)
        ok = plan(&v[i], from, to, names[i]);
    nb_status st = ok ? NB_OK : nbi_fail_nomem(err, "a list of files", 0);
    if (st == NB_OK && n > 0)
        st = move_all(v, n, to, err);
    if (v)
        free_moves(v, n);
    nbi_list_dir_free(names, n);
    return st;
}

/* ---- after a kill ---- */

static bool is_aside(const char *to, const char *entry)
{
    if (strncmp(entry, OLD, strlen(OLD)) != 0)
        return false;
    char *path = nbi_path_join(to, entry);
    bool yes = path && !nbi_path_is_dir(path); /* folders are base/safefile.h's */
    nbi_free(path);
    return yes;
}

/* Is the key in place? Then the new set is whole. */
static bool is_whole(const char *to, char **names, size_t n)
{
    const char *key = NULL;
    for (size_t i = 0; i < n && !key; i++)
        if (is_aside(to, names[i]) && is_key(names[i] + strlen(OLD)))
            key = names[i] + strlen(OLD);
    char *path = key ? nbi_path_join(to, key) : NULL;
    bool yes = !key || (path && nbi_path_exists(path));
    nbi_free(path);
    return yes;
}

static void settle(const char *to, char **names, size_t n, bool keys, bool whole)
{
    for (size_t i = 0; i < n; i++) {
        const char *name = names[i] + strlen(OLD);
        if (!is_aside(to, names[i]) || is_key(name) != keys)
            continue;
        char *path = nbi_path_join(to, names[i]), *target = nbi_path_join(to, name);
        if (path && target)
            (void)(whole ? nbi_io_unlink(path) : nbi_io_rename(path, target));
        nbi_free(path);
        nbi_free(target);
    }
}

void nbi_publish_recover(const char *to)
{
    char **names;
    size_t n;
    if (nbi_list_dir(to, &names, &n, NULL) != NB_OK)
        return;
    const bool whole = is_whole(to, names, n);
    settle(to, names, n, false, whole);
    settle(to, names, n, true, whole);
    nbi_list_dir_free(names, n);
}
