/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/json.h"
#include "nibble/tokenizer.h"
#include "train/recipe_keys.h"

/* All lines said through the log. */
static void collect(void *user, nb_log_level level, const char *line)
{
    (void)level;
    nbi_strbuf_printf(user, "%s\n", line);
}

static nb_recipe *new_recipe(void)
{
    nb_error err = {0};
    nb_recipe *r = NULL;
    NBT_OK(nb_recipe_new(&r, &err));
    return r;
}

static void set(nb_recipe *r, const char *key, const char *value)
{
    nb_error err = {0};
    NBT_OK(nb_recipe_set(r, key, value, &err));
}

/* Reads a recipe from text. */
static nb_status read_text(nb_recipe *r, const char *text, nb_error *err)
{
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "r.yaml");
    nbt_write_text(path, text);
    nb_status st = nb_recipe_read(r, path, err);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
    return st;
}

static void test_defaults(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    set(r, "load_in_4bit", "true");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->method, NB_METHOD_QLORA);
    assert_true(r->quant.load_in_4bit && r->quant.kind == NB_QK_NF4 && !r->quant.double_quant);
    assert_true(r->quant.block == 64 && r->quant.nested_block == 256);
    assert_true(r->lora.r == 16 && r->lora.alpha == 32 && r->lora.dropout == 0);
    assert_true(r->lora.all_linear && r->lora.targets.n == 0);
    assert_true(r->learning_rate == 2e-4 && r->batch * r->accumulation == 16);
    assert_true(r->warmup_ratio == 0.03 && r->max_grad_norm == 1.0 && r->seed == 42);
    assert_string_equal(r->schedule, "linear");
    assert_string_equal(r->optim, "adamw_torch");
    assert_true(r->optim_config.beta1 == 0.9 && r->optim_config.beta2 == 0.999);
    assert_true(r->optim_config.eps == 1e-8 && r->optim_config.weight_decay == 0);
    assert_true(r->data_config.train_on == NB_TRAIN_DEFAULT && r->shuffle);
    assert_int_equal(r->data_config.add_special_tokens, -1);
    assert_int_equal(r->compute, NB_COMPUTE_F32);
    assert_int_equal(r->save_dtype, NB_DT_F32);
    assert_true(r->eval_strategy == NB_STRATEGY_NO && r->save_strategy == NB_STRATEGY_STEPS);
    nb_recipe_free(&r);

    r = new_recipe();
    set(r, "method", "full");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_true(r->learning_rate == 2e-5 && !r->quant.load_in_4bit);
    nb_recipe_free(&r);

    r = new_recipe(); /* nothing asked: the base stays as it is stored */
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_true(r->method == NB_METHOD_LORA && !r->quant.load_in_4bit);
    set(r, "method", "qlora"); /* finishing again derives again */
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_true(r->quant.load_in_4bit);
    nb_recipe_free(&r);
}

/* The 13B recipe of the instruction tutorial, to the letter. */
static const char tutorial[] =
    "model: base\n"
    "data: train.jsonl\n"
    "eval_data: validation.jsonl\n"
    "format: instruction\n"
    "load_in_4bit: true\n"
    "bnb_4bit_quant_type: nf4\n"
    "bnb_4bit_use_double_quant: true\n"
    "bnb_4bit_compute_dtype: float16\n"
    "device_map: auto\n"
    "r: 16\n"
    "lora_alpha: 32\n"
    "lora_dropout: 0.05\n"
    "bias: none\n"
    "task_type: CAUSAL_LM\n"
    "target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj]\n"
    "num_train_epochs: 3\n"
    "per_device_train_batch_size: 4\n"
    "gradient_accumulation_steps: 4\n"
    "learning_rate: 2e-4\n"
    "warmup_steps: 100\n"
    "lr_scheduler_type: cosine\n"
    "optim: paged_adamw_8bit\n"
    "logging_steps: 10\n"
    "evaluation_strategy: steps\n"
    "eval_steps: 100\n"
    "save_steps: 500\n"
    "fp16: true\n"
    "report_to: [tensorboard]\n"
    "trust_remote_code: true\n"
    "padding: max_length\n"
    "use_cache: no\n"
    "push_to_hub: false\n"
    "max_length: 512\n"
    "truncation_side: left\n"
    "rank_pattern: {\"layers.0.*q_proj\": 4}\n"
    "layers_to_transform: [0, 2]\n"
    "packing: true\n";

