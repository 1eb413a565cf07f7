/* SPDX-License-Identifier: MIT */
/* Ten optimiser steps of each supported method against PEFT, on dense and on 4-bit bases, and
 * gradient accumulation. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "optim/schedule.h"
#include "testutil.h"
#include "oracle/oracle_util.h"
#include "oracle/oracle_train.h"
#include "base/fail.h"

typedef struct tolerance {
    double loss, norm, grads, logits, update;
} tolerance;

static const tolerance exact = {2e-5, 1e-4, 5e-5, 2e-4, 1e-3};
static const tolerance rounded = {2e-2, 5e-2, 5e-2, 0.3, 5e-2}; /* bf16 compute */

/* One case: its files, the model and what is trained. */
typedef struct peft_case {
    char *dir;
    nbi_arena arena;
    nbi_json *run;
    nb_safetensors *batches, *grads, *expected, *final;
    nb_model *m;
    nb_adapter *a;
    const nb_param_list *params;
    nb_workspace *ws;
    float **initial;
    bool full;
    tolerance tol;
    oracle_line line;
} peft_case;

static bool has(const char *dir, const char *name)
{
    char *p = nbt_join(dir, name);
    bool there = access(p, F_OK) == 0;
    nbi_free(p);
    return there;
}

static void case_close(peft_case *c)
{
    for (size_t i = 0; c->initial && i < c->params->n; i++)
        free(c->initial[i]);
    free(c->initial);
    nb_workspace_close(&c->ws);
    nb_adapter_close(&c->a);
    nb_model_close(&c->m);
    nb_safetensors_close(&c->batches);
    nb_safetensors_close(&c->grads);
    nb_safetensors_close(&c->expected);
    nb_safetensors_close(&c->final);
    nbi_arena_free(&c->arena);
    nbi_free(c->dir);
}

static bool is_bf16(peft_case *c)
{
    nbi_json *e = oracle_json(&c->arena, c->dir, "expected.json");
    return nbi_json_equals(nbi_json_get(e, "compute_dtype"), "bfloat16");
}

/* Status of opening: NB_OK, or NB_UNSUPPORTED with the reason in *err. */
static nb_status case_open(peft_case *c, const char *base, nb_error *why)
{
    nb_error err = {0};
    nb_model_load how = {.threads = 1,
                         .cpu_flags = nb_cpu_flags(),
                         .compute = is_bf16(c) ? NB_COMPUTE_BF16 : NB_COMPUTE_F32};
    char *init = nbt_join(c->dir, "adapter_init");
    bool adapter = has(c->dir, "adapter_init");
    c->tol = how.compute == NB_COMPUTE_BF16 ? rounded : exact;
    c->full = how.trainable = !adapter;
    nb_status st = NB_OK;
    if (!adapter && (!has(c->dir, "model_final") || has(c->dir, "trainable_init.safetensors")))
        st = nbi_fail(why, NB_UNSUPPORTED, "a part of the base is trained");
    if (st == NB_OK)
        st = nb_model_open(&c->m, base, &how, NULL, why);
    if (st == NB_OK && adapter)
        st = nb_adapter_load(&c->a, c->m, init, 1, true, NULL, why);
    nbi_free(init);
    if (st != NB_OK)
        return st;
    c->params = adapter ? &c->a->params : &c->m->params;
    char *final = nbt_join(c->dir, adapter ? "adapter_final" : "model_final");
    NBT_OK(nb_safetensors_open_dir(&c->final, final, adapter ? "adapter_model" : "model", &err));
    nbi_free(final);
    c->batches = oracle_open(c->dir, "batches.safetensors");
    c->grads = oracle_open(c->dir, "grads_step0.safetensors");
    c->expected = oracle_open(c->dir, "expected.safetensors");
    c->initial = calloc(c->params->n, sizeof *c->initial);
    for (size_t i = 0; i < c->params->n; i++) {
        size_t bytes = (size_t)c->params->v[i]->n * sizeof(float);
        c->initial[i] = malloc(bytes);
        memcpy(c->initial[i], c->params->v[i]->value, bytes);
    }
    NBT_OK(nb_workspace_open(
        &c->ws, c->m, &(nb_pass_plan){.max_rows = oracle_batch_cap(c->batches), .training = true},
        &err));
    return NB_OK;
}

/* Logits of row 0 of batch 0. */
static void compare_logits(peft_case *c, const char *what)
{
    int64_t n;
    float *want = oracle_f32(c->expected, what, &n);
    if (!want)
        return;
    oracle_batch o = oracle_batch_make(c->batches, 0, 0, 1);
    int64_t v = c->m->config.vocab, rows = o.b.m;
    float *got = malloc((size_t)(rows * v) * sizeof *got);
    nb_model_forward(c->m, c->ws, &o.b, NULL, false);
    nb_model_logits(c->m, c->ws, 0, rows, got);
    assert_true(n >= rows * v);
    oracle_figure(&c->line, what, nbt_max_abs_f32(got, want, (size_t)(rows * v)), c->tol.logits);
    free(got), free(want);
    oracle_batch_free(&o);
}

