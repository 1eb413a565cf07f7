/* SPDX-License-Identifier: MIT */
#include "train/nonfinite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "model/dense.h"
#include "model/weights.h"

#define ADVICE "nothing was saved of this step. Lower learning_rate, or check the data"

static bool all_finite(const float *v, int64_t n)
{
    return nbi_dense_find_nonfinite(NB_DT_F32, v, n) < 0;
}

/* A trained tensor of the layer (-1: of none) that holds such a number; NULL: none does. */
static const char *bad_param(const nbi_run *run, int64_t layer)
{
    char part[40];
    snprintf(part, sizeof(part), ".layers.%lld.", (long long)layer);
    for (size_t i = 0; i < run->params->n; i++) {
        const nb_param *p = run->params->v[i];
        bool here = layer < 0 ? !strstr(p->name, ".layers.") : strstr(p->name, part) != NULL;
        if (here && !all_finite(p->value, p->n))
            return p->name;
    }
    return NULL;
}

typedef struct search {
    nb_model *m;
    int64_t layer;
    char name[NBI_MAX_MODULE + 16];
    const char *what; /* NULL: nothing found yet */
} search;

/* Codes are always numbers; what they are multiplied with may not be. */
static bool scales_finite(const nb_qtensor *w)
{
    int64_t blocks = (w->n * w->k + w->block - 1) / w->block;
    for (int64_t i = 0; i < blocks; i++)
        if (!isfinite(nb_qtensor_absmax(w, i)))
            return false;
    return true;
}

static nb_status look_at(void *user, const nbi_tensor_spec *s, nb_error *err)
{
    search *f = user;
    float **grad;
    bool good = true;
    (void)err;
    if (f->what || s->layer != f->layer)
        return NB_OK;
    f->what = "holds a number that is not finite";
    int64_t n = s->rank == 2 ? s->shape[0] * s->shape[1] : s->shape[0];
    if (s->part == NBI_PART_EMBED) {
        good = nbi_dense_find_nonfinite(f->m->embed_dtype, f->m->embed, n) < 0;
    } else if (nbi_part_is_norm(s->part)) {
        good = all_finite(*nbi_model_norm(f->m, s->part, s->layer, &grad), n);
    } else {
        const nb_linear *l = nbi_model_linear(f->m, s->part, s->layer);
        if (s->bias)
            good = all_finite(l->bias, n);
        else if (l->w.kind == NB_QK_DENSE)
            good = nbi_dense_find_nonfinite(l->w.dtype, l->w.data, n) < 0;
        else if (!(good = scales_finite(&l->w)))
            f->what = "has a scale that is not finite";
    }
    if (good)
        f->what = NULL;
    else
        memcpy(f->name, s->name, sizeof(f->name));
    return NB_OK;
}

/* ", where <tensor> holds ...", or nothing: then the products themselves overflowed. */
static void add_cause(const nbi_run *run, int64_t layer, char *where, size_t size)
{
    size_t n = strlen(where);
    const char *name = bad_param(run, layer);
    search f = {.m = run->parts.model, .layer = layer};
    if (name) {
        snprintf(where + n, size - n, ", where %s holds a number that is not finite", name);
        return;
    }
    if (nbi_layout_walk(&f.m->config, look_at, &f, NULL) == NB_OK && f.what)
        snprintf(where + n, size - n, ", where %s %s", f.name, f.what);
}

nb_status nbi_fail_loss(const nbi_run *run, const nb_loss *loss, nb_error *err)
{
    const nb_model *m = run->parts.model;
    const int64_t n = run->batch.batch.m * m->config.hidden, layers = m->config.layers;
    int64_t i = 0;
    char where[400] = "in the output head";
    bool before = false; /* the input of the block before was not kept */
    for (; i <= layers; i++) {
        const float *x = nb_workspace_hidden(run->ws, i);
        if (x && !all_finite(x, n))
            break;
        before = !x;
    }
    if (i == 0)
        snprintf(where, sizeof(where), "in the embeddings");
    else if (i <= layers)
        snprintf(where, sizeof(where), "in %s %lld (layers.%lld)",
                 before ? "or below block" : "block", (long long)i - 1, (long long)i - 1);
    for (int64_t l = before ? 0 : i - 1; i > 0 && i <= layers && l < i; l++)
        if (!strstr(where, ", where"))
            add_cause(run, l, where, sizeof(where));
    if (i == 0 || i > layers)
        add_cause(run, -1, where, sizeof(where));
    return nbi_fail(err, NB_NUMERIC, "step %lld: the loss is %s, first %s; " ADVICE,
                    (long long)run->at.step + 1, isnan(loss->sum) ? "NaN" : "infinite", where);
}

nb_status nbi_fail_norm(const nbi_run *run, nb_error *err)
{
    const char *name = "all tensors together";
    for (size_t i = 0; i < run->params->n; i++)
        if (!all_finite(run->params->v[i]->grad, run->params->v[i]->n)) {
            name = run->params->v[i]->name;
            break;
        }
    return nbi_fail(err, NB_NUMERIC, "step %lld: the gradient is not finite, first in %s; " ADVICE,
                    (long long)run->at.step + 1, name);
}
