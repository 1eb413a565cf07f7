/* SPDX-License-Identifier: MIT */
/* Plans of published models against the figures that follow from their shapes, the choice of what
 * is computed again, and sketches against models that are loaded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "train_util.h"
#include "e2e/tiny_world.h"
#include "train/plan.h"

/* Everything but the sizes of a config.json. */
static char *write_shape(const char *dir, const char *name, const char *sizes)
{
    char *path = nbt_join(dir, name);
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b,
                      "{\"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-5, \"rope_theta\": 10000.0, "
                      "\"max_position_embeddings\": 4096, \"tie_word_embeddings\": false, "
                      "\"torch_dtype\": \"bfloat16\", %s}",
                      sizes);
    nbt_write_text(path, b.s);
    nbi_strbuf_free(&b);
    return path;
}

#define LLAMA(d, l, h, kv, f)                                                                      \
    "\"model_type\": \"llama\", \"vocab_size\": 32000, \"hidden_size\": " #d                       \
    ", \"num_hidden_layers\": " #l ", \"num_attention_heads\": " #h                                \
    ", \"num_key_value_heads\": " #kv ", \"intermediate_size\": " #f

typedef struct shape {
    const char *name, *sizes;
    int64_t parameters, trained;
    double four_bit, rest; /* GiB: linear weights of the blocks in NF4 with double quantisation;
                            * embedding and head */
    double useful;         /* 10^9 operations a token at 2048 */
} shape;

/* From the shapes: 4.12695 bits a weight; 16 bits in embedding and head; rank 16 on all linears. */
static const shape shapes[] = {
    {"7b.json", LLAMA(4096, 32, 32, 32, 11008), 6738415616, 39976960, 3.11, 0.49, 28.5},
    {"13b.json", LLAMA(5120, 40, 40, 40, 13824), 13015864320, 62586880, 6.10, 0.61, 54.7},
    {"70b.json", LLAMA(8192, 80, 64, 8, 28672), 68976648192, 207093760, 32.89, 0.98, 286},
    {"8x7b.json",
     "\"model_type\": \"mixtral\", \"vocab_size\": 32000, \"hidden_size\": 4096, "
     "\"num_hidden_layers\": 32, \"num_attention_heads\": 32, \"num_key_value_heads\": 8, "
     "\"intermediate_size\": 14336, \"num_local_experts\": 8, \"num_experts_per_tok\": 2",
     46702792704, 240123904, 22.31, 0.49, 53.3},
};

static nbi_plan_spec usual(const nb_model_config *c, const nb_lora_config *lora)
{
    return (nbi_plan_spec){
        .config = c,
        .method = NB_METHOD_QLORA,
        .quant = {.load_in_4bit = true, .kind = NB_QK_NF4, .double_quant = true},
        .lora = lora,
        .optim = "adamw_torch",
        .threads = 2,
        .checkpointing = -1,
        .max_rows = 2048,
        .limit = UINT64_MAX,
    };
}

