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
    double recomputed;     /* with all layers computed again but for their last product */
    double kept, inputs;   /* MiB of activations a token: all that backward needs; layers' inputs */
} shape;

/* From the shapes: 4.12695 bits a weight; 16 bits in embedding and head; rank 16 on all linears. */
static const shape shapes[] = {
    {"7b.json", LLAMA(4096, 32, 32, 32, 11008), 6738415616, 39976960, 3.11, 0.49, 28.5, 39.2, 2.85,
     0.250},
    {"13b.json", LLAMA(5120, 40, 40, 40, 13824), 13015864320, 62586880, 6.10, 0.61, 54.7, 75.4,
     4.46, 0.391},
    {"70b.json", LLAMA(8192, 80, 64, 8, 28672), 68976648192, 207093760, 32.89, 0.98, 286, 388,
     14.08, 1.250},
    {"8x7b.json",
     "\"model_type\": \"mixtral\", \"vocab_size\": 32000, \"hidden_size\": 4096, "
     "\"num_hidden_layers\": 32, \"num_attention_heads\": 32, \"num_key_value_heads\": 8, "
     "\"intermediate_size\": 14336, \"num_local_experts\": 8, \"num_experts_per_tok\": 2",
     46702792704, 240123904, 22.31, 0.49, 53.3, 71.7, 5.13, 0.250},
};

static const nb_optim_config no_options;

static nbi_plan_spec usual(const nb_model_config *c, const nb_lora_config *lora)
{
    return (nbi_plan_spec){
        .config = c,
        .method = NB_METHOD_QLORA,
        .quant = {.load_in_4bit = true, .kind = NB_QK_NF4, .double_quant = true},
        .lora = lora,
        .optim = "adamw_torch",
        .compute = NB_COMPUTE_BF16,
        .optim_config = &no_options,
        .threads = 2,
        .checkpointing = -1,
        .max_rows = 2048,
        .limit = UINT64_MAX,
    };
}

/* A published shape with the usual run. */
typedef struct planning {
    char *dir, *path;
    nb_lora_config lora;
    nb_model_config c;
    bool can_train;
    nbi_plan_spec spec;
} planning;

static void begin(planning *p, const shape *s)
{
    nb_error err = {0};
    p->dir = nbt_tmpdir();
    p->path = write_shape(p->dir, "c.json", s->sizes);
    nb_lora_config_default(&p->lora);
    p->lora.all_linear = true;
    NBT_OK(nb_config_read_planned(&p->c, p->path, &p->can_train, &err));
    p->spec = usual(&p->c, &p->lora);
}

static void end(planning *p)
{
    nb_lora_config_free(&p->lora);
    nb_config_free(&p->c);
    nbi_free(p->path);
    nbt_tmpdir_remove(p->dir);
}

static nbi_memory_plan plan_of(const planning *p)
{
    nb_error err = {0};
    nbi_memory_plan m;
    NBT_OK(nbi_memory_plan_make(&m, &p->spec, &err));
    return m;
}

/* 2048 tokens at 10^9 operations a second. */
static nbi_time_plan time_of(const planning *p, const nbi_memory_plan *m, double disk)
{
    nbi_time_plan t;
    nbi_workload w = {
        .run = {1, 2048, 2048, 2048.0 * 2048}, .steps = 1, .micro_batches = 1, .eval_passes = 1};
    nbi_rates r = {.products = 1e9, .attention = 1e9, .memory = 1e9, .kernel = "", .disk = disk};
    nbi_time_plan_make(&t, m, &p->c, p->spec.method == NB_METHOD_FULL, &w, &r);
    return t;
}

/* Weights leave memory only when nothing else helps, and only when they lie in a file. */
static void streaming(void **state)
{
    (void)state;
    planning p;
    begin(&p, &shapes[0]);
    p.spec.cached = true;
    p.spec.limit = 1; /* nothing fits: the least that keeps the weights in memory */
    nbi_memory_plan least = plan_of(&p);
    assert_false(least.stream);
    p.spec.limit = least.peak;
    nbi_memory_plan m = plan_of(&p);
    assert_true(!m.stream && m.peak <= p.spec.limit);
    assert_true(m.read_forward == 0 && time_of(&p, &m, 1e9).reading == 0);
    nbi_memory_plan_free(&m);
    p.spec.limit = least.peak - 1;
    m = plan_of(&p);
    assert_true(m.stream && m.peak <= p.spec.limit);
    /* of 32 layers one stays */
    assert_true(m.tag[NBI_MEM_WEIGHTS] + m.tag[NBI_MEM_SCALES] <
                (least.tag[NBI_MEM_WEIGHTS] + least.tag[NBI_MEM_SCALES]) / 4);
    /* all layers twice and the head once, beside the products */
    const nb_sketch_bytes *b = &m.weights;
    double read = 2 * (double)(b->linears + b->stats) + (double)b->head;
    nbi_time_plan fast = time_of(&p, &m, read), slow = time_of(&p, &m, read * 1e-6);
    nbt_within("reading", fabs(fast.reading - 1), 1e-9);
    nbt_within("reading slowly", fabs(slow.reading - 1e6), 1e-3);
    assert_true(fast.step == fast.in_memory && fast.in_memory > 1);
    assert_true(slow.step == slow.reading && slow.in_memory == fast.in_memory);
    nbi_memory_plan_free(&m);
    p.spec.cached = false;
    m = plan_of(&p);
    assert_false(m.stream);
    nbi_memory_plan_free(&m);
    nbi_memory_plan_free(&least);
    end(&p);
}

