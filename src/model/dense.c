/* SPDX-License-Identifier: MIT */
#include "model/dense.h"

#include "format/safetensors.h"
#include "tensor/half.h"

void nbi_dense_to_f32(nb_dtype dtype, const void *data, int64_t i0, int64_t n, float *out)
{
    nb_st_tensor t = {.dtype = dtype, .data = data};
    nb_st_to_f32(&t, i0, n, out);
}

void nbi_dense_from_f32(nb_dtype dtype, const float *in, int64_t n, void *out)
{
    unsigned char *p = out;
    if (dtype == NB_DT_F32) {
        if (n)
            memcpy(p, in, (size_t)n * 4);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        uint16_t h = dtype == NB_DT_BF16 ? nb_f32_to_bf16(in[i]) : nb_f32_to_f16(in[i]);
        memcpy(p + 2 * i, &h, 2);
    }
}

int64_t nbi_dense_find_nonfinite(nb_dtype dtype, const void *data, int64_t n)
{
    enum { STEP = 2048 };
    float v[STEP];
    for (int64_t i = 0; i < n; i += STEP) {
        int64_t m = n - i < STEP ? n - i : STEP;
        unsigned found = 0;
        nbi_dense_to_f32(dtype, data, i, m, v);
        for (int64_t j = 0; j < m; j++)
            found |= (nb_f32_bits(v[j]) & 0x7f800000u) == 0x7f800000u;
        for (int64_t j = 0; found && j < m; j++)
            if ((nb_f32_bits(v[j]) & 0x7f800000u) == 0x7f800000u)
                return i + j;
    }
    return -1;
}
