/* SPDX-License-Identifier: MIT */
/* Optimizer state in a file: the same updates, a bounded resident part, full disks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "base/io.h"
#include "base/rng.h"
#include "optim/optim.h"
#include "testutil.h"

#define MOST 4

typedef struct tensors {
    nb_exec exec;
    nb_param store[MOST];
    nb_param_list params;
} tensors;

static void open_tensors(tensors *s, const int64_t *sizes, int n)
{
    nb_error err = {0};
    nbi_rng rng;
    nbi_rng_init(&rng, 11, NBI_RNG_INIT, 0);
    *s = (tensors){0};
    nb_kernels_init(&s->exec.k, nb_cpu_flags());
    NBT_OK(nb_queue_open(&s->exec.q, 2, &err));
    for (int i = 0; i < n; i++) {
        nb_param *p = &s->store[i];
        p->n = sizes[i];
        p->value = nbi_alloc(NBI_MEM_OTHER, (size_t)p->n * sizeof(float));
        p->grad = nbi_alloc(NBI_MEM_OTHER, (size_t)p->n * sizeof(float));
        for (int64_t j = 0; j < p->n; j++) {
            p->value[j] = (float)(nbi_rng_f64(&rng) - 0.5);
            p->grad[j] = (float)(nbi_rng_f64(&rng) - 0.5) * (j % 5 == 0 ? 1e-4f : 1.0f);
        }
        nbi_array_push(&s->params, p);
    }
}

static void close_tensors(tensors *s)
{
    for (size_t i = 0; i < s->params.n; i++)
        nbi_free(s->store[i].value), nbi_free(s->store[i].grad);
    nbi_array_free(&s->params);
    nb_queue_close(&s->exec.q);
}

/* Tensors of less than a block, of some pieces and a bit, below and above 4096. */
static const int64_t ragged[MOST] = {7, 2 * NB_OPTIM_PIECE + 777, 4095, 5001};

static void *state_of(const nb_optim *o, size_t i, int j, size_t *bytes)
{
    const nb_optim_state *s = &nb_optim_states(o, i)[j];
    *bytes = (size_t)((o->params->v[i]->n + s->block - 1) / s->block) * nb_dtype_size(s->dtype);
    void *p = malloc(*bytes);
    nb_optim_get_state(o, i, j, p);
    return p;
}

static void same_states(const nb_optim *a, const nb_optim *b)
{
    for (size_t i = 0; i < a->params->n; i++)
        for (int j = 0; nb_optim_states(a, i)[j].name; j++) {
            size_t n, m;
            void *x = state_of(a, i, j, &n), *y = state_of(b, i, j, &m);
            assert_int_equal(n, m);
            assert_memory_equal(x, y, n);
            free(x);
            free(y);
        }
}

static void check_same(const char *plain, const char *paged)
{
    nb_error err = {0};
    const nb_optim_config c = {0.9, 0.999, 1e-8, 0.1, true};
    char *dir = nbt_tmpdir();
    tensors s[2];
    nb_optim *o[2];
    for (int k = 0; k < 2; k++) {
        open_tensors(&s[k], ragged, MOST);
        NBT_OK(nb_optim_open(&o[k], k ? paged : plain, &c, &s[k].exec, &s[k].params, dir, &err));
    }
    /* the file has no name */
    char **names;
    size_t n_names;
    NBT_OK(nbi_list_dir(dir, &names, &n_names, &err));
    assert_int_equal(n_names, 0);
    nbi_list_dir_free(names, n_names);
    for (int t = 1; t <= 3; t++)
        for (int k = 0; k < 2; k++)
            NBT_OK(nb_optim_update(o[k], 0.01 / t, 0.5, &err));
    for (int i = 0; i < MOST; i++)
        assert_memory_equal(s[0].store[i].value, s[1].store[i].value,
                            (size_t)ragged[i] * sizeof(float));
    same_states(o[0], o[1]);
    /* state put into a fresh optimizer goes on the same way */
    nb_optim *fresh;
    NBT_OK(nb_optim_open(&fresh, paged, &c, &s[1].exec, &s[1].params, dir, &err));
    fresh->step = o[0]->step;
    for (size_t i = 0; i < MOST; i++)
        for (int j = 0; nb_optim_states(fresh, i)[j].name; j++) {
            size_t n;
            void *x = state_of(o[0], i, j, &n);
            nb_optim_set_state(fresh, i, j, x);
            free(x);
        }
    NBT_OK(nb_optim_update(o[0], 0.01, 1, &err));
    NBT_OK(nb_optim_update(fresh, 0.01, 1, &err));
    for (int i = 0; i < MOST; i++)
        assert_memory_equal(s[0].store[i].value, s[1].store[i].value,
                            (size_t)ragged[i] * sizeof(float));
    same_states(o[0], fresh);
    nb_optim_close(&fresh);
    for (int k = 0; k < 2; k++) {
        nb_optim_close(&o[k]);
        close_tensors(&s[k]);
    }
    nbt_tmpdir_remove(dir);
}