static void test_tutorial(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    nbi_strbuf said = {0};
    nb_log log = {collect, &said};
    NBT_OK(read_text(r, tutorial, &err));
    NBT_OK(nb_recipe_finish(r, &log, &err));
    assert_true(r->method == NB_METHOD_QLORA && r->quant.double_quant);
    assert_true(r->lora.targets.n == 6 && !r->lora.all_linear && r->lora.dropout == 0.05);
    assert_string_equal(r->lora.targets.v[5], "up_proj");
    assert_true(r->lora.rank_pattern.n == 1 && r->lora.rank_pattern.v[0].value == 4);
    assert_true(r->lora.layers.n == 2 && r->lora.layers.v[1] == 2);
    assert_true(r->warmup_steps == 100 && r->warmup_ratio == 0);
    assert_int_equal(r->eval_strategy, NB_STRATEGY_STEPS);
    assert_int_equal(r->data_config.max_seq_length, 512);
    assert_true(r->data_config.truncate_left && r->tensorboard);
    assert_int_equal(r->data_config.format, NB_DATA_INSTRUCTION);
    assert_int_equal(r->compute,
                     nb_cpu_bf16_fast(nb_cpu_best_flags()) ? NB_COMPUTE_BF16 : NB_COMPUTE_F32);
    static const char *const lines[] = {"trust_remote_code: no effect", "padding: no effect",
                                        "device_map: no effect",
                                        "bnb_4bit_compute_dtype asks for 16-bit", "packing: rows"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(said.s, lines[i]))
            fail_msg("not said: %s", lines[i]);
    assert_null(strstr(said.s, "push_to_hub"));
    assert_null(strstr(said.s, "learning_rate"));
    size_t n = said.n;
    NBT_OK(nb_recipe_finish(r, &log, &err)); /* said once */
    assert_int_equal(said.n, n);
    nbi_strbuf_free(&said);
    nb_recipe_free(&r);
}

static void test_errors(void **state)
{
    (void)state;
    nb_error err;
    nb_recipe *r = new_recipe();
    NBT_FAILS(NB_CONFIG, "r.yaml:2: unknown key \"learning_rte\"; did you mean \"learning_rate\"?",
              read_text(r, "model: a\nlearning_rte: 1\n", &err));
    NBT_FAILS(NB_CONFIG, "did you mean \"learning_rate\"", nb_recipe_set(r, "lr", "1", &err));
    NBT_FAILS(NB_CONFIG, "\"num_train_epochs\"", nb_recipe_set(r, "epochs", "1", &err));
    NBT_FAILS(NB_CONFIG, "\"num_train_epochs\"", nb_recipe_set(r, "num_epochs", "1", &err));
    NBT_FAILS(NB_CONFIG, "unknown key \"foo\" (nibble train --help",
              nb_recipe_set(r, "foo", "1", &err));
    NBT_FAILS(NB_CONFIG, "unknown key \"colour\" (", nb_recipe_set(r, "colour", "1", &err));
    NBT_FAILS(NB_CONFIG, "\"eval_strategy\"", nb_recipe_set(r, "eval_stratgy", "no", &err));
    NBT_FAILS(NB_CONFIG, "r.yaml:1: lora_r: found \"many\", expected a whole number from 1",
              read_text(r, "lora_r: many\n", &err));
    NBT_FAILS(NB_CONFIG, "found \"0\"", nb_recipe_set(r, "lora_r", "0", &err));
    NBT_FAILS(NB_CONFIG, "a number from 0", nb_recipe_set(r, "learning_rate", "-1", &err));
    NBT_FAILS(NB_CONFIG, "a number", nb_recipe_set(r, "learning_rate", "nan", &err));
    NBT_FAILS(NB_CONFIG, "true or false", nb_recipe_set(r, "shuffle", "maybe", &err));
    NBT_FAILS(NB_CONFIG, "one of qlora, lora, full", nb_recipe_set(r, "method", "dora", &err));
    NBT_FAILS(NB_CONFIG, "found \"a list\"", read_text(r, "model: [a]\n", &err));
    NBT_FAILS(NB_CONFIG, "map", nb_recipe_set(r, "rank_pattern", "[1]", &err));
    NBT_FAILS(NB_CONFIG, "number above 0", nb_recipe_set(r, "rank_pattern", "{a: b}", &err));
    NBT_FAILS(NB_CONFIG, "", read_text(r, "a: [\n", &err));
    NBT_FAILS(NB_CONFIG, "key: value", read_text(r, "- a\n- b\n", &err));
    NBT_FAILS(NB_CONFIG, "empty", read_text(r, "# nothing\n", &err));
    NBT_FAILS(NB_NOTFOUND, "", nb_recipe_read(r, "no-such-folder/r.yaml", &err));
    NBT_FAILS(NB_UNSUPPORTED, "bias \"all\"", nb_recipe_set(r, "bias", "all", &err));
    NBT_FAILS(NB_UNSUPPORTED, "use_dora", nb_recipe_set(r, "use_dora", "true", &err));
    NBT_FAILS(NB_CONFIG, "one of tensorboard, none", nb_recipe_set(r, "report_to", "wandb", &err));
    NBT_FAILS(NB_UNSUPPORTED, "modules_to_save",
              nb_recipe_set(r, "modules_to_save", "[lm_head]", &err));
    nb_recipe_free(&r);
}

