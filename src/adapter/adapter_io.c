/* SPDX-License-Identifier: MIT */
/* PEFT adapter folders. */
#include <math.h>
#include <string.h>
#include "adapter/adapter_priv.h"
#include "adapter/lora.h"
#include "base/fail.h"

const char *nbi_module_name(const nb_adapter *a, size_t i)
{
    const char *name = a->sites[i].site->name, *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static nb_status join(char **path, const char *dir, const char *name, nb_error *err)
{
    *path = nbi_path_join(dir, name);
    return *path ? NB_OK : nbi_fail_nomem(err, "a path", strlen(dir));
}

static nb_status read_config_file(const char *dir, nb_lora_config *config, nbi_strbuf *unknown,
                                  nb_error *err)
{
    char *path;
    NBI_TRY(join(&path, dir, NBI_ADAPTER_CONFIG, err));
    nb_status st = nbi_peft_config_read(path, config, unknown, err);
    if (st == NB_NOTFOUND)
        st = nbi_fail(err, NB_NOTFOUND,
                      "%s is no adapter folder: " NBI_ADAPTER_CONFIG " is missing", dir);
    nbi_free(path);
    return st;
}

static nb_status read_note_file(const char *dir, nb_adapter_note *note, nb_error *err)
{
    char *path;
    *note = (nb_adapter_note){0};
    NBI_TRY(join(&path, dir, NBI_ADAPTER_NOTE, err));
    nb_status st = nbi_path_exists(path) ? nbi_adapter_note_read(path, note, err) : NB_OK;
    nbi_free(path);
    return st;
}

nb_status nb_adapter_read_config(const char *dir, nb_lora_config *config, nb_adapter_note *note,
                                 nb_error *err)
{
    nb_lora_config local;
    NBI_TRY(read_config_file(dir, config ? config : &local, NULL, err));
    if (!config)
        nb_lora_config_free(&local);
    nb_status st = note ? read_note_file(dir, note, err) : NB_OK;
    if (st != NB_OK && config)
        nb_lora_config_free(config);
    return st;
}

/* ---- loading ---- */

static nb_status check_tensor(const nb_st_tensor *t, const nb_param *p, nb_error *err)
{
    if (!nb_dtype_is_dense_float(t->dtype))
        return nbi_fail(err, NB_FORMAT, "%s: %s is %s, expected F32, F16 or BF16", t->path, t->name,
                        nb_dtype_name(t->dtype));
    if (t->rank != 2 || t->shape[0] != p->shape[0] || t->shape[1] != p->shape[1])
        return nbi_fail(err, NB_MISMATCH,
                        "%s: %s has shape [%lld%s%lld], expected [%lld, %lld] for this model and "
                        "adapter_config.json",
                        t->path, t->name, t->rank > 0 ? (long long)t->shape[0] : 0LL,
                        t->rank == 2  ? ", "
                        : t->rank > 2 ? ", ..., "
                                      : " / ",
                        t->rank > 1 ? (long long)t->shape[t->rank - 1] : 0LL,
                        (long long)p->shape[0], (long long)p->shape[1]);
    return NB_OK;
}

static nb_param *param_by_name(const nb_adapter *a, const char *name)
{
    for (size_t i = 0; i < a->params.n; i++)
        if (strcmp(a->params.v[i]->name, name) == 0)
            return a->params.v[i];
    return NULL;
}

static nb_status fail_unused(const nb_adapter *a, const nb_st_tensor *t, nb_error *err)
{
    if (strncmp(t->name, NBI_PEFT_PREFIX, strlen(NBI_PEFT_PREFIX)) != 0)
        return nbi_fail(err, NB_FORMAT,
                        "%s: tensor %s is not named as PEFT does (" NBI_PEFT_PREFIX "...)", t->path,
                        t->name);
    if (strstr(t->name, "lora_embedding_") || strstr(t->name, ".base_layer.") ||
        strstr(t->name, "lora_magnitude_vector"))
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: tensor %s: adapters of embeddings, biases and magnitudes are not "
                        "supported",
                        t->path, t->name);
    return nbi_fail(err, NB_MISMATCH,
                    "%s: tensor %s belongs to no target module of this model (%zu targets found)",
                    t->path, t->name, a->n_sites);
}

static nb_status load_tensors(nb_adapter *a, const nb_safetensors *st, const char *dir,
                              nb_error *err)
{
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        nb_param *p = param_by_name(a, t->name);
        if (!p)
            return fail_unused(a, t, err);
        NBI_TRY(check_tensor(t, p, err));
        nb_st_to_f32(t, 0, p->n, p->value);
        for (int64_t j = 0; j < p->n; j++)
            if (!isfinite(p->value[j]))
                return nbi_fail(err, NB_NUMERIC, "%s: %s element %lld is not finite", t->path,
                                t->name, (long long)j);
    }
    for (size_t i = 0; i < a->params.n; i++)
        if (!nb_safetensors_find(st, a->params.v[i]->name))
            return nbi_fail(err, NB_MISMATCH, "%s: tensor %s is missing from the adapter", dir,
                            a->params.v[i]->name);
    return nb_safetensors_check(st, err);
}

nb_status nb_adapter_load(nb_adapter **out, nb_model *m, const char *dir, uint64_t seed,
                          bool trainable, const nb_log *log, nb_error *err)
{
    nb_lora_config config;
    nb_safetensors *st = NULL;
    nbi_strbuf unknown = {0};
    *out = NULL;
    nb_status rc = read_config_file(dir, &config, &unknown, err);
    if (rc == NB_OK) {
        if (unknown.n)
            nbi_log(log, NB_LOG_NOTE, "%s: keys of adapter_config.json that are not used: %s", dir,
                    nbi_strbuf_str(&unknown));
        rc = nbi_adapter_build(out, m, &config, seed, trainable, false, err);
        nb_lora_config_free(&config);
    }
    nbi_strbuf_free(&unknown);
    if (rc == NB_OK)
        rc = nb_safetensors_open_dir(&st, dir, "adapter_model", err);
    if (rc == NB_OK)
        rc = load_tensors(*out, st, dir, err);
    nb_safetensors_close(&st);
    if (rc != NB_OK)
        nb_adapter_close(out);
    return rc;
}