/* Weights leave memory only when nothing else helps, and only when they lie in a file. */
static void streaming(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_lora_config lora;
    nb_model_config c;
    bool can_train;
    char *dir = nbt_tmpdir(), *path = write_shape(dir, "c.json", shapes[0].sizes);
    nb_lora_config_default(&lora);
    lora.all_linear = true;
    NBT_OK(nb_config_read_planned(&c, path, &can_train, &err));
    nbi_plan_spec spec = usual(&c, &lora);
    nbi_memory_plan least, m;
    spec.cached = true;
    spec.limit = 1; /* nothing fits: the least that keeps the weights in memory */
    NBT_OK(nbi_memory_plan_make(&least, &spec, &err));
    assert_false(least.stream);
    spec.limit = least.peak;
    NBT_OK(nbi_memory_plan_make(&m, &spec, &err));
    assert_true(!m.stream && m.peak <= spec.limit);
    nbi_memory_plan_free(&m);
    spec.limit = least.peak - 1;
    NBT_OK(nbi_memory_plan_make(&m, &spec, &err));
    assert_true(m.stream && m.peak <= spec.limit);
    /* of 32 layers one stays */
    assert_true(m.tag[NBI_MEM_WEIGHTS] + m.tag[NBI_MEM_SCALES] <
                (least.tag[NBI_MEM_WEIGHTS] + least.tag[NBI_MEM_SCALES]) / 4);
    nbi_memory_plan_free(&m);
    spec.cached = false;
    NBT_OK(nbi_memory_plan_make(&m, &spec, &err));
    assert_false(m.stream);
    nbi_memory_plan_free(&m);
    nbi_memory_plan_free(&least);
    nb_lora_config_free(&lora);
    nb_config_free(&c);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void published_shapes(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_lora_config lora;
    char *dir = nbt_tmpdir();
    nb_lora_config_default(&lora);
    lora.all_linear = true;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        nb_model_config c;
        nbi_memory_plan m;
        bool can_train;
        char *path = write_shape(dir, s->name, s->sizes);
        NBT_OK(nb_config_read_planned(&c, path, &can_train, &err));
        assert_true(can_train == (strstr(s->sizes, "mixtral") == NULL));
        nbi_plan_spec spec = usual(&c, &lora);
        NBT_OK(nbi_memory_plan_make(&m, &spec, &err));
        const nb_sketch_bytes *b = &m.weights;
        assert_true(m.parameters == s->parameters);
        assert_true(m.trained == s->trained);
        nbt_within(s->name, fabs((double)(b->linears + b->stats) * 0x1p-30 - s->four_bit), 0.01);
        nbt_within(s->name, fabs((double)(b->embed + b->head) * 0x1p-30 - s->rest), 0.006);
        assert_true(m.tag[NBI_MEM_OPTIMIZER] >= 8 * (uint64_t)m.trained);
        assert_true(m.tag[NBI_MEM_OPTIMIZER] < 9 * (uint64_t)m.trained);
        nbi_time_plan t;
        nbi_workload w = {.run = {1, 2048, 2048, 2048.0 * 2048}, .steps = 1};
        nbi_rates r = {1e9, 1e9, 1e9, ""};
        nbi_time_plan_make(&t, &m, &c, false, &w, &r);
        nbt_within(s->name, fabs(t.useful / 2048 * 1e-9 - s->useful), 0.006 * s->useful);
        nbi_memory_plan_free(&m);
        nb_config_free(&c);
        nbi_free(path);
    }
    nb_lora_config_free(&lora);
    nbt_tmpdir_remove(dir);
}

