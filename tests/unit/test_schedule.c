/* SPDX-License-Identifier: MIT */
/* Learning-rate schedules: known points, options by name, the plateau's counters. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "optim/schedule.h"
#include "testutil.h"

static nb_schedule make(const char *name, const char *kwargs, int64_t warmup, int64_t total)
{
    nb_error err = {0};
    nb_schedule s;
    NBT_OK(nb_schedule_init(&s, name, kwargs, 1.0, warmup, total, &err));
    return s;
}

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-15 * (1 + fabs(b));
}

static double at(const char *name, const char *kwargs, int64_t step)
{
    nb_schedule s = make(name, kwargs, 10, 100);
    return nb_schedule_rate(&s, step);
}

static void plain(void **state)
{
    (void)state;
    static const char *const rising[] = {"linear",     "cosine",       "constant_with_warmup",
                                         "polynomial", "inverse_sqrt", "cosine_with_restarts"};
    /* warm-up starts at 0 and reaches the full rate after `warmup` updates */
    for (int i = 0; i <= 10; i++)
        for (size_t k = 0; k < sizeof rising / sizeof *rising; k++)
            assert_true(near(at(rising[k], NULL, i), i / 10.0));
    assert_true(at("constant", NULL, 0) == 1);
    assert_true(at("linear", NULL, 55) == 0.5 && at("linear", NULL, 100) == 0);
    assert_true(at("linear", NULL, 120) == 0);
    assert_true(near(at("cosine", NULL, 55), 0.5) && at("cosine", NULL, 100) == 0);
    nb_schedule s = make("linear", NULL, 0, 1);
    assert_true(nb_schedule_rate(&s, 0) == 1);
    s = make("linear", NULL, 5, 5);
    assert_true(nb_schedule_rate(&s, 3) == 0.6);
    s = make("linear", NULL, 0, 0);
    assert_true(nb_schedule_rate(&s, 0) == 0);
}

static void with_options(void **state)
{
    (void)state;
    assert_true(near(at("cosine", "{\"num_cycles\": 1}", 55), 0));
    assert_true(near(at("cosine", "{\"num_cycles\": 1}", 100), 1));
    assert_true(near(at("cosine_with_restarts", "{\"num_cycles\": 2}", 55), 1));
    assert_true(near(at("polynomial", "{\"lr_end\": 0.2, \"power\": 2}", 55), 0.2 + 0.8 / 4));
    assert_true(near(at("inverse_sqrt", "{\"timescale\": 30}", 100), sqrt(30.0 / 120)));
    assert_true(near(at("cosine_with_min_lr", "{\"min_lr\": 0.25}", 100), 0.25));
    assert_true(near(at("cosine_warmup_with_min_lr", "{\"min_lr_rate\": 0.1}", 0), 0.1));
    const char *wsd = "{\"num_decay_steps\": 20, \"decay_type\": \"linear\"}";
    assert_true(at("warmup_stable_decay", wsd, 80) == 1);
    assert_true(near(at("warmup_stable_decay", wsd, 90), 0.5));
    assert_true(at("warmup_stable_decay", wsd, 100) == 0);
    /* numbers as words, as a YAML map hands them on; None means not given */
    assert_true(near(at("cosine", "{\"num_cycles\": \"1\"}", 55), 0));
    assert_true(near(at("inverse_sqrt", "{\"timescale\": \"None\"}", 40), 0.5));
    assert_true(near(at("cosine", "{\"num_cycles\": null}", 100), 0));
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *kwargs, *part;
    } c[] = {
        {"linears", NULL, "did you mean \"linear\"?"},
        {"cosine_with_restart", NULL, "did you mean \"cosine_with_restarts\"?"},
        {"xyz", NULL, "expected one of linear, cosine,"},
        {"linear", "{\"num_cycles\": 2}", "linear takes no options"},
        {"cosine", "{\"num_cycle\": 2}", "did you mean \"num_cycles\"?"},
        {"cosine", "{\"power\": 2}", "cosine has no option \"power\"; it takes num_cycles"},
        {"cosine", "{\"num_cycles\": \"two\"}", "found \"two\", expected a number from 0"},
        {"cosine", "{\"num_cycles\": [1]}", "expected a number or a name"},
        {"cosine", "[1]", "expected names with values"},
        {"cosine", "{", "lr_scheduler_kwargs"},
        {"polynomial", "{\"lr_end\": 1}", "must be below learning_rate 1"},
        {"cosine_with_min_lr", NULL, "one of min_lr and min_lr_rate, found none"},
        {"cosine_with_min_lr", "{\"min_lr\": 0.1, \"min_lr_rate\": 0.1}", "found both"},
        {"warmup_stable_decay", NULL, "needs num_decay_steps"},
        {"warmup_stable_decay", "{\"num_decay_steps\": 3, \"decay_type\": \"sqrt\"}",
         "expected one of linear cosine 1-sqrt"},
        {"inverse_sqrt", "{\"timescale\": 2.5}", "expected a whole number"},
        {"reduce_lr_on_plateau", "{\"factor\": 1}", "factor"},
    };
    nb_error err = {0};
    nb_schedule s;
    size_t before = nbt_in_use();
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        NBT_FAILS(NB_CONFIG, c[i].part,
                  nb_schedule_init(&s, c[i].name, c[i].kwargs, 1.0, 0, 10, &err));
    assert_int_equal(nbt_in_use(), before);
}

static void plateau(void **state)
{
    (void)state;
    nb_schedule s =
        make("reduce_lr_on_plateau",
             "{\"patience\": 1, \"factor\": 0.5, \"cooldown\": 1, \"min_lr\": 0.2}", 0, 100);
    static const double metric[] = {2, 1, 1, 1, 1, 1, 1, 1, 0.5, NAN, NAN, NAN, NAN};
    /* better, better, bad, bad: halved; one of cool-down; bad, bad: halved; ... */
    static const double want[] = {1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2};
    assert_true(nb_schedule_wants_metric(&s));
    for (size_t i = 0; i < sizeof metric / sizeof *metric; i++) {
        /* what a checkpoint holds goes on the same way */
        nb_schedule other = make("reduce_lr_on_plateau",
                                 "{\"patience\": 1, \"factor\": 0.5, \"cooldown\": 1, "
                                 "\"min_lr\": 0.2}",
                                 0, 100);
        memcpy(other.state, s.state, sizeof s.state);
        s = other;
        nb_schedule_metric(&s, metric[i]);
        assert_true(nb_schedule_rate(&s, (int64_t)i) == want[i]);
        assert_true(isfinite(s.state[1]));
    }
    s = make("reduce_lr_on_plateau", "{\"mode\": \"max\", \"patience\": 0, \"factor\": 0.5}", 0, 9);
    nb_schedule_metric(&s, 1);
    assert_true(nb_schedule_rate(&s, 0) == 1);
    nb_schedule_metric(&s, 0.5);
    assert_true(nb_schedule_rate(&s, 0) == 0.5);
    s = make("linear", NULL, 0, 10);
    nb_schedule_metric(&s, 1);
    assert_true(!nb_schedule_wants_metric(&s) && nb_schedule_rate(&s, 0) == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain), cmocka_unit_test(with_options),
                                       cmocka_unit_test(refused), cmocka_unit_test(plateau)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
