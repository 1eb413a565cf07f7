/* SPDX-License-Identifier: MIT */
/* Twenty steps of each optimizer on fixed gradients against the reference libraries' ones. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "optim/optim.h"
#include "oracle/oracle_util.h"

enum { STEPS = 20, TENSORS = 3 };
static const char *const letter[TENSORS] = {"a", "b", "c"};

typedef struct run {
    char *dir;
    nb_exec exec;
    nb_param store[TENSORS];
    float *grads[TENSORS]; /* [STEPS][n] */
    nb_param_list params;
} run;

static void open_run(run *r, int level)
{
    static const unsigned levels[] = {0, NB_CPU_AVX2, NB_CPU_AVX2 | NB_CPU_AVX512};
    nb_error err = {0};
    *r = (run){.dir = nbt_join(nbt_oracle(), "optim")};
    nb_kernels_init(&r->exec.k, nb_cpu_flags() & levels[level]);
    NBT_OK(nb_queue_open(&r->exec.q, 2, &err));
    nb_safetensors *st = oracle_open(r->dir, "inputs.safetensors");
    assert_non_null(st);
    for (int i = 0; i < TENSORS; i++) {
        char name[32];
        int64_t n;
        nb_param *p = &r->store[i];
        snprintf(name, sizeof name, "param.%s", letter[i]);
        p->value = oracle_f32(st, name, &p->n);
        snprintf(name, sizeof name, "grad.%s", letter[i]);
        r->grads[i] = oracle_f32(st, name, &n);
        assert_int_equal(n, STEPS * p->n);
        nbi_array_push(&r->params, p);
    }
    nb_safetensors_close(&st);
}

static void close_run(run *r)
{
    for (int i = 0; i < TENSORS; i++) {
        free(r->store[i].value);
        free(r->grads[i]);
    }
    nbi_array_free(&r->params);
    nb_queue_close(&r->exec.q);
    nbi_free(r->dir);
}

typedef struct worst {
    double max, first, rms; /* over all, after step 1, after step 20 over a tensor */
    int64_t codes, equal;
} worst;

static void compare_values(const run *r, const nb_safetensors *want, int step, worst *w)
{
    for (int i = 0; i < TENSORS; i++) {
        char name[48];
        int64_t n;
        snprintf(name, sizeof name, "%s.step%d", letter[i], step);
        float *v = oracle_f32(want, name, &n);
        if (!v) {
            snprintf(name, sizeof name, "%s.step%d.head", letter[i], step);
            v = oracle_f32(want, name, &n);
        }
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            double d = fabs((double)v[j] - (double)r->store[i].value[j]);
            w->max = oracle_worse(w->max, d);
            if (step == 1)
                w->first = oracle_worse(w->first, d);
            sum += d * d;
        }
        if (step == STEPS && n > 0)
            w->rms = oracle_worse(w->rms, sqrt(sum / (double)n));
        free(v);
    }
}

static void compare_codes(const nb_optim *o, const nb_safetensors *want, worst *w)
{
    for (size_t i = 0; i < TENSORS; i++)
        for (int j = 0; nb_optim_states(o, i)[j].name; j++) {
            const nb_optim_state *s = &nb_optim_states(o, i)[j];
            char name[48];
            snprintf(name, sizeof name, "%s.%s", letter[i], s->name);
            const nb_st_tensor *t = nb_safetensors_find(want, name);
            assert_non_null(t);
            assert_true(t->dtype == s->dtype);
            unsigned char *got = malloc(t->bytes);
            nb_optim_get_state(o, i, j, got);
            if (s->dtype == NB_DT_U8) {
                w->codes += (int64_t)t->bytes;
                for (size_t k = 0; k < t->bytes; k++)
                    w->equal += got[k] == ((const uint8_t *)t->data)[k];
            }
            free(got);
        }
}

/* A case of optim.json. */
typedef struct one_case {
    const char *key;
    const nbi_json *j;
    nb_optim_config config;
    double lr;
    bool codes; /* moments in 8 bits */
    char args[300];
    const char *names[3]; /* optimizers that must give it */
} one_case;

/* An option as optim_args spells it: lists in brackets, values as they stand in the file. */
static void add_arg(one_case *c, const char *name)
{
    const nbi_json *v = nbi_json_get(c->j, name);
    size_t n = strlen(c->args);
    if (!v || nbi_json_is_null(v))
        return;
    if (v->type == NBI_JT_ARRAY)
        snprintf(c->args + n, sizeof c->args - n, "%s%s=(%s, %s)", n ? ", " : "", name,
                 nbi_json_at(v, 0)->text, nbi_json_at(v, 1)->text);
    else
        snprintf(c->args + n, sizeof c->args - n, "%s%s=%s", n ? ", " : "", name,
                 v->type == NBI_JT_BOOL ? (v->boolean ? "true" : "false") : v->text);
}

static void add_args(one_case *c, const char *const *names)
{
    for (; *names; names++)
        add_arg(c, *names);
}

