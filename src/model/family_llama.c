/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "model/config_priv.h"
#include "model/family.h"

static nb_status configure(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err)
{
    bool bias = false;
    NBI_TRY(nbi_json_get_bool(doc, where, "attention_bias", &bias, err));
    NBI_TRY(nbi_json_get_bool(doc, where, "mlp_bias", &c->mlp_bias, err));
    c->q_bias = c->k_bias = c->v_bias = c->o_bias = bias;
    nbi_config_default_positions(c, 2048);
    return nbi_config_uniform_window(c, 0, err);
}

const nb_family nbi_family_llama = {.model_type = "llama",
                                    .architecture = "LlamaForCausalLM",
                                    .configure = configure,
                                    NBI_LLAMA_NAMES};
