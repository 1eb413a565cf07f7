/* SPDX-License-Identifier: MIT */
/* Where optimizer state lies. All of it is one region that an update walks from begin to end:
 * tensor by tensor, in each piece by piece (NB_OPTIM_PIECE elements, or all of it), in each state
 * by state, every state of a piece rounded up to 64 bytes. So a file of it is read and written in
 * order, and what is resident behind the walk can be let go. Private to optim/. */
#ifndef NBI_STATE_WALK_H
#define NBI_STATE_WALK_H

#include "optim/optim.h"

typedef struct nbi_state_walk {
    const nb_optim_kind *kind;
    const nb_optim_config *config; /* settled */
    const nb_param_list *params;
    /* of the piece at hand */
    size_t i;        /* parameter */
    int64_t from, n; /* elements */
    bool small;
    const nb_optim_state *states; /* ends with a NULL name; may point to `shaped` */
    nb_optim_state shaped[NB_OPTIM_STATES + 1];
    size_t offset[NB_OPTIM_STATES]; /* of each state */
    size_t end;                     /* offset behind the piece; of all when the walk is over */
} nbi_state_walk;

/* Before the first piece of parameter i of 0..n; end = 0 there, so start at 0 to get offsets. */
nbi_state_walk nbi_state_walk_begin(const nb_optim_kind *kind, const nb_optim_config *config,
                                    const nb_param_list *params);
/* Goes to the next piece; false when there is none. */
bool nbi_state_walk_next(nbi_state_walk *w);
/* Elements of a state for n elements of its tensor. */
static inline int64_t nbi_state_count(const nb_optim_state *s, int64_t n)
{
    return (n + s->block - 1) / s->block;
}
static inline size_t nbi_state_bytes(const nb_optim_state *s, int64_t n)
{
    return (size_t)nbi_state_count(s, n) * nb_dtype_size(s->dtype);
}

#endif
