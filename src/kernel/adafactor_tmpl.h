/* SPDX-License-Identifier: MIT */
/* Adafactor on a matrix: its rows' and columns' mean squares, the size of the update, the update.
 * Every sum is over a partition fixed by the shape. */
#ifndef NB_ADAFACTOR_TMPL_H
#define NB_ADAFACTOR_TMPL_H

#include "kernel/optim_tmpl.h"

enum { FACTOR_SPAN = 16384, FACTOR_STRIP = 4 * NBI_W };

/* Rows that are done at once: so many that their sums fit the scratch memory. */
NBI_INLINE int64_t factor_rows(const nb_adafactor_args *a)
{
    const int64_t room = (int64_t)(NB_SCRATCH_BYTES / sizeof(double));
    int64_t n = a->cols < FACTOR_SPAN ? FACTOR_SPAN / a->cols : 1;
    while ((a->rows + n - 1) / n > room)
        n *= 2;
    return n;
}

NBI_OUTLINE void factor_row_means(const nb_adafactor_args *a)
{
    const double gs2 = a->grad_scale * a->grad_scale, cols = (double)a->cols;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->cols)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++) {
        const float *g = a->grad + r * a->cols;
        const double mean = gs2 * dot_f64(g, g, a->cols) / cols + a->eps;
        a->row[r] = (float)(a->beta2 * (double)a->row[r] + (1.0 - a->beta2) * mean);
    }
}

/* Sums of squares of n <= FACTOR_STRIP columns that begin at g. */
NBI_OUTLINE void factor_strip(const nb_adafactor_args *a, const float *g, int n, double *sum)
{
    vd s[FACTOR_STRIP / NBI_W][2] = {{{0}}};
    for (int64_t r = 0; r < a->rows; r++, g += a->cols)
        for (int j = 0; j * NBI_W < n; j++) {
            const int left = n - j * NBI_W;
            const vf x = left < NBI_W ? vf_load_n(g + j * NBI_W, left) : vf_load(g + j * NBI_W);
            vd_add_mul(s[j], x, x);
        }
    memcpy(sum, s, sizeof(s));
}

/* The columns' second moments, and one over their roots. */
NBI_OUTLINE void factor_columns(const nb_adafactor_args *a)
{
    const double gs2 = a->grad_scale * a->grad_scale, rows = (double)a->rows;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->cols)) schedule(static)
    for (int64_t c = 0; c < a->cols; c += FACTOR_STRIP) {
        const int n = a->cols - c < FACTOR_STRIP ? (int)(a->cols - c) : FACTOR_STRIP;
        double sum[FACTOR_STRIP];
        factor_strip(a, a->grad + c, n, sum);
        for (int i = 0; i < n; i++) {
            const double mean = gs2 * sum[i] / rows + a->eps;
            const double v = a->beta2 * (double)a->col[c + i] + (1.0 - a->beta2) * mean;
            a->col[c + i] = (float)v;
            a->factor[c + i] = (float)(1.0 / sqrt((double)a->col[c + i]));
        }
    }
}

NBI_INLINE float factor_of_row(const nb_adafactor_args *a, double mean, int64_t r)
{
    return a->row ? (float)(1.0 / sqrt((double)a->row[r] / mean)) : 1.0f;
}

/* Sum of squares of the update before it is clipped. */
NBI_OUTLINE double factor_update_size(const nb_adafactor_args *a, double mean)
{
    const int64_t span = factor_rows(a), parts = (a->rows + span - 1) / span;
    double *part = nb_queue_scratch(a->q, 0), sum = 0;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->cols)) schedule(static)
    for (int64_t p = 0; p < parts; p++) {
        part[p] = 0;
        for (int64_t r = p * span; r < a->rows && r < (p + 1) * span; r++) {
            const float *g = a->grad + r * a->cols;
            const double f = a->grad_scale * (double)factor_of_row(a, mean, r);
            vd s[2] = {{0}, {0}};
            for (int64_t i = 0; i < a->cols; i += NBI_W) {
                const int l = lanes_at(i, a->cols);
                const vf x = vf_load_n(g + i, l) * vf_load_n(a->factor + i, l);
                vd_add_mul(s, x, x);
            }
            part[p] += f * f * vd_sum(s);
        }
    }
    for (int64_t p = 0; p < parts; p++)
        sum += part[p];
    return sum;
}

typedef struct factor_scalars {
    double mean; /* of the rows' second moments */
    vf gs, scale, b1, b1c, decay;
} factor_scalars;

/* Rows from..to. */
NBI_OUTLINE void factor_apply(const nb_adafactor_args *a, const factor_scalars *s, int64_t from,
                              int64_t to)
{
    for (int64_t r = from; r < to; r++) {
        const vf f = vf_set1(factor_of_row(a, s->mean, r));
        const float *grad = a->grad + r * a->cols;
        float *wr = a->w + r * a->cols, *mr = a->m ? a->m + r * a->cols : NULL;
        for (int64_t i = 0; i < a->cols; i += NBI_W) {
            const int l = lanes_at(i, a->cols);
            const vf g = vf_load_n(grad + i, l) * s->gs, w = vf_load_n(wr + i, l);
            vf u = f * vf_load_n(a->factor + i, l) * g * s->scale;
            if (mr) {
                u = vf_load_n(mr + i, l) * s->b1 + s->b1c * u;
                vf_store_n(mr + i, u, l);
            }
            vf_store_n(wr + i, w + s->decay * w - u, l);
        }
    }
}

void NBI_ISA(adafactor)(const nb_adafactor_args *a)
{
    factor_scalars s = {.mean = 1};
    if (a->rows == 0 || a->cols == 0)
        return;
    if (a->row) {
        double sum = 0;
        factor_row_means(a);
        for (int64_t r = 0; r < a->rows; r++)
            sum += (double)a->row[r];
        s.mean = sum / (double)a->rows;
    }
    factor_columns(a);
    const double size = sqrt(factor_update_size(a, s.mean) / ((double)a->rows * (double)a->cols));
    const double over = size / a->clip;
    s.gs = vf_set1((float)a->grad_scale);
    s.scale = vf_set1((float)(a->lr / (over < 1 ? 1.0 : over))); /* NaN goes on */
    s.b1 = vf_set1((float)a->beta1);
    s.b1c = vf_set1((float)(1.0 - a->beta1));
    s.decay = vf_set1((float)(-a->weight_decay * a->lr));
    const int64_t span = factor_rows(a);
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->cols)) schedule(static)
    for (int64_t r = 0; r < a->rows; r += span)
        factor_apply(a, &s, r, r + span < a->rows ? r + span : a->rows);
}

#endif
