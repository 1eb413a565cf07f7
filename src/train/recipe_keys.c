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
#define STEPS(n, g, f, value, shown, help)                                                         \
    {                                                                                              \
        n, g, NBI_KEY_STEPS, FIELD(f), 0, MANY, NULL, "N", value, shown, help                      \
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
static const nbi_choice full_disks[] = {{"wait", 0}, {"exit", 1}, {NULL, 0}};
static const nbi_choice savings[] = {{"no", NB_STRATEGY_NO},
                                     {"steps", NB_STRATEGY_STEPS},
                                     {"epoch", NB_STRATEGY_EPOCH},
                                     {"best", NB_STRATEGY_BEST},
                                     {NULL, 0}};
static const nbi_choice on_nonfinites[] = {
    {"stop", NB_REACT_STOP}, {"skip", NB_REACT_SKIP}, {NULL, 0}};
static const nbi_choice on_spikes[] = {
    {"warn", NB_REACT_WARN}, {"skip", NB_REACT_SKIP}, {"stop", NB_REACT_STOP}, {NULL, 0}};
static const nbi_choice reductions[] = {{"token", 0}, {"trainer", 1}, {NULL, 0}};
static const nbi_choice reports[] = {
    {"tensorboard", 1}, {"none", 0}, {"all", 1}, {"false", 0}, {NULL, 0}};
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
    CHOICE("compute_dtype", "model", compute_dtype, computes, COMPUTE, "auto",
           "f32 unless another key asks for 16 bits",
           "type of the products with the base; bf16 insists, f16 is whichever is faster here"),
    BOOL("bf16", "model", bf16, "false", "bf16 where the machine does it fast, else f32"),
    BOOL("fp16", "model", fp16, "false", "as bf16"),
    CHOICE("torch_dtype", "model", torch_dtype, computes, COMPUTE, "auto", NULL,
           "counts when no other key says how to compute"),
    INT("threads", "model", threads, 0, 4096, "0", "all cores", "threads"),
    CHOICE("gradient_checkpointing", "model", checkpointing, tristate, "auto|true|false", "auto",
           "as far as memory asks for it", "compute activations again instead of keeping them"),
    TEXT("memory_limit", "model", memory_limit, "SIZE",
         "most memory to use, such as 6GiB; default: what the machine and its cgroup have"),
    TEXT("time_budget", "model", time_budget, "TIME",
         "plan proposes settings that fit into it, such as 90m or 2h"),
    TEXT("quantized_cache", "model", quantized_cache, "DIR",
         "keeps the base's 4-bit form for the next start"),
    TEXT("cpumask", "model", cpumask, "NAMES", "instruction sets to use, as doctor names them"),

    TEXT("data", "data", data, "FILE", "rows to train on: .jsonl, .json or .csv"),
    OTHER("eval_data", "data", NBI_KEY_FILES, eval_sets, "FILE", NULL,
          "rows to evaluate on; several sets as a map NAME: FILE (NAME=FILE,NAME=FILE as a flag)"),
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
         "per_device_train_batch_size counts packs of rows, each of at most max_seq_length tokens"),
    INT("max_tokens_per_batch", "data", max_tokens_per_batch, 0, 1 << 24, "0", "by rows",
        "most tokens of a batch; with packing, what it is filled up to"),
    BOOL("group_by_length", "data", group_by_length, "false",
         "rows of similar length in a batch, the longest first, as HF's sampler"),
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
    NAME("lr_scheduler_type", "optimisation", schedule, "linear", "schedule, by HF's names"),
    OTHER("lr_scheduler_kwargs", "optimisation", NBI_KEY_OPTIONS, schedule_kwargs, "MAP", NULL,
          "options of the schedule, by HF's names"),
    FLOAT("warmup_ratio", "optimisation", warmup_ratio, 0, 1, "0.03", NULL,
          "part of all steps in which the rate rises"),
    FLOAT("warmup_steps", "optimisation", warmup_steps, 0, MANY, "0", "by warmup_ratio",
          "steps in which the rate rises; below 1, part of all steps"),
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
    TEXT("optim_args", "optimisation", optim_config.args, "TEXT",
         "options of the optimizer, such as momentum=0.9, nesterov=true"),
    FLOAT("loraplus_lr_ratio", "optimisation", optim_config.loraplus_ratio, 1e-6, 1e6, "1", NULL,
          "LoRA+: rate of the B matrices over that of the A matrices"),
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
    FLOAT("neftune_noise_alpha", "optimisation", neftune_alpha, 0, 1e6, "0", NULL,
          "noise on the embeddings while training, within alpha / sqrt(tokens x width)"),
    FLOAT("max_grad_norm", "optimisation", max_grad_norm, 0, 1e9, "1.0", NULL,
          "clip the global gradient norm; 0: never"),
    INT("seed", "optimisation", seed, 0, MANY, "42", NULL, "of everything random"),

    BOOL("probe", "run", probe, "false",
         "run the longest batch once, without an update, before the first step"),
    TEXT("output_dir", "run", output_dir, "DIR", "where results go"),
    CHOICE("logging_strategy", "run", logging_strategy, strategies, STRATEGY, "steps", NULL,
           "when training lines are logged"),
    STEPS("logging_steps", "run", logging_every, "10", NULL,
          "updates between two lines; below 1, a part of all updates"),
    BOOL("logging_first_step", "run", logging_first_step, "false", "log the first step too"),
    CHOICE("eval_strategy", "run", eval_strategy, strategies, STRATEGY, NULL,
           "epoch, or steps with eval_steps, when there are rows for it", "when to evaluate"),
    STEPS("eval_steps", "run", eval_every, NULL, "logging_steps",
          "updates between two evaluations; below 1, a part of all updates"),
    OTHER("eval_on_start", "run", NBI_KEY_BOOL, eval_on_start, "bool",
          "true when there are rows for it", "evaluate before the first step"),
    CHOICE("eval_loss_reduction", "run", eval_loss_trainer, reductions, "token|trainer", "token",
           NULL, "mean over tokens, or HF's mean over batches weighted by rows"),
    FLOAT("eval_delay", "run", eval_delay, 0, MANY, "0", NULL,
          "updates or epochs (as eval_strategy counts) before the first evaluation"),
    OTHER(
        "metric_for_best_model", "run", NBI_KEY_TEXT, metric, "NAME", "loss",
        "number of the evaluation that tells the best step: loss, NAME_loss, token_accuracy, ..."),
    CHOICE("greater_is_better", "run", greater_is_better, tristate, "auto|true|false", "auto",
           "false for names that end in loss or perplexity", "how the metric is compared"),
    BOOL("load_best_model_at_end", "run", load_best, "false",
         "the result is the best evaluated step, not the last one"),
    INT("early_stopping_patience", "run", patience, 0, MANY, "0", "never",
        "evaluations without improvement after which the run ends"),
    FLOAT("early_stopping_threshold", "run", patience_threshold, 0, MANY, "0", NULL,
          "what counts as an improvement"),
    OTHER("sample_prompts", "run", NBI_KEY_PROMPTS, sample_prompts, "LIST", NULL,
          "prompts answered before, at each evaluation and after; or a file: .jsonl rows, else a "
          "prompt a line"),
    INT("sample_max_new_tokens", "run", sample_max_new_tokens, 1, 1 << 20, "64", NULL,
        "tokens of such an answer"),
    CHOICE("on_nonfinite", "run", on_nonfinite, on_nonfinites, "stop|skip", "stop", NULL,
           "when a loss or gradient is NaN or infinite: end the run, or make no update"),
    INT("max_skipped_steps", "run", max_skipped, 0, MANY, "5", NULL,
        "updates left out in a row before the run ends all the same"),
    CHOICE("on_spike", "run", on_spike, on_spikes, "warn|skip|stop", "warn", NULL,
           "when the loss of a step jumps above its running mean"),
    FLOAT("spike_zscore", "run", spike_zscore, 0, 1e9, "6", NULL,
          "deviations above the running mean that count as a jump; 0: not looked for"),
    CHOICE("save_strategy", "run", save_strategy, savings, STRATEGY "|best", "steps", NULL,
           "when checkpoints are written"),
    STEPS("save_steps", "run", save_every, "500", NULL,
          "updates between two checkpoints; below 1, a part of all updates"),
    INT("save_total_limit", "run", save_total_limit, 0, MANY, "0", "all", "checkpoints kept"),
    TEXT(
        "resume_from_checkpoint", "run", resume, "PATH|true",
        "go on from a checkpoint, or from the newest one of an output folder; true: of output_dir"),
    BOOL("resume_force", "run", resume_force, "false",
         "go on although settings, data or model differ from the checkpoint's"),
    CHOICE("on_disk_full", "run", exit_on_full_disk, full_disks, "wait|exit", "wait", NULL,
           "when a checkpoint finds no room: wait for it, or end"),
    INT("disk_full_retry", "run", disk_full_retry, 0, 86400, "30", NULL,
        "seconds between two tries to save on a full disk"),
    CHOICE("save_dtype", "run", save_dtype, dtypes, "float32|bfloat16|float16", "float32", NULL,
           "type of a fully trained model's file"),
    CHOICE("report_to", "run", tensorboard, reports, "tensorboard|none", "tensorboard", NULL,
           "event files for TensorBoard in output_dir/runs"),
    BOOL("report_html", "run", report_html, "true", "keep the page output_dir/report.html"),
    TEXT("on_event", "run", on_event, "COMMAND",
         "run by sh at start, eval, save, end and error, with a JSON object as its input"),
};
const size_t nbi_keys_n = sizeof nbi_keys / sizeof *nbi_keys;
