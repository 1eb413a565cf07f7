/* SPDX-License-Identifier: MIT */
/* What a run leaves behind: checkpoints and the final adapter or model. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "train/manifest.h"
#include "train/publish.h"
#include "train/resume.h"
#include "train/run_state.h"
#include "train/state_file.h"
#include "train/trainer_state.h"

/* Room that must be left beside twice the size of what is saved. */
#define SPARE_BYTES (4u << 20)
/* A wait is cut into pieces of this many seconds, so that a signal ends it. */
#define WAIT_PIECE 0.1

/* Of one checkpoint: values, state of the optimizer, and masters of a 16-bit model. */
static uint64_t save_bytes(const nbi_run *run)
{
    const nb_optim_choice *optim = nb_optim_find(run->r->optim);
    uint64_t n = 0, bytes;
    for (size_t i = 0; i < run->params->n; i++)
        n += (uint64_t)run->params->v[i]->n;
    bytes = n * (run->full ? nb_dtype_size(run->r->save_dtype) : sizeof(float));
    if (run->full && run->r->save_dtype != NB_DT_F32)
        bytes += n * sizeof(float);
    if (optim) {
        const nb_optim_bytes state = nb_optim_memory(optim, &run->r->optim_config, run->params);
        bytes += state.paged > 0 ? state.paged : state.resident;
    }
    return bytes;
}

nb_status nbi_run_preflight(nbi_run *run, nb_error *err)
{
    const char *dir = run->r->output_dir;
    const nb_optim_choice *optim = nb_optim_find(run->r->optim);
    uint64_t room, wanted = 2 * save_bytes(run) + SPARE_BYTES;
    if (optim) /* its pages are reserved later */
        wanted += nb_optim_memory(optim, &run->r->optim_config, run->params).paged;
    NBI_TRY(nbi_free_space(dir, &room, err));
    if (room < wanted)
        return nbi_fail(err, NB_IO,
                        "%s: %.1f MiB are free, two checkpoints take %.1f MiB; make room or name "
                        "another output_dir",
                        dir, (double)room / 1048576, (double)wanted / 1048576);
    char *path = nbi_path_join(dir, ".write-test");
    if (!path)
        return nbi_fail_nomem(err, "a path", strlen(dir));
    nb_status st = nbi_write_file(path, "x", 1, err);
    if (st != NB_OK)
        nbi_fail_prefix(err, st, "output_dir cannot be written");
    else
        st = nbi_remove_tree(path, err);
    nbi_free(path);
    return st;
}

static nb_status check_finite(const nbi_run *run, nb_error *err)
{
    for (size_t i = 0; i < run->params->n; i++) {
        const nb_param *p = run->params->v[i];
        for (int64_t j = 0; j < p->n; j++)
            if (!isfinite(p->value[j]))
                return nbi_fail(err, NB_NUMERIC,
                                "%s holds numbers that are not finite after step %lld; nothing is "
                                "saved. Lower learning_rate",
                                p->name, (long long)run->at.step);
    }
    return NB_OK;
}

/* Re-opens a saved model as any reader would: every tensor there, nothing damaged. */
static nb_status verify_model(const char *dir, nb_error *err)
{
    nb_safetensors *st;
    nb_model_config config;
    NBI_TRY(nb_config_read(&config, dir, err));
    nb_config_free(&config);
    NBI_TRY(nb_safetensors_open_dir(&st, dir, "model", err));
    nb_safetensors_close(&st);
    return NB_OK;
}

/* Everything a checkpoint or the final folder holds, into an existing folder. */
static nb_status save_into(const nbi_run *run, const char *dir, nb_error *err)
{
    const nb_recipe *r = run->r;
    NBI_TRY(check_finite(run, err));
    if (run->full) {
        NBI_TRY(nb_model_save(run->parts.model, dir, r->save_dtype, err));
        return verify_model(dir, err);
    }
    NBI_TRY(nb_adapter_save(run->parts.adapter, &run->note, dir, run->at.moved, err));
    return nb_model_copy_tokenizer(r->tokenizer ? r->tokenizer : run->parts.dir, dir, err);
}

/* What a run needs to go on from here, beside what it has made so far. */
static nb_status save_state(const nbi_run *run, const char *dir, nb_error *err)
{
    if (run->full && run->r->save_dtype != NB_DT_F32)
        NBI_TRY(nbi_state_write_master(run->params, dir, err));
    NBI_TRY(nbi_state_write_optim(run->optim, dir, err));
    NBI_TRY(nbi_trainer_state_write(run, dir, err));
    NBI_TRY(nbi_run_state_write(run, dir, err));
    return nbi_manifest_write(dir, err);
}

/* ---- which checkpoints stay ---- */

/* The oldest that is neither the best nor the last one; saved.n when there is none. */
static size_t oldest(const nbi_run *run)
{
    size_t i = 0;
    while (i + 1 < run->saved.n && run->saved.v[i] == run->at.best_step)
        i++;
    return i + 1 < run->saved.n ? i : run->saved.n;
}

/* Removes the oldest checkpoints of this run beyond the limit, now that the newest is on the disk;
 * a failure is only said. */
