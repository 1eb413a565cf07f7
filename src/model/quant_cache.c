/* SPDX-License-Identifier: MIT */
#include "model/quant_cache.h"

#include <stdlib.h>
#include <string.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/json.h"
#include "base/safefile.h"
#include "base/sha256.h"
#include "base/strbuf.h"
#include "model/quantise.h"
#include "model/weights.h"

#define SHORT_HASH 16 /* digits in a name */
#define MAX_NOTE 65536

/* ---- hashes of mapped files ---- */

/* out: the hash of the hashes of all pieces; the file's pages leave memory behind the work. */
static nb_status hash_file(const nb_model *m, const nbi_mapfile *f, char out[65], nb_error *err)
{
    const int threads = m->exec.q->threads;
    size_t n = (f->size + NBI_QUANT_CACHE_PIECE - 1) / NBI_QUANT_CACHE_PIECE;
    char(*hex)[65] = nbi_calloc(NBI_MEM_IO, n + 1, sizeof *hex);
    if (!hex)
        return nbi_fail_nomem(err, "a hash", n * sizeof *hex);
    nb_status st = NB_OK;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (size_t i = 0; i < n; i++) {
        nb_error mine = {0};
        size_t at = i * NBI_QUANT_CACHE_PIECE,
               len = f->size - at < NBI_QUANT_CACHE_PIECE ? f->size - at : NBI_QUANT_CACHE_PIECE;
        nb_status s = nbi_model_polled(m, &mine);
        if (s == NB_OK)
            s = nbi_sha256_hex(f->data + at, len, hex[i], &mine);
        nbi_mapfile_release(f->data + at, len);
        if (s != NB_OK) {
#pragma omp critical(nbi_quant_cache_hash)
            {
                st = s;
                *err = mine;
            }
        }
    }
    if (st == NB_OK)
        st = nbi_sha256_hex(hex, n * sizeof *hex, out, err);
    nbi_free(hex);
    return st == NB_OK ? nbi_mapfile_check(f, err) : st;
}

static nb_status hash_source(const nb_model *m, char out[65], nb_error *err)
{
    nbi_strbuf all = {0};
    size_t n;
    const nbi_mapfile *f = nb_safetensors_files(m->files, &n);
    nb_status st = NB_OK;
    for (size_t i = 0; i < n && st == NB_OK; i++) {
        char hex[65];
        st = hash_file(m, &f[i], hex, err);
        nbi_strbuf_printf(&all, "%s\n", hex);
    }
    if (st == NB_OK)
        st = nbi_strbuf_check(&all, err);
    if (st == NB_OK)
        st = nbi_sha256_hex(all.s, all.n, out, err);
    nbi_strbuf_free(&all);
    return st;
}

/* ---- identity by place, size and time ---- */

