/* SPDX-License-Identifier: MIT */
/* Numbers that are not finite, put in everywhere a run holds numbers, are found in the same step
 * with their place; losses that jump are flagged; policies. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "optim/state_walk.h"
#include "testutil.h"
#include "train/trainer_state.h"
#include "train_util.h"
#include "tiny_world.h"

/* ---- injections ---- */

typedef struct site {
    const char *name;
    nbt_setting s[3];
    void (*put)(nbi_run *run, float v);
    const char *place; /* that the message names */
    bool no_skip;      /* found after the update: nothing can be left out */
} site;

static nb_param *param_named(nbi_run *run, const char *part)
{
    for (size_t i = 0; i < run->params->n; i++)
        if (strstr(run->params->v[i]->name, part))
            return run->params->v[i];
    fail();
    return NULL;
}

static void put_adapter(nbi_run *run, float v)
{
    nb_param *p = param_named(run, "layers.1.mlp.up_proj.lora_A");
    p->value[p->n - 1] = v;
}

static void put_weight(nbi_run *run, float v)
{
    nb_param *p = param_named(run, "layers.0.self_attn.v_proj.weight");
    p->value[7] = v;
}

static void put_embedding(nbi_run *run, float v)
{
    nb_param *p = param_named(run, "embed_tokens");
    for (int64_t i = 0; i < p->n; i += 32)
        p->value[i] = v;
}

static void put_final_norm(nbi_run *run, float v)
{
    param_named(run, "model.norm.weight")->value[3] = v;
}

static void put_head(nbi_run *run, float v)
{
    nb_param *p = param_named(run, "lm_head");
    p->value[p->n / 2] = v;
}

static void put_scale(nbi_run *run, float v)
{
    const nb_qtensor *w = &run->parts.model->blocks[1].gate.w;
    assert_non_null(w->absmax);
    ((float *)(uintptr_t)w->absmax)[2] = v;
}

static void put_moment(nbi_run *run, int state, float v)
{
    nb_optim *o = run->optim;
    const size_t i = 3;
    const nb_optim_state *s = &nb_optim_states(o, i)[state];
    float *values = calloc((size_t)o->params->v[i]->n, sizeof(float));
    assert_int_equal(s->dtype, NB_DT_F32);
    nb_optim_get_state(o, i, state, values);
    values[1] = v;
    nb_optim_set_state(o, i, state, values);
    free(values);
}

static void put_first_moment(nbi_run *run, float v)
{
    put_moment(run, 0, v);
}

static void put_second_moment(nbi_run *run, float v)
{
    put_moment(run, 1, v);
}

/* The last weights before the loss are so large that logits overflow. */
static void put_large(nbi_run *run, float v)
{
    nb_param *p = param_named(run, "model.norm.weight");
    (void)v;
    for (int64_t i = 0; i < p->n; i++)
        p->value[i] = 3e38f;
}

#define FULL                                                                                       \
    {                                                                                              \
        "method", "full"                                                                           \
    }
static const site sites[] = {
    {"adapter", {{NULL, NULL}}, put_adapter, "base_model.model.model.layers.1.mlp.up_proj.lora_A"},
    {"weight", {FULL, {NULL, NULL}}, put_weight, "model.layers.0.self_attn.v_proj.weight"},
    {"embedding", {FULL, {NULL, NULL}}, put_embedding, "in the embeddings, where model.embed"},
    {"final norm", {FULL, {NULL, NULL}}, put_final_norm, "output head, where model.norm.weight"},
    {"head", {FULL, {NULL, NULL}}, put_head, "output head, where lm_head.weight"},
    {"scale", {{"load_in_4bit", "true"}, {NULL, NULL}}, put_scale, "layers.1.mlp.gate_proj.weight"},
    {"logits", {FULL, {NULL, NULL}}, put_large, "output head"},
    {"moment 1", {{NULL, NULL}}, put_first_moment, "exp_avg", true},
    {"moment 2", {{NULL, NULL}}, put_second_moment, "exp_avg_sq", true},
};

static const nbt_setting three_epochs[] = {{"num_train_epochs", "3"}, {NULL, NULL}};

