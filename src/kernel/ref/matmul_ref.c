/* SPDX-License-Identifier: MIT */
#define NBI_ISA(name) nbi_##name##_ref
#include "kernel/matmul_tmpl.h"
#include "kernel/thin_tmpl.h"
