/* SPDX-License-Identifier: MIT */
#include "train/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "train/event_proto.h"

#define PREFIX "events.out.tfevents."

struct nbi_tensorboard {
    int fd;
    bool stopped; /* a record could not be written: the rest is dropped */
    off_t whole;  /* bytes of the records written */
    const nb_log *log;
    char *path;
    NBI_ARRAY(uint8_t) record;
};

/* ---- records ---- */

uint32_t nbi_tensorboard_crc(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint32_t c = ~0u;
    /* records are short and few: bit by bit is fast enough */
    for (size_t i = 0; i < n; i++) {
        c ^= s[i];
        for (int bit = 0; bit < 8; bit++)
            c = (c >> 1) ^ (0x82f63b78u & (0u - (c & 1)));
    }
    c = ~c;
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

static void put_le(uint8_t *p, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static bool fill_record(nbi_tensorboard *t, const nbi_pb_event *e)
{
    const size_t n = protobuf_c_message_get_packed_size(&e->base);
    t->record.n = 0;
    if (!nbi_array_reserve(&t->record, n + 16))
        return false;
    uint8_t *p = t->record.v;
    put_le(p, n, 8);
    put_le(p + 8, nbi_tensorboard_crc(p, 8), 4);
    protobuf_c_message_pack(&e->base, p + 12);
    put_le(p + 12 + n, nbi_tensorboard_crc(p + 12, n), 4);
    t->record.n = n + 16;
    return true;
}

/* What one reader has seen must stay readable to the next: a torn record is taken back. */
static void write_event(nbi_tensorboard *t, nbi_pb_event *e)
{
    struct timespec now;
    if (t->stopped)
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    e->wall_time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    errno = ENOMEM;
    if (fill_record(t, e) && nbi_io_write_all(t->fd, t->record.v, t->record.n) == 0) {
        t->whole += (off_t)t->record.n;
        return;
    }
    nbi_log(t->log, NB_LOG_WARN, "%s: %s; the training goes on without event files", t->path,
            strerror(errno));
    t->stopped = true;
    if (ftruncate(t->fd, t->whole) != 0)
        t->whole = 0; /* readers stop at the torn record */
}

/* ---- what is written ---- */

const char *nbi_tensorboard_tag(const char *name, char buf[96])
{
    const char *group = "train";
    if (strncmp(name, "eval_", 5) == 0 || strncmp(name, "test_", 5) == 0) {
        group = name[0] == 'e' ? "eval" : "test";
        name += 5;
    }
    return snprintf(buf, 96, "%s/%s", group, name) < 96 ? buf : NULL;
}

static void write_values(nbi_tensorboard *t, int64_t step, nbi_pb_value **v, size_t n)
{
    nbi_pb_summary s = {NBI_PB_INIT(nbi_pb_summary_type), .n_value = n, .value = v};
    nbi_pb_event e = {NBI_PB_INIT(nbi_pb_event_type), .step = step, .summary = &s};
    write_event(t, &e);
}

static void write_number(nbi_tensorboard *t, int64_t step, const char *name, double value)
{
    char tag[96];
    nbi_pb_value v = {NBI_PB_INIT(nbi_pb_value_type), .has_simple_value = 1,
                      .simple_value = (float)value};
    nbi_pb_value *one = &v;
    if (!nbi_tensorboard_tag(name, tag))
        return;
    v.tag = tag;
    write_values(t, step, &one, 1);
}

void nbi_tensorboard_entry(nbi_tensorboard *t, const nbi_history *h, const nbi_entry *e)
{
    if (!t)
        return;
    for (size_t i = e->first; i < e->first + e->n; i++)
        write_number(t, e->step, h->numbers.v[i].name, h->numbers.v[i].value);
    write_number(t, e->step, "epoch", e->epoch);
}

void nbi_tensorboard_text(nbi_tensorboard *t, const char *tag, int64_t step, const char *text)
{
    /* the library's records are not const, but packing only reads */
    ProtobufCBinaryData bytes = {strlen(text), (uint8_t *)(uintptr_t)text};
    char plugin[] = "text", name[96];
    nbi_pb_plugin p = {NBI_PB_INIT(nbi_pb_plugin_type), .plugin_name = plugin};
    nbi_pb_metadata m = {NBI_PB_INIT(nbi_pb_metadata_type), .plugin_data = &p};
    nbi_pb_tensor data = {NBI_PB_INIT(nbi_pb_tensor_type), .dtype = NBI_PB_DT_STRING,
                          .n_string_val = 1, .string_val = &bytes};
    nbi_pb_value v = {NBI_PB_INIT(nbi_pb_value_type), .tag = name, .tensor = &data, .metadata = &m};
    nbi_pb_value *one = &v;
    if (!t || snprintf(name, sizeof name, "%s", tag) >= (int)sizeof name)
        return;
    write_values(t, step, &one, 1);
}

/* ---- files ---- */

/* The newest folder of runs/ that holds event files: names by month do not sort, so the time of the
 * folder decides. */
static char *newest_folder(const char *runs)
{
    char **names, *best = NULL;
    size_t n;
    struct timespec newest = {0};
    if (nbi_list_dir(runs, &names, &n, NULL) != NB_OK)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        char *path = nbi_path_join(runs, names[i]);
        if (path && nbi_io_stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
            (!best || st.st_mtim.tv_sec > newest.tv_sec ||
             (st.st_mtim.tv_sec == newest.tv_sec && st.st_mtim.tv_nsec > newest.tv_nsec))) {
            nbi_free(best);
            best = path;
            path = NULL;
            newest = st.st_mtim;
        }
        nbi_free(path);
    }
    nbi_list_dir_free(names, n);
    return best;
}

/* The Trainer's names: Nov22_13-05-59_host. */
static char *folder(const char *output_dir, bool goes_on, time_t now, const char *host)
{
    char name[160], date[32];
    struct tm local;
    char *runs = nbi_path_join(output_dir, "runs"), *path = NULL;
    if (runs && goes_on)
        path = newest_folder(runs);
    if (runs && !path && localtime_r(&now, &local) &&
        strftime(date, sizeof date, "%b%d_%H-%M-%S", &local)) {
        snprintf(name, sizeof name, "%s_%s", date, host);
        path = nbi_path_join(runs, name);
    }
    nbi_free(runs);
    return path;
}

/* A second file of the same second and process counts on. */
static nb_status open_file(nbi_tensorboard *t, const char *dir, time_t now, const char *host,
                           nb_error *err)
{
    for (int i = 0; i < 1000; i++) {
        char name[200];
        snprintf(name, sizeof name, PREFIX "%lld.%s.%ld.%d", (long long)now, host, (long)getpid(),
                 i);
        nbi_free(t->path);
        t->path = nbi_path_join(dir, name);
        if (!t->path)
            return nbi_fail_nomem(err, "an event file", 0);
        t->fd = nbi_io_open(t->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0644);
        if (t->fd >= 0)
            return NB_OK;
        if (errno != EEXIST)
            break;
    }
    return nbi_fail_errno(err, errno, "%s", t->path);
}

static void begin_file(nbi_tensorboard *t, int64_t step)
{
    char version[] = "brain.Event:2";
    nbi_pb_event first = {NBI_PB_INIT(nbi_pb_event_type), .file_version = version};
    write_event(t, &first);
    if (step <= 0)
        return;
    nbi_pb_session start = {NBI_PB_INIT(nbi_pb_session_type), .status = NBI_PB_SESSION_START};
    /* the event whose step, and those after it, are forgotten */
    nbi_pb_event goes_on = {NBI_PB_INIT(nbi_pb_event_type), .step = step + 1,
                            .session_log = &start};
    write_event(t, &goes_on);
}

nbi_tensorboard *nbi_tensorboard_open(const char *output_dir, int64_t step, const nb_log *log)
{
    nb_error err = {NB_OK, ""};
    char host[64] = "";
    const time_t now = time(NULL);
    nbi_tensorboard *t = nbi_calloc(NBI_MEM_IO, 1, sizeof(*t));
    if (gethostname(host, sizeof host - 1) != 0 || !host[0] || strchr(host, '/'))
        snprintf(host, sizeof host, "localhost");
    char *dir = t ? folder(output_dir, step > 0, now, host) : NULL;
    nb_status st = dir ? nbi_make_dirs(dir, &err) : nbi_fail_nomem(&err, "an event file", 0);
    if (t)
        t->fd = -1;
    if (st == NB_OK) {
        t->log = log;
        st = open_file(t, dir, now, host, &err);
    }
    nbi_free(dir);
    if (st != NB_OK) {
        nbi_log(log, NB_LOG_WARN, "%s; the training goes on without event files", err.message);
        nbi_tensorboard_close(&t);
        return NULL;
    }
    begin_file(t, step);
    return t;
}

void nbi_tensorboard_close(nbi_tensorboard **t)
{
    if (!t || !*t)
        return;
    if ((*t)->fd >= 0)
        nbi_io_close((*t)->fd);
    nbi_array_free(&(*t)->record);
    nbi_free((*t)->path);
    nbi_free(*t);
    *t = NULL;
}
