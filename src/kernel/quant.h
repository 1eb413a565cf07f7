/* SPDX-License-Identifier: MIT */
/* Quantisation of weights, bit for bit as bitsandbytes 0.50 writes it (oracle/bnb/README). */
#ifndef NB_QUANT_H
#define NB_QUANT_H

#include "device/device.h"
#include "tensor/qtensor.h"

/* x[n] (dense dtype, flat) -> codes[ceil(n/2)], absmax[ceil(n/block)].
 * kind NF4 or FP4. Full blocks: s = x * (1 / max(absmax, 1e-38)); the short last block divides and
 * its stored absmax is at least 1e-38. code = sorted_code[number of thresholds < s]. Odd n: the
 * last low nibble is the code of 0. Where x holds NaN or infinity the block's absmax is NaN or
 * infinity, its codes are any (models with such weights are refused). `block` is a multiple of 32.
 * x and codes do not overlap. Every variant gives the same bits. */
typedef struct nb_quantize4_args {
    nb_queue *q;
    nb_qkind kind;
    nb_dtype dtype;
    const void *x;
    int64_t n, block;
    uint8_t *codes;
    float *absmax;
} nb_quantize4_args;
typedef void nb_quantize4_fn(const nb_quantize4_args *a);

/* Double quantisation of absmax[n]: offset = nb_quant_mean, then 8-bit codes of
 * absmax - offset in blocks of `block` with the signed dynamic map `book`, exact search (7
 * halvings, then midpoint); zero block: the code of 0 (127), nested_absmax 0. */
typedef struct nb_quantize8_args {
    nb_queue *q;
    const float *x;
    int64_t n, block;
    const float *book; /* [256] */
    float offset;      /* subtracted from each x */
    uint8_t *codes;    /* [n] */
    float *absmax;     /* [ceil(n/block)] */
} nb_quantize8_args;
typedef void nb_quantize8_fn(const nb_quantize8_args *a);

/* The offset of double quantisation: f64 sum in eight parts that take turns. */
float nb_quant_mean(const float *x, int64_t n);

#endif
