/* SPDX-License-Identifier: MIT */
#include "train/resume.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include "base/checked.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/sha256.h"
#include "train/manifest.h"
#include "train/run_state.h"
#include "train/state_file.h"
#include "train/trainer_state.h"

#define CHECKPOINT "checkpoint-"
#define KEY "resume_from_checkpoint"

/* ---- names ---- */

char *nbi_checkpoint_path(const char *dir, int64_t step)
{
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s/" CHECKPOINT "%lld", dir, (long long)step);
    if (!b.failed)
        return b.s;
    nbi_strbuf_free(&b);
    return NULL;
}

/* Only as nbi_checkpoint_path writes it. */
static bool step_of(const char *name, int64_t *step)
{
    const size_t n = strlen(CHECKPOINT);
    uint64_t v;
    if (strncmp(name, CHECKPOINT, n) != 0 || !nbi_parse_u64(name + n, strlen(name + n), &v) ||
        v > INT64_MAX || (name[n] == '0' && name[n + 1]))
        return false;
    *step = (int64_t)v;
    return true;
}

static void insert(nbi_steps *s, int64_t step)
{
    size_t i = s->n++;
    for (; i > 0 && s->v[i - 1] > step; i--)
        s->v[i] = s->v[i - 1];
    s->v[i] = step;
}

nb_status nbi_checkpoints_list(const char *dir, nbi_steps *out, nb_error *err)
{
    char **names;
    size_t n;
    int64_t step;
    nb_status st = NB_OK;
    NBI_TRY(nbi_list_dir(dir, &names, &n, err));
    for (size_t i = 0; i < n && st == NB_OK; i++) {
        if (!step_of(names[i], &step))
            continue;
        if (nbi_array_reserve(out, 1))
            insert(out, step);
        else
            st = nbi_fail_nomem(err, "the list of checkpoints", sizeof step);
    }
    nbi_list_dir_free(names, n);
    return st;
}

/* ---- finding ---- */

/* Reads the folder through; its state is in run->resume afterwards. */
static nb_status take(nbi_run *run, const char *dir, nb_error *err)
{
    nbi_resume *r = &run->resume;
    nbi_progress at;
    nbi_arena_free(&r->arena);
    NBI_TRY(nbi_manifest_check(dir, err));
    NBI_TRY(nbi_run_state_read(dir, &r->arena, &r->state, err));
    NBI_TRY(nbi_run_state_progress(r->state, &at, err));
    r->step = at.step;
    r->dir = nbi_strdup(NBI_MEM_OTHER, dir);
    return r->dir ? NB_OK : nbi_fail_nomem(err, "a path", strlen(dir));
}

/* A disk that cannot read a checkpoint has damaged it as well. */
static bool is_damage(nb_status st)
{
    return st == NB_FORMAT || st == NB_IO || st == NB_NOTFOUND || st == NB_LIMIT;
}

static nb_status none_intact(const char *dir, size_t n, const nb_error *newest, nb_error *err)
{
    return nbi_fail(err, NB_FORMAT,
                    KEY ": none of the %zu checkpoint%s in %s is whole (the newest: %.400s); "
                        "nothing was changed. Leave the key out to begin again",
                    n, n > 1 ? "s" : "", dir, newest->message);
}

static nb_status take_newest(nbi_run *run, const char *dir, const nbi_steps *all, nb_error *err)
{
    nb_error newest = {0}, why = {0};
    for (size_t i = all->n; i-- > 0;) {
        char *path = nbi_checkpoint_path(dir, all->v[i]);
        if (!path)
            return nbi_fail_nomem(err, "a path", strlen(dir));
        nb_status st = take(run, path, &why);
        nbi_free(path);
        if (st == NB_OK)
            return NB_OK;
        if (!is_damage(st)) {
            if (err)
                *err = why;
            return st;
        }
        nbi_log(run->log, NB_LOG_WARN, CHECKPOINT "%lld is not whole and not used: %s",
                (long long)all->v[i], why.message);
        if (i + 1 == all->n)
            newest = why;
    }
    return none_intact(dir, all->n, &newest, err);
}

