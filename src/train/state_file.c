/* SPDX-License-Identifier: MIT */
#include "train/state_file.h"

#include <math.h>
#include <string.h>
#include "base/arena.h"
#include "base/fail.h"
#include "base/strbuf.h"

/* Elements that are read at once; their pages leave memory behind the work. */
#define PIECE ((int64_t)1 << 18)

static nb_status join(const char *dir, const char *name, char **path, nb_error *err)
{
    *path = nbi_path_join(dir, name);
    return *path ? NB_OK : nbi_fail_nomem(err, "a path", strlen(dir));
}

static nb_status state_name(char **out, const nb_param *p, const nb_optim_state *s, nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s.%s", p->name, s->name);
    *out = b.s;
    if (!b.failed)
        return NB_OK;
    nbi_strbuf_free(&b);
    return nbi_fail_nomem(err, "the name of a tensor", strlen(p->name));
}

static int64_t state_count(const nb_param *p, const nb_optim_state *s)
{
    return (p->n + s->block - 1) / s->block;
}

/* ---- the optimizer, out ---- */

typedef struct writer {
    const nb_optim *o;
    nbi_arena names;
    NBI_ARRAY(nb_st_entry) entries;
    NBI_ARRAY(uint64_t) which; /* parameter << 8 | state */
} writer;

static nb_status fill(void *user, size_t e, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    const writer *w = user;
    (void)err;
    nb_optim_get_part(w->o, (size_t)(w->which.v[e] >> 8), (int)(w->which.v[e] & 255), i0, n, buf);
    return NB_OK;
}

static nb_status add_state(writer *w, size_t i, int j, const nb_optim_state *s, nb_error *err)
{
    const nb_param *p = w->o->params->v[i];
    char *name;
    NBI_TRY(state_name(&name, p, s, err));
    nb_st_entry e = {.name = nbi_arena_strndup(&w->names, name, strlen(name)),
                     .dtype = s->dtype,
                     .rank = 1,
                     .shape = {state_count(p, s)}};
    nbi_free(name);
    if (!e.name || !nbi_array_push(&w->entries, e) ||
        !nbi_array_push(&w->which, (uint64_t)i << 8 | (uint64_t)j))
        return nbi_fail_nomem(err, "the list of tensors", sizeof e);
    return NB_OK;
}

nb_status nbi_state_write_optim(const nb_optim *o, const char *dir, nb_error *err)
{
    writer w = {.o = o};
    char *path;
    NBI_TRY(join(dir, NBI_OPTIM_FILE, &path, err));
    nb_status st = NB_OK;
    nbi_arena_init(&w.names, NBI_MEM_IO);
    for (size_t i = 0; i < o->params->n && st == NB_OK; i++) {
        const nb_optim_state *s = nb_optim_states(o, i);
        for (int j = 0; s[j].name && st == NB_OK; j++)
            st = add_state(&w, i, j, &s[j], err);
    }
    if (st == NB_OK)
        st = nb_safetensors_write(path, w.entries.v, w.entries.n, fill, &w, err);
    nbi_array_free(&w.entries);
    nbi_array_free(&w.which);
    nbi_arena_free(&w.names);
    nbi_free(path);
    return st;
}

/* ---- the optimizer, in ---- */

static nb_status check_state(const nb_st_tensor *t, const char *name, const nb_optim_state *s,
                             int64_t n, const char *path, nb_error *err)
{
    if (!t)
        return nbi_fail(err, NB_MISMATCH, "%s: tensor %s is missing", path, name);
    if (t->dtype != s->dtype || t->rank != 1 || t->shape[0] != n)
        return nbi_fail(err, NB_MISMATCH, "%s: tensor %s is %s with %lld values, expected %s, %lld",
                        path, name, nb_dtype_name(t->dtype),
                        t->rank == 1 ? (long long)t->shape[0] : -1LL, nb_dtype_name(s->dtype),
                        (long long)n);
    return NB_OK;
}

