/* SPDX-License-Identifier: MIT */
/* One update: gradients of an accumulated batch, clipping, the optimizer's step. */
#include <math.h>
#include <stdio.h>
#include "base/fail.h"
#include "train/trainer.h"

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

static bool all_finite(const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return false;
    return true;
}

/* Where the first number that is not finite came up in the last forward pass. */
static nb_status fail_loss(const nbi_run *run, const nb_loss *loss, nb_error *err)
{
    const nb_model *m = run->parts.model;
    int64_t n = run->batch.batch.m * m->config.hidden, layer = 0;
    char where[80] = "in the output head";
    bool before = false; /* the input of the block before was not kept */
    for (; layer <= m->config.layers; layer++) {
        const float *x = nb_workspace_hidden(run->ws, layer);
        if (x && !all_finite(x, n))
            break;
        before = !x;
    }
    if (layer > 0 && layer <= m->config.layers && before)
        snprintf(where, sizeof(where), "below block %lld (layers.%lld)", (long long)layer,
                 (long long)layer);
    else if (layer == 0)
        snprintf(where, sizeof(where), "in the embeddings");
    else if (layer <= m->config.layers)
        snprintf(where, sizeof(where), "in block %lld (layers.%lld)", (long long)layer - 1,
                 (long long)layer - 1);
    return nbi_fail(err, NB_NUMERIC,
                    "step %lld: the loss is %s, first %s; nothing was saved of this step. Lower "
                    "learning_rate, or check the data",
                    (long long)run->at.step + 1, isnan(loss->sum) ? "NaN" : "infinite", where);
}

static nb_status fail_norm(const nbi_run *run, nb_error *err)
{
    const char *name = "all tensors together";
    for (size_t i = 0; i < run->params->n; i++) {
        const nb_param *p = run->params->v[i];
        if (!all_finite(p->grad, p->n)) {
            name = p->name;
            break;
        }
    }
    return nbi_fail(err, NB_NUMERIC,
                    "step %lld: the gradient is not finite, first in %s; nothing was saved of this "
                    "step. Lower learning_rate, or check the data",
                    (long long)run->at.step + 1, name);
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
            return fail_loss(run, &loss, err);
        *sum += loss.sum;
        run->tokens += run->batch.batch.m;
    }
    return NB_OK;
}

nb_status nbi_run_step(nbi_run *run, nb_error *err)
{
    const nb_recipe *r = run->r;
    int64_t trained = count_trained(run);
    double sum;
    NBI_TRY(accumulate(run, trained, &sum, err));
    double norm = nb_grad_norm(&run->parts.model->exec, run->params);
    if (!isfinite(norm))
        return fail_norm(run, err);
    run->loss = sum / (double)trained;
    run->grad_norm = norm;
    run->lr = nb_optim_rate(run->optim, nb_schedule_rate(&run->schedule, run->at.step));
    NBI_TRY(nb_optim_update(run->optim, run->lr, nb_clip_scale(norm, r->max_grad_norm), err));
    run->at.moved = run->at.moved || run->lr > 0;
    run->at.step++;
    return NB_OK;
}