static nb_recipe *site_recipe(const world *w, const char *out, const site *c, const char *policy)
{
    nb_error err = {0};
    nb_recipe *r = recipe(w, out, three_epochs);
    for (const nbt_setting *s = c->s; s->key; s++)
        NBT_OK(nb_recipe_set(r, s->key, s->value, &err));
    NBT_OK(nb_recipe_set(r, "on_nonfinite", policy, &err));
    NBT_OK(nb_recipe_set(r, "max_skipped_steps", "2", &err));
    return r;
}

static void start(nbi_run *run, nb_recipe *r, int steps)
{
    nb_error err = {0};
    nbi_run_init(run, r, NULL);
    NBT_OK(nbi_run_open(run, &err));
    NBT_OK(nbi_run_start(run, &err));
    for (int i = 0; i < steps; i++)
        NBT_OK(nbi_run_advance(run, &err));
}

static bool same_params(const nbi_run *run, float *const *before)
{
    for (size_t i = 0; i < run->params->n; i++)
        if (memcmp(run->params->v[i]->value, before[i],
                   (size_t)run->params->v[i]->n * sizeof(float)) != 0)
            return false;
    return true;
}

static void check_stop(const world *w, const char *out, const site *c, float v)
{
    nb_error err = {0};
    nbi_run run;
    nb_recipe *r = site_recipe(w, out, c, "stop");
    start(&run, r, 3);
    c->put(&run, v);
    NBT_FAILS(NB_NUMERIC, c->place, nbi_run_advance(&run, &err));
    assert_non_null(strstr(err.message, "step 4: "));
    assert_int_equal(run.at.step, 3);
    /* what is not finite cannot be saved */
    if (c->put == put_adapter || c->put == put_weight)
        NBT_FAILS(NB_NUMERIC, "", nbi_run_checkpoint(&run, &err));
    nbi_run_close(&run);
    nb_recipe_free(&r);
}

/* No parameter changes, the step counts, and after two in a row it is over. */
static void check_skip(const world *w, const char *out, const site *c, float v)
{
    nb_error err = {0};
    nbi_run run;
    nb_recipe *r = site_recipe(w, out, c, "skip");
    start(&run, r, 3);
    c->put(&run, v);
    float *before[64];
    assert_true(run.params->n < 64);
    for (size_t i = 0; i < run.params->n; i++) {
        size_t n = (size_t)run.params->v[i]->n * sizeof(float);
        memcpy(before[i] = malloc(n), run.params->v[i]->value, n);
    }
    for (int k = 1; k <= 2; k++) {
        NBT_OK(nbi_run_advance(&run, &err));
        assert_true(run.at.step == 3 + k && run.at.skipped == k && run.at.skipped_row == k);
        assert_true(isnan(run.loss) && same_params(&run, before));
    }
    const nbi_entry *e = &run.history.entries.v[run.history.entries.n - 2];
    assert_true(e->kind == NBI_ENTRY_TROUBLE && e->step == 5);
    assert_true(nbi_history_value(&run.history, e, "nonfinite_skipped") == 2);
    e = nbi_history_last(&run.history);
    assert_true(e->kind == NBI_ENTRY_TRAIN && isnan(nbi_history_value(&run.history, e, "loss")));
    NBT_FAILS(NB_NUMERIC, "max_skipped_steps", nbi_run_advance(&run, &err));
    for (size_t i = 0; i < run.params->n; i++)
        free(before[i]);
    nbi_run_close(&run);
    nb_recipe_free(&r);
}

static void injections(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "injected");
    static const float values[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof sites / sizeof *sites; i++)
        for (size_t j = 0; j < sizeof values / sizeof *values; j++) {
            check_stop(w, out, &sites[i], values[j]);
            if (!sites[i].no_skip)
                check_skip(w, out, &sites[i], values[j]);
        }
    /* a moment that is not finite ends the run whatever the policy */
    nbi_run run;
    nb_recipe *r = site_recipe(w, out, &sites[8], "skip");
    start(&run, r, 1);
    put_second_moment(&run, INFINITY);
    NBT_FAILS(NB_NUMERIC, "exp_avg_sq", nbi_run_advance(&run, &err));
    nbi_run_close(&run);
    nb_recipe_free(&r);
    nbi_free(out);
}

