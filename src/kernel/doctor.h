/* SPDX-License-Identifier: MIT */
#ifndef NB_DOCTOR_H
#define NB_DOCTOR_H

#include "base/json.h"
#include "kernel/kernel.h"

/* Writes the members of an open object: CPU, threads, memory, the variant of each kernel for
 * `flags`, and the measured rate of a matrix product beside the register-only peak. */
nb_status nb_doctor_report(nbi_json_writer *w, unsigned flags, int threads,
                           nb_error *err) NB_MUST_CHECK;
/* GFLOP/s of fused multiply-adds that touch registers only, with the widest instruction set of this
 * CPU, on `threads` threads; 0 where there is no such loop. */
double nb_peak_gflops(int threads);

#endif
