/* SPDX-License-Identifier: MIT */
/* A model of random weights from a config.json. */
#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/rng.h"
#include "base/safefile.h"
#include "model/dense.h"
#include "model/layout.h"
#include "model/weights.h"

typedef enum init_kind { INIT_NORMAL, INIT_ONE, INIT_ZERO } init_kind;

typedef struct maker {
    nb_dtype dtype;
    uint64_t seed;
    double deviation;
    nbi_arena names;
    NBI_ARRAY(nb_st_entry) entries;
    NBI_ARRAY(init_kind) kinds;
    nbi_rng rng; /* of the entry being written; entries are filled from front to back */
} maker;

static nb_status add_entry(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    maker *k = user;
    init_kind kind = s->bias ? INIT_ZERO : nbi_part_is_norm(s->part) ? INIT_ONE : INIT_NORMAL;
    nb_st_entry e = {.name = nbi_arena_strndup(&k->names, s->name, strlen(s->name)),
                     .dtype = k->dtype,
                     .rank = s->rank,
                     .shape = {s->shape[0], s->shape[1]}};
    if (!e.name || !nbi_array_push(&k->entries, e) || !nbi_array_push(&k->kinds, kind))
        return nbi_fail_nomem(err, "the list of tensors", sizeof e);
    return NB_OK;
}

/* FNV-1a, 64 bits: a tensor's values depend on its name, not on its place. */
static uint64_t name_stream(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

static nb_status fill(void *user, size_t e, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    enum { STEP = 4096 };
    float v[STEP];
    maker *k = user;
    size_t size = nb_dtype_size(k->dtype);
    (void)err;
    if (i0 == 0)
        nbi_rng_init(&k->rng, k->seed, NBI_RNG_INIT, name_stream(k->entries.v[e].name));
    for (int64_t i = 0; i < n; i += STEP) {
        int64_t m = n - i < STEP ? n - i : STEP;
        for (int64_t j = 0; j < m; j++)
            v[j] = k->kinds.v[e] == INIT_NORMAL ? (float)(k->deviation * nbi_rng_normal(&k->rng))
                   : k->kinds.v[e] == INIT_ONE  ? 1.0f
                                                : 0.0f;
        nbi_dense_from_f32(k->dtype, v, m, (unsigned char *)buf + (size_t)i * size);
    }
    return NB_OK;
}

static nb_status write_weights(const nb_model_config *c, const char *path, uint64_t seed,
                               nb_dtype dtype, nb_error *err)
{
    maker k = {.dtype = dtype, .seed = seed, .deviation = c->initializer_range};
    nbi_arena_init(&k.names, NBI_MEM_IO);
    nb_status s = nbi_layout_walk(c, add_entry, &k, err);
    if (s == NB_OK)
        s = nb_safetensors_write(path, k.entries.v, k.entries.n, fill, &k, err);
    nbi_array_free(&k.entries);
    nbi_array_free(&k.kinds);
    nbi_arena_free(&k.names);
    return s;
}

static nb_status write_folder(const nb_model_config *c, const char *from, const char *into,
                              uint64_t seed, nb_dtype dtype, nb_error *err)
{
    char *config = nbi_path_join(into, "config.json");
    char *weights = nbi_path_join(into, "model.safetensors");
    nb_status s = config && weights ? NB_OK : nbi_fail_nomem(err, "a path", strlen(into));
    if (s == NB_OK)
        s = nb_config_write(c, dtype, config, err);
    if (s == NB_OK)
        s = write_weights(c, weights, seed, dtype, err);
    if (s == NB_OK)
        s = nbi_model_copy_settings(from, into, err);
    nbi_free(config);
    nbi_free(weights);
    return s;
}

/* A folder that holds something is never replaced by random numbers. */
static nb_status check_target(const char *dir, nb_error *err)
{
    char **names = NULL;
    size_t n = 0;
    if (!nbi_path_exists(dir))
        return NB_OK;
    if (!nbi_path_is_dir(dir))
        return nbi_fail(err, NB_CONFIG, "%s: exists and is not a folder; choose another name", dir);
    NBI_TRY(nbi_list_dir(dir, &names, &n, err));
    nbi_list_dir_free(names, n);
    return n == 0 ? NB_OK
                  : nbi_fail(err, NB_CONFIG, "%s: exists and is not empty; choose another folder",
                             dir);
}

static nb_status make(const nb_model_config *c, const char *config_path, const char *dir,
                      uint64_t seed, nb_dtype dtype, nb_error *err)
{
    nbi_safedir d = {0};
    const char *slash = strrchr(config_path, '/');
    size_t len = slash ? (size_t)(slash - config_path) : 1;
    if (c->has_quant)
        return nbi_fail(
            err, NB_CONFIG,
            "%s: has a quantization_config; random weights are made in 16 or 32 bits, so "
            "remove it",
            config_path);
    if (!nb_dtype_is_dense_float(dtype))
        return nbi_fail(err, NB_CONFIG, "weights cannot be made as %s", nb_dtype_torch(dtype));
    NBI_TRY(check_target(dir, err));
    char *from = nbi_strndup(NBI_MEM_OTHER, slash ? config_path : ".", slash && len == 0 ? 1 : len);
    nb_status s = from ? nbi_safedir_create(&d, dir, err) : nbi_fail_nomem(err, "a path", len);
    if (s == NB_OK) {
        s = write_folder(c, from, d.tmp, seed, dtype, err);
        if (s == NB_OK)
            s = nbi_safedir_commit(&d, err);
        else
            nbi_safedir_abort(&d);
    }
    nbi_free(from);
    return s;
}

nb_status nb_model_init(const char *config_path, const char *dir, uint64_t seed, nb_dtype dtype,
                        nb_error *err)
{
    nb_model_config c;
    NBI_TRY(nb_config_read_file(&c, config_path, err));
    nb_status s = make(&c, config_path, dir, seed, dtype, err);
    nb_config_free(&c);
    return s;
}