/* Gradients that are not finite while the losses are: their scale is one over the number of trained
 * tokens. */
static void gradients(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "gradient");
    nbi_run run;
    nb_recipe *r = recipe(w, out, three_epochs);
    start(&run, r, 1);
    for (size_t i = 0; i < run.data->n; i++)
        run.data->rows[i].n_trained = 0;
    NBT_FAILS(NB_NUMERIC, "step 2: the gradient is not finite, first in base_model",
              nbi_run_advance(&run, &err));
    nbi_run_close(&run);
    nb_recipe_free(&r);
    nbi_free(out);
}

/* A run whose bad batch is left out goes on and ends well. */
static void recovers(void **state)
{
    world *w = *state;
    nb_error err = {0};
    char *out = place(w, "recovers");
    nbi_run run;
    nb_recipe *r = site_recipe(w, out, &sites[0], "skip");
    start(&run, r, 3);
    nb_param *p = param_named(&run, "layers.1.mlp.up_proj.lora_A");
    float kept = p->value[p->n - 1];
    put_adapter(&run, NAN);
    NBT_OK(nbi_run_advance(&run, &err));
    p->value[p->n - 1] = kept;
    while (nbi_run_goes_on(&run)) {
        NBT_OK(nbi_run_advance(&run, &err));
        assert_true(run.at.skipped_row == 0 && run.at.skipped == 1);
    }
    assert_int_equal(run.at.step, 9);
    NBT_OK(nbi_run_checkpoint(&run, &err));
    nbi_run_close(&run);
    nb_recipe_free(&r);
    nbi_free(out);
}

/* ---- jumps of the loss ---- */

static double normal(nbi_rng *rng)
{
    return nbi_rng_normal(rng);
}

/* What a run feeds the detector. */
static nb_status feed(nbi_run *run, double loss, nb_error *err)
{
    run->left_out = false;
    run->loss = loss;
    nb_status st = nbi_run_check_spike(run, err);
    run->at.step++;
    return st;
}

/* A run that was never opened. */
static void drop(nbi_run *run)
{
    nbi_history_free(&run->history);
    nbi_notes_close(&run->notes);
}

static size_t troubles(const nbi_run *run)
{
    size_t n = 0;
    for (size_t i = 0; i < run->history.entries.n; i++)
        n += run->history.entries.v[i].kind == NBI_ENTRY_TROUBLE;
    return n;
}

/* Curves that fall as training losses do, with the noise of small batches. */
static double clean_loss(nbi_rng *rng, int step, double noise)
{
    double level = 0.4 + 2.6 * exp(-(double)step / 150);
    return level * (1 + noise * normal(rng));
}

static void no_false_alarms(void **state)
{
    nb_error err = {0};
    nb_recipe *r;
    (void)state;
    NBT_OK(nb_recipe_new(&r, &err));
    for (uint64_t seed = 0; seed < 40; seed++) {
        nbi_run run;
        nbi_rng rng;
        nbi_rng_init(&rng, seed, NBI_RNG_SAMPLE, 0);
        nbi_run_init(&run, r, NULL);
        for (int i = 0; i < 1000; i++)
            NBT_OK(feed(&run, clean_loss(&rng, i, seed % 2 ? 0.12 : 0.02), &err));
        assert_int_equal(troubles(&run), 0);
        drop(&run);
    }
    nb_recipe_free(&r);
}

