/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include "kernel/variants.h"

void nb_kernels_init(nb_kernels *k, unsigned flags)
{
#define NB_KERNEL_REF(member, type)                                                                \
    k->member = nbi_##member##_ref;                                                                \
    k->member##_variant = "ref";
    NB_KERNEL_MAP(NB_KERNEL_REF)
#undef NB_KERNEL_REF
#if defined(__x86_64__)
    nbi_kernels_init_x86(k, flags);
#else
    (void)flags;
#endif
}

#if !defined(__x86_64__)
unsigned nb_cpu_flags(void)
{
    return 0;
}

void nb_cpu_describe(unsigned flags, char buf[128], char brand[64])
{
    (void)flags;
    snprintf(buf, 128, "none");
    snprintf(brand, 64, "unknown");
}
#endif
