/* SPDX-License-Identifier: MIT */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) ||                   \
    !defined(__AVX512VL__) || !defined(__FMA__)
#error "compile with -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c"
#endif
#define NBI_ISA(name) nbi_##name##_avx512
#include "kernel/matmul_tmpl.h"
#include "kernel/thin_tmpl.h"
#include "kernel/attention_bwd_tmpl.h"
#include "kernel/rowwise_tmpl.h"
#include "kernel/dropout_tmpl.h"
#include "kernel/noise_tmpl.h"
#include "kernel/loss_tmpl.h"
#include "kernel/optim_tmpl.h"
#include "kernel/adafactor_tmpl.h"
#include "kernel/quant_tmpl.h"
#include "kernel/optim8_tmpl.h"
