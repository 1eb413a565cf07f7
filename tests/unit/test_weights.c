/* SPDX-License-Identifier: MIT */
/* Making, opening, quantising and saving model folders, and what is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "st_testutil.h"
#include "model/hub_cache.h"
#include "model/model.h"
#include "tensor/half.h"

static const char llama[] =
    "{\"model_type\":\"llama\",\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":"
    "4,"
    "\"num_key_value_heads\":2,\"intermediate_size\":40,\"vocab_size\":50,\"eos_token_id\":2,"
    "\"initializer_range\":0.05,\"torch_dtype\":\"float32\"}";
static const char qwen3[] =
    "{\"model_type\":\"qwen3\",\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":"
    "4,"
    "\"num_key_value_heads\":2,\"head_dim\":10,\"intermediate_size\":34,\"vocab_size\":50,"
    "\"attention_bias\":true,\"tie_word_embeddings\":true,\"dtype\":\"float32\","
    "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":10000.0}}";

static char *dir, *model_dir;

static char *in_model(const char *name)
{
    return nbt_join(model_dir, name);
}

/* A fresh folder of random weights. */
static void make_model(const char *config, nb_dtype dtype)
{
    nb_error err = {0};
    char *path = nbt_join(dir, "config.json"), *gen = nbt_join(dir, "generation_config.json");
    char *tok = nbt_join(dir, "tokenizer.json");
    NBT_OK(nbi_remove_tree(model_dir, &err));
    nbt_write_text(path, config);
    nbt_write_text(gen, "{\"eos_token_id\": [2, 7]}\n");
    nbt_write_text(tok, "{}\n");
    NBT_OK(nb_model_init(path, model_dir, 11, dtype, &err));
    nbi_free(path);
    nbi_free(gen);
    nbi_free(tok);
}

static int setup(void **state)
{
    (void)state;
    dir = nbt_tmpdir();
    model_dir = nbt_join(dir, "model");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbi_free(model_dir);
    nbt_tmpdir_remove(dir);
    return 0;
}

static const nb_model_load plain = {.threads = 2};
static const nb_model_load full = {.threads = 2, .trainable = true};
static const nb_model_load four = {
    .threads = 2, .quant = {.load_in_4bit = true, .kind = NB_QK_NF4, .double_quant = true}};

static nb_model *open_ok(const char *where, const nb_model_load *how)
{
    nb_error err = {0};
    nb_model *m = NULL;
    NBT_OK(nb_model_open(&m, where, how, NULL, &err));
    return m;
}

static void refused(nb_status code, const char *part, const nb_model_load *how)
{
    nb_error err;
    nb_model *m = NULL;
    size_t before = nbt_in_use();
    NBT_FAILS(code, part, nb_model_open(&m, model_dir, how, NULL, &err));
    assert_null(m);
    assert_int_equal(nbt_in_use(), before);
}

/* ---- rewriting the weights file ---- */

typedef struct edit {
    const char *leave_out;
    const char *rename, *to;
    const nb_st_entry *add;
    const char *poison; /* element 5 becomes NaN */
    bool unaligned;     /* one byte in front of everything */
} edit;

static void rewrite(const edit *e)
{
    nb_error err = {0};
    nb_safetensors *st = NULL;
    nb_st_entry entries[64];
    size_t n = 0;
    char *path = in_model("model.safetensors");
    unsigned char one[1] = {0}, *poisoned = NULL;
    NBT_OK(nb_safetensors_open(&st, path, &err));
    if (e->unaligned)
        entries[n++] =
            (nb_st_entry){"model.layers.0.self_attn.rotary_emb.inv_freq", NB_DT_U8, 1, {1}, one};
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        nb_st_entry x = {t->name, t->dtype, t->rank, {0}, t->data};
        memcpy(x.shape, t->shape, sizeof x.shape);
        if (e->leave_out && strcmp(t->name, e->leave_out) == 0)
            continue;
        if (e->rename && strcmp(t->name, e->rename) == 0)
            x.name = e->to;
        if (e->poison && strcmp(t->name, e->poison) == 0) {
            poisoned = malloc(t->bytes);
            memcpy(poisoned, t->data, t->bytes);
            memset(poisoned + 5 * nb_dtype_size(t->dtype), 0xff, nb_dtype_size(t->dtype));
            x.data = poisoned;
        }
        entries[n++] = x;
    }
    if (e->add)
        entries[n++] = *e->add;
    NBT_OK(nb_safetensors_write(path, entries, n, NULL, NULL, &err));
    nb_safetensors_close(&st);
    free(poisoned);
    nbi_free(path);
}