/* ---- saving ---- */

static nb_status write_weights(const nb_adapter *a, const char *path, nb_error *err)
{
    nb_st_entry *e = nbi_calloc(NBI_MEM_IO, a->params.n, sizeof(*e));
    if (!e)
        return nbi_fail_nomem(err, "the list of adapter tensors", a->params.n * sizeof(*e));
    for (size_t i = 0; i < a->params.n; i++) {
        const nb_param *p = a->params.v[i];
        e[i] = (nb_st_entry){p->name, NB_DT_F32, 2, {p->shape[0], p->shape[1]}, p->value};
    }
    nb_status st = nb_safetensors_write(path, e, a->params.n, NULL, NULL, err);
    nbi_free(e);
    return st;
}

/* Compares one tensor of the file with the matrix in memory, bit by bit. */
static nb_status verify_tensor(const nb_param *p, const nb_st_tensor *t, nb_error *err)
{
    float part[1024];
    NBI_TRY(check_tensor(t, p, err));
    for (int64_t i0 = 0; i0 < p->n; i0 += 1024) {
        int64_t n = p->n - i0 < 1024 ? p->n - i0 : 1024;
        nb_st_to_f32(t, i0, n, part);
        if (memcmp(part, p->value + i0, (size_t)n * sizeof(*part)) != 0)
            return nbi_fail(err, NB_IO, "%s: %s reads back differently from what was written",
                            t->path, t->name);
    }
    return NB_OK;
}

static nb_status verify_tensors(const nb_adapter *a, const nb_safetensors *st, nb_error *err)
{
    if (nb_safetensors_count(st) != a->params.n)
        return nbi_fail(err, NB_IO, "the saved adapter holds %zu tensors, expected %zu",
                        nb_safetensors_count(st), a->params.n);
    for (size_t i = 0; i < a->params.n; i++) {
        const nb_st_tensor *t = nb_safetensors_find(st, a->params.v[i]->name);
        if (!t)
            return nbi_fail(err, NB_IO, "the saved adapter lacks tensor %s", a->params.v[i]->name);
        NBI_TRY(verify_tensor(a->params.v[i], t, err));
        nb_safetensors_release(st, t);
    }
    return nb_safetensors_check(st, err);
}

/* Re-opens what was written, as any reader would. */
static nb_status verify(const nb_adapter *a, const char *dir, nb_error *err)
{
    nb_lora_config c;
    nb_adapter_note note;
    nb_safetensors *st = NULL;
    NBI_TRY(nb_adapter_read_config(dir, &c, &note, err));
    bool same = c.r == a->config.r && c.alpha == a->config.alpha && c.rslora == a->config.rslora &&
                c.rank_pattern.n == a->config.rank_pattern.n &&
                c.alpha_pattern.n == a->config.alpha_pattern.n;
    nb_lora_config_free(&c);
    nb_adapter_note_free(&note);
    if (!same)
        return nbi_fail(err, NB_IO, "%s/" NBI_ADAPTER_CONFIG " reads back differently", dir);
    nb_status rc = nb_safetensors_open_dir(&st, dir, "adapter_model", err);
    if (rc == NB_OK)
        rc = verify_tensors(a, st, err);
    nb_safetensors_close(&st);
    return rc;
}

/* Finite everywhere, and the B matrices not all zero after a training. */
static nb_status check_values(const nb_adapter *a, bool trained, nb_error *err)
{
    bool moved = false;
    for (size_t i = 0; i < a->params.n; i++)
        for (int64_t j = 0; j < a->params.v[i]->n; j++)
            if (!isfinite(a->params.v[i]->value[j]))
                return nbi_fail(err, NB_NUMERIC,
                                "adapter tensor %s holds numbers that are not "
                                "finite; nothing is saved",
                                a->params.v[i]->name);
    for (size_t i = 0; i < a->n_sites && !moved; i++)
        for (int64_t j = 0; j < a->sites[i].b->n && !moved; j++)
            moved = a->sites[i].b->value[j] != 0;
    if (trained && !moved)
        return nbi_fail(err, NB_INTERNAL,
                        "every B matrix of the trained adapter is zero: it would "
                        "change nothing, so it is not saved");
    return NB_OK;
}

nb_status nb_adapter_save(const nb_adapter *a, const nb_adapter_note *note, const char *into,
                          bool trained, nb_error *err)
{
    char *config = NULL, *weights = NULL, *extra = NULL;
    nb_status st = check_values(a, trained, err);
    if (st == NB_OK)
        st = join(&config, into, NBI_ADAPTER_CONFIG, err);
    if (st == NB_OK)
        st = join(&weights, into, NBI_ADAPTER_WEIGHTS, err);
    if (st == NB_OK)
        st = join(&extra, into, NBI_ADAPTER_NOTE, err);
    if (st == NB_OK)
        st = write_weights(a, weights, err);
    if (st == NB_OK)
        st = nbi_peft_config_write(a, config, err);
    if (st == NB_OK)
        st = nbi_adapter_note_write(note, extra, err);
    if (st == NB_OK)
        st = verify(a, into, err);
    nbi_free(config);
    nbi_free(weights);
    nbi_free(extra);
    return st;
}
