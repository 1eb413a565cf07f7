/* SPDX-License-Identifier: MIT */
/* Analytic f32 gradients against central differences of the double reference. */
#ifndef FD_H
#define FD_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include "base/rng.h"
#include "grad/ref_model.h"

/* Relative to a tensor's largest gradient. An f32 gradient passes through about eight products and
 * sums of tens to hundreds of terms per layer, each good to a few units of 2^-24; the differences
 * themselves, with steps of 1e-5 in double, are good to 1e-9. */
#define FD_TOLERANCE (0x1p-24 * 400.0)
#define FD_STEP 1e-5

/* The larger one, NaN before all. */
static inline double fd_worse(double a, double b)
{
    return isnan(b) || b > a ? b : a;
}

typedef struct fd_result {
    double worst; /* largest deviation / largest gradient of the tensor */
    int checked;
} fd_result;

static inline double fd_element(const ref_model *r, const nb_batch *b, double *w)
{
    double kept = *w;
    *w = kept + FD_STEP;
    double up = ref_loss(r, b, NULL, NULL, NULL);
    *w = kept - FD_STEP;
    double down = ref_loss(r, b, NULL, NULL, NULL);
    *w = kept;
    return (up - down) / (2.0 * FD_STEP);
}

/* Difference along a random direction of unit length: every element takes part. Returns the
 * numeric value and in *analytic the product with grad. */
static inline double fd_direction(const ref_model *r, const nb_batch *b, double *w, int64_t n,
                                  const float *grad, uint64_t seed, double *analytic)
{
    double *kept = malloc((size_t)n * sizeof *kept), *dir = malloc((size_t)n * sizeof *dir);
    double norm = 0.0;
    nbi_rng rng;
    nbi_rng_init(&rng, seed, NBI_RNG_SAMPLE, 3);
    for (int64_t i = 0; i < n; i++) {
        kept[i] = w[i];
        dir[i] = nbi_rng_normal(&rng);
        norm += dir[i] * dir[i];
    }
    *analytic = 0.0;
    for (int64_t i = 0; i < n; i++) {
        dir[i] /= sqrt(norm);
        *analytic += dir[i] * (double)grad[i];
        w[i] = kept[i] + FD_STEP * dir[i];
    }
    double up = ref_loss(r, b, NULL, NULL, NULL);
    for (int64_t i = 0; i < n; i++)
        w[i] = kept[i] - FD_STEP * dir[i];
    double down = ref_loss(r, b, NULL, NULL, NULL);
    for (int64_t i = 0; i < n; i++)
        w[i] = kept[i];
    free(kept);
    free(dir);
    return (up - down) / (2.0 * FD_STEP);
}

/* Up to `elements` elements (spread evenly) and two directions. */
static inline fd_result fd_tensor(const ref_model *r, const nb_batch *b, double *w, int64_t n,
                                  const float *grad, int64_t elements)
{
    fd_result res = {0};
    double scale = 1e-6, analytic;
    for (int64_t i = 0; i < n; i++)
        scale = fmax(scale, fabs((double)grad[i]));
    int64_t step = n > elements ? n / elements : 1;
    for (int64_t i = 0; i < n; i += step, res.checked++)
        res.worst = fd_worse(res.worst, fabs(fd_element(r, b, w + i) - (double)grad[i]) / scale);
    for (uint64_t k = 0; k < 2; k++, res.checked++) {
        double numeric = fd_direction(r, b, w, n, grad, 100 + k, &analytic);
        res.worst = fd_worse(res.worst, fabs(numeric - analytic) / scale);
    }
    return res;
}

#endif
