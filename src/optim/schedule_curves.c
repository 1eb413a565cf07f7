/* SPDX-License-Identifier: MIT */
/* The curves, with the formulas of transformers/optimization.py and the order of its operations. */
#include <math.h>
#include "optim/schedule_kinds.h"

static double fraction(int64_t a, int64_t b)
{
    return (double)a / (double)(b > 1 ? b : 1);
}

static double rising(const nb_schedule *s, int64_t step)
{
    return fraction(step, s->warmup);
}

/* How far the part after the warm-up is done. */
static double progress(const nb_schedule *s, int64_t step)
{
    return fraction(step - s->warmup, s->total - s->warmup);
}

static double at_least_0(double f)
{
    return f > 0 ? f : 0;
}

double nbi_curve_linear(const nb_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return rising(s, step);
    return at_least_0(fraction(s->total - step, s->total - s->warmup));
}

static double wave(double cycles, double part)
{
    return 0.5 * (1.0 + cos(M_PI * cycles * 2.0 * part));
}

double nbi_curve_cosine(const nb_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return rising(s, step);
    return at_least_0(wave(s->o.num_cycles, progress(s, step)));
}

double nbi_curve_restarts(const nb_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return rising(s, step);
    const double p = progress(s, step);
    if (p >= 1.0)
        return 0;
    return at_least_0(0.5 * (1.0 + cos(M_PI * fmod(s->o.num_cycles * p, 1.0))));
}

double nbi_curve_polynomial(const nb_schedule *s, int64_t step)
{
    const double end = s->o.lr_end;
    if (step < s->warmup)
        return rising(s, step);
    if (step > s->total)
        return end / s->base;
    return ((s->base - end) * pow(1.0 - progress(s, step), s->o.power) + end) / s->base;
}

double nbi_curve_inverse_sqrt(const nb_schedule *s, int64_t step)
{
    const double scale = s->o.timescale;
    if (step < s->warmup)
        return rising(s, step);
    return 1.0 / sqrt(((double)step + (scale - (double)s->warmup)) / scale);
}

double nbi_curve_constant(const nb_schedule *s, int64_t step)
{
    (void)s;
    (void)step;
    return 1;
}

double nbi_curve_constant_warmup(const nb_schedule *s, int64_t step)
{
    return step < s->warmup ? rising(s, step) : 1;
}

static double above(double f, double least)
{
    return at_least_0(f * (1.0 - least) + least);
}

double nbi_curve_cosine_min(const nb_schedule *s, int64_t step)
{
    if (step < s->warmup)
        return rising(s, step);
    return above(wave(s->o.num_cycles, progress(s, step)), s->o.min_lr_rate);
}

/* Counts steps from 1: the first one has a rate above 0, the last one the least. */
double nbi_curve_cosine_warmup_min(const nb_schedule *s, int64_t step)
{
    const double first = s->o.warmup_lr_rate;
    if (step < s->warmup)
        return isnan(first) ? fraction(step + 1, s->warmup)
                            : first + (1.0 - first) * (double)step /
                                          (double)(s->warmup > 2 ? s->warmup - 1 : 1);
    return above(wave(s->o.num_cycles, progress(s, step + 1)), s->o.min_lr_rate);
}

enum { LINEAR, COSINE, ONE_MINUS_SQRT };

static double stable_rising(const nb_schedule *s, double p)
{
    if (s->o.warmup_type == COSINE)
        return 0.5 * (1.0 - cos(M_PI * p));
    return s->o.warmup_type == LINEAR ? p : 1.0 - sqrt(1.0 - p);
}

static double stable_falling(const nb_schedule *s, double p)
{
    if (s->o.decay_type == COSINE)
        return wave(s->o.num_cycles, p);
    return s->o.decay_type == LINEAR ? 1.0 - p : 1.0 - sqrt(p);
}

double nbi_curve_stable_decay(const nb_schedule *s, int64_t step)
{
    const int64_t decay = (int64_t)s->o.num_decay_steps;
    const int64_t stable = isnan(s->o.num_stable_steps) ? s->total - s->warmup - decay
                                                        : (int64_t)s->o.num_stable_steps;
    const int64_t turn = s->warmup + stable;
    if (step < s->warmup)
        return above(stable_rising(s, rising(s, step)), s->o.min_lr_ratio);
    if (step < turn)
        return 1;
    if (step < turn + decay)
        return above(stable_falling(s, fraction(step - turn, decay)), s->o.min_lr_ratio);
    return s->o.min_lr_ratio;
}

double nbi_curve_plateau(const nb_schedule *s, int64_t step)
{
    (void)step;
    return s->state[0];
}
