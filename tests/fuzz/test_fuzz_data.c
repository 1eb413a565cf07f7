/* SPDX-License-Identifier: MIT */
/* Damaged files of rows, the same ones in every run: loading ends with a status and a message, and
 * what loads holds what its header promises. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "byte_tokenizer.h"
#include "testutil.h"
#include "fuzzutil.h"
#include "data/dataset.h"
#include "data/loader.h"

enum { VOCAB = 260 };

static const char *const words[] = {
    "null",
    "true",
    "-1",
    "1e9",
    "-100",
    "259",
    "260",
    "9e999",
    "\"\"",
    "[]",
    "{}",
    "\\u0000",
    "\\ud800",
    "\"",
    "\"\"\"",
    ",",
    "\n",
    "\r\n",
    ":",
    "[",
    "]",
    "{",
    "}",
    "\xC3",
    "\xFF",
    "\xEF\xBB\xBF",
    "\xF0\x9F\x98\x80",
    "</s>",
    "<s>",
    "\t",
    ";",
    "text",
    "prompt",
    "completion",
    "labels",
    "input_ids",
    "messages",
    "role",
    "instruction",
    "output",
};

static const char *const rows_jsonl =
    "{\"prompt\": \"one and\", \"completion\": \" two\"}\n"
    "{\"prompt\": \"\\u00e9 \\\"x\\\"\", \"completion\": \"\"}\n\n"
    "{\"completion\": \"z\", \"prompt\": \"y\", \"other\": [1, {\"a\": null}]}\n";
static const char *const rows_alpaca =
    "[{\"instruction\": \"Say 1.\", \"input\": \"\", \"output\": \"1\"},\n"
    " {\"instruction\": \"Add.\", \"input\": \"2 3\", \"output\": \"5\"}]\n";
static const char *const rows_ids =
    "{\"input_ids\": [1, 20, 30, 40, 2], \"labels\": [-100, -100, 30, 40, 2]}\n"
    "{\"input_ids\": [7, 8, 9], \"attention_mask\": [0, 1, 1]}\n"
    "{\"ids\": [1, 5, 6], \"completion_mask\": [0, 0, 1], \"assistant_masks\": [0, 1, 1]}\n";
static const char *const rows_csv = "text,label\n\"a, \"\"b\"\"\nc\",1\nplain,2\n\n x ,3\n";

static void check_rows(const nb_example *v, size_t n, bool dropped)
{
    for (size_t i = 0; i < n; i++) {
        int64_t trained = 0;
        bool any = false;
        assert_int_equal(v[i].dropped != NULL, dropped);
        assert_true(v[i].line > 0 && v[i].row >= 0 && v[i].n >= 0 && v[i].n <= 100000);
        for (int64_t k = 0; k < v[i].n; k++) {
            int32_t label = v[i].labels[k];
            assert_in_range(v[i].ids[k], 0, VOCAB - 1);
            assert_true(label == NB_LABEL_IGNORE || (label >= 0 && label < VOCAB));
            any = any || label != NB_LABEL_IGNORE;
            trained += k > 0 && label != NB_LABEL_IGNORE;
        }
        assert_int_equal(v[i].n_trained, trained);
        assert_int_equal(any, !dropped);
        assert_true(i == 0 || v[i].row > v[i - 1].row);
    }
}

static void check_set(nb_dataset *d)
{
    nb_batch_buffer b = {0};
    nb_error err = {0};
    int64_t sum = 0;
    assert_true(d->n > 0 && d->trained_tokens > 0 && strlen(d->sha256) == 64);
    check_rows(d->rows, d->n, false);
    check_rows(d->dropped, d->n_dropped, true);
    for (size_t i = 0; i < d->n; i++)
        sum += d->rows[i].n;
    assert_int_equal(sum, d->total_tokens);
    uint32_t row = (uint32_t)d->n - 1;
    NBT_OK(nb_batch_make(&b, d, &row, 1, 0, &err));
    assert_int_equal(b.batch.m, d->rows[row].n);
    nb_batch_free(&b);
}

static void attack(const char *name, const char *good, const nb_data_config *c, uint64_t seed,
                   int rounds)
{
    size_t n = strlen(good), cap = n + 200;
    char *path = nbt_join(g_dir, name), *s = nbi_alloc(NBI_MEM_OTHER, cap);
    int loaded = 0;
    nbi_rng g;
    assert_non_null(s);
    nbi_rng_init(&g, seed, NBI_RNG_SAMPLE, 0);
    size_t before = nbt_in_use();
    for (int i = 0; i < rounds; i++) {
        nb_error err = {0};
        nb_dataset *d;
        memcpy(s, good, n);
        size_t m = nbt_mutate(&g, s, n, cap, words, sizeof words / sizeof words[0]);
        nbt_write_plainly(path, s, m);
        nb_status st = nb_dataset_load(&d, path, c, g_tok, VOCAB, NULL, &err);
        if (st == NB_OK) {
            loaded++;
            check_set(d);
            nb_dataset_close(&d);
        } else {
            assert_null(d);
            assert_int_equal(err.code, st);
            /* the file is at fault, and is named */
            assert_true(st == NB_DATA || st == NB_CONFIG || st == NB_LIMIT || st == NB_UNSUPPORTED);
            assert_true(st == NB_CONFIG || strstr(err.message, name));
        }
        assert_int_equal(nbt_in_use(), before);
    }
    printf("  %s: %d files, %d loaded\n", name, rounds, loaded);
    assert_true(loaded > 0 && loaded < rounds);
    nbi_free(s);
    nbi_free(path);
}

static void test_rows(void **state)
{
    (void)state;
    nb_data_config c = {.format = NB_DATA_AUTO, .add_special_tokens = -1, .keep_text = true};
    attack("rows.jsonl", rows_jsonl, &c, 1, 800);
    attack("list.json", rows_alpaca, &c, 2, 800);
    attack("ids.jsonl", rows_ids, &c, 3, 800);
    attack("rows.csv", rows_csv, &c, 4, 800);
}

/* The same with the settings that change the way through the code. */
static void test_settings(void **state)
{
    (void)state;
    nb_data_config c = {.format = NB_DATA_TEMPLATE,
                        .template_text = "{text}: {label}",
                        .add_special_tokens = 0,
                        .max_seq_length = 6,
                        .truncate_left = true,
                        .mask_eos = true};
    attack("template.csv", rows_csv, &c, 5, 400);
    c = (nb_data_config){.format = NB_DATA_PROMPT_COMPLETION,
                         .add_special_tokens = 1,
                         .max_seq_length = 9,
                         .max_rows = 2,
                         .empty_labels_error = true};
    attack("cut.jsonl", rows_jsonl, &c, 6, 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_settings)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
