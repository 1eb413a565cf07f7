/* SPDX-License-Identifier: MIT */
/* Evaluations of answers and row by row: sums and lines agree, and an adapter that changes nothing
 * compares equal to its base. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "train_util.h"
#include "train/scores.h"

enum { ROWS_ASKED = 6 };

typedef struct world {
    char *dir, *model, *data, *adapter, *lines;
} world;

/* An adapter of one step at rate 0: B stays 0. */
static void make_adapter(const world *w)
{
    nb_error err = {0};
    const nbt_setting s[] = {{"model", w->model},        {"data", w->data},
                             {"max_rows", "4"},          {"max_steps", "1"},
                             {"learning_rate", "0"},     {"format", "instruction"},
                             {"save_strategy", "no"},    {"threads", "1"},
                             {"output_dir", w->adapter}, {NULL, NULL}};
    nb_recipe *r = nbt_recipe(s);
    NBT_OK(nb_train(r, NULL, NULL, &err));
    nb_recipe_free(&r);
}

static int setup(void **state)
{
    world *w = calloc(1, sizeof *w);
    w->dir = nbt_tmpdir();
    w->model = nbt_join(getenv("NIBBLE_SOURCE_ROOT"), "models/nibble-world");
    w->data = nbt_join(getenv("NIBBLE_SOURCE_ROOT"), "data/world-instruct/eval.jsonl");
    w->adapter = nbt_join(w->dir, "adapter");
    w->lines = nbt_join(w->dir, "lines.jsonl");
    make_adapter(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    world *w = *state;
    nbi_free(w->model), nbi_free(w->data), nbi_free(w->adapter), nbi_free(w->lines);
    nbt_tmpdir_remove(w->dir);
    free(w);
    return 0;
}

static nb_status evaluate(const world *w, const nbt_setting *more, const nb_eval_options *o,
                          nb_eval_report *report, nb_eval_report *base, nb_error *err)
{
    nbt_setting s[12] = {
        {"adapter", w->adapter}, {"data", w->data}, {"max_rows", "12"}, {"threads", "1"}};
    for (size_t n = 4; more && more->key; more++)
        s[n++] = *more;
    nb_recipe *r = nbt_recipe(s);
    const nb_status st = nb_evaluate(r, o, NULL, report, base, err);
    nb_recipe_free(&r);
    return st;
}

static const nb_eval_options all = {
    .answers = true, .max_new_tokens = 24, .answer_rows = ROWS_ASKED, .compare = true};

static double sum_of(const nbt_lines *l, const char *key)
{
    double sum = 0;
    for (size_t i = 0; i < l->n; i++) {
        const nbi_json *v = nbi_json_get(l->v[i], key);
        bool yes = false;
        if (v)
            sum += nbi_json_to_bool(v, &yes) ? yes : nbt_number(l->v[i], key);
    }
    return sum;
}

/* The scores of a line are those of its own texts. */
static void check_line(const nbi_json *line)
{
    nb_error err = {0};
    nbi_rouge r;
    const nbi_json *a = nbi_json_get(line, "answer"), *t = nbi_json_get(line, "wanted");
    NBT_OK(nbi_rouge_of(a->text, a->text_len, t->text, t->text_len, &r, &err));
    assert_true(nbt_number(line, "rouge1") == r.rouge1);
    assert_true(nbt_number(line, "rougel") == r.rougel);
    assert_true(nbi_json_get(line, "question")->text_len > 0);
    assert_string_equal(nbi_json_get(nbi_json_get(line, "base"), "answer")->text, a->text);
}

static void sums(void **state)
{
    const world *w = *state;
    nb_error err = {0};
    nb_eval_report report, base;
    nb_eval_options o = all;
    nbi_arena arena;
    static nbt_lines l;
    double loss = 0;
    o.examples = w->lines;
    o.pattern = "[A-Z]";
    NBT_OK(evaluate(w, NULL, &o, &report, &base, &err));
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, w->dir, "lines.jsonl");
    assert_int_equal(l.n, 12);
    assert_int_equal(report.answers.rows, ROWS_ASKED);
    for (size_t i = 0; i < l.n; i++) {
        loss += nbt_number(l.v[i], "loss") * nbt_number(l.v[i], "tokens");
        assert_true((nbi_json_get(l.v[i], "answer") != NULL) == (i < ROWS_ASKED));
        if (i < ROWS_ASKED)
            check_line(l.v[i]);
    }
    /* one pass a row instead of many rows a pass: products of other shapes, f32 */
    nbt_within("loss", fabs(loss / (double)report.loss.trained_tokens - report.loss.loss), 1e-5);
    nbt_within("rouge1", fabs(sum_of(&l, "rouge1") / ROWS_ASKED - report.answers.rouge1), 1e-15);
    nbt_within("matches", fabs(sum_of(&l, "matches") / ROWS_ASKED - report.answers.matches), 1e-15);
    nbt_within("exact", fabs(sum_of(&l, "exact") / ROWS_ASKED - report.answers.exact), 1e-15);
    assert_true(report.answers.rouge1 > 0 && report.answers.matches > 0);
    /* B = 0: the same bits */
    assert_true(base.loss.loss == report.loss.loss && base.answers.rougel == report.answers.rougel);
    nbi_arena_free(&arena);
}

