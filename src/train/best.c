/* SPDX-License-Identifier: MIT */
/* load_best_model_at_end: the parameters of the best step, read from its checkpoint. */
#include <math.h>
#include "base/fail.h"
#include "base/log.h"
#include "format/safetensors.h"
#include "train/trainer.h"

static nb_status load_param(const nb_safetensors *st, nb_param *p, nb_error *err)
{
    const nb_st_tensor *t = nb_safetensors_find(st, p->name);
    int64_t n = 1;
    for (int i = 0; t && i < t->rank; i++)
        n *= t->shape[i];
    if (!t || !nb_dtype_is_dense_float(t->dtype) || n != p->n)
        return nbi_fail(err, NB_MISMATCH, "%s: tensor %s is missing or of another shape or dtype",
                        t ? t->path : "the checkpoint", p->name);
    nb_st_to_f32(t, 0, p->n, p->value);
    nb_safetensors_release(st, t);
    return NB_OK;
}

/* Everything is checked before the first value is changed. */
static nb_status load_params(const nb_param_list *params, const nb_safetensors *st, nb_error *err)
{
    for (size_t i = 0; i < params->n; i++)
        NBI_TRY(load_param(st, params->v[i], err));
    return nb_safetensors_check(st, err);
}

/* The first set's loss at that step is that of the result. */
static void note_result(nbi_run *run)
{
    char name[NBI_METRIC_MAX];
    nbi_eval_number_name(&run->evals.v[0], "loss", name);
    for (size_t i = 0; i < run->history.entries.n; i++) {
        const nbi_entry *e = &run->history.entries.v[i];
        double v = nbi_history_value(&run->history, e, name);
        if (e->kind == NBI_ENTRY_EVAL && e->step == run->at.best_step && !isnan(v))
            run->result.eval_loss_after = v;
    }
}

nb_status nbi_run_load_best(nbi_run *run, nb_error *err)
{
    const nbi_progress *at = &run->at;
    nb_safetensors *st;
    nbi_strbuf path = {0};
    if (!run->r->load_best || at->best_step < 0 || at->best_step == at->step)
        return NB_OK;
    nbi_strbuf_printf(&path, "%s/checkpoint-%lld", run->r->output_dir, (long long)at->best_step);
    nb_status rc = nbi_strbuf_check(&path, err);
    if (rc == NB_OK)
        rc = nb_safetensors_open_dir(&st, path.s, run->full ? "model" : "adapter_model", err);
    if (rc == NB_OK) {
        rc = load_params(run->params, st, err);
        nb_safetensors_close(&st);
    }
    if (rc == NB_OK) {
        note_result(run);
        run->best_loaded = true;
        nbi_log(run->log, NB_LOG_NOTE, "the result is the best step, %lld (%s %.6g), from %s",
                (long long)at->best_step, run->metric, at->best_metric, path.s);
    }
    nbi_strbuf_free(&path);
    return rc == NB_OK ? rc : nbi_fail_prefix(err, rc, "load_best_model_at_end");
}
