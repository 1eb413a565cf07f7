/* SPDX-License-Identifier: MIT */
/* Attention as its contract says it, in f64, one query at a time. Include after testutil.h. */
#ifndef NBT_ATTENTION_NAIVE_H
#define NBT_ATTENTION_NAIVE_H

#include "kernel/attention.h"

NBT_UNUSED static int64_t naive_key_row(const nb_attn_segment *s, int64_t j)
{
    if (!s->block_table)
        return s->k_row0 + j;
    return s->block_table[j / s->block_len] * s->block_len + j % s->block_len;
}

NBT_UNUSED static bool naive_sees(const nb_attention_args *a, const nb_attn_segment *s, int64_t i,
                                  int64_t j)
{
    const int64_t pos = i + s->k_len - s->q_len;
    return j < s->prefix_len || (j <= pos && (a->window == 0 || j > pos - a->window));
}

NBT_UNUSED static double naive_dot(const double *x, const double *y, int64_t n)
{
    double sum = 0;
    for (int64_t c = 0; c < n; c++)
        sum += x[c] * y[c];
    return sum;
}

/* Scores of query i, head h (-inf where not seen); returns the log of the sum of exponentials. */
NBT_UNUSED static double naive_scores(const nb_attention_args *a, const nb_attn_segment *s,
                                      int64_t i, int64_t h, const double *q, const double *k,
                                      double *score)
{
    const int64_t g = h * a->kv_heads / a->heads;
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < s->k_len; j++) {
        double x = naive_dot(q + (s->q_row0 + i) * a->ldq + h * a->p,
                             k + naive_key_row(s, j) * a->ldk + g * a->p, a->p) *
                   (double)a->scale;
        if (a->softcap != 0.0f)
            x = (double)a->softcap * tanh(x / (double)a->softcap);
        score[j] = naive_sees(a, s, i, j) ? x : -INFINITY;
        max = fmax(max, score[j]);
    }
    for (int64_t j = 0; j < s->k_len; j++)
        sum += exp(score[j] - max);
    return max + log(sum);
}

/* out [rows, H, p] and lse [rows, H] without gaps, from f64 copies of q, k, v laid out as in `a`.
 * size, unless NULL: the same as out of the magnitudes of v. */
NBT_UNUSED static void naive_attention(const nb_attention_args *a, const double *q, const double *k,
                                       const double *v, double *out, double *lse, double *size)
{
    for (int64_t n = 0; n < a->n_segments; n++) {
        const nb_attn_segment *s = &a->segments[n];
        double *score = calloc((size_t)s->k_len, sizeof(double));
        for (int64_t i = 0; i < s->q_len; i++)
            for (int64_t h = 0; h < a->heads; h++) {
                const int64_t row = s->q_row0 + i, g = h * a->kv_heads / a->heads;
                const int64_t at = (row * a->heads + h) * a->p;
                lse[row * a->heads + h] = naive_scores(a, s, i, h, q, k, score);
                for (int64_t c = 0; c < a->p; c++) {
                    out[at + c] = 0;
                    if (size)
                        size[at + c] = 0;
                }
                for (int64_t j = 0; j < s->k_len; j++) {
                    const double e = exp(score[j] - lse[row * a->heads + h]);
                    const double *x = v + naive_key_row(s, j) * a->ldv + g * a->p;
                    for (int64_t c = 0; c < a->p && e > 0; c++) {
                        out[at + c] += e * x[c];
                        if (size)
                            size[at + c] += e * fabs(x[c]);
                    }
                }
            }
        free(score);
    }
}

/* Gradients without gaps, and bounds of what roundings may change of them. */
typedef struct naive_gradients {
    double *dq, *dk, *dv;    /* [rows, H (G), p] */
    double *eq, *ek, *ev;    /* allowed deviations */
    double unit_p, unit_out; /* relative rounding of P and of dS, and of stored values */
    double unit_s;           /* relative error of a probability by the rounding of its score */
} naive_gradients;

/* One pair of a query and a key: probability e, score x; rows of q, dout, out; of k, v. */
NBT_UNUSED static void naive_pair(const nb_attention_args *a, const naive_gradients *g, double e,
                                  double x, const double *q, const double *dout, double delta,
                                  double delta_size, const double *k, const double *v, int64_t at_q,
                                  int64_t at_k)
{
    double dp = 0, dp_size = 0, slope = (double)a->scale;
    for (int64_t c = 0; c < a->p; c++) {
        dp += dout[c] * v[c];
        dp_size += fabs(dout[c] * v[c]);
    }
    if (a->softcap != 0.0f)
        slope *= 1 - x * x / (double)a->softcap / (double)a->softcap;
    const double ds = e * (dp - delta) * slope;
    /* delta comes from the stored output; sums of about p products each */
    const double error =
        g->unit_p * fabs(ds) +
        e * (double)a->scale * (g->unit_out * delta_size + g->unit_s * (dp_size + delta_size));
    for (int64_t c = 0; c < a->p; c++) {
        g->dq[at_q + c] += ds * k[c];
        g->eq[at_q + c] += error * fabs(k[c]);
        g->dk[at_k + c] += ds * q[c];
        g->ek[at_k + c] += error * fabs(q[c]);
        g->dv[at_k + c] += e * dout[c];
        g->ev[at_k + c] += (g->unit_p + g->unit_s) * e * fabs(dout[c]);
    }
}

/* All gradients; f64 copies laid out as in `a`, dout with stride ldo; out, lse from
 * naive_attention. The arrays of `g` are zero at first. */
NBT_UNUSED static void naive_attention_bwd(const nb_attention_args *a, const double *q,
                                           const double *k, const double *v, const double *dout,
                                           const double *out, const double *lse, int64_t lddo,
                                           const naive_gradients *g)
{
    const int64_t p = a->p;
    for (int64_t n = 0; n < a->n_segments; n++) {
        const nb_attn_segment *s = &a->segments[n];
        double *score = calloc((size_t)s->k_len, sizeof(double));
        for (int64_t i = 0; i < s->q_len; i++)
            for (int64_t h = 0; h < a->heads; h++) {
                const int64_t row = s->q_row0 + i, group = h * a->kv_heads / a->heads;
                const double *d = dout + row * lddo + h * p, *o = out + (row * a->heads + h) * p;
                naive_scores(a, s, i, h, q, k, score);
                double delta = 0, delta_size = 0;
                for (int64_t c = 0; c < p; c++) {
                    delta += d[c] * o[c];
                    delta_size += fabs(d[c] * o[c]);
                }
                for (int64_t j = 0; j < s->k_len; j++) {
                    const int64_t key = naive_key_row(s, j);
                    if (score[j] > -INFINITY)
                        naive_pair(a, g, exp(score[j] - lse[row * a->heads + h]), score[j],
                                   q + row * a->ldq + h * p, d, delta, delta_size,
                                   k + key * a->ldk + group * p, v + key * a->ldv + group * p,
                                   (row * a->heads + h) * p, (key * a->kv_heads + group) * p);
                }
            }
        free(score);
    }
}

NBT_UNUSED static double *naive_widen(const float *x, size_t n)
{
    double *d = malloc((n + 1) * sizeof(double));
    for (size_t i = 0; i < n; i++)
        d[i] = (double)x[i];
    return d;
}

#endif