/* Keys of other tools: refused by name when they would change the result, else accepted. */
static void test_foreign_keys(void **state)
{
    (void)state;
    static const char *const refused[][2] = {{"label_smoothing_factor", "0.1"},
                                             {"assistant_only_loss", "true"}};
    static const char *const quiet[][2] = {{"neftune_noise_alpha", "null"},
                                           {"neftune_noise_alpha", "0"},
                                           {"deepspeed", "null"},
                                           {"fsdp", "[]"}};
    static const char *const said[][2] = {
        {"deepspeed", "ds.json"},
        {"fsdp", "full_shard auto_wrap"},
        {"ddp_timeout", "1800"},
        {"gradient_checkpointing_kwargs", "{use_reentrant: false}"}};
    nb_error err = {0};
    char part[100];
    nbi_strbuf lines = {0};
    nb_log log = {collect, &lines};
    nb_recipe *r = new_recipe();
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        snprintf(part, sizeof part, "--%s: %s \"", refused[i][0], refused[i][0]);
        NBT_FAILS(NB_UNSUPPORTED, part, nb_recipe_set(r, refused[i][0], refused[i][1], &err));
        assert_non_null(strstr(err.message, "is not supported by this version"));
    }
    for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++)
        set(r, quiet[i][0], quiet[i][1]);
    set(r, "gradient_accumulation_steps", "4");
    NBT_OK(nb_recipe_finish(r, &log, &err));
    assert_int_equal(lines.n, 0);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        set(r, said[i][0], said[i][1]);
    r->said = false;
    NBT_OK(nb_recipe_finish(r, &log, &err));
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        snprintf(part, sizeof part, "%s: no effect: ", said[i][0]);
        assert_non_null(strstr(nbi_strbuf_str(&lines), part));
    }
    nbi_strbuf_free(&lines);
    nb_recipe_free(&r);
}

