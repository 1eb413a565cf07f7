/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "model/config_priv.h"
#include "model/family.h"

static nb_status configure(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err)
{
    bool bias = false;
    NBI_TRY(nbi_json_get_bool(doc, where, "attention_bias", &bias, err));
    c->q_bias = c->k_bias = c->v_bias = c->o_bias = bias;
    c->qk_norm = true;
    if (!nbi_json_get(doc, "head_dim"))
        c->head_dim = 128; /* unlike its relatives, not hidden / heads */
    nbi_config_default_positions(c, 32768);
    return nbi_config_qwen_window(c, doc, where, err);
}

const nb_family nbi_family_qwen3 = {.model_type = "qwen3",
                                    .architecture = "Qwen3ForCausalLM",
                                    .configure = configure,
                                    NBI_LLAMA_NAMES,
                                    .q_norm = "model.layers.%lld.self_attn.q_norm",
                                    .k_norm = "model.layers.%lld.self_attn.k_norm"};
