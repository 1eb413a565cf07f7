/* SPDX-License-Identifier: MIT */
/* Complete fine-tuning runs on real rows, through the public way: a recipe. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "train_util.h"
#include "oracle/oracle_util.h"
#include "oracle/oracle_train.h"

#define LOSS 2e-5
#define NORM 1e-4
#define LOGITS 2e-4
#define WEIGHT 5e-5
#define UPDATE 1e-4

typedef struct story_run {
    char *dir, *model, *out;
    nbi_arena arena;
    nbi_json *doc, *config;
    bool full;
    oracle_line line;
} story_run;

static bool has(const char *dir, const char *name)
{
    char *p = nbt_join(dir, name);
    bool there = access(p, F_OK) == 0;
    nbi_free(p);
    return there;
}

static const char *text_of(const nbi_json *obj, const char *key, char buf[64])
{
    const nbi_json *v = nbi_json_get(obj, key);
    if (nbi_json_is_null(v))
        return NULL;
    if (v->type == NBI_JT_BOOL)
        return v->boolean ? "true" : "false";
    snprintf(buf, 64, "%s", v->text);
    return buf;
}

static void train(const story_run *s)
{
    nb_error err = {0};
    char b[7][64];
    char *train_rows = nbt_join(s->dir, "train.tokens.jsonl");
    char *valid_rows = nbt_join(s->dir, "valid.tokens.jsonl");
    char *init = nbt_join(s->dir, "adapter_init");
    nbt_setting settings[] = {
        {"model", s->model},
        {"data", train_rows},
        {"eval_data", valid_rows},
        {"format", "tokenized"},
        {"shuffle", "false"},
        {"compute_dtype", "f32"},
        {"threads", "1"},
        {"method", s->full ? "full" : NULL},
        {"init_adapter", s->full ? NULL : init},
        {"learning_rate", text_of(s->config, "lr", b[0])},
        {"lr_scheduler_type", text_of(s->config, "schedule", b[1])},
        {"warmup_steps",
         nbi_json_get(s->config, "warmup") ? text_of(s->config, "warmup", b[2]) : "0"},
        {"weight_decay", nbi_json_get(s->config, "wd") ? text_of(s->config, "wd", b[3]) : "0"},
        {"max_grad_norm", nbi_json_get(s->config, "clip") ? text_of(s->config, "clip", b[4]) : "0"},
        {"per_device_train_batch_size", text_of(s->config, "batch", b[5])},
        {"gradient_accumulation_steps",
         nbi_json_get(s->config, "accumulate") ? text_of(s->config, "accumulate", b[6]) : "1"},
        {"max_steps", "50"},
        {"logging_steps", "1"},
        {"eval_strategy", "no"},
        {"output_dir", s->out},
        {NULL, NULL},
    };
    nb_recipe *r = nbt_recipe(settings);
    NBT_OK(nb_train(r, NULL, NULL, &err));
    nb_recipe_free(&r);
    nbi_free(train_rows);
    nbi_free(valid_rows);
    nbi_free(init);
}

static void compare_log(story_run *s)
{
    static nbt_lines l;
    double loss = 0, norm = 0, rate = 0, before = NAN, after = NAN;
    const nbi_json *want = nbi_json_get(s->doc, "steps")->first;
    int64_t steps = 0;
    nbt_read_lines(&l, &s->arena, s->out, "train_log.jsonl");
    for (size_t i = 1; i < l.n; i++) {
        const nbi_json *e = l.v[i];
        if (nbi_json_get(e, "eval_loss")) {
            *(nbt_number(e, "step") == 0 ? &before : &after) = nbt_number(e, "eval_loss");
            continue;
        }
        if (!nbi_json_get(e, "loss"))
            continue; /* the end of the run */
        assert_non_null(want);
        assert_true(nbt_number(e, "step") == nbt_number(want, "step"));
        loss = oracle_worse(loss, fabs(nbt_number(e, "loss") - nbt_number(want, "loss")));
        norm = oracle_worse(norm,
                            fabs(nbt_number(e, "grad_norm") / nbt_number(want, "grad_norm") - 1));
        rate = oracle_worse(rate, fabs(nbt_number(e, "learning_rate") - nbt_number(want, "lr")));
        want = want->next;
        steps++;
    }
    oracle_count(&s->line, "steps", steps, (int64_t)nbi_json_get(s->doc, "steps")->n);
    oracle_figure(&s->line, "loss", loss, LOSS);
    oracle_figure(&s->line, "grad_norm", norm, NORM);
    oracle_figure(&s->line, "lr", rate, 1e-15);
    oracle_figure(&s->line, "eval_before", fabs(before - nbt_number(s->doc, "eval_loss_before")),
                  LOSS);
    oracle_figure(&s->line, "eval_after", fabs(after - nbt_number(s->doc, "eval_loss_after")),
                  LOSS);
}

