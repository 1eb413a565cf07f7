/* SPDX-License-Identifier: MIT */
/* config.json of a Hugging Face folder, in the spellings of transformers 4 and 5. */
#ifndef NB_CONFIG_H
#define NB_CONFIG_H

#include "base/json.h"
#include "kernel/rowwise.h"
#include "tensor/dtype.h"
#include "tensor/qtensor.h"

#define NB_MAX_EOS 16

typedef enum nb_rope_type {
    NB_ROPE_DEFAULT,
    NB_ROPE_LINEAR,
    NB_ROPE_DYNAMIC,
    NB_ROPE_LLAMA3
} nb_rope_type;

typedef struct nb_rope_config {
    nb_rope_type type;
    double theta, factor;
    double low_freq_factor, high_freq_factor;
    int64_t original_max_positions; /* 0: not given */
} nb_rope_config;

/* How to quantise (options) or how a folder is quantised (its config.json). */
typedef struct nb_quant_config {
    bool load_in_4bit;
    nb_qkind kind; /* NF4 or FP4 */
    bool double_quant;
    int64_t block;        /* 64 */
    int64_t nested_block; /* 256 */
} nb_quant_config;

struct nb_family;

/* Shape and switches of the one decoder block. Plain data once read. */
typedef struct nb_model_config {
    const struct nb_family *family;
    char model_type[64];
    int64_t hidden, layers, heads, kv_heads, head_dim, ffn, vocab, max_positions;
    double norm_eps;
    double initializer_range;
    nb_act act;
    bool tie_embeddings;
    bool q_bias, k_bias, v_bias, o_bias, mlp_bias;
    bool qk_norm; /* RMSNorm of q and k per head, before rope */
    nb_rope_config rope;
    int64_t sliding_window;        /* 0: none */
    int64_t experts, experts_used; /* MLPs of a layer and how many of them see a token; 0: one */
    unsigned char *sliding;        /* [layers] 1: the layer uses the window; owned by `arena` */
    nb_dtype dtype;                /* of the stored weights as config.json says */
    int32_t bos, eos[NB_MAX_EOS];
    int n_eos;             /* union of config.json and generation_config.json */
    nb_quant_config quant; /* load_in_4bit: the folder is a bitsandbytes 4-bit folder */
    bool has_quant;
    nbi_arena arena;
    nbi_json *raw; /* the whole document, for writing it back */
} nb_model_config;

/* Reads dir/config.json (and generation_config.json if present). Refuses unknown model types by
 * name with the list of supported ones, impossible shapes, and quantisation methods this version
 * does not read, naming the key. */
nb_status nb_config_read(nb_model_config *c, const char *dir, nb_error *err) NB_MUST_CHECK;
/* From a config.json by its path (for `init`, plans). */
nb_status nb_config_read_file(nb_model_config *c, const char *path, nb_error *err) NB_MUST_CHECK;
/* As nb_config_read_file, and takes families too that can be planned but not trained (mixtral);
 * *trainable says which. */
nb_status nb_config_read_planned(nb_model_config *c, const char *path, bool *trainable,
                                 nb_error *err) NB_MUST_CHECK;
void nb_config_free(nb_model_config *c);
/* Writes the document back as read (transformers 4 or 5 spelling kept), with the dtype key set to
 * `dtype` and quantization_config dropped. */
nb_status nb_config_write(const nb_model_config *c, nb_dtype dtype, const char *path,
                          nb_error *err) NB_MUST_CHECK;
/* The same with the stored dtype and a quantization_config for `quant`, as transformers writes it.
 */
nb_status nb_config_write_quantised(const nb_model_config *c, const nb_quant_config *quant,
                                    const char *path, nb_error *err) NB_MUST_CHECK;

/* inv_freq[head_dim/2] for a segment of seq_len tokens (only the dynamic type depends on it), f32
 * as transformers computes it. */
void nb_rope_frequencies(const nb_model_config *c, int64_t seq_len, float *inv_freq);

/* Parameters of the model, logical (tied ones once). */
int64_t nb_config_parameters(const nb_model_config *c);

/* A family is names and switches; one file each, listed in family.c. */
typedef struct nb_family {
    const char *model_type;   /* "llama" */
    const char *architecture; /* "LlamaForCausalLM" */
    /* Sets the switches that are not plain keys (biases, qk_norm, window) from the document. */
    nb_status (*configure)(nb_model_config *c, const nbi_json *doc, const char *where,
                           nb_error *err);
    /* Tensor names: %lld is the layer. A NULL name: the family lacks it. Linear layers are module
     * names, ".weight"/".bias" are added. */
    const char *embed, *final_norm, *head;
    const char *attn_norm, *mlp_norm, *q_norm, *k_norm;
    const char *q_proj, *k_proj, *v_proj, *o_proj, *gate_proj, *up_proj, *down_proj;
} nb_family;

extern const nb_family *const nb_families[]; /* NULL-terminated */
const nb_family *nb_family_find(const char *model_type);
/* Families whose shape is known but not their computation. */
const nb_family *nb_family_find_planned(const char *model_type);
/* "llama, mistral, ..." */
void nb_family_list(nbi_strbuf *out);

#endif