/* Against the figures that were worked out from these shapes by hand. The residual stream is in f32
 * here and in 16 bits there: 2 bytes a number more, for the inputs of both halves of a layer. */
static void one_shape(const shape *s)
{
    planning p;
    begin(&p, s);
    assert_true(p.can_train == (strstr(s->sizes, "mixtral") == NULL));
    nbi_memory_plan m = plan_of(&p);
    const nb_sketch_bytes *b = &m.weights;
    const double residual = 4.0 * (double)(p.c.hidden * p.c.layers) * 0x1p-20;
    double tokens = (double)p.spec.max_rows * 0x1p20;
    assert_true(m.parameters == s->parameters);
    assert_true(m.trained == s->trained);
    nbt_within(s->name, fabs((double)(b->linears + b->stats) * 0x1p-30 - s->four_bit), 0.01);
    nbt_within(s->name, fabs((double)(b->embed + b->head) * 0x1p-30 - s->rest), 0.006);
    assert_true(m.tag[NBI_MEM_OPTIMIZER] >= 8 * (uint64_t)m.trained);
    assert_true(m.tag[NBI_MEM_OPTIMIZER] < 9 * (uint64_t)m.trained);
    double kept = (double)m.tag[NBI_MEM_ACTIVATIONS] / tokens - residual;
    nbt_within(s->name, fabs(kept - s->kept), 0.015 * s->kept);
    nbt_within(s->name, fabs(time_of(&p, &m, 0).useful / 2048 * 1e-9 - s->useful),
               0.006 * s->useful);
    nbi_memory_plan_free(&m);
    p.spec.checkpointing = 1;
    m = plan_of(&p);
    /* the inputs of all layers in f32; of one layer the rest, of which the middle is in f32; the
     * last layer's output and its norm; the low-rank rows of seven sites in each layer */
    double layers = (double)p.c.layers, d = (double)p.c.hidden;
    double expected = s->kept / layers + (6 * d + 4 * 16 * 7 * layers) * 0x1p-20;
    double again = (double)m.tag[NBI_MEM_ACTIVATIONS] / tokens - 2 * s->inputs;
    nbt_within(s->name, fabs(again - expected), 0.1 * expected);
    nbi_time_plan t = time_of(&p, &m, 0);
    nbt_within(s->name, fabs((t.useful + t.again) / 2048 * 1e-9 - s->recomputed),
               0.012 * s->recomputed);
    nbi_memory_plan_free(&m);
    end(&p);
}

static void published_shapes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        one_shape(&shapes[i]);
}

/* Sizes in 10^9 bytes of a method, without the embedding where only its rows are read. */
static void one_column(planning *p, nb_method method, double weights, double gradients,
                       double optimizer)
{
    p->spec.method = method;
    p->spec.quant.load_in_4bit = method == NB_METHOD_QLORA;
    nbi_memory_plan m = plan_of(p);
    const uint64_t *tag = m.tag;
    double held = (double)(tag[NBI_MEM_WEIGHTS] + tag[NBI_MEM_SCALES]);
    nbt_within("weights", fabs(held * 1e-9 - weights), 0.05 * weights);
    nbt_within("gradients", fabs((double)tag[NBI_MEM_GRADIENTS] * 1e-9 - gradients),
               0.05 * gradients + 0.005);
    nbt_within("optimizer", fabs((double)tag[NBI_MEM_OPTIMIZER] * 1e-9 - optimizer),
               0.05 * optimizer + 0.005);
    nbi_memory_plan_free(&m);
}

/* What tutorials print for 7B: 16 bytes a parameter of full fine-tuning before activations (4 of
 * each here), 14 GB of 16-bit weights, 3.5 GB of 4-bit ones; trained parameters of both usual sets
 * of targets. */
