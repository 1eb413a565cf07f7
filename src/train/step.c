/* SPDX-License-Identifier: MIT */
/* One update: gradients of an accumulated batch, clipping, the optimizer's step. */
#include <math.h>
#include "base/fail.h"
#include "train/nonfinite.h"

nb_status nbi_run_micro_batch(nbi_run *run, const uint32_t *rows, size_t n, uint32_t epoch,
                              double grad_scale, nb_loss *loss, nb_error *err)
{
    nb_model *m = run->parts.model;
    NBI_TRY(nb_batch_make(&run->batch, run->data, rows, n, epoch, err));
    const nb_batch *b = &run->batch.batch;
    nb_model_forward(m, run->ws, b, NULL, true);
    *loss = nb_model_loss(m, run->ws, b, grad_scale, true, NULL);
    if (isfinite(loss->sum))
        nb_model_backward(m, run->ws, b);
    return NB_OK;
}

/* Trained tokens of the whole accumulated batch, known before its first pass; every row of an epoch
 * has some. */
static int64_t count_trained(const nbi_run *run)
{
    int64_t sum = 0;
    for (size_t i = 0; i < run->group.rows.n; i++)
        sum += run->data->rows[run->group.rows.v[i]].n_trained;
    return sum;
}

static nb_status accumulate(nbi_run *run, int64_t trained, double *sum, nb_error *err)
{
    const nbi_group *g = &run->group;
    *sum = 0;
    run->tokens = 0;
    nb_optim_zero_grads(run->params);
    for (size_t i = 0; i < g->v.n; i++) {
        const nbi_micro *b = &g->v.v[i];
        nb_loss loss;
        if (nbi_run_stopped(run))
            return nbi_fail(err, NB_INTERRUPTED, "interrupted in step %lld",
                            (long long)run->at.step + 1);
        NBI_TRY(nbi_run_micro_batch(run, g->rows.v + b->first, b->n, b->epoch,
                                    1.0 / (double)trained, &loss, err));
        if (!isfinite(loss.sum))
            return nbi_fail_loss(run, &loss, err);
        *sum += loss.sum;
        run->tokens += run->batch.batch.m;
    }
    return NB_OK;
}

/* The loss and the gradients of the update at hand; NB_NUMERIC when one is not finite. */
static nb_status gradients(nbi_run *run, nb_error *err)
{
    const int64_t trained = count_trained(run);
    double sum;
    run->loss = run->grad_norm = NAN;
    NBI_TRY(accumulate(run, trained, &sum, err));
    double norm = nb_grad_norm(&run->parts.model->exec, run->params);
    if (!isfinite(norm))
        return nbi_fail_norm(run, err);
    run->loss = sum / (double)trained;
    run->grad_norm = norm;
    return NB_OK;
}

static nb_status apply(nbi_run *run, nb_error *err)
{
    const double scale = nb_clip_scale(run->grad_norm, run->r->max_grad_norm);
    nb_status st = nb_optim_update(run->optim, run->lr, scale, err);
    if (st != NB_OK)
        return nbi_fail_prefix(err, st, "step %lld", (long long)run->at.step + 1);
    run->at.moved = run->at.moved || run->lr > 0;
    run->at.skipped_row = 0;
    return NB_OK;
}

nb_status nbi_run_step(nbi_run *run, nb_error *err)
{
    nb_error local = {NB_OK, ""};
    err = err ? err : &local; /* policies read the message */
    run->left_out = false;
    run->lr = nb_optim_rate(run->optim, nb_schedule_rate(&run->schedule, run->at.step));
    nb_status st = gradients(run, err);
    if (st == NB_NUMERIC)
        st = nbi_run_react_nonfinite(run, err);
    else if (st == NB_OK)
        st = nbi_run_check_spike(run, err);
    if (st == NB_OK && !run->left_out)
        st = apply(run, err);
    if (st == NB_OK)
        run->at.step++;
    return st;
}