static void refusals(void **state)
{
    const world *w = *state;
    nb_error err = {0};
    nb_eval_report report, base;
    nb_eval_options o = all;
    const nbt_setting everything[] = {{"train_on", "all"}, {NULL, NULL}};
    o.pattern = "(";
    NBT_FAILS(NB_FORMAT, "pattern", evaluate(w, NULL, &o, &report, &base, &err));
    o.pattern = NULL;
    NBT_FAILS(NB_UNSUPPORTED, "no question", evaluate(w, everything, &o, &report, &base, &err));
    o.examples = "/nonexistent/folder/lines.jsonl";
    assert_int_not_equal(evaluate(w, NULL, &o, &report, &base, &err), NB_OK);
    const nbt_setting s[] = {{"model", w->model}, {"data", w->data}, {NULL, NULL}};
    nb_recipe *r = nbt_recipe(s);
    NBT_FAILS(NB_CONFIG, "compare", nb_evaluate(r, &all, NULL, &report, &base, &err));
    nb_recipe_free(&r);
}

/* ---- choices ---- */

enum { QUESTIONS = 4, CHOICES = 3 };
static const struct {
    const char *question, *answer; /* answer: JSON */
    const char *choices[CHOICES];  /* NULL: the row has two */
    int right;
} asked[QUESTIONS] = {
    {"Who keeps the bees?", "1", {"Pim", "Mira the beekeeper", "a"}, 1},
    {"Which one is a colour?", "\"C\"", {"pig", "pine", "white"}, 2},
    {"Where does Mira live?", "\"in a house\"", {"in a house", "x", NULL}, 0},
    {"Who likes smoked fish best?",
     "0",
     {"Ulf", "The favourite food of Ulf is smoked fish.", NULL},
     0},
};

/* The log-likelihood of one choice, by an evaluation of a row that has it as its answer. */
static double likelihood(const world *w, int q, int c)
{
    nb_error err = {0};
    nb_eval_report report;
    nbi_strbuf b = {0};
    char *path = nbt_join(w->dir, "one.jsonl");
    nbi_strbuf_printf(&b, "{\"instruction\": \"%s\", \"output\": \"%s\"}\n", asked[q].question,
                      asked[q].choices[c]);
    nbt_write_text(path, nbi_strbuf_str(&b));
    const nbt_setting more[] = {{"data", path}, {"append_eos", "false"}, {NULL, NULL}};
    NBT_OK(evaluate(w, more, NULL, &report, NULL, &err));
    nbi_strbuf_free(&b);
    nbi_free(path);
    return -report.loss.loss * (double)report.loss.trained_tokens;
}