/* A bad batch in the middle of any of these is flagged at once, and again when it comes again. */
static void flagged(void **state)
{
    nb_error err = {0};
    nb_recipe *r;
    (void)state;
    NBT_OK(nb_recipe_new(&r, &err));
    for (uint64_t seed = 0; seed < 20; seed++) {
        nbi_run run;
        nbi_rng rng;
        nbi_rng_init(&rng, seed, NBI_RNG_SAMPLE, 1);
        nbi_run_init(&run, r, NULL);
        int bad = 20 + (int)nbi_rng_below(&rng, 500);
        for (int i = 0; i < bad; i++)
            NBT_OK(feed(&run, clean_loss(&rng, i, 0.05), &err));
        for (size_t k = 1; k <= 3; k++) {
            NBT_OK(feed(&run, 9.5, &err));
            assert_int_equal(troubles(&run), k);
            const nbi_entry *e = nbi_history_last(&run.history);
            assert_true(nbi_history_value(&run.history, e, "spike_loss") == 9.5);
            assert_true(nbi_history_value(&run.history, e, "spike_zscore") > 6);
            assert_int_equal(e->step, run.at.step);
        }
        drop(&run);
    }
    nb_recipe_free(&r);
}

/* The state is all in nbi_progress: a detector that was stopped and taken up says the same. */
static void survives(void **state)
{
    nb_error err = {0};
    nb_recipe *r;
    nbi_run one, two;
    nbi_rng rng;
    (void)state;
    NBT_OK(nb_recipe_new(&r, &err));
    nbi_run_init(&one, r, NULL);
    nbi_rng_init(&rng, 7, NBI_RNG_SAMPLE, 2);
    for (int i = 0; i < 37; i++)
        NBT_OK(feed(&one, clean_loss(&rng, i, 0.05), &err));
    nbi_run_init(&two, r, NULL);
    two.at = one.at;
    for (int i = 0; i < 3; i++) {
        NBT_OK(feed(&one, i == 1 ? 8 : 2.5, &err));
        NBT_OK(feed(&two, i == 1 ? 8 : 2.5, &err));
        assert_memory_equal(&one.at, &two.at, sizeof one.at);
    }
    assert_int_equal(troubles(&one), 1);
    assert_int_equal(troubles(&two), 1);
    drop(&one);
    drop(&two);
    nb_recipe_free(&r);
}

/* In a run: the targets of a few rows are turned round after the model has learned the others. */
static void write_bad_rows(const char *path, int good, int bad)
{
    nbi_strbuf b = {0};
    for (int i = 0; i < good + bad; i++) {
        nbi_strbuf_puts(&b, "{\"input_ids\": [");
        for (int j = 0; j < 9; j++)
            nbi_strbuf_printf(&b, "%s%d", j ? ", " : "",
                              i < good ? 5 + (i + j) % 7 : 40 - (i * 5 + j * j * 3) % 29);
        nbi_strbuf_puts(&b, "]}\n");
    }
    nbt_write_text(path, nbi_strbuf_str(&b));
    nbi_strbuf_free(&b);
}

static void in_a_run(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nb_train_result result;
    char *out = place(w, "spikes"), *rows = place(w, "bad.jsonl");
    write_bad_rows(rows, 120 * 4, 4);
    nbt_setting s[] = {{"data", rows},
                       {"shuffle", "false"},
                       {"num_train_epochs", "1"},
                       {"per_device_train_batch_size", "4"},
                       {"on_spike", "warn"},
                       {"lr_scheduler_type", "constant"},
                       {NULL, NULL}};
    static const char *const policies[] = {"warn", "skip"};
    for (int i = 0; i < 2; i++) {
        nbi_history h;
        nbi_history_init(&h);
        s[4].value = policies[i];
        NBT_OK(train(w, out, s, NULL, &result, &err));
        NBT_OK(nbi_trainer_state_read(out, &h, NULL, &err));
        size_t n = 0;
        for (size_t j = 0; j < h.entries.n; j++)
            if (h.entries.v[j].kind == NBI_ENTRY_TROUBLE) {
                assert_int_equal(h.entries.v[j].step, 121);
                n++;
            }
        assert_int_equal(n, 1);
        nbi_history_free(&h);
    }
    s[4].value = "stop";
    NBT_FAILS(NB_NUMERIC, "step 121: the loss jumps", train(w, out, s, NULL, NULL, &err));
    nbi_free(out);
    nbi_free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(injections),      cmocka_unit_test(gradients), cmocka_unit_test(recovers),
        cmocka_unit_test(no_false_alarms), cmocka_unit_test(flagged),   cmocka_unit_test(survives),
        cmocka_unit_test(in_a_run),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
