/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <string.h>
#include "optim/optim_kinds.h"
#include "optim/state_walk.h"

/* Below this, handing the sum to the threads takes longer than the sum. */
#define SMALL (1 << 18)

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

/* A first moment that is not finite makes values that are not, so it need not be read. */
static bool shows_in_values(const nb_optim_state *states, int j)
{
    return strcmp(states[j].name, "exp_avg") == 0 && states[j + 1].name &&
           strcmp(states[j + 1].name, "exp_avg_sq") == 0;
}

static bool state_finite(const nb_optim *o, const nb_optim_piece *p, const nb_optim_state *s, int j)
{
    return s->dtype != NB_DT_F32 || all_finite(o->exec, p->state[j], nbi_state_count(s, p->n));
}

void nbi_optim_watch(nb_optim *o, const nb_optim_piece *p, const nb_optim_state *states)
{
    if (o->bad)
        return;
    const bool values = all_finite(o->exec, p->param->value + p->from, p->n);
    for (int j = 0; states[j].name; j++)
        if ((!values || !shows_in_values(states, j)) && !state_finite(o, p, &states[j], j)) {
            o->bad = p->param;
            o->bad_what = states[j].name;
            return;
        }
    if (!values) {
        o->bad = p->param;
        o->bad_what = "value";
    }
}
