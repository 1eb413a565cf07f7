/* SPDX-License-Identifier: MIT */
/* Looking at files and at the machine. */
#ifndef NIBBLE_INSPECT_H
#define NIBBLE_INSPECT_H

#include <stdbool.h>
#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* Says what a path is (model folder, adapter, checkpoint, tokenizer, safetensors file) with sizes
 * and types, as text of several lines or, with `json`, as one JSON object on one line. `tensors`
 * lists every tensor. *text is freed with nb_free. */
nb_status nb_inspect(const char *path, bool tensors, bool json, char **text,
                     nb_error *err) NB_MUST_CHECK;

/* CPU features, the kernel chosen for each operation, memory, and the measured speed of
 * the matrix product beside the peak of the registers. `cpumask` as the recipe key, NULL:
 * everything. */
nb_status nb_doctor(const char *cpumask, int threads, bool json, char **text,
                    nb_error *err) NB_MUST_CHECK;

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