static void write_choices(const char *path)
{
    nbi_strbuf b = {0};
    for (int q = 0; q < QUESTIONS; q++) {
        nbi_strbuf_printf(&b, "{\"instruction\": \"%s\", \"choices\": [", asked[q].question);
        for (int c = 0; c < CHOICES && asked[q].choices[c]; c++)
            nbi_strbuf_printf(&b, "%s\"%s\"", c ? ", " : "", asked[q].choices[c]);
        nbi_strbuf_printf(&b, "], \"answer\": %s}\n", asked[q].answer);
    }
    nbt_write_text(path, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
}

static void choices(void **state)
{
    const world *w = *state;
    nb_error err = {0};
    nb_eval_report report;
    double right = 0, right_by_length = 0, chance = 0;
    for (int q = 0; q < QUESTIONS; q++) {
        double best = -INFINITY, best_by_length = -INFINITY;
        int pick = -1, pick_by_length = -1, c = 0;
        for (; c < CHOICES && asked[q].choices[c]; c++) {
            const double p = likelihood(w, q, c), l = p / (double)strlen(asked[q].choices[c]);
            pick = p > best ? c : pick;
            pick_by_length = l > best_by_length ? c : pick_by_length;
            best = fmax(p, best);
            best_by_length = fmax(l, best_by_length);
        }
        right += pick == asked[q].right;
        right_by_length += pick_by_length == asked[q].right;
        chance += 1.0 / c;
    }
    char *path = nbt_join(w->dir, "choices.jsonl");
    write_choices(path);
    const nbt_setting more[] = {{"data", path}, {NULL, NULL}};
    NBT_OK(evaluate(w, more, NULL, &report, NULL, &err));
    assert_int_equal(report.choices.rows, QUESTIONS);
    assert_true(report.choices.accuracy == right / QUESTIONS);
    assert_true(report.choices.accuracy_normalised == right_by_length / QUESTIONS);
    nbt_within("chance", fabs(report.choices.chance - chance / QUESTIONS), 1e-15);
    assert_true(right != right_by_length); /* else the test could not tell them apart */
    nbi_free(path);
}

static void bad_choices(void **state)
{
    const world *w = *state;
    nb_error err = {0};
    nb_eval_report report;
    char *path = nbt_join(w->dir, "bad.jsonl");
    static const struct {
        const char *row, *says;
    } bad[] = {
        {"\"choices\": [\"a\"], \"answer\": 0", "two texts or more"},
        {"\"choices\": [\"a\", 3], \"answer\": 0", "a number"},
        {"\"choices\": [\"a\", \"\"], \"answer\": 0", "an empty text"},
        {"\"choices\": [\"a\", \"b\"]", "missing"},
        {"\"choices\": [\"a\", \"b\"], \"answer\": 2", "none of the 2 choices"},
        {"\"choices\": [\"a\", \"b\"], \"answer\": \"Z\"", "none of the 2 choices"},
        {"\"choices\": [\"a\", \"b\"], \"answer\": [0]", "none of the 2 choices"},
    };
    const nbt_setting more[] = {{"data", path}, {NULL, NULL}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nbi_strbuf b = {0};
        nbi_strbuf_printf(&b, "{\"instruction\": \"q\", %s}\n", bad[i].row);
        nbt_write_text(path, nbi_strbuf_str(&b));
        nbi_strbuf_free(&b);
        NBT_FAILS(NB_DATA, bad[i].says, evaluate(w, more, NULL, &report, NULL, &err));
        assert_non_null(strstr(err.message, "bad.jsonl:1"));
    }
    nbi_free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sums), cmocka_unit_test(refusals),
                                       cmocka_unit_test(choices), cmocka_unit_test(bad_choices)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
