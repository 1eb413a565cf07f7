/* SPDX-License-Identifier: MIT */
#include "train/recipe_keys.h"

#include <string.h>

#define FIELD(f) offsetof(struct nb_recipe, f), sizeof(((struct nb_recipe *)0)->f)
#define TEXT(n, g, f, what, help)                                                                  \
    {                                                                                              \
        n, g, NBI_KEY_TEXT, FIELD(f), 0, 0, NULL, what, NULL, NULL, help                           \
    }
#define NAME(n, g, f, value, help)                                                                 \
    {                                                                                              \
        n, g, NBI_KEY_TEXT, FIELD(f), 0, 0, NULL, "NAME", value, NULL, help                        \
    }
#define BOOL(n, g, f, value, help)                                                                 \
    {                                                                                              \
        n, g, NBI_KEY_BOOL, FIELD(f), 0, 0, NULL, "bool", value, NULL, help                        \
    }
#define INT(n, g, f, min, max, value, shown, help)                                                 \
    {                                                                                              \
        n, g, NBI_KEY_INT, FIELD(f), min, max, NULL, "N", value, shown, help                       \
    }
#define FLOAT(n, g, f, min, max, value, shown, help)                                               \
    {                                                                                              \
        n, g, NBI_KEY_FLOAT, FIELD(f), min, max, NULL, "X", value, shown, help                     \
    }
#define CHOICE(n, g, f, choices, type, value, shown, help)                                         \
    {                                                                                              \
        n, g, NBI_KEY_CHOICE, FIELD(f), 0, 0, choices, type, value, shown, help                    \
    }
#define OTHER(n, g, kind, f, type, shown, help)                                                    \
    {                                                                                              \
        n, g, kind, FIELD(f), 0, 0, NULL, type, NULL, shown, help                                  \
    }

#define MANY 1e15 /* whole numbers up to here are exact in a double */

static const nbi_choice methods[] = {
    {"qlora", NB_METHOD_QLORA}, {"lora", NB_METHOD_LORA}, {"full", NB_METHOD_FULL}, {NULL, 0}};
static const nbi_choice quant_types[] = {{"nf4", NB_QK_NF4}, {"fp4", NB_QK_FP4}, {NULL, 0}};
static const nbi_choice computes[] = {{"auto", NB_COMPUTE_ASK_AUTO},
                                      {"f32", NB_COMPUTE_ASK_F32},
                                      {"float32", NB_COMPUTE_ASK_F32},
                                      {"fp32", NB_COMPUTE_ASK_F32},
                                      {"bf16", NB_COMPUTE_ASK_BF16},
                                      {"bfloat16", NB_COMPUTE_ASK_BF16},
                                      {"f16", NB_COMPUTE_ASK_F16},
                                      {"float16", NB_COMPUTE_ASK_F16},
                                      {"fp16", NB_COMPUTE_ASK_F16},
                                      {"torch.float32", NB_COMPUTE_ASK_F32},
                                      {"torch.bfloat16", NB_COMPUTE_ASK_BF16},
                                      {"torch.float16", NB_COMPUTE_ASK_F16},
                                      {NULL, 0}};
static const nbi_choice formats[] = {
#define FORMAT(name, text) {text, NB_DATA_##name},
    NB_DATA_FORMAT_MAP(FORMAT)
#undef FORMAT
        {NULL, 0}};
static const nbi_choice train_ons[] = {{"default", NB_TRAIN_DEFAULT},
                                       {"auto", NB_TRAIN_DEFAULT},
                                       {"completion", NB_TRAIN_COMPLETION},
                                       {"assistant", NB_TRAIN_ASSISTANT},
                                       {"last", NB_TRAIN_LAST},
                                       {"all", NB_TRAIN_ALL},
                                       {NULL, 0}};
static const nbi_choice sides[] = {{"right", 0}, {"left", 1}, {NULL, 0}};
static const nbi_choice empties[] = {{"drop", 0}, {"error", 1}, {NULL, 0}};
static const nbi_choice tristate[] = {{"auto", -1}, {"true", 1}, {"false", 0}, {NULL, 0}};
/* the field says that none is appended */
static const nbi_choice appended[] = {{"true", 0}, {"false", 1}, {NULL, 0}};
static const nbi_choice strategies[] = {
    {"no", NB_STRATEGY_NO}, {"steps", NB_STRATEGY_STEPS}, {"epoch", NB_STRATEGY_EPOCH}, {NULL, 0}};
