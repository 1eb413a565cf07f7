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

void nbi_config_quant_write(const nb_quant_config *q, nb_dtype compute, nbi_json_writer *w)
{
    const struct {
        const char *key;
        bool value;
    } flags[] = {{"_load_in_4bit", true},
                 {"_load_in_8bit", false},
                 {"load_in_4bit", true},
                 {"load_in_8bit", false},
                 {"bnb_4bit_use_double_quant", q->double_quant},
                 {"llm_int8_enable_fp32_cpu_offload", false},
                 {"llm_int8_has_fp16_weight", false}};
    nbi_jw_object(w);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        nbi_jw_key(w, flags[i].key);
        nbi_jw_bool(w, flags[i].value);
    }
    nbi_jw_key(w, "bnb_4bit_compute_dtype");
    nbi_jw_str(w, nb_dtype_torch(compute));
    nbi_jw_key(w, "bnb_4bit_quant_storage");
    nbi_jw_str(w, "uint8");
    nbi_jw_key(w, "bnb_4bit_quant_type");
    nbi_jw_str(w, nb_qkind_name(q->kind));
    nbi_jw_key(w, "llm_int8_skip_modules");
    nbi_jw_null(w);
    nbi_jw_key(w, "llm_int8_threshold");
    nbi_jw_f64(w, 6.0);
    nbi_jw_key(w, "quant_method");
    nbi_jw_str(w, "bitsandbytes");
    nbi_jw_object_end(w);
}