/* Sets by name, steps as a part of all, and what goes by evaluations. */
static void test_watching(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    set(r, "eval_data", "rows=1.jsonl"); /* a name and a file */
    assert_true(r->eval_sets.n == 1 && !strcmp(r->eval_sets.v[0].name, "rows"));
    set(r, "eval_data", "a,b=c.jsonl"); /* a file */
    assert_true(r->eval_sets.n == 1 && !r->eval_sets.v[0].name);
    assert_string_equal(r->eval_data, "a,b=c.jsonl");
    set(r, "eval_data", "x=a.jsonl,y-2=b.jsonl");
    assert_true(r->eval_sets.n == 2 && !strcmp(r->eval_sets.v[1].name, "y-2"));
    assert_string_equal(r->eval_sets.v[1].path, "b.jsonl");
    NBT_OK(read_text(r, "eval_data:\n  easy: e.jsonl\n  hard: h.jsonl\n", &err));
    assert_true(r->eval_sets.n == 2 && !strcmp(r->eval_sets.v[1].name, "hard"));
    assert_string_equal(r->eval_data, "e.jsonl");
    char *json;
    NBT_OK(nb_recipe_json(r, &json, &err));
    assert_non_null(strstr(json, "\"eval_data\": {\"easy\": \"e.jsonl\", \"hard\": \"h.jsonl\"}"));
    assert_non_null(strstr(json, "\"logging_steps\": 10,"));
    nb_free(json);
    NBT_FAILS(NB_CONFIG, "letters", read_text(r, "eval_data: {'a b': e.jsonl}\n", &err));
    NBT_FAILS(NB_CONFIG, "a file for each name", read_text(r, "eval_data: {a: [1]}\n", &err));
    NBT_FAILS(NB_CONFIG, "whole number", nb_recipe_set(r, "save_steps", "2.5", &err));
    NBT_FAILS(NB_CONFIG, "whole number", nb_recipe_set(r, "eval_steps", "0", &err));
    set(r, "eval_data", "e.jsonl");
    set(r, "save_steps", "0.1");
    set(r, "logging_steps", "7");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_true(r->logging_steps == 7 && r->eval_steps == 7 && r->save_steps == 0);
    NBT_OK(nb_recipe_resolve_steps(r, 101, &err));
    assert_true(r->logging_steps == 7 && r->save_steps == 11);
    /* the best step is one that was saved */
    set(r, "load_best_model_at_end", "true");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->save_strategy, NB_STRATEGY_EPOCH);
    set(r, "save_strategy", "steps");
    NBT_FAILS(NB_CONFIG, "must be the same", nb_recipe_finish(r, NULL, &err));
    set(r, "eval_strategy", "steps");
    set(r, "save_steps", "20");
    NBT_FAILS(NB_CONFIG, "multiple of eval_steps (7)", nb_recipe_finish(r, NULL, &err));
    set(r, "save_steps", "21");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    set(r, "save_steps", "0.15"); /* of 100: 15 */
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    NBT_FAILS(NB_CONFIG, "save_steps (15)", nb_recipe_resolve_steps(r, 100, &err));
    set(r, "save_strategy", "best");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    set(r, "eval_data", "null");
    set(r, "eval_strategy", "no");
    NBT_FAILS(NB_CONFIG, "load_best_model_at_end goes by", nb_recipe_finish(r, NULL, &err));
    set(r, "load_best_model_at_end", "false");
    NBT_FAILS(NB_CONFIG, "save_strategy: best goes by", nb_recipe_finish(r, NULL, &err));
    set(r, "save_strategy", "no");
    set(r, "early_stopping_patience", "2");
    NBT_FAILS(NB_CONFIG, "early_stopping_patience goes by", nb_recipe_finish(r, NULL, &err));
    nb_recipe_free(&r);
}