/* The newest one of an output folder. */
static nb_status find_in(nbi_run *run, const char *dir, bool required, nb_error *err)
{
    nbi_steps all = {0};
    nb_status st = nbi_checkpoints_list(dir, &all, err);
    if (st == NB_OK && all.n > 0)
        st = take_newest(run, dir, &all, err);
    else if (st == NB_OK && required)
        st = nbi_fail(err, NB_NOTFOUND, KEY ": %s is no checkpoint and holds none", dir);
    else if (st == NB_OK)
        nbi_log(run->log, NB_LOG_NOTE, KEY ": no checkpoint in %s; the run begins afresh", dir);
    nbi_array_free(&all);
    return st;
}

static bool is_checkpoint(const char *dir)
{
    int64_t step;
    char *manifest = nbi_path_join(dir, NBI_MANIFEST), *state = nbi_path_join(dir, NBI_RUN_STATE);
    const char *slash = strrchr(dir, '/');
    bool yes = (manifest && nbi_path_exists(manifest)) || (state && nbi_path_exists(state)) ||
               step_of(slash ? slash + 1 : dir, &step);
    nbi_free(manifest);
    nbi_free(state);
    return yes;
}

static nb_status find_path(nbi_run *run, const char *given, nb_error *err)
{
    size_t n = strlen(given);
    while (n > 1 && given[n - 1] == '/')
        n--;
    char *dir = nbi_strndup(NBI_MEM_OTHER, given, n);
    if (!dir)
        return nbi_fail_nomem(err, "a path", n);
    nb_status st;
    if (!nbi_path_is_dir(dir)) {
        st = nbi_fail(err, NB_NOTFOUND, KEY ": %s is no folder", dir);
    } else if (is_checkpoint(dir)) {
        st = take(run, dir, err);
        if (st != NB_OK && is_damage(st))
            nbi_fail_prefix(err, st,
                            KEY ": this checkpoint is not whole (true takes the newest "
                                "one that is)");
    } else {
        st = find_in(run, dir, true, err);
    }
    nbi_free(dir);
    return st;
}

nb_status nbi_resume_find(nbi_run *run, nb_error *err)
{
    const char *asked = run->r->resume;
    nbi_arena_init(&run->resume.arena, NBI_MEM_OTHER);
    if (!asked || strcasecmp(asked, "false") == 0 || !*asked)
        return NB_OK;
    if (strcasecmp(asked, "true") == 0)
        return find_in(run, run->r->output_dir, false, err);
    return find_path(run, asked, err);
}

void nbi_resume_close(nbi_run *run)
{
    nbi_free(run->resume.dir);
    nbi_arena_free(&run->resume.arena);
    for (size_t i = 0; i < run->forced.n; i++)
        nbi_free(run->forced.v[i]);
    nbi_array_free(&run->forced);
    run->resume = (nbi_resume){0};
}

/* ---- does it fit? ---- */

static nb_status force(nbi_run *run, const char *what, nb_error *err)
{
    nbi_strbuf b = {0};
    nbi_log(run->log, NB_LOG_WARN, "resume_force: going on although these differ: %s", what);
    nbi_strbuf_printf(&b, "at step %lld: %s", (long long)run->resume.step, what);
    if (b.failed || !nbi_array_push(&run->forced, b.s)) {
        nbi_strbuf_free(&b);
        return nbi_fail_nomem(err, "a list of settings", 0);
    }
    return NB_OK;
}

nb_status nbi_resume_check(nbi_run *run, nb_error *err)
{
    const nbi_resume *r = &run->resume;
    nbi_strbuf what = {0};
    size_t n = 0;
    if (!r->dir)
        return NB_OK;
    nb_status st = nbi_run_state_compare(run, r->state, &what, &n, err);
    if (st == NB_OK && n > 0 && !run->r->resume_force)
        st = nbi_fail(err, NB_MISMATCH,
                      KEY ": %s was made with other settings: %.600s. Use the same, or "
                          "resume_force: true",
                      r->dir, nbi_strbuf_str(&what));
    else if (st == NB_OK && n > 0)
        st = force(run, nbi_strbuf_str(&what), err);
    nbi_strbuf_free(&what);
    return st;
}

/* ---- the run's name ---- */