static double mean_of(const float *v, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)v[i];
    return s / (double)n;
}

static void initialised(void **state)
{
    (void)state;
    make_model(llama, NB_DT_F32);
    nb_model *m = open_ok(model_dir, &plain);
    assert_int_equal(m->n_sites, 15);
    assert_int_equal(m->n_parameters,
                     2 * 50 * 32 + 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 40 * 32 + 64) + 32);
    assert_int_equal(m->params.n, 0);
    assert_int_equal(m->config.n_eos, 2); /* generation_config.json came along */
    char *tok = in_model("tokenizer.json");
    assert_true(nbi_path_exists(tok));
    nbi_free(tok);
    for (int i = 0; i < 32; i++)
        assert_true(m->blocks[1].mlp_norm[i] == 1.0f);
    const float *w = m->embed;
    double square = 0;
    for (int i = 0; i < 1600; i++)
        square += (double)w[i] * (double)w[i];
    nbt_within("deviation", fabs(sqrt(square / 1600) - 0.05), 0.05 * 4 / sqrt(3200.0));
    nbt_within("mean", fabs(mean_of(w, 1600)), 0.05 * 4 / 40);
    assert_memory_not_equal(m->blocks[0].q.w.data, m->blocks[1].q.w.data, 4096);
    nb_site *s = nb_model_site(m, "model.layers.1.mlp.up_proj");
    assert_non_null(s);
    assert_true(s->linear == &m->blocks[1].up && s->rows == 40 && s->in == 32 && s->layer == 1);
    assert_null(nb_model_site(m, "up_proj"));
    assert_true(nb_model_site(m, "lm_head")->is_head);
    nb_model_close(&m);
    nb_model_close(&m);
}

/* A tensor's values follow from the seed and its name alone. */
static void init_is_keyed(void **state)
{
    (void)state;
    static const char three[] =
        "{\"model_type\":\"llama\",\"hidden_size\":32,\"num_hidden_layers\":3,"
        "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"intermediate_size\":40,"
        "\"vocab_size\":50,\"initializer_range\":0.05}";
    nb_error err = {0};
    char *path = nbt_join(dir, "three.json"), *other = nbt_join(dir, "three");
    make_model(llama, NB_DT_F32);
    nbt_write_text(path, three);
    for (uint64_t seed = 11; seed < 13; seed++) {
        NBT_OK(nbi_remove_tree(other, &err));
        NBT_OK(nb_model_init(path, other, seed, NB_DT_F32, &err));
        nb_model *a = open_ok(model_dir, &plain), *b = open_ok(other, &plain);
        const void *x = a->blocks[1].down.w.data, *y = b->blocks[1].down.w.data;
        assert_int_equal(memcmp(x, y, 32 * 40 * 4) == 0, seed == 11);
        assert_int_equal(memcmp(a->head.w.data, b->head.w.data, 6400) == 0, seed == 11);
        nb_model_close(&a);
        nb_model_close(&b);
    }
    nbi_free(path);
    nbi_free(other);
}

static void init_refusals(void **state)
{
    (void)state;
    nb_error err = {0};
    char *path = nbt_join(dir, "config.json");
    make_model(llama, NB_DT_BF16); /* leaves a folder with content */
    NBT_FAILS(NB_CONFIG, "not empty", nb_model_init(path, model_dir, 1, NB_DT_F32, &err));
    NBT_FAILS(NB_CONFIG, "not a folder", nb_model_init(path, path, 1, NB_DT_F32, &err));
    char *other = nbt_join(dir, "other");
    NBT_FAILS(NB_CONFIG, "int8", nb_model_init(path, other, 1, NB_DT_I8, &err));
    assert_false(nbi_path_exists(other));
    NBT_FAILS(NB_NOTFOUND, "absent",
              nb_model_init("absent/config.json", other, 1, NB_DT_F32, &err));
    nbi_free(other);
    nbi_free(path);
}

