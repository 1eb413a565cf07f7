/* SPDX-License-Identifier: MIT */
#define NBI_ISA(name) nbi_##name##_ref
#include "kernel/dropout_tmpl.h"
#include "kernel/noise_tmpl.h"