/* Which optimizers a case is for; false when it is for information only. */
static bool choose(one_case *c, const char *cls)
{
    static const char *const sgd[] = {"momentum", "dampening", "nesterov", NULL};
    static const char *const adam[] = {"betas", "eps", NULL}, *const lion[] = {"betas", NULL};
    static const char *const factor[] = {
        "eps",           "clip_threshold", "decay_rate", "beta1", "scale_parameter",
        "relative_step", "warmup_init",    NULL};
    c->codes = strstr(cls, "emulation") != NULL;
    if (!c->codes && strstr(c->key, "8bit"))
        return false;
    if (c->codes && strstr(c->key, "lion")) {
        c->names[0] = "lion_8bit", c->names[1] = "paged_lion_8bit";
        add_args(c, lion);
    } else if (c->codes) {
        c->names[0] = "adamw_8bit", c->names[1] = "paged_adamw_8bit";
        add_args(c, adam);
    } else if (strstr(cls, "Adafactor")) {
        c->names[0] = "adafactor";
        add_args(c, factor);
    } else if (strstr(cls, "Lion")) {
        c->names[0] = "lion_32bit", c->names[1] = "paged_lion_32bit";
        add_args(c, lion);
    } else if (strstr(cls, "SGD")) {
        c->names[0] = "sgd";
        add_args(c, sgd);
    } else if (strstr(cls, "AdamW")) {
        c->names[0] = "adamw_torch", c->names[1] = "paged_adamw_32bit";
        add_args(c, adam);
    } else if (strstr(cls, "Adam")) {
        c->names[0] = "adam";
        add_args(c, adam);
    }
    return c->names[0] != NULL;
}

static bool read_case(one_case *c, const nbi_json *j)
{
    *c = (one_case){.key = j->key, .j = j, .lr = oracle_number(j, "lr", NAN)};
    c->config =
        (nb_optim_config){.weight_decay = oracle_number(j, "weight_decay", 0), .decay_all = true};
    const bool known = choose(c, nbi_json_get(j, "cls")->text);
    c->config.args = c->args;
    return known;
}

/* The shapes that a case was run with; vectors where it names none. */
static void set_shapes(run *r, const one_case *c)
{
    const nbi_json *shapes = nbi_json_get(c->j, "shapes");
    for (int i = 0; i < TENSORS; i++) {
        nb_param *p = &r->store[i];
        const nbi_json *s = nbi_json_get(shapes, letter[i]);
        p->rank = s ? (int)s->n : 1;
        p->shape[0] = p->n;
        for (int k = 0; s && k < p->rank; k++)
            assert_true(nbi_json_to_i64(nbi_json_at(s, (size_t)k), &p->shape[k]));
    }
}

static worst run_case(const one_case *c, const char *optim, int level)
{
    static const int logged[] = {1, 2, 5, 10, 20};
    nb_error err = {0};
    worst w = {0};
    run r;
    nb_optim *o;
    char *dir = nbt_tmpdir(), file[100];
    open_run(&r, level);
    set_shapes(&r, c);
    snprintf(file, sizeof file, "%s.safetensors", c->key);
    nb_safetensors *want = oracle_open(r.dir, file);
    assert_non_null(want);
    NBT_OK(nb_optim_open(&o, optim, &c->config, &r.exec, &r.params, dir, &err));
    for (int step = 1, k = 0; step <= STEPS; step++) {
        for (int i = 0; i < TENSORS; i++)
            r.store[i].grad = r.grads[i] + (step - 1) * r.store[i].n;
        NBT_OK(nb_optim_update(o, c->lr, 1, &err));
        if (step == logged[k]) {
            compare_values(&r, want, step, &w);
            k++;
        }
    }
    if (nb_safetensors_find(want, "b.absmax1"))
        compare_codes(o, want, &w);
    nb_optim_close(&o);
    nb_safetensors_close(&want);
    close_run(&r);
    nbt_tmpdir_remove(dir);
    return w;
}

/* The README's tolerances. */
static bool judge(const one_case *c, const char *optim, int level)
{
    const worst w = run_case(c, optim, level);
    oracle_line l = {0};
    if (c->codes) {
        oracle_figure(&l, "step 1", w.first, 1e-6);
        oracle_figure(&l, "step 20 rms", w.rms, 3e-4);
        oracle_figure(&l, "other codes",
                      (double)(w.codes - w.equal) / (double)(w.codes ? w.codes : 1), 0.002);
        assert_true(w.codes > 0);
    } else {
        oracle_figure(&l, "weights", w.max, 1e-5);
    }
    printf("%-18s %-26s level %d%s\n", optim, c->key, level, l.text);
    return !l.bad;
}

static void test_updates(void **state)
{
    (void)state;
    nbi_arena arena;
    char *dir = nbt_join(nbt_oracle(), "optim");
    bool good = true;
    int ran = 0;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    const nbi_json *all = nbi_json_get(oracle_json(&arena, dir, "optim.json"), "optimizers");
    for (const nbi_json *j = all ? all->first : NULL; j; j = j->next) {
        one_case c;
        if (!read_case(&c, j)) {
            printf("%s: for information only\n", j->key);
            continue;
        }
        for (int level = 0; level < 3; level++)
            for (int k = 0; c.names[k]; k++)
                good = judge(&c, c.names[k], level) && good;
        ran++;
    }
    nbi_arena_free(&arena);
    nbi_free(dir);
    assert_true(ran > 0 && good);
}

static void test_maps(void **state)
{
    (void)state;
    char *dir = nbt_join(nbt_oracle(), "optim");
    nb_safetensors *st = oracle_open(dir, "dynamic_maps.safetensors");
    assert_non_null(st);
    for (int b = 0; b < 2; b++) {
        int64_t n;
        float map[256], *want = oracle_f32(st, b ? "unsigned" : "signed", &n);
        assert_int_equal(n, 256);
        (b ? nb_dynamic_map_unsigned : nb_dynamic_map_signed)(map);
        assert_memory_equal(map, want, sizeof map);
        free(want);
    }
    nb_safetensors_close(&st);
    nbi_free(dir);
}

int main(void)
{
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_maps), cmocka_unit_test(test_updates)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
