/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "generate/sampler.h"

enum { VOCAB = 8, DRAWS = 40000 };

static nb_sampler *open_with(const nb_sampler_options *o)
{
    nb_error err = {0};
    nb_sampler *s;
    NBT_OK(nb_sampler_open(&s, o, VOCAB, &err));
    return s;
}

static nb_sampler_options options(void)
{
    nb_sampler_options o;
    nb_sampler_options_default(&o);
    return o;
}

/* Draws many times and compares with the expected probabilities; five standard deviations. */
static void expect(const nb_sampler_options *o, const float *logits, const double p[VOCAB])
{
    nb_sampler *s = open_with(o);
    int64_t count[VOCAB] = {0};
    for (int i = 0; i < DRAWS; i++) {
        int32_t id = nb_sampler_pick(s, logits);
        assert_in_range(id, 0, VOCAB - 1);
        count[id]++;
    }
    for (int i = 0; i < VOCAB; i++) {
        double off = fabs((double)count[i] / DRAWS - p[i]);
        if (p[i] == 0.0)
            assert_int_equal(count[i], 0);
        assert_true(off <= 5.0 * sqrt(p[i] * (1.0 - p[i]) / DRAWS) + 1e-9);
    }
    nb_sampler_close(&s);
}

static void greedy_takes_lowest_of_equals(void **state)
{
    (void)state;
    const float logits[VOCAB] = {-1, 3, 2, 3, -INFINITY, 3, 0, 1};
    nb_sampler_options o = options();
    nb_sampler *s = open_with(&o);
    for (int i = 0; i < 3; i++)
        assert_int_equal(nb_sampler_pick(s, logits), 1);
    nb_sampler_close(&s);
}

static void penalty_divides_and_multiplies(void **state)
{
    (void)state;
    const float positive[VOCAB] = {1.0f, 3.0f, 2.0f, 0, 0, 0, 0, 0};
    const float negative[VOCAB] = {-9, -1.0f, -1.5f, -9, -9, -9, -9, -9};
    nb_sampler_options o = options();
    o.repetition_penalty = 2.0;
    nb_sampler *s = open_with(&o);
    assert_int_equal(nb_sampler_pick(s, positive), 1);
    nb_sampler_see(s, 1);
    nb_sampler_see(s, 1);                              /* counts once */
    nb_sampler_see(s, VOCAB);                          /* outside: ignored */
    assert_int_equal(nb_sampler_pick(s, positive), 2); /* 3 / 2 < 2 */
    assert_int_equal(nb_sampler_pick(s, negative), 2); /* -1 * 2 < -1.5 */
    nb_sampler_close(&s);
}

/* Probabilities of {1, 2, 3, 4, 0...} / 10, in mixed order. */
static const double weight[VOCAB] = {3, 0, 1, 4, 0, 2, 0, 0};

static void weights_to_logits(float *logits, double temperature)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(temperature * log(weight[i]));
}

static void filters_keep_what_they_should(void **state)
{
    (void)state;
    float z[VOCAB];
    weights_to_logits(z, 1.0);
    nb_sampler_options o = options();
    o.temperature = 1.0;
    expect(&o, z, (const double[VOCAB]){.3, 0, .1, .4, 0, .2, 0, 0});
    o.top_k = 2;
    expect(&o, z, (const double[VOCAB]){3. / 7, 0, 0, 4. / 7, 0, 0, 0, 0});
    o.top_k = 0;
    o.top_p = 0.75; /* 0.4 + 0.3 do not reach it, the third does */
    expect(&o, z, (const double[VOCAB]){3. / 9, 0, 0, 4. / 9, 0, 2. / 9, 0, 0});
    o.top_p = 0.65;
    expect(&o, z, (const double[VOCAB]){3. / 7, 0, 0, 4. / 7, 0, 0, 0, 0});
    o.top_p = 1e-9; /* always one */
    expect(&o, z, (const double[VOCAB]){0, 0, 0, 1, 0, 0, 0, 0});
    o.top_p = 1.0;
    o.min_p = 0.45; /* of the best: above 0.18 */
    expect(&o, z, (const double[VOCAB]){3. / 9, 0, 0, 4. / 9, 0, 2. / 9, 0, 0});
    o.min_p = 1.0;
    expect(&o, z, (const double[VOCAB]){0, 0, 0, 1, 0, 0, 0, 0});
    /* top_k first: what top_p sees is {3, 4, 2} / 9 */
    o.min_p = 0.0;
    o.top_k = 3;
    o.top_p = 0.77;
    expect(&o, z, (const double[VOCAB]){3. / 7, 0, 0, 4. / 7, 0, 0, 0, 0});
}