static const nbi_choice reductions[] = {{"token", 0}, {"trainer", 1}, {NULL, 0}};
static const nbi_choice dtypes[] = {
    {"float32", NB_DT_F32}, {"f32", NB_DT_F32}, {"bfloat16", NB_DT_BF16}, {"bf16", NB_DT_BF16},
    {"float16", NB_DT_F16}, {"f16", NB_DT_F16}, {"fp16", NB_DT_F16},      {NULL, 0}};

#define STRATEGY "no|steps|epoch"
#define COMPUTE "auto|f32|bf16|f16"

const nbi_key nbi_keys[] = {
    TEXT("model", "model", model, "DIR", "model folder, or a name in the local hub cache"),
    TEXT("revision", "model", revision, "NAME", "snapshot in the local hub cache"),
    TEXT("tokenizer", "model", tokenizer, "DIR", "folder of the tokenizer if not the model's"),
    CHOICE("method", "model", method, methods, "qlora|lora|full", NULL,
           "qlora with load_in_4bit, else lora", "what is trained"),
    BOOL("load_in_4bit", "model", quant.load_in_4bit, "false", "hold the base in 4 bits"),
    CHOICE("bnb_4bit_quant_type", "model", quant.kind, quant_types, "nf4|fp4", "nf4", NULL,
           "4-bit code"),
    BOOL("bnb_4bit_use_double_quant", "model", quant.double_quant, "false",
         "quantise the scales of the 4-bit blocks too"),
    INT("bnb_4bit_blocksize", "model", quant.block, 32, 4096, "64", NULL,
        "weights that share a scale; a power of two"),
    CHOICE("compute_dtype", "model", compute_dtype, computes, COMPUTE, "auto", NULL,
           "type of the products with the base"),
    BOOL("bf16", "model", bf16, "false", "as compute_dtype: bf16"),
    BOOL("fp16", "model", fp16, "false", "as compute_dtype: auto"),
    CHOICE("torch_dtype", "model", torch_dtype, computes, COMPUTE, "auto", NULL,
           "counts when no other key says how to compute"),
    INT("threads", "model", threads, 0, 4096, "0", "all cores", "threads"),
    TEXT("cpumask", "model", cpumask, "NAMES", "instruction sets to use, as doctor names them"),

    TEXT("data", "data", data, "FILE", "rows to train on: .jsonl, .json or .csv"),
    TEXT("eval_data", "data", eval_data, "FILE", "rows to evaluate on"),
    INT("eval_rows", "data", eval_rows, 0, MANY, "0", NULL,
        "rows split off the data for evaluation"),
    FLOAT("eval_fraction", "data", eval_fraction, 0, 0.99, "0", NULL,
          "part of the data split off for evaluation"),
    CHOICE("format", "data", data_config.format, formats, "NAME", "auto", NULL,
           "auto, alpaca, messages, prompt_completion, text, tokenized, template or instruction"),
    TEXT("template", "data", data_config.template_text, "TEXT",
         "row layout with {column} fields; {{ and }} are braces"),
    OTHER("template_vars", "data", NBI_KEY_VARS, data_config.template_vars, "MAP", NULL,
          "texts for fields of the template that are no columns"),
    TEXT("text_column", "data", data_config.text_column, "NAME",
         "column of the finished texts (format text)"),
    TEXT("response_template", "data", data_config.response_template, "TEXT",
         "loss starts after its last occurrence (formats text and template)"),
    CHOICE("train_on", "data", data_config.train_on, train_ons,
           "default|completion|assistant|last|all", "default",
           "the answer; everything for plain text", "what carries loss"),
    INT("max_seq_length", "data", data_config.max_seq_length, 0, 1 << 24, "0", "no limit",
        "tokens that a row is cut to"),
    CHOICE("truncation_side", "data", data_config.truncate_left, sides, "right|left", "right", NULL,
           "end that a long row loses"),
    CHOICE("on_empty_labels", "data", data_config.empty_labels_error, empties, "drop|error", "drop",
           NULL, "rows without a trained token"),
    CHOICE("add_special_tokens", "data", data_config.add_special_tokens, tristate,
           "auto|true|false", "auto", "BOS unless the row spells it",
           "add the tokenizer's special tokens"),
    CHOICE("append_eos", "data", data_config.no_eos, appended, "true|false", "true", NULL,
           "answers and texts end with eos"),
    BOOL("mask_eos", "data", data_config.mask_eos, "false",
         "never train eos, as collators with pad = eos do"),
    INT("max_rows", "data", data_config.max_rows, 0, MANY, "0", "all", "rows read from the data"),
    BOOL("packing", "data", packing, "false",
         "accepted: rows are never padded and never mixed, so nothing is left to pack"),
    BOOL("shuffle", "data", shuffle, "true", "shuffle the rows of each epoch"),
    TEXT("sample_order", "data", sample_order, "FILE", "order of the rows: one JSON list an epoch"),

    INT("lora_r", "adapter", lora.r, 1, 65536, "16", NULL, "rank"),
    FLOAT("lora_alpha", "adapter", lora.alpha, 0, 1e6, "32", NULL, "scale is alpha / r"),
    FLOAT("lora_dropout", "adapter", lora.dropout, 0, 0.999, "0", NULL,
          "dropout on the adapters' input"),
    OTHER("lora_target_modules", "adapter", NBI_KEY_MODULES, lora.targets, "LIST", "all-linear",
          "names, all-linear, or one regular expression"),
    OTHER("exclude_modules", "adapter", NBI_KEY_MODULES, lora.exclude, "LIST", NULL,
          "modules left out"),
    OTHER("layers_to_transform", "adapter", NBI_KEY_INTS, lora.layers, "LIST", "all",
          "numbers of the layers with adapters"),
    OTHER("layers_pattern", "adapter", NBI_KEY_TEXTS, lora.layers_pattern, "LIST", NULL,
          "name of the list of layers"),
    OTHER("rank_pattern", "adapter", NBI_KEY_PATTERNS, lora.rank_pattern, "MAP", NULL,
          "rank by module"),
    OTHER("alpha_pattern", "adapter", NBI_KEY_PATTERNS, lora.alpha_pattern, "MAP", NULL,
          "alpha by module"),
    BOOL("use_rslora", "adapter", lora.rslora, "false", "scale is alpha / sqrt(r)"),
    TEXT("init_adapter", "adapter", init_adapter, "DIR", "PEFT folder to start from"),
    TEXT("adapter", "adapter", adapter, "DIR", "PEFT folder to evaluate or generate with"),

    FLOAT("learning_rate", "optimisation", learning_rate, 0, 100, NULL,
          "2e-4; full fine-tuning 2e-5", "highest rate of the schedule"),
    NAME("lr_scheduler_type", "optimisation", schedule, "linear",
         "linear, cosine, constant or constant_with_warmup"),
    FLOAT("warmup_ratio", "optimisation", warmup_ratio, 0, 1, "0.03", NULL,
          "part of all steps in which the rate rises"),
    INT("warmup_steps", "optimisation", warmup_steps, 0, MANY, "0", "by warmup_ratio",
        "steps in which the rate rises"),
    INT("per_device_train_batch_size", "optimisation", batch, 1, 1 << 20, "4", NULL,
        "rows computed at once"),
    INT("gradient_accumulation_steps", "optimisation", accumulation, 1, 1 << 20, "4",
        "4, or 1 when the batch size is given", "batches an update"),
    INT("per_device_eval_batch_size", "optimisation", eval_batch, 1, 1 << 20, "8", NULL,
        "rows evaluated at once"),
    FLOAT("num_train_epochs", "optimisation", epochs, 0, 1e6, "3", NULL, "passes over the data"),
    INT("max_steps", "optimisation", max_steps, -1, MANY, "-1", "by num_train_epochs",
        "updates in all"),
    NAME("optim", "optimisation", optim, "adamw_torch", "optimizer, by HF's names"),
    FLOAT("weight_decay", "optimisation", optim_config.weight_decay, 0, 100, "0", NULL,
          "decoupled weight decay"),
    BOOL("decay_all", "optimisation", optim_config.decay_all, "false",
         "decay biases and norms too"),
    FLOAT("adam_beta1", "optimisation", optim_config.beta1, 0, 0.999999999, "0.9", NULL,
          "decay of the first moment"),
    FLOAT("adam_beta2", "optimisation", optim_config.beta2, 0, 0.999999999, "0.999", NULL,
          "decay of the second moment"),
    FLOAT("adam_epsilon", "optimisation", optim_config.eps, 0, 1, "1e-8", NULL,
          "added to the root of the second moment"),
    FLOAT("max_grad_norm", "optimisation", max_grad_norm, 0, 1e9, "1.0", NULL,
          "clip the global gradient norm; 0: never"),
    INT("seed", "optimisation", seed, 0, MANY, "42", NULL, "of everything random"),

    TEXT("output_dir", "run", output_dir, "DIR", "where results go"),
    CHOICE("logging_strategy", "run", logging_strategy, strategies, STRATEGY, "steps", NULL,
           "when training lines are logged"),
    INT("logging_steps", "run", logging_steps, 1, MANY, "10", NULL, "updates between two lines"),
    CHOICE("eval_strategy", "run", eval_strategy, strategies, STRATEGY, NULL,
           "epoch, or steps with eval_steps, when there are rows for it", "when to evaluate"),
    INT("eval_steps", "run", eval_steps, 1, MANY, NULL, "logging_steps",
        "updates between two evaluations"),
    BOOL("eval_on_start", "run", eval_on_start, "false", "evaluate before the first step"),
    CHOICE("eval_loss_reduction", "run", eval_loss_trainer, reductions, "token|trainer", "token",
           NULL, "mean over tokens, or HF's mean over batches weighted by rows"),
    CHOICE("save_strategy", "run", save_strategy, strategies, STRATEGY, "steps", NULL,
           "when checkpoints are written"),
    INT("save_steps", "run", save_steps, 1, MANY, "500", NULL, "updates between two checkpoints"),
    INT("save_total_limit", "run", save_total_limit, 0, MANY, "0", "all", "checkpoints kept"),
    CHOICE("save_dtype", "run", save_dtype, dtypes, "float32|bfloat16|float16", "float32", NULL,
           "type of a fully trained model's file"),
};
const size_t nbi_keys_n = sizeof nbi_keys / sizeof *nbi_keys;

