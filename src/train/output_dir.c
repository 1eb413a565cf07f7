/* SPDX-License-Identifier: MIT */
/* The output folder: its lock, what an earlier run left in it, and leaving no trace of a run that
 * failed before it made anything. */
#include <string.h>
#include "base/fail.h"
#include "base/io.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "train/publish.h"
#include "train/resume.h"

#define LOG_MAX (256u << 20)

/* What the settings in the first line of train_log.jsonl say. */
static nbi_earlier method_of(const char *text)
{
    nbi_earlier found = NBI_EARLIER_NONE;
    nbi_arena arena;
    nbi_json *line;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    if (nbi_json_parse(&arena, "train_log.jsonl", text, strcspn(text, "\n"), &line, NULL) ==
        NB_OK) {
        const nbi_json *method = nbi_json_get(nbi_json_get(line, "settings"), "method");
        if (!nbi_json_is_null(method))
            found = nbi_json_equals(method, "full") ? NBI_EARLIER_FULL : NBI_EARLIER_ADAPTER;
    }
    nbi_arena_free(&arena);
    return found;
}

/* A log that is absent or no longer legible tells nothing; that is no failure. */
static nbi_earlier find_earlier(const char *dir)
{
    nbi_earlier found = NBI_EARLIER_NONE;
    char *path = nbi_path_join(dir, "train_log.jsonl"), *text = NULL;
    size_t n;
    if (path && nbi_path_exists(path) && nbi_read_file(path, LOG_MAX, &text, &n, NULL) == NB_OK)
        found = method_of(text);
    nbi_free(text);
    nbi_free(path);
    return found;
}

/* Of a run that begins afresh. */
static nb_status say_checkpoints(const nbi_run *run, nb_error *err)
{
    nbi_steps all = {0};
    nb_status st = nbi_checkpoints_list(run->r->output_dir, &all, err);
    if (st == NB_OK && all.n > 0)
        nbi_log(
            run->log, NB_LOG_NOTE,
            "%s holds %zu checkpoint%s of an earlier run (checkpoint-%lld%s): left as they are; "
            "save_total_limit counts only those of this run",
            run->r->output_dir, all.n, all.n > 1 ? "s" : "", (long long)all.v[0],
            all.n > 1 ? ", ..." : "");
    nbi_array_free(&all);
    return st;
}

/* What a killed process left half done; the lock is ours, so nobody is at work there. */
static void clean(const char *dir)
{
    nbi_publish_recover(dir);
    nbi_clean_temporaries(dir);
}

nb_status nbi_output_open(nbi_run *run, nb_error *err)
{
    const char *dir = run->r->output_dir;
    run->created = !nbi_path_exists(dir);
    nb_status st = nbi_make_dirs(dir, err);
    if (st == NB_OK)
        st = nbi_dirlock_take(dir, &run->lock, err);
    if (st != NB_OK) {
        run->lock = -1;
        if (run->created)
            (void)nbi_io_rmdir(dir); /* fails when something is in it */
        return nbi_fail_prefix(err, st, "output_dir");
    }
    if (run->created)
        return NB_OK;
    clean(dir);
    run->earlier = find_earlier(dir);
    return run->r->resume ? NB_OK : say_checkpoints(run, err);
}

/* Nothing but the lock is in the folder that this run made. */
static void remove_empty(const nbi_run *run)
{
    char **names;
    size_t n;
    if (nbi_list_dir(run->r->output_dir, &names, &n, NULL) != NB_OK)
        return;
    if (n == 1 && strcmp(names[0], ".lock") == 0) {
        char *lock = nbi_path_join(run->r->output_dir, ".lock");
        if (lock && nbi_io_unlink(lock) == 0)
            (void)nbi_io_rmdir(run->r->output_dir);
        nbi_free(lock);
    }
    nbi_list_dir_free(names, n);
}

void nbi_output_close(nbi_run *run)
{
    if (run->lock < 0)
        return;
    if (run->created && run->at.step == 0)
        remove_empty(run);
    nbi_dirlock_release(run->lock);
    run->lock = -1;
}

/* ---- the other kind of result ---- */

/* The file that makes the folder loadable comes first, so that it never speaks for missing ones. */
static const char *const full_files[] = {"config.json", "generation_config.json",
                                         "model.safetensors", NULL};
static const char *const adapter_files[] = {"adapter_config.json", "adapter_model.safetensors",
                                            "nibble.json", NULL};

static bool same_folder(const char *a, const char *b)
{
    struct stat x, y;
    return nbi_io_stat(a, &x) == 0 && nbi_io_stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

/* Only what an earlier run made goes, and never the model this run was based on. */
static bool may_remove(const nbi_run *run)
{
    return run->earlier == (run->full ? NBI_EARLIER_ADAPTER : NBI_EARLIER_FULL) &&
           !same_folder(run->r->output_dir, run->parts.dir) &&
           (!run->r->init_adapter || !same_folder(run->r->output_dir, run->r->init_adapter));
}

/* Appends the name when such a file is (or was) there. */
static bool treat(const char *dir, const char *name, bool remove, nbi_strbuf *said)
{
    char *path = nbi_path_join(dir, name);
    bool there = path && nbi_path_exists(path);
    bool ok = there && (!remove || nbi_io_unlink(path) == 0);
    nbi_free(path);
    if (ok)
        nbi_strbuf_printf(said, "%s%s", said->n ? ", " : "", name);
    return ok || !there;
}

void nbi_output_clear_other(const nbi_run *run)
{
    const char *dir = run->r->output_dir;
    const char *const *names = run->full ? adapter_files : full_files;
    bool remove = may_remove(run), ok = true;
    nbi_strbuf said = {0};
    for (size_t i = 0; ok && names[i]; i++)
        ok = treat(dir, names[i], remove, &said);
    if (said.n && remove)
        nbi_log(run->log, NB_LOG_NOTE, "%s: removed %s of an earlier run (%s)", dir,
                nbi_strbuf_str(&said), run->full ? "an adapter" : "full fine-tuning");
    else if (said.n)
        nbi_log(run->log, NB_LOG_WARN, "%s: %s %s not of this run and stay%s beside its %s", dir,
                nbi_strbuf_str(&said), strchr(nbi_strbuf_str(&said), ',') ? "are" : "is",
                strchr(nbi_strbuf_str(&said), ',') ? "" : "s", run->full ? "model" : "adapter");
    if (!ok)
        nbi_log(run->log, NB_LOG_WARN, "%s: files of an earlier run could not be removed", dir);
    nbi_strbuf_free(&said);
}
