/* SPDX-License-Identifier: MIT */
#include "optim/schedule.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/json.h"
#include "base/nearest.h"
#include "optim/options.h"
#include "optim/schedule_kinds.h"

enum {
    COSINE = 1,
    RESTARTS = 2,
    POLYNOMIAL = 4,
    INVERSE_SQRT = 8,
    COSINE_MIN = 16,
    COSINE_WARMUP_MIN = 32,
    STABLE_DECAY = 64,
    PLATEAU = 128,
    PLAIN = 256
};

#define MANY 1e15
#define FIELD(f) offsetof(nb_schedule_options, f)
#define NUMBER(name, kinds, min, max)                                                              \
    {                                                                                              \
#name, kinds, NBI_OPTION_NUMBER, FIELD(name), min, max,                                    \
        {                                                                                          \
            NULL                                                                                   \
        }                                                                                          \
    }
#define WHOLE(name, kinds, min, max)                                                               \
    {                                                                                              \
#name, kinds, NBI_OPTION_WHOLE, FIELD(name), min, max,                                     \
        {                                                                                          \
            NULL                                                                                   \
        }                                                                                          \
    }
#define WORDS(name, kinds, ...)                                                                    \
    {                                                                                              \
#name, kinds, NBI_OPTION_WORD, FIELD(name), 0, 0,                                          \
        {                                                                                          \
            __VA_ARGS__, NULL                                                                      \
        }                                                                                          \
    }

static const nbi_option option_list[] = {
    NUMBER(num_cycles, COSINE | RESTARTS | COSINE_MIN | COSINE_WARMUP_MIN | STABLE_DECAY, 0, 1e9),
    NUMBER(power, POLYNOMIAL, 0, 1000),
    NUMBER(lr_end, POLYNOMIAL, 0, 100),
    WHOLE(timescale, INVERSE_SQRT, 1, MANY),
    NUMBER(min_lr, COSINE_MIN | COSINE_WARMUP_MIN | PLATEAU, 0, 100),
    NUMBER(min_lr_rate, COSINE_MIN | COSINE_WARMUP_MIN, 0, 1),
    NUMBER(warmup_lr_rate, COSINE_WARMUP_MIN, 0, 1),
    WHOLE(num_stable_steps, STABLE_DECAY, 0, MANY),
    WHOLE(num_decay_steps, STABLE_DECAY, 0, MANY),
    NUMBER(min_lr_ratio, STABLE_DECAY, 0, 1),
    WORDS(warmup_type, STABLE_DECAY, "linear", "cosine", "1-sqrt"),
    WORDS(decay_type, STABLE_DECAY, "linear", "cosine", "1-sqrt"),
    WORDS(mode, PLATEAU, "min", "max"),
    WORDS(threshold_mode, PLATEAU, "rel", "abs"),
    NUMBER(factor, PLATEAU, 0, 0.999999999),
    WHOLE(patience, PLATEAU, 0, MANY),
    NUMBER(threshold, PLATEAU, 0, 1e9),
    WHOLE(cooldown, PLATEAU, 0, MANY),
    NUMBER(eps, PLATEAU, 0, 100),
};
static const nbi_option_table options = {"lr_scheduler_kwargs", option_list,
                                         sizeof(option_list) / sizeof(*option_list)};

static const nb_schedule_options defaults = {.num_cycles = 0.5,
                                             .power = 1,
                                             .lr_end = 1e-7,
                                             .timescale = NAN,
                                             .min_lr = NAN,
                                             .min_lr_rate = NAN,
                                             .warmup_lr_rate = NAN,
                                             .num_stable_steps = NAN,
                                             .num_decay_steps = NAN,
                                             .decay_type = 1,
                                             .factor = 0.1,
                                             .patience = 10,
                                             .threshold = 1e-4,
                                             .eps = 1e-8};

static nb_status check_polynomial(nb_schedule *s, nb_error *err)
{
    if (s->base > s->o.lr_end)
        return NB_OK;
    return nbi_fail(err, NB_CONFIG, "lr_scheduler_kwargs: lr_end %g must be below learning_rate %g",
                    s->o.lr_end, s->base);
}

static nb_status check_inverse_sqrt(nb_schedule *s, nb_error *err)
{
    (void)err;
    if (isnan(s->o.timescale))
        s->o.timescale = s->warmup > 0 ? (double)s->warmup : 10000;
    return NB_OK;
}

static nb_status check_min(nb_schedule *s, nb_error *err)
{
    nb_schedule_options *o = &s->o;
    if (isnan(o->min_lr) == isnan(o->min_lr_rate))
        return nbi_fail(err, NB_CONFIG,
                        "lr_scheduler_kwargs: %s needs one of min_lr and min_lr_rate, found %s",
                        s->kind->name, isnan(o->min_lr) ? "none" : "both");
    if (!isnan(o->min_lr) && !(s->base > 0))
        return nbi_fail(err, NB_CONFIG,
                        "lr_scheduler_kwargs: min_lr needs a learning_rate above 0");
    if (!isnan(o->min_lr))
        o->min_lr_rate = o->min_lr / s->base;
    return NB_OK;
}

static nb_status check_stable_decay(nb_schedule *s, nb_error *err)
{
    if (!isnan(s->o.num_decay_steps))
        return NB_OK;
    return nbi_fail(err, NB_CONFIG,
                    "lr_scheduler_kwargs: warmup_stable_decay needs num_decay_steps, such as "
                    "{num_decay_steps: 100}");
}

