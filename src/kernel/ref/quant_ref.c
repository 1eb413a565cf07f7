/* SPDX-License-Identifier: MIT */
#include <assert.h>
#include <math.h>
#include "kernel/variants.h"
#include "tensor/codebook.h"
#include "tensor/half.h"

static const float TINY = 1e-38f;

static float element(const nb_quantize4_args *a, int64_t i)
{
    float v;
    if (a->dtype == NB_DT_F32)
        v = ((const float *)a->x)[i];
    else if (a->dtype == NB_DT_BF16)
        v = nb_bf16_to_f32(((const uint16_t *)a->x)[i]);
    else
        v = nb_f16_to_f32(((const uint16_t *)a->x)[i]);
    return v == v ? v : 0.0f;
}

static unsigned count_below(const float t[15], float s)
{
    unsigned n = 0;
    for (int i = 0; i < 15; i++)
        n += t[i] < s;
    return n;
}

static void quantize4_block(const nb_quantize4_args *a, int64_t b)
{
    const bool nf4 = a->kind == NB_QK_NF4;
    const float *thresholds = nf4 ? nb_thresholds_nf4 : nb_thresholds_fp4;
    const uint8_t *sorted = nf4 ? nb_sorted_code_nf4 : nb_sorted_code_fp4;
    const int64_t from = b * a->block, to = from + a->block < a->n ? from + a->block : a->n;
    const bool whole = to - from == a->block;
    float absmax = 0.0f;
    for (int64_t i = from; i < to; i++)
        absmax = fmaxf(absmax, fabsf(element(a, i)));
    const float divisor = absmax < TINY ? TINY : absmax, factor = 1.0f / divisor;
    a->absmax[b] = whole ? absmax : divisor;
    for (int64_t i = from; i < to; i += 2) {
        unsigned code[2];
        for (int j = 0; j < 2; j++) {
            float v = i + j < to ? element(a, i + j) : 0.0f;
            code[j] = sorted[count_below(thresholds, whole ? v * factor : v / divisor)];
        }
        a->codes[i / 2] = (uint8_t)(code[0] << 4 | code[1]);
    }
}

void nbi_quantize4_ref(const nb_quantize4_args *a)
{
    assert(a->kind == NB_QK_NF4 || a->kind == NB_QK_FP4);
    assert(a->block > 0 && a->block % 2 == 0 && nb_dtype_is_dense_float(a->dtype));
    const int64_t blocks = (a->n + a->block - 1) / a->block;
#pragma omp parallel for num_threads(nb_queue_threads(a->q, 8 * a->n)) schedule(static)
    for (int64_t b = 0; b < blocks; b++)
        quantize4_block(a, b);
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

float nb_quant_mean(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i];
    return n > 0 ? (float)(sum / (double)n) : 0.0f;
}
