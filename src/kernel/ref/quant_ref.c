/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <math.h>
#include "kernel/quant_block.h"
#include "kernel/variants.h"

void nbi_quantize4_ref(const nb_quantize4_args *a)
{
    assert(a->kind == NB_QK_NF4 || a->kind == NB_QK_FP4);
    assert(a->block > 0 && a->block % 32 == 0 && nb_dtype_is_dense_float(a->dtype));
    const int64_t blocks = (a->n + a->block - 1) / a->block;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 8 * a->n)) schedule(static)
    for (int64_t b = 0; b < blocks; b++)
        quant4_block(a, b);
}

/* The entry nearest to x. Seven halvings leave a pivot and its neighbour on the side of x; halfway
 * between the two the pivot wins. */
static uint8_t nearest8(const float book[256], float x)
{
    int pivot = 127, below = 0, above = 255;
    for (int step = 64; step > 0; step /= 2) {
        if (x > book[pivot]) {
            below = pivot;
            pivot += step;
        } else {
            above = pivot;
            pivot -= step;
        }
    }
    if (x > book[pivot])
        return (uint8_t)(x > (book[above] + book[pivot]) * 0.5f ? above : pivot);
    return (uint8_t)(x < (book[below] + book[pivot]) * 0.5f ? below : pivot);
}

static void quantize8_block(const nb_quantize8_args *a, int64_t b)
{
    const int64_t from = b * a->block, to = from + a->block < a->n ? from + a->block : a->n;
    float absmax = 0.0f;
    for (int64_t i = from; i < to; i++)
        absmax = fmaxf(absmax, fabsf(a->x[i] - a->offset));
    const float factor = absmax > 0.0f ? 1.0f / absmax : 0.0f;
    a->absmax[b] = absmax;
    for (int64_t i = from; i < to; i++)
        a->codes[i] = nearest8(a->book, (a->x[i] - a->offset) * factor);
}

void nbi_quantize8_ref(const nb_quantize8_args *a)
{
    const int64_t blocks = (a->n + a->block - 1) / a->block;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 8 * a->n)) schedule(static)
    for (int64_t b = 0; b < blocks; b++)
        quantize8_block(a, b);
}

/* Eight partial sums, so that one addition need not wait for the one before. */
float nb_quant_mean(const float *x, int64_t n)
{
    enum { PARTS = 8 };
    double part[PARTS] = {0};
    int64_t i = 0;
    for (; i + PARTS <= n; i += PARTS)
        for (int j = 0; j < PARTS; j++)
            part[j] += (double)x[i + j];
    for (int j = 0; i < n; i++, j++)
        part[j] += (double)x[i];
    const double sum =
        ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
    return n > 0 ? (float)(sum / (double)n) : 0.0f;
}