typedef struct worst {
    double loss, norm, lr;
} worst;

static void one_step(peft_case *c, nb_optim *o, int64_t s, const nbi_json *hyper, worst *w)
{
    nb_error err = {0};
    const nbi_json *e = nbi_json_at(nbi_json_get(c->run, "steps"), (size_t)s);
    nb_schedule schedule;
    NBT_OK(nb_schedule_init(&schedule, nbi_json_get(hyper, "lr_scheduler_type")->text, NULL,
                            oracle_number(hyper, "lr", NAN),
                            (int64_t)oracle_number(hyper, "warmup_steps", 0),
                            (int64_t)oracle_number(hyper, "steps", 10), &err));
    double loss64 = 0, norm64 = 0;
    assert_true(nbi_json_to_f64(nbi_json_at(nbi_json_get(c->run, "loss_f64"), (size_t)s), &loss64));
    assert_true(
        nbi_json_to_f64(nbi_json_at(nbi_json_get(c->run, "grad_norm_f64"), (size_t)s), &norm64));
    oracle_batch b = oracle_batch_make(c->batches, s, 0, -1);
    assert_int_equal(b.b.n_targets, (int64_t)oracle_number(e, "label_tokens", -1));
    nb_optim_zero_grads(c->params);
    nb_model_forward(c->m, c->ws, &b.b, NULL, true);
    nb_loss l = nb_model_loss(c->m, c->ws, &b.b, 1.0 / (double)b.b.n_targets, true, NULL);
    nb_model_backward(c->m, c->ws, &b.b);
    double norm = nb_grad_norm(&c->m->exec, c->params);
    size_t compared;
    if (s == 0 && c->grads)
        oracle_figure(&c->line, "grads", oracle_grad_deviation(c->params, c->grads, &compared),
                      c->tol.grads);
    double lr = nb_schedule_rate(&schedule, s);
    w->loss = oracle_worse(w->loss, fabs(l.sum / (double)l.tokens - loss64));
    w->norm = oracle_worse(w->norm, fabs(norm - norm64) / norm64);
    w->lr = oracle_worse(w->lr, fabs(lr - oracle_number(e, "lr", NAN)));
    double clip = nb_clip_scale(norm, oracle_number(hyper, "max_grad_norm", 0));
    NBT_OK(nb_optim_update(o, lr, clip, &err));
    oracle_batch_free(&b);
}

static void run_steps(peft_case *c)
{
    nb_error err = {0};
    const nbi_json *hyper = nbi_json_get(c->run, "hyper"), *betas = nbi_json_get(hyper, "betas");
    nb_optim_config config = {.eps = oracle_number(hyper, "eps", 1e-8),
                              .weight_decay = oracle_number(hyper, "weight_decay", 0),
                              .decay_all = true};
    nb_optim *o;
    worst w = {0};
    assert_true(nbi_json_to_f64(nbi_json_at(betas, 0), &config.beta1));
    assert_true(nbi_json_to_f64(nbi_json_at(betas, 1), &config.beta2));
    NBT_OK(nb_optim_open(&o, "adamw_torch", &config, &c->m->exec, c->params, NULL, &err));
    compare_logits(c, "logits_before");
    for (int64_t s = 0; s < (int64_t)oracle_number(hyper, "steps", 10); s++)
        one_step(c, o, s, hyper, &w);
    oracle_figure(&c->line, "loss", w.loss, c->tol.loss);
    oracle_figure(&c->line, "grad_norm", w.norm, c->tol.norm);
    oracle_figure(&c->line, "lr", w.lr, 1e-15);
    double largest;
    oracle_figure(&c->line, "update",
                  oracle_update_deviation(c->params, c->initial, c->final, &largest),
                  c->tol.update);
    compare_logits(c, "logits_after");
    nb_optim_close(&o);
}

/* What is saved loads again and gives the same logits. */
static void save_and_reload(peft_case *c)
{
    nb_error err = {0};
    char *dir = nbt_tmpdir();
    nb_adapter_note note = {.quant = c->m->quant, .compute = c->m->exec.compute};
    NBT_OK(nb_adapter_save(c->a, &note, dir, true, &err));
    nb_adapter_close(&c->a);
    c->params = NULL;
    nb_workspace_close(&c->ws);
    NBT_OK(nb_adapter_load(&c->a, c->m, dir, 7, true, NULL, &err));
    NBT_OK(nb_workspace_open(&c->ws, c->m,
                             &(nb_pass_plan){.max_rows = oracle_batch_cap(c->batches)}, &err));
    compare_logits(c, "logits_after");
    nbt_tmpdir_remove(dir);
}

