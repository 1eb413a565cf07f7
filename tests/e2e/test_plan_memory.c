/* SPDX-License-Identifier: MIT */
/* Peak resident memory against the plan: within 2 % and 16 MiB of it, and never above. Each run is
 * a process of its own, whose last log line has both figures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/wait.h>
#include "testutil.h"
#include "train_util.h"
#include "base/rng.h"
#include "model/model.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Large enough that a forgotten buffer shows, small enough to be quick. */
static const char config_json[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 384,\n"
    " \"num_hidden_layers\": 4, \"num_attention_heads\": 6, \"num_key_value_heads\": 2,\n"
    " \"intermediate_size\": 1024, \"vocab_size\": 12000, \"max_position_embeddings\": 2048,\n"
    " \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\",\n"
    " \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\"}\n";

typedef struct fixture {
    char *dir, *model, *data;
} fixture;

static int setup(void **state)
{
    nb_error err = {0};
    fixture *f = calloc(1, sizeof *f);
    f->dir = nbt_tmpdir();
    f->model = nbt_join(f->dir, "model");
    f->data = nbt_join(f->dir, "rows.jsonl");
    char *config = nbt_join(f->dir, "config.json");
    nbt_write_text(config, config_json);
    NBT_OK(nb_model_init(config, f->model, 3, NB_DT_BF16, &err));
    nbi_free(config);
    nbi_strbuf b = {0};
    nbi_rng rng;
    nbi_rng_init(&rng, 5, NBI_RNG_SAMPLE, 0);
    for (int i = 0; i < 40; i++) {
        int n = 30 + (int)nbi_rng_below(&rng, 300);
        for (int k = 0; k < 2; k++) {
            nbi_strbuf_puts(&b, k ? "], \"labels\": [" : "{\"input_ids\": [");
            for (int j = 0; j < n; j++)
                nbi_strbuf_printf(&b, "%s%d", j ? ", " : "", (i * 7919 + j * 104729) % 12000);
        }
        nbi_strbuf_puts(&b, "]}\n");
    }
    nbt_write(f->data, b.s, b.n);
    nbi_strbuf_free(&b);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    nbt_tmpdir_remove(f->dir);
    nbi_free(f->model);
    nbi_free(f->data);
    free(f);
    return 0;
}

/* Ends the process with 0 when the run succeeded. */
static void child(const fixture *f, const char *out, const nbt_setting *more)
{
    nb_error err = {0};
    nbt_setting usual[] = {{"model", f->model},
                           {"data", f->data},
                           {"format", "tokenized"},
                           {"output_dir", out},
                           {"threads", "2"},
                           {"max_steps", "2"},
                           {"per_device_train_batch_size", "4"},
                           {NULL, NULL}};
    nb_recipe *r = nbt_recipe(usual);
    for (; more->key; more++)
        NBT_OK(nb_recipe_set(r, more->key, more->value, &err));
    nb_status st = nb_train(r, NULL, NULL, &err);
    if (st != NB_OK)
        print_error("%s\n", err.message);
    _exit(st == NB_OK ? 0 : 1);
}

static void one(const fixture *f, const char *name, const nbt_setting *more)
{
    static nbt_lines l;
    nbi_arena arena;
    char *out = nbt_join(f->dir, name);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(f, out, more);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    double planned = nbt_number(l.v[0], "planned_peak_bytes");
    double peak = nbt_number(l.v[l.n - 1], "peak_bytes");
    nbi_arena_free(&arena);
    nbi_free(out);
    print_message("%-22s planned %.1f MiB, peak %.1f MiB (%+.1f)\n", name, planned * 0x1p-20,
                  peak * 0x1p-20, (peak - planned) * 0x1p-20);
    assert_true(peak <= planned);
    assert_true(planned - peak <= 0.02 * planned + 16 * 0x1p20);
}

static void peaks(void **state)
{
    const fixture *f = *state;
    if (SANITIZED) {
        print_message("skipped: a sanitizer's own memory is in no plan\n");
        return;
    }
    static const nbt_setting lora[] = {{"method", "lora"}, {NULL, NULL}};
    static const nbt_setting lora_bf16[] = {{"method", "lora"}, {"bf16", "true"}, {NULL, NULL}};
    static const nbt_setting qlora[] = {
        {"method", "qlora"}, {"bnb_4bit_use_double_quant", "true"}, {"bf16", "true"}, {NULL, NULL}};
    static const nbt_setting dropout[] = {
        {"method", "qlora"}, {"lora_dropout", "0.1"}, {"lora_r", "64"}, {NULL, NULL}};
    static const nbt_setting evaluated[] = {{"method", "qlora"},
                                            {"eval_rows", "8"},
                                            {"eval_strategy", "steps"},
                                            {"eval_steps", "1"},
                                            {"save_strategy", "steps"},
                                            {"save_steps", "1"},
                                            {"lora_target_modules", "q_proj,v_proj"},
                                            {NULL, NULL}};
    static const nbt_setting full[] = {{"method", "full"}, {NULL, NULL}};
    static const nbt_setting again[] = {{"method", "full"},
                                        {"bf16", "true"},
                                        {"gradient_checkpointing", "true"},
                                        {"per_device_train_batch_size", "8"},
                                        {NULL, NULL}};
    static const nbt_setting single[] = {
        {"method", "qlora"}, {"per_device_train_batch_size", "1"}, {"threads", "1"}, {NULL, NULL}};
    static const nbt_setting packed[] = {
        {"method", "qlora"}, {"packing", "true"}, {"max_seq_length", "400"}, {NULL, NULL}};
    static const nbt_setting eight[] = {{"method", "full"}, {"optim", "adamw_8bit"}, {NULL, NULL}};
    static const nbt_setting paged[] = {
        {"method", "full"}, {"optim", "paged_adamw_32bit"}, {"bf16", "true"}, {NULL, NULL}};
    one(f, "lora", lora);
    one(f, "lora, bf16", lora_bf16);
    one(f, "qlora, bf16", qlora);
    one(f, "qlora, dropout", dropout);
    one(f, "qlora, evaluations", evaluated);
    one(f, "qlora, 1 row", single);
    one(f, "qlora, packed", packed);
    one(f, "full", full);
    one(f, "full, recomputed", again);
    one(f, "full, 8 bit", eight);
    one(f, "full, paged", paged);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(peaks)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
