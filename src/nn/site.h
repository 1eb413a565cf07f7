/* SPDX-License-Identifier: MIT */
/* Sites: the places where adapters attach. A site is one module name that PEFT users type = a range
 * of output rows of a (possibly fused) product, with hooks that see its input, its output and, in
 * the backward pass, the gradient of its output. Layers call hooks and do not know adapters. */
#ifndef NB_SITE_H
#define NB_SITE_H

#include "kernel/kernel.h"
#include "tensor/batch.h"
#include "tensor/param.h"

struct nb_linear;

/* One use of a site on rows [row0, row0 + m) of the step's token stream. */
typedef struct nb_site_call {
    const nb_exec *exec;
    const nb_batch *batch;          /* may be NULL when not training */
    int64_t row0, m;                /* where saved state of these rows lives; < rows planned */
    const int32_t *example, *token; /* [m] keys for dropout, NULL when not training */
    const void *x;                  /* [m, in] row stride ldx */
    int64_t ldx;
    void *y; /* forward: [m, rows of the site] row stride ldy; hooks add to it */
    int64_t ldy;
    const void *dy; /* backward: gradient of y, stride ldy */
    void *dx;       /* backward: [m, in] row stride ldx; hooks add to it; NULL: not wanted */
    nb_dtype x_dtype, y_dtype, dy_dtype, dx_dtype; /* F32 (0) or BF16 */
    bool training; /* dropout on, state for the backward pass is kept */
    bool again; /* forward: computed once more with the same x and parameters for the backward pass;
                 * the state of the first call is still there */
    bool prepared; /* forward: what forward_thin told has been computed */
} nb_site_call;

typedef struct nb_hook nb_hook;
struct nb_hook {
    /* y += contribution(x). */
    void (*forward)(nb_hook *self, const nb_site_call *c);
    /* Adds parameter gradients, and dx += contribution^T(dy). Called once for each forward call
     * made with training set (those with `again` not counted), with the same x. */
    void (*backward)(nb_hook *self, const nb_site_call *c);
    /* The same for a contribution of low rank that the main product can sum with its own: fills
     * *out (columns counted from the site's own; scratch it points to lives until the hook's next
     * call) and returns true, having done everything but that sum; false: the plain function is to
     * be called. NULL: always false. */
    bool (*forward_lowrank)(nb_hook *self, const nb_site_call *c, nb_lowrank *out);
    bool (*backward_lowrank)(nb_hook *self, const nb_site_call *c, nb_lowrank *out);
    /* Parameter gradients that need x, after a backward call (of either kind) that had x = NULL and
     * did the rest; for layers whose input is not there until later. NULL: x is always given. */
    void (*backward_input)(nb_hook *self, const nb_site_call *c);
    /* The products with x that come before forward (of either kind), resp. those that
     * backward_input would do, as one term of thin products (thin.h): a layer runs those of all
     * sites that read the same x together. False: there is none, or the other functions do it all.
     * May be NULL. */
    bool (*forward_thin)(nb_hook *self, const nb_site_call *c, nb_thin_term *out);
    bool (*input_thin)(nb_hook *self, const nb_site_call *c, nb_thin_term *out);
    /* Bytes of activation state for `rows` rows, and the memory itself (64-byte aligned, given
     * before the first call, replaced when the plan grows). In inference the hooks of other
     * blocks get the same memory. Either may be NULL. */
    size_t (*state_bytes)(const nb_hook *self, int64_t rows);
    void (*set_state)(nb_hook *self, void *mem, int64_t rows);
    void *user;
    nb_hook *next;
};

typedef struct nb_site {
    const char *name;         /* "model.layers.0.self_attn.q_proj"; owned by the model */
    struct nb_linear *linear; /* the product it is part of */
    int64_t row0, rows;       /* its output rows in that product */
    int64_t in;               /* K */
    int layer;                /* index of the block, -1 outside */
    bool is_head;             /* the output head: not part of "all-linear" */
    nb_hook *hooks;           /* called in order */
} nb_site;

#endif
