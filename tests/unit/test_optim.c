/* SPDX-License-Identifier: MIT */
/* Optimizer and clipping against formulas in double precision. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "optim/optim.h"
#include "testutil.h"

#define STEPS 20
#define TENSORS 3

typedef struct setup {
    nb_exec exec;
    nb_param store[TENSORS];
    nb_param_list params;
    nbi_rng rng;
} setup;

static void open_setup(setup *s, int threads)
{
    static const int64_t sizes[TENSORS] = {1, 1000, 4099};
    nb_error err = {0};
    *s = (setup){0};
    nb_kernels_init(&s->exec.k, nb_cpu_flags());
    NBT_OK(nb_queue_open(&s->exec.q, threads, &err));
    nbi_rng_init(&s->rng, 5, NBI_RNG_INIT, 0);
    for (int i = 0; i < TENSORS; i++) {
        nb_param *p = &s->store[i];
        p->n = sizes[i];
        p->value = malloc((size_t)p->n * sizeof(float));
        p->grad = malloc((size_t)p->n * sizeof(float));
        p->no_decay = i == 1;
        for (int64_t j = 0; j < p->n; j++)
            p->value[j] = (float)nbi_rng_normal(&s->rng);
        nbi_array_push(&s->params, p);
    }
}

static void close_setup(setup *s)
{
    for (int i = 0; i < TENSORS; i++)
        free(s->store[i].value), free(s->store[i].grad);
    nbi_array_free(&s->params);
    nb_queue_close(&s->exec.q);
}

static void new_grads(setup *s)
{
    for (int i = 0; i < TENSORS; i++)
        for (int64_t j = 0; j < s->store[i].n; j++)
            s->store[i].grad[j] = (float)(nbi_rng_normal(&s->rng) * (j % 7 == 0 ? 1e-6 : 1));
}

/* The paper's update of one weight in double. */
typedef struct exact {
    double w, m, v;
} exact;

static void exact_step(exact *e, double g, double lr, double decay, const nb_optim_config *c, int t)
{
    e->w -= lr * decay * e->w;
    e->m = c->beta1 * e->m + (1 - c->beta1) * g;
    e->v = c->beta2 * e->v + (1 - c->beta2) * g * g;
    e->w -= lr * (e->m / (1 - pow(c->beta1, t))) / (sqrt(e->v / (1 - pow(c->beta2, t))) + c->eps);
}

static void check_adamw(bool decay_all)
{
    nb_error err = {0};
    setup s;
    nb_optim *o;
    nb_optim_config c = {0.9, 0.999, 1e-8, 0.1, decay_all};
    open_setup(&s, 2);
    NBT_OK(nb_optim_open(&o, "adamw_torch", &c, &s.exec, &s.params, NULL, &err));
    exact *e[TENSORS];
    for (int i = 0; i < TENSORS; i++) {
        e[i] = calloc((size_t)s.store[i].n, sizeof(exact));
        for (int64_t j = 0; j < s.store[i].n; j++)
            e[i][j].w = s.store[i].value[j];
    }
    for (int t = 1; t <= STEPS; t++) {
        double lr = t == 1 ? 0 : 0.01 / t, scale = t % 2 ? 1 : 0.25;
        new_grads(&s);
        for (int i = 0; i < TENSORS; i++)
            for (int64_t j = 0; j < s.store[i].n; j++)
                exact_step(&e[i][j], scale * s.store[i].grad[j], lr,
                           i == 1 && !decay_all ? 0 : c.weight_decay, &c, t);
        NBT_OK(nb_optim_update(o, lr, scale, &err));
    }
    /* a rounding of the weight a step, and of the update (sum of rates below 0.03) */
    double worst = 0;
    for (int i = 0; i < TENSORS; i++)
        for (int64_t j = 0; j < s.store[i].n; j++)
            worst = fmax(worst, fabs(s.store[i].value[j] - e[i][j].w) / (1 + fabs(e[i][j].w)));
    nbt_within("adamw", worst, STEPS * 0x1p-24);
    assert_int_equal(o->step, STEPS);
    nb_optim_close(&o);
    for (int i = 0; i < TENSORS; i++)
        free(e[i]);
    close_setup(&s);
}