/* A tighter limit never costs less work and never takes more memory; `true` recomputes all. */
static void what_is_computed_again(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_lora_config lora;
    nb_model_config c;
    bool can_train;
    char *dir = nbt_tmpdir(), *path = write_shape(dir, "c.json", shapes[0].sizes);
    nb_lora_config_default(&lora);
    lora.all_linear = true;
    NBT_OK(nb_config_read_planned(&c, path, &can_train, &err));
    nbi_plan_spec spec = usual(&c, &lora);
    nbi_memory_plan all, m, least;
    NBT_OK(nbi_memory_plan_make(&all, &spec, &err));
    assert_int_equal(all.mode[NB_KEEP], 32);
    spec.checkpointing = 1;
    NBT_OK(nbi_memory_plan_make(&least, &spec, &err));
    assert_int_equal(least.mode[NB_RECOMPUTE], 32);
    assert_true(least.peak <= all.peak);
    spec.checkpointing = -1;
    double before = 0;
    for (int i = 0; i <= 8; i++) {
        spec.limit = all.peak - (all.peak - least.peak) / 8 * (uint64_t)i;
        NBT_OK(nbi_memory_plan_make(&m, &spec, &err));
        double again = 0;
        for (int k = 0; k <= NB_RECOMPUTE; k++)
            again += (double)m.redone[k] * m.layer_again[k];
        assert_true(m.peak <= spec.limit);
        assert_true(again >= before);
        before = again;
        nbi_memory_plan_free(&m);
    }
    spec.checkpointing = 0;
    spec.limit = 1;
    NBT_OK(nbi_memory_plan_make(&m, &spec, &err));
    assert_int_equal(m.mode[NB_KEEP], 32);
    assert_true(m.peak == all.peak);
    nbi_memory_plan_free(&m);
    nbi_memory_plan_free(&all);
    nbi_memory_plan_free(&least);
    nb_config_free(&c);
    nb_lora_config_free(&lora);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void sketch_is_the_model(void **state)
{
    world *w = *state;
    nb_error err = {0};
    for (int form = 0; form < 3; form++) {
        nb_model_load how = {.threads = 1, .trainable = form == 2};
        how.quant =
            (nb_quant_config){.load_in_4bit = form == 1, .kind = NB_QK_NF4, .double_quant = true};
        nb_model *m, *s;
        nb_model_config c;
        nb_sketch_bytes b;
        nb_adapter *am = NULL, *as = NULL;
        nb_lora_config lora;
        size_t weights = nbi_mem_current(NBI_MEM_WEIGHTS), scales = nbi_mem_current(NBI_MEM_SCALES);
        NBT_OK(nb_config_read(&c, w->model, &err));
        NBT_OK(nb_model_open(&m, w->model, &how, NULL, &err));
        weights = nbi_mem_current(NBI_MEM_WEIGHTS) - weights;
        scales = nbi_mem_current(NBI_MEM_SCALES) - scales;
        NBT_OK(nb_model_sketch(&s, &c, w->model, &how, &b, &err));
        nb_lora_config_default(&lora);
        lora.all_linear = true;
        lora.dropout = 0.1;
        if (form < 2) {
            NBT_OK(nb_adapter_new_lora(&am, m, &lora, 1, true, &err));
            NBT_OK(nb_adapter_sketch(&as, s, &lora, true, &err));
            assert_int_equal(am->n_parameters, as->n_parameters);
            assert_int_equal(am->scratch_bytes, as->scratch_bytes);
        }
        assert_int_equal(m->n_sites, s->n_sites);
        for (size_t i = 0; i < m->n_sites; i++)
            assert_string_equal(m->sites[i].name, s->sites[i].name);
        /* allocated, with a head of at most a page for each block of memory */
        double blocks = 96.0 * 2 * 30;
        nbt_within("weights",
                   fabs((double)(b.linears + b.params + b.vectors + b.embed + b.head) -
                        (double)(b.mapped + weights)),
                   blocks);
        /* codes of absmax share one book, the formula counts one each */
        nbt_within("scales", fabs((double)b.stats - (double)scales), blocks + 15 * 1024);
        size_t act[2], scratch[2];
        nb_pass_plan pass = {.max_rows = 37, .training = true};
        assert_true(nb_workspace_size(m, &pass, &act[0], &scratch[0]));
        assert_true(nb_workspace_size(s, &pass, &act[1], &scratch[1]));
        assert_true(act[0] == act[1] && scratch[0] == scratch[1]);
        nb_adapter_close(&am);
        nb_adapter_close(&as);
        nb_lora_config_free(&lora);
        nb_model_close(&m);
        nb_model_close(&s);
        nb_config_free(&c);
    }
}

static nb_status refuse(const world *w, const char *limit, nb_error *err)
{
    nbt_setting s[] = {{"memory_limit", limit}, {NULL, NULL}};
    char *out = place(w, "refused");
    nb_status st = train(w, out, s, NULL, NULL, err);
    assert_false(nbi_path_exists(out));
    nbi_free(out);
    return st;
}

static void refusals(void **state)
{
    world *w = *state;
    nb_error err = {0};
    size_t before = nbt_in_use();
    NBT_FAILS(NB_CONFIG, "memory_limit: \"much\" is no size", refuse(w, "much", &err));
    NBT_FAILS(NB_LIMIT, "but memory_limit is 1.0 MiB", refuse(w, "1MiB", &err));
    assert_non_null(strstr(err.message, "no setting makes it fit"));
    assert_int_equal(nbt_in_use(), before);
}

/* A run over its limit is told settings, and these do fit. */
static void proposals_fit(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_proposal v[NBI_MAX_PROPOSALS];
    nbt_setting none[] = {{NULL, NULL}};
    nb_recipe *r = recipe(w, "x", none);
    NBT_OK(nb_recipe_finish(r, NULL, &err));
    char *path = write_shape(w->dir, "plan.json", shapes[0].sizes);
    nbi_plan p = {.r = r};
    NBT_OK(nb_config_read_planned(&p.config, path, &p.can_train, &err));
    p.has_config = true;
    NBT_OK(nbi_plan_make(&p, NULL, 1, &err));
    p.spec.checkpointing = 0;
    p.limit = p.spec.limit = (uint64_t)16 << 30;
    nbi_memory_plan_free(&p.memory);
    NBT_OK(nbi_memory_plan_make(&p.memory, &p.spec, &err));
    assert_false(nbi_plan_fits(&p));
    size_t n = nbi_plan_fit_memory(&p, v);
    assert_true(n > 0);
    for (size_t i = 0; i < n; i++)
        assert_true(v[i].peak <= p.limit && v[i].text[0]);
    NBT_FAILS(NB_LIMIT, v[0].text, nbi_plan_check(&p, &err));
    nbi_plan_free(&p);
    nbi_free(path);
    nb_recipe_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streaming),
        cmocka_unit_test(published_shapes),
        cmocka_unit_test(what_is_computed_again),
        cmocka_unit_test(sketch_is_the_model),
        cmocka_unit_test(refusals),
        cmocka_unit_test(proposals_fit),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
