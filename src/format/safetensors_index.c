/* SPDX-License-Identifier: MIT */
/* Folders: one file, or the shards that an index names. */
#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/strmap.h"
#include "format/safetensors_priv.h"

#define MAX_INDEX_BYTES (64u << 20)
#define MAX_SHARDS 4096

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n > m && strcmp(s + n - m, suffix) == 0;
}

static bool starts_with(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* Weights in Python's pickle format; training state beside them does not count. */
static bool is_pickle_name(const char *s)
{
    static const char *const suffixes[] = {".bin", ".pt", ".pth", ".ckpt", ".pkl"};
    static const char *const others[] = {"training_args", "optimizer", "scheduler", "rng_state",
                                         "scaler"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (starts_with(s, others[i]))
            return false;
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (ends_with(s, suffixes[i]))
            return true;
    return false;
}

static nb_status nothing_found(const char *dir, const char *stem, nb_error *err)
{
    char **names = NULL;
    size_t n = 0;
    if (!nbi_path_is_dir(dir))
        return nbi_fail(err, NB_NOTFOUND, "%s: no such folder", dir);
    NBI_TRY(nbi_list_dir(dir, &names, &n, err));
    nb_status s = NB_OK;
    for (size_t i = 0; i < n && s == NB_OK; i++)
        if (is_pickle_name(names[i]))
            s = nbi_fail(
                err, NB_UNSUPPORTED,
                "%s/%s: pickle files can run code and are never read; convert the folder in "
                "Python with from_pretrained(...) and save_pretrained(..., "
                "safe_serialization=True)",
                dir, names[i]);
    nbi_list_dir_free(names, n);
    if (s != NB_OK)
        return s;
    return nbi_fail(err, NB_NOTFOUND,
                    "%s: holds neither %s.safetensors nor %s.safetensors.index.json", dir, stem,
                    stem);
}

/* A shard is a plain file of the same folder: an index cannot reach other places. */
static bool plain_name(const char *s, size_t len)
{
    if (len != strlen(s) || len > 255 || s[0] == '.' || strchr(s, '/') || strchr(s, '\\'))
        return false;
    return ends_with(s, ".safetensors");
}

typedef struct shard_list {
    NBI_ARRAY(const char *) names; /* texts of the document */
    nbi_strmap seen;               /* name -> place */
} shard_list;

static nb_status collect_shards(const nbi_json *map, const char *path, shard_list *list,
                                nb_error *err)
{
    for (const nbi_json *m = map->first; m; m = m->next) {
        const char *s;
        size_t len;
        bool existed = false;
        if (m->type != NBI_JT_STRING || !nbi_json_to_str(m, &s, &len) || !plain_name(s, len))
            return nbi_fail(err, NB_FORMAT,
                            "%s: byte %zu: weight_map of \"%s\" must be the name of a .safetensors "
                            "file in the same folder",
                            path, m->offset, m->key);
        if (nbi_strmap_get(&list->seen, s, len, NULL))
            continue;
        if (list->names.n == MAX_SHARDS)
            return nbi_fail(err, NB_LIMIT, "%s: more than %d shards", path, MAX_SHARDS);
        if (!nbi_strmap_put(&list->seen, s, len, (int64_t)list->names.n, &existed) ||
            !nbi_array_push(&list->names, s))
            return nbi_fail_nomem(err, "the list of shards", len);
    }
    if (list->names.n == 0)
        return nbi_fail(err, NB_FORMAT, "%s: weight_map is empty", path);
    return NB_OK;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Every tensor lies where the index says, none is missing, none is more. listed[st->n] zeroed. */
static nb_status check_index(const nb_safetensors *st, const nbi_json *map, const char *path,
                             unsigned char *listed, nb_error *err)
{
    for (const nbi_json *m = map->first; m; m = m->next) {
        const nb_st_tensor *t = nb_safetensors_find(st, m->key);
        if (!t)
            return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\" is not in %s", path, m->key,
                            m->text);
        if (strcmp(base_name(t->path), m->text) != 0)
            return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\" should be in %s, but lies in %s",
                            path, m->key, m->text, base_name(t->path));
        listed[t - st->tensors] = 1;
    }
    for (size_t i = 0; i < st->n; i++)
        if (!listed[i])
            return nbi_fail(err, NB_FORMAT, "%s: tensor \"%s\" of %s is not in the index", path,
                            st->tensors[i].name, base_name(st->tensors[i].path));
    return NB_OK;
}

static nb_status open_shards(nb_safetensors **out, const char *dir, const shard_list *list,
                             nb_error *err)
{
    NBI_TRY(nbi_st_new(out, list->names.n, err));
    for (size_t i = 0; i < list->names.n; i++) {
        char *path = nbi_path_join(dir, list->names.v[i]);
        if (!path)
            return nbi_fail_nomem(err, "a path", strlen(dir));
        nb_status s = nbi_st_add_file(*out, path, err);
        nbi_free(path);
        NBI_TRY(s);
    }
    return nbi_st_finish(*out, err);
}

static nb_status open_index(nb_safetensors **out, const char *dir, const char *path, nb_error *err)
{
    nbi_arena arena;
    nbi_json *doc = NULL;
    shard_list list = {0};
    unsigned char *listed = NULL;
    nbi_arena_init(&arena, NBI_MEM_IO);
    nb_status st = NB_OK;
    NBI_TRY_GOTO(nbi_json_parse_file(&arena, path, MAX_INDEX_BYTES, &doc, err), done);
    const nbi_json *map = nbi_json_get(doc, "weight_map");
    if (!map || map->type != NBI_JT_OBJECT) {
        st = nbi_fail(err, NB_FORMAT, "%s: lacks the object weight_map", path);
        goto done;
    }
    NBI_TRY_GOTO(collect_shards(map, path, &list, err), done);
    NBI_TRY_GOTO(open_shards(out, dir, &list, err), done);
    listed = nbi_calloc(NBI_MEM_IO, (*out)->n + 1, 1);
    st = listed ? check_index(*out, map, path, listed, err)
                : nbi_fail_nomem(err, "the list of tensors", (*out)->n);
done:
    if (st != NB_OK)
        nb_safetensors_close(out);
    nbi_free(listed);
    nbi_array_free(&list.names);
    nbi_strmap_free(&list.seen);
    nbi_arena_free(&arena);
    return st;
}

nb_status nb_safetensors_open_dir(nb_safetensors **out, const char *dir, const char *stem,
                                  nb_error *err)
{
    *out = NULL;
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s/%s.safetensors", dir, stem);
    nb_status s = nbi_strbuf_check(&b, err);
    if (s == NB_OK && nbi_path_exists(b.s)) {
        s = nb_safetensors_open(out, b.s, err);
    } else if (s == NB_OK) {
        nbi_strbuf_puts(&b, ".index.json");
        s = nbi_strbuf_check(&b, err);
        if (s == NB_OK)
            s = nbi_path_exists(b.s) ? open_index(out, dir, b.s, err)
                                     : nothing_found(dir, stem, err);
    }
    nbi_strbuf_free(&b);
    return s;
}
