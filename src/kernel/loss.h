/* SPDX-License-Identifier: MIT */
#ifndef NB_LOSS_H
#define NB_LOSS_H

#include "device/device.h"
#include "tensor/dtype.h"
#include <stdbool.h>
#include <stdint.h>

#define NB_IGNORE_INDEX (-100)

/* Cross-entropy of one chunk of rows.
 *   logits [rows, v] f32 row stride v; overwritten by (softmax - onehot(target)) * grad_scale when
 *          want_grad, else left as they are; rows whose target is NB_IGNORE_INDEX get zeros
 *   grad_dtype F32, or BF16: then each row's gradient, rounded once, fills the first half of its
 *          row's bytes (a bf16 array [rows, v] of row stride 2 v)
 *   target [rows]: 0..v-1 or NB_IGNORE_INDEX
 *   nll    [rows]: -log softmax(logits)[target], 0 for ignored rows
 *   hit    [rows]: 1 when the arg max (lowest index among equals) is the target, else 0; may be
 * NULL */
typedef struct nb_cross_entropy_args {
    nb_queue *q;
    int64_t rows, v;
    float *logits;
    const int32_t *target;
    float grad_scale;
    bool want_grad;
    float *nll;
    uint8_t *hit;
    nb_dtype grad_dtype;
} nb_cross_entropy_args;
typedef void nb_cross_entropy_fn(const nb_cross_entropy_args *a);

#endif
