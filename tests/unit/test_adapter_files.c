/* SPDX-License-Identifier: MIT */
/* adapter_config.json and nibble.json: what is read, refused, written. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adapter/adapter_priv.h"
#include "base/rng.h"
#include "testutil.h"

static const char plain[] =
    "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"r\": 4, \"lora_alpha\": 6,\n"
    " \"lora_dropout\": 0.05, \"use_rslora\": true, \"target_modules\": [\"q_proj\", "
    "\"up_proj\"],\n"
    " \"exclude_modules\": \"x.*\", \"layers_to_transform\": [0, 2], \"layers_pattern\": "
    "\"layers\",\n"
    " \"rank_pattern\": {\"z\": 2, \"a\": 3}, \"alpha_pattern\": {\"q_proj\": 1.5},\n"
    " \"base_model_name_or_path\": \"org/base\", \"bias\": \"none\", \"modules_to_save\": null,\n"
    " \"init_lora_weights\": true, \"loftq_config\": {}, \"brand_new_key\": 1}";

static nb_status read_text(const char *text, nb_lora_config *c, nbi_strbuf *unknown, nb_error *err)
{
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "adapter_config.json");
    nbt_write_text(path, text);
    nb_status st = nbi_peft_config_read(path, c, unknown, err);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
    return st;
}

static void reads(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_lora_config c;
    nbi_strbuf unknown = {0};
    NBT_OK(read_text(plain, &c, &unknown, &err));
    assert_int_equal(c.r, 4);
    assert_true(c.alpha == 6 && c.dropout == 0.05 && c.rslora);
    assert_int_equal(c.targets.n, 2);
    assert_string_equal(c.targets.v[1], "up_proj");
    assert_string_equal(c.exclude_regex, "x.*");
    assert_int_equal(c.layers.n, 2);
    assert_int_equal(c.layers.v[1], 2);
    assert_string_equal(c.layers_pattern.v[0], "layers");
    assert_string_equal(c.rank_pattern.v[0].key, "z"); /* the order of the file decides */
    assert_true(c.alpha_pattern.v[0].value == 1.5);
    assert_string_equal(c.base_model, "org/base");
    assert_string_equal(nbi_strbuf_str(&unknown), "brand_new_key");
    nbi_strbuf_free(&unknown);
    nb_lora_config_free(&c);

    NBT_OK(read_text("{\"peft_type\": \"LORA\"}", &c, NULL, &err)); /* PEFT's defaults */
    assert_true(c.r == 8 && c.alpha == 8 && c.targets.n == 2);
    nb_lora_config_free(&c);
    NBT_OK(read_text("{\"peft_type\": \"LORA\", \"task_type\": null}", &c, NULL, &err));
    nb_lora_config_free(&c);
    NBT_OK(
        read_text("{\"peft_type\": \"LORA\", \"target_modules\": \"all-linear\"}", &c, NULL, &err));
    assert_true(c.all_linear && !c.targets_regex);
    nb_lora_config_free(&c);
    NBT_OK(read_text(
        "{\"peft_type\": \"LORA\", \"target_modules\": \".*q\", \"layers_to_transform\": 3}", &c,
        NULL, &err));
    assert_string_equal(c.targets_regex, ".*q");
    assert_int_equal(c.layers.v[0], 3);
    nb_lora_config_free(&c);
}