/* Saved and opened again: the same numbers; the dtype is the chosen one. */
static void save_round_trip(void **state)
{
    (void)state;
    nb_error err = {0};
    char *copy = nbt_join(dir, "copy");
    make_model(qwen3, NB_DT_F32);
    nb_model *m = open_ok(model_dir, &full);
    assert_int_equal(m->params.n, 1 + 2 * (4 + 4 + 2 + 2 + 3) + 1); /* tied: no head */
    int64_t total = 0;
    for (size_t i = 0; i < m->params.n; i++) {
        nb_param *p = m->params.v[i];
        total += p->n;
        assert_int_equal(p->no_decay, p->rank == 1);
        for (int64_t j = 0; j < p->n; j++) {
            assert_true(p->grad[j] == 0.0f);
            p->value[j] += 0.125f;
        }
    }
    assert_int_equal(total, m->n_parameters);
    assert_true(m->head.dw == m->d_embed && m->head.w.data == m->embed);
    for (int d = 0; d < 2; d++) {
        nb_dtype dtype = d ? NB_DT_BF16 : NB_DT_F32;
        NBT_OK(nbi_remove_tree(copy, &err));
        NBT_OK(nbi_make_dirs(copy, &err));
        NBT_OK(nb_model_save(m, copy, dtype, &err));
        nb_model *n = open_ok(copy, &full);
        assert_int_equal(n->config.dtype, dtype);
        assert_int_equal(n->params.n, m->params.n);
        for (size_t i = 0; i < m->params.n; i++) {
            nb_param *a = m->params.v[i], *b = n->params.v[i];
            assert_string_equal(a->name, b->name);
            for (int64_t j = 0; j < a->n; j++)
                assert_true(b->value[j] == (d ? nb_round_bf16(a->value[j]) : a->value[j]));
        }
        nb_model_close(&n);
        n = open_ok(copy, &plain); /* frozen: in the mapping, in its dtype */
        assert_int_equal(n->embed_dtype, dtype);
        assert_int_equal(n->blocks[0].down.w.dtype, dtype);
        assert_non_null(n->blocks[0].o.bias);
        assert_null(n->blocks[0].up.bias);
        assert_non_null(n->blocks[1].k_norm);
        nb_model_close(&n);
    }
    m->params.v[3]->value[1] = NAN;
    NBT_FAILS(NB_NUMERIC, "NaN", nb_model_save(m, copy, NB_DT_F32, &err));
    m->params.v[3]->value[1] = 1e6f;
    NBT_FAILS(NB_NUMERIC, "too large", nb_model_save(m, copy, NB_DT_F16, &err));
    NBT_FAILS(NB_CONFIG, "int8", nb_model_save(m, copy, NB_DT_I8, &err));
    nb_model_close(&m);
    m = open_ok(model_dir, &four);
    NBT_FAILS(NB_UNSUPPORTED, "quantised", nb_model_save(m, copy, NB_DT_F32, &err));
    nb_model_close(&m);
    nbi_free(copy);
}

/* Linear layers of the blocks only; each element within half a step of its code's block. */
static void quantised_on_load(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        make_model(qwen3, kind & 1 ? NB_DT_BF16 : NB_DT_F32);
        nb_model_load how = four;
        how.quant.kind = kind & 1 ? NB_QK_FP4 : NB_QK_NF4;
        how.quant.double_quant = kind & 2;
        nb_model *a = open_ok(model_dir, &plain), *b = open_ok(model_dir, &how);
        assert_true(b->quant.load_in_4bit && b->quant.block == 64 && b->quant.nested_block == 256);
        assert_int_equal(b->head.w.kind, NB_QK_DENSE);
        for (size_t i = 0; i + 1 < a->n_sites; i++) {
            const nb_qtensor *x = &a->sites[i].linear->w, *y = &b->sites[i].linear->w;
            float v[64], u[64];
            assert_int_equal(y->kind, how.quant.kind);
            assert_true((y->absmax == NULL) == how.quant.double_quant);
            for (int64_t r = 0; r < x->n; r++) {
                nb_decode_args d = {.q = a->exec.q,
                                    .w = x,
                                    .row0 = r,
                                    .rows = 1,
                                    .cols = x->k,
                                    .out = v,
                                    .ldo = x->k};
                a->exec.k.decode(&d);
                d.w = y;
                d.out = u;
                a->exec.k.decode(&d);
                for (int64_t k = 0; k < x->k; k++)
                    nbt_within("decoded", fabs((double)v[k] - (double)u[k]), 0.05);
            }
        }
        nb_model_close(&a);
        nb_model_close(&b);
    }
    nb_model_load how = four;
    how.quant.block = 48;
    refused(NB_CONFIG, "power of two", &how);
    how = four;
    how.trainable = true;
    refused(NB_UNSUPPORTED, "cannot be trained", &how);
}

