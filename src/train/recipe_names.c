/* SPDX-License-Identifier: MIT */
/* Names beside those of the table of keys: other spellings, keys of other tools, and which known
 * name a wrong one stands for. */
#include <string.h>
#include "train/recipe_keys.h"

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
#define NO_UPLOAD "nothing is ever uploaded"
#define ONE_PROCESS "one process trains on all cores"
#define COMPILED "the kernels are compiled already"
#define ONLY_LOSS "evaluation gives the loss"
#define ONLY_LORA "this version trains LoRA adapters of the plain kind"
#define LOG "the log is train_log.jsonl in output_dir"
#define ZERO "0 0.0 -"
#define NO "false -"
#define UNSET "-"

const nbi_silent_key nbi_silent_keys[] = {
    /* rows */
    {"padding", NULL, NO_PAD},
    {"padding_side", NULL, NO_PAD},
    {"padding_free", NULL, NO_PAD},
    {"pad_token", NULL, NO_PAD},
    {"pad_to_multiple_of", NULL, NO_PAD},
    {"length_column_name", NULL, NO_PAD},
    {"truncation", NULL, "rows are cut when max_seq_length is given"},
    {"eval_packing", NULL, "evaluation treats each row alone"},
    {"shuffle_dataset", NULL, "rows are shuffled in each epoch (key shuffle)"},
    {"data_seed", NULL, "the order of the rows follows seed"},
    {"dataset_batch_size", NULL, "rows are tokenised on all cores"},
    {"dataset_num_proc", NULL, "rows are tokenised on all cores"},
    {"dataset_kwargs", UNSET, "use add_special_tokens and append_eos"},
    {"dataloader_num_workers", NULL, "rows are tokenised before the run"},
    {"dataloader_prefetch_factor", NULL, "rows are tokenised before the run"},
    {"dataloader_persistent_workers", NULL, "rows are tokenised before the run"},
    {"dataloader_pin_memory", NULL, NO_DEVICE},
    {"dataloader_drop_last", NO, NULL},
    {"remove_unused_columns", NULL, "columns that the format does not name are never used"},
    {"label_names", NULL, "labels follow format and train_on"},
    {"assistant_only_loss", NO, "use train_on: assistant"},
    {"completion_only_loss", UNSET, "use train_on: completion or all"},
    {"eos_token", UNSET, "the tokenizer's files name it"},
    {"chat_template", UNSET, "use template"},
    {"chat_template_path", UNSET, "use template"},
    {"use_fast", NULL, "there is one tokenizer"},

    /* the model */
    {"model_init_kwargs", UNSET, "give what it holds as keys of the recipe"},
    {"trust_remote_code", NULL, NO_CODE},
    {"low_cpu_mem_usage", NULL, "weights are always mapped or quantised one at a time"},
    {"attn_implementation", NULL, "attention is exact and never holds the whole score matrix"},
    {"use_flash_attention_2", NULL, "attention is exact and never holds the whole score matrix"},
    {"use_cache", NULL, NULL},
    {"load_in_8bit", NO, NULL},
    {"bnb_4bit_quant_storage", NULL, "4-bit codes are held two a byte"},
    {"llm_int8_skip_modules", UNSET, NULL},
    {"llm_int8_threshold", NULL, "it belongs to load_in_8bit"},
    {"llm_int8_has_fp16_weight", NULL, "it belongs to load_in_8bit"},
    {"llm_int8_enable_fp32_cpu_offload", NULL, NO_DEVICE},

    /* machines */
    {"device_map", NULL, NO_DEVICE},
    {"max_memory", NULL, NO_DEVICE},
    {"offload_folder", NULL, NO_DEVICE},
    {"activation_offloading", NULL, NO_DEVICE},
    {"no_cuda", NULL, NO_DEVICE},
    {"use_cpu", NULL, NO_DEVICE},
    {"use_mps_device", NULL, NO_DEVICE},
    {"use_ipex", NULL, NO_DEVICE},
    {"tf32", NULL, NO_DEVICE},
    {"torch_empty_cache_steps", NULL, NO_DEVICE},
    {"ddp_backend", NULL, ONE_PROCESS},
    {"ddp_broadcast_buffers", NULL, ONE_PROCESS},
    {"ddp_bucket_cap_mb", NULL, ONE_PROCESS},
    {"ddp_find_unused_parameters", NULL, ONE_PROCESS},
    {"ddp_timeout", NULL, ONE_PROCESS},
    {"deepspeed", NULL, ONE_PROCESS},
    {"fsdp", NULL, ONE_PROCESS},
    {"fsdp_config", NULL, ONE_PROCESS},
    {"fsdp_min_num_params", NULL, ONE_PROCESS},
    {"fsdp_transformer_layer_cls_to_wrap", NULL, ONE_PROCESS},
    {"accelerator_config", NULL, ONE_PROCESS},
    {"parallelism_config", NULL, ONE_PROCESS},
    {"average_tokens_across_devices", NULL, ONE_PROCESS},
    {"local_rank", NULL, ONE_PROCESS},
    {"log_on_each_node", NULL, ONE_PROCESS},
    {"save_on_each_node", NULL, ONE_PROCESS},
    {"tpu_num_cores", NULL, NO_DEVICE},
    {"torch_compile", NULL, COMPILED},
    {"torch_compile_backend", NULL, COMPILED},
    {"torch_compile_mode", NULL, COMPILED},
    {"jit_mode_eval", NULL, COMPILED},
    {"use_liger_kernel", NULL, COMPILED},
    {"liger_kernel_config", NULL, COMPILED},
    {"half_precision_backend", NULL, "no loss scaling is needed"},
    {"fp16_backend", NULL, "no loss scaling is needed"},
    {"fp16_opt_level", NULL, "no loss scaling is needed"},
    {"bf16_full_eval", NO, "evaluation computes as training does"},
    {"fp16_full_eval", NO, "evaluation computes as training does"},
    {"full_determinism", NULL, "any number of threads gives the same bits"},
    {"gradient_checkpointing_kwargs", NULL, "recomputation gives the same bits in every form"},
    {"auto_find_batch_size", NULL, "the batch size is the one given"},

    /* adapters */
    {"task_type", "CAUSAL_LM -", NULL},
    {"peft_type", "LORA -", NULL},
    {"inference_mode", NULL, NULL},
    {"auto_mapping", NULL, NULL},
    {"bias", "none -", NULL},
    {"fan_in_fan_out", NO, NULL},
    {"init_lora_weights", "true -", ONLY_LORA},
    {"use_dora", NO, NULL},
    {"lora_bias", NO, NULL},
    {"modules_to_save", UNSET, NULL},
    {"target_parameters", UNSET, NULL},
    {"trainable_token_indices", UNSET, NULL},
    {"layer_replication", UNSET, NULL},
    {"ensure_weight_tying", NO, NULL},
    {"loftq_config", UNSET, ONLY_LORA},
    {"eva_config", UNSET, ONLY_LORA},
    {"corda_config", UNSET, ONLY_LORA},
    {"arrow_config", UNSET, ONLY_LORA},
    {"use_qalora", NO, ONLY_LORA},
    {"alora_invocation_tokens", UNSET, ONLY_LORA},
    {"megatron_config", UNSET, NULL},
    {"megatron_core", NULL, ONE_PROCESS},
    {"loraplus_lr_embedding", NULL, "adapters on embeddings are not trained"},

    /* updates */
    {"optim_target_modules", UNSET, NULL},
    {"adafactor", NO, "use optim"},
    {"label_smoothing_factor", ZERO, NULL},
    {"loss_type", "nll -", NULL},
    {"ignore_data_skip", NO, NULL},

    /* evaluation, logs and results */
    {"do_train", NULL, "the command says what is done"},
    {"do_eval", NULL, "the command says what is done"},
    {"do_predict", NULL, "the command says what is done"},
    {"prediction_loss_only", NULL, ONLY_LOSS},
    {"include_for_metrics", NULL, ONLY_LOSS},
    {"include_inputs_for_metrics", NULL, ONLY_LOSS},
    {"batch_eval_metrics", NULL, ONLY_LOSS},
    {"eval_do_concat_batches", NULL, ONLY_LOSS},
    {"eval_use_gather_object", NULL, ONE_PROCESS},
    {"eval_accumulation_steps", NULL, "evaluation never holds the logits of a whole set"},
    {"push_to_hub", NULL, NO_UPLOAD},
    {"hub_model_id", NULL, NO_UPLOAD},
    {"hub_strategy", NULL, NO_UPLOAD},
    {"hub_token", NULL, NO_UPLOAD},
    {"hub_private_repo", NULL, NO_UPLOAD},
    {"hub_always_push", NULL, NO_UPLOAD},
    {"hub_revision", NULL, NO_UPLOAD},
    {"logging_dir", NULL, "event files go to output_dir/runs"},
    {"logging_nan_inf_filter", NULL, "on_nonfinite says what numbers that are not finite do"},
    {"include_tokens_per_second", NULL, LOG},
    {"include_num_input_tokens_seen", NULL, LOG},
    {"log_level", NULL, NULL},
    {"log_level_replica", NULL, NULL},
    {"run_name", NULL, NULL},
    {"project", NULL, NULL},
    {"disable_tqdm", NULL, NULL},
    {"skip_memory_metrics", NULL, NULL},
    {"overwrite_output_dir", NULL, NULL},
    {"save_safetensors", "true -", NULL},
    {"save_only_model", NULL, "checkpoints hold what a resumed run needs"},
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

/* Whether the words of `part` stand in `key` in this order: "num_epochs" in num_train_epochs. */
static bool is_words_of(const char *part, const char *key)
{
    if (strlen(part) < 3)
        return false;
    for (;; part++, key++) {
        size_t n = strcspn(part, "_"), m = strcspn(key, "_");
        for (; m != n || strncmp(part, key, n) != 0; m = strcspn(key, "_")) {
            if (!key[m])
                return false;
            key += m + 1;
        }
        part += n;
        key += m;
        if (!*part)
            return true;
        if (!*key)
            return false;
    }
}

/* A shorthand is near however long the name is; of two, the longer name is the likelier one. */
static void consider(const char *name, const char *key, size_t *best, const char **nearest)
{
    size_t d = nb_name_distance(name, key);
    bool shorthand = is_initials(name, key) || is_words_of(name, key);
    if (!shorthand && d > strlen(name) / 3)
        return;
    if (d > 1 && shorthand)
        d = 1;
    if (d < *best || (d == *best && shorthand && strlen(key) > strlen(*nearest))) {
        *best = d;
        *nearest = key;
    }
}

const char *nbi_key_nearest(const char *name)
{
    size_t best = SIZE_MAX, best_foreign = SIZE_MAX;
    const char *nearest = NULL, *foreign = NULL;
    for (size_t i = 0; i < nbi_keys_n; i++)
        consider(name, nbi_keys[i].name, &best, &nearest);
    for (size_t i = 0; i < nbi_aliases_n; i++)
        consider(name, nbi_aliases[i].name, &best, &nearest);
    for (size_t i = 0; i < nbi_silent_keys_n; i++)
        consider(name, nbi_silent_keys[i].name, &best_foreign, &foreign);
    return best_foreign < best ? foreign : nearest;
}
