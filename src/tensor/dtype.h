/* SPDX-License-Identifier: MIT */
#ifndef NB_DTYPE_H
#define NB_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* X(name, bytes per element, safetensors name, torch name) */
#define NB_DTYPE_MAP(X)                                                                            \
    X(F32, 4, "F32", "float32")                                                                    \
    X(F16, 2, "F16", "float16")                                                                    \
    X(BF16, 2, "BF16", "bfloat16")                                                                 \
    X(F64, 8, "F64", "float64")                                                                    \
    X(I8, 1, "I8", "int8")                                                                         \
    X(U8, 1, "U8", "uint8")                                                                        \
    X(I16, 2, "I16", "int16")                                                                      \
    X(U16, 2, "U16", "uint16")                                                                     \
    X(I32, 4, "I32", "int32")                                                                      \
    X(U32, 4, "U32", "uint32")                                                                     \
    X(I64, 8, "I64", "int64")                                                                      \
    X(U64, 8, "U64", "uint64")                                                                     \
    X(BOOL, 1, "BOOL", "bool")                                                                     \
    X(F8_E4M3, 1, "F8_E4M3", "float8_e4m3fn")                                                      \
    X(F8_E5M2, 1, "F8_E5M2", "float8_e5m2")

typedef enum nb_dtype {
#define NB_DTYPE_ENUM(name, bytes, st, torch) NB_DT_##name,
    NB_DTYPE_MAP(NB_DTYPE_ENUM)
#undef NB_DTYPE_ENUM
        NB_DT_COUNT
} nb_dtype;

/* (Inline: packing loops index by it.) */
static inline size_t nb_dtype_size(nb_dtype t)
{
#define NB_DTYPE_SIZE(name, bytes, st, torch)                                                      \
    case NB_DT_##name:                                                                             \
        return bytes;
    switch (t) {
        NB_DTYPE_MAP(NB_DTYPE_SIZE)
    default:
        return 0;
    }
#undef NB_DTYPE_SIZE
}
const char *nb_dtype_name(nb_dtype t);  /* safetensors spelling */
const char *nb_dtype_torch(nb_dtype t); /* "float32", ... */
/* By either spelling, "torch.float32" too; false when unknown. */
bool nb_dtype_parse(const char *s, size_t len, nb_dtype *out);
/* F32, F16, BF16: what a dense weight may be. */
bool nb_dtype_is_dense_float(nb_dtype t);

/* Address of element i of an array of t. */
static inline void *nb_elem(const void *p, nb_dtype t, int64_t i)
{
    return (unsigned char *)(uintptr_t)p + i * (int64_t)nb_dtype_size(t);
}

#endif
