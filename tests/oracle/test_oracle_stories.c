/* SPDX-License-Identifier: MIT */
/* A real pretrained model: logits, hidden states, losses, long greedy generations, and the same
 * model as quantised by bitsandbytes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "oracle/oracle_util.h"

#define LOGITS_TOLERANCE 1e-4
#define LOSS_TOLERANCE 1e-5
/* Of single token losses: as logits, which they are differences of. */
#define NLL_TOLERANCE 2e-4

typedef struct run {
    nb_model *m;
    nb_workspace *ws;
    int64_t n;
    float *logits, *nll; /* [n, V], [n] */
    double loss;         /* mean over the n - 1 next tokens */
} run;

static run run_ids(nb_model *m, const int32_t *ids, int64_t n)
{
    nb_error err = {0};
    run r = {.m = m, .n = n};
    int64_t starts[2] = {0, n};
    int32_t *positions = malloc((size_t)n * sizeof *positions);
    int32_t *targets = malloc((size_t)n * sizeof *targets);
    for (int64_t i = 0; i < n; i++) {
        positions[i] = (int32_t)i;
        targets[i] = i + 1 < n ? ids[i + 1] : NB_IGNORE_INDEX;
    }
    nb_batch b = {.m = n,
                  .ids = ids,
                  .targets = targets,
                  .positions = positions,
                  .n_segments = 1,
                  .starts = starts,
                  .n_targets = n - 1};
    r.logits = malloc((size_t)(n * m->config.vocab) * sizeof *r.logits);
    r.nll = malloc((size_t)n * sizeof *r.nll);
    NBT_OK(nb_workspace_open(
        &r.ws, m, &(nb_pass_plan){.max_rows = n, .training = true, .hidden = true}, &err));
    nb_model_forward(m, r.ws, &b, NULL, false);
    nb_model_logits(m, r.ws, 0, n, r.logits);
    nb_loss loss = nb_model_loss(m, r.ws, &b, 1.0, false, r.nll);
    r.loss = loss.sum / (double)(loss.tokens ? loss.tokens : 1);
    free(positions), free(targets);
    return r;
}

static void run_free(run *r)
{
    nb_workspace_close(&r->ws);
    free(r->logits), free(r->nll);
}

static nb_model *open_model(const char *dir)
{
    nb_error err = {0};
    nb_model *m;
    nb_model_load how = {.cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32};
    NBT_OK(nb_model_open(&m, dir, &how, NULL, &err));
    return m;
}

/* Compares everything the file has under a name: ids, logits, token_nll. */
static bool compare_named(nb_model *m, const nb_safetensors *st, const char *name, double loss)
{
    oracle_line l = {0};
    char key[64];
    int64_t n, count;
    snprintf(key, sizeof key, "%s.ids", name);
    int32_t *ids = oracle_ids(st, key, &n);
    if (!ids)
        return true;
    run r = run_ids(m, ids, n);
    snprintf(key, sizeof key, "%s.logits", name);
    float *logits = oracle_f32(st, key, &count);
    if (logits) {
        assert_int_equal(count, n * m->config.vocab);
        oracle_figure(&l, "logits", nbt_max_abs_f32(r.logits, logits, (size_t)count),
                      LOGITS_TOLERANCE);
    }
    snprintf(key, sizeof key, "%s.token_nll", name);
    float *nll = oracle_f32(st, key, &count);
    if (nll)
        oracle_figure(&l, "token_nll", nbt_max_abs_f32(r.nll, nll, (size_t)count), NLL_TOLERANCE);
    if (!isnan(loss))
        oracle_figure(&l, "loss", fabs(r.loss - loss), LOSS_TOLERANCE);
    printf("%s:%s\n", name, l.text);
    free(ids), free(logits), free(nll);
    run_free(&r);
    return !l.bad;
}

static char *folder(const char *name)
{
    char *root = nbt_join(nbt_oracle(), "stories260k"), *dir = nbt_join(root, name);
    nbi_free(root);
    return dir;
}

static void logits_and_losses(void **state)
{
    (void)state;
    nbi_arena arena;
    char *root = folder("."), *dir = folder("model");
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_safetensors *st = oracle_open(root, "expected.safetensors");
    nbi_json *losses = oracle_json(&arena, root, "losses.json");
    nb_model *m = open_model(dir);
    bool good = true;
    for (const nbi_json *e = losses->first; e; e = e->next) {
        const char *name = nbi_json_get(e, "name")->text;
        good = compare_named(m, st, name, oracle_number(e, "loss_f64", NAN)) && good;
    }
    good = compare_named(m, st, "gen0", NAN) && good;
    assert_true(good);
    nb_model_close(&m);
    nb_safetensors_close(&st);
    nbi_arena_free(&arena);
    nbi_free(root);
    nbi_free(dir);
}

