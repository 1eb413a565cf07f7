/* SPDX-License-Identifier: MIT */
/* Small random models built in memory, one for each combination of switches. */
#ifndef TINY_MODEL_H
#define TINY_MODEL_H

#include "model/model.h"

typedef struct tiny_spec {
    const char *name;
    int64_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab;
    bool tied, qkv_bias, o_mlp_bias, qk_norm;
    int64_t window; /* every second layer uses it */
    nb_rope_type rope;
    nb_act act;
    nb_qkind kind; /* how linear layers (not the head) are held; frozen unless dense */
    bool frozen;
} tiny_spec;

/* One combination for each family and switch. */
extern const tiny_spec tiny_specs[];
extern const size_t tiny_n_specs;

/* Weights are a function of the spec alone; gradients are there (zero) unless frozen. */
nb_model *tiny_open(const tiny_spec *spec, int threads);
void tiny_close(nb_model *m);
void tiny_zero_grads(nb_model *m);
/* Where the model keeps the pointers to its gradients, with their lengths (d_embed first; a tied
 * head's dw is left out). Returns their number; at most `max`. */
typedef struct tiny_slot {
    float **grad;
    int64_t n;
} tiny_slot;
size_t tiny_slots(nb_model *m, tiny_slot *slots, size_t max);

/* A batch of segments with the given lengths, random ids and some rows without target. */
typedef struct tiny_batch {
    nb_batch b;
    int32_t *ids, *targets, *positions, *example;
    int64_t *starts;
} tiny_batch;
tiny_batch tiny_batch_open(const nb_model *m, const int64_t *lengths, int64_t n, uint64_t seed);
void tiny_batch_close(tiny_batch *t);

#endif