static void adamw(void **state)
{
    (void)state;
    check_adamw(false);
    check_adamw(true);
}

static void names(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_optim_config c = {0.9, 0.999, 1e-8, 0, false};
    setup s;
    nb_optim *o;
    open_setup(&s, 1);
    NBT_FAILS(NB_CONFIG, "paged_adamw_8bit",
              nb_optim_open(&o, "sgdw", &c, &s.exec, &s.params, NULL, &err));
    NBT_FAILS(NB_CONFIG, "folder",
              nb_optim_open(&o, "paged_adamw", &c, &s.exec, &s.params, NULL, &err));
    assert_ptr_equal(nb_optim_find("adamw_torch_fused")->kind, nb_optim_find("adamw_torch")->kind);
    assert_ptr_equal(nb_optim_find("paged_adamw_8bit")->kind, nb_optim_find("adamw_8bit")->kind);
    assert_true(nb_optim_find("paged_adamw_8bit")->paged && !nb_optim_find("adamw_8bit")->paged);
    size_t before = nbt_in_use();
    for (uint64_t k = 1;; k++) {
        nbi_alloc_fail_at(k, false);
        nb_status st = nb_optim_open(&o, "adamw_8bit", &c, &s.exec, &s.params, NULL, &err);
        nbi_alloc_fail_at(0, false);
        if (st == NB_OK)
            break;
        assert_int_equal(nbt_in_use(), before);
    }
    /* what the plan is told is what is allocated, beside the record itself */
    size_t said = nb_optim_memory(o->choice, &c, &s.params).resident;
    assert_in_range(nbt_in_use() - before, said, said + 1024);
    /* 1 and 1000 elements in f32, 4099 in codes with a scale for 256, rounded up to 64 bytes */
    assert_in_range(said - 2 * sizeof(nb_dynamic8), 8 * 1001 + 2 * 4099 + 8 * 17,
                    8 * 1001 + 2 * 4099 + 8 * 17 + 8 * 63);
    assert_string_equal(nb_optim_states(o, 1)[0].name, "state1");
    assert_true(nb_optim_states(o, 1)[0].dtype == NB_DT_F32 && !nb_optim_states(o, 1)[2].name);
    assert_true(nb_optim_states(o, 2)[0].dtype == NB_DT_U8);
    nb_optim_close(&o);
    close_setup(&s);
}

static void norm_and_clip(void **state)
{
    (void)state;
    setup s;
    open_setup(&s, 3);
    new_grads(&s);
    double sum = 0;
    for (int i = 0; i < TENSORS; i++)
        for (int64_t j = 0; j < s.store[i].n; j++)
            sum += (double)s.store[i].grad[j] * (double)s.store[i].grad[j];
    nbt_within("norm", fabs(nb_grad_norm(&s.exec, &s.params) / sqrt(sum) - 1), 1e-12);
    s.store[2].grad[4000] = NAN;
    assert_true(isnan(nb_grad_norm(&s.exec, &s.params)));
    s.store[2].grad[4000] = INFINITY;
    assert_true(isinf(nb_grad_norm(&s.exec, &s.params)));
    nb_optim_zero_grads(&s.params);
    assert_true(nb_grad_norm(&s.exec, &s.params) == 0);
    assert_true(nb_clip_scale(0.5, 1.0) == 1.0);
    assert_true(nb_clip_scale(4.0, 1.0) == 1.0 / (4.0 + 1e-6));
    assert_true(nb_clip_scale(4.0, 0.0) == 1.0);
    assert_true(nb_clip_scale(0.0, 1.0) == 1.0);
    close_setup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adamw),
        cmocka_unit_test(names),
        cmocka_unit_test(norm_and_clip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