static void hidden_states(void **state)
{
    (void)state;
    oracle_line l = {0};
    int64_t n, count;
    char *root = folder("."), *dir = folder("model");
    nb_safetensors *st = oracle_open(root, "expected.safetensors");
    nb_model *m = open_model(dir);
    int32_t *ids = oracle_ids(st, "once.ids", &n);
    assert_non_null(ids);
    run r = run_ids(m, ids, n);
    for (int64_t i = 0; i <= m->config.layers; i++) {
        char name[40];
        snprintf(name, sizeof name, "once.hidden.%lld", (long long)i);
        float *want = oracle_f32(st, name, &count);
        /* the last one is after the final norm */
        const float *have =
            i < m->config.layers ? nb_workspace_hidden(r.ws, i) : nb_workspace_final(r.ws, NULL);
        assert_int_equal(count, n * m->config.hidden);
        oracle_figure(&l, name, nbt_max_abs_f32(have, want, (size_t)count), LOGITS_TOLERANCE);
        free(want);
    }
    printf("hidden states:%s\n", l.text);
    assert_false(l.bad);
    free(ids);
    run_free(&r);
    nb_model_close(&m);
    nb_safetensors_close(&st);
    nbi_free(root);
    nbi_free(dir);
}

static void greedy_generations(void **state)
{
    (void)state;
    nbi_arena arena;
    char *root = folder("."), *dir = folder("model");
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nbi_json *cases = oracle_json(&arena, root, "greedy.json");
    nb_model *m = open_model(dir);
    bool good = true;
    for (const nbi_json *e = cases->first; e; e = e->next) {
        int64_t n_prompt, n;
        int32_t *prompt = oracle_json_ids(nbi_json_get(e, "prompt_ids"), &n_prompt);
        int32_t *ids = oracle_json_ids(nbi_json_get(e, "ids"), &n);
        int64_t equal = oracle_greedy(m, prompt, n_prompt, ids + n_prompt, n - n_prompt);
        printf("greedy \"%s\": %lld/%lld\n", nbi_json_get(e, "prompt")->text, (long long)equal,
               (long long)(n - n_prompt));
        good = good && equal == n - n_prompt;
        free(prompt), free(ids);
    }
    assert_true(good);
    nb_model_close(&m);
    nbi_arena_free(&arena);
    nbi_free(root);
    nbi_free(dir);
}

/* Weights given decoded: equal up to the order of one multiplication and one addition. */
static double worst_decoded(const nb_model *m, const nb_safetensors *st)
{
    double worst = 0.0;
    for (size_t i = 0; i < m->n_sites; i++) {
        char name[300];
        int64_t n;
        const nb_qtensor *w = &m->sites[i].linear->w;
        snprintf(name, sizeof name, "%s.weight.dequant_f32", m->sites[i].name);
        float *want = oracle_f32(st, name, &n);
        if (!want)
            continue;
        assert_int_equal(n, w->n * w->k);
        float *have = malloc((size_t)n * sizeof *have);
        m->exec.k.decode(&(nb_decode_args){
            .q = m->exec.q, .w = w, .rows = w->n, .cols = w->k, .out = have, .ldo = w->k});
        for (int64_t k = 0; k < n; k++)
            worst = oracle_worse(worst, fabs((double)have[k] - (double)want[k]) /
                                            fmax(fabs((double)want[k]), 1e-3));
        free(want), free(have);
    }
    return worst;
}

static bool compare_quantised(const char *name, const char *dir)
{
    nb_error err = {0};
    nb_model *m;
    oracle_line l = {0};
    int64_t n, count;
    nb_model_load how = {.cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32};
    nb_status status = nb_model_open(&m, dir, &how, NULL, &err);
    if (status == NB_UNSUPPORTED) {
        printf("quantised/%s: not supported, skipped (%s)\n", name, err.message);
        return true;
    }
    NBT_OK(status);
    nb_safetensors *st = oracle_open(dir, "expected.safetensors");
    int32_t *ids = oracle_ids(st, "story.ids", &n);
    float *want = oracle_f32(st, "story.logits", &count);
    assert_true(ids && want);
    run r = run_ids(m, ids, n), expected = r;
    assert_int_equal(count, n * m->config.vocab);
    oracle_figure(&l, "weights", worst_decoded(m, st), 0x1p-22);
    oracle_figure(&l, "logits", nbt_max_abs_f32(r.logits, want, (size_t)count), LOGITS_TOLERANCE);
    expected.loss = 0.0;
    for (int64_t i = 0; i + 1 < n; i++) {
        double sum = 0.0, max = -INFINITY;
        const float *z = want + i * m->config.vocab;
        for (int64_t k = 0; k < m->config.vocab; k++)
            max = fmax(max, (double)z[k]);
        for (int64_t k = 0; k < m->config.vocab; k++)
            sum += exp((double)z[k] - max);
        expected.loss += (max + log(sum) - (double)z[ids[i + 1]]) / (double)(n - 1);
    }
    oracle_figure(&l, "loss", fabs(r.loss - expected.loss), LOSS_TOLERANCE);
    printf("quantised/%s:%s\n", name, l.text);
    free(ids), free(want);
    run_free(&r);
    nb_safetensors_close(&st);
    nb_model_close(&m);
    return !l.bad;
}

static void quantised_folders(void **state)
{
    static char names[50][256];
    (void)state;
    bool good = true;
    char *root = folder("quantised");
    int n = oracle_folders(root, names, 50);
    for (int i = 0; i < n; i++) {
        char *dir = nbt_join(root, names[i]);
        good = compare_quantised(names[i], dir) && good;
        nbi_free(dir);
    }
    nbi_free(root);
    assert_true(good);
}

int main(void)
{
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_and_losses),
        cmocka_unit_test(hidden_states),
        cmocka_unit_test(greedy_generations),
        cmocka_unit_test(quantised_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
