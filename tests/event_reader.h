/* SPDX-License-Identifier: MIT */
/* Reads TensorBoard event files in tests, every checksum looked at. Include after testutil.h. */
#ifndef NBT_EVENT_READER_H
#define NBT_EVENT_READER_H

#include "train/event_proto.h"
#include "train/tensorboard.h"

typedef struct event_scalar {
    char tag[96];
    double wall_time;
    int64_t step;
    float value;
} event_scalar;

typedef struct event_scalars {
    event_scalar v[2000];
    size_t n, texts, files, folders;
    int64_t started; /* step of the last session mark */
} event_scalars;

static uint64_t get_le(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

static void take_event(event_scalars *s, const nbi_pb_event *e)
{
    if (e->session_log) {
        assert_int_equal(e->session_log->status, NBI_PB_SESSION_START);
        s->started = e->step;
    }
    for (size_t i = 0; e->summary && i < e->summary->n_value; i++) {
        const nbi_pb_value *v = e->summary->value[i];
        if (v->tensor) {
            assert_int_equal(v->tensor->dtype, NBI_PB_DT_STRING);
            assert_string_equal(v->metadata->plugin_data->plugin_name, "text");
            s->texts++;
            continue;
        }
        assert_true(v->has_simple_value && s->n < 2000);
        event_scalar *to = &s->v[s->n++];
        snprintf(to->tag, sizeof to->tag, "%s", v->tag);
        to->wall_time = e->wall_time;
        to->step = e->step;
        to->value = v->simple_value;
    }
}

/* Appends the numbers of one file. */
NBT_UNUSED static void read_events(event_scalars *s, const char *path)
{
    size_t n;
    char *text = nbt_read(path, &n);
    const uint8_t *p = (const uint8_t *)text;
    for (size_t at = 0, i = 0; at < n; i++) {
        assert_true(n - at >= 16);
        size_t len = get_le(p + at, 8);
        assert_true(len <= n - at - 16);
        assert_int_equal(nbi_tensorboard_crc(p + at, 8), get_le(p + at + 8, 4));
        assert_int_equal(nbi_tensorboard_crc(p + at + 12, len), get_le(p + at + 12 + len, 4));
        ProtobufCMessage *m = protobuf_c_message_unpack(&nbi_pb_event_type, NULL, len, p + at + 12);
        assert_non_null(m);
        const nbi_pb_event *e = (const nbi_pb_event *)m;
        assert_string_equal(e->file_version, i == 0 ? "brain.Event:2" : "");
        assert_true(e->wall_time > 1.6e9);
        take_event(s, e);
        protobuf_c_message_free_unpacked(m, NULL);
        at += 16 + len;
    }
    s->files++;
    nbi_free(text);
}

/* All files of output_dir/runs, by name. */
NBT_UNUSED static event_scalars read_run_events(const char *output_dir)
{
    nb_error err = {0};
    event_scalars s = {.n = 0};
    char *runs = nbt_join(output_dir, "runs"), **dirs, **files;
    size_t n_dirs, n_files;
    NBT_OK(nbi_list_dir(runs, &dirs, &n_dirs, &err));
    for (size_t i = 0; i < n_dirs; i++) {
        char *dir = nbt_join(runs, dirs[i]);
        NBT_OK(nbi_list_dir(dir, &files, &n_files, &err));
        for (size_t j = 0; j < n_files; j++) {
            char *path = nbt_join(dir, files[j]);
            read_events(&s, path);
            nbi_free(path);
        }
        nbi_list_dir_free(files, n_files);
        nbi_free(dir);
    }
    s.folders = n_dirs;
    nbi_list_dir_free(dirs, n_dirs);
    nbi_free(runs);
    return s;
}

#endif