static void broken_folders(void **state)
{
    (void)state;
    float v[1600] = {0};
    make_model(llama, NB_DT_F32);
    rewrite(&(edit){.leave_out = "model.layers.1.self_attn.v_proj.weight"});
    refused(NB_FORMAT, "\"model.layers.1.self_attn.v_proj.weight\" is missing", &plain);
    make_model(llama, NB_DT_F32);
    rewrite(&(edit){.leave_out = "lm_head.weight"});
    refused(NB_FORMAT, "tie_word_embeddings", &plain);
    nb_st_entry e = {"model.layers.2.mlp.up_proj.weight", NB_DT_F32, 2, {40, 32}, v};
    make_model(llama, NB_DT_F32);
    rewrite(&(edit){.add = &e});
    refused(NB_FORMAT, "\"model.layers.2.mlp.up_proj.weight\" has no place", &plain);
    e = (nb_st_entry){"model.layers.0.self_attn.q_proj.bias", NB_DT_F32, 1, {32}, v};
    make_model(llama, NB_DT_F32);
    rewrite(&(edit){.add = &e});
    refused(NB_FORMAT, "q_proj.bias", &plain);
    make_model(llama, NB_DT_F32);
    e = (nb_st_entry){"model.norm.weight", NB_DT_F32, 1, {33}, v};
    rewrite(&(edit){.leave_out = "model.norm.weight", .add = &e});
    refused(NB_FORMAT, "has shape [33], config.json says [32]", &plain);
    make_model(llama, NB_DT_F32);
    e = (nb_st_entry){"model.norm.weight", NB_DT_I32, 1, {32}, v};
    rewrite(&(edit){.leave_out = "model.norm.weight", .add = &e});
    refused(NB_UNSUPPORTED, "has dtype I32", &plain);
    make_model(llama, NB_DT_BF16);
    rewrite(&(edit){.poison = "model.layers.0.mlp.gate_proj.weight"});
    refused(NB_NUMERIC, "\"model.layers.0.mlp.gate_proj.weight\" holds NaN", &four);
    refused(NB_NUMERIC, "element 5", &full);
    nb_model *m = open_ok(model_dir, &plain); /* shown by whatever uses it */
    nb_model_close(&m);
    make_model(llama, NB_DT_F32);
    rewrite(&(edit){.rename = "model.layers.0.mlp.up_proj.weight", .to = "x"});
    refused(NB_FORMAT, "is missing", &plain);
}

/* A second copy of a tied head is fine as long as it is one. */
static void tied_copies(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_safetensors *st = NULL;
    make_model(qwen3, NB_DT_F32);
    char *path = in_model("model.safetensors");
    NBT_OK(nb_safetensors_open(&st, path, &err));
    const nb_st_tensor *t = nb_safetensors_find(st, "model.embed_tokens.weight");
    nb_st_entry e = {"lm_head.weight", NB_DT_F32, 2, {50, 32}, t->data};
    rewrite(&(edit){.add = &e});
    nb_safetensors_close(&st);
    nb_model *m = open_ok(model_dir, &plain);
    nb_model_close(&m);
    rewrite(&(edit){.poison = "lm_head.weight"});
    refused(NB_FORMAT, "tie_word_embeddings", &plain);
    nbi_free(path);
}

/* Tensors at odd addresses: copied, with the same numbers; also rotary buffers are harmless. */
static void unaligned(void **state)
{
    (void)state;
    make_model(llama, NB_DT_F32);
    nb_model *a = open_ok(model_dir, &full), *q = open_ok(model_dir, &four);
    rewrite(&(edit){.unaligned = true});
    nb_model *b = open_ok(model_dir, &plain), *r = open_ok(model_dir, &four);
    for (size_t i = 0; i < a->n_sites; i++) {
        const nb_qtensor *x = &a->sites[i].linear->w, *y = &b->sites[i].linear->w;
        const nb_qtensor *xq = &q->sites[i].linear->w, *yq = &r->sites[i].linear->w;
        assert_int_equal((uintptr_t)y->data % 4, 0);
        assert_memory_equal(x->data, y->data, (size_t)(x->n * x->k) * 4);
        assert_memory_equal(xq->data, yq->data, nb_qtensor_data_bytes(xq));
    }
    assert_memory_equal(a->embed, b->embed, 6400);
    nb_model_close(&a);
    nb_model_close(&b);
    nb_model_close(&q);
    nb_model_close(&r);
}

