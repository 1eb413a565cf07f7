/* SPDX-License-Identifier: MIT */
/* Logits, hidden states, loss, gradients and greedy tokens of every architecture that is supported,
 * from both spellings of the configuration. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "oracle/oracle_util.h"

/* About ten times what an f32 run of the reference stack shows (README of the data). */
#define LOSS_TOLERANCE 1e-5
#define LOGITS_TOLERANCE 1e-4
#define HIDDEN_TOLERANCE 3e-4
#define GRAD_TOLERANCE 5e-5

/* The padded batch of the data as a ragged one; row i of the stream is row at[i] of [B*T]. */
typedef struct ragged {
    nb_batch b;
    int32_t *ids, *targets, *positions;
    int64_t *starts, *at;
    int64_t padded; /* B * T */
} ragged;

static ragged read_batch(const char *dir)
{
    ragged r = {0};
    int64_t n = 0;
    nb_safetensors *st = oracle_open(dir, "batch.safetensors");
    assert_non_null(st);
    const nb_st_tensor *shape = nb_safetensors_find(st, "input_ids");
    int64_t rows = shape->shape[0], len = shape->shape[1];
    int32_t *ids = oracle_ids(st, "input_ids", &n), *labels = oracle_ids(st, "labels", &n);
    int32_t *mask = oracle_ids(st, "attention_mask", &n);
    r.padded = n;
    r.ids = calloc((size_t)n, sizeof *r.ids);
    r.targets = calloc((size_t)n, sizeof *r.targets);
    r.positions = calloc((size_t)n, sizeof *r.positions);
    r.at = calloc((size_t)n, sizeof *r.at);
    r.starts = calloc((size_t)rows + 1, sizeof *r.starts);
    int64_t m = 0;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t t = 0; t < len; t++) {
            int64_t k = i * len + t;
            if (!mask[k])
                continue;
            bool next = t + 1 < len && mask[k + 1];
            r.ids[m] = ids[k];
            r.positions[m] = (int32_t)t;
            r.targets[m] = next ? labels[k + 1] : NB_IGNORE_INDEX;
            r.b.n_targets += r.targets[m] != NB_IGNORE_INDEX;
            r.at[m++] = k;
        }
        r.starts[i + 1] = m;
    }
    r.b.m = m;
    r.b.ids = r.ids;
    r.b.targets = r.targets;
    r.b.positions = r.positions;
    r.b.n_segments = rows;
    r.b.starts = r.starts;
    free(ids), free(labels), free(mask);
    nb_safetensors_close(&st);
    return r;
}

static void free_batch(ragged *r)
{
    free(r->ids), free(r->targets), free(r->positions), free(r->starts), free(r->at);
}

/* Largest deviation of rows[m, width] from the tensor's rows of real tokens; -1: no such tensor. */
static double worst_rows(const nb_safetensors *st, const char *name, const ragged *r,
                         const float *rows, int64_t width)
{
    int64_t n = 0;
    double worst = 0.0;
    float *want = oracle_f32(st, name, &n);
    if (!want)
        return -1.0;
    assert_int_equal(n, r->padded * width);
    for (int64_t i = 0; i < r->b.m; i++) {
        double d = nbt_max_abs_f32(rows + i * width, want + r->at[i] * width, (size_t)width);
        worst = oracle_worse(worst, d);
    }
    free(want);
    return worst;
}

static void compare_forward(oracle_line *l, nb_model *m, nb_workspace *ws, const ragged *r,
                            const nb_safetensors *st)
{
    int64_t v = m->config.vocab, d = m->config.hidden;
    double hidden = 0.0;
    float *logits = malloc((size_t)(r->b.m * v) * sizeof *logits);
    nb_model_forward(m, ws, &r->b, NULL, true);
    nb_model_logits(m, ws, 0, r->b.m, logits);
    oracle_figure(l, "logits", worst_rows(st, "logits", r, logits, v), LOGITS_TOLERANCE);
    for (int64_t i = 0; i <= m->config.layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "hidden.%lld", (long long)i);
        double w = worst_rows(st, name, r, nb_workspace_hidden(ws, i), d);
        hidden = oracle_worse(hidden, w);
    }
    double final = worst_rows(st, "final_norm", r, nb_workspace_final(ws, NULL), d);
    oracle_figure(l, "hidden", hidden, HIDDEN_TOLERANCE);
    oracle_figure(l, "final norm", final, HIDDEN_TOLERANCE);
    free(logits);
}

