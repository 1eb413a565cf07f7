/* SPDX-License-Identifier: MIT */
/* What each layer keeps for its backward pass. */
#include <math.h>
#include "base/checked.h"
#include "base/fail.h"
#include "model/block.h"
#include "train/memory_plan.h"

/* A division of the layers that train: the first ones are recomputed, then come the selective ones.
 * They are alike, so only the numbers matter. */
typedef struct mix {
    int64_t again, selective;
} mix;

typedef struct chooser {
    const nb_model *sketch;
    nb_pass_plan pass;
    uint8_t *modes;
    int64_t first, layers;       /* nothing below `first` trains, so nothing is kept there */
    size_t activations, scratch; /* of the last mix tried */
} chooser;

static void put(chooser *c, mix m)
{
    for (int64_t i = 0; i < c->layers; i++)
        c->modes[c->first + i] = i < m.again                 ? NB_RECOMPUTE
                                 : i < m.again + m.selective ? NB_SELECTIVE
                                                             : NB_KEEP;
}

/* What the last layer without a place of its own computed is still there when the backward pass
 * comes to it. */
static mix redone(mix m)
{
    if (m.selective > 0)
        return (mix){m.again, m.selective - 1};
    return (mix){m.again > 0 ? m.again - 1 : 0, 0};
}

static bool fits(chooser *c, mix m, uint64_t room)
{
    size_t sum;
    put(c, m);
    return nb_workspace_size(c->sketch, &c->pass, &c->activations, &c->scratch) &&
           nbi_add_size(c->activations, c->scratch, &sum) && sum <= room;
}

/* The fewest selective layers beside `again` recomputed ones; -1: not even all of them. */
static int64_t fewest_selective(chooser *c, int64_t again, uint64_t room)
{
    int64_t low = 0, high = c->layers - again;
    if (!fits(c, (mix){again, high}, room))
        return -1;
    while (low < high) {
        int64_t mid = low + (high - low) / 2;
        if (fits(c, (mix){again, mid}, room))
            high = mid;
        else
            low = mid + 1;
    }
    return low;
}

static mix cheapest(chooser *c, const double *cost, uint64_t room)
{
    mix best = {c->layers, 0};
    double least = INFINITY;
    for (int64_t again = 0; again <= c->layers; again++) {
        int64_t selective = fewest_selective(c, again, room);
        if (selective < 0)
            continue;
        mix r = redone((mix){again, selective});
        double sum =
            (double)r.again * cost[NB_RECOMPUTE] + (double)r.selective * cost[NB_SELECTIVE];
        if (sum < least) {
            least = sum;
            best = (mix){again, selective};
        }
    }
    return best;
}

nb_status nbi_plan_recompute(nbi_memory_plan *p, const nb_model *sketch, int64_t max_rows,
                             int checkpointing, uint64_t room, size_t *activations, size_t *scratch,
                             nb_error *err)
{
    int64_t first = nbi_lowest_block(sketch), layers = sketch->config.layers - first;
    chooser c = {.sketch = sketch,
                 .pass = {.max_rows = max_rows, .training = true, .recompute = p->recompute},
                 .modes = p->recompute,
                 .first = first,
                 .layers = layers};
    mix m = {checkpointing > 0 ? layers : 0, 0};
    if (checkpointing < 0 && !fits(&c, m, room))
        m = cheapest(&c, p->layer_again, room);
    (void)fits(&c, m, SIZE_MAX);
    size_t sum;
    if (!nb_workspace_size(sketch, &c.pass, activations, scratch) ||
        !nbi_add_size(*activations, *scratch, &sum))
        return nbi_fail(err, NB_LIMIT, "the activations of %lld tokens exceed the address space",
                        (long long)max_rows);
    mix r = redone(m);
    p->mode[NB_RECOMPUTE] = m.again;
    p->mode[NB_SELECTIVE] = m.selective;
    p->mode[NB_KEEP] = layers - m.again - m.selective;
    p->redone[NB_RECOMPUTE] = r.again;
    p->redone[NB_SELECTIVE] = r.selective;
    return NB_OK;
}
