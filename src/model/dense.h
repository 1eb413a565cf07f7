/* SPDX-License-Identifier: MIT */
/* Elements of dense weights in F32, F16 or BF16. */
#ifndef NBI_DENSE_H
#define NBI_DENSE_H

#include "tensor/dtype.h"

/* out[i] = data[i0 + i]; `data` may be unaligned. */
void nbi_dense_to_f32(nb_dtype dtype, const void *data, int64_t i0, int64_t n, float *out);
/* Rounds to nearest even; `out` may be unaligned. */
void nbi_dense_from_f32(nb_dtype dtype, const float *in, int64_t n, void *out);
/* Place of the first NaN or infinity in data[n], -1 if there is none. */
int64_t nbi_dense_find_nonfinite(nb_dtype dtype, const void *data, int64_t n);

#endif
