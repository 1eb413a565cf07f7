/* SPDX-License-Identifier: MIT */
#include "nibble/model.h"

#include <string.h>

#include "base/fail.h"
#include "base/mapfile.h"
#include "model/model.h"

nb_status nb_init_model(const char *config_path, const char *dir, uint64_t seed, const char *dtype,
                        nb_error *err)
{
    nb_dtype t;
    if (!nb_dtype_parse(dtype, strlen(dtype), &t) || !nb_dtype_is_dense_float(t))
        return nbi_fail(err, NB_CONFIG, "dtype: '%s', expected float32, bfloat16 or float16",
                        dtype);
    if (nbi_path_exists(dir))
        return nbi_fail(err, NB_CONFIG, "%s exists already; name a folder that does not", dir);
    return nb_model_init(config_path, dir, seed, t, err);
}
