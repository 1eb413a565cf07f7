/* SPDX-License-Identifier: MIT */
/* What kernel tests share: the levels of this CPU, queues, random data. Include after testutil.h.
 */
#ifndef NBT_KERNEL_UTIL_H
#define NBT_KERNEL_UTIL_H

#include "base/rng.h"
#include "kernel/kernel.h"
#include "tensor/codebook.h"
#include "tensor/half.h"

/* The instruction-set levels that can run here, lowest first; returns their number. With
 * NIBBLE_TEST_LEVEL=NAME none above that one, as on a lesser machine. */
enum { NBT_MAX_LEVELS = 5 };
NBT_UNUSED static int nbt_levels(unsigned level[NBT_MAX_LEVELS])
{
    static const char *const names[] = {"ref", "avx2", "avx512", "avx512bf16", "amx"};
    const unsigned all[NBT_MAX_LEVELS] = {0, 1, 3, 7, 15}; /* nb_cpu_flag, one more each */
    const char *highest = getenv("NIBBLE_TEST_LEVEL");
    int n = 0;
    for (int i = 0; i < NBT_MAX_LEVELS; i++) {
        if ((all[i] & nb_cpu_flags()) == all[i])
            level[n++] = all[i];
        if (highest && strcmp(highest, names[i]) == 0)
            break;
    }
    return n;
}

NBT_UNUSED static nb_queue *nbt_queue(int threads)
{
    nb_error err;
    nb_queue *q;
    NBT_OK(nb_queue_open(&q, threads, &err));
    return q;
}

/* One turn of a loop over the levels. */
typedef struct nbt_level {
    nb_kernels k;
    nb_queue *q;
    int i, n;
    unsigned flags[NBT_MAX_LEVELS];
} nbt_level;

NBT_UNUSED static nbt_level nbt_level_first(int threads)
{
    nbt_level l = {.q = nbt_queue(threads)};
    l.n = nbt_levels(l.flags);
    nb_kernels_init(&l.k, l.flags[0]);
    return l;
}

NBT_UNUSED static void nbt_level_next(nbt_level *l)
{
    if (++l->i < l->n)
        nb_kernels_init(&l->k, l->flags[l->i]);
    else
        nb_queue_close(&l->q);
}

/* Runs what follows with l.k and l.q of each level; do not leave it early. */
#define NBT_FOR_LEVELS(l, threads)                                                                 \
    for (nbt_level l = nbt_level_first(threads); l.i < l.n; nbt_level_next(&l))

NBT_UNUSED static float *nbt_floats(size_t n)
{
    return nbi_calloc(NBI_MEM_OTHER, n + 1, sizeof(float));
}

/* n normal numbers times `scale`; one more float behind them is NaN, so that reading past the end
 * shows. */
NBT_UNUSED static float *nbt_random(size_t n, uint64_t seed, double scale)
{
    float *p = nbt_floats(n);
    nbi_rng r;
    nbi_rng_init(&r, seed, NBI_RNG_INIT, 0);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)(scale * nbi_rng_normal(&r));
    p[n] = NAN;
    return p;
}

NBT_UNUSED static float *nbt_copy(const float *x, size_t n)
{
    float *p = nbt_floats(n);
    memcpy(p, x, n * sizeof(float));
    return p;
}

NBT_UNUSED static bool nbt_same_bits(const float *a, const float *b, size_t n)
{
    return memcmp(a, b, n * sizeof(float)) == 0;
}

/* ---- values in either of two dtypes ---- */

/* Element i of an array of F32 or BF16. */
NBT_UNUSED static float nbt_value(const void *p, nb_dtype t, int64_t i)
{
    return t == NB_DT_BF16 ? nb_bf16_to_f32(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

/* x[n] becomes what it would be after storing as t. */
NBT_UNUSED static void nbt_round_values(float *x, size_t n, nb_dtype t)
{
    for (size_t i = 0; t == NB_DT_BF16 && i < n; i++)
        x[i] = nb_round_bf16(x[i]);
}

/* A copy of x[n] in dtype t, with one NaN behind it. */
NBT_UNUSED static void *nbt_stored(const float *x, size_t n, nb_dtype t)
{
    float *p = nbt_copy(x, n);
    p[n] = NAN;
    for (size_t i = 0; t == NB_DT_BF16 && i <= n; i++)
        ((uint16_t *)p)[i] = nb_f32_to_bf16(i < n ? x[i] : NAN);
    return p;
}

/* Allowed error of a sum of k products whose absolute values sum to `size`, stored in F32 or, with
 * one rounding more, BF16. */
NBT_UNUSED static double nbt_tolerance(int64_t k, double size, double sum, bool bf16)
{
    const double t = NB_TOL_DOT(k, NB_COMPUTE_F32) * size;
    return bf16 ? t + 0x1p-8 * (fabs(sum) + t) : t;
}

/* The larger of two deviations; NaN wins. */
NBT_UNUSED static double nbt_worse(double a, double b)
{
    return isnan(a) || a > b ? a : b;
}

static const int nbt_thread_counts[] = {1, 2, 3, 5, 8};
enum { NBT_THREAD_COUNTS = sizeof(nbt_thread_counts) / sizeof(nbt_thread_counts[0]) };

#endif
