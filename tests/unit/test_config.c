/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "model/config.h"

static char *dir, *config_path, *generation_path;

static int setup(void **state)
{
    (void)state;
    dir = nbt_tmpdir();
    config_path = nbt_join(dir, "config.json");
    generation_path = nbt_join(dir, "generation_config.json");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbi_free(config_path);
    nbi_free(generation_path);
    nbt_tmpdir_remove(dir);
    return 0;
}

#define SHAPE                                                                                      \
    "\"hidden_size\":64,\"num_hidden_layers\":4,\"num_attention_heads\":4,"                        \
    "\"intermediate_size\":96,\"vocab_size\":100"
#define DOC(type, more) "{\"model_type\":\"" type "\"," SHAPE more "}"

static nb_model_config read_ok(const char *text)
{
    nb_model_config c;
    nb_error err = {0};
    nbt_write_text(config_path, text);
    NBT_OK(nb_config_read(&c, dir, &err));
    return c;
}

static void refused(nb_status code, const char *part, const char *text)
{
    nb_model_config c;
    nb_error err;
    size_t before = nbt_in_use();
    nbt_write_text(config_path, text);
    NBT_FAILS(code, part, nb_config_read(&c, dir, &err));
    assert_non_null(strstr(err.message, "config.json"));
    assert_int_equal(nbt_in_use(), before);
}

static void defaults(void **state)
{
    (void)state;
    nb_model_config c = read_ok(DOC("llama", ""));
    assert_string_equal(c.model_type, "llama");
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.max_positions, 2048);
    assert_int_equal(c.act, NB_ACT_SILU);
    assert_int_equal(c.dtype, NB_DT_F32);
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.n_eos, 0);
    assert_true(c.norm_eps == 1e-6 && c.rope.theta == 10000.0 && c.rope.type == NB_ROPE_DEFAULT);
    assert_false(c.tie_embeddings || c.q_bias || c.o_bias || c.mlp_bias || c.qk_norm ||
                 c.has_quant);
    assert_int_equal(c.sliding_window, 0);
    nb_config_free(&c);
    nb_config_free(&c); /* harmless */
}

/* The same model in the keys of transformers 4 and 5. */
static void both_spellings(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        {DOC("llama", ",\"torch_dtype\":\"bfloat16\",\"rope_theta\":5e5,\"rope_scaling\":null"),
         DOC("llama", ",\"dtype\":\"bfloat16\",\"rope_parameters\":{\"rope_type\":\"default\","
                      "\"rope_theta\":500000}")},
        {DOC("llama",
             ",\"rope_theta\":500000.0,\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.5}"),
         DOC("llama", ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2.5,"
                      "\"rope_theta\":500000.0}")},
        {DOC("llama", ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":4}"),
         DOC("llama", ",\"rope_parameters\":{\"rope_type\":\"dynamic\",\"factor\":4.0,"
                      "\"rope_theta\":10000.0}")},
        {DOC("llama",
             ",\"rope_theta\":500000.0,\"rope_scaling\":{\"rope_type\":\"llama3\","
             "\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
             "\"original_max_position_embeddings\":64}"),
         DOC("llama", ",\"rope_parameters\":{\"factor\":8.0,\"low_freq_factor\":1.0,"
                      "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":64,"
                      "\"rope_theta\":500000.0,\"rope_type\":\"llama3\"}")},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        nb_model_config a = read_ok(pairs[i][0]), b = read_ok(pairs[i][1]);
        float fa[8], fb[8];
        assert_int_equal(a.dtype, b.dtype);
        assert_int_equal(a.rope.type, b.rope.type);
        assert_true(a.rope.theta == b.rope.theta && a.rope.factor == b.rope.factor);
        nb_rope_frequencies(&a, 5000, fa);
        nb_rope_frequencies(&b, 5000, fb);
        assert_memory_equal(fa, fb, sizeof fa);
        nb_config_free(&a);
        nb_config_free(&b);
    }
}

