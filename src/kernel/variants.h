/* SPDX-License-Identifier: MIT */
/* Names of all kernel functions: nbi_<operation>_<instruction set>. Not every operation exists for
 * every set; the tables in kernel.c and x86/kernels_x86.c say which. */
#ifndef NB_VARIANTS_H
#define NB_VARIANTS_H

#include "kernel/kernel.h"

#define NB_KERNEL_DECLARE(member, type)                                                            \
    type nbi_##member##_ref, nbi_##member##_avx2, nbi_##member##_avx512,                           \
        nbi_##member##_avx512bf16, nbi_##member##_amx;
NB_KERNEL_MAP(NB_KERNEL_DECLARE)
#undef NB_KERNEL_DECLARE

/* Each term of thin products as products of their own. */
void nbi_thin_by_matmul(const nb_thin_args *a, nb_matmul_fn *matmul);

/* Replaces entries of a table filled with reference versions. */
void nbi_kernels_init_x86(nb_kernels *k, unsigned flags);
/* Asks the system to save tile registers for this process; false where it refuses. */
bool nbi_tiles_allowed(void);

#endif