/* Options of schedules and optimizers: a map, as YAML or as a text, becomes one JSON object. */
static void test_optim_options(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    set(r, "lr_scheduler_type", "cosine_with_min_lr");
    set(r, "lr_scheduler_kwargs", "{num_cycles: 1, min_lr: 5e-5}");
    assert_string_equal(r->schedule_kwargs, "{\"num_cycles\": 1.0, \"min_lr\": 5e-05}");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    NBT_OK(read_text(r, "lr_scheduler_kwargs: '{\"min_lr_rate\": 0.1}'\n", &err));
    assert_string_equal(r->schedule_kwargs, "{\"min_lr_rate\": 0.1}");
    NBT_FAILS(NB_CONFIG, "a map of names",
              nb_recipe_set(r, "lr_scheduler_kwargs", "num_cycles", &err));
    NBT_FAILS(NB_CONFIG, "a number or a word",
              nb_recipe_set(r, "lr_scheduler_kwargs", "{num_cycles: [1]}", &err));
    set(r, "lr_scheduler_kwargs", "{min_l: 1}");
    NBT_FAILS(NB_CONFIG, "did you mean \"min_lr\"?", nb_recipe_finish(r, NULL, &err));
    set(r, "lr_scheduler_kwargs", "null");
    set(r, "lr_scheduler_type", "warmup_stable_decay");
    set(r, "lr_scheduler_kwargs", "{\"num_decay_steps\": 5, \"decay_type\": \"1-sqrt\"}");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    set(r, "lr_scheduler_kwargs", "{}");
    set(r, "lr_scheduler_type", "reduce_lr_on_plateau");
    NBT_FAILS(NB_CONFIG, "follows the evaluation loss", nb_recipe_finish(r, NULL, &err));
    set(r, "eval_rows", "5");
    set(r, "eval_strategy", "epoch");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    set(r, "optim", "sgd");
    set(r, "optim_args", "momentum=0.9,nesterov=True");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    set(r, "optim", "adamw");
    NBT_FAILS(NB_CONFIG, "has no option \"momentum\"", nb_recipe_finish(r, NULL, &err));
    set(r, "optim_args", "null");
    set(r, "warmup_steps", "0.1");
    assert_true(r->warmup_steps == 0.1);
    set(r, "warmup_steps", "2.5");
    NBT_FAILS(NB_CONFIG, "whole number", nb_recipe_finish(r, NULL, &err));
    nb_recipe_free(&r);
}

static void test_distance(void **state)
{
    (void)state;
    static const char letters[] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    assert_int_equal(nb_name_distance("", ""), 0);
    assert_int_equal(nb_name_distance("abc", ""), 3);
    assert_int_equal(nb_name_distance("", "abc"), 3);
    assert_int_equal(nb_name_distance("kitten", "sitting"), 3);
    assert_int_equal(nb_name_distance("ab", "ba"), 2);
    assert_int_equal(strlen(letters), 65);
    assert_int_equal(nb_name_distance(letters + 1, ""), 64);
    assert_true(nb_name_distance(letters, letters) == SIZE_MAX);
}

static void finish_fails(const char *text, const char *part)
{
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    NBT_OK(read_text(r, text, &err));
    NBT_FAILS(NB_CONFIG, part, nb_recipe_finish(r, NULL, &err));
    nb_recipe_free(&r);
}

static void test_combinations(void **state)
{
    (void)state;
    finish_fails("method: full\nload_in_4bit: true\n", "cannot train 4-bit");
    finish_fails("method: qlora\nload_in_4bit: false\n", "load_in_4bit is false");
    finish_fails("bf16: true\nfp16: true\n", "give one");
    finish_fails("bnb_4bit_blocksize: 48\n", "power of two");
    finish_fails("format: template\n", "needs the key template");
    finish_fails("format: alpaca\ntemplate: \"{a}\"\n", "format: alpaca");
    finish_fails("template_vars: {a: b}\n", "without template");
    finish_fails("eval_data: a\neval_rows: 3\n", "give one of them");
    finish_fails("eval_strategy: epoch\n", "no rows to evaluate");
    finish_fails("group_by_length: true\npacking: true\n", "rows of any length");
    finish_fails("group_by_length: true\nsample_order: o.jsonl\n", "give one of them");
    finish_fails("lr_scheduler_type: quadratic\n", "cosine");
    finish_fails("optim: sophia\n", "adamw_torch");
    finish_fails("max_steps: 0\n", "trains nothing");
    finish_fails("method: full\ninit_adapter: a\n", "method: lora");
}

