/* SPDX-License-Identifier: MIT */
/* Damaged recipes and config.json files, the same ones in every run: reading ends with a status and
 * a message, and what is accepted holds together (a config.json also when written and
 * read again). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "fuzzutil.h"
#include "base/json.h"
#include "model/config.h"
#include "nibble/recipe.h"
#include "nibble/tokenizer.h"

static const char *const words[] = {
    "null",
    "~",
    "true",
    "no",
    "-1",
    "0",
    "1e9",
    "1e-400",
    "9223372036854775808",
    "0x10",
    ".5",
    "\"\"",
    "''",
    "[]",
    "{}",
    "[a, b]",
    "{x: 1}",
    "\n",
    "\n  ",
    "\t",
    " #",
    "- ",
    ": ",
    "? ",
    "&a",
    "*a",
    "!!str",
    "---\n",
    "...\n",
    "|",
    ">",
    "%TAG",
    "\"",
    "'",
    ",",
    ":",
    "[",
    "]",
    "{",
    "}",
    "\\u0000",
    "\xC3",
    "\xFF",
    "\xEF\xBB\xBF",
    "auto",
    "llama",
    "qwen3",
    "linear",
    "rope_scaling",
    "seed",
    "lora_r",
    "template",
};

static const char *const recipe = "# a recipe\n"
                                  "model: some/folder\n"
                                  "data: 'rows.jsonl'\n"
                                  "template: \"Q {q}\\nA {a}\"\n"
                                  "template_vars: {who: me, n: 3}\n"
                                  "learning_rate: 2e-4\n"
                                  "lora_r: 8\n"
                                  "lora_target_modules: [q_proj, v_proj]\n"
                                  "lora_dropout: 0.05\n"
                                  "num_train_epochs: 3\n"
                                  "load_in_4bit: yes\n"
                                  "seed: 42\n"
                                  "max_seq_length: 512\n"
                                  "save_strategy: epoch\n";

static const char *const config =
    "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n"
    "  \"bos_token_id\": 1,\n  \"eos_token_id\": [2, 7],\n  \"hidden_act\": \"silu\",\n"
    "  \"hidden_size\": 64,\n  \"initializer_range\": 0.02,\n  \"intermediate_size\": 96,\n"
    "  \"max_position_embeddings\": 256,\n  \"num_attention_heads\": 4,\n"
    "  \"num_hidden_layers\": 2,\n  \"num_key_value_heads\": 2,\n  \"rms_norm_eps\": 1e-05,\n"
    "  \"rope_theta\": 10000.0,\n  \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": "
    "2.0},\n"
    "  \"tie_word_embeddings\": true,\n  \"torch_dtype\": \"float32\",\n  \"vocab_size\": 260\n}\n";

static char *g_dir;

/* Returns whether the file at `path` was accepted, after checking what came of it. */
typedef bool check_fn(const char *path);

static void attack(const char *name, const char *good, check_fn *check, uint64_t seed, int rounds)
{
    size_t n = strlen(good), cap = n + 200;
    char *path = nbt_join(g_dir, name), *s = nbi_alloc(NBI_MEM_OTHER, cap);
    int accepted = 0;
    nbi_rng g;
    assert_non_null(s);
    nbt_write_plainly(path, good, n);
    assert_true(check(path));
    nbi_rng_init(&g, seed, NBI_RNG_SAMPLE, 0);
    size_t before = nbt_in_use();
    for (int i = 0; i < rounds; i++) {
        memcpy(s, good, n);
        size_t m = nbt_mutate(&g, s, n, cap, words, sizeof words / sizeof words[0]);
        nbt_write_plainly(path, s, m);
        accepted += check(path);
        assert_int_equal(nbt_in_use(), before);
    }
    printf("  %s: %d files, %d accepted\n", name, rounds, accepted);
    assert_true(accepted > 0 && accepted < rounds);
    nbi_free(s);
    nbi_free(path);
}

static void assert_refused(nb_status st, const nb_error *err)
{
    assert_int_equal(err->code, st);
    assert_true(st == NB_CONFIG || st == NB_FORMAT || st == NB_LIMIT || st == NB_UNSUPPORTED);
    assert_int_not_equal(err->message[0], 0);
    assert_null(strchr(err->message, '\n'));
}

/* All settings as JSON; NULL when the recipe is refused. */
static char *settings(const char *path, bool finish)
{
    nb_error err = {0};
    nb_recipe *r = NULL;
    char *json = NULL;
    NBT_OK(nb_recipe_new(&r, &err));
    nb_status st = nb_recipe_read(r, path, &err);
    if (st != NB_OK)
        assert_non_null(strstr(err.message, "recipe"));
    if (st == NB_OK && finish)
        st = nb_recipe_finish(r, NULL, &err);
    if (st == NB_OK)
        NBT_OK(nb_recipe_json(r, &json, &err));
    else
        assert_refused(st, &err);
    nb_recipe_free(&r);
    return json;
}

/* The settings are one object with every key of the table. */
static void check_settings(const char *json)
{
    nb_error err = {0};
    nbi_arena arena;
    nbi_json *v = NULL;
    nb_recipe_key key;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse(&arena, "settings", json, strlen(json), &v, &err));
    for (size_t i = 0; nb_recipe_key_at(i, &key); i++)
        assert_non_null(nbi_json_get(v, key.name));
    nbi_arena_free(&arena);
}

static bool check_recipe(const char *path)
{
    char *read = settings(path, false), *finished = settings(path, true);
    assert_true(read || !finished);
    if (read)
        check_settings(read);
    if (finished)
        check_settings(finished);
    nb_free(finished);
    nb_free(read);
    return read != NULL;
}

static void check_shape(const nb_model_config *c)
{
    assert_true(c->hidden > 0 && c->layers > 0 && c->heads > 0 && c->ffn > 0 && c->vocab > 0);
    assert_true(c->kv_heads > 0 && c->heads % c->kv_heads == 0);
    assert_true(c->head_dim > 0 && c->head_dim <= 256 && c->head_dim % 2 == 0);
    assert_true(c->norm_eps >= 0 && c->norm_eps < 1);
    assert_true(c->n_eos >= 0 && c->n_eos <= NB_MAX_EOS);
}

static bool check_config(const char *path)
{
    nb_error err = {0};
    nb_model_config c, back;
    nb_status st = nb_config_read_file(&c, path, &err);
    if (st != NB_OK) {
        assert_refused(st, &err);
        assert_non_null(strstr(err.message, "config.json"));
        return false;
    }
    char *copy = nbt_join(g_dir, "config-copy.json");
    check_shape(&c);
    NBT_OK(nb_config_write(&c, c.dtype, copy, &err));
    NBT_OK(nb_config_read_file(&back, copy, &err));
    check_shape(&back);
    assert_true(back.hidden == c.hidden && back.vocab == c.vocab && back.dtype == c.dtype);
    assert_true(back.bos == c.bos && back.n_eos == c.n_eos && back.norm_eps == c.norm_eps);
    nb_config_free(&back);
    nb_config_free(&c);
    nbi_free(copy);
    return true;
}

static void test_recipe(void **state)
{
    (void)state;
    attack("recipe.yaml", recipe, check_recipe, 1, 1500);
}

static void test_config(void **state)
{
    (void)state;
    attack("config.json", config, check_config, 2, 1500);
}

static int setup(void **state)
{
    (void)state;
    g_dir = nbt_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbt_tmpdir_remove(g_dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_recipe),
                                       cmocka_unit_test(test_config)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
