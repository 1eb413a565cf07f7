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

/* out [rows, H, p] and lse [rows, H] without gaps, from f64 copies of q, k, v laid out as in `a`.
 */
NBT_UNUSED static void naive_attention(const nb_attention_args *a, const double *q, const double *k,
                                       const double *v, double *out, double *lse)
{
    for (int64_t n = 0; n < a->n_segments; n++) {
        const nb_attn_segment *s = &a->segments[n];
        double *score = calloc((size_t)s->k_len, sizeof(double));
        for (int64_t i = 0; i < s->q_len; i++)
            for (int64_t h = 0; h < a->heads; h++) {
                const int64_t row = s->q_row0 + i, g = h * a->kv_heads / a->heads;
                double max = -INFINITY, sum = 0, *o = out + (row * a->heads + h) * a->p;
                for (int64_t j = 0; j < s->k_len; j++) {
                    double x = 0;
                    for (int64_t c = 0; c < a->p; c++)
                        x += q[row * a->ldq + h * a->p + c] *
                             k[naive_key_row(s, j) * a->ldk + g * a->p + c];
                    x *= (double)a->scale;
                    if (a->softcap != 0.0f)
                        x = (double)a->softcap * tanh(x / (double)a->softcap);
                    score[j] = naive_sees(a, s, i, j) ? x : -INFINITY;
                    max = fmax(max, score[j]);
                }
                memset(o, 0, (size_t)a->p * sizeof(double));
                for (int64_t j = 0; j < s->k_len; j++) {
                    const double e = exp(score[j] - max);
                    sum += e;
                    for (int64_t c = 0; c < a->p && e > 0; c++)
                        o[c] += e * v[naive_key_row(s, j) * a->ldv + g * a->p + c];
                }
                for (int64_t c = 0; c < a->p; c++)
                    o[c] /= sum;
                lse[row * a->heads + h] = max + log(sum);
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
