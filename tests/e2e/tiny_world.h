/* SPDX-License-Identifier: MIT */
/* A tiny random model with rows to train on, and running recipes in it. Include after testutil.h
 * and train_util.h. */
#ifndef NBT_TINY_WORLD_H
#define NBT_TINY_WORLD_H

#include "base/rng.h"
#include "base/sha256.h"
#include "model/model.h"

#define VOCAB 48
#define ROWS 24

static const char config_json[] =
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 32,\n"
    " \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2,\n"
    " \"intermediate_size\": 48, \"vocab_size\": 48, \"max_position_embeddings\": 64,\n"
    " \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, \"hidden_act\": \"silu\",\n"
    " \"initializer_range\": 0.15, \"tie_word_embeddings\": false, \"torch_dtype\": \"float32\",\n"
    " \"bos_token_id\": 1, \"eos_token_id\": 2}\n";

typedef struct world {
    char *dir, *model, *data, *eval;
} world;

/* Rows count up from a random id in steps of one: easy to learn. */
NBT_UNUSED static void write_rows(const char *path, size_t n, uint64_t seed)
{
    nbi_strbuf b = {0};
    nbi_rng rng;
    nbi_rng_init(&rng, seed, NBI_RNG_SAMPLE, 0);
    for (size_t i = 0; i < n; i++) {
        int len = 5 + (int)nbi_rng_below(&rng, 9), id = (int)nbi_rng_below(&rng, VOCAB - 3);
        nbi_strbuf_puts(&b, "{\"input_ids\": [");
        for (int j = 0; j < len; j++)
            nbi_strbuf_printf(&b, "%s%d", j ? ", " : "", 3 + (id + j) % (VOCAB - 3));
        nbi_strbuf_puts(&b, "], \"labels\": [");
        for (int j = 0; j < len; j++)
            nbi_strbuf_printf(&b, "%s%d", j ? ", " : "", j < 2 ? -100 : 3 + (id + j) % (VOCAB - 3));
        nbi_strbuf_puts(&b, "]}\n");
    }
    nbt_write_text(path, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
}

NBT_UNUSED static int setup(void **state)
{
    nb_error err = {0};
    world *w = calloc(1, sizeof *w);
    w->dir = nbt_tmpdir();
    char *config = nbt_join(w->dir, "config.json");
    w->model = nbt_join(w->dir, "model");
    w->data = nbt_join(w->dir, "rows.jsonl");
    w->eval = nbt_join(w->dir, "eval.jsonl");
    nbt_write_text(config, config_json);
    NBT_OK(nb_model_init(config, w->model, 3, NB_DT_F32, &err));
    write_rows(w->data, ROWS, 1);
    write_rows(w->eval, 8, 2);
    nbi_free(config);
    *state = w;
    return 0;
}

NBT_UNUSED static int teardown(void **state)
{
    world *w = *state;
    nbt_tmpdir_remove(w->dir);
    nbi_free(w->model);
    nbi_free(w->data);
    nbi_free(w->eval);
    free(w);
    return 0;
}

/* The world's usual recipe with up to 8 more settings on top. */
NBT_UNUSED static nb_recipe *recipe(const world *w, const char *out, const nbt_setting *more)
{
    nb_error err = {0};
    nbt_setting usual[] = {{"model", w->model},
                           {"data", w->data},
                           {"format", "tokenized"},
                           {"output_dir", out},
                           {"threads", "1"},
                           {"compute_dtype", "f32"},
                           {"learning_rate", "0.01"},
                           {"lora_r", "4"},
                           {"lora_alpha", "8"},
                           {"per_device_train_batch_size", "8"},
                           {"gradient_accumulation_steps", "1"},
                           {"num_train_epochs", "6"},
                           {"logging_steps", "1"},
                           {"on_disk_full", "exit"},
                           {NULL, NULL}};
    nb_recipe *r = nbt_recipe(usual);
    for (; more && more->key; more++)
        NBT_OK(nb_recipe_set(r, more->key, more->value, &err));
    return r;
}

NBT_UNUSED static nb_status train(const world *w, const char *out, const nbt_setting *more,
                                  const nb_train_hooks *hooks, nb_train_result *result,
                                  nb_error *err)
{
    nb_recipe *r = recipe(w, out, more);
    nb_status st = nb_train(r, hooks, result, err);
    nb_recipe_free(&r);
    return st;
}

NBT_UNUSED static char *place(const world *w, const char *name)
{
    return nbt_join(w->dir, name);
}

NBT_UNUSED static void adapter_hash(const char *dir, char hex[65])
{
    nb_error err = {0};
    char *path = nbt_join(dir, "adapter_model.safetensors");
    NBT_OK(nbi_sha256_file(path, hex, &err));
    nbi_free(path);
}

#endif
