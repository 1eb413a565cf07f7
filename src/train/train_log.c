/* SPDX-License-Identifier: MIT */
#include "train/train_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mapfile.h"

struct nbi_train_log {
    int fd;
    bool said;   /* that a line could not be written */
    bool broken; /* the torn line could not be taken back: the rest is dropped */
    off_t whole; /* bytes of the lines written */
    const nb_log *log;
    char *path;
    nbi_strbuf line;
    nbi_json_writer w;
};

nb_status nbi_train_log_open(nbi_train_log **out, const char *dir, const nb_log *log, nb_error *err)
{
    nbi_train_log *l = nbi_calloc(NBI_MEM_IO, 1, sizeof(*l));
    *out = NULL;
    if (!l || !(l->path = nbi_path_join(dir, "train_log.jsonl"))) {
        nbi_free(l);
        return nbi_fail_nomem(err, "train_log.jsonl", sizeof(*l));
    }
    l->log = log;
    l->fd = nbi_io_open(l->path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644);
    if (l->fd < 0) {
        nb_status st = nbi_fail_errno(err, errno, "%s", l->path);
        nbi_train_log_close(&l);
        return st;
    }
    *out = l;
    return NB_OK;
}

void nbi_train_log_close(nbi_train_log **l)
{
    if (!l || !*l)
        return;
    if ((*l)->fd >= 0)
        nbi_io_close((*l)->fd);
    nbi_strbuf_free(&(*l)->line);
    nbi_free((*l)->path);
    nbi_free(*l);
    *l = NULL;
}

nbi_json_writer *nbi_train_log_begin(nbi_train_log *l)
{
    nbi_strbuf_clear(&l->line);
    nbi_json_writer_init(&l->w, &l->line, 0, true);
    nbi_jw_object(&l->w);
    return &l->w;
}

void nbi_train_log_end(nbi_train_log *l)
{
    nbi_jw_object_end(&l->w);
    nbi_strbuf_putc(&l->line, '\n');
    if (l->broken || l->line.failed)
        return;
    if (nbi_io_write_all(l->fd, l->line.s, l->line.n) == 0) {
        l->whole += (off_t)l->line.n;
        return;
    }
    if (!l->said)
        nbi_log(l->log, NB_LOG_WARN,
                "%s: %s; the training goes on, lines that cannot be written are missing", l->path,
                strerror(errno));
    l->said = true;
    l->broken = ftruncate(l->fd, l->whole) != 0;
}
