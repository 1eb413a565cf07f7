/* SPDX-License-Identifier: MIT */
/* Thin products by way of the general ones of the same instruction set. */
#ifndef NB_THIN_TMPL_H
#define NB_THIN_TMPL_H

#include "kernel/variants.h"

void NBI_ISA(thin)(const nb_thin_args *a)
{
    nbi_thin_by_matmul(a, NBI_ISA(matmul));
}

#endif
