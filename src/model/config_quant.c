/* SPDX-License-Identifier: MIT */
/* quantization_config of config.json (formats page 2.6). */
#include <string.h>
#include "base/fail.h"
#include "model/config_priv.h"

static nb_status read_flag(const nbi_json *q, const char *where, const char *key, bool *r,
                           nb_error *err)
{
    char underscored[40] = "_"; /* older writers */
    strncat(underscored, key, sizeof underscored - 2);
    *r = false;
    NBI_TRY(nbi_json_get_bool(q, where, underscored, r, err));
    return nbi_json_get_bool(q, where, key, r, err);
}

static nb_status read_bitsandbytes(nb_model_config *c, const nbi_json *q, const char *where,
                                   nb_error *err)
{
    bool four = false, eight = false;
    const char *type = "fp4";
    NBI_TRY(read_flag(q, where, "load_in_4bit", &four, err));
    NBI_TRY(read_flag(q, where, "load_in_8bit", &eight, err));
    if (eight)
        return nbi_fail(
            err, NB_UNSUPPORTED,
            "%s: quantization_config.load_in_8bit: int8 folders are not supported; use the "
            "16-bit model with load_in_4bit, or a 4-bit folder",
            where);
    if (!four)
        return nbi_fail(err, NB_FORMAT,
                        "%s: quantization_config has neither 4 nor 8 bits switched on", where);
    NBI_TRY(nbi_json_get_str(q, where, "bnb_4bit_quant_type", &type, err));
    if (strcmp(type, "nf4") != 0 && strcmp(type, "fp4") != 0)
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s: quantization_config.bnb_4bit_quant_type \"%.32s\" is not supported; "
                        "supported are nf4, fp4",
                        where, type);
    c->quant = (nb_quant_config){.load_in_4bit = true,
                                 .kind = strcmp(type, "nf4") == 0 ? NB_QK_NF4 : NB_QK_FP4,
                                 .block = 64,
                                 .nested_block = 256};
    NBI_TRY(nbi_json_get_bool(q, where, "bnb_4bit_use_double_quant", &c->quant.double_quant, err));
    const nbi_json *skip = nbi_json_get(q, "llm_int8_skip_modules");
    if (!nbi_json_is_null(skip) && skip->type != NBI_JT_ARRAY)
        return nbi_fail(err, NB_FORMAT,
                        "%s: quantization_config.llm_int8_skip_modules must be a list of names",
                        where);
    c->has_quant = true;
    return NB_OK;
}

nb_status nbi_config_quant(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err)
{
    const nbi_json *q = nbi_json_get(doc, "quantization_config");
    const char *method = NULL;
    if (nbi_json_is_null(q))
        return NB_OK;
    if (q->type != NBI_JT_OBJECT)
        return nbi_fail(err, NB_FORMAT, "%s: quantization_config must be an object", where);
    NBI_TRY(nbi_json_get_str(q, where, "quant_method", &method, err));
    /* the first writers of 4-bit folders left the method out */
    bool old = !method && (nbi_json_get(q, "load_in_4bit") || nbi_json_get(q, "load_in_8bit"));
    if (old || (method && strcmp(method, "bitsandbytes") == 0))
        return read_bitsandbytes(c, q, where, err);
    return nbi_fail(err, NB_UNSUPPORTED,
                    "%s: quantization_config.quant_method \"%.32s\" is not supported; supported is "
                    "bitsandbytes (4 bits)",
                    where, method ? method : "(none)");
}
