/* SPDX-License-Identifier: MIT */
/* Peak resident memory against the plan: within 2 % and 16 MiB of it, and never above. Each run is
 * a process of its own, whose last log line has both figures. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <sys/wait.h>
#include "testutil.h"
#include "train_util.h"
#include "base/rng.h"
#include "base/safefile.h"
#include "model/model.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* Large enough that a forgotten buffer shows, small enough to be quick. */
static char *write_config(const char *dir, int hidden, int layers, int ffn, int vocab, bool tied)
{
    char *path = nbt_join(dir, "config.json");
    nbi_strbuf b = {0};
    nbi_strbuf_printf(
        &b,
        "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", "
        "\"hidden_size\": %d, \"num_hidden_layers\": %d, \"num_attention_heads\": %d, "
        "\"num_key_value_heads\": 2, \"intermediate_size\": %d, \"vocab_size\": %d, "
        "\"max_position_embeddings\": 2048, \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
        "\"hidden_act\": \"silu\", \"tie_word_embeddings\": %s, \"torch_dtype\": \"bfloat16\"}\n",
        hidden, layers, hidden / 64, ffn, vocab, tied ? "true" : "false");
    nbt_write_text(path, b.s);
    nbi_strbuf_free(&b);
    return path;
}

enum { DENSE, TIED, STORED, DEEP, DEEP_STORED, WIDE, MODELS };

static const char *const model_names[MODELS] = {"dense", "tied", "stored", "deep", "deep4", "wide"};

typedef struct fixture {
    char *dir, *model[MODELS], *data, *small, *longer, *adapter, *cache;
} fixture;

static void make_model(fixture *f, int which, int hidden, int layers, int ffn, int vocab, bool tied)
{
    nb_error err = {0};
    char *config = write_config(f->dir, hidden, layers, ffn, vocab, tied);
    NBT_OK(nb_model_init(config, f->model[which], 3, NB_DT_BF16, &err));
    nbi_free(config);
}

static void store_4bit(fixture *f, int from, int to)
{
    nb_error err = {0};
    /* one thread: children of a process with more than that have none of them */
    nb_model_load how = {.threads = 1, .quant = {.kind = NB_QK_NF4, .double_quant = true}};
    NBT_OK(nbi_make_dirs(f->model[to], &err));
    NBT_OK(nb_model_quantise(f->model[from], f->model[to], &how, NULL, &err));
}

/* Rows of `least` to `least + range - 1` tokens. */
static void write_rows(const char *path, int rows, int least, uint32_t range, int vocab)
{
    nbi_strbuf b = {0};
    nbi_rng rng;
    nbi_rng_init(&rng, 5, NBI_RNG_SAMPLE, 0);
    for (int i = 0; i < rows; i++) {
        int n = least + (int)nbi_rng_below(&rng, range);
        for (int k = 0; k < 2; k++) {
            nbi_strbuf_puts(&b, k ? "], \"labels\": [" : "{\"input_ids\": [");
            for (int j = 0; j < n; j++)
                nbi_strbuf_printf(&b, "%s%d", j ? ", " : "", (i * 7919 + j * 104729) % vocab);
        }
        nbi_strbuf_puts(&b, "]}\n");
    }
    nbt_write(path, b.s, b.n);
    nbi_strbuf_free(&b);
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    f->dir = nbt_tmpdir();
    if (SANITIZED)
        return 0;
    for (int i = 0; i < MODELS; i++)
        f->model[i] = nbt_join(f->dir, model_names[i]);
    f->data = nbt_join(f->dir, "rows.jsonl");
    f->small = nbt_join(f->dir, "small.jsonl");
    f->longer = nbt_join(f->dir, "longer.jsonl");
    f->adapter = nbt_join(f->dir, "qlora");
    f->cache = nbt_join(f->dir, "cache");
    make_model(f, DENSE, 384, 4, 1024, 12000, false);
    make_model(f, TIED, 384, 4, 1024, 12000, true);
    make_model(f, DEEP, 512, 10, 2048, 2000, false);
    make_model(f, WIDE, 512, 2, 49152, 1000, false);
    store_4bit(f, DENSE, STORED);
    store_4bit(f, DEEP, DEEP_STORED);
    write_rows(f->data, 40, 30, 300, 12000);
    write_rows(f->small, 8, 8, 5, 1000);
    write_rows(f->longer, 4, 1400, 9, 12000);
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    nbt_tmpdir_remove(f->dir);
    for (int i = 0; i < MODELS; i++)
        nbi_free(f->model[i]);
    nbi_free(f->data);
    nbi_free(f->small);
    nbi_free(f->longer);
    nbi_free(f->adapter);
    nbi_free(f->cache);
    free(f);
    return 0;
}

