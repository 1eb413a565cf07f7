/* SPDX-License-Identifier: MIT */
#define NBI_ISA(name) nbi_##name##_ref
#include "kernel/loss_tmpl.h"
