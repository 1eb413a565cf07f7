/* SPDX-License-Identifier: MIT */
#define NBI_ISA(name) nbi_##name##_ref
#include "kernel/optim_tmpl.h"
#include "kernel/adafactor_tmpl.h"
#include "kernel/optim8_tmpl.h"