/* ---- a run in a process of its own ---- */

typedef struct outcome {
    double planned, peak;
    double loss[8];
    size_t steps;
} outcome;

static void see_stream(void *user, nb_log_level level, const char *text)
{
    (void)level;
    if (strstr(text, "each layer is read from the file"))
        *(bool *)user = true;
}

/* Ends the process with 0 when the run succeeded, 10 when it succeeded with streamed weights. */
static void child(const fixture *f, int model, const char *out, const nbt_setting *more)
{
    nb_error err = {0};
    bool streamed = false;
    nb_train_hooks hooks = {.log = &(nb_log){see_stream, &streamed}};
    nbt_setting usual[] = {{"model", f->model[model]},
                           {"data", f->data},
                           {"format", "tokenized"},
                           {"output_dir", out},
                           {"threads", "2"},
                           {"max_steps", "2"},
                           {"logging_steps", "1"},
                           {"per_device_train_batch_size", "4"},
                           {NULL, NULL}};
    nb_recipe *r = nbt_recipe(usual);
    for (; more->key; more++)
        NBT_OK(nb_recipe_set(r, more->key, more->value, &err));
    nb_status st = nb_train(r, &hooks, NULL, &err);
    if (st != NB_OK)
        print_error("%s\n", err.message);
    _exit(st != NB_OK ? 1 : streamed ? 10 : 0);
}

static outcome read_outcome(const char *out)
{
    static nbt_lines l;
    nbi_arena arena;
    outcome r = {0};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbt_read_lines(&l, &arena, out, "train_log.jsonl");
    r.planned = nbt_number(l.v[0], "planned_peak_bytes");
    r.peak = nbt_number(l.v[l.n - 1], "peak_bytes");
    for (size_t i = 0; i < l.n; i++) {
        double loss = nbt_number(l.v[i], "loss");
        if (!isnan(loss) && r.steps < sizeof r.loss / sizeof *r.loss)
            r.loss[r.steps++] = loss;
    }
    nbi_arena_free(&arena);
    return r;
}

static outcome one(const fixture *f, int model, const char *name, bool streamed,
                   const nbt_setting *more)
{
    char *out = nbt_join(f->dir, name);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        child(f, model, out, more);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), streamed ? 10 : 0);
    outcome r = read_outcome(out);
    nbi_free(out);
    print_message("%-24s planned %.1f MiB, peak %.1f MiB (%+.1f)\n", name, r.planned * 0x1p-20,
                  r.peak * 0x1p-20, (r.peak - r.planned) * 0x1p-20);
    assert_true(r.steps >= 2);
    assert_true(r.peak <= r.planned);
    assert_true(r.planned - r.peak <= 0.02 * r.planned + 16 * 0x1p20);
    return r;
}

#define SET(...)                                                                                   \
    (const nbt_setting[])                                                                          \
    {                                                                                              \
        __VA_ARGS__,                                                                               \
        {                                                                                          \
            NULL, NULL                                                                             \
        }                                                                                          \
    }

static bool skipped(void)
{
    if (SANITIZED)
        print_message("skipped: a sanitizer's own memory is in no plan\n");
    return SANITIZED;
}

