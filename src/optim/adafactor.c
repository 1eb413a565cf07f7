/* SPDX-License-Identifier: MIT */
/* Adafactor as transformers.optimization has it: the second moment of a matrix is kept as its means
 * over rows and over columns, that of a vector in full. */
#include <math.h>
#include "optim/optim_kinds.h"

static bool is_matrix(const nb_param *p)
{
    return p->rank >= 2;
}

static void factor_states(const nb_optim_config *c, const nb_param *p,
                          nb_optim_state states[NB_OPTIM_STATES + 1])
{
    int n = 0;
    if (is_matrix(p)) {
        states[n++] = (nb_optim_state){"exp_avg_sq_row", NB_DT_F32, p->shape[1]};
        states[n++] = (nb_optim_state){"exp_avg_sq_col", NB_DT_F32, p->shape[0]};
    } else {
        states[n++] = (nb_optim_state){"exp_avg_sq", NB_DT_F32, 1};
    }
    if (c->o.first_moment > 0)
        states[n] = (nb_optim_state){"exp_avg", NB_DT_F32, 1};
}

static int64_t factor_scratch(const nb_param *p)
{
    return is_matrix(p) ? p->shape[1] : p->n;
}

/* Of update o->step + 1. */
static double factor_rate(const nb_optim *o, double lr)
{
    const nb_optim_options *c = &o->config.o;
    const double step = (double)(o->step + 1), least = c->warmup_init ? 1e-6 * step : 1e-2;
    return c->relative_step ? fmin(least, 1.0 / sqrt(step)) : lr;
}

/* Root of the mean square of the weights, at least eps. */
static double size_of(const nb_optim *o, const nb_param *p)
{
    double sum = 0;
    o->exec->k.sumsq(&(nb_sumsq_args){o->exec->q, p->n, p->value, &sum});
    return fmax(o->config.o.factor_eps[1], sqrt(sum / (double)p->n));
}

static void factor_step(const nb_optim *o, const nb_optim_piece *p)
{
    const nb_optim_options *c = &o->config.o;
    const nb_param *w = p->param;
    const bool matrix = is_matrix(w);
    if (w->n == 0)
        return;
    o->exec->k.adafactor(
        &(nb_adafactor_args){.q = o->exec->q,
                             .rows = matrix ? w->shape[0] : 1,
                             .cols = matrix ? w->shape[1] : w->n,
                             .w = w->value,
                             .m = p->state[matrix ? 2 : 1],
                             .row = matrix ? p->state[0] : NULL,
                             .col = p->state[matrix ? 1 : 0],
                             .factor = o->scratch,
                             .grad = w->grad,
                             .grad_scale = p->grad_scale,
                             .lr = p->lr * (c->scale_parameter ? size_of(o, w) : 1),
                             .beta1 = c->first_moment,
                             .beta2 = 1.0 - pow((double)o->step, c->decay_rate),
                             .eps = c->factor_eps[0],
                             .clip = c->clip_threshold,
                             .weight_decay = nbi_optim_decay(o, w)});
}

const nb_optim_kind nbi_optim_adafactor = {.bit = NBI_TAKES_ADAFACTOR,
                                           .shape = factor_states,
                                           .whole = true,
                                           .scratch = factor_scratch,
                                           .step = factor_step,
                                           .rate = factor_rate};
