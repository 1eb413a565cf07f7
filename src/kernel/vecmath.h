/* SPDX-License-Identifier: MIT */
/* exp, tanh and the activations on vectors; errors of one to two units in the last place. */
#ifndef NB_VECMATH_H
#define NB_VECMATH_H

#include <math.h>
#include "kernel/vec.h"

/* exp(x) = 2^n exp(r), |r| <= ln(2)/2, Taylor to r^7 (remainder below 2^-27). Overflow to infinity,
 * NaN stays; below the smallest normal number the result is 0: masked scores are common, and
 * subnormal results cost a microcode assist each. */
NBI_INLINE vf vf_exp(vf x)
{
    const vf magic = vf_set1(0x1.8p23f), lowest = vf_set1(-87.33654f);
    const vi tiny = x < lowest;
    /* in this order of operands NaN passes */
    x = vf_max(lowest, vf_min(vf_set1(89.0f), x));
    vf biased = vf_fma(x, vf_set1(1.44269504f), magic);
    vf n = biased - magic;
    vf r = vf_fma(n, vf_set1(-0x1.62e4p-1f), x); /* short constant: exact with or without fma */
    r = vf_fma(n, vf_set1(-1.42860682e-6f), r);
    vf p = vf_set1(1.0f / 5040.0f);
    p = vf_fma(p, r, vf_set1(1.0f / 720.0f));
    p = vf_fma(p, r, vf_set1(1.0f / 120.0f));
    p = vf_fma(p, r, vf_set1(1.0f / 24.0f));
    p = vf_fma(p, r, vf_set1(1.0f / 6.0f));
    p = vf_fma(p, r, vf_set1(0.5f));
    vf q = vf_fma(r * r, p, r) + 1.0f;
    vi e = (vi)biased - (vi)magic;
    vi half = e >> 1; /* -126..128: two factors, neither out of range */
    vf f1 = (vf)((half + 127) << 23), f2 = (vf)((e - half + 127) << 23);
    return (vf)((vi)(q * f1 * f2) & ~tiny);
}

/* tanh: odd polynomial near 0 (where 1 - 2/(e+1) would cancel; interpolates tanh(x)/x at
 * Chebyshev nodes of x^2 up to 0.625^2, error below 2^-30), exponentials elsewhere. */
NBI_INLINE vf vf_tanh(vf x)
{
    vf a = (vf)((vi)x & 0x7fffffff);
    vf z = x * x;
    vf p = vf_set1(0.00229274482f);
    p = vf_fma(p, z, vf_set1(-0.00834394552f));
    p = vf_fma(p, z, vf_set1(0.0217689187f));
    p = vf_fma(p, z, vf_set1(-0.0539592596f));
    p = vf_fma(p, z, vf_set1(0.133333036f));
    p = vf_fma(p, z, vf_set1(-0.333333332f));
    vf small = vf_fma(p * z, x, x);
    vf large = 1.0f - 2.0f / (vf_exp(a + a) + 1.0f);
    vi sign = (vi)x & (vi)vf_set1(-0.0f);
    large = (vf)((vi)large | sign);
    return vf_select(a < 0.625f, small, large);
}

NBI_INLINE vf vf_sigmoid(vf x)
{
    return 1.0f / (vf_exp(-x) + 1.0f);
}

#endif
