/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "model/dense.h"
#include "model/layout.h"
#include "model/weights.h"

/* A tensor on its way out. */
typedef struct source {
    nb_dtype dtype;
    const void *data;
} source;

typedef struct saver {
    nb_model *m;
    nb_dtype dtype;
    nbi_arena names;
    NBI_ARRAY(nb_st_entry) entries;
    NBI_ARRAY(source) sources;
} saver;

static source find_source(nb_model *m, const nbi_tensor_spec *s)
{
    float **grad;
    if (s->part == NBI_PART_EMBED)
        return (source){m->embed_dtype, m->embed};
    if (nbi_part_is_norm(s->part))
        return (source){NB_DT_F32, *nbi_model_norm(m, s->part, s->layer, &grad)};
    const nb_linear *l = nbi_model_linear(m, s->part, s->layer);
    if (s->bias)
        return (source){NB_DT_F32, l->bias};
    return (source){l->w.dtype, l->w.kind == NB_QK_DENSE ? l->w.data : NULL};
}

static nb_status add_entry(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    saver *v = user;
    source src = find_source(v->m, s);
    if (!src.data)
        return nbi_fail(
            err, NB_UNSUPPORTED,
            "%s: tensor \"%s\" is quantised; only models with 16- or 32-bit weights can be "
            "saved",
            v->m->dir, s->name);
    nb_st_entry e = {.name = nbi_arena_strndup(&v->names, s->name, strlen(s->name)),
                     .dtype = v->dtype,
                     .rank = s->rank,
                     .shape = {s->shape[0], s->shape[1]}};
    if (!e.name || !nbi_array_push(&v->entries, e) || !nbi_array_push(&v->sources, src))
        return nbi_fail_nomem(err, "the list of tensors", sizeof e);
    return NB_OK;
}

/* Never writes NaN or infinity: a saved model is one that can be used. */
static nb_status fill(void *user, size_t e, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    enum { STEP = 4096 };
    float v[STEP];
    const saver *s = user;
    size_t size = nb_dtype_size(s->dtype);
    for (int64_t i = 0; i < n; i += STEP) {
        int64_t m = n - i < STEP ? n - i : STEP;
        void *out = (unsigned char *)buf + (size_t)i * size;
        nbi_dense_to_f32(s->sources.v[e].dtype, s->sources.v[e].data, i0 + i, m, v);
        nbi_dense_from_f32(s->dtype, v, m, out);
        int64_t bad = nbi_dense_find_nonfinite(s->dtype, out, m);
        if (bad >= 0)
            return nbi_fail(
                err, NB_NUMERIC, "tensor \"%s\", element %lld: %s; the model is not saved",
                s->entries.v[e].name, (long long)(i0 + i + bad),
                isfinite(v[bad]) ? "too large for the chosen dtype" : "NaN or infinity");
    }
    return NB_OK;
}

static nb_status write_weights(const nb_model *m, const char *path, nb_dtype dtype, nb_error *err)
{
    /* the model is only read; the walk shares its helpers with the loader, which writes */
    saver v = {.m = (nb_model *)(uintptr_t)m, .dtype = dtype};
    nbi_arena_init(&v.names, NBI_MEM_IO);
    nb_status s = nbi_layout_walk(&m->config, add_entry, &v, err);
    if (s == NB_OK)
        s = nb_safetensors_write(path, v.entries.v, v.entries.n, fill, &v, err);
    nbi_array_free(&v.entries);
    nbi_array_free(&v.sources);
    nbi_arena_free(&v.names);
    /* frozen weights come from the mapping: they must have been whole */
    return s == NB_OK ? nb_safetensors_check(m->files, err) : s;
}

/* Copies a file that may be absent. */
static nb_status copy_if_there(const char *from, const char *into, const char *name, nb_error *err)
{
    char *a = nbi_path_join(from, name), *b = nbi_path_join(into, name);
    nb_status s = NB_OK;
    if (!a || !b)
        s = nbi_fail_nomem(err, "a path", strlen(from));
    else if (nbi_path_exists(a) && !nbi_path_is_dir(a))
        s = nbi_copy_file(a, b, err);
    nbi_free(a);
    nbi_free(b);
    return s;
}

nb_status nb_model_copy_tokenizer(const char *from, const char *into, nb_error *err)
{
    static const char *const names[] = {"tokenizer.json",    "tokenizer_config.json",
                                        "tokenizer.model",   "special_tokens_map.json",
                                        "added_tokens.json", "vocab.json",
                                        "merges.txt",        "chat_template.jinja",
                                        "chat_template.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        NBI_TRY(copy_if_there(from, into, names[i], err));
    return NB_OK;
}

nb_status nbi_model_copy_settings(const char *from, const char *into, nb_error *err)
{
    NBI_TRY(copy_if_there(from, into, "generation_config.json", err));
    return nb_model_copy_tokenizer(from, into, err);
}

nb_status nb_model_save(const nb_model *m, const char *into, nb_dtype dtype, nb_error *err)
{
    if (!nb_dtype_is_dense_float(dtype))
        return nbi_fail(err, NB_CONFIG, "a model cannot be saved as %s", nb_dtype_torch(dtype));
    char *config = nbi_path_join(into, "config.json");
    char *weights = nbi_path_join(into, "model.safetensors");
    nb_status s = config && weights ? NB_OK : nbi_fail_nomem(err, "a path", strlen(into));
    if (s == NB_OK)
        s = write_weights(m, weights, dtype, err);
    if (s == NB_OK)
        s = nb_config_write(&m->config, dtype, config, err);
    if (s == NB_OK)
        s = nbi_model_copy_settings(m->dir, into, err);
    nbi_free(config);
    nbi_free(weights);
    return s;
}
