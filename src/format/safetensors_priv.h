/* SPDX-License-Identifier: MIT */
/* Inside of the safetensors reader, shared by its files. */
#ifndef NBI_SAFETENSORS_PRIV_H
#define NBI_SAFETENSORS_PRIV_H

#include "base/arena.h"
#include "format/safetensors.h"

typedef struct nbi_st_meta {
    const char *key, *value;
} nbi_st_meta;

struct nb_safetensors {
    nbi_mapfile *files;
    size_t n_files;
    nb_st_tensor *tensors; /* file by file, by offset inside one */
    size_t n, cap;
    size_t *by_name; /* indices in strcmp order of the names */
    nbi_st_meta *meta;
    size_t n_meta, cap_meta;
    nbi_arena arena; /* names and metadata */
};

/* An empty set of tensors with room for n_files files. */
nb_status nbi_st_new(nb_safetensors **out, size_t n_files, nb_error *err) NB_MUST_CHECK;
/* Opens one file, validates it completely and appends its tensors. */
nb_status nbi_st_add_file(nb_safetensors *st, const char *path, nb_error *err) NB_MUST_CHECK;
/* Sorts the names; a name in two places is NB_FORMAT. Lookups work from here on. */
nb_status nbi_st_finish(nb_safetensors *st, nb_error *err) NB_MUST_CHECK;
/* Parses the header of st->files[f] (N bytes of JSON) into st->tensors. */
nb_status nbi_st_header(nb_safetensors *st, size_t f, size_t header, nb_error *err) NB_MUST_CHECK;

/* Stable merge sort of v[n]; tmp[n]. less(ctx, a, b): element a goes before b. */
typedef int nbi_st_cmp(const nb_st_tensor *a, const nb_st_tensor *b);
void nbi_st_sort(size_t *v, size_t *tmp, size_t n, const nb_st_tensor *t, nbi_st_cmp *cmp);

#endif
