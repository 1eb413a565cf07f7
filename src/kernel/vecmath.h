/* SPDX-License-Identifier: MIT */
/* exp, tanh and the activations on vectors; errors of one to two units in the last place. */
#ifndef NB_VECMATH_H
#define NB_VECMATH_H

#include <math.h>
#include "kernel/vec.h"

#define NBI_EXP_MAGIC 0x1.8p23f   /* added, it leaves the nearest integer in the low bits */
#define NBI_EXP_LOWEST -87.33654f /* exp of less is no normal number */
#define NBI_EXP_OVERFLOWS 89.0f   /* exp of it is infinite */

/* exp(sign * x) = 2^n q, 0.7 < q < 1.42, sign 1 or -1: q; *biased is n + NBI_EXP_MAGIC. |n| is
 * small enough where NBI_EXP_LOWEST <= sign * x <= NBI_EXP_OVERFLOWS. The polynomial is the minimax
 * one of degree 6 on |r| <= ln(2)/2 with the first two terms of the series: relative error below
 * 2^-27. */
NBI_INLINE vf nbi_exp_parts(vf x, const float sign, vf *biased)
{
    const vf magic = vf_set1(NBI_EXP_MAGIC);
    *biased = vf_fma(x, vf_set1(sign * 1.44269504f), magic);
    const vf n = *biased - magic;
    /* short constant: exact with or without fma */
    vf r = vf_fma(n, vf_set1(sign * -0x1.62e4p-1f), x);
    r = vf_fma(n, vf_set1(sign * -1.42860682e-6f), r);
    vf q = vf_set1(0x1.6a2434p-10f);
    q = vf_fma(q, r, vf_set1(sign * 0x1.1239e4p-7f));
    q = vf_fma(q, r, vf_set1(0x1.5558f2p-5f));
    q = vf_fma(q, r, vf_set1(sign * 0x1.555492p-3f));
    q = vf_fma(q, r, vf_set1(0x1.fffffcp-2f));
    q = vf_fma(q, r, vf_set1(sign * 1.0f));
    return vf_fma(q, r, vf_set1(1.0f));
}

/* exp(x) of x <= 88, NaN stays. Below the smallest normal number the result is 0: masked scores are
 * common, and subnormal results cost a microcode assist each. */
NBI_INLINE vf vf_exp_low(vf x)
{
    const vf lowest = vf_set1(NBI_EXP_LOWEST);
    vf biased;
    /* in this order of operands NaN passes */
    const vf q = nbi_exp_parts(vf_max(lowest, x), 1.0f, &biased);
#if NBI_W == 16
    const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, (__m512)lowest, _CMP_NLT_UQ);
    return (vf)_mm512_maskz_scalef_ps(normal, (__m512)q, (__m512)(biased - NBI_EXP_MAGIC));
#else
    const vi power = ((vi)biased << 23) + (127 << 23); /* the magic's bits are shifted out */
    return (vf)((vi)(q * (vf)power) & ~(x < lowest));
#endif
}

/* The same of any x, overflowing to infinity. */
NBI_INLINE vf vf_exp(vf x)
{
    const vf lowest = vf_set1(NBI_EXP_LOWEST);
    vf biased;
    const vf q =
        nbi_exp_parts(vf_max(lowest, vf_min(vf_set1(NBI_EXP_OVERFLOWS), x)), 1.0f, &biased);
#if NBI_W == 16
    const __mmask16 normal = _mm512_cmp_ps_mask((__m512)x, (__m512)lowest, _CMP_NLT_UQ);
    return (vf)_mm512_maskz_scalef_ps(normal, (__m512)q, (__m512)(biased - NBI_EXP_MAGIC));
#else
    const vi e = (vi)biased - (vi)vf_set1(NBI_EXP_MAGIC);
    const vi half = e >> 1; /* -126..128: two factors, neither out of range */
    const vf f1 = (vf)((half + 127) << 23), f2 = (vf)((e - half + 127) << 23);
    return (vf)((vi)(q * f1 * f2) & ~(x < lowest));
#endif
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

/* 1 / (1 + exp(-x)): 0 from about x = -89 down. Of a NaN it may be a number; the gates multiply it
 * by x. */
NBI_INLINE vf vf_sigmoid(vf x)
{
    const vf most = vf_set1(NBI_EXP_OVERFLOWS);
    vf biased;
#if NBI_W == 16
    /* the smaller magnitude with the sign of x */
    x = (vf)_mm512_range_ps((__m512)x, (__m512)most, 2);
    const vf q = nbi_exp_parts(x, -1.0f, &biased);
    const vf e = (vf)_mm512_scalef_ps((__m512)q, (__m512)(biased - NBI_EXP_MAGIC));
#else
    /* exp(-87) is lost beside 1; 2^128 is out of range, so 2^(n-1) */
    x = vf_max(-most, vf_min(vf_set1(87.0f), x));
    const vf q = nbi_exp_parts(x, -1.0f, &biased);
    const vf e = (q + q) * (vf)(((vi)biased << 23) + (126 << 23));
#endif
    return 1.0f / (e + 1.0f);
}

/* The normal distribution: its integral up to x, and exp(-x^2 / 2) in *bell. Below 0 it is
 * exp(-x^2 / 2) times a polynomial in t = 1 / (1 + 0.35 |x|), minimax in relative error for |x| <=
 * 14 (2^-25), where exp is 0 already. */
NBI_INLINE vf vf_normal(vf x, vf *bell)
{
    const vf t = 1.0f / (vf_set1(0.35f) * (vf)((vi)x & 0x7fffffff) + 1.0f);
    vf p = vf_set1(-0.0291458778f);
    p = vf_fma(p, t, vf_set1(0.143971458f));
    p = vf_fma(p, t, vf_set1(-0.255713820f));
    p = vf_fma(p, t, vf_set1(0.159173712f));
    p = vf_fma(p, t, vf_set1(-0.0231095590f));
    p = vf_fma(p, t, vf_set1(0.105507903f));
    p = vf_fma(p, t, vf_set1(0.119832888f));
    p = vf_fma(p, t, vf_set1(0.139861867f));
    p = vf_fma(p, t, vf_set1(0.139621407f));
    *bell = vf_exp_low(-0.5f * x * x);
    const vf tail = p * t * *bell;
    return vf_select(x < 0.0f, tail, 1.0f - tail);
}

#endif
