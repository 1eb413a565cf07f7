/* SPDX-License-Identifier: MIT */
#include "train/identity.h"

#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/sha256.h"
#include "format/safetensors.h"

static nb_status join(const char *dir, const char *name, char **path, nb_error *err)
{
    *path = nbi_path_join(dir, name);
    return *path ? NB_OK : nbi_fail_nomem(err, "a path", strlen(dir));
}

/* The hash of a list of hashes, "" for an empty one. */
static nb_status close_list(nbi_strbuf *list, char hex[65], nb_error *err)
{
    hex[0] = 0;
    nb_status st = nbi_strbuf_check(list, err);
    if (st == NB_OK && list->n > 0)
        st = nbi_sha256_hex(list->s, list->n, hex, err);
    nbi_strbuf_free(list);
    return st;
}

/* ---- weights ---- */

static nb_status add_part(nbi_strbuf *list, const nbi_mapfile *f, size_t at, size_t n,
                          nb_error *err)
{
    char hex[65];
    NBI_TRY(nbi_sha256_hex(f->data + at, n, hex, err));
    nbi_mapfile_release(f->data + at, n);
    nbi_strbuf_printf(list, "%zu %s\n", at, hex);
    return NB_OK;
}

static nb_status add_weights(nbi_strbuf *list, const nbi_mapfile *f, nb_error *err)
{
    nbi_strbuf_printf(list, "%zu bytes\n", f->size);
    if (f->size <= NBI_WEIGHTS_WHOLE)
        return add_part(list, f, 0, f->size, err);
    const size_t last = f->size - NBI_WEIGHTS_PART, n = NBI_WEIGHTS_PARTS - 1;
    for (size_t i = 0; i <= n; i++)
        NBI_TRY(add_part(list, f, i == n ? last : last / n * i, NBI_WEIGHTS_PART, err));
    return nbi_mapfile_check(f, err);
}

static nb_status hash_weights(const char *dir, char hex[65], nb_error *err)
{
    nb_safetensors *st;
    nbi_strbuf list = {0};
    size_t n;
    NBI_TRY(nb_safetensors_open_dir(&st, dir, "model", err));
    const nbi_mapfile *f = nb_safetensors_files(st, &n);
    nb_status rc = NB_OK;
    for (size_t i = 0; i < n && rc == NB_OK; i++)
        rc = add_weights(&list, &f[i], err);
    nb_safetensors_close(&st);
    if (rc == NB_OK)
        return close_list(&list, hex, err);
    nbi_strbuf_free(&list);
    return rc;
}

/* ---- files ---- */

/* Appends name and hash of a file; one that is not there is left out. */
static nb_status add_file(nbi_strbuf *list, const char *dir, const char *name, nb_error *err)
{
    char *path, hex[65];
    NBI_TRY(join(dir, name, &path, err));
    nb_status st = nbi_path_exists(path) ? nbi_sha256_file(path, hex, err) : NB_OK;
    if (st == NB_OK && nbi_path_exists(path))
        nbi_strbuf_printf(list, "%s %s\n", name, hex);
    nbi_free(path);
    return st;
}

/* What decides how a text becomes ids. */
static nb_status hash_tokenizer(const char *dir, char hex[65], nb_error *err)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json",
                                        "special_tokens_map.json", "chat_template.jinja",
                                        "chat_template.json"};
    nbi_strbuf list = {0};
    nb_status st = NB_OK;
    for (size_t i = 0; i < sizeof names / sizeof *names && st == NB_OK; i++)
        st = add_file(&list, dir, names[i], err);
    if (st == NB_OK)
        return close_list(&list, hex, err);
    nbi_strbuf_free(&list);
    return st;
}

/* Of several sets the names count too. */
static nb_status hash_evals(const nbi_eval_sets *evals, char hex[65], nb_error *err)
{
    nbi_strbuf list = {0};
    if (evals->n == 1 && !evals->v[0].name) {
        memcpy(hex, evals->v[0].data->sha256, 65);
        return NB_OK;
    }
    for (size_t i = 0; i < evals->n; i++)
        nbi_strbuf_printf(&list, "%s %s\n", evals->v[i].name, evals->v[i].data->sha256);
    return close_list(&list, hex, err);
}

nb_status nbi_identity_make(nbi_identity *id, const nb_recipe *r, const char *model,
                            const nb_dataset *data, const nbi_eval_sets *evals, nb_error *err)
{
    char *config;
    *id = (nbi_identity){0};
    NBI_TRY(join(model, "config.json", &config, err));
    nb_status st = nbi_sha256_file(config, id->model_config, err);
    nbi_free(config);
    if (st == NB_OK)
        st = hash_weights(model, id->model_weights, err);
    if (st == NB_OK)
        st = hash_tokenizer(r->tokenizer ? r->tokenizer : model, id->tokenizer, err);
    if (st == NB_OK && r->sample_order)
        st = nbi_sha256_file(r->sample_order, id->sample_order, err);
    if (st != NB_OK)
        return st;
    memcpy(id->data, data->sha256, sizeof id->data);
    return r->eval_data ? hash_evals(evals, id->eval_data, err) : NB_OK;
}
