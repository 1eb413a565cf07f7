/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "model/config_priv.h"
#include "model/family.h"

/* Mistral's block with several MLPs. Plans need its shape only. */
static nb_status configure(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err)
{
    c->experts = 8;
    c->experts_used = 2;
    NBI_TRY(nbi_json_get_i64(doc, where, "num_local_experts", 1, 4096, &c->experts, err));
    NBI_TRY(
        nbi_json_get_i64(doc, where, "num_experts_per_tok", 1, c->experts, &c->experts_used, err));
    nbi_config_default_positions(c, 32768);
    return nbi_config_uniform_window(c, 0, err);
}

const nb_family nbi_family_mixtral = {.model_type = "mixtral",
                                      .architecture = "MixtralForCausalLM",
                                      .configure = configure,
                                      NBI_LLAMA_NAMES};
