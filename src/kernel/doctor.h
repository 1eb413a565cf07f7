/* SPDX-License-Identifier: MIT */
#ifndef NB_DOCTOR_H
#define NB_DOCTOR_H

#include "base/json.h"
#include "kernel/kernel.h"

/* Writes the members of an open object: CPU, threads, memory, the variant of each kernel for
 * `flags`, the measured rates of matrix products in f32 and bf16 beside the register-only peaks. */
nb_status nb_doctor_report(nbi_json_writer *w, unsigned flags, int threads,
                           nb_error *err) NB_MUST_CHECK;
/* Kinds of multiply-adds: f32 with the widest registers, pairs of bf16, tiles of bf16. */
typedef enum nb_peak_kind { NB_PEAK_F32, NB_PEAK_BF16_DOT, NB_PEAK_AMX } nb_peak_kind;
/* GFLOP/s of multiply-adds that touch registers only on `threads` threads, measured for some
 * milliseconds; 0 where this CPU has no such instruction. */
double nb_peak_gflops(nb_peak_kind kind, int threads);

#endif
