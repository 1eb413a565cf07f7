/* SPDX-License-Identifier: MIT */
/* The ladder of x86 instruction sets: later rungs replace entries of earlier ones. */
#include "kernel/variants.h"

/* Operations instantiated per instruction set (the *_tmpl.h files). */
#define NB_X86_MAP(X)                                                                              \
    X(matmul)                                                                                      \
    X(qmatmul)                                                                                     \
    X(decode)                                                                                      \
    X(rmsnorm)                                                                                     \
    X(rmsnorm_bwd)                                                                                 \
    X(glu)                                                                                         \
    X(glu_bwd)                                                                                     \
    X(rope)                                                                                        \
    X(axpy)                                                                                        \
    X(bias)                                                                                        \
    X(bias_bwd)                                                                                    \
    X(dropout)                                                                                     \
    X(attention)                                                                                   \
    X(attention_bwd)                                                                               \
    X(cross_entropy)                                                                               \
    X(adamw)                                                                                       \
    X(sumsq)

void nbi_kernels_init_x86(nb_kernels *k, unsigned flags)
{
#define NB_X86_AVX2(member)                                                                        \
    k->member = nbi_##member##_avx2;                                                               \
    k->member##_variant = "avx2";
#define NB_X86_AVX512(member)                                                                      \
    k->member = nbi_##member##_avx512;                                                             \
    k->member##_variant = "avx512";
    if (flags & NB_CPU_AVX2) {
        NB_X86_MAP(NB_X86_AVX2)
    }
    if (flags & NB_CPU_AVX512) {
        NB_X86_MAP(NB_X86_AVX512)
    }
}