static void test_spellings(void **state)
{
    (void)state;
    nb_error err;
    nb_recipe *r = new_recipe();
    NBT_FAILS(NB_CONFIG, "same setting",
              read_text(r, "compute_dtype: bf16\nbnb_4bit_compute_dtype: float32\n", &err));
    nb_recipe_free(&r);

    r = new_recipe(); /* two spellings that agree, and a flag that wins over the file */
    NBT_OK(read_text(r, "compute_dtype: bf16\nbnb_4bit_compute_dtype: torch.bfloat16\n", &err));
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->compute, NB_COMPUTE_BF16);
    set(r, "compute_dtype", "f32");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->compute, NB_COMPUTE_F32);
    NBT_FAILS(NB_CONFIG, "same setting",
              nb_recipe_set(r, "bnb_4bit_compute_dtype", "bfloat16", &err));
    nb_recipe_free(&r);

    r = new_recipe(); /* later flags win over earlier ones of the same name */
    set(r, "lora_r", "8");
    set(r, "lora_r", "4");
    assert_int_equal(r->lora.r, 4);
    set(r, "lora_r", "null");
    assert_int_equal(r->lora.r, 16);
    assert_false(nb_recipe_given(r, "lora_r"));
    set(r, "target_modules", "q_proj, v_proj");
    assert_int_equal(r->lora.targets.n, 2);
    assert_string_equal(r->lora.targets.v[1], "v_proj");
    set(r, "target_modules", "all-linear");
    assert_true(r->lora.all_linear && r->lora.targets.n == 0);
    set(r, "target_modules", ".*\\.(q|v)_proj");
    assert_string_equal(r->lora.targets_regex, ".*\\.(q|v)_proj");
    assert_false(r->lora.all_linear);
    set(r, "layers_to_transform", "1,3");
    assert_int_equal(r->lora.layers.n, 2);
    set(r, "layers_to_transform", "5");
    assert_true(r->lora.layers.n == 1 && r->lora.layers.v[0] == 5);
    set(r, "template", "[INST] {q} [/INST]{a}"); /* taken literally */
    assert_string_equal(r->data_config.template_text, "[INST] {q} [/INST]{a}");
    set(r, "template_vars", "{x: \"a\\nb\", y: c}");
    assert_int_equal(r->data_config.n_template_vars, 2);
    assert_string_equal(r->data_config.template_vars[0].value, "a\nb");
    set(r, "append_eos", "false");
    assert_true(r->data_config.no_eos);
    set(r, "add_special_tokens", "true");
    assert_int_equal(r->data_config.add_special_tokens, 1);
    set(r, "target_modules", "q_proj");
    set(r, "warmup_steps", "0");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_true(r->warmup_ratio == 0);
    nb_recipe_free(&r);

    r = new_recipe();
    set(r, "bf16", "true"); /* where the machine does it fast */
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->compute,
                     nb_cpu_bf16_fast(nb_cpu_best_flags()) ? NB_COMPUTE_BF16 : NB_COMPUTE_F32);
    nb_recipe_free(&r);

    r = new_recipe();
    set(r, "bf16", "true");
    set(r, "cpumask", "ref");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->compute, NB_COMPUTE_F32);
    nb_recipe_free(&r);

    r = new_recipe(); /* the batch size alone: no accumulation */
    set(r, "per_device_train_batch_size", "2");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    assert_int_equal(r->accumulation, 1);
    nb_recipe_free(&r);
}

static bool advised(const char *text, const char *part)
{
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    nbi_strbuf said = {0};
    nb_log log = {collect, &said};
    NBT_OK(read_text(r, text, &err));
    NBT_OK(nb_recipe_finish(r, &log, &err));
    /* advice is the trainer's: evaluating or looking at data needs none */
    assert_null(strstr(nbi_strbuf_str(&said), "usual"));
    nb_recipe_advise(r, &log);
    bool found = strstr(nbi_strbuf_str(&said), part) != NULL;
    nbi_strbuf_free(&said);
    nb_recipe_free(&r);
    return found;
}

static void test_advice(void **state)
{
    (void)state;
    assert_true(advised("method: full\nlearning_rate: 2e-4\n", "learning_rate 0.0002: full"));
    assert_true(advised("method: full\nlearning_rate: 1e-6\n", "too slowly"));
    assert_false(advised("method: full\nlearning_rate: 5e-5\n", "learning_rate"));
    assert_true(advised("method: lora\nlearning_rate: 5e-3\n", "1e-5 to 3e-4"));
    assert_false(advised("method: lora\nlearning_rate: 3e-4\n", "learning_rate"));
    assert_true(advised("lora_r: 128\nlora_alpha: 256\n", "lora_r 128"));
    assert_true(advised("lora_r: 2\nlora_alpha: 4\n", "lora_r 2"));
    assert_true(advised("lora_alpha: 1\n", "lora_alpha 1"));
    assert_true(advised("lora_dropout: 0.5\n", "lora_dropout 0.5"));
    assert_true(advised("per_device_train_batch_size: 1\n", "1 rows an update"));
    assert_false(advised("model: x\n", "rows an update"));
    assert_true(advised("template: '{a}\\n{b}'\n", "backslash"));
    assert_false(advised("template: \"{a}\\n{b}\"\n", "backslash"));
    assert_true(advised("init_adapter: x\nlora_r: 8\n", "adapter_config.json"));
    assert_true(advised("target_modules: [q_proj]\n", "q_proj and v_proj"));
}