static void temperature_comes_before_the_filters(void **state)
{
    (void)state;
    float z[VOCAB];
    weights_to_logits(z, 2.0);
    nb_sampler_options o = options();
    o.temperature = 2.0;
    o.min_p = 0.45;
    expect(&o, z, (const double[VOCAB]){3. / 9, 0, 0, 4. / 9, 0, 2. / 9, 0, 0});
}

/* In the limit the best ones share everything; finite logits always give a token. */
static void low_temperatures_stay_finite(void **state)
{
    (void)state;
    const float logits[VOCAB] = {-1, 3, 2, 3, -INFINITY, 2.999f, 0, 1};
    const double p[VOCAB] = {0, 0.5, 0, 0.5};
    static const double temperatures[] = {1e-6, 1e-40, 1e-300, 5e-324};
    for (size_t i = 0; i < sizeof temperatures / sizeof *temperatures; i++) {
        nb_sampler_options o = options();
        o.temperature = temperatures[i];
        expect(&o, logits, p);
        o.top_p = 0.9;
        o.top_k = 3;
        expect(&o, logits, p);
    }
}

static void top_k_keeps_ties(void **state)
{
    (void)state;
    const float z[VOCAB] = {0, 1, 1, 1, 0, 0, 0, 0};
    nb_sampler_options o = options();
    o.temperature = 1.0;
    o.top_k = 2;
    expect(&o, z, (const double[VOCAB]){0, 1. / 3, 1. / 3, 1. / 3, 0, 0, 0, 0});
}

static void seeds_repeat(void **state)
{
    (void)state;
    const float z[VOCAB] = {0};
    int32_t first[64], same = 0;
    nb_sampler_options o = options();
    o.temperature = 1.0;
    o.seed = 7;
    for (int run = 0; run < 3; run++) {
        o.seed = run == 2 ? 8 : 7;
        nb_sampler *s = open_with(&o);
        for (int i = 0; i < 64; i++) {
            int32_t id = nb_sampler_pick(s, z);
            if (run == 0)
                first[i] = id;
            else if (run == 1)
                assert_int_equal(id, first[i]);
            else
                same += id == first[i];
        }
        nb_sampler_close(&s);
    }
    assert_true(same < 32);
}

static void bad_numbers_and_settings(void **state)
{
    (void)state;
    nb_error err;
    nb_sampler *none;
    const float nan[VOCAB] = {0, 1, NAN}, inf[VOCAB] = {0, INFINITY};
    const float low[VOCAB] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY,
                              -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    for (double t = 0.0; t < 2.0; t += 1.0) {
        nb_sampler_options o = options();
        o.temperature = t;
        nb_sampler *s = open_with(&o);
        assert_int_equal(nb_sampler_pick(s, nan), -1);
        assert_int_equal(nb_sampler_pick(s, inf), -1);
        assert_int_equal(nb_sampler_pick(s, low), -1);
        nb_sampler_close(&s);
    }
#define REFUSED(key, value)                                                                        \
    do {                                                                                           \
        nb_sampler_options o = options();                                                          \
        o.key = value;                                                                             \
        NBT_FAILS(NB_CONFIG, #key, nb_sampler_open(&none, &o, VOCAB, &err));                       \
        assert_null(none);                                                                         \
    } while (0)
    REFUSED(temperature, -1.0);
    REFUSED(temperature, (double)NAN);
    REFUSED(top_k, -1);
    REFUSED(top_p, 0.0);
    REFUSED(top_p, 1.5);
    REFUSED(min_p, -0.1);
    REFUSED(repetition_penalty, 0.0);
    REFUSED(repetition_penalty, (double)INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_takes_lowest_of_equals),
        cmocka_unit_test(penalty_divides_and_multiplies),
        cmocka_unit_test(filters_keep_what_they_should),
        cmocka_unit_test(temperature_comes_before_the_filters),
        cmocka_unit_test(low_temperatures_stay_finite),
        cmocka_unit_test(top_k_keeps_ties),
        cmocka_unit_test(seeds_repeat),
        cmocka_unit_test(bad_numbers_and_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
