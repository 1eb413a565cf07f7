/* SPDX-License-Identifier: MIT */
#include "base/fail.h"
#include "model/config_priv.h"
#include "model/family.h"

/* Every layer slides; no key at all means the window of the first release, null none. */
static nb_status configure(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err)
{
    int64_t window = nbi_json_get(doc, "sliding_window") ? 0 : 4096;
    NBI_TRY(nbi_json_get_i64(doc, where, "sliding_window", 1, (int64_t)1 << 30, &window, err));
    nbi_config_default_positions(c, 131072);
    return nbi_config_uniform_window(c, window, err);
}

const nb_family nbi_family_mistral = {.model_type = "mistral",
                                      .architecture = "MistralForCausalLM",
                                      .configure = configure,
                                      NBI_LLAMA_NAMES};