const nbi_alias nbi_aliases[] = {
    {"model_name_or_path", "model"},
    {"base_model_name_or_path", "model"},
    {"evaluation_strategy", "eval_strategy"},
    {"max_length", "max_seq_length"},
    {"bnb_4bit_compute_dtype", "compute_dtype"},
    {"dtype", "torch_dtype"},
    {"dataset_text_field", "text_column"},
    {"r", "lora_r"},
    {"target_modules", "lora_target_modules"},
    {"num_threads", "threads"},
};
const size_t nbi_aliases_n = sizeof nbi_aliases / sizeof *nbi_aliases;

#define NO_PAD "rows are never padded"
#define NO_DEVICE "the CPU and its memory are used"
#define NO_CODE "no code of a model is ever run"
#define ONLY_LORA "this version trains LoRA adapters of the plain kind"

const nbi_silent_key nbi_silent_keys[] = {
    {"padding", NULL, NO_PAD},
    {"padding_side", NULL, NO_PAD},
    {"pad_token", NULL, NO_PAD},
    {"pad_to_multiple_of", NULL, NO_PAD},
    {"group_by_length", NULL, NO_PAD},
    {"truncation", NULL, "rows are cut when max_seq_length is given"},
    {"device_map", NULL, NO_DEVICE},
    {"no_cuda", NULL, NO_DEVICE},
    {"use_cpu", NULL, NO_DEVICE},
    {"tf32", NULL, NO_DEVICE},
    {"low_cpu_mem_usage", NULL, "weights are always mapped or quantised one at a time"},
    {"use_cache", NULL, NULL},
    {"use_fast", NULL, "there is one tokenizer"},
    {"trust_remote_code", NULL, NO_CODE},
    {"attn_implementation", NULL, "attention is exact and never holds the whole score matrix"},
    {"gradient_checkpointing", NULL, "this version keeps activations, so it saves no memory"},
    {"gradient_checkpointing_kwargs", NULL, "this version keeps activations"},
    {"push_to_hub", NULL, "nothing is ever uploaded"},
    {"hub_model_id", NULL, "nothing is ever uploaded"},
    {"report_to", "none all tensorboard -", "the log is train_log.jsonl in output_dir"},
    {"logging_dir", NULL, "the log is train_log.jsonl in output_dir"},
    {"run_name", NULL, NULL},
    {"disable_tqdm", NULL, NULL},
    {"logging_first_step", NULL, "lines follow logging_steps"},
    {"overwrite_output_dir", NULL, NULL},
    {"save_safetensors", "true -", NULL},
    {"load_best_model_at_end", NULL,
     "the last weights are kept; the evaluation lines of train_log.jsonl tell which checkpoint is "
     "best"},
    {"metric_for_best_model", NULL, "evaluation gives the loss"},
    {"greater_is_better", NULL, "evaluation gives the loss"},
    {"data_seed", NULL, "the order of the rows follows seed"},
    {"dataloader_num_workers", NULL, "rows are tokenised before the run"},
    {"dataloader_pin_memory", NULL, NO_DEVICE},
    {"dataloader_drop_last", "false -", NULL},
    {"dataset_num_proc", NULL, "rows are tokenised on all cores"},
    {"remove_unused_columns", NULL, "columns that the format does not name are never used"},
    {"ddp_find_unused_parameters", NULL, NO_DEVICE},
    {"task_type", "CAUSAL_LM -", NULL},
    {"peft_type", "LORA -", NULL},
    {"inference_mode", NULL, NULL},
    {"bias", "none -", NULL},
    {"fan_in_fan_out", "false -", NULL},
    {"init_lora_weights", "true -", ONLY_LORA},
    {"use_dora", "false -", NULL},
    {"lora_bias", "false -", NULL},
    {"modules_to_save", "-", NULL},
    {"load_in_8bit", "false -", NULL},
    {"bnb_4bit_quant_storage", NULL, "4-bit codes are held two a byte"},
    {"do_train", NULL, "the command says what is done"},
    {"do_eval", NULL, "the command says what is done"},
};
const size_t nbi_silent_keys_n = sizeof nbi_silent_keys / sizeof *nbi_silent_keys;