/* What config.json says about quantisation and what the tensors are. */
static void contradictions(void **state)
{
    (void)state;
    static const char quant[] = ",\"quantization_config\":{\"quant_method\":\"bitsandbytes\","
                                "\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf4\"";
    char text[1200], *config = NULL;
    make_model(llama, NB_DT_F32);
    config = in_model("config.json");
    snprintf(text, sizeof text, "%.*s%s}}", (int)sizeof llama - 2, llama, quant);
    nbt_write_text(config, text);
    refused(NB_FORMAT, "is not quantised", &plain);
    snprintf(text, sizeof text, "%.*s%s,\"llm_int8_skip_modules\":[\"model.layers\",\"lm_head\"]}}",
             (int)sizeof llama - 2, llama, quant);
    nbt_write_text(config, text);
    refused(NB_FORMAT, "no tensor is", &plain);
    refused(NB_UNSUPPORTED, "cannot be trained", &full);
    nbi_free(config);
}

/* Every allocation of opening fails once. */
static void no_memory(void **state)
{
    (void)state;
    nb_error err = {0};
    make_model(qwen3, NB_DT_F32);
    const nb_model_load *hows[] = {&plain, &full, &four};
    for (int h = 0; h < 3; h++) {
        size_t before = nbt_in_use();
        bool done = false;
        for (uint64_t k = 1; !done; k++) {
            nb_model *m = NULL;
            assert_true(k < 5000);
            nbi_alloc_fail_at(k, false);
            nb_status s = nb_model_open(&m, model_dir, hows[h], NULL, &err);
            done = nbi_alloc_count() < k;
            nbi_alloc_fail_at(0, false);
            assert_true(done ? s == NB_OK : s == NB_NOMEM);
            nb_model_close(&m);
            assert_int_equal(nbt_in_use(), before);
        }
    }
}

static void hub(void **state)
{
    (void)state;
    nb_error err = {0};
    char *cache = nbt_join(dir, "hub"), *repo = nbt_join(cache, "models--org--name");
    char *snap = nbt_join(repo, "snapshots/abc123"), *refs = nbt_join(repo, "refs");
    char *main_ref = nbt_join(refs, "main"), *path = NULL;
    setenv("HF_HUB_CACHE", cache, 1);
    NBT_FAILS(NB_NOTFOUND, "cache", nb_hub_resolve("org/name", NULL, &path, &err));
    NBT_OK(nbi_make_dirs(snap, &err));
    NBT_OK(nbi_make_dirs(refs, &err));
    nbt_write_text(main_ref, "abc123\n");
    NBT_OK(nb_hub_resolve("org/name", NULL, &path, &err));
    assert_string_equal(path, snap);
    nbi_free(path);
    NBT_OK(nb_hub_resolve("org/name", "abc123", &path, &err));
    assert_string_equal(path, snap);
    nbi_free(path);
    NBT_OK(nb_hub_resolve(dir, NULL, &path, &err));
    assert_string_equal(path, dir);
    nbi_free(path);
    NBT_FAILS(NB_NOTFOUND, "revision", nb_hub_resolve("org/name", "v2", &path, &err));
    NBT_FAILS(NB_CONFIG, "revision", nb_hub_resolve("org/name", "../../x", &path, &err));
    NBT_FAILS(NB_NOTFOUND, "no such folder", nb_hub_resolve("../org", NULL, &path, &err));
    NBT_FAILS(NB_NOTFOUND, "no such folder", nb_hub_resolve("a/b/c", NULL, &path, &err));
    nbt_write_text(main_ref, "../../..");
    NBT_FAILS(NB_FORMAT, "commit", nb_hub_resolve("org/name", NULL, &path, &err));
    unsetenv("HF_HUB_CACHE");
    nbi_free(cache);
    nbi_free(repo);
    nbi_free(snap);
    nbi_free(refs);
    nbi_free(main_ref);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initialised),
        cmocka_unit_test(init_is_keyed),
        cmocka_unit_test(init_refusals),
        cmocka_unit_test(save_round_trip),
        cmocka_unit_test(quantised_on_load),
        cmocka_unit_test(broken_folders),
        cmocka_unit_test(tied_copies),
        cmocka_unit_test(unaligned),
        cmocka_unit_test(contradictions),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(hub),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
