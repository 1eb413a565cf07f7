/* SPDX-License-Identifier: MIT */
#include <math.h>
#include "tensor/codebook.h"

const float nb_book_nf4[16] = {-1.0f,        -0.6961928f,  -0.52507305f,  -0.3949175f,
                               -0.28444138f, -0.18477343f, -0.091050036f, 0.0f,
                               0.0795803f,   0.1609302f,   0.2461123f,    0.33791524f,
                               0.44070983f,  0.562617f,    0.72295684f,   1.0f};

/* Sign and a 3-bit magnitude of {0, 1/16, 8, 12, 4, 6, 2, 3} twelfths; code 8 is +0 as well. */
const float nb_book_fp4[16] = {
    0.0f, 0.00520833349f,  0.666666687f,  1.0f,  0.333333343f,  0.5f,  0.166666672f,  0.25f,
    0.0f, -0.00520833349f, -0.666666687f, -1.0f, -0.333333343f, -0.5f, -0.166666672f, -0.25f};

const float nb_thresholds_nf4[15] = {-0.848096371f, -0.610632896f, -0.45999527f,   -0.33967942f,
                                     -0.234607399f, -0.137911737f, -0.0455250181f, 0.0397901498f,
                                     0.120255247f,  0.203521252f,  0.292013764f,   0.389312536f,
                                     0.501663446f,  0.64278692f,   0.861478448f};

const float nb_thresholds_fp4[15] = {-0.833333373f,  -0.583333373f, -0.416666687f,   -0.291666687f,
                                     -0.208333343f,  -0.0859375f,   -0.00260416674f, 0.0f,
                                     0.00260416674f, 0.0859375f,    0.208333343f,    0.291666687f,
                                     0.416666687f,   0.583333373f,  0.833333373f};

const uint8_t nb_sorted_code_nf4[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
const uint8_t nb_sorted_code_fp4[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};

/* Point i of n equally spaced ones from 0.1 to 1, from the nearer end, one rounding. */
static float spaced(int i, int n)
{
    const float step = (1.0f - 0.1f) / (float)(n - 1);
    return i < n / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(n - 1 - i), 1.0f);
}

/* The entries above 0 of powers[0..6], n << e of them for power e, and 1 behind them. */
static void positive_half(float *map, int n)
{
    static const float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    for (int e = 0; e < 7; e++, n *= 2)
        for (int i = 0; i < n; i++)
            *map++ = (spaced(i, n + 1) + spaced(i + 1, n + 1)) / 2.0f * powers[e];
    *map = 1.0f;
}

void nb_dynamic_map_signed(float map[256])
{
    positive_half(map + 128, 1);
    map[127] = 0.0f;
    for (int i = 0; i < 127; i++)
        map[126 - i] = -map[128 + i];
}

void nb_dynamic_map_unsigned(float map[256])
{
    map[0] = 0.0f;
    positive_half(map + 1, 2);
}

void nb_dynamic8_init(nb_dynamic8 *t, bool is_signed)
{
    *t = (nb_dynamic8){.value = {0}};
    (is_signed ? nb_dynamic_map_signed : nb_dynamic_map_unsigned)(t->value);
    const float *v = t->value + (is_signed ? 127 : 0);
    for (int g = 0, at = 0, n; g < NB_DYNAMIC8_GROUPS; g++, at += n) {
        n = g == 0 || g == NB_DYNAMIC8_GROUPS - 1 ? 1 : is_signed ? 1 << (g - 1) : 1 << g;
        const double step = n > 1 ? ((double)v[at + n - 1] - (double)v[at]) / (n - 1) : 0;
        t->from[g] = v[at];
        t->step[g] = (float)step;
        t->per[g] = n > 1 ? (float)(1 / step) : 0.0f;
        t->range[g] = (float)(n * step);
        t->first[g] = (float)at;
        t->last[g] = (float)(at + n - 1);
        if (g > 0)
            t->bound[g - 1] = (v[at - 1] + v[at]) * 0.5f;
    }
}
