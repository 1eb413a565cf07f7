/* SPDX-License-Identifier: MIT */
/* Every optimizer of the registry: memory as foretold, the same bits for any number of threads and
 * after a restart, options by name, LoRA+. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/rng.h"
#include "optim/optim.h"
#include "testutil.h"

enum { TENSORS = 6 };
/* Vectors, matrices below and above 4096 elements, one of more than a piece; 0 columns: a vector.
 */
static const int64_t shapes[TENSORS][2] = {{1, 0},   {777, 0},    {37, 29},
                                           {67, 75}, {2, 140001}, {5003, 0}};

typedef struct setup {
    nb_exec exec;
    nb_param store[TENSORS];
    nb_param_list params;
    nbi_rng rng;
} setup;

static void open_setup(setup *s, int threads)
{
    static char a[] = "base_model.model.x.lora_A.weight", b[] = "base_model.model.x.lora_B.weight";
    nb_error err = {0};
    *s = (setup){0};
    nb_kernels_init(&s->exec.k, nb_cpu_flags());
    NBT_OK(nb_queue_open(&s->exec.q, threads, &err));
    nbi_rng_init(&s->rng, 5, NBI_RNG_INIT, 0);
    for (int i = 0; i < TENSORS; i++) {
        nb_param *p = &s->store[i];
        const int64_t cols = shapes[i][1];
        *p = (nb_param){.name = i == 2   ? a
                                : i == 3 ? b
                                         : NULL,
                        .rank = cols > 0 ? 2 : 1,
                        .shape = {shapes[i][0], cols},
                        .n = shapes[i][0] * (cols > 0 ? cols : 1)};
        p->value = malloc((size_t)p->n * sizeof(float));
        p->grad = malloc((size_t)p->n * sizeof(float));
        for (int64_t j = 0; j < p->n; j++)
            p->value[j] = (float)(nbi_rng_f64(&s->rng) - 0.5);
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

static void step(setup *s, nb_optim *o)
{
    nb_error err = {0};
    for (int i = 0; i < TENSORS; i++)
        for (int64_t j = 0; j < s->store[i].n; j++)
            s->store[i].grad[j] = (float)(nbi_rng_f64(&s->rng) - 0.5) * (j % 5 ? 1.0f : 1e-4f);
    NBT_OK(nb_optim_update(o, 0.01, 0.5, &err));
}

static void same_values(const setup *a, const setup *b)
{
    for (int i = 0; i < TENSORS; i++)
        assert_memory_equal(a->store[i].value, b->store[i].value,
                            (size_t)a->store[i].n * sizeof(float));
}

static size_t state_bytes(const nb_optim *o, size_t i, int j)
{
    const nb_optim_state *s = &nb_optim_states(o, i)[j];
    return (size_t)((o->params->v[i]->n + s->block - 1) / s->block) * nb_dtype_size(s->dtype);
}

/* What a checkpoint does. */
static void copy_state(const nb_optim *from, nb_optim *to)
{
    to->step = from->step;
    for (size_t i = 0; i < TENSORS; i++)
        for (int j = 0; nb_optim_states(from, i)[j].name; j++) {
            assert_string_equal(nb_optim_states(to, i)[j].name, nb_optim_states(from, i)[j].name);
            void *values = malloc(state_bytes(from, i, j));
            nb_optim_get_state(from, i, j, values);
            nb_optim_set_state(to, i, j, values);
            free(values);
        }
}

static void check_memory(const nb_optim *o, const nb_optim_config *c, size_t before)
{
    const nb_optim_bytes said = nb_optim_memory(o->choice, c, o->params);
    size_t states = 0;
    for (size_t i = 0; i < TENSORS; i++)
        for (int j = 0; nb_optim_states(o, i)[j].name; j++)
            states += state_bytes(o, i, j);
    const size_t in_memory =
        o->choice->paged
            ? said.resident -
                  (said.paged < NB_OPTIM_PAGED_RESIDENT ? said.paged : NB_OPTIM_PAGED_RESIDENT)
            : said.resident;
    assert_in_range(nbt_in_use() - before, in_memory, in_memory + 1024);
    assert_in_range(o->choice->paged ? said.paged : said.resident, states,
                    states + TENSORS * (4 * 64 + 5 * sizeof(nb_optim_state)) +
                        2 * sizeof(nb_dynamic8) + 4 * 140001);
}

static void check_kind(const char *name, const char *args)
{
    static const int threads[] = {1, 2, 3};
    nb_error err = {0};
    char *dir = nbt_tmpdir();
    const nb_optim_config c = {0.9, 0.99, 1e-8, 0.1, true, 0, args, {0}};
    setup s[4];
    nb_optim *o[4];
    for (int k = 0; k < 4; k++) {
        open_setup(&s[k], threads[k % 3]);
        size_t before = nbt_in_use();
        NBT_OK(nb_optim_open(&o[k], name, &c, &s[k].exec, &s[k].params, dir, &err));
        check_memory(o[k], &c, before);
    }
    for (int t = 0; t < 3; t++)
        for (int k = 0; k < 3; k++)
            step(&s[k], o[k]);
    same_values(&s[0], &s[1]);
    same_values(&s[0], &s[2]);
    /* the fourth is the restart of the first */
    copy_state(o[0], o[3]);
    for (int i = 0; i < TENSORS; i++)
        memcpy(s[3].store[i].value, s[0].store[i].value, (size_t)s[0].store[i].n * sizeof(float));
    s[3].rng = s[0].rng;
    for (int t = 0; t < 2; t++) {
        step(&s[0], o[0]);
        step(&s[3], o[3]);
    }
    same_values(&s[0], &s[3]);
    assert_int_equal(o[3]->step, 5);
    for (int k = 0; k < 4; k++) {
        nb_optim_close(&o[k]);
        close_setup(&s[k]);
    }
    nbt_tmpdir_remove(dir);
}

static void every_kind(void **state)
{
    (void)state;
    char names[400], *save, *name;
    nb_optim_list(names, sizeof names);
    int n = 0;
    for (name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save), n++)
        check_kind(name, NULL);
    assert_int_equal(n, 18);
    check_kind("sgd", "momentum=0.9");
    check_kind("sgd", "momentum=0.9, nesterov=true");
    check_kind("adafactor", "beta1=0.9, scale_parameter=True");
    check_kind("adafactor", "relative_step=true, warmup_init=True");
}

/* With plain SGD a weight moves by rate times gradient. */
static void loraplus(void **state)
{
    (void)state;
    nb_error err = {0};
    setup s, t;
    nb_optim *o;
    const nb_optim_config c = {.loraplus_ratio = 16}, plain = {0};
    open_setup(&s, 1);
    open_setup(&t, 1);
    NBT_OK(nb_optim_open(&o, "sgd", &c, &s.exec, &s.params, NULL, &err));
    step(&s, o);
    nb_optim_close(&o);
    NBT_OK(nb_optim_open(&o, "sgd", &plain, &t.exec, &t.params, NULL, &err));
    step(&t, o);
    nb_optim_close(&o);
    for (int i = 0; i < TENSORS; i++) {
        const float *g = s.store[i].grad, *a = s.store[i].value, *b = t.store[i].value;
        for (int64_t j = 0; j < s.store[i].n; j++) {
            const float rate = i == 3 ? (float)(0.01 * 16) : 0.01f;
            assert_true(a[j] == (b[j] + 0.01f * (g[j] * 0.5f)) - rate * (g[j] * 0.5f) ||
                        fabsf(a[j] - (b[j] - (rate - 0.01f) * (g[j] * 0.5f))) <= 0x1p-22f);
            if (i != 3)
                assert_true(a[j] == b[j]);
        }
    }
    close_setup(&s);
    close_setup(&t);
}

static void own_rate(void **state)
{
    (void)state;
    nb_error err = {0};
    setup s;
    nb_optim *o;
    const nb_optim_config c = {.args = "relative_step=true"},
                          warm = {.args = "relative_step=true,warmup_init=true"}, none = {0};
    open_setup(&s, 1);
    NBT_OK(nb_optim_open(&o, "adafactor", &c, &s.exec, &s.params, NULL, &err));
    assert_true(nb_optim_rate(o, 5) == 1e-2);
    o->step = 39999;
    assert_true(nb_optim_rate(o, 5) == 1.0 / 200);
    nb_optim_close(&o);
    NBT_OK(nb_optim_open(&o, "adafactor", &warm, &s.exec, &s.params, NULL, &err));
    o->step = 1;
    assert_true(nb_optim_rate(o, 5) == 2e-6);
    nb_optim_close(&o);
    NBT_OK(nb_optim_open(&o, "adafactor", &none, &s.exec, &s.params, NULL, &err));
    assert_true(nb_optim_rate(o, 5) == 5);
    nb_optim_close(&o);
    close_setup(&s);
}

static void options(void **state)
{
    (void)state;
    static const struct {
        const char *name, *args, *part;
    } bad[] = {
        {"sgd", "momentun=0.9", "did you mean \"momentum\"?"},
        {"sgd", "momentum", "expected name=value"},
        {"sgd", "=1", "expected name=value"},
        {"sgd", "momentum=1", "momentum: found \"1\", expected a number from 0"},
        {"sgd", "nesterov=true", "nesterov needs a momentum"},
        {"sgd", "nesterov=maybe", "expected true or false"},
        {"sgd", "betas=(0.9,0.99)", "sgd has no option \"betas\"; it takes momentum"},
        {"adamw_torch", "betas=0.9", "two numbers such as"},
        {"adamw_torch", "betas=(0.9,1.5)", "two numbers such as"},
        {"adafactor", "warmup_init=true", "needs relative_step"},
        {"lion_8bit", "eps=1e-8", "lion_8bit has no option \"eps\""},
    };
    nb_error err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        nb_optim_config c = {.args = bad[i].args};
        NBT_FAILS(NB_CONFIG, bad[i].part, nb_optim_settle(&c, nb_optim_find(bad[i].name), &err));
    }
    nb_optim_config c = {0.9, 0.999, 1e-8, 0, false, 0, " betas = (0.8, 0.95) , eps=1e-6,", {0}};
    NBT_OK(nb_optim_settle(&c, nb_optim_find("paged_adamw_8bit"), &err));
    assert_true(c.beta1 == 0.8 && c.beta2 == 0.95 && c.eps == 1e-6);
    c = (nb_optim_config){.args =
                              "eps=[1e-20, 0.01], clip_threshold=2, decay_rate=-0.5, beta1=0.7"};
    NBT_OK(nb_optim_settle(&c, nb_optim_find("adafactor"), &err));
    assert_true(c.o.factor_eps[0] == 1e-20 && c.o.factor_eps[1] == 0.01);
    assert_true(c.o.clip_threshold == 2 && c.o.decay_rate == -0.5 && c.o.first_moment == 0.7);
    const nb_optim_choice *choice;
    NBT_FAILS(NB_CONFIG, "did you mean \"adafactor\"?",
              nb_optim_choose(&choice, "adafactors", &err));
}

static void no_memory(void **state)
{
    (void)state;
    static const char *const names[] = {"adafactor", "lion_8bit", "sgd"};
    nb_error err = {0};
    const nb_optim_config c = {0.9, 0.99, 1e-8, 0, false, 0, NULL, {0}};
    setup s;
    open_setup(&s, 1);
    for (int i = 0; i < 3; i++) {
        size_t before = nbt_in_use();
        nb_optim *o = NULL;
        for (uint64_t k = 1; !o; k++) {
            nbi_alloc_fail_at(k, false);
            nb_status st = nb_optim_open(&o, names[i], &c, &s.exec, &s.params, NULL, &err);
            nbi_alloc_fail_at(0, false);
            assert_true(st == NB_OK || (st == NB_NOMEM && nbt_in_use() == before));
        }
        nb_optim_close(&o);
        assert_int_equal(nbt_in_use(), before);
    }
    close_setup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kind), cmocka_unit_test(loraplus),
                                       cmocka_unit_test(own_rate), cmocka_unit_test(options),
                                       cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
