/* SPDX-License-Identifier: MIT */
#include <string.h>
#include "base/fail.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "model/hub_cache.h"
#include "nibble/model.h"
#include "train/assembly.h"

static nb_status write_folder(const nb_recipe *r, const char *from, const char *dir,
                              const nb_log *log, nb_error *err)
{
    nb_model_load how = {.threads = r->threads, .quant = r->quant};
    nbi_safedir d = {0};
    NBI_TRY(nbi_cpumask_parse(r->cpumask, &how.cpu_flags, err));
    NBI_TRY(nbi_safedir_create(&d, dir, err));
    nb_status s = nb_model_quantise(from, d.tmp, &how, log, err);
    if (s == NB_OK)
        return nbi_safedir_commit(&d, err);
    nbi_safedir_abort(&d);
    return s;
}

nb_status nb_quantize_model(nb_recipe *r, const char *dir, const nb_log *log, nb_error *err)
{
    char *from = NULL;
    NBI_TRY(nb_recipe_finish(r, log, err));
    if (!r->model)
        return nbi_fail(err, NB_CONFIG,
                        "model: not given; name the folder of a Hugging Face model (--model DIR)");
    if (nbi_path_exists(dir))
        return nbi_fail(err, NB_CONFIG, "%s exists already; name a folder that does not", dir);
    NBI_TRY(nb_hub_resolve(r->model, r->revision, &from, err));
    nb_status s = write_folder(r, from, dir, log, err);
    nbi_free(from);
    return s;
}