static void rotate(nbi_run *run)
{
    int64_t limit = run->r->save_total_limit;
    while (limit > 0 && (int64_t)run->saved.n > limit) {
        nb_error why;
        size_t i = oldest(run);
        if (i == run->saved.n)
            return;
        char *path = nbi_checkpoint_path(run->r->output_dir, run->saved.v[i]);
        if (!path || nbi_remove_tree(path, &why) != NB_OK)
            nbi_log(run->log, NB_LOG_WARN, "an old checkpoint stays: %s",
                    path ? why.message : "out of memory");
        nbi_free(path);
        run->saved.n--;
        memmove(run->saved.v + i, run->saved.v + i + 1, (run->saved.n - i) * sizeof(*run->saved.v));
    }
}

/* ---- a full disk ---- */

static bool is_full(const nb_error *why)
{
    return why->os_error == ENOSPC || why->os_error == EDQUOT;
}

/* false when the run is asked to stop meanwhile. */
static bool wait_for_room(const nbi_run *run)
{
    const double end = nbi_clock() + (double)run->r->disk_full_retry;
    const struct timespec piece = {0, (long)(WAIT_PIECE * 1e9)};
    while (!nbi_run_stopped(run) && nbi_clock() < end)
        nanosleep(&piece, NULL);
    return !nbi_run_stopped(run);
}

static void say_full(const nbi_run *run, const nb_error *why)
{
    uint64_t room = 0;
    if (nbi_free_space(run->r->output_dir, &room, NULL) != NB_OK)
        room = 0;
    nbi_log(run->log, NB_LOG_WARN,
            "%s; saving takes about %.1f MiB, %.1f MiB are free. The run waits and tries again "
            "every %lld s; make room, or Ctrl-C (on_disk_full: exit ends instead)",
            why->message, (double)save_bytes(run) / 1048576, (double)room / 1048576,
            (long long)run->r->disk_full_retry);
}

typedef nb_status save_fn(nbi_run *run, const char *path, nb_error *err);

/* Saves; on a full disk again and again until there is room or the run is asked to stop. */
static nb_status save_patiently(nbi_run *run, save_fn *save, const char *path, nb_error *err)
{
    nb_error why = {0};
    bool said = false;
    nb_status st;
    while ((st = save(run, path, &why)) != NB_OK && is_full(&why) && !run->r->exit_on_full_disk) {
        if (!said)
            say_full(run, &why);
        said = true;
        if (!wait_for_room(run))
            break;
    }
    if (st == NB_OK && said)
        nbi_log(run->log, NB_LOG_NOTE, "there is room again; the run goes on");
    if (st != NB_OK && err)
        *err = why;
    return st;
}

/* ---- saving ---- */

static nb_status save_checkpoint(nbi_run *run, const char *path, nb_error *err)
{
    nbi_safedir d;
    NBI_TRY(nbi_safedir_create(&d, path, err));
    nb_status st = save_into(run, d.tmp, err);
    if (st == NB_OK)
        st = save_state(run, d.tmp, err);
    if (st != NB_OK) {
        nbi_safedir_abort(&d);
        return st;
    }
    return nbi_safedir_commit(&d, err);
}

/* Lists the new one; a checkpoint of the same step that was replaced stands there already. */
static void list_saved(nbi_run *run)
{
    const size_t n = run->saved.n;
    if (n == 0 || run->saved.v[n - 1] != run->at.step)
        run->saved.v[run->saved.n++] = run->at.step;
}

nb_status nbi_run_checkpoint(nbi_run *run, nb_error *err)
{
    const double begin = nbi_clock();
    const int64_t before = run->at.last_save;
    if (before == run->at.step)
        return NB_OK;
    char *path = nbi_checkpoint_path(run->r->output_dir, run->at.step);
    if (!path || !nbi_array_reserve(&run->saved, 1)) {
        nbi_free(path);
        return nbi_fail_nomem(err, "a path", 0);
    }
    run->at.last_save = run->at.step; /* as the checkpoint itself is to say */
    nb_status st = save_patiently(run, save_checkpoint, path, err);
    if (st == NB_OK) {
        list_saved(run);
        rotate(run);
        nbi_log(run->log, NB_LOG_NOTE, "saved %s", path);
        nbi_watch_saved(run->watch, path);
    } else {
        run->at.last_save = before;
        nbi_fail_prefix(err, st, "checkpoint of step %lld", (long long)run->at.step);
    }
    nbi_free(path);
    run->aside += nbi_clock() - begin;
    return st;
}

/* The final files are built in a hidden folder inside output_dir, verified there, then moved. */
static nb_status save_final(nbi_run *run, const char *path, nb_error *err)
{
    nbi_safedir d;
    NBI_TRY(nbi_safedir_create(&d, path, err));
    nb_status st = save_into(run, d.tmp, err);
    if (st == NB_OK)
        st = nbi_publish_files(d.tmp, run->r->output_dir, err);
    nbi_safedir_abort(&d);
    return st;
}

nb_status nbi_run_save_final(nbi_run *run, nb_error *err)
{
    char *path = nbi_path_join(run->r->output_dir, "final");
    if (!path)
        return nbi_fail_nomem(err, "a path", 0);
    nb_status st = save_patiently(run, save_final, path, err);
    nbi_free(path);
    if (st != NB_OK)
        return nbi_fail_prefix(err, st, "saving in %s", run->r->output_dir);
    nbi_output_clear_other(run);
    return NB_OK;
}
