/* SPDX-License-Identifier: MIT */
/* Memory of one forward and backward pass: what is inside nb_workspace (see model/model.h). */
#ifndef NB_WORKSPACE_H
#define NB_WORKSPACE_H

#include "model/model.h"
#include "nn/nn_attention.h"
#include "nn/nn_mlp.h"
#include "nn/pass.h"

/* Buffers of one block; rows of D floats unless said otherwise. What a block keeps (its mode) is
 * its own, the rest it shares with other blocks. Blocks that no backward pass reaches, in inference
 * all, keep nothing: x, mid and out are one buffer, the residual stream in place. */
typedef struct nb_block_acts {
    nb_recompute mode;
    float *x;         /* input */
    float *attn_rstd; /* [m], NULL in inference */
    nb_attn_acts attn;
    float *mid;      /* after the attention part */
    float *mlp_rstd; /* [m], NULL in inference */
    nb_mlp_acts mlp;
    float *out; /* output: x of the next block, or of the workspace's last */
} nb_block_acts;

/* Buffers of the output head, for `chunk` rows at a time. */
typedef struct nb_head_buffers {
    int64_t chunk;
    void *x;                                 /* [chunk, D] act dtype */
    float *dx;                               /* [chunk, D] */
    float *logits;                           /* [chunk, V] */
    int32_t *row, *target, *example, *token; /* [max_rows] of the rows with a target */
    float *nll;                              /* [max_rows] */
    uint8_t *hit;                            /* [max_rows] */
} nb_head_buffers;

struct nb_workspace {
    bool training;
    nb_dtype act; /* what layers hand to each other */
    int64_t max_rows;
    int64_t first_kept;  /* blocks below keep nothing; `layers` in inference */
    nb_block_acts *acts; /* [layers] */
    float *last;         /* output of the last block */
    void *final;         /* act dtype */
    float *final_rstd;
    void *normed;              /* scratch: input of the part at hand, act dtype */
    float *dnormed;            /* scratch: its gradient */
    float *dres;               /* gradient of the residual stream */
    float *rope;               /* [max_rows, P] */
    float *inv_freq;           /* [P/2] */
    nb_attn_segment *segments; /* [max_rows] */
    nb_head_buffers head;
    nb_pass pass; /* of the last forward pass; its batch is borrowed only during a call */
    int64_t rows; /* of that pass */
    unsigned char *hook_state;
    size_t hook_bytes;
    size_t activation_bytes;
    void *activations, *scratch; /* the two blocks that everything lies in, this record too */
};

/* Hands the adapters their part of this workspace; done at the start of each pass, so that several
 * workspaces can serve one model in turn. Hooks may have gone since the workspace was opened, not
 * come. */
void nbi_workspace_bind(nb_workspace *ws, nb_model *m);

#endif
