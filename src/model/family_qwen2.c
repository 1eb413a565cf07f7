/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "model/config_priv.h"
#include "model/family.h"

static nb_status configure(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err)
{
    c->q_bias = c->k_bias = c->v_bias = true;
    nbi_config_default_positions(c, 32768);
    return nbi_config_qwen_window(c, doc, where, err);
}

const nb_family nbi_family_qwen2 = {.model_type = "qwen2",
                                    .architecture = "Qwen2ForCausalLM",
                                    .configure = configure,
                                    NBI_LLAMA_NAMES};