int nbi_key_index(const char *name)
{
    for (size_t i = 0; i < nbi_keys_n; i++)
        if (!strcmp(nbi_keys[i].name, name))
            return (int)i;
    return -1;
}

int nbi_key_find(const char *name)
{
    for (size_t i = 0; i < nbi_aliases_n; i++)
        if (!strcmp(nbi_aliases[i].name, name))
            return nbi_key_index(nbi_aliases[i].key);
    return nbi_key_index(name);
}

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;
    return m < c ? m : c;
}

static size_t distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    size_t n = strlen(a), m = strlen(b), row[MAX + 1];
    if (n > MAX || m > MAX)
        return MAX;
    for (size_t j = 0; j <= m; j++)
        row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t best = min3(diagonal + (a[i - 1] != b[j - 1]), row[j] + 1, row[j - 1] + 1);
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

/* "lr" for learning_rate: the first letters of the words. */
static bool is_initials(const char *s, const char *key)
{
    for (bool start = true; *key; key++) {
        if (start && *s++ != *key)
            return false;
        start = *key == '_';
    }
    return *s == 0;
}

/* Whether `part` stands in `key` as whole words: "epochs" in num_train_epochs. */
static bool is_words_of(const char *part, const char *key)
{
    size_t n = strlen(part);
    for (const char *at = key; n > 2 && (at = strstr(at, part)); at++)
        if ((at == key || at[-1] == '_') && (at[n] == 0 || at[n] == '_'))
            return true;
    return false;
}

/* A shorthand counts as one mistake; of two, the longer name is the likelier one. */
static void consider(const char *name, const char *key, size_t *best, const char **nearest)
{
    size_t d = distance(name, key);
    bool shorthand = is_initials(name, key) || is_words_of(name, key);
    if (d > 1 && shorthand)
        d = 1;
    if (d < *best || (d == *best && shorthand && strlen(key) > strlen(*nearest))) {
        *best = d;
        *nearest = key;
    }
}

const char *nbi_key_nearest(const char *name)
{
    size_t best = SIZE_MAX;
    const char *nearest = "model";
    for (size_t i = 0; i < nbi_keys_n; i++)
        consider(name, nbi_keys[i].name, &best, &nearest);
    for (size_t i = 0; i < nbi_aliases_n; i++)
        consider(name, nbi_aliases[i].name, &best, &nearest);
    for (size_t i = 0; i < nbi_silent_keys_n; i++)
        consider(name, nbi_silent_keys[i].name, &best, &nearest);
    return nearest;
}
