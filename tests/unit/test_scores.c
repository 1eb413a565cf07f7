/* SPDX-License-Identifier: MIT */
/* Scores of answers. The figures of ROUGE were made with the rouge_score package, without its
 * stemmer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/alloc.h"
#include "train/scores.h"

static const struct {
    const char *answer, *wanted;
    double f[3];
} rouge_cases[] = {
    {"the cat sat on the mat",
     "the cat was on the mat",
     {0.83333333333333337, 0.6, 0.83333333333333337}},
    {"a a a b", "a b b", {0.57142857142857151, 0.4, 0.57142857142857151}},
    {"Hello, World! 42nd", "hello world 42 nd", {0.57142857142857151, 0.4, 0.57142857142857151}},
    {"", "x", {0, 0, 0}},
    {"...", "?!", {0, 0, 0}},
    {"x y z", "z y x", {1, 0, 0.33333333333333331}},
    {"The quick brown fox jumps over the lazy dog",
     "A quick brown dog jumps on the log, the lazy fox",
     {0.79999999999999993, 0.22222222222222224, 0.5}},
    {"\xC4\xB0stanbul 300 \xE2\x84\xAA"
     "elvin",
     "i stanbul 300 kelvin",
     {1, 1, 1}},
    {"na\xC3\xAFve caf\xC3\xA9", "na ve caf", {1, 1, 1}},
    {"one", "one", {1, 0, 1}},
    {"to be or not to be that is to be",
     "to be to be or not",
     {0.74999999999999989, 0.5714285714285714, 0.5}},
};

static void rouge(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rouge_cases / sizeof *rouge_cases; i++) {
        nb_error err = {0};
        nbi_rouge r;
        const char *a = rouge_cases[i].answer, *w = rouge_cases[i].wanted;
        const double *f = rouge_cases[i].f;
        NBT_OK(nbi_rouge_of(a, strlen(a), w, strlen(w), &r, &err));
        assert_true(fabs(r.rouge1 - f[0]) < 1e-15);
        assert_true(fabs(r.rouge2 - f[1]) < 1e-15);
        assert_true(fabs(r.rougel - f[2]) < 1e-15);
    }
}

/* Each allocation fails once: the status says so and nothing is lost. */
static void rouge_memory(void **state)
{
    (void)state;
    const char *a = rouge_cases[0].answer, *w = rouge_cases[0].wanted;
    nb_status st = NB_NOMEM;
    const size_t before = nbi_mem_current(NBI_MEM_OTHER);
    for (uint64_t k = 1; st != NB_OK; k++) {
        nb_error err = {0};
        nbi_rouge r;
        assert_true(k < 100);
        nbi_alloc_fail_at(k, false);
        st = nbi_rouge_of(a, strlen(a), w, strlen(w), &r, &err);
        nbi_alloc_fail_at(0, false);
        assert_true(st == NB_OK ? k > 1 : st == NB_NOMEM && err.message[0]);
    }
    assert_true(nbi_mem_current(NBI_MEM_OTHER) == before);
}

static bool exact(const char *a, const char *w)
{
    return nbi_exact_match(a, strlen(a), w, strlen(w));
}

static bool json(const char *a)
{
    nb_error err = {0};
    bool is;
    NBT_OK(nbi_is_json(a, strlen(a), &is, &err));
    return is;
}

static void plain(void **state)
{
    (void)state;
    assert_true(exact(" yes\n", "yes"));
    assert_true(exact("", " \t\r\n"));
    assert_false(exact("Yes", "yes"));
    assert_false(exact("y es", "yes"));
    assert_true(json(" {\"a\": [1, null]}\n"));
    assert_true(json("3"));
    assert_false(json(""));
    assert_false(json("{\"a\": 1} and more"));
    assert_false(json("```json\n{}\n```"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rouge), cmocka_unit_test(rouge_memory),
                                       cmocka_unit_test(plain)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
