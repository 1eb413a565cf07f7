/* SPDX-License-Identifier: MIT */
/* Ragged batches from padded reference batches, and comparisons of trained tensors. Include after
 * oracle_util.h. */
#ifndef ORACLE_TRAIN_H
#define ORACLE_TRAIN_H

#include "adapter/adapter.h"
#include "optim/optim.h"

typedef struct oracle_batch {
    nb_batch b;
    int32_t *ids, *targets, *positions, *example;
    int64_t *starts;
    int64_t first_row; /* tokens of row 0 */
} oracle_batch;

/* Rows [row0, row0 + rows) of step `step` of [steps, B, T] (or of [B, T] with step 0). */
NBT_UNUSED static oracle_batch oracle_batch_make(const nb_safetensors *st, int64_t step,
                                                 int64_t row0, int64_t rows)
{
    const nb_st_tensor *ids = nb_safetensors_find(st, "input_ids");
    const nb_st_tensor *labels = nb_safetensors_find(st, "labels");
    const nb_st_tensor *mask = nb_safetensors_find(st, "attention_mask");
    assert_non_null(ids);
    assert_non_null(labels);
    int64_t t = ids->shape[ids->rank - 1], all = ids->shape[ids->rank - 2];
    int64_t begin = (step * all + row0) * t;
    rows = rows < 0 ? all - row0 : rows;
    size_t n = (size_t)(rows * t) + 1;
    oracle_batch o = {.ids = calloc(n, sizeof(int32_t)),
                      .targets = calloc(n, sizeof(int32_t)),
                      .positions = calloc(n, sizeof(int32_t)),
                      .example = calloc(n, sizeof(int32_t)),
                      .starts = calloc((size_t)rows + 1, sizeof(int64_t))};
    int64_t m = 0, trained = 0;
    for (int64_t r = 0; r < rows; r++) {
        int64_t len = 0;
        for (int64_t i = begin + r * t; i < begin + (r + 1) * t; i++) {
            if (mask && nb_st_value(mask, i) == 0)
                continue;
            int32_t label = (int32_t)nb_st_value(labels, i);
            if (len > 0) {
                o.targets[m - 1] = label;
                trained += label != NB_IGNORE_INDEX;
            }
            o.ids[m] = (int32_t)nb_st_value(ids, i);
            o.targets[m] = NB_IGNORE_INDEX;
            o.positions[m] = (int32_t)len++;
            o.example[m++] = (int32_t)r;
        }
        o.starts[r + 1] = m;
    }
    o.first_row = o.starts[1];
    o.b = (nb_batch){.m = m,
                     .ids = o.ids,
                     .targets = o.targets,
                     .positions = o.positions,
                     .example = o.example,
                     .n_segments = rows,
                     .starts = o.starts,
                     .n_targets = trained};
    return o;
}

NBT_UNUSED static void oracle_batch_free(oracle_batch *o)
{
    free(o->ids), free(o->targets), free(o->positions), free(o->example), free(o->starts);
}

/* Largest number of tokens of any batch in the file. */
NBT_UNUSED static int64_t oracle_batch_cap(const nb_safetensors *st)
{
    const nb_st_tensor *ids = nb_safetensors_find(st, "input_ids");
    return ids ? ids->shape[ids->rank - 1] * ids->shape[ids->rank - 2] : 1;
}

/* Norm of (gradients - reference) / norm of reference over all parameters; NaN when one is missing.
 */
NBT_UNUSED static double oracle_grad_deviation(const nb_param_list *params,
                                               const nb_safetensors *st, size_t *compared)
{
    double diff = 0, ref = 0;
    *compared = 0;
    for (size_t i = 0; i < params->n; i++) {
        int64_t n;
        float *want = oracle_f32(st, params->v[i]->name, &n);
        if (!want || n != params->v[i]->n) {
            free(want);
            return NAN;
        }
        for (int64_t j = 0; j < n; j++) {
            double d = (double)params->v[i]->grad[j] - (double)want[j];
            diff += d * d;
            ref += (double)want[j] * (double)want[j];
        }
        free(want);
        ++*compared;
    }
    return sqrt(diff) / sqrt(ref);
}

/* |final - expected| / |expected - initial| over all parameters, and the largest difference. */
NBT_UNUSED static double oracle_update_deviation(const nb_param_list *params, float *const *initial,
                                                 const nb_safetensors *st, double *largest)
{
    double diff = 0, update = 0;
    *largest = 0;
    for (size_t i = 0; i < params->n; i++) {
        int64_t n;
        float *want = oracle_f32(st, params->v[i]->name, &n);
        if (!want || n != params->v[i]->n) {
            print_error("no reference for %s\n", params->v[i]->name);
            free(want);
            return NAN;
        }
        for (int64_t j = 0; j < n; j++) {
            double d = (double)params->v[i]->value[j] - (double)want[j];
            double u = (double)want[j] - (double)initial[i][j];
            *largest = oracle_worse(*largest, fabs(d));
            diff += d * d;
            update += u * u;
        }
        free(want);
    }
    return sqrt(diff) / sqrt(update);
}

#endif