/* Frequencies against the formulas in double. */
static void frequencies(void **state)
{
    (void)state;
    nb_model_config c = read_ok(
        DOC("llama", ",\"rope_theta\":1e6,\"max_position_embeddings\":128,\"rope_scaling\":{"
                     "\"type\":\"dynamic\",\"factor\":2}"));
    float f[8];
    for (int64_t len = 100; len <= 300; len += 100) {
        double longest = len > 128 ? (double)len : 128.0;
        double base = 1e6 * pow(2 * longest / 128 - 1, 16.0 / 14.0);
        nb_rope_frequencies(&c, len, f);
        for (int i = 0; i < 8; i++) {
            double want = pow(base, -2.0 * i / 16);
            nbt_within("dynamic", fabs((double)f[i] - want) / want, 0x1p-20);
        }
    }
    nb_config_free(&c);
    c = read_ok(DOC("llama", ",\"rope_theta\":1e4,\"rope_scaling\":{\"rope_type\":\"llama3\","
                             "\"factor\":8,\"low_freq_factor\":1,\"high_freq_factor\":4,"
                             "\"original_max_position_embeddings\":1024}"));
    nb_rope_frequencies(&c, 1, f);
    for (int i = 0; i < 8; i++) {
        double p = pow(1e4, -2.0 * i / 16), wave = 2 * M_PI / p;
        double smooth = (1024 / wave - 1) / 3;
        double want = wave > 1024 ? p / 8 : wave < 256 ? p : (1 - smooth) * p / 8 + smooth * p;
        nbt_within("llama3", fabs((double)f[i] - want) / want, 0x1p-20);
    }
    nb_config_free(&c);
}

static void families(void **state)
{
    (void)state;
    nb_model_config c = read_ok(DOC("llama", ",\"attention_bias\":true,\"mlp_bias\":true"));
    assert_true(c.q_bias && c.k_bias && c.v_bias && c.o_bias && c.mlp_bias);
    nb_config_free(&c);
    c = read_ok(DOC("mistral", ",\"sliding_window\":null"));
    assert_int_equal(c.sliding_window, 0);
    assert_int_equal(c.sliding[0], 0);
    nb_config_free(&c);
    c = read_ok(DOC("mistral", ",\"sliding_window\":7,\"head_dim\":32"));
    assert_int_equal(c.sliding_window, 7);
    assert_int_equal(c.sliding[3], 1);
    assert_int_equal(c.head_dim, 32);
    nb_config_free(&c);
    c = read_ok(DOC("mistral", ""));
    assert_int_equal(c.sliding_window, 4096);
    nb_config_free(&c);
    c = read_ok(DOC("qwen2", ",\"sliding_window\":9,\"use_sliding_window\":false"));
    assert_true(c.q_bias && c.k_bias && c.v_bias && !c.o_bias && !c.qk_norm);
    assert_int_equal(c.sliding_window, 0);
    nb_config_free(&c);
    c = read_ok(DOC("qwen2", ",\"sliding_window\":9,\"use_sliding_window\":true,"
                             "\"max_window_layers\":3"));
    assert_int_equal(c.sliding_window, 9);
    assert_int_equal(c.sliding[2], 0);
    assert_int_equal(c.sliding[3], 1);
    nb_config_free(&c);
    c = read_ok(DOC("qwen3", ",\"sliding_window\":9,\"use_sliding_window\":true,\"layer_types\":["
                             "\"sliding_attention\",\"full_attention\",\"full_attention\","
                             "\"sliding_attention\"]"));
    assert_true(c.qk_norm && !c.q_bias);
    assert_int_equal(c.head_dim, 128);
    assert_memory_equal(c.sliding, "\1\0\0\1", 4);
    nb_config_free(&c);
    c = read_ok(DOC("qwen3", ",\"attention_bias\":true,\"head_dim\":32"));
    assert_true(c.q_bias && c.o_bias && c.head_dim == 32);
    nb_config_free(&c);
}

static void stop_tokens(void **state)
{
    (void)state;
    nbt_write_text(generation_path, "{\"eos_token_id\":[5,2,9],\"bos_token_id\":4}");
    nb_model_config c = read_ok(DOC("llama", ",\"eos_token_id\":2,\"bos_token_id\":1"));
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos[0], 2);
    assert_int_equal(c.eos[1], 5);
    assert_int_equal(c.eos[2], 9);
    assert_int_equal(c.bos, 1);
    nb_config_free(&c);
    nbt_write_text(generation_path, "{\"eos_token_id\":-1}");
    refused(NB_FORMAT, "eos_token_id", DOC("llama", ""));
    nbt_write_text(generation_path, "[]");
    refused(NB_FORMAT, "generation_config.json", DOC("llama", ""));
    unlink(generation_path);
    refused(NB_FORMAT, "eos_token_id", DOC("llama", ",\"eos_token_id\":[\"a\"]"));
    refused(NB_LIMIT, "end-of-sequence",
            DOC("llama", ",\"eos_token_id\":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]"));
}

#define QUANT(more) DOC("llama", ",\"quantization_config\":{" more "}")

