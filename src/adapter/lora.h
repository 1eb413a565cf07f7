/* SPDX-License-Identifier: MIT */
/* LoRA (Hu et al. 2021) on one site: y += scale * B (A x'), x' = dropout(x). The product of the
 * site sums B h together with its own terms (nb_lowrank); only h = A x' and its gradient are
 * separate. Products compute as nb_exec says, on f32 parameters and gradients. Private to adapter/.
 */
#ifndef NBI_LORA_H
#define NBI_LORA_H

#include "adapter/adapter.h"

/* Rows that go through the dropout scratch at a time. */
#define NBI_LORA_CHUNK 128

/* What all sites of an adapter share; one pass at a time uses it. */
struct nb_lora_shared {
    uint64_t seed;
    float dropout;
    float *rows; /* [NBI_LORA_CHUNK, widest input] for dropout, NULL without it */
};

struct nb_lora_site {
    nb_hook hook;
    nb_site *site;
    struct nb_lora_shared *shared;
    nb_param *a, *b; /* [r, in], [rows, r]; grad NULL when not trained */
    int64_t r;
    float scale;
    uint32_t index; /* of the site in its model: keys dropout */
    float *h;       /* state: [state_rows, r], A x' in the forward pass, scale * dy B after it */
    int64_t state_rows;
};

/* Sets the hook's functions and puts it at the end of the site's list. */
void nbi_lora_attach(struct nb_lora_site *s);
void nbi_lora_detach(struct nb_lora_site *s);

#endif