static void compare_gradients(oracle_line *l, nb_model *m, nb_workspace *ws, const ragged *r,
                              const char *dir, const nbi_json *expected)
{
    double worst = 0.0, square = 0.0;
    int64_t found = 0;
    nb_safetensors *st = oracle_open(dir, "grads.safetensors");
    nb_loss loss = nb_model_loss(m, ws, &r->b, 1.0 / (double)r->b.n_targets, true, NULL);
    nb_model_backward(m, ws, &r->b);
    oracle_figure(l, "loss",
                  fabs(loss.sum / (double)loss.tokens - oracle_number(expected, "loss", NAN)),
                  LOSS_TOLERANCE);
    oracle_count(l, "label tokens", loss.tokens,
                 (int64_t)oracle_number(expected, "label_tokens", -1));
    for (size_t i = 0; i < m->params.n; i++) {
        const nb_param *p = m->params.v[i];
        int64_t n = 0;
        float *want = oracle_f32(st, p->name, &n);
        for (int64_t k = 0; k < p->n; k++)
            square += (double)p->grad[k] * (double)p->grad[k];
        if (!want)
            continue;
        found++;
        assert_int_equal(n, p->n);
        float *zero = calloc((size_t)n, sizeof *zero);
        bool vanishes = nbt_max_abs_f32(want, zero, (size_t)n) < 1e-8;
        double dev = vanishes ? nbt_max_abs_f32(p->grad, want, (size_t)n)
                              : nbt_rel_norm_f32(p->grad, want, (size_t)n);
        if (!(dev <= GRAD_TOLERANCE))
            printf("  %s: %.2e\n", p->name, dev);
        worst = oracle_worse(worst, dev);
        free(want), free(zero);
    }
    if (st) {
        double norm = oracle_number(expected, "grad_norm", NAN);
        oracle_count(l, "gradients", found, (int64_t)nb_safetensors_count(st));
        oracle_figure(l, "worst", worst, GRAD_TOLERANCE);
        oracle_figure(l, "grad_norm", fabs(sqrt(square) - norm) / norm, GRAD_TOLERANCE);
    }
    nb_safetensors_close(&st);
}

static void compare_greedy(oracle_line *l, nb_model *m, const nbi_json *expected)
{
    int64_t n_prompt, n;
    const nbi_json *g = nbi_json_get(expected, "greedy");
    if (!g)
        return;
    int32_t *prompt = oracle_json_ids(nbi_json_get(g, "prompt"), &n_prompt);
    int32_t *ids = oracle_json_ids(nbi_json_get(g, "new_tokens"), &n);
    oracle_count(l, "greedy", oracle_greedy(m, prompt, n_prompt, ids, n), n);
    free(prompt), free(ids);
}

/* bf16 products may be off by twice what the reference stack's own bf16 run is. */
static void compare_bf16(oracle_line *l, const char *dir, const ragged *r, const nb_safetensors *st,
                         const nbi_json *expected)
{
    nb_error err = {0};
    nb_model *m;
    nb_workspace *ws;
    const nbi_json *measured = nbi_json_get(expected, "measured_bf16_deviation");
    nb_model_load how = {.cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_BF16};
    if (!measured)
        return;
    NBT_OK(nb_model_open(&m, dir, &how, NULL, &err));
    NBT_OK(nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = r->b.m}, &err));
    float *logits = malloc((size_t)(r->b.m * m->config.vocab) * sizeof *logits);
    nb_model_forward(m, ws, &r->b, NULL, false);
    nb_model_logits(m, ws, 0, r->b.m, logits);
    nb_loss loss = nb_model_loss(m, ws, &r->b, 1.0, false, NULL);
    oracle_figure(l, "bf16: logits", worst_rows(st, "logits", r, logits, m->config.vocab),
                  2.0 * oracle_number(measured, "logits_max_abs", NAN));
    oracle_figure(l, "loss",
                  fabs(loss.sum / (double)loss.tokens - oracle_number(expected, "loss", NAN)),
                  2.0 * oracle_number(measured, "loss", NAN));
    free(logits);
    nb_workspace_close(&ws);
    nb_model_close(&m);
}