static void tutorial_columns(void **state)
{
    (void)state;
    planning p;
    begin(&p, &shapes[0]);
    const double n = (double)shapes[0].parameters * 1e-9, r16 = (double)shapes[0].trained * 1e-9;
    one_column(&p, NB_METHOD_FULL, 4 * n, 4 * n, 8 * n);
    one_column(&p, NB_METHOD_LORA, 13.5, 4 * r16, 8 * r16);
    one_column(&p, NB_METHOD_QLORA, 3.5, 4 * r16, 8 * r16);
    nb_lora_config few;
    nb_lora_config_default(&few);
    few.r = 8;
    assert_true(nbi_array_push(&few.targets, nbi_strdup(NBI_MEM_OTHER, "q_proj")));
    assert_true(nbi_array_push(&few.targets, nbi_strdup(NBI_MEM_OTHER, "v_proj")));
    p.spec.lora = &few;
    nbi_memory_plan m = plan_of(&p);
    assert_int_equal(m.trained, 4194304);
    assert_int_equal(m.parameters + m.trained, 6742609920);
    nbi_memory_plan_free(&m);
    nb_lora_config_free(&few);
    end(&p);
}

/* A tighter limit never costs less work and never takes more memory; `true` recomputes all. */
static void what_is_computed_again(void **state)
{
    (void)state;
    planning p;
    begin(&p, &shapes[0]);
    nbi_memory_plan all = plan_of(&p), m;
    assert_int_equal(all.mode[NB_KEEP], 32);
    p.spec.checkpointing = 1;
    nbi_memory_plan least = plan_of(&p);
    assert_int_equal(least.mode[NB_RECOMPUTE], 32);
    assert_true(least.peak <= all.peak);
    p.spec.checkpointing = -1;
    double before = 0;
    for (int i = 0; i <= 8; i++) {
        p.spec.limit = all.peak - (all.peak - least.peak) / 8 * (uint64_t)i;
        m = plan_of(&p);
        double again = 0;
        for (int k = 0; k <= NB_RECOMPUTE; k++)
            again += (double)m.redone[k] * m.layer_again[k];
        assert_true(m.peak <= p.spec.limit);
        assert_true(again >= before);
        before = again;
        nbi_memory_plan_free(&m);
    }
    p.spec.checkpointing = 0;
    p.spec.limit = 1;
    m = plan_of(&p);
    assert_int_equal(m.mode[NB_KEEP], 32);
    assert_true(m.peak == all.peak);
    nbi_memory_plan_free(&m);
    nbi_memory_plan_free(&all);
    nbi_memory_plan_free(&least);
    end(&p);
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

static char *report(const nbt_setting *s, nb_plan_form form)
{
    nb_error err = {0};
    char *text = NULL;
    nb_recipe *r = nbt_recipe(s);
    NBT_OK(nb_plan_recipe(r, form, NULL, &text, NULL, &err));
    nb_recipe_free(&r);
    return text;
}

static void says(const nbt_setting *s, nb_plan_form form, const char *words)
{
    char *text = report(s, form);
    if (!strstr(text, words))
        print_error("\"%s\" is not in\n%s", words, text);
    assert_non_null(strstr(text, words));
    nb_free(text);
}

/* The words for what a reader wants to know; columns are compared whatever the limit is. */
static void reports(void **state)
{
    world *w = *state;
    char *path = write_shape(w->dir, "compare.json", shapes[1].sizes);
    char *tiny = place(w, "config.json");
    nbt_setting compared[] = {{"model", path}, {"memory_limit", "8GiB"}, {NULL, NULL}};
    says(compared, NB_PLAN_COMPARE, " 23.94 ");
    says(compared, NB_PLAN_COMPARE, "bytes a parameter              16.00      2.05      0.61");
    nbt_setting open_end[] = {{"model", tiny}, {"time_budget", "1h"}, {NULL, NULL}};
    says(open_end, NB_PLAN_TABLE, "enough for about ");
    says(open_end, NB_PLAN_JSON, "\"time_budget_steps\"");
    nbt_setting counted[] = {
        {"model", tiny}, {"time_budget", "30s"}, {"max_steps", "1000000000"}, {NULL, NULL}};
    says(counted, NB_PLAN_TABLE, "max_steps: ");
    nbi_free(path);
    nbi_free(tiny);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streaming),           cmocka_unit_test(published_shapes),
        cmocka_unit_test(tutorial_columns),    cmocka_unit_test(what_is_computed_again),
        cmocka_unit_test(sketch_is_the_model), cmocka_unit_test(refusals),
        cmocka_unit_test(proposals_fit),       cmocka_unit_test(reports),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