static nb_status read_state(nb_optim *o, const nb_safetensors *st, size_t i, int j,
                            const char *path, nb_error *err)
{
    const nb_optim_state *s = &nb_optim_states(o, i)[j];
    const int64_t n = state_count(o->params->v[i], s);
    char *name;
    NBI_TRY(state_name(&name, o->params->v[i], s, err));
    const nb_st_tensor *t = nb_safetensors_find(st, name);
    nb_status rc = check_state(t, name, s, n, path, err);
    nbi_free(name);
    for (int64_t at = 0; rc == NB_OK && at < n; at += PIECE) {
        const int64_t k = n - at < PIECE ? n - at : PIECE;
        const void *from = nb_elem(t->data, t->dtype, at);
        nb_optim_set_part(o, i, j, at, k, from);
        nbi_mapfile_release(from, (size_t)k * nb_dtype_size(t->dtype));
    }
    return rc;
}

nb_status nbi_state_read_optim(nb_optim *o, const char *dir, nb_error *err)
{
    nb_safetensors *st = NULL;
    char *path;
    NBI_TRY(join(dir, NBI_OPTIM_FILE, &path, err));
    nb_status rc = nb_safetensors_open(&st, path, err);
    for (size_t i = 0; rc == NB_OK && i < o->params->n; i++)
        for (int j = 0; rc == NB_OK && nb_optim_states(o, i)[j].name; j++)
            rc = read_state(o, st, i, j, path, err);
    if (rc == NB_OK)
        rc = nb_safetensors_check(st, err);
    nb_safetensors_close(&st);
    nbi_free(path);
    return rc;
}

/* ---- values ---- */

nb_status nbi_state_write_master(const nb_param_list *params, const char *dir, nb_error *err)
{
    char *path;
    NBI_TRY(join(dir, NBI_MASTER_FILE, &path, err));
    nb_st_entry *e = nbi_calloc(NBI_MEM_IO, params->n, sizeof *e);
    nb_status st = e ? NB_OK : nbi_fail_nomem(err, "the list of tensors", params->n * sizeof *e);
    for (size_t i = 0; st == NB_OK && i < params->n; i++) {
        const nb_param *p = params->v[i];
        e[i] = (nb_st_entry){p->name, NB_DT_F32, p->rank, {p->shape[0], p->shape[1]}, p->value};
    }
    if (st == NB_OK)
        st = nb_safetensors_write(path, e, params->n, NULL, NULL, err);
    nbi_free(e);
    nbi_free(path);
    return st;
}

static nb_status read_value(const nb_param *p, const nb_safetensors *st, const char *path,
                            nb_error *err)
{
    const nb_st_tensor *t = nb_safetensors_find(st, p->name);
    if (!t)
        return nbi_fail(err, NB_MISMATCH, "%s: tensor %s is missing", path, p->name);
    if (t->dtype != NB_DT_F32 || t->bytes != (size_t)p->n * sizeof(float))
        return nbi_fail(err, NB_MISMATCH, "%s: tensor %s is %s with %zu bytes, expected F32, %zu",
                        path, t->name, nb_dtype_name(t->dtype), t->bytes,
                        (size_t)p->n * sizeof(float));
    for (int64_t at = 0; at < p->n; at += PIECE) {
        const int64_t k = p->n - at < PIECE ? p->n - at : PIECE;
        const void *from = nb_elem(t->data, t->dtype, at);
        memcpy(p->value + at, from, (size_t)k * sizeof(float));
        nbi_mapfile_release(from, (size_t)k * sizeof(float));
    }
    for (int64_t j = 0; j < p->n; j++)
        if (!isfinite(p->value[j]))
            return nbi_fail(err, NB_NUMERIC, "%s: %s element %lld is not finite", path, t->name,
                            (long long)j);
    return NB_OK;
}

nb_status nbi_state_read_values(const nb_param_list *params, const char *dir, const char *file,
                                nb_error *err)
{
    nb_safetensors *st = NULL;
    char *path;
    NBI_TRY(join(dir, file, &path, err));
    nb_status rc = nb_safetensors_open(&st, path, err);
    for (size_t i = 0; rc == NB_OK && i < params->n; i++)
        rc = read_value(params->v[i], st, path, err);
    if (rc == NB_OK)
        rc = nb_safetensors_check(st, err);
    nb_safetensors_close(&st);
    nbi_free(path);
    return rc;
}
