/* SPDX-License-Identifier: MIT */
/* The ladder of x86 instruction sets: later rungs replace entries of earlier ones. */
#include "kernel/variants.h"

/* Operations instantiated per instruction set (the *_tmpl.h files). */
#define NB_X86_MAP(X)                                                                              \
    X(matmul)                                                                                      \
    X(qmatmul)                                                                                     \
    X(thin)                                                                                        \
    X(decode)                                                                                      \
    X(quantize4)                                                                                   \
    X(quantize8)                                                                                   \
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
    X(noise)                                                                                       \
    X(adamw)                                                                                       \
    X(sgd)                                                                                         \
    X(lion)                                                                                        \
    X(adafactor)                                                                                   \
    X(adamw8)                                                                                      \
    X(lion8)                                                                                       \
    X(sumsq)

/* Operations with a version for dot products of bf16, and for tiles. */
#define NB_X86_BF16_MAP(X)                                                                         \
    X(matmul)                                                                                      \
    X(qmatmul)                                                                                     \
    X(thin)                                                                                        \
    X(attention)                                                                                   \
    X(attention_bwd)

void nbi_kernels_init_x86(nb_kernels *k, unsigned flags)
{
#define NB_X86_AVX2(member)                                                                        \
    k->member = nbi_##member##_avx2;                                                               \
    k->member##_variant = "avx2";
#define NB_X86_AVX512(member)                                                                      \
    k->member = nbi_##member##_avx512;                                                             \
    k->member##_variant = "avx512";
#define NB_X86_AVX512BF16(member)                                                                  \
    k->member = nbi_##member##_avx512bf16;                                                         \
    k->member##_variant = "avx512bf16";
#define NB_X86_AMX(member)                                                                         \
    k->member = nbi_##member##_amx;                                                                \
    k->member##_variant = "amx";
    if (flags & NB_CPU_AVX2) {
        NB_X86_MAP(NB_X86_AVX2)
    }
    if (flags & NB_CPU_AVX512) {
        NB_X86_MAP(NB_X86_AVX512)
    }
    if (flags & NB_CPU_AVX512BF16) {
        NB_X86_BF16_MAP(NB_X86_AVX512BF16)
    }
    if ((flags & NB_CPU_AMX) && nbi_tiles_allowed()) {
        NB_X86_BF16_MAP(NB_X86_AMX)
    }
}