static long long time_of(const struct stat *st)
{
    return (long long)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static nb_status place_key(const nb_model *m, char out[65], nb_error *err)
{
    nbi_strbuf b = {0};
    size_t n;
    const nbi_mapfile *f = nb_safetensors_files(m->files, &n);
    for (size_t i = 0; i < n; i++) {
        struct stat st;
        if (nbi_io_stat(f[i].path, &st) != 0) {
            nbi_strbuf_free(&b);
            return nbi_fail(err, NB_IO, "%s: file changed while reading", f[i].path);
        }
        char *full = realpath(f[i].path, NULL);
        nbi_strbuf_printf(&b, "%s %lld %lld %llu\n", full ? full : f[i].path, (long long)st.st_size,
                          time_of(&st), (unsigned long long)st.st_ino);
        free(full); /* from the C library */
    }
    nb_status s = nbi_strbuf_check(&b, err);
    if (s == NB_OK)
        s = nbi_sha256_hex(b.s, b.n, out, err);
    nbi_strbuf_free(&b);
    return s;
}

static bool is_hash(const char *s, size_t n)
{
    return n >= 64 && strspn(s, "0123456789abcdef") == 64;
}

/* The source's hash: noted for these files, or computed and noted. */
static nb_status source_hash(const nb_model *m, const char *cache, char out[65], nb_error *err)
{
    char key[65], *text = NULL;
    size_t n = 0;
    nb_error ignored;
    NBI_TRY(place_key(m, key, err));
    nbi_strbuf path = {0};
    nbi_strbuf_printf(&path, "%s/%.*s.source", cache, SHORT_HASH, key);
    nb_status s = nbi_strbuf_check(&path, err);
    if (s == NB_OK && nbi_path_exists(path.s) &&
        nbi_read_file(path.s, MAX_NOTE, &text, &n, &ignored) == NB_OK && is_hash(text, n)) {
        memcpy(out, text, 64);
        out[64] = '\0';
    } else if (s == NB_OK) {
        s = hash_source(m, out, err);
        /* a cache that cannot be written is said when the weights are */
        if (s == NB_OK && nbi_make_dirs(cache, &ignored) == NB_OK)
            (void)!nbi_write_file(path.s, out, 64, &ignored);
    }
    nbi_free(text);
    nbi_strbuf_free(&path);
    return s;
}

/* ---- entries ---- */

typedef struct entry {
    const nb_model *m;
    const char *source; /* hash */
    char *folder, *weights, *note;
} entry;

static nb_status entry_paths(entry *e, const char *cache, nb_error *err)
{
    const nb_quant_config *q = &e->m->quant;
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s/%.*s-%s-%lld", cache, SHORT_HASH, e->source, nb_qkind_name(q->kind),
                      (long long)q->block);
    if (q->double_quant)
        nbi_strbuf_printf(&b, "-dq%lld", (long long)q->nested_block);
    NBI_TRY(nbi_strbuf_check(&b, err));
    e->folder = b.s;
    e->weights = nbi_path_join(b.s, "model.safetensors");
    e->note = nbi_path_join(b.s, "cache.json");
    return e->weights && e->note ? NB_OK : nbi_fail_nomem(err, "a path", b.n);
}