/* Every key has a type, a group and a help text, and comes back from JSON. */
static void test_table(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_recipe *r = new_recipe();
    nb_recipe_key key;
    nbi_arena arena;
    nbi_json *doc = NULL;
    char *json = NULL;
    size_t n = 0;
    set(r, "template", "a\"\xc3\xa9\n{x}");
    set(r, "rank_pattern", "{q: 4}");
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    NBT_OK(nb_recipe_json(r, &json, &err));
    for (const char *c = json; *c; c++)
        assert_true(*c >= 32 && *c < 127);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse(&arena, "json", json, strlen(json), &doc, &err));
    for (; nb_recipe_key_at(n, &key); n++) {
        assert_true(key.name && key.type && key.help && key.group && key.default_text);
        if (!nbi_json_get(doc, key.name))
            fail_msg("%s is not in the JSON", key.name);
        assert_int_equal(nbi_key_find(key.name), (int)n);
    }
    assert_int_equal(n, nbi_keys_n);
    assert_string_equal(nbi_json_get(doc, "template")->text, "a\"\xc3\xa9\n{x}");
    assert_string_equal(nbi_json_get(doc, "lora_target_modules")->text, "all-linear");
    assert_string_equal(nbi_json_get(doc, "learning_rate")->text, "0.0002");
    assert_true(nbi_json_get(doc, "append_eos")->type == NBI_JT_BOOL);
    assert_true(nbi_json_get(doc, "append_eos")->boolean);
    assert_string_equal(nbi_json_get(doc, "add_special_tokens")->text, "auto");
    for (size_t i = 0; i < nbi_aliases_n; i++) {
        assert_true(nbi_key_index(nbi_aliases[i].key) >= 0);
        assert_true(nbi_key_index(nbi_aliases[i].name) < 0);
    }
    for (size_t i = 0; i < nbi_silent_keys_n; i++)
        assert_true(nbi_key_find(nbi_silent_keys[i].name) < 0);
    nb_free(json);
    nbi_arena_free(&arena);
    nb_recipe_free(&r);
}

/* Each allocation fails once: an error, no leak, no crash. */
static void test_no_memory(void **state)
{
    (void)state;
    size_t before = nbt_in_use();
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "r.yaml");
    nbt_write_text(path, tutorial);
    bool done = false;
    for (uint64_t k = 1; !done && k < 5000; k++) {
        nb_error err = {0};
        nb_recipe *r = NULL;
        char *json = NULL;
        nbi_alloc_fail_at(k, false);
        nb_status st = nb_recipe_new(&r, &err);
        if (st == NB_OK)
            st = nb_recipe_read(r, path, &err);
        if (st == NB_OK)
            st = nb_recipe_finish(r, NULL, &err);
        if (st == NB_OK)
            st = nb_recipe_json(r, &json, &err);
        done = nbi_alloc_count() < k;
        nbi_alloc_fail_at(0, false);
        assert_true(done ? st == NB_OK : (st == NB_NOMEM || st == NB_OK));
        nb_free(json);
        nb_recipe_free(&r);
    }
    assert_true(done);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
    assert_int_equal(nbt_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),      cmocka_unit_test(test_tutorial),
        cmocka_unit_test(test_errors),        cmocka_unit_test(test_combinations),
        cmocka_unit_test(test_spellings),     cmocka_unit_test(test_advice),
        cmocka_unit_test(test_table),         cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_optim_options), cmocka_unit_test(test_distance),
        cmocka_unit_test(test_foreign_keys),  cmocka_unit_test(test_watching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
