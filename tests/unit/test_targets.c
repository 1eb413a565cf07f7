/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "adapter/pattern.h"
#include "adapter/targets.h"
#include "testutil.h"

#define LAYERS 3
static const char *const parts[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                    "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                    "mlp.down_proj"};

/* A model that has nothing but site names. */
static nb_model names_only(void)
{
    nb_model m = {.n_sites = LAYERS * 7 + 1};
    m.sites = calloc(m.n_sites, sizeof *m.sites);
    for (size_t i = 0; i < m.n_sites; i++) {
        char *name = malloc(80);
        if (i == LAYERS * 7)
            snprintf(name, 80, "lm_head");
        else
            snprintf(name, 80, "model.layers.%zu.%s", i / 7, parts[i % 7]);
        m.sites[i] = (nb_site){.name = name, .is_head = i == LAYERS * 7};
    }
    return m;
}

static void free_names(nb_model *m)
{
    for (size_t i = 0; i < m->n_sites; i++)
        free((char *)(uintptr_t)m->sites[i].name);
    free(m->sites);
}

static char *copy_of(const char *s)
{
    return nbi_strdup(NBI_MEM_OTHER, s);
}

static size_t found(const nb_lora_config *c, const char *first)
{
    nb_error err = {0};
    nb_site **sites;
    size_t n;
    nb_model m = names_only();
    NBT_OK(nb_targets_find(&m, c, false, &sites, &n, &err));
    if (first)
        assert_string_equal(sites[0]->name, first);
    for (size_t i = 1; i < n; i++)
        assert_true(sites[i] > sites[i - 1]);
    nbi_free(sites);
    free_names(&m);
    return n;
}

static void names(void **state)
{
    (void)state;
    size_t before = nbt_in_use();
    nb_lora_config c;
    nb_lora_config_default(&c);
    nbi_array_push(&c.targets, copy_of("q_proj"));
    assert_int_equal(found(&c, "model.layers.0.self_attn.q_proj"), LAYERS);
    nbi_array_push(&c.targets, copy_of("mlp.up_proj"));
    assert_int_equal(found(&c, NULL), 2 * LAYERS);
    nbi_array_push(&c.targets, copy_of("proj")); /* only after a dot */
    assert_int_equal(found(&c, NULL), 2 * LAYERS);
    nbi_array_push(&c.exclude, copy_of("1.self_attn.q_proj"));
    assert_int_equal(found(&c, NULL), 2 * LAYERS - 1);
    nbi_array_push(&c.targets, copy_of("lm_head"));
    assert_int_equal(found(&c, NULL), 2 * LAYERS);
    nb_lora_config_free(&c);
    c.all_linear = true;
    assert_int_equal(found(&c, NULL), 7 * LAYERS);
    c.exclude_regex = copy_of("model\\.layers\\.[01]\\..*");
    assert_int_equal(found(&c, "model.layers.2.self_attn.q_proj"), 7);
    nb_lora_config_free(&c);
    assert_int_equal(nbt_in_use(), before);
}

static void regular_expression(void **state)
{
    (void)state;
    nb_lora_config c;
    nb_lora_config_default(&c);
    c.targets_regex = copy_of(".*\\.(q|v)_proj");
    assert_int_equal(found(&c, NULL), 2 * LAYERS);
    nbi_free(c.targets_regex);
    /* the shorter branch comes first, but the whole path has to match */
    c.targets_regex = copy_of("model|model.layers.1.mlp.up_proj");
    assert_int_equal(found(&c, "model.layers.1.mlp.up_proj"), 1);
    nb_lora_config_free(&c);
}

static void layers(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_site **sites;
    size_t n;
    nb_model m = names_only();
    nb_lora_config c;
    nb_lora_config_default(&c);
    nbi_array_push(&c.targets, copy_of("q_proj"));
    nbi_array_push(&c.layers, 2);
    assert_int_equal(found(&c, "model.layers.2.self_attn.q_proj"), 1);
    nbi_array_push(&c.layers_pattern, copy_of("layers"));
    assert_int_equal(found(&c, "model.layers.2.self_attn.q_proj"), 1);
    /* a whole path is taken whatever the layers are */
    nbi_array_push(&c.targets, copy_of("model.layers.0.mlp.up_proj"));
    assert_int_equal(found(&c, "model.layers.0.mlp.up_proj"), 2);
    nbi_free(c.layers_pattern.v[0]);
    c.layers_pattern.v[0] = copy_of("h");
    assert_int_equal(found(&c, "model.layers.0.mlp.up_proj"), 1);
    c.targets_regex = copy_of(".*");
    NBT_FAILS(NB_CONFIG, "list of names", nb_targets_find(&m, &c, false, &sites, &n, &err));
    nb_lora_config_free(&c);
    free_names(&m);
}

static void nothing_matches(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_site **sites;
    size_t n;
    nb_model m = names_only();
    nb_lora_config c;
    nb_lora_config_default(&c);
    nbi_array_push(&c.targets, copy_of("query_key_value"));
    NBT_FAILS(NB_CONFIG, "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, lm_head",
              nb_targets_find(&m, &c, false, &sites, &n, &err));
    nbi_array_push(&c.targets, copy_of("q_proj"));
    NBT_OK(nb_targets_find(&m, &c, false, &sites, &n, &err));
    nbi_free(sites);
    NBT_FAILS(NB_CONFIG, "query_key_value", nb_targets_find(&m, &c, true, &sites, &n, &err));
    nb_lora_config_free(&c);
    c.targets_regex = copy_of("(q_proj");
    NBT_FAILS(NB_CONFIG, "no regular expression", nb_targets_find(&m, &c, false, &sites, &n, &err));
    nbi_free(c.targets_regex);
    /* exponential in a backtracking matcher: stopped, not waited for */
    c.targets_regex = copy_of("(([a-z0-9_.]+)+)+[A-Z]");
    NBT_FAILS(NB_CONFIG, "fails on", nb_targets_find(&m, &c, false, &sites, &n, &err));
    nb_lora_config_free(&c);
    free_names(&m);
}

static void expect_rank(const nb_lora_config *c, const char *module, int64_t rank, double scale)
{
    nb_error err = {0};
    int64_t r;
    double s;
    NBT_OK(nb_targets_rank(c, module, &r, &s, &err));
    assert_int_equal(r, rank);
    assert_true(fabs(s - scale) < 1e-15);
}

static void ranks(void **state)
{
    (void)state;
    nb_error err = {0};
    int64_t r;
    double s;
    nb_lora_config c;
    nb_lora_config_default(&c);
    c.r = 8;
    c.alpha = 16;
    expect_rank(&c, "model.layers.0.self_attn.q_proj", 8, 2);
    c.rslora = true;
    expect_rank(&c, "model.layers.0.self_attn.q_proj", 8, 16 / sqrt(8));
    c.rslora = false;
    nb_pattern p[] = {{copy_of("layers.1.self_attn.v_proj"), 2}, {copy_of("q_proj|v_proj"), 4}};
    nbi_array_push(&c.rank_pattern, p[0]);
    nbi_array_push(&c.rank_pattern, p[1]);
    nbi_array_push(&c.alpha_pattern, ((nb_pattern){copy_of("up_proj"), 24}));
    expect_rank(&c, "model.layers.1.self_attn.v_proj", 2, 8);
    expect_rank(&c, "model.layers.2.self_attn.v_proj", 4, 4);
    expect_rank(&c, "model.layers.2.mlp.up_proj", 8, 3);
    expect_rank(&c, "model.layers.2.mlp.xup_proj", 8, 2);
    c.rank_pattern.v[1].value = 2.5;
    NBT_FAILS(NB_CONFIG, "whole number",
              nb_targets_rank(&c, "model.layers.2.self_attn.q_proj", &r, &s, &err));
    nb_lora_config_free(&c);
}

static void copies(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_lora_config c, d;
    nb_lora_config_default(&c);
    nbi_array_push(&c.targets, copy_of("q_proj"));
    nbi_array_push(&c.layers, 1);
    nbi_array_push(&c.rank_pattern, ((nb_pattern){copy_of("x"), 2}));
    c.base_model = copy_of("somewhere");
    size_t before = nbt_in_use();
    for (uint64_t k = 1;; k++) {
        nbi_alloc_fail_at(k, false);
        nb_status st = nb_lora_config_copy(&d, &c, &err);
        nbi_alloc_fail_at(0, false);
        if (st == NB_OK)
            break;
        assert_int_equal(st, NB_NOMEM);
        assert_int_equal(nbt_in_use(), before);
    }
    assert_string_equal(d.targets.v[0], "q_proj");
    assert_string_equal(d.base_model, "somewhere");
    assert_true(d.rank_pattern.v[0].value == 2);
    nb_lora_config_free(&c);
    nb_lora_config_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),  cmocka_unit_test(regular_expression),
        cmocka_unit_test(layers), cmocka_unit_test(nothing_matches),
        cmocka_unit_test(ranks),  cmocka_unit_test(copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
