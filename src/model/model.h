/* SPDX-License-Identifier: MIT */
/* A loaded model: weights as linear layers with sites, and its forward and backward pass. */
#ifndef NB_MODEL_H
#define NB_MODEL_H

#include <signal.h>
#include "base/log.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "nn/linear.h"

/* The block's parts, in forward order. Norm weights are f32. */
typedef struct nb_block {
    const float *attn_norm, *mlp_norm, *q_norm, *k_norm;   /* q_norm, k_norm may be NULL */
    float *d_attn_norm, *d_mlp_norm, *d_q_norm, *d_k_norm; /* gradients, NULL when frozen */
    nb_linear q, k, v, o, gate, up, down;
} nb_block;

typedef struct nb_model {
    nb_model_config config;
    char *dir;
    nb_exec exec;
    nb_block *blocks; /* [layers] */
    nb_dtype embed_dtype;
    const void *embed; /* [V, D] dense */
    float *d_embed; /* NULL when frozen; with tied embeddings the head's gradient goes here too */
    const float *final_norm;
    float *d_final_norm;
    nb_linear head; /* tied: w points to embed (dw = d_embed when trained) */
    nb_site *sites;
    size_t n_sites; /* every linear layer in module order, the head last */
    nb_param_list
        params; /* trained base weights (full fine-tuning), in file order; empty: frozen */
    nb_quant_config quant; /* how the linears are held now; load_in_4bit false: dense */
    int64_t n_parameters;  /* logical */
    double neftune_alpha;  /* noise on the embeddings of training passes; 0: none */
    uint64_t neftune_seed;
    /* private to model/ */
    nb_safetensors *files;
    nbi_arena strings, stats;
    bool embed_mapped;                 /* the table is in its file, and not the head's too */
    struct nbi_stream *stream;         /* NULL: weights stay in memory once read (stream.h) */
    NBI_ARRAY(void *) owned;           /* weights converted or quantised at load */
    const volatile sig_atomic_t *stop; /* of the load; only while it goes on */
} nb_model;

typedef struct nb_model_load {
    int threads;        /* <= 0: all */
    unsigned cpu_flags; /* kernels to use: subset of nb_cpu_flags() */
    nb_compute compute;
    nb_quant_config quant; /* load_in_4bit: quantise dense linears (never embeddings, head, norms)
                            * while loading, tensor by tensor */
    const char *quantized_cache; /* folder for the 4-bit form of models that are quantised while
                                  * loading; NULL: none */
    bool stream; /* weights of the blocks and the head stay in their mapped file and are dropped
                  * when a pass is through with them; NB_CONFIG when they are not in a file */
    const volatile sig_atomic_t *stop; /* polled while weights are read, hashed and quantised; NULL:
                                        * none */
    bool trainable; /* every weight becomes an f32 parameter with a gradient (dense folder only) */
} nb_model_load;

/* Opens a folder. NB_INTERRUPTED: *how->stop was set. Frozen dense weights stay in the mapping in
 * their dtype; norms and biases are copied to f32. Unknown or missing tensors, wrong shapes and
 * dtypes are NB_FORMAT by tensor name; a 4-bit folder opened as trainable is NB_UNSUPPORTED. */
nb_status nb_model_open(nb_model **out, const char *dir, const nb_model_load *how,
                        const nb_log *log, nb_error *err) NB_MUST_CHECK;
void nb_model_close(nb_model **m);
/* Site by full module name, NULL if there is none. */
nb_site *nb_model_site(nb_model *m, const char *name);

/* Most bytes of streamed weights (blocks, head) that are resident at a time. Works on a sketch. */
size_t nb_model_stream_bytes(const nb_model *m);

/* Writes a Hugging Face folder with the present (trained) weights in `dtype`: config.json,
 * generation_config.json and tokenizer files copied from the model's folder, model.safetensors
 * (tied tensors once). `into` exists already (a base/safedir temporary). */
nb_status nb_model_save(const nb_model *m, const char *into, nb_dtype dtype,
                        nb_error *err) NB_MUST_CHECK;
/* Writes a bitsandbytes folder: the block's linear weights of the 16- or 32-bit folder `dir`
 * quantised by how->quant (how->threads and cpu_flags apply), all else copied, config.json with a
 * quantization_config. One tensor at a time is in memory. `into` as above. */
nb_status nb_model_quantise(const char *dir, const char *into, const nb_model_load *how,
                            const nb_log *log, nb_error *err) NB_MUST_CHECK;
/* Copies the tokenizer's and template files that exist from one folder to another. */
nb_status nb_model_copy_tokenizer(const char *from, const char *into, nb_error *err) NB_MUST_CHECK;
/* Makes a model of random weights (normal with initializer_range, norms 1, biases 0; philox keyed
 * by seed and tensor name) in `dir` (base/safedir) from a config.json; tokenizer files beside the
 * config.json are copied. */
