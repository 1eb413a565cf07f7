/* SPDX-License-Identifier: MIT */
/* safetensors files: validated completely before any use (formats page 2.1, safety page 2.2). */
#ifndef NB_SAFETENSORS_H
#define NB_SAFETENSORS_H

#include "base/mapfile.h"
#include "tensor/dtype.h"

#define NB_ST_MAX_RANK 8
#define NB_ST_MAX_HEADER 100000000u

/* One tensor of an open file; `data` points into the mapping (may be unaligned for its dtype). */
typedef struct nb_st_tensor {
    const char *name; /* NUL-terminated, owned by the file */
    nb_dtype dtype;
    int rank;
    int64_t shape[NB_ST_MAX_RANK];
    const void *data;
    size_t bytes;
    const char *path; /* file it lies in, for messages */
} nb_st_tensor;

/* A model's tensors: one file, or the shards of an index. */
typedef struct nb_safetensors nb_safetensors;

/* Opens one .safetensors file. NB_FORMAT names file, byte offset or tensor, found and expected. */
nb_status nb_safetensors_open(nb_safetensors **out, const char *path, nb_error *err) NB_MUST_CHECK;
/* Opens dir/<stem>.safetensors, else the shards named by dir/<stem>.safetensors.index.json (every
 * tensor where the index says, none missing). Pickle files without safetensors are refused
 * (NB_UNSUPPORTED) with a line on how to convert. stem: "model" or "adapter_model". */
nb_status nb_safetensors_open_dir(nb_safetensors **out, const char *dir, const char *stem,
                                  nb_error *err) NB_MUST_CHECK;
void nb_safetensors_close(nb_safetensors **st);
/* The *n files of the set; one, or the shards in order. */
const nbi_mapfile *nb_safetensors_files(const nb_safetensors *st, size_t *n);
size_t nb_safetensors_count(const nb_safetensors *st);
const nb_st_tensor *nb_safetensors_at(const nb_safetensors *st,
                                      size_t i); /* one array, file order */
const nb_st_tensor *nb_safetensors_find(const nb_safetensors *st, const char *name);
/* The tensors whose names start with `prefix` are nb_safetensors_named(st, *first) and on, *count
 * of them, in byte order of the names. */
void nb_safetensors_prefix(const nb_safetensors *st, const char *prefix, size_t *first,
                           size_t *count);
const nb_st_tensor *nb_safetensors_named(const nb_safetensors *st, size_t i); /* in name order */
/* Hint that the tensor is not read again soon: its pages leave this process (they are read from the
 * file again if need be). */
void nb_safetensors_release(const nb_safetensors *st, const nb_st_tensor *t);
/* The same for all tensors: also what fault-around mapped beside those that were read. */
void nb_safetensors_release_all(const nb_safetensors *st);
/* Value of __metadata__, NULL if absent. */
const char *nb_safetensors_metadata(const nb_safetensors *st, const char *key);
/* After reading: NB_IO when a file was changed or truncated meanwhile. */
nb_status nb_safetensors_check(const nb_safetensors *st, nb_error *err) NB_MUST_CHECK;
/* Element i of a dense float or integer tensor as f64; the caller checked i. */
double nb_st_value(const nb_st_tensor *t, int64_t i);
/* Converts elements [i0, i0+n) of a dense float tensor (F32, F16, BF16, F64) to f32. */
void nb_st_to_f32(const nb_st_tensor *t, int64_t i0, int64_t n, float *out);

/* ---- writing ---- */

/* A tensor to be written. `data` may be NULL when fill() makes it. */
typedef struct nb_st_entry {
    const char *name;
    nb_dtype dtype;
    int rank;
    int64_t shape[NB_ST_MAX_RANK];
    const void *data;
} nb_st_entry;

/* Writes a file with metadata {"format": "pt"}, tensors in the given order (names unique), through
 * base/safefile. `fill` (may be NULL) is called for entries without data: it streams elements
 * [i0, i0 + n) of entry e into buf. */
typedef nb_status nb_st_fill_fn(void *user, size_t e, int64_t i0, int64_t n, void *buf,
                                nb_error *err);
nb_status nb_safetensors_write(const char *path, const nb_st_entry *entries, size_t n,
                               nb_st_fill_fn *fill, void *user, nb_error *err) NB_MUST_CHECK;

#endif
