/* SPDX-License-Identifier: MIT */
/* The kernel table: filled with the reference versions first, then upgraded along the ladder of
 * instruction sets that this CPU has (dav1d's scheme). No feature test in hot code. */
#ifndef NB_KERNEL_H
#define NB_KERNEL_H

#include "kernel/attention.h"
#include "kernel/embedding.h"
#include "kernel/loss.h"
#include "kernel/matmul.h"
#include "kernel/optim_step.h"
#include "kernel/quant.h"
#include "kernel/rowwise.h"
#include "kernel/thin.h"

/* X(member, type). The one list of operations. */
#define NB_KERNEL_MAP(X)                                                                           \
    X(matmul, nb_matmul_fn)                                                                        \
    X(qmatmul, nb_qmatmul_fn)                                                                      \
    X(thin, nb_thin_fn)                                                                            \
    X(decode, nb_decode_fn)                                                                        \
    X(quantize4, nb_quantize4_fn)                                                                  \
    X(quantize8, nb_quantize8_fn)                                                                  \
    X(rmsnorm, nb_rmsnorm_fn)                                                                      \
    X(rmsnorm_bwd, nb_rmsnorm_bwd_fn)                                                              \
    X(glu, nb_glu_fn)                                                                              \
    X(glu_bwd, nb_glu_bwd_fn)                                                                      \
    X(rope_table, nb_rope_table_fn)                                                                \
    X(rope, nb_rope_fn)                                                                            \
    X(axpy, nb_axpy_fn)                                                                            \
    X(bias, nb_bias_fn)                                                                            \
    X(bias_bwd, nb_bias_bwd_fn)                                                                    \
    X(dropout, nb_dropout_fn)                                                                      \
    X(attention, nb_attention_fn)                                                                  \
    X(attention_bwd, nb_attention_bwd_fn)                                                          \
    X(cross_entropy, nb_cross_entropy_fn)                                                          \
    X(embed, nb_embed_fn)                                                                          \
    X(embed_bwd, nb_embed_bwd_fn)                                                                  \
    X(noise, nb_noise_fn)                                                                          \
    X(adamw, nb_adamw_fn)                                                                          \
    X(sgd, nb_sgd_fn)                                                                              \
    X(lion, nb_lion_fn)                                                                            \
    X(adafactor, nb_adafactor_fn)                                                                  \
    X(adamw8, nb_optim8_fn)                                                                        \
    X(lion8, nb_optim8_fn)                                                                         \
    X(sumsq, nb_sumsq_fn)

typedef struct nb_kernels {
#define NB_KERNEL_MEMBER(member, type)                                                             \
    type *member;                                                                                  \
    const char *member##_variant; /* "ref", "avx2", "avx512": for `nibble doctor` */
    NB_KERNEL_MAP(NB_KERNEL_MEMBER)
#undef NB_KERNEL_MEMBER
} nb_kernels;

/* Instruction-set levels that variants exist for, ascending. */
typedef enum nb_cpu_flag {
    NB_CPU_AVX2 = 1,       /* AVX2, FMA, F16C, and the OS saves the registers */
    NB_CPU_AVX512 = 2,     /* F, BW, DQ, VL */
    NB_CPU_AVX512BF16 = 4, /* dot products of bf16 pairs */
    NB_CPU_AMX = 8
} nb_cpu_flag;

/* What this CPU and system offer (CPUID and XGETBV), 0 on other architectures. */
unsigned nb_cpu_flags(void);
/* Those of them worth using here: without dot products of bf16 pairs that are no faster than f32
 * (measured where tiles do not replace them anyway). */
unsigned nb_cpu_best_flags(void);
/* Whether products in bf16 are faster than in f32 with these flags, or only rounded. */
static inline bool nb_cpu_bf16_fast(unsigned flags)
{
    return flags & (NB_CPU_AVX512BF16 | NB_CPU_AMX);
}
/* "avx2 avx512 avx512bf16 amx" into buf; the CPU's brand string into brand (both NUL-terminated).
 */
void nb_cpu_describe(unsigned flags, char buf[128], char brand[64]);
/* Fills the table for the given flags (a subset of nb_cpu_flags() to force a lower level). */
void nb_kernels_init(nb_kernels *k, unsigned flags);
/* The flags without those whose variants multiply bf16 only: the variants for AVX512-BF16 and AMX
 * hand work in f32 to the ones that these choose. */
static inline unsigned nb_cpu_f32_flags(unsigned flags)
{
    return flags & ~(unsigned)(NB_CPU_AVX512BF16 | NB_CPU_AMX);
}

/* dtype of what layers hand to each other: BF16 when products compute in bf16. The residual stream,
 * its gradient, adapters and statistics are f32 in both. */
#define NB_ACT_DTYPE(compute) ((compute) == NB_COMPUTE_BF16 ? NB_DT_BF16 : NB_DT_F32)

/* Everything a layer needs to compute; passed down by pointer, immutable while in use. */
typedef struct nb_exec {
    nb_kernels k;
    nb_queue *q;
    nb_compute compute; /* of products with frozen or full weights; adapters are always f32 */
} nb_exec;

#endif