static void quantised(void **state)
{
    (void)state;
    nb_model_config c = read_ok(QUANT("\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true"));
    assert_true(c.has_quant && c.quant.load_in_4bit && c.quant.kind == NB_QK_FP4);
    assert_false(c.quant.double_quant);
    nb_config_free(&c);
    c = read_ok(QUANT("\"_load_in_4bit\":true,\"load_in_4bit\":true,\"load_in_8bit\":false,"
                      "\"bnb_4bit_quant_type\":\"nf4\",\"bnb_4bit_use_double_quant\":true,"
                      "\"llm_int8_skip_modules\":[\"lm_head\"]"));
    assert_true(c.quant.kind == NB_QK_NF4 && c.quant.double_quant);
    nb_config_free(&c);
    refused(NB_UNSUPPORTED, "int8",
            QUANT("\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true"));
    refused(NB_UNSUPPORTED, "gptq", QUANT("\"quant_method\":\"gptq\",\"bits\":4"));
    refused(NB_UNSUPPORTED, "awq", QUANT("\"quant_method\":\"awq\""));
    refused(NB_UNSUPPORTED, "(none)", QUANT(""));
    refused(NB_FORMAT, "neither", QUANT("\"quant_method\":\"bitsandbytes\""));
    refused(NB_UNSUPPORTED, "nf5",
            QUANT("\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,"
                  "\"bnb_4bit_quant_type\":\"nf5\""));
    refused(NB_FORMAT, "object", DOC("llama", ",\"quantization_config\":[]"));
}