static void same_updates(void **state)
{
    (void)state;
    check_same("adamw_torch", "paged_adamw_32bit");
    check_same("adamw_8bit", "paged_adamw_8bit");
}

static void resident_part(void **state)
{
    (void)state;
    nb_error err = {0};
    static const int64_t sizes[] = {6000000, 100, 1000000}; /* 53 MiB of state */
    const nb_optim_config c = {0.9, 0.999, 1e-8, 0, false};
    char *dir = nbt_tmpdir();
    tensors s;
    nb_optim *o;
    open_tensors(&s, sizes, 3);
    NBT_OK(nb_optim_open(&o, "paged_adamw", &c, &s.exec, &s.params, dir, &err));
    nb_optim_bytes b = nb_optim_memory(o->choice, &c, &s.params);
    assert_int_equal(b.resident, NB_OPTIM_PAGED_RESIDENT);
    assert_in_range(b.paged, 8 * 7000100, 8 * 7000100 + 100000);
    /* the peak is raised to what is there now, so that it shows the update alone; the kernel counts
     * pages in batches, hence a margin */
    const size_t margin = (size_t)1 << 20;
    size_t peak = nbi_mem_rss_peak(), now = nbi_mem_rss(), fill = peak - now + 2 * margin;
    char *ballast = malloc(fill);
    memset(ballast, 1, fill);
    peak = nbi_mem_rss_peak();
    now = nbi_mem_rss();
    for (int t = 0; t < 2; t++)
        NBT_OK(nb_optim_update(o, 0.01, 1, &err));
    assert_in_range(nbi_mem_rss_peak(), 0, peak + NB_OPTIM_PAGED_RESIDENT + margin);
    assert_in_range(nbi_mem_rss(), 0, now + margin);
    assert_int_equal(ballast[fill / 2], 1);
    free(ballast);
    nb_optim_close(&o);
    close_tensors(&s);
    nbt_tmpdir_remove(dir);
}

static void failures(void **state)
{
    (void)state;
    nb_error err = {0};
    const nb_optim_config c = {0.9, 0.999, 1e-8, 0, false};
    char *dir = nbt_tmpdir(), *missing = nbt_join(dir, "missing");
    tensors s;
    nb_optim *o;
    open_tensors(&s, ragged, 1);
    NBT_FAILS(NB_NOTFOUND, "missing",
              nb_optim_open(&o, "paged_adamw", &c, &s.exec, &s.params, missing, &err));
    size_t before = nbt_in_use();
    for (uint64_t k = 1; k < 20; k++) {
        nbi_io_fail_at(k, NBI_IO_FAULT_ERRNO, ENOSPC, false);
        nb_status st = nb_optim_open(&o, "paged_adamw", &c, &s.exec, &s.params, dir, &err);
        nbi_io_fail_at(0, 0, 0, false);
        if (st == NB_OK) {
            nb_optim_close(&o);
        } else {
            assert_int_equal(st, NB_IO);
            assert_non_null(strstr(err.message, "No space left"));
        }
        assert_int_equal(nbt_in_use(), before);
        if (k == 1 || k == 3)
            assert_int_equal(st, NB_IO); /* open, unlink, reserve, map, close */
    }
    /* more than any disk has */
    nb_param huge = {.n = (int64_t)1 << 42};
    nb_param_list list = {0};
    nbi_array_push(&list, &huge);
    NBT_FAILS(NB_IO, "room", nb_optim_open(&o, "paged_adamw", &c, &s.exec, &list, dir, &err));
    nbi_array_free(&list);
    nbi_free(missing);
    close_tensors(&s);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_updates),
        cmocka_unit_test(resident_part),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