nb_status nbi_resume_name(nbi_run *run, nb_error *err)
{
    struct timespec now = {0};
    char text[100], hex[65];
    if (run->resume.dir) {
        snprintf(run->run_id, sizeof run->run_id, "%s", nbi_run_state_run(run->resume.state));
        return NB_OK;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    int n = snprintf(text, sizeof text, "%lld.%09ld %ld", (long long)now.tv_sec, now.tv_nsec,
                     (long)getpid());
    NBI_TRY(nbi_sha256_hex(text, (size_t)n, hex, err));
    memcpy(run->run_id, hex, sizeof run->run_id - 1);
    return NB_OK;
}

/* ---- loading ---- */

/* Checkpoints of this run up to the one it goes on from: save_total_limit counts them too. */
static nb_status adopt_saved(nbi_run *run, nb_error *err)
{
    nbi_steps all = {0};
    const char *out = run->r->output_dir;
    nb_status st = nbi_checkpoints_list(out, &all, err);
    for (size_t i = 0; i < all.n && st == NB_OK; i++) {
        nbi_arena arena;
        nbi_json *state = NULL;
        char *path = nbi_checkpoint_path(out, all.v[i]);
        nbi_arena_init(&arena, NBI_MEM_OTHER);
        if (!path)
            st = nbi_fail_nomem(err, "a path", strlen(out));
        else if (all.v[i] <= run->at.step &&
                 nbi_run_state_read(path, &arena, &state, NULL) == NB_OK &&
                 strcmp(nbi_run_state_run(state), run->run_id) == 0 &&
                 !nbi_array_push(&run->saved, all.v[i]))
            st = nbi_fail_nomem(err, "the list of checkpoints", sizeof(int64_t));
        nbi_arena_free(&arena);
        nbi_free(path);
    }
    nbi_array_free(&all);
    if (run->saved.n == 0 || run->saved.v[run->saved.n - 1] != run->at.step)
        run->at.last_save = -1; /* it lies elsewhere */
    return st;
}

static nb_status load_values(nbi_run *run, nb_error *err)
{
    const char *dir = run->resume.dir, *file = "adapter_model.safetensors";
    if (run->full) {
        char *master = nbi_path_join(dir, NBI_MASTER_FILE);
        if (!master)
            return nbi_fail_nomem(err, "a path", strlen(dir));
        file = nbi_path_exists(master) ? NBI_MASTER_FILE : "model.safetensors";
        nbi_free(master);
    }
    return nbi_state_read_values(run->params, dir, file, err);
}

static void say(const nbi_run *run)
{
    const nbi_json *kernels = nbi_json_get(run->resume.state, "kernels");
    const char *now = run->parts.model->exec.k.qmatmul_variant;
    nbi_log(run->log, NB_LOG_NOTE, "resuming from %s: step %lld of %lld", run->resume.dir,
            (long long)run->at.step, (long long)run->total);
    if (kernels && kernels->text && now && strcmp(kernels->text, now) != 0)
        nbi_log(run->log, NB_LOG_WARN,
                "the kernels were %s and are %s now: the run goes on, but not to the same bits",
                kernels->text, now);
}

nb_status nbi_resume_load(nbi_run *run, nb_error *err)
{
    const nbi_resume *r = &run->resume;
    int64_t logged = 0;
    if (!r->dir)
        return NB_OK;
    nb_status st = load_values(run, err);
    if (st == NB_OK)
        st = nbi_state_read_optim(run->optim, r->dir, err);
    if (st == NB_OK)
        st = nbi_trainer_state_read(r->dir, &run->history, &logged, err);
    if (st == NB_OK)
        st = nbi_run_state_restore(run, r->state, err);
    if (st == NB_OK && (logged != run->at.step || run->at.step < 1 || run->at.next < 0 ||
                        run->at.epoch_index < 0 || run->at.epoch_index > UINT32_MAX))
        st = nbi_fail(err, NB_FORMAT, "its parts are of different steps");
    if (st == NB_OK)
        st = adopt_saved(run, err);
    if (st != NB_OK)
        return nbi_fail_prefix(err, st, KEY ": %s", r->dir);
    run->first_step = run->at.step;
    say(run);
    return NB_OK;
}