static void adapters(void **state)
{
    const fixture *f = *state;
    if (skipped())
        return;
    one(f, DENSE, "lora", false, SET({"method", "lora"}));
    one(f, DENSE, "lora, bf16", false, SET({"method", "lora"}, {"bf16", "true"}));
    one(f, DENSE, "qlora", false,
        SET({"method", "qlora"}, {"bnb_4bit_use_double_quant", "true"}, {"bf16", "true"}));
    one(f, DENSE, "qlora, dropout", false,
        SET({"method", "qlora"}, {"lora_dropout", "0.1"}, {"lora_r", "64"}));
    one(f, DENSE, "qlora, evaluations", false,
        SET({"method", "qlora"}, {"eval_rows", "8"}, {"eval_strategy", "steps"},
            {"eval_steps", "1"}, {"save_strategy", "steps"}, {"save_steps", "1"},
            {"lora_target_modules", "q_proj,v_proj"}));
    one(f, DENSE, "qlora, 1 row", false,
        SET({"method", "qlora"}, {"per_device_train_batch_size", "1"}, {"threads", "1"}));
    one(f, DENSE, "qlora, packed", false,
        SET({"method", "qlora"}, {"packing", "true"}, {"max_seq_length", "400"}));
    one(f, DENSE, "qlora, 8 bit", false,
        SET({"method", "qlora"}, {"optim", "adamw_8bit"}, {"lora_r", "128"}));
    one(f, DENSE, "qlora, paged", false,
        SET({"method", "qlora"}, {"optim", "paged_adamw_8bit"}, {"lora_r", "128"}));
    one(f, DENSE, "qlora, cached", false, SET({"method", "qlora"}, {"quantized_cache", f->cache}));
    one(f, DENSE, "qlora, cached before", false,
        SET({"method", "qlora"}, {"quantized_cache", f->cache}));
    one(f, DENSE, "init_adapter", false, SET({"init_adapter", f->adapter}));
    one(f, TIED, "tied, lora", false, SET({"method", "lora"}));
    one(f, TIED, "tied, qlora", false, SET({"method", "qlora"}, {"bf16", "true"}));
    one(f, STORED, "stored", false, SET({"method", "qlora"}, {"bf16", "true"}));
    one(f, STORED, "stored, probe", false, SET({"method", "qlora"}, {"probe", "true"}));
}

static void everything_trained(void **state)
{
    const fixture *f = *state;
    if (skipped())
        return;
    one(f, DENSE, "full", false, SET({"method", "full"}));
    one(f, DENSE, "full, recomputed", false,
        SET({"method", "full"}, {"bf16", "true"}, {"gradient_checkpointing", "true"},
            {"per_device_train_batch_size", "8"}));
    one(f, DENSE, "full, 8 bit", false, SET({"method", "full"}, {"optim", "adamw_8bit"}));
    one(f, DENSE, "full, paged", false,
        SET({"method", "full"}, {"optim", "paged_adamw_32bit"}, {"bf16", "true"}));
    one(f, DENSE, "full, paged 8 bit", false,
        SET({"method", "full"}, {"optim", "paged_adamw_8bit"}));
    one(f, DENSE, "full, factored", false, SET({"method", "full"}, {"optim", "adafactor"}));
    one(f, DENSE, "full, momentum", false,
        SET({"method", "full"}, {"optim", "sgd"}, {"optim_args", "momentum=0.9"}));
    one(f, TIED, "tied, full", false, SET({"method", "full"}));
}

/* Phases that are higher than a usual training step. */
static void other_peaks(void **state)
{
    const fixture *f = *state;
    if (skipped())
        return;
    one(f, DENSE, "long evaluation", false,
        SET({"method", "qlora"}, {"eval_data", f->longer}, {"eval_strategy", "steps"},
            {"eval_steps", "1"}, {"per_device_train_batch_size", "1"}));
    one(f, WIDE, "loading", false,
        SET({"method", "qlora"}, {"data", f->small}, {"lora_r", "1"},
            {"lora_target_modules", "q_proj"}, {"per_device_train_batch_size", "1"}));
}

/* The same run with its weights in memory and below the least that this takes: the same bits. */
static void streamed_pair(const fixture *f, int model, const char *method, const char *bf16)
{
    char name[64], limit[32];
    nbt_setting s[] = {{"data", f->small}, {"method", method},
                       {"bf16", bf16},     {"gradient_checkpointing", "true"},
                       {"max_steps", "4"}, {"gradient_accumulation_steps", "2"},
                       {NULL, NULL},       {NULL, NULL}};
    snprintf(name, sizeof name, "%s, %s", model_names[model], method);
    outcome a = one(f, model, name, false, s);
    snprintf(limit, sizeof limit, "%.0f", a.planned - 3 * 0x1p20);
    s[6] = (nbt_setting){"memory_limit", limit};
    snprintf(name, sizeof name, "%s, %s, streamed", model_names[model], method);
    outcome b = one(f, model, name, true, s);
    assert_int_equal(a.steps, b.steps);
    assert_memory_equal(a.loss, b.loss, a.steps * sizeof *a.loss);
    assert_true(b.peak <= a.planned - 3 * 0x1p20);
}

static void streaming(void **state)
{
    const fixture *f = *state;
    if (skipped())
        return;
    streamed_pair(f, DEEP, "lora", "true");
    streamed_pair(f, DEEP_STORED, "qlora", "true");
    streamed_pair(f, DEEP_STORED, "qlora", "false");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(adapters),
                                       cmocka_unit_test(everything_trained),
                                       cmocka_unit_test(other_peaks), cmocka_unit_test(streaming)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
