/* SPDX-License-Identifier: MIT */
/* Grouped-query attention over ragged segments, without a T x T matrix (online softmax; Dao 2023).
 */
#ifndef NB_ATTENTION_H
#define NB_ATTENTION_H

#include "device/device.h"
#include "tensor/dtype.h"
#include <stdbool.h>
#include <stdint.h>

/* Query i (0 <= i < q_len) of the segment stands at key position i + k_len - q_len and sees key j
 * iff j < prefix_len, or j <= i + k_len - q_len and (window == 0 or j > i + k_len - q_len -
 * window). Query i is row q_row0 + i of q/out/lse. Key j is row k_row0 + j of k and v, or, with a
 * block table, row block_table[j / block_len] * block_len + j % block_len. */
typedef struct nb_attn_segment {
    int64_t q_row0, q_len;
    int64_t k_row0, k_len; /* k_len >= q_len */
    int64_t prefix_len;
    const int32_t *block_table; /* NULL: contiguous */
    int64_t block_len;
} nb_attn_segment;

/* out[row, h*p..] = sum_j softmax_j(cap(scale * q_h . k_{h*G/H})) v_j,  cap(x) = softcap ?
 * softcap*tanh(x/softcap) : x.
 *   q, out [rows, H, p] row strides ldq, ldo;  k, v [key rows, G, p] row strides ldk, ldv
 *   lse [rows, H] log of the sum of exponentials (for the backward pass; may be NULL)
 * H a multiple of G, p <= 256. q, k, v, out (and in the backward pass dout, dq, dk, dv) are all of
 * `dtype`: F32 (computed in f32 throughout), or BF16 (operands of products in bf16, sums, softmax
 * and lse in f32). */
typedef struct nb_attention_args {
    nb_queue *q_;
    const nb_attn_segment *segments;
    int64_t n_segments;
    int64_t heads, kv_heads, p;
    const void *q, *k, *v;
    int64_t ldq, ldk, ldv;
    float scale, softcap;
    int64_t window; /* 0: none */
    void *out;
    int64_t ldo;
    float *lse;
    nb_dtype dtype; /* F32 (0) or BF16 */
} nb_attention_args;
typedef void nb_attention_fn(const nb_attention_args *a);

/* dq, dk, dv = gradients (assigned; every row of the segments is written; no block tables here and
 * q_len == k_len - prefix_len). delta [rows, H] is scratch. Strides as those of q, k, v. */
typedef struct nb_attention_bwd_args {
    nb_attention_args fwd; /* as in the forward call, out and lse filled */
    const void *dout;
    int64_t lddo;
    float *delta;
    void *dq, *dk, *dv;
} nb_attention_bwd_args;
typedef void nb_attention_bwd_fn(const nb_attention_bwd_args *a);

#endif