/* false: a deviation is too large. */
static bool run_case(const char *group, const char *name, int *ran)
{
    nb_error err = {0};
    peft_case c = {0};
    char *root = nbt_join(nbt_oracle(), group);
    c.dir = nbt_join(root, name);
    nbi_arena_init(&c.arena, NBI_MEM_OTHER);
    c.run = oracle_json(&c.arena, c.dir, "trajectory.json");
    const nbi_json *b = nbi_json_get(c.run, "base");
    char *base = has(c.dir, "quantized_base") ? nbt_join(c.dir, "quantized_base")
                                              : nbt_join(nbt_oracle(), b ? b->text : "");
    nb_status st = b ? case_open(&c, base, &err) : NB_UNSUPPORTED;
    if (st == NB_OK) {
        run_steps(&c);
        size_t n = c.params->n;
        for (size_t i = 0; i < n; i++)
            free(c.initial[i]);
        free(c.initial);
        c.initial = NULL;
        if (!c.full)
            save_and_reload(&c);
        printf("%s/%s:%s\n", group, name, c.line.text);
        ++*ran;
    } else {
        printf("%s/%s: not run: %s\n", group, name, err.message);
    }
    bool good = !c.line.bad && (st == NB_OK || st == NB_UNSUPPORTED);
    case_close(&c);
    nbi_free(base);
    nbi_free(root);
    return good;
}

static int folders(const char *dir, char names[][256], int max)
{
    int n = 0;
    DIR *d = opendir(dir);
    if (!d)
        return 0;
    for (struct dirent *e; n < max && (e = readdir(d));) {
        char *path = nbt_join(dir, e->d_name);
        if (e->d_name[0] != '.' && has(path, "trajectory.json"))
            snprintf(names[n++], 256, "%s", e->d_name);
        nbi_free(path);
    }
    closedir(d);
    qsort(names, (size_t)n, 256, (int (*)(const void *, const void *))strcmp);
    return n;
}

static void run_group(const char *group)
{
    static char names[200][256];
    char *root = nbt_join(nbt_oracle(), group);
    int n = folders(root, names, 200), ran = 0;
    bool good = true;
    for (int i = 0; i < n; i++)
        good = run_case(group, names[i], &ran) && good;
    nbi_free(root);
    printf("%s: %d of %d cases run\n", group, ran, n);
    assert_true(ran > 0);
    assert_true(good);
}

static void peft(void **state)
{
    (void)state;
    run_group("peft");
}

static void qlora(void **state)
{
    (void)state;
    run_group("qlora");
}

/* ---- gradient accumulation ---- */

static void accumulate(peft_case *c, const nbi_json *expected, int64_t rows, const char *name,
                       oracle_line *line)
{
    const nbi_json *want = nbi_json_get(nbi_json_get(expected, "cases"), name);
    const nb_st_tensor *ids = nb_safetensors_find(c->batches, "input_ids");
    int64_t all = ids->shape[0];
    size_t compared;
    double loss = 0, total = oracle_number(expected, "label_tokens_total", NAN);
    if (!want)
        return;
    nb_optim_zero_grads(c->params);
    for (int64_t row = 0; row < all; row += rows) {
        oracle_batch b = oracle_batch_make(c->batches, 0, row, rows);
        nb_model_forward(c->m, c->ws, &b.b, NULL, true);
        loss += nb_model_loss(c->m, c->ws, &b.b, 1.0 / total, true, NULL).sum / total;
        nb_model_backward(c->m, c->ws, &b.b);
        oracle_batch_free(&b);
    }
    double norm = nb_grad_norm(&c->m->exec, c->params);
    oracle_figure(line, "loss", fabs(loss - oracle_number(want, "loss", NAN)), exact.loss);
    oracle_figure(line, "grad_norm", fabs(norm / oracle_number(want, "grad_norm", NAN) - 1),
                  exact.norm);
    oracle_figure(line, "grads", oracle_grad_deviation(c->params, c->grads, &compared),
                  exact.grads);
}

static void grad_accum(void **state)
{
    (void)state;
    nb_error err = {0};
    peft_case c = {0};
    nb_model_load how = {.threads = 1, .cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32};
    char *root = nbt_join(nbt_oracle(), "qlora"), *base = nbt_join(root, "nf4/quantized_base");
    c.dir = nbt_join(root, "grad_accum");
    char *adapter = nbt_join(c.dir, "adapter");
    nbi_arena_init(&c.arena, NBI_MEM_OTHER);
    const nbi_json *expected = oracle_json(&c.arena, c.dir, "expected.json");
    if (!expected)
        skip();
    NBT_OK(nb_model_open(&c.m, base, &how, NULL, &err));
    NBT_OK(nb_adapter_load(&c.a, c.m, adapter, 1, true, NULL, &err));
    c.params = &c.a->params;
    c.batches = oracle_open(c.dir, "batch.safetensors");
    c.grads = oracle_open(c.dir, "grads_1x8.safetensors");
    NBT_OK(nb_workspace_open(
        &c.ws, c.m, &(nb_pass_plan){.max_rows = oracle_batch_cap(c.batches), .training = true},
        &err));
    accumulate(&c, expected, 8, "1x8", &c.line);
    accumulate(&c, expected, 4, "2x4_token_mean", &c.line);
    accumulate(&c, expected, 2, "4x2_token_mean", &c.line);
    printf("qlora/grad_accum:%s\n", c.line.text);
    assert_false(c.line.bad);
    case_close(&c);
    nbi_free(adapter);
    nbi_free(base);
    nbi_free(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(peft),
        cmocka_unit_test(qlora),
        cmocka_unit_test(grad_accum),
    };
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
