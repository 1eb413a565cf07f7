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

static worst run_case(const char *file, const char *optim, const nb_optim_config *c, int level)
{
    static const int logged[] = {1, 2, 5, 10, 20};
    nb_error err = {0};
    worst w = {0};
    run r;
    nb_optim *o;
    char *dir = nbt_tmpdir();
    open_run(&r, level);
    nb_safetensors *want = oracle_open(r.dir, file);
    assert_non_null(want);
    NBT_OK(nb_optim_open(&o, optim, c, &r.exec, &r.params, dir, &err));
    for (int step = 1, k = 0; step <= STEPS; step++) {
        for (int i = 0; i < TENSORS; i++)
            r.store[i].grad = r.grads[i] + (step - 1) * r.store[i].n;
        NBT_OK(nb_optim_update(o, 0.01, 1, &err));
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

static bool bad;

static void say(const char *optim, const char *file, int level, oracle_line *l)
{
    printf("%-18s %-24s level %d%s\n", optim, file, level, l->text);
    bad = bad || l->bad;
}

static void test_f32(void **state)
{
    (void)state;
    static const char *const names[] = {"adamw_torch", "paged_adamw_32bit"};
    const nb_optim_config plain = {0.9, 0.999, 1e-8, 0.1, true}, b95 = {0.9, 0.95, 1e-6, 0, false};
    for (int level = 0; level < 3; level++)
        for (int k = 0; k < 4; k++) {
            const char *file = k < 2 ? "adamw.safetensors" : "adamw_b95.safetensors";
            worst w = run_case(file, names[k % 2], k < 2 ? &plain : &b95, level);
            oracle_line l = {0};
            oracle_figure(&l, "weights", w.max, 1e-5);
            say(names[k % 2], file, level, &l);
        }
    assert_false(bad);
}

static void test_8bit(void **state)
{
    (void)state;
    static const char *const names[] = {"adamw_8bit", "paged_adamw_8bit"};
    const nb_optim_config c = {0.9, 0.999, 1e-8, 0.1, true};
    for (int level = 0; level < 3; level++)
        for (int k = 0; k < 2; k++) {
            worst w = run_case("adamw_8bit.safetensors", names[k], &c, level);
            oracle_line l = {0};
            oracle_figure(&l, "step 1", w.first, 1e-6);
            oracle_figure(&l, "step 20 rms", w.rms, 3e-4);
            oracle_figure(&l, "other codes",
                          (double)(w.codes - w.equal) / (double)(w.codes ? w.codes : 1), 0.002);
            assert_int_equal(w.codes, 2 * 25000);
            say(names[k], "adamw_8bit.safetensors", level, &l);
        }
    assert_false(bad);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_maps), cmocka_unit_test(test_f32),
                                       cmocka_unit_test(test_8bit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