nb_status nb_model_init(const char *config_path, const char *dir, uint64_t seed, nb_dtype dtype,
                        nb_error *err) NB_MUST_CHECK;

/* ---- forward and backward (model/forward.c, backward.c) ---- */

/* What a block keeps of its forward pass for the backward pass; what it does not keep is computed
 * again there, by the same kernels on the same numbers, so the gradients are the same bits. */
typedef enum nb_recompute {
    NB_KEEP,      /* all that the backward pass reads */
    NB_SELECTIVE, /* input, attention output with its log-sum-exp, residual stream in the middle:
                   * the attention and its output projection are not done again */
    NB_RECOMPUTE  /* the input alone */
} nb_recompute;

/* What a workspace is for. */
typedef struct nb_pass_plan {
    int64_t max_rows; /* tokens of the longest batch */
    bool training;    /* keeps what the backward pass needs; inference keeps one layer's worth */
    bool hidden; /* training: keeps the input of every block, also of those below everything that
                  * trains, which keep nothing else */
    const uint8_t
        *recompute; /* [layers] an nb_recompute each, not read below the lowest block that
                     * trains (nothing is kept there); NULL: NB_KEEP. Read while opening */
} nb_pass_plan;

/* Memory of one pass, allocated once. */
typedef struct nb_workspace nb_workspace;
nb_status nb_workspace_open(nb_workspace **out, nb_model *m, const nb_pass_plan *plan,
                            nb_error *err) NB_MUST_CHECK;
void nb_workspace_close(nb_workspace **ws);
/* Bytes nb_workspace_open would allocate under the tags ACTIVATIONS and SCRATCH; hooks must be
 * attached. Needs only the shape of the model and what trains in it (hooks, and which gradients
 * are not NULL; they are not touched), so it works on a sketch (no weights in memory). False when
 * they exceed the address space. */
bool nb_workspace_size(const nb_model *m, const nb_pass_plan *plan, size_t *activations,
                       size_t *scratch);

/* Memory of the workspace that holds nothing between passes; the next one overwrites it. */
void *nb_workspace_room(const nb_workspace *ws, size_t *bytes);

struct nb_kvcache;

/* Runs the blocks and the final norm over the batch (m <= max_rows). With a cache (inference only)
 * the batch is one segment that continues it: batch->positions follow on, keys and values are
 * appended. */
void nb_model_forward(nb_model *m, nb_workspace *ws, const nb_batch *b, struct nb_kvcache *kv,
                      bool training);
/* Final-norm output [m, D] of the last forward pass in *dtype (F32, or BF16 in bf16
 * mode; may be NULL), and block inputs:
 * i = 0..layers-1 the input of block i, i = layers the output of the last block; NULL where it was
 * not kept. Valid until the next pass. */
const void *nb_workspace_final(const nb_workspace *ws, nb_dtype *dtype);
const float *nb_workspace_hidden(const nb_workspace *ws, int64_t i);

typedef struct nb_loss {
    double sum;     /* of -log p over trained tokens */
    int64_t tokens; /* trained tokens */
    int64_t hits;   /* arg max equal to the target */
} nb_loss;

/* Head + cross-entropy over the rows with a target only, in chunks; never holds all logits.
 * With want_grad the gradient of grad_scale * sum goes to the workspace for nb_model_backward, and
 * head gradients are added. `nll` (may be NULL) [m]: loss of each row, 0 where there is none. */
nb_loss nb_model_loss(nb_model *m, nb_workspace *ws, const nb_batch *b, double grad_scale,
                      bool want_grad, float *nll);
/* After nb_model_loss with want_grad: adds the gradients of every trained tensor. */
void nb_model_backward(nb_model *m, nb_workspace *ws, const nb_batch *b);
/* logits[n, V] of rows [row0, row0+n) of the last forward pass. */
void nb_model_logits(nb_model *m, nb_workspace *ws, int64_t row0, int64_t n, float *logits);

/* Keys and values of a generation, one contiguous range a layer. */
typedef struct nb_kvcache {
    int64_t capacity, length, layers, row; /* row = kv_heads * head_dim */
    nb_dtype dtype;                        /* what layers hand to each other: BF16 in bf16 mode */
    void *k, *v;                           /* [layers][capacity][row] */
} nb_kvcache;
nb_status nb_kvcache_open(nb_kvcache **out, const nb_model *m, int64_t capacity,
                          nb_error *err) NB_MUST_CHECK;
void nb_kvcache_close(nb_kvcache **kv);

#endif