/* `dir` holds the model, `data` what is expected of it. */
static bool compare_case(const char *label, const char *dir, const char *data)
{
    nb_error err = {0};
    oracle_line l = {0};
    nbi_arena arena;
    nb_model *m, *frozen;
    nb_workspace *ws;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_json *expected = oracle_json(&arena, data, "expected.json");
    nb_safetensors *st = oracle_open(data, "expected.safetensors");
    ragged r = read_batch(data);
    nb_model_load how = {.cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32, .trainable = true};

    NBT_OK(nb_model_open(&m, dir, &how, NULL, &err));
    NBT_OK(nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = r.b.m, .training = true}, &err));
    compare_forward(&l, m, ws, &r, st);
    compare_gradients(&l, m, ws, &r, data, expected);
    nb_workspace_close(&ws);
    nb_model_close(&m);
    how.trainable = false;
    NBT_OK(nb_model_open(&frozen, dir, &how, NULL, &err));
    compare_greedy(&l, frozen, expected);
    nb_model_close(&frozen);
    compare_bf16(&l, dir, &r, st, expected);

    printf("%s:%s\n", label, l.text);
    free_batch(&r);
    nb_safetensors_close(&st);
    nbi_arena_free(&arena);
    return !l.bad;
}

/* A copy of the folder whose config.json is the given file. */
static char *with_config(const char *dir, const char *config)
{
    nb_error err = {0};
    char *copy = nbt_tmpdir();
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d));) {
        bool model = strncmp(e->d_name, "model", 5) == 0;
        if (!model && strcmp(e->d_name, config) != 0)
            continue;
        char *from = nbt_join(dir, e->d_name);
        char *to = nbt_join(copy, model ? e->d_name : "config.json");
        NBT_OK(nbi_copy_file(from, to, &err));
        nbi_free(from);
        nbi_free(to);
    }
    closedir(d);
    return copy;
}

static bool both_spellings(const char *name, const char *dir)
{
    char label[320];
    char *v4 = nbt_join(dir, "config_v4.json");
    bool good = compare_case(name, dir, dir);
    if (access(v4, F_OK) == 0) {
        char *copy = with_config(dir, "config_v4.json");
        snprintf(label, sizeof label, "%.255s, version 4 keys", name);
        good = compare_case(label, copy, dir) && good;
        nbt_tmpdir_remove(copy);
    }
    nbi_free(v4);
    return good;
}

static void families(void **state)
{
    static char names[200][256];
    (void)state;
    char *root = nbt_join(nbt_oracle(), "families");
    int n = oracle_folders(root, names, 200), bad = 0, compared = 0;
    for (int i = 0; i < n; i++) {
        nbi_arena arena;
        const char *type = "";
        size_t len;
        char *dir = nbt_join(root, names[i]);
        nbi_arena_init(&arena, NBI_MEM_OTHER);
        nbi_json *config = oracle_json(&arena, dir, "config.json");
        nbi_json_to_str(nbi_json_get(config, "model_type"), &type, &len);
        if (!nb_family_find(type)) {
            printf("%s: model type \"%s\" is not supported, skipped\n", names[i], type);
        } else {
            compared++;
            bad += !both_spellings(names[i], dir);
        }
        nbi_arena_free(&arena);
        nbi_free(dir);
    }
    nbi_free(root);
    assert_true(compared > 0);
    assert_int_equal(bad, 0);
}

int main(void)
{
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
