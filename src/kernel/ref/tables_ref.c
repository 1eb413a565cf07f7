/* SPDX-License-Identifier: MIT */
/* Operations bound by memory or libm, for which one version is enough: look-ups and tables. */
#include <math.h>
#include <string.h>
#include "kernel/variants.h"
#include "tensor/half.h"

static void embed_row(const nb_embed_args *a, int64_t r)
{
    const int64_t at = (int64_t)a->ids[r] * a->d;
    float *y = a->y + r * a->d;
    if (a->dtype == NB_DT_F32) {
        memcpy(y, (const float *)a->table + at, (size_t)a->d * sizeof(float));
    } else {
        const uint16_t *x = (const uint16_t *)a->table + at;
        for (int64_t i = 0; i < a->d; i++)
            y[i] = a->dtype == NB_DT_BF16 ? nb_bf16_to_f32(x[i]) : nb_f16_to_f32(x[i]);
    }
}

void nbi_embed_ref(const nb_embed_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        embed_row(a, r);
}

void nbi_embed_bwd_ref(const nb_embed_bwd_args *a)
{
    const int64_t strip = 64;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->d)) schedule(static)
    for (int64_t c = 0; c < a->d; c += strip) {
        const int64_t n = a->d - c < strip ? a->d - c : strip;
        for (int64_t r = 0; r < a->rows; r++) {
            const float *dy = a->dy + r * a->d + c;
            float *to = a->dtable + (int64_t)a->ids[r] * a->d + c;
            for (int64_t i = 0; i < n; i++)
                to[i] += dy[i];
        }
    }
}

void nbi_rope_table_ref(const nb_rope_table_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 8 * a->rows * a->half)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++) {
        float *cs = a->cs + r * a->half * 2;
        for (int64_t j = 0; j < a->half; j++) {
            double s, c;
            const float angle = (float)a->positions[r] * a->inv_freq[j];
            sincos((double)angle, &s, &c);
            cs[2 * j] = (float)(c * (double)a->scale);
            cs[2 * j + 1] = (float)(s * (double)a->scale);
        }
    }
}