/* What was saved against the reference, tensor by tensor. */
static void compare_weights(story_run *s)
{
    nb_error err = {0};
    const char *stem = s->full ? "model" : "adapter_model";
    char *want_dir = nbt_join(s->dir, s->full ? "model_final" : "adapter_final");
    char *init_dir =
        s->full ? nbi_strdup(NBI_MEM_OTHER, s->model) : nbt_join(s->dir, "adapter_init");
    nb_safetensors *got, *want, *init;
    NBT_OK(nb_safetensors_open_dir(&got, s->out, stem, &err));
    NBT_OK(nb_safetensors_open_dir(&want, want_dir, stem, &err));
    NBT_OK(nb_safetensors_open_dir(&init, init_dir, stem, &err));
    double largest = 0, diff = 0, update = 0;
    int64_t same = 0;
    for (size_t i = 0; i < nb_safetensors_count(got); i++) {
        int64_t n, k, l;
        const char *name = nb_safetensors_at(got, i)->name;
        float *a = oracle_f32(got, name, &n), *b = oracle_f32(want, name, &k),
              *c = oracle_f32(init, name, &l);
        if (b && c && n == k && n == l) {
            same++;
            largest = oracle_worse(largest, nbt_max_abs_f32(a, b, (size_t)n));
            for (int64_t j = 0; j < n; j++) {
                diff += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
                update += ((double)b[j] - c[j]) * ((double)b[j] - c[j]);
            }
        }
        free(a), free(b), free(c);
    }
    oracle_count(&s->line, "tensors", same, (int64_t)nb_safetensors_count(got));
    oracle_figure(&s->line, "weights", largest, WEIGHT);
    oracle_figure(&s->line, "update", sqrt(diff / update), UPDATE);
    nb_safetensors_close(&got);
    nb_safetensors_close(&want);
    nb_safetensors_close(&init);
    nbi_free(want_dir);
    nbi_free(init_dir);
}

/* The saved folder, opened again: logits of the last positions of the first evaluation row. */
static void compare_logits(story_run *s)
{
    nb_error err = {0};
    nb_model_load how = {.threads = 1, .cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32};
    nb_model *m;
    nb_adapter *a = NULL;
    nb_workspace *ws;
    nb_safetensors *st = oracle_open(s->dir, "expected.safetensors");
    int64_t n, count;
    int32_t *ids = oracle_ids(st, "valid0.ids", &n);
    float *want = oracle_f32(st, "valid0.logits_after_last_64", &count);
    if (!ids || !want)
        return;
    NBT_OK(nb_model_open(&m, s->full ? s->out : s->model, &how, NULL, &err));
    if (!s->full)
        NBT_OK(nb_adapter_load(&a, m, s->out, 0, false, NULL, &err));
    NBT_OK(nb_workspace_open(&ws, m, &(nb_pass_plan){.max_rows = n}, &err));
    int32_t *positions = malloc((size_t)n * sizeof *positions);
    for (int64_t i = 0; i < n; i++)
        positions[i] = (int32_t)i;
    int64_t starts[2] = {0, n}, rows = count / m->config.vocab;
    nb_batch b = {.m = n, .ids = ids, .positions = positions, .n_segments = 1, .starts = starts};
    float *got = malloc((size_t)count * sizeof *got);
    nb_model_forward(m, ws, &b, NULL, false);
    nb_model_logits(m, ws, n - rows, rows, got);
    oracle_figure(&s->line, "logits", nbt_max_abs_f32(got, want, (size_t)count), LOGITS);
    free(ids), free(want), free(got), free(positions);
    nb_workspace_close(&ws);
    nb_adapter_close(&a);
    nb_model_close(&m);
    nb_safetensors_close(&st);
}

static bool run_story(const char *root, const char *runs, const char *name)
{
    story_run s = {.dir = nbt_join(runs, name), .out = nbt_tmpdir()};
    nbi_arena_init(&s.arena, NBI_MEM_OTHER);
    s.doc = oracle_json(&s.arena, s.dir, "run.json");
    s.config = nbi_json_get(s.doc, "config");
    s.full = nbi_json_equals(nbi_json_get(s.config, "method"), "full");
    bool quant = !nbi_json_is_null(nbi_json_get(s.config, "quant"));
    s.model = nbt_join(root, quant ? "quantised/nf4_dq_float32" : "model");
    train(&s);
    compare_log(&s);
    compare_weights(&s);
    compare_logits(&s);
    printf("%s:%s\n", name, s.line.text);
    nbi_arena_free(&s.arena);
    nbt_tmpdir_remove(s.out);
    nbi_free(s.model);
    nbi_free(s.dir);
    return !s.line.bad;
}

static void stories(void **state)
{
    (void)state;
    char *root = nbt_join(nbt_oracle(), "stories260k"), *runs = nbt_join(root, "runs");
    bool good = true;
    int ran = 0;
    DIR *d = opendir(runs);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *dir = nbt_join(runs, e->d_name);
        if (e->d_name[0] != '.' && has(dir, "run.json")) {
            good = run_story(root, runs, e->d_name) && good;
            ran++;
        }
        nbi_free(dir);
    }
    if (d)
        closedir(d);
    nbi_free(runs);
    nbi_free(root);
    if (!ran)
        skip();
    assert_true(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(stories)};
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
