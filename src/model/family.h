/* SPDX-License-Identifier: MIT */
/* The families, one file each; family.c lists them. */
#ifndef NBI_FAMILY_H
#define NBI_FAMILY_H

#include "model/config.h"

extern const nb_family nbi_family_llama;
extern const nb_family nbi_family_mistral;
extern const nb_family nbi_family_mixtral; /* for plans */
extern const nb_family nbi_family_qwen2;
extern const nb_family nbi_family_qwen3;

/* The tensor names that Llama introduced and its relatives kept. */
#define NBI_LLAMA_NAMES                                                                            \
    .embed = "model.embed_tokens", .final_norm = "model.norm", .head = "lm_head",                  \
    .attn_norm = "model.layers.%lld.input_layernorm",                                              \
    .mlp_norm = "model.layers.%lld.post_attention_layernorm",                                      \
    .q_proj = "model.layers.%lld.self_attn.q_proj",                                                \
    .k_proj = "model.layers.%lld.self_attn.k_proj",                                                \
    .v_proj = "model.layers.%lld.self_attn.v_proj",                                                \
    .o_proj = "model.layers.%lld.self_attn.o_proj",                                                \
    .gate_proj = "model.layers.%lld.mlp.gate_proj", .up_proj = "model.layers.%lld.mlp.up_proj",    \
    .down_proj = "model.layers.%lld.mlp.down_proj"

#endif
