/* SPDX-License-Identifier: MIT */
#include "model/hub_cache.h"

#include <stdlib.h>
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/strbuf.h"

#define MAX_REF_BYTES 4096

/* Letters, digits, '-', '_', '.', but no name that starts with a dot: it becomes part of a path. */
static bool plain_part(const char *s, size_t n)
{
    if (n == 0 || n > 200 || s[0] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
        if (!ok)
            return false;
    }
    return true;
}

/* "name" or "org/name". */
static bool is_repository(const char *name)
{
    const char *slash = strchr(name, '/');
    if (!slash)
        return plain_part(name, strlen(name));
    return plain_part(name, (size_t)(slash - name)) && plain_part(slash + 1, strlen(slash + 1));
}

/* Branches may hold slashes ("refs/pr/1"). */
static bool is_revision(const char *s)
{
    for (;;) {
        size_t n = strcspn(s, "/");
        if (!plain_part(s, n))
            return false;
        if (s[n] == '\0')
            return true;
        s += n + 1;
    }
}

static const char *variable(const char *name)
{
    const char *v = getenv(name);
    return v && v[0] ? v : NULL;
}

/* The folder of all cached repositories; empty when there is no home either. */
static void put_cache(nbi_strbuf *b)
{
    const char *hub = variable("HF_HUB_CACHE"), *home = variable("HF_HOME");
    const char *xdg = variable("XDG_CACHE_HOME"), *user = variable("HOME");
    if (!hub)
        hub = variable("HUGGINGFACE_HUB_CACHE"); /* the older name */
    if (hub)
        nbi_strbuf_puts(b, hub);
    else if (home)
        nbi_strbuf_printf(b, "%s/hub", home);
    else if (xdg)
        nbi_strbuf_printf(b, "%s/huggingface/hub", xdg);
    else if (user)
        nbi_strbuf_printf(b, "%s/.cache/huggingface/hub", user);
}

static void put_repository(nbi_strbuf *b, const char *name)
{
    nbi_strbuf_puts(b, "/models--");
    for (; *name; name++)
        if (*name == '/')
            nbi_strbuf_puts(b, "--");
        else
            nbi_strbuf_putc(b, *name);
}

/* The commit that a branch or tag points to, from the file refs/<revision>. */
static nb_status read_ref(const char *path, char commit[64], nb_error *err)
{
    char *text = NULL;
    size_t n = 0;
    NBI_TRY(nbi_read_file(path, MAX_REF_BYTES, &text, &n, err));
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r' || text[n - 1] == ' '))
        n--;
    bool ok = n < 64 && plain_part(text, n);
    if (ok) {
        memcpy(commit, text, n);
        commit[n] = '\0';
    }
    nbi_free(text);
    return ok ? NB_OK : nbi_fail(err, NB_FORMAT, "%s: does not hold a commit", path);
}

/* repo: folder of the repository in the cache; becomes the folder of the snapshot. */
static nb_status find_snapshot(nbi_strbuf *repo, const char *revision, nb_error *err)
{
    char commit[64] = "";
    nbi_strbuf ref = {0};
    nbi_strbuf_printf(&ref, "%s/refs/%s", nbi_strbuf_str(repo), revision);
    nb_status s = nbi_strbuf_check(&ref, err);
    if (s == NB_OK && nbi_path_exists(ref.s) && !nbi_path_is_dir(ref.s))
        s = read_ref(ref.s, commit, err);
    nbi_strbuf_free(&ref);
    NBI_TRY(s);
    nbi_strbuf_printf(repo, "/snapshots/%s", commit[0] ? commit : revision);
    return nbi_strbuf_check(repo, err);
}

static nb_status search(const char *name, const char *revision, nbi_strbuf *b, nb_error *err)
{
    put_cache(b);
    if (b->n == 0)
        return nbi_fail(err, NB_NOTFOUND, "%s: no such folder", name);
    put_repository(b, name);
    NBI_TRY(nbi_strbuf_check(b, err));
    if (!nbi_path_is_dir(b->s))
        return nbi_fail(
            err, NB_NOTFOUND,
            "%s: no such folder, and not in the Hugging Face cache either (%s); download "
            "it first or give the folder",
            name, b->s);
    NBI_TRY(find_snapshot(b, revision, err));
    if (!nbi_path_is_dir(b->s))
        return nbi_fail(err, NB_NOTFOUND,
                        "%s: revision \"%s\" is not in the Hugging Face cache (%s)", name, revision,
                        b->s);
    return NB_OK;
}

nb_status nb_hub_resolve(const char *name, const char *revision, char **path, nb_error *err)
{
    nbi_strbuf b = {0};
    *path = NULL;
    if (!revision)
        revision = "main";
    nb_status s = NB_OK;
    if (nbi_path_is_dir(name))
        nbi_strbuf_puts(&b, name);
    else if (!is_repository(name))
        s = nbi_fail(err, NB_NOTFOUND, "%s: no such folder", name);
    else if (!is_revision(revision))
        s = nbi_fail(err, NB_CONFIG, "revision \"%s\" is no name of a branch, tag or commit",
                     revision);
    else
        s = search(name, revision, &b, err);
    if (s == NB_OK)
        s = nbi_strbuf_check(&b, err);
    if (s == NB_OK && !(*path = nbi_strdup(NBI_MEM_OTHER, b.s)))
        s = nbi_fail_nomem(err, "a path", b.n);
    nbi_strbuf_free(&b);
    return s;
}