static nb_status read_note(const entry *e, const char **hash, int64_t *bytes, int64_t *time,
                           nbi_arena *arena, nb_error *err)
{
    nbi_json *doc = NULL;
    const char *source = NULL;
    NBI_TRY(nbi_json_parse_file(arena, e->note, MAX_NOTE, &doc, err));
    if (doc->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: is not a JSON object", e->note);
    NBI_TRY(nbi_json_get_str(doc, e->note, "source", &source, err));
    NBI_TRY(nbi_json_get_str(doc, e->note, "weights_hash", hash, err));
    NBI_TRY(nbi_json_get_i64(doc, e->note, "weights_bytes", 0, INT64_MAX, bytes, err));
    NBI_TRY(nbi_json_get_i64(doc, e->note, "weights_time", INT64_MIN, INT64_MAX, time, err));
    if (!source || strcmp(source, e->source) != 0)
        return nbi_fail(err, NB_MISMATCH, "%s: was made from another model", e->folder);
    return *hash ? NB_OK : nbi_fail(err, NB_FORMAT, "%s: lacks weights_hash", e->note);
}

/* NB_OK when the entry can be used. */
static nb_status check_entry(const entry *e, nb_error *err)
{
    nbi_arena arena;
    const char *hash = NULL;
    int64_t bytes = 0, time = 0;
    struct stat st;
    nb_safetensors *file = NULL;
    char now[65];
    nbi_arena_init(&arena, NBI_MEM_IO);
    nb_status s = read_note(e, &hash, &bytes, &time, &arena, err);
    if (s == NB_OK)
        s = nb_safetensors_open(&file, e->weights, err);
    if (s == NB_OK && (nbi_io_stat(e->weights, &st) != 0 || st.st_size != bytes))
        s = nbi_fail(err, NB_FORMAT, "%s: is not %lld bytes long", e->weights, (long long)bytes);
    if (s == NB_OK && time_of(&st) != time) {
        size_t n;
        s = hash_file(e->m, nb_safetensors_files(file, &n), now, err);
        if (s == NB_OK && strcmp(now, hash) != 0)
            s = nbi_fail(err, NB_FORMAT, "%s: differs from what was written", e->weights);
    }
    nb_safetensors_close(&file);
    nbi_arena_free(&arena);
    return s;
}

static nb_status write_note(const entry *e, const char *into, nb_error *err)
{
    nb_safetensors *file = NULL;
    struct stat st = {0};
    char hash[65];
    size_t n;
    nbi_strbuf b = {0};
    char *weights = nbi_path_join(into, "model.safetensors");
    char *note = nbi_path_join(into, "cache.json");
    nb_status s = weights && note ? nb_safetensors_open(&file, weights, err)
                                  : nbi_fail_nomem(err, "a path", strlen(into));
    if (s == NB_OK)
        s = hash_file(e->m, nb_safetensors_files(file, &n), hash, err);
    if (s == NB_OK && nbi_io_stat(weights, &st) != 0)
        s = nbi_fail(err, NB_IO, "%s: cannot read", weights);
    if (s == NB_OK) {
        nbi_strbuf_printf(&b,
                          "{\"source\": \"%s\", \"weights_hash\": \"%s\", \"weights_bytes\": "
                          "%lld, \"weights_time\": %lld}\n",
                          e->source, hash, (long long)st.st_size, time_of(&st));
        s = nbi_strbuf_check(&b, err);
    }
    if (s == NB_OK)
        s = nbi_write_file(note, b.s, b.n, err);
    nb_safetensors_close(&file);
    nbi_strbuf_free(&b);
    nbi_free(weights);
    nbi_free(note);
    return s;
}

static nb_status make_entry(nb_model *m, const entry *e, nb_error *err)
{
    nbi_safedir d = {0};
    NBI_TRY(nbi_safedir_create(&d, e->folder, err));
    nb_status s = nbi_quantise_folder(m, d.tmp, err);
    if (s == NB_OK)
        s = write_note(e, d.tmp, err);
    if (s == NB_OK)
        return nbi_safedir_commit(&d, err);
    nbi_safedir_abort(&d);
    return s;
}

static nb_status use_entry(nb_model *m, const entry *e, bool *usable, const nb_log *log,
                           nb_error *err)
{
    nb_error why = {0};
    *usable = nbi_path_exists(e->folder) && check_entry(e, &why) == NB_OK;
    if (*usable)
        return NB_OK;
    if (why.code == NB_OK)
        nbi_log(log, NB_LOG_INFO, "quantized_cache: keeping the 4-bit weights in %s", e->folder);
    else
        nbi_log(log, NB_LOG_WARN, "quantized_cache: made again: %s", why.message);
    nb_status s = make_entry(m, e, &why);
    *usable = s == NB_OK;
    if (s == NB_IO || s == NB_LIMIT || s == NB_BUSY || s == NB_NOTFOUND) {
        nbi_log(log, NB_LOG_WARN, "quantized_cache: not used: %s", why.message);
        return nb_safetensors_check(m->files, err);
    }
    if (s != NB_OK)
        *err = why;
    return s;
}

nb_status nbi_quant_cache_find(nb_model *m, const char *cache, char **folder, const nb_log *log,
                               nb_error *err)
{
    char hash[65];
    entry e = {.m = m, .source = hash};
    bool usable = false;
    *folder = NULL;
    NBI_TRY(source_hash(m, cache, hash, err));
    nb_status s = entry_paths(&e, cache, err);
    if (s == NB_OK)
        s = use_entry(m, &e, &usable, log, err);
    if (s == NB_OK && usable) {
        *folder = e.folder;
        e.folder = NULL;
    }
    nbi_free(e.folder);
    nbi_free(e.weights);
    nbi_free(e.note);
    return s;
}