static const nb_schedule_kind kinds[] = {
    {"linear", PLAIN, nbi_curve_linear, NULL, false},
    {"cosine", COSINE, nbi_curve_cosine, NULL, false},
    {"cosine_with_restarts", RESTARTS, nbi_curve_restarts, NULL, false},
    {"polynomial", POLYNOMIAL, nbi_curve_polynomial, check_polynomial, false},
    {"constant", PLAIN, nbi_curve_constant, NULL, false},
    {"constant_with_warmup", PLAIN, nbi_curve_constant_warmup, NULL, false},
    {"inverse_sqrt", INVERSE_SQRT, nbi_curve_inverse_sqrt, check_inverse_sqrt, false},
    {"reduce_lr_on_plateau", PLATEAU, nbi_curve_plateau, NULL, true},
    {"cosine_with_min_lr", COSINE_MIN, nbi_curve_cosine_min, check_min, false},
    {"cosine_warmup_with_min_lr", COSINE_WARMUP_MIN, nbi_curve_cosine_warmup_min, check_min, false},
    {"warmup_stable_decay", STABLE_DECAY, nbi_curve_stable_decay, check_stable_decay, false},
};
#define N_KINDS (sizeof(kinds) / sizeof(*kinds))

void nb_schedule_list(char *buf, size_t size)
{
    size_t n = 0;
    if (size)
        buf[0] = 0;
    for (size_t i = 0; i < N_KINDS && n < size; i++) {
        int k = snprintf(buf + n, size - n, "%s%s", i ? ", " : "", kinds[i].name);
        n += k > 0 ? (size_t)k : 0;
    }
}

static nb_status find(const nb_schedule_kind **kind, const char *name, nb_error *err)
{
    nbi_nearest near = {.name = name};
    char names[300];
    for (size_t i = 0; i < N_KINDS; i++) {
        nbi_nearest_offer(&near, kinds[i].name);
        *kind = &kinds[i];
        if (strcmp(name, kinds[i].name) == 0)
            return NB_OK;
    }
    nb_schedule_list(names, sizeof(names));
    return nbi_fail(err, NB_CONFIG,
                    "lr_scheduler_type: \"%.100s\" is not known%s%s%s; expected one of %s", name,
                    near.best ? "; did you mean \"" : "", near.best ? near.best : "",
                    near.best ? "\"?" : "", names);
}

static nb_status store(nb_schedule *s, const nbi_json *v, nb_error *err)
{
    const char *text = v->text;
    if (v->type == NBI_JT_BOOL)
        text = v->boolean ? "true" : "false";
    if (nbi_json_is_null(v))
        text = "null";
    if (!text)
        return nbi_fail(err, NB_CONFIG, "lr_scheduler_kwargs: %.100s: expected a number or a name",
                        v->key);
    return nbi_option_store(&options, s->kind->bit, s->kind->name, &s->o, v->key, text, err);
}

static nb_status store_all(nb_schedule *s, const char *kwargs, nb_error *err)
{
    nbi_arena arena;
    nbi_json *doc = NULL;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse(&arena, "lr_scheduler_kwargs", kwargs, strlen(kwargs), &doc, err);
    st = nbi_fail_format_as(err, st, NB_CONFIG);
    if (st == NB_OK && doc->type != NBI_JT_OBJECT && !nbi_json_is_null(doc))
        st = nbi_fail(err, NB_CONFIG,
                      "lr_scheduler_kwargs: found \"%.100s\", expected names with values such as "
                      "{num_cycles: 2}",
                      kwargs);
    if (st == NB_OK && doc->type == NBI_JT_OBJECT)
        for (const nbi_json *v = doc->first; st == NB_OK && v; v = v->next)
            st = store(s, v, err);
    nbi_arena_free(&arena);
    return st;
}

nb_status nb_schedule_init(nb_schedule *s, const char *name, const char *kwargs, double base,
                           int64_t warmup, int64_t total, nb_error *err)
{
    *s = (nb_schedule){.o = defaults, .base = base, .warmup = warmup, .total = total};
    NBI_TRY(find(&s->kind, name, err));
    if (s->kind->bit == RESTARTS)
        s->o.num_cycles = 1;
    if (kwargs && *kwargs)
        NBI_TRY(store_all(s, kwargs, err));
    if (s->kind->check)
        NBI_TRY(s->kind->check(s, err));
    s->state[0] = base;
    s->state[1] = s->o.mode == 0 ? DBL_MAX : -DBL_MAX; /* worse than any metric */
    return NB_OK;
}

double nb_schedule_rate(const nb_schedule *s, int64_t step)
{
    return s->kind->wants_metric ? s->kind->curve(s, step) : s->base * s->kind->curve(s, step);
}

bool nb_schedule_wants_metric(const nb_schedule *s)
{
    return s->kind->wants_metric;
}

static bool better(const nb_schedule_options *o, double metric, double best)
{
    const double sign = o->mode == 0 ? -1 : 1;
    const double bar =
        o->threshold_mode == 0 ? best * (1.0 + sign * o->threshold) : best + sign * o->threshold;
    return o->mode == 0 ? metric < bar : metric > bar;
}

/* torch.optim.lr_scheduler.ReduceLROnPlateau.step. */
void nb_schedule_metric(nb_schedule *s, double metric)
{
    const nb_schedule_options *o = &s->o;
    double *rate = &s->state[0], *best = &s->state[1], *bad = &s->state[2], *cool = &s->state[3];
    if (!s->kind->wants_metric)
        return;
    const bool good = better(o, metric, *best);
    if (good)
        *best = metric;
    *bad = good ? 0 : *bad + 1;
    if (*cool > 0) {
        *cool -= 1;
        *bad = 0;
    }
    if (*bad > o->patience) {
        const double next = fmax(*rate * o->factor, isnan(o->min_lr) ? 0 : o->min_lr);
        if (*rate - next > o->eps)
            *rate = next;
        *cool = o->cooldown;
        *bad = 0;
    }
}