static void refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *part;
        nb_status code;
    } cases[] = {
        {"{\"peft_type\": \"IA3\"}", "IA3", NB_UNSUPPORTED},
        {"{\"r\": 8}", "peft_type is missing", NB_FORMAT},
        {"[]", "object", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"use_dora\": true}", "use_dora", NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"bias\": \"all\"}", "bias", NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"lora_bias\": true}", "lora_bias", NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"modules_to_save\": [\"lm_head\"]}", "[\"lm_head\"]",
         NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"init_lora_weights\": \"pissa_niter_4\"}", "pissa_niter_4",
         NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"trainable_token_indices\": {\"e\": [1]}}",
         "trainable_token_indices", NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"r\": 0}", "r", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"r\": \"8\"}", "r", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": 0}", "lora_alpha", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": -8}", "lora_alpha", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"lora_alpha\": null}", "lora_alpha", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"task_type\": \"SEQ_CLS\"}", "SEQ_CLS", NB_UNSUPPORTED},
        {"{\"peft_type\": \"LORA\", \"lora_dropout\": 1}", "lora_dropout", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"target_modules\": [1]}", "target_modules", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"rank_pattern\": {\"q\": \"8\"}}", "rank_pattern", NB_FORMAT},
        {"{\"peft_type\": \"LORA\", \"layers_to_transform\": [0.5]}", "layers_to_transform",
         NB_FORMAT},
        {"{\"peft_type\": \"LORA\"", "", NB_FORMAT},
    };
    size_t before = nbt_in_use();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        nb_error err = {0};
        nb_lora_config c;
        NBT_FAILS(cases[i].code, cases[i].part, read_text(cases[i].text, &c, NULL, &err));
    }
    assert_int_equal(nbt_in_use(), before);
}

/* Damaged files give an error or a configuration, never anything worse. */
static void damaged(void **state)
{
    (void)state;
    nb_error err = {0};
    nbi_rng rng;
    char text[sizeof plain];
    nbi_rng_init(&rng, 4, NBI_RNG_SAMPLE, 0);
    size_t before = nbt_in_use();
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "c.json");
    for (int i = 0; i < 3000; i++) {
        nb_lora_config c;
        size_t n = sizeof plain - 1;
        memcpy(text, plain, sizeof plain);
        for (int k = 0; k < 3; k++)
            text[nbi_rng_below(&rng, n)] = "\"{}[],:0-9x\\.e\n"[nbi_rng_below(&rng, 15)];
        FILE *f = fopen(path, "wb");
        fwrite(text, 1, n - nbi_rng_below(&rng, 20), f);
        fclose(f);
        if (nbi_peft_config_read(path, &c, NULL, &err) == NB_OK)
            nb_lora_config_free(&c);
    }
    nbi_free(path);
    nbt_tmpdir_remove(dir);
    assert_int_equal(nbt_in_use(), before);
}

static void notes(void **state)
{
    (void)state;
    nb_error err = {0};
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "nibble.json");
    char base[] = "a/\"b\"", layout[] = "{\"format\": \"alpaca\", \"template\": null}";
    nb_adapter_note n = {.quant = {true, NB_QK_FP4, true, 128, 256},
                         .compute = NB_COMPUTE_BF16,
                         .base_dir = base,
                         .layout_json = layout},
                    m;
    NBT_OK(nbi_adapter_note_write(&n, path, &err));
    NBT_OK(nbi_adapter_note_read(path, &m, &err));
    assert_true(m.quant.load_in_4bit && m.quant.kind == NB_QK_FP4 && m.quant.double_quant);
    assert_true(m.quant.block == 128 && m.quant.nested_block == 256);
    assert_true(m.compute == NB_COMPUTE_BF16);
    assert_string_equal(m.base_dir, base);
    assert_string_equal(m.layout_json, layout);
    nb_adapter_note_free(&m);
    nbt_write_text(path, "{\"base\": {\"load_in_4bit\": true, \"blocksize\": 65}}");
    NBT_FAILS(NB_FORMAT, "powers of two", nbi_adapter_note_read(path, &m, &err));
    nbt_write_text(path, "{\"base\": {\"bnb_4bit_quant_type\": \"nf5\"}}");
    NBT_FAILS(NB_FORMAT, "nf5", nbi_adapter_note_read(path, &m, &err));
    nbt_write_text(path, "{\"layout\": 1}");
    NBT_FAILS(NB_FORMAT, "layout", nbi_adapter_note_read(path, &m, &err));
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(refuses),
        cmocka_unit_test(damaged),
        cmocka_unit_test(notes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