static void refusals(void **state)
{
    (void)state;
    nb_model_config c;
    nb_error err;
    static const struct {
        nb_status code;
        const char *part, *text;
    } cases[] = {
        {NB_UNSUPPORTED, "\"gemma\" is not supported; supported are llama, mistral, qwen2, qwen3",
         DOC("gemma", "")},
        {NB_FORMAT, "model_type", "{" SHAPE "}"},
        {NB_FORMAT, "model_type", "{\"model_type\":5," SHAPE "}"},
        {NB_FORMAT, "object", "[]"},
        {NB_FORMAT, "", "{"},
        {NB_FORMAT, "hidden_size", "{\"model_type\":\"llama\"}"},
        {NB_FORMAT, "hidden_size", "{\"model_type\":\"llama\",\"hidden_size\":0}"},
        {NB_FORMAT, "hidden_size", "{\"model_type\":\"llama\",\"hidden_size\":\"64\"}"},
        {NB_FORMAT, "hidden_size",
         "{\"model_type\":\"llama\",\"hidden_size\":9223372036854775807}"},
        {NB_FORMAT, "multiple", DOC("llama", ",\"num_key_value_heads\":3")},
        {NB_FORMAT, "odd", DOC("llama", ",\"head_dim\":5")},
        {NB_FORMAT, "head_dim", DOC("llama", ",\"head_dim\":258")},
        {NB_FORMAT, "no head size",
         "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_hidden_layers\":1,"
         "\"num_attention_heads\":5,\"intermediate_size\":8,\"vocab_size\":9}"},
        {NB_UNSUPPORTED, "relu", DOC("llama", ",\"hidden_act\":\"relu\"")},
        {NB_FORMAT, "rms_norm_eps", DOC("llama", ",\"rms_norm_eps\":-1")},
        {NB_UNSUPPORTED, "int8", DOC("llama", ",\"torch_dtype\":\"int8\"")},
        {NB_FORMAT, "contradict",
         DOC("llama", ",\"torch_dtype\":\"float32\",\"dtype\":\"float16\"")},
        {NB_UNSUPPORTED, "ForSequenceClassification",
         DOC("llama", ",\"architectures\":[\"LlamaForSequenceClassification\"]")},
        {NB_UNSUPPORTED, "yarn",
         DOC("llama", ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":2}")},
        {NB_UNSUPPORTED, "longrope",
         DOC("llama", ",\"rope_parameters\":{\"rope_type\":\"longrope\"}")},
        {NB_FORMAT, "factor", DOC("llama", ",\"rope_scaling\":{\"type\":\"linear\"}")},
        {NB_FORMAT, "factor", DOC("llama", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}")},
        {NB_FORMAT, "low_freq_factor",
         DOC("llama", ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8}")},
        {NB_FORMAT, "original_max",
         DOC("llama", ",\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8,"
                      "\"low_freq_factor\":1,\"high_freq_factor\":4}")},
        {NB_FORMAT, "object or null", DOC("llama", ",\"rope_scaling\":2")},
        {NB_FORMAT, "rope_theta", DOC("llama", ",\"rope_theta\":0")},
        {NB_FORMAT, "rope_theta",
         DOC("llama", ",\"rope_theta\":1,\"rope_parameters\":{"
                      "\"rope_theta\":2}")},
        {NB_UNSUPPORTED, "kind of layer",
         DOC("llama", ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1}}")},
        {NB_UNSUPPORTED, "partial_rotary_factor", DOC("llama", ",\"partial_rotary_factor\":0.5")},
        {NB_FORMAT, "sliding_window", DOC("mistral", ",\"sliding_window\":0")},
        {NB_FORMAT, "layer_types", DOC("qwen2", ",\"layer_types\":[\"full_attention\"]")},
        {NB_FORMAT, "no sliding_window",
         DOC("qwen2", ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\","
                      "\"sliding_attention\"]")},
        {NB_UNSUPPORTED, "chunked_attention",
         DOC("qwen2", ",\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\","
                      "\"chunked_attention\"]")},
        {NB_FORMAT, "tie_word_embeddings", DOC("llama", ",\"tie_word_embeddings\":1")},
        {NB_FORMAT, "attention_bias", DOC("llama", ",\"attention_bias\":\"yes\"")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refused(cases[i].code, cases[i].part, cases[i].text);
    unlink(config_path);
    NBT_FAILS(NB_NOTFOUND, "config.json", nb_config_read(&c, dir, &err));
    NBT_FAILS(NB_NOTFOUND, "no such folder", nb_config_read(&c, config_path, &err));
}

static void activations(void **state)
{
    (void)state;
    nb_model_config c = read_ok(DOC("llama", ",\"hidden_act\":\"gelu_pytorch_tanh\""));
    assert_int_equal(c.act, NB_ACT_GELU_TANH);
    nb_config_free(&c);
    c = read_ok(DOC("llama", ",\"hidden_act\":\"gelu\""));
    assert_int_equal(c.act, NB_ACT_GELU_ERF);
    nb_config_free(&c);
}

/* The document goes out as it came, except dtype and quantisation. */
static void written(void **state)
{
    (void)state;
    char *copy = nbt_join(dir, "out.json");
    nb_error err = {0};
    nb_model_config c = read_ok(
        DOC("llama", ",\"dtype\":\"float32\",\"x\":[1,{\"y\":1e-05}],\"quantization_config\":{"
                     "\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}"));
    NBT_OK(nb_config_write(&c, NB_DT_BF16, copy, &err));
    nb_config_free(&c);
    char *text = nbt_read(copy, NULL);
    assert_non_null(strstr(text, "\"dtype\": \"bfloat16\""));
    assert_non_null(strstr(text, "1e-05"));
    assert_null(strstr(text, "torch_dtype"));
    assert_null(strstr(text, "quantization_config"));
    nbi_free(text);
    NBT_OK(nb_config_read_file(&c, copy, &err));
    assert_int_equal(c.dtype, NB_DT_BF16);
    assert_false(c.has_quant);
    nb_config_free(&c);
    c = read_ok(DOC("llama", ""));
    NBT_OK(nb_config_write(&c, NB_DT_F16, copy, &err));
    nb_config_free(&c);
    text = nbt_read(copy, NULL);
    assert_non_null(strstr(text, "\"torch_dtype\": \"float16\"")); /* the older spelling */
    nbi_free(text);
    nbi_free(copy);
}

static void parameters(void **state)
{
    (void)state;
    nb_model_config c =
        read_ok(DOC("qwen2", ",\"num_key_value_heads\":2,\"tie_word_embeddings\":true"));
    int64_t attention = 64 * 64 * 2 + 64 * 32 * 2 + 64 + 32 + 32, mlp = 3 * 64 * 96;
    assert_int_equal(nb_config_parameters(&c), 100 * 64 + 4 * (attention + mlp + 128) + 64);
    nb_config_free(&c);
    c = read_ok(DOC("qwen3", ",\"head_dim\":32,\"num_key_value_heads\":2"));
    attention = 64 * 128 * 2 + 64 * 64 * 2 + 64;
    assert_int_equal(nb_config_parameters(&c), 2 * 100 * 64 + 4 * (attention + mlp + 128) + 64);
    nb_config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),    cmocka_unit_test(both_spellings),
        cmocka_unit_test(frequencies), cmocka_unit_test(families),
        cmocka_unit_test(stop_tokens), cmocka_unit_test(quantised),
        cmocka_unit_test(refusals),    cmocka_unit_test(activations),
        cmocka_unit_test(written),     cmocka_unit_test(parameters),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
