/* SPDX-License-Identifier: MIT */
/* What a training run takes in memory, from its shape alone: nothing is loaded. */
#ifndef NBI_MEMORY_PLAN_H
#define NBI_MEMORY_PLAN_H

#include "model/sketch.h"
#include "train/recipe.h"

/* Everything the memory of a run depends on. Pointers are borrowed. */
typedef struct nbi_plan_spec {
    const nb_model_config *config;
    const char *dir; /* folder whose weights say how they are stored; NULL: as config.json says */
    nb_method method;
    nb_quant_config quant;
    const nb_lora_config *lora;
    bool from_adapter; /* `lora` comes from an adapter folder */
    const char *optim;
    const nb_optim_config *optim_config;
    nb_compute compute;
    nb_dtype save_dtype;
    int threads;
    int checkpointing;      /* gradient_checkpointing: -1 auto, 0, 1 */
    int64_t max_rows;       /* tokens of the longest micro-batch or evaluation pass */
    int64_t data_rows;      /* rows of all data sets, for lists of them */
    int64_t session_tokens; /* prompt and answer of samples during the run; 0: there are none */
    uint64_t embed_windows; /* pieces of NBI_PLAN_WINDOW bytes of the embedding that the data reads;
                             * 0: all of it */
    uint64_t limit;         /* bytes that `auto` may use */
    bool cached;            /* weights that are quantised lie in a file (quantized_cache) */
    uint64_t process;       /* resident before the model is loaded: program, tokenizer, data */
    uint64_t process_peak;  /* and its highest value so far */
} nbi_plan_spec;

/* A page fault in a mapped file brings this much with it, as far as it is cached. */
#define NBI_PLAN_WINDOW 65536

typedef enum nbi_plan_phase {
    NBI_PHASE_DATA, /* reading and tokenising the rows */
    NBI_PHASE_LOAD, /* reading or quantising the weights */
    NBI_PHASE_STEP, /* training steps; evaluations use the same memory */
    NBI_PHASE_SAVE,
    NBI_PHASES
} nbi_plan_phase;
const char *nbi_plan_phase_text(nbi_plan_phase p);

typedef struct nbi_memory_plan {
    uint64_t tag[NBI_MEMTAG_COUNT]; /* in NBI_PHASE_STEP; OTHER: the process itself */
    uint64_t phase[NBI_PHASES];     /* resident bytes in all */
    uint64_t peak;
    nbi_plan_phase peak_phase;
    nb_sketch_bytes weights;        /* before the embedding is counted by what is read of it */
    uint8_t *recompute;             /* [layers] an nb_recompute each; owned */
    int64_t mode[NB_RECOMPUTE + 1]; /* layers of each kind; those below all adapters are in none */
    int64_t redone[NB_RECOMPUTE + 1]; /* layers that are computed again: what the last of them left
                                       * is still there in the backward pass */
    uint64_t on_disk;                 /* pages of the optimizer that are not resident */
    bool stream; /* layers are read from their file when they are needed, and dropped again */
    double read_forward, read_backward;   /* bytes that a pass then reads */
    int64_t parameters, trained;          /* logical; `parameters` without adapters */
    int64_t n_sites, covered;             /* linear layers, and those with an adapter */
    double layer_again[NB_RECOMPUTE + 1]; /* operations a token to compute a layer again */
    double products; /* operations of one forward pass a token: linears of the blocks */
    double lora_products;
    double act_bytes; /* of a number that layers hand to each other */
} nbi_memory_plan;

/* Zeroes *p first. NB_UNSUPPORTED, NB_CONFIG and NB_FORMAT as opening the model and the adapter
 * would give; NB_LIMIT when the sizes exceed the address space. Whether it fits is for the caller
 * to compare. */
nb_status nbi_memory_plan_make(nbi_memory_plan *p, const nbi_plan_spec *s,
                               nb_error *err) NB_MUST_CHECK;
void nbi_memory_plan_free(nbi_memory_plan *p);

/* Chooses p->recompute for activations and scratch of at most `room` bytes: everything kept, else
 * the mix of kept, selective and recomputed layers that costs the fewest operations, else
 * everything recomputed. `checkpointing` as in the recipe. Gives their bytes. (plan_recompute.c) */
nb_status nbi_plan_recompute(nbi_memory_plan *p, const nb_model *sketch, int64_t max_rows,
                             int checkpointing, uint64_t room, size_t *activations, size_t *scratch,
                             nb_error *err) NB_MUST_CHECK;

#endif
