/* SPDX-License-Identifier: MIT */
#ifndef NB_VEC_TRANSPOSE_H
#define NB_VEC_TRANSPOSE_H

#include "kernel/vec.h"

/* t becomes its transpose: log2(W) passes of a perfect shuffle of the rows. */
NBI_INLINE void transpose(vf t[NBI_W])
{
    vf u[NBI_W];
#pragma GCC unroll 4
    for (int pass = 1; pass < NBI_W; pass *= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < NBI_W / 2; i++) {
            u[2 * i] = vf_zip_low(t[i], t[i + NBI_W / 2]);
            u[2 * i + 1] = vf_zip_high(t[i], t[i + NBI_W / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < NBI_W; i++)
            t[i] = u[i];
    }
}

#endif
