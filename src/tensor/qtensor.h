/* SPDX-License-Identifier: MIT */
/* Weights of linear layers as stored: dense or quantised, one description for all kernels.
 *
 * The logical matrix is W[N, K] (N outputs, K inputs). Products decode tiles of it; nothing ever
 * holds a whole decoded copy. Pointers are borrowed; whoever loads the weight owns the memory. */
#ifndef NB_QTENSOR_H
#define NB_QTENSOR_H

#include "tensor/dtype.h"

typedef enum nb_qkind {
    NB_QK_DENSE, /* `data` of dtype F32, F16 or BF16, row-major, row stride K */
    NB_QK_NF4,   /* 4-bit codes with a code book of 16 values */
    NB_QK_FP4
} nb_qkind;

typedef struct nb_qtensor {
    nb_qkind kind;
    nb_dtype dtype;   /* DENSE: of data; else the dtype of the weight before quantisation */
    int64_t n, k;     /* rows (outputs), columns (inputs) */
    const void *data; /* DENSE: elements; 4 bit: ceil(n*k/2) bytes, element 2i in the HIGH nibble of
                       * byte i, blocks of `block` consecutive elements of the flattened rows */
    /* 4 bit only */
    int64_t block;       /* power of two, 32..4096 */
    float book[16];      /* value of each code, as stored in the file */
    const float *absmax; /* [ceil(n*k/block)], or NULL with double quantisation */
    /* double quantisation: absmax[i] = nested_book[codes[i]] * nested_absmax[i/nested_block] +
     * offset */
    const uint8_t *absmax_codes;
    const float *nested_absmax; /* [ceil(blocks/nested_block)] */
    const float *nested_book;   /* [256] */
    int64_t nested_block;       /* power of two, 256 usually */
    float nested_offset;
} nb_qtensor;

/* Dense f32 view; the usual way to hand a plain matrix to nb_qmatmul. */
static inline nb_qtensor nb_qtensor_dense(nb_dtype dtype, const void *data, int64_t n, int64_t k)
{
    nb_qtensor t = {NB_QK_DENSE, dtype, n, k, data, 0, {0}, NULL, NULL, NULL, NULL, 0, 0.0f};
    return t;
}

/* Scale of block i in f32, exactly as bitsandbytes restores it. */
static inline float nb_qtensor_absmax(const nb_qtensor *t, int64_t i)
{
    if (t->absmax)
        return t->absmax[i];
    return t->nested_book[t->absmax_codes[i]] * t->nested_absmax[i / t->nested_block] +
           t->nested_offset;
}

/* Bytes of codes and of all statistics (what the tags WEIGHTS and SCALES hold). */
size_t nb_qtensor_data_bytes(const nb_qtensor *t);
size_t nb_qtensor_stat_bytes(const nb_qtensor *t);
const char *nb_qkind_name(nb_qkind k); /* "dense", "nf4", "fp4" */

#endif
