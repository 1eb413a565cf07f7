/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "tensor/dtype.h"

static const struct {
    size_t size;
    const char *name, *torch;
} dtypes[NB_DT_COUNT] = {
#define NB_DTYPE_ROW(name, bytes, st, torch) [NB_DT_##name] = {bytes, st, torch},
    NB_DTYPE_MAP(NB_DTYPE_ROW)
#undef NB_DTYPE_ROW
};

static bool known(nb_dtype t)
{
    return (unsigned)t < (unsigned)NB_DT_COUNT;
}

const char *nb_dtype_name(nb_dtype t)
{
    return known(t) ? dtypes[t].name : "?";
}

const char *nb_dtype_torch(nb_dtype t)
{
    return known(t) ? dtypes[t].torch : "?";
}

static bool same(const char *s, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(s, name, len) == 0;
}

bool nb_dtype_parse(const char *s, size_t len, nb_dtype *out)
{
    const char prefix[] = "torch.";
    const size_t skip = sizeof(prefix) - 1;
    const bool torch_only = len > skip && memcmp(s, prefix, skip) == 0;
    if (torch_only) {
        s += skip;
        len -= skip;
    }
    for (int t = 0; t < NB_DT_COUNT; t++) {
        if (same(s, len, dtypes[t].torch) || (!torch_only && same(s, len, dtypes[t].name))) {
            *out = (nb_dtype)t;
            return true;
        }
    }
    return false;
}

bool nb_dtype_is_dense_float(nb_dtype t)
{
    return t == NB_DT_F32 || t == NB_DT_F16 || t == NB_DT_BF16;
}
