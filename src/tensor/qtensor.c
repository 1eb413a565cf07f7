/* SPDX-License-Identifier: MIT */
#include "tensor/qtensor.h"

static size_t pieces(size_t n, size_t size)
{
    return n / size + (n % size != 0);
}

size_t nb_qtensor_data_bytes(const nb_qtensor *t)
{
    const size_t n = (size_t)t->n * (size_t)t->k;
    return t->kind == NB_QK_DENSE ? n * nb_dtype_size(t->dtype) : pieces(n, 2);
}

size_t nb_qtensor_stat_bytes(const nb_qtensor *t)
{
    if (t->kind == NB_QK_DENSE)
        return 0;
    const size_t blocks = pieces((size_t)t->n * (size_t)t->k, (size_t)t->block);
    if (t->absmax)
        return blocks * sizeof(float);
    return blocks + (pieces(blocks, (size_t)t->nested_block) + 256) * sizeof(float);
}

const char *nb_qkind_name(nb_qkind k)
{
    switch (k) {
    case NB_QK_DENSE:
        return "dense";
    case NB_QK_NF4:
        return "nf4";
    case NB_QK_FP4:
        return "fp4";
    }
    return "?";
}
