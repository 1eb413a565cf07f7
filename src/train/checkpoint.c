/* SPDX-License-Identifier: MIT */
/* What a run leaves behind: checkpoints and the final adapter or model. */
#include <math.h>
#include <string.h>
#include "base/clock.h"
#include "base/fail.h"
#include "base/log.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "train/publish.h"
#include "train/trainer.h"
#include "train/trainer_state.h"

/* Room that must be left beside twice the size of what is saved. */
#define SPARE_BYTES (4u << 20)

static uint64_t save_bytes(const nbi_run *run)
{
    uint64_t n = 0;
    for (size_t i = 0; i < run->params->n; i++)
        n += (uint64_t)run->params->v[i]->n;
    return n * (run->full ? nb_dtype_size(run->r->save_dtype) : sizeof(float));
}

nb_status nbi_run_preflight(nbi_run *run, nb_error *err)
{
    const char *dir = run->r->output_dir;
    uint64_t room, wanted = 2 * save_bytes(run) + SPARE_BYTES;
    NBI_TRY(nbi_free_space(dir, &room, err));
    if (room < wanted)
        return nbi_fail(err, NB_IO,
                        "%s: %.1f MiB are free, saving takes %.1f MiB; make room or name another "
                        "output_dir",
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

static char *checkpoint_path(const nbi_run *run, int64_t step)
{
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s/checkpoint-%lld", run->r->output_dir, (long long)step);
    char *path = b.failed ? NULL : nbi_strdup(NBI_MEM_OTHER, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
    return path;
}

/* Removes the oldest checkpoints of this run beyond the limit; a failure is only said. */
static void rotate(nbi_run *run)
{
    int64_t limit = run->r->save_total_limit;
    while (limit > 0 && (int64_t)run->saved.n > limit) {
        nb_error why;
        char *path = checkpoint_path(run, run->saved.v[0]);
        if (!path || nbi_remove_tree(path, &why) != NB_OK)
            nbi_log(run->log, NB_LOG_WARN, "an old checkpoint stays: %s",
                    path ? why.message : "out of memory");
        nbi_free(path);
        run->saved.n--;
        memmove(run->saved.v, run->saved.v + 1, run->saved.n * sizeof(*run->saved.v));
    }
}

static nb_status save_checkpoint(nbi_run *run, const char *path, nb_error *err)
{
    nbi_safedir d;
    NBI_TRY(nbi_safedir_create(&d, path, err));
    nb_status st = save_into(run, d.tmp, err);
    if (st == NB_OK)
        st = nbi_trainer_state_write(run, d.tmp, err);
    if (st != NB_OK) {
        nbi_safedir_abort(&d);
        return st;
    }
    return nbi_safedir_commit(&d, err);
}

nb_status nbi_run_checkpoint(nbi_run *run, nb_error *err)
{
    double begin = nbi_clock();
    if (run->at.last_save == run->at.step)
        return NB_OK;
    char *path = checkpoint_path(run, run->at.step);
    if (!path || !nbi_array_reserve(&run->saved, 1)) {
        nbi_free(path);
        return nbi_fail_nomem(err, "a path", 0);
    }
    nb_status st = save_checkpoint(run, path, err);
    if (st == NB_OK) {
        run->saved.v[run->saved.n++] = run->at.step;
        run->at.last_save = run->at.step;
        rotate(run);
        nbi_log(run->log, NB_LOG_NOTE, "saved %s", path);
    } else {
        nbi_fail_prefix(err, st, "checkpoint of step %lld", (long long)run->at.step);
    }
    nbi_free(path);
    run->aside += nbi_clock() - begin;
    return st;
}

/* The final files are built in a hidden folder inside output_dir, verified there, then moved. */
nb_status nbi_run_save_final(nbi_run *run, nb_error *err)
{
    nbi_safedir d;
    char *path = nbi_path_join(run->r->output_dir, "final");
    if (!path)
        return nbi_fail_nomem(err, "a path", 0);
    nb_status st = nbi_safedir_create(&d, path, err);
    nbi_free(path);
    if (st == NB_OK) {
        st = save_into(run, d.tmp, err);
        if (st == NB_OK)
            st = nbi_publish_files(d.tmp, run->r->output_dir, err);
        nbi_safedir_abort(&d);
        if (st == NB_OK)
            nbi_output_clear_other(run);
    }
    return st == NB_OK ? st : nbi_fail_prefix(err, st, "saving in %s", run->r->output_dir);
}
