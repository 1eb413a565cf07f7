/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>
#include "optim/optim_kinds.h"
#include "optim/state_walk.h"

/* Below this, handing the sum to the threads takes longer than the sum. */
#define SMALL 32768

/* Exponent of all ones: NaN or infinity. */
static bool few_finite(const float *v, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof(bits));
        bad |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return !bad;
}

/* Squares of finite floats, and sums of them, are finite in double. */
static bool all_finite(const nb_exec *exec, const float *v, int64_t n)
{
    double sum = 0;
    if (n < SMALL)
        return few_finite(v, n);
    nb_sumsq_args a = {exec->q, n, v, &sum};
    exec->k.sumsq(&a);
    return isfinite(sum);
}

void nbi_optim_watch(nb_optim *o, const nb_optim_piece *p, const nb_optim_state *states)
{
    if (o->bad)
        return;
    for (int j = 0; states[j].name; j++)
        if (states[j].dtype == NB_DT_F32 &&
            !all_finite(o->exec, p->state[j], nbi_state_count(&states[j], p->n))) {
            o->bad = p->param;
            o->bad_what = states[j].name;
            return;
        }
    if (!all_finite(o->exec, p->param->value + p->from, p->n)) {
        o->bad = p->param;
        o->bad_what = "value";
    }
}
