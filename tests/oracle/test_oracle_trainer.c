/* SPDX-License-Identifier: MIT */
/* Whole runs of the Hugging Face Trainer, made again through a recipe: updates of short epochs'
 * ends, logged means, evaluation by batches; and its learning-rate schedules. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "optim/schedule.h"
#include "testutil.h"
#include "train/trainer_state.h"
#include "train_util.h"
#include "oracle/oracle_util.h"
#include "oracle/compare_events.h"

static bool has(const char *dir, const char *name)
{
    char *p = nbt_join(dir, name);
    bool there = access(p, F_OK) == 0;
    nbi_free(p);
    return there;
}

/* Rows as the collator makes them: every padding id, so every end-of-sequence token, is masked. */
static void write_rows(const nbi_json *examples, const char *set, const char *path)
{
    nbi_strbuf b = {0};
    double pad = nbt_number(examples, "pad_token_id");
    for (const nbi_json *row = nbi_json_get(examples, set)->first; row; row = row->next) {
        for (int labels = 0; labels < 2; labels++) {
            nbi_strbuf_puts(&b, labels ? "], \"labels\": [" : "{\"input_ids\": [");
            for (const nbi_json *e = row->first; e; e = e->next) {
                double id = NAN;
                assert_true(nbi_json_to_f64(e, &id));
                nbi_strbuf_printf(&b, "%s%d", e == row->first ? "" : ", ",
                                  labels && id == pad ? -100 : (int)id);
            }
        }
        nbi_strbuf_puts(&b, "]}\n");
    }
    nbt_write_text(path, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
}

/* One line an epoch with the rows of its micro-batches one after the other. */
static void write_order(const nbi_json *order, const char *path)
{
    nbi_strbuf b = {0};
    for (const nbi_json *epoch = nbi_json_get(order, "order")->first; epoch; epoch = epoch->next) {
        const char *sep = "[";
        for (const nbi_json *batch = epoch->first; batch; batch = batch->next)
            for (const nbi_json *row = batch->first; row; row = row->next, sep = ", ")
                nbi_strbuf_printf(&b, "%s%s", sep, row->text);
        nbi_strbuf_puts(&b, "]\n");
    }
    nbt_write_text(path, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
}

typedef struct hf_run {
    char *dir, *tmp, *out;
    nbi_arena arena;
    const nbi_json *expected, *arguments;
    oracle_line line;
} hf_run;

static const char *argument(const hf_run *r, const char *key)
{
    const nbi_json *v = nbi_json_get(r->arguments, key);
    if (v && v->type == NBI_JT_BOOL)
        return v->boolean ? "true" : "false";
    return v ? v->text : NULL;
}

static void train(const hf_run *r)
{
    nb_error err = {0};
    char *rows = nbt_join(r->tmp, "train.jsonl"), *valid = nbt_join(r->tmp, "eval.jsonl");
    char *order = nbt_join(r->tmp, "order.jsonl"), *init = nbt_join(r->dir, "adapter_init");
    char *base = nbt_join(nbt_oracle(), nbi_json_get(r->expected, "base")->text);
    static const char *const taken[] = {"learning_rate",
                                        "per_device_train_batch_size",
                                        "per_device_eval_batch_size",
                                        "gradient_accumulation_steps",
                                        "num_train_epochs",
                                        "weight_decay",
                                        "lr_scheduler_type",
                                        "warmup_steps",
                                        "max_grad_norm",
                                        "adam_beta1",
                                        "adam_beta2",
                                        "adam_epsilon",
                                        "eval_strategy",
                                        "save_strategy",
                                        "logging_strategy",
                                        "load_best_model_at_end",
                                        "metric_for_best_model",
                                        "greater_is_better"};
    nbt_setting s[48] = {{"model", base},
                         {"data", rows},
                         {"eval_data", valid},
                         {"format", "tokenized"},
                         {"sample_order", order},
                         {"init_adapter", init},
                         {"compute_dtype", "f32"},
                         {"threads", "1"},
                         {"eval_loss_reduction", "trainer"},
                         {"output_dir", r->out},
                         {"eval_on_start", "false"}};
    size_t n = 11;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        s[n++] = (nbt_setting){taken[i], argument(r, taken[i])};
    nb_recipe *recipe = nbt_recipe(s);
    NBT_OK(nb_train(recipe, NULL, NULL, &err));
    nb_recipe_free(&recipe);
    nbi_free(rows), nbi_free(valid), nbi_free(order), nbi_free(init), nbi_free(base);
}

/* Largest deviations of logged numbers. */
typedef struct deviations {
    double loss, eval, norm, rate;
} deviations;

static bool is_timing(const char *key)
{
    return strstr(key, "_per_second") || strstr(key, "_runtime") || !strcmp(key, "total_flos");
}

/* Every number of the reference's entry, and nothing else of its kind beside it. */
static bool compare_entry(const nbi_json *got, const nbi_json *want, deviations *d)
{
    bool same = true;
    for (const nbi_json *e = want->first; e; e = e->next) {
        double x = nbt_number(got, e->key), y = nbt_number(want, e->key);
        if (is_timing(e->key))
            same = same && x > 0;
        else if (!strcmp(e->key, "loss"))
            d->loss = oracle_worse(d->loss, fabs(x - y));
        else if (!strcmp(e->key, "eval_loss"))
            d->eval = oracle_worse(d->eval, fabs(x - y));
        else if (!strcmp(e->key, "grad_norm"))
            d->norm = oracle_worse(d->norm, fabs(x / y - 1));
        else if (!strcmp(e->key, "learning_rate"))
            d->rate = oracle_worse(d->rate, x == y ? 0 : fabs(x / y - 1));
        else
            same = same && x == y;
    }
    return same && !nbi_json_get(got, "loss") == !nbi_json_get(want, "loss");
}

/* trainer_state.json of the last checkpoint, as the Trainer left it. */
static void compare_state(hf_run *r, const char *checkpoint)
{
    deviations d = {0};
    int64_t same = 0, values = 0;
    char *dir = nbt_join(r->out, checkpoint);
    const nbi_json *got = oracle_json(&r->arena, dir, "trainer_state.json");
    const nbi_json *want = oracle_json(&r->arena, r->dir, "trainer_state.json");
    const nbi_json *a = nbi_json_get(got, "log_history"), *b = nbi_json_get(want, "log_history");
    assert_true(a && b);
    for (const nbi_json *e = a->first, *f = b->first; e && f; e = e->next, f = f->next)
        same += compare_entry(e, f, &d);
    oracle_count(&r->line, "entries", (int64_t)a->n, (int64_t)b->n);
    oracle_count(&r->line, "same keys", same, (int64_t)b->n);
    oracle_figure(&r->line, "loss", d.loss, 2e-5);
    oracle_figure(&r->line, "eval_loss", d.eval, 2e-5);
    oracle_figure(&r->line, "grad_norm", d.norm, 1e-4);
    oracle_figure(&r->line, "lr", d.rate, 1e-12);
    static const char *const equal[] = {"best_global_step", "global_step",     "max_steps", "epoch",
                                        "num_train_epochs", "train_batch_size"};
    for (size_t i = 0; i < sizeof equal / sizeof *equal; i++)
        values += nbt_number(got, equal[i]) == nbt_number(want, equal[i]);
    oracle_count(&r->line, "counters", values, (int64_t)(sizeof equal / sizeof *equal));
    oracle_figure(&r->line, "best_metric",
                  fabs(nbt_number(got, "best_metric") - nbt_number(want, "best_metric")), 2e-5);
    const char *best = nbi_json_get(want, "best_model_checkpoint")->text,
               *ours = nbi_json_get(got, "best_model_checkpoint")->text;
    assert_true(ours && strrchr(best, '/') && strrchr(ours, '/'));
    assert_string_equal(strrchr(ours, '/'), strrchr(best, '/'));
    for (const nbi_json *e = want->first; e; e = e->next)
        assert_non_null(nbi_json_get(got, e->key));
    nbi_free(dir);
}

/* The history can be read from the Trainer's own file too. */
static void read_theirs(hf_run *r)
{
    nb_error err = {0};
    nbi_history h;
    int64_t step;
    const nbi_json *want = oracle_json(&r->arena, r->dir, "trainer_state.json");
    nbi_history_init(&h);
    NBT_OK(nbi_trainer_state_read(r->dir, &h, &step, &err));
    assert_int_equal(h.entries.n, nbi_json_get(want, "log_history")->n);
    assert_true((double)step == nbt_number(want, "global_step"));
    for (size_t i = 0; i < h.entries.n; i++)
        assert_int_equal(h.entries.v[i].kind,
                         isnan(nbi_history_value(&h, &h.entries.v[i], "eval_loss"))
                             ? NBI_ENTRY_TRAIN
                             : NBI_ENTRY_EVAL);
    nbi_history_free(&h);
}

/* What the run says at its end. */
static void compare_end(hf_run *r)
{
    nb_error err = {0};
    nbi_history h;
    const nbi_json *want = nbi_json_get(r->expected, "train_result");
    nbi_history_init(&h);
    NBT_OK(nbi_trainer_state_read(r->out, &h, NULL, &err));
    const nbi_entry *e = nbi_history_last(&h);
    assert_int_equal(e->kind, NBI_ENTRY_END);
    assert_true(e->epoch == nbt_number(want, "epoch"));
    oracle_figure(&r->line, "train_loss",
                  fabs(nbi_history_value(&h, e, "train_loss") - nbt_number(want, "train_loss")),
                  2e-5);
    nbi_history_free(&h);
}

static void compare_event_files(hf_run *r)
{
    double worst = 0;
    const nbi_json *want = oracle_json(&r->arena, r->dir, "tensorboard_scalars.json");
    if (!want)
        return;
    assert_true(compare_events(want, r->out, &worst) > 0);
    oracle_figure(&r->line, "events", worst, 1e-4);
}

/* The file that the reference's writer made, read with the tables that write ours. */
static void sample_events(void **state)
{
    (void)state;
    nbi_arena arena;
    static event_scalars got;
    char *root = nbt_join(nbt_oracle(), "trainer"), *path = nbt_join(root, "sample.tfevents");
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    const nbi_json *want = oracle_json(&arena, root, "sample_tfevents.json");
    if (want) {
        size_t i = 0;
        read_events(&got, path);
        assert_int_equal(got.n, want->n);
        for (const nbi_json *e = want->first; e; e = e->next, i++) {
            assert_string_equal(got.v[i].tag, nbi_json_get(e, "tag")->text);
            assert_true(got.v[i].value == (float)oracle_number(e, "value", NAN));
            assert_true((double)got.v[i].step == oracle_number(e, "step", -1));
            assert_true(got.v[i].wall_time == oracle_number(e, "wall_time", -1));
        }
    }
    nbi_arena_free(&arena);
    nbi_free(path);
    nbi_free(root);
    if (!want)
        skip();
}

/* One of our folders against one of the reference's. */
static void compare_adapter(hf_run *r, const char *which, const char *reference)
{
    nb_error err = {0};
    char *last = nbt_join(r->dir, reference), *init = nbt_join(r->dir, "adapter_init");
    char *dir = nbt_join(r->out, which);
    nb_safetensors *got, *want, *begin;
    NBT_OK(nb_safetensors_open_dir(&got, dir, "adapter_model", &err));
    NBT_OK(nb_safetensors_open_dir(&want, last, "adapter_model", &err));
    NBT_OK(nb_safetensors_open_dir(&begin, init, "adapter_model", &err));
    double diff = 0, update = 0;
    for (size_t i = 0; i < nb_safetensors_count(want); i++) {
        int64_t n, k, l;
        const char *name = nb_safetensors_at(want, i)->name;
        float *b = oracle_f32(want, name, &k), *a = oracle_f32(got, name, &n),
              *c = oracle_f32(begin, name, &l);
        assert_true(a && c && n == k && n == l);
        for (int64_t j = 0; j < n; j++) {
            diff += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
            update += ((double)b[j] - c[j]) * ((double)b[j] - c[j]);
        }
        free(a), free(b), free(c);
    }
    oracle_figure(&r->line, reference, sqrt(diff / update), 1e-3);
    nb_safetensors_close(&got);
    nb_safetensors_close(&want);
    nb_safetensors_close(&begin);
    nbi_free(last), nbi_free(init), nbi_free(dir);
}

/* The same steps were saved. */
static void compare_checkpoints(hf_run *r)
{
    const nbi_json *doc =
        has(r->dir, "checkpoints.json") ? oracle_json(&r->arena, r->dir, "checkpoints.json") : NULL;
    const nbi_json *list = nbi_json_get(doc, "checkpoints");
    int64_t ours = 0, same = 0;
    DIR *d = opendir(r->out);
    for (struct dirent *e; list && d && (e = readdir(d));)
        ours += strncmp(e->d_name, "checkpoint-", 11) == 0;
    if (d)
        closedir(d);
    for (const nbi_json *e = list ? list->first : NULL; e; e = e->next)
        same += has(r->out, e->key);
    if (list)
        oracle_count(&r->line, "checkpoints", same == ours ? same : -1, (int64_t)list->n);
}

static bool run_one(const char *root, const char *name)
{
    hf_run r = {.dir = nbt_join(root, name), .tmp = nbt_tmpdir()};
    char file[64], *path;
    r.out = nbt_join(r.tmp, "out");
    nbi_arena_init(&r.arena, NBI_MEM_OTHER);
    r.expected = oracle_json(&r.arena, r.dir, "expected.json");
    r.arguments = nbi_json_get(r.expected, "arguments");
    const nbi_json *examples = oracle_json(&r.arena, root, "examples.json");
    write_rows(examples, "train", path = nbt_join(r.tmp, "train.jsonl")), nbi_free(path);
    write_rows(examples, "eval", path = nbt_join(r.tmp, "eval.jsonl")), nbi_free(path);
    write_order(oracle_json(&r.arena, r.dir, "order.json"), path = nbt_join(r.tmp, "order.jsonl")),
        nbi_free(path);
    train(&r);
    compare_event_files(&r);
    snprintf(file, sizeof file, "checkpoint-%d", (int)nbt_number(r.expected, "global_step"));
    compare_state(&r, file);
    compare_end(&r);
    read_theirs(&r);
    compare_adapter(&r, file, "adapter_last");
    compare_adapter(&r, ".", has(r.dir, "adapter_best") ? "adapter_best" : "adapter_last");
    compare_checkpoints(&r);
    printf("%s:%s\n", name, r.line.text);
    nbi_arena_free(&r.arena);
    nbt_tmpdir_remove(r.tmp);
    nbi_free(r.out);
    nbi_free(r.dir);
    return !r.line.bad;
}

static void trainer_runs(void **state)
{
    (void)state;
    char *root = nbt_join(nbt_oracle(), "trainer");
    bool good = true;
    int ran = 0;
    DIR *d = opendir(root);
    for (struct dirent *e; d && (e = readdir(d));) {
        char *dir = nbt_join(root, e->d_name);
        if (e->d_name[0] != '.' && has(dir, "expected.json") && has(dir, "adapter_init")) {
            good = run_one(root, e->d_name) && good;
            ran++;
        }
        nbi_free(dir);
    }
    if (d)
        closedir(d);
    nbi_free(root);
    if (!ran)
        skip();
    assert_true(good);
}

static double of_number(const nbi_json *v)
{
    double x = NAN;
    assert_true(nbi_json_to_f64(v, &x));
    return x;
}

/* Largest difference of the rates, relative to the wanted one. */
static double worst_rate(const nbi_json *doc, const nbi_json *s)
{
    nb_error err = {0};
    nb_schedule sched;
    nbi_strbuf kwargs = {0};
    nbi_json_writer w;
    nbi_json_writer_init(&w, &kwargs, 0, true);
    const nbi_json *given = nbi_json_get(s, "scheduler_specific_kwargs");
    if (given)
        nbi_jw_tree(&w, given);
    const int64_t total = (int64_t)oracle_number(doc, "num_training_steps", 0);
    NBT_OK(nb_schedule_init(&sched, nbi_json_get(s, "name")->text, nbi_strbuf_str(&kwargs),
                            oracle_number(doc, "base_lr", 0),
                            (int64_t)oracle_number(doc, "num_warmup_steps", 0), total, &err));
    nbi_strbuf_free(&kwargs);
    const nbi_json *metric = nbi_json_get(s, "metric");
    const nbi_json *m = metric ? metric->first : NULL;
    double worst = 0;
    int64_t i = 0;
    for (const nbi_json *e = nbi_json_get(s, "lr")->first; e; e = e->next, i++) {
        const double want = of_number(e);
        worst = oracle_worse(worst, fabs(nb_schedule_rate(&sched, i) - want) / fmax(want, 1e-300));
        if (m) {
            nb_schedule_metric(&sched, of_number(m));
            m = m->next;
        }
    }
    assert_int_equal(i, total);
    const nbi_json *after = nbi_json_get(s, "lr_after_last_step");
    if (after)
        worst = oracle_worse(worst, fabs(nb_schedule_rate(&sched, i) - of_number(after)) /
                                        fmax(of_number(after), oracle_number(doc, "base_lr", 0)));
    return worst;
}

static void schedules(void **state)
{
    (void)state;
    nbi_arena arena;
    char *root = nbt_join(nbt_oracle(), "trainer");
    bool bad = false;
    int ran = 0;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    const nbi_json *doc = oracle_json(&arena, root, "schedules.json");
    const nbi_json *all = nbi_json_get(doc, "schedules");
    for (const nbi_json *s = all ? all->first : NULL; s; s = s->next, ran++) {
        const double worst = worst_rate(doc, s);
        printf("%s: largest difference %.1e\n", s->key, worst);
        bad = bad || !(worst <= 1e-12);
    }
    nbi_arena_free(&arena);
    nbi_free(root);
    if (!doc)
        skip();
    assert_true(ran > 0 && !bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(trainer_runs),
                                       cmocka_unit_test(sample_events),
                                       cmocka_unit_test(schedules)};
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
