/* SPDX-License-Identifier: MIT */
/* Learning-rate schedules with the formulas of transformers/optimization. */
#include "optim/optim.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double fraction(int64_t a, int64_t b)
{
    return (double)a / (double)(b > 1 ? b : 1);
}

static double linear(int64_t step, int64_t warmup, int64_t total)
{
    if (step < warmup)
        return fraction(step, warmup);
    double left = fraction(total - step, total - warmup);
    return left > 0 ? left : 0;
}

static double cosine(int64_t step, int64_t warmup, int64_t total)
{
    if (step < warmup)
        return fraction(step, warmup);
    double f = 0.5 * (1.0 + cos(M_PI * fraction(step - warmup, total - warmup)));
    return f > 0 ? f : 0;
}

static double constant(int64_t step, int64_t warmup, int64_t total)
{
    (void)step;
    (void)warmup;
    (void)total;
    return 1;
}

static double constant_with_warmup(int64_t step, int64_t warmup, int64_t total)
{
    (void)total;
    return step < warmup ? fraction(step, warmup) : 1;
}

static const struct {
    const char *name;
    nb_schedule_fn *fn;
} schedules[] = {
    {"linear", linear},
    {"cosine", cosine},
    {"constant", constant},
    {"constant_with_warmup", constant_with_warmup},
};
#define N_SCHEDULES (sizeof(schedules) / sizeof(*schedules))

nb_schedule_fn *nb_schedule_find(const char *name)
{
    for (size_t i = 0; i < N_SCHEDULES; i++)
        if (strcmp(name, schedules[i].name) == 0)
            return schedules[i].fn;
    return NULL;
}

void nb_schedule_list(char *buf, size_t size)
{
    size_t n = 0;
    if (size)
        buf[0] = 0;
    for (size_t i = 0; i < N_SCHEDULES && n < size; i++) {
        int k = snprintf(buf + n, size - n, "%s%s", i ? ", " : "", schedules[i].name);
        n += k > 0 ? (size_t)k : 0;
    }
}
