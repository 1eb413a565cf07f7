/* SPDX-License-Identifier: MIT */
#include "train/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/mapfile.h"
#include "base/strbuf.h"

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
    nbi_strbuf_printf(&old, "%s/.old-%s", to, name);
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

/* Puts the name of the key at the end of the list. */
static void key_last(char **names, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (strcmp(names[i], "adapter_config.json") == 0 || strcmp(names[i], "config.json") == 0) {
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
