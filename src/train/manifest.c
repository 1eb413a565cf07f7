/* SPDX-License-Identifier: MIT */
#include "train/manifest.h"

#include <string.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/json.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "base/sha256.h"

#define FORMAT 1
#define MAX_BYTES ((size_t)4 << 20)
/* How the text ends: the hash of what comes before it. */
#define TAIL_BEGIN ", \"sha256\": \""
#define TAIL_END "\"}\n"
enum { TAIL = sizeof(TAIL_BEGIN) - 1 + 64 + sizeof(TAIL_END) - 1 };

static nb_status join(const char *dir, const char *name, char **path, nb_error *err)
{
    *path = nbi_path_join(dir, name);
    return *path ? NB_OK : nbi_fail_nomem(err, "a path", strlen(dir));
}

/* ---- writing ---- */

static nb_status add_file(nbi_json_writer *w, const char *dir, const char *name, nb_error *err)
{
    char *path, hex[65];
    struct stat info;
    NBI_TRY(join(dir, name, &path, err));
    nb_status st = nbi_sha256_file(path, hex, err);
    if (st == NB_OK && nbi_io_stat(path, &info) != 0)
        st = nbi_fail(err, NB_IO, "%s: cannot read", path);
    if (st == NB_OK) {
        nbi_jw_object(w);
        nbi_jw_member_str(w, "name", name);
        nbi_jw_member_i64(w, "bytes", (int64_t)info.st_size);
        nbi_jw_member_str(w, "sha256", hex);
        nbi_jw_object_end(w);
    }
    nbi_free(path);
    return st;
}

static nb_status list_files(nbi_json_writer *w, const char *dir, nb_error *err)
{
    char **names;
    size_t n;
    NBI_TRY(nbi_list_dir(dir, &names, &n, err));
    nb_status st = NB_OK;
    nbi_jw_object(w);
    nbi_jw_member_i64(w, "format", FORMAT);
    nbi_jw_key(w, "files");
    nbi_jw_array(w);
    for (size_t i = 0; i < n && st == NB_OK; i++)
        st = add_file(w, dir, names[i], err);
    nbi_jw_array_end(w);
    nbi_list_dir_free(names, n);
    return st;
}

static nb_status write_text(const char *dir, nbi_strbuf *text, nb_error *err)
{
    char hex[65], *path;
    NBI_TRY(nbi_strbuf_check(text, err));
    NBI_TRY(nbi_sha256_hex(text->s, text->n, hex, err));
    nbi_strbuf_printf(text, TAIL_BEGIN "%s" TAIL_END, hex);
    NBI_TRY(nbi_strbuf_check(text, err));
    NBI_TRY(join(dir, NBI_MANIFEST, &path, err));
    nb_status st = nbi_write_file(path, text->s, text->n, err);
    nbi_free(path);
    return st;
}

nb_status nbi_manifest_write(const char *dir, nb_error *err)
{
    nbi_strbuf text = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &text, 0, true);
    nb_status st = list_files(&w, dir, err);
    if (st == NB_OK)
        st = write_text(dir, &text, err);
    nbi_strbuf_free(&text);
    return st;
}

/* ---- checking ---- */

static nb_status damaged(const char *path, nb_error *err)
{
    return nbi_fail(err, NB_FORMAT, "%s: damaged", path);
}

/* The list is what was written. */
static nb_status check_self(const char *path, const char *text, size_t n, nb_error *err)
{
    char hex[65];
    if (n <= TAIL || memcmp(text + n - TAIL, TAIL_BEGIN, sizeof(TAIL_BEGIN) - 1) != 0 ||
        strcmp(text + n - sizeof(TAIL_END) + 1, TAIL_END) != 0)
        return damaged(path, err);
    NBI_TRY(nbi_sha256_hex(text, n - TAIL, hex, err));
    if (memcmp(hex, text + n - TAIL + sizeof(TAIL_BEGIN) - 1, 64) != 0)
        return damaged(path, err);
    return NB_OK;
}

static nb_status check_content(const char *path, int64_t bytes, const char *sha256, nb_error *err)
{
    struct stat info;
    char hex[65];
    if (nbi_io_stat(path, &info) != 0)
        return nbi_fail(err, NB_FORMAT, "%s: is missing", path);
    if (info.st_size != bytes)
        return nbi_fail(err, NB_FORMAT, "%s: has %lld bytes, %lld were written", path,
                        (long long)info.st_size, (long long)bytes);
    NBI_TRY(nbi_sha256_file(path, hex, err));
    if (strcmp(hex, sha256) != 0)
        return nbi_fail(err, NB_FORMAT, "%s: differs from what was written", path);
    return NB_OK;
}

static nb_status check_file(const char *dir, const nbi_json *e, const char *where, nb_error *err)
{
    const char *name = NULL, *sha256 = NULL;
    int64_t bytes = -1;
    char *path;
    if (e->type != NBI_JT_OBJECT)
        return damaged(where, err);
    NBI_TRY(nbi_json_get_str(e, where, "name", &name, err));
    NBI_TRY(nbi_json_get_str(e, where, "sha256", &sha256, err));
    NBI_TRY(nbi_json_get_i64(e, where, "bytes", 0, INT64_MAX, &bytes, err));
    if (!name || !sha256 || bytes < 0 || strchr(name, '/'))
        return damaged(where, err);
    NBI_TRY(join(dir, name, &path, err));
    nb_status st = check_content(path, bytes, sha256, err);
    nbi_free(path);
    return st;
}

static nb_status check_list(const char *dir, const char *path, const char *text, size_t n,
                            nb_error *err)
{
    nbi_arena arena;
    nbi_json *doc;
    int64_t format = 0;
    NBI_TRY(check_self(path, text, n, err));
    nbi_arena_init(&arena, NBI_MEM_IO);
    nb_status st = nbi_json_parse(&arena, path, text, n, &doc, err);
    if (st == NB_OK && doc->type != NBI_JT_OBJECT)
        st = damaged(path, err);
    if (st == NB_OK)
        st = nbi_json_get_i64(doc, path, "format", 0, INT64_MAX, &format, err);
    if (st == NB_OK && format != FORMAT)
        st = nbi_fail(err, NB_UNSUPPORTED,
                      "%s: format %lld, expected %d: made by another version of nibble", path,
                      (long long)format, FORMAT);
    const nbi_json *files = st == NB_OK ? nbi_json_get(doc, "files") : NULL;
    if (st == NB_OK && (!files || files->type != NBI_JT_ARRAY || files->n == 0))
        st = damaged(path, err);
    for (const nbi_json *e = st == NB_OK ? files->first : NULL; e && st == NB_OK; e = e->next)
        st = check_file(dir, e, path, err);
    nbi_arena_free(&arena);
    return st;
}

nb_status nbi_manifest_check(const char *dir, nb_error *err)
{
    char *path, *text = NULL;
    size_t n = 0;
    NBI_TRY(join(dir, NBI_MANIFEST, &path, err));
    nb_status st = nbi_path_exists(path)
                       ? nbi_read_file(path, MAX_BYTES, &text, &n, err)
                       : nbi_fail(err, NB_FORMAT, "%s: " NBI_MANIFEST " is missing", dir);
    if (st == NB_OK)
        st = check_list(dir, path, text, n, err);
    nbi_free(text);
    nbi_free(path);
    return st;
}
