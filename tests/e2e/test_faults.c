/* SPDX-License-Identifier: MIT */
/* Failing calls and memory while a run loads a checkpoint and saves the next one: what was there
 * stays, nothing leaks, and the run that goes on ends as one to which nothing happened. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include "testutil.h"
#include "train_util.h"
#include "tiny_world.h"
#include "resume_world.h"
#include "train/manifest.h"

static size_t open_files(void)
{
    char **names;
    size_t n;
    nb_error err;
    NBT_OK(nbi_list_dir("/proc/self/fd", &names, &n, &err));
    nbi_list_dir_free(names, n);
    return n;
}

/* Two steps from checkpoint-2, then checkpoint-4, which replaces it, and the result. */
static nb_status go_on(const world *w, const char *out, const nb_train_hooks *hooks,
                       const char *full, nb_error *err)
{
    memset(err, 0, sizeof *err);
    return hard_train(w, out, hooks, NULL, err, "max_steps", "4", "save_steps", "2",
                      "save_total_limit", "1", "logging_steps", "1", "on_disk_full", full,
                      "disk_full_retry", "0", "resume_from_checkpoint", "true", NULL);
}

static char *make_base(const world *w, outcome *whole)
{
    nb_error err = {0};
    char *base = place(w, "base");
    NBT_OK(hard_train(w, base, NULL, NULL, &err, "max_steps", "4", "save_steps", "2",
                      "logging_steps", "1", NULL));
    *whole = outcome_of(base, 4);
    return base;
}

static bool is_whole(const char *out, int step)
{
    char *dir = step_dir(out, step);
    bool yes = nbi_manifest_check(dir, NULL) == NB_OK;
    nbi_free(dir);
    return yes;
}

/* Whatever failed: one of the two is whole, and going on gives the same run. */
static void check_recovery(const world *w, const char *out, const outcome *whole, uint64_t k)
{
    nb_error err = {0};
    if (!is_whole(out, 2) && !is_whole(out, 4))
        fail_msg("call %d: no checkpoint is whole", (int)k);
    NBT_OK(go_on(w, out, NULL, "exit", &err));
    const outcome o = outcome_of(out, 4);
    SAME_OUTCOME(o, *whole);
    assert_int_equal(count_left(out), 0);
}

typedef struct mode {
    const char *name;
    nbi_io_fault kind;
    int why;
    bool harmless; /* the run does not even notice */
} mode;

static void every_call(void **state)
{
    static const mode modes[] = {{"EIO", NBI_IO_FAULT_ERRNO, EIO, false},
                                 {"ENOSPC", NBI_IO_FAULT_ERRNO, ENOSPC, false},
                                 {"short write, then ENOSPC", NBI_IO_FAULT_SHORT, ENOSPC, false},
                                 {"EINTR", NBI_IO_FAULT_ERRNO, EINTR, true},
                                 {"half a write", NBI_IO_FAULT_PART, 0, true}};
    world *w = *state;
    nb_error err = {0};
    outcome whole;
    char *base = make_base(w, &whole), *out = place(w, "calls");
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        for (uint64_t k = 1;; k++) {
            begin_from(base, 2, out);
            const size_t memory = nbt_in_use(), files = open_files();
            nbi_io_fail_at(k, modes[m].kind, modes[m].why, false);
            nb_status st = go_on(w, out, NULL, "exit", &err);
            const uint64_t calls = nbi_io_count();
            nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
            assert_int_equal(nbt_in_use(), memory);
            assert_int_equal(open_files(), files);
            if (st != NB_OK && (modes[m].harmless || err.code != st || !err.message[0]))
                fail_msg("%s at call %d: %s", modes[m].name, (int)k, err.message);
            check_recovery(w, out, &whole, k);
            if (calls < k) {
                assert_int_equal(st, NB_OK);
                print_message("%s: %d calls\n", modes[m].name, (int)k - 1);
                break;
            }
        }
    }
    nbi_free(base);
    nbi_free(out);
}

/* ---- a full disk ---- */

/* The run waits and ends as if there had been room all the time. */
static void waits_for_room(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    nb_log log = {collect_line, &said};
    nb_train_hooks hooks = {.log = &log};
    outcome whole;
    char *base = make_base(w, &whole), *out = place(w, "room");
    uint64_t calls = UINT64_MAX;
    int waited = 0;
    for (uint64_t k = 1; k <= calls; k += 3) {
        begin_from(base, 2, out);
        nbi_strbuf_clear(&said);
        nbi_io_fail_at(k, k % 2 ? NBI_IO_FAULT_ERRNO : NBI_IO_FAULT_SHORT, ENOSPC, false);
        nb_status st = go_on(w, out, &hooks, "wait", &err);
        calls = nbi_io_count();
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
        bool waits = strstr(nbi_strbuf_str(&said), "The run waits") != NULL;
        if (waits) {
            NBT_OK(st);
            assert_non_null(strstr(nbi_strbuf_str(&said), "there is room again"));
            const outcome o = outcome_of(out, 4);
            SAME_OUTCOME(o, whole);
            waited++;
        }
        if (st != NB_OK)
            calls = UINT64_MAX; /* it ended early */
    }
    assert_true(waited > 20);
    nbi_strbuf_free(&said);
    nbi_free(base);
    nbi_free(out);
}

static volatile sig_atomic_t stop_flag;

static void stop_when_waiting(void *user, nb_log_level level, const char *line)
{
    collect_line(user, level, line);
    if (strstr(line, "The run waits"))
        stop_flag = 1;
}

/* A disk that stays full: a signal ends the wait, `exit` ends the run; both name what happened. */
static void gives_up(void **state)
{
    world *w = *state;
    nb_error err = {0};
    nbi_strbuf said = {0};
    nb_log log = {stop_when_waiting, &said};
    nb_train_hooks hooks = {.log = &log, .stop = &stop_flag};
    outcome whole;
    char *base = make_base(w, &whole), *out = place(w, "stays");
    int waited = 0;
    for (uint64_t k = 40; !waited; k++) {
        begin_from(base, 2, out);
        stop_flag = 0;
        nbi_io_fail_at(k, NBI_IO_FAULT_ERRNO, ENOSPC, true);
        nb_status st = go_on(w, out, &hooks, "wait", &err);
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
        waited = stop_flag;
        if (!waited)
            continue;
        assert_int_equal(st, NB_IO);
        assert_non_null(strstr(err.message, "checkpoint of step 4"));
        assert_int_equal(err.os_error, ENOSPC);
        assert_true(is_whole(out, 2));
        stop_flag = 0;
        nbi_io_fail_at(k, NBI_IO_FAULT_ERRNO, ENOSPC, true);
        st = go_on(w, out, &hooks, "exit", &err);
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
        assert_int_equal(st, NB_IO);
    }
    check_recovery(w, out, &whole, 0);
    nbi_strbuf_free(&said);
    nbi_free(base);
    nbi_free(out);
}

/* ---- memory ---- */

static void every_allocation(void **state)
{
    world *w = *state;
    nb_error err = {0};
    outcome whole;
    char *base = make_base(w, &whole), *out = place(w, "memory");
    const bool all = is_long("recovery after each failed allocation, else after each 16th");
    for (uint64_t k = 1;; k++) {
        begin_from(base, 2, out);
        nb_recipe *r = recipe(w, out, hard);
        nbt_setting more[] = {{"eval_data", w->eval},
                              {"max_steps", "4"},
                              {"save_steps", "2"},
                              {"save_total_limit", "1"},
                              {"logging_steps", "1"},
                              {"resume_from_checkpoint", "true"},
                              {NULL, NULL}};
        for (nbt_setting *s = more; s->key; s++)
            NBT_OK(nb_recipe_set(r, s->key, s->value, &err));
        const size_t memory = nbt_in_use(), files = open_files();
        memset(&err, 0, sizeof err);
        nbi_alloc_fail_at(k, false);
        nb_status st = nb_train(r, NULL, NULL, &err);
        const uint64_t calls = nbi_alloc_count();
        nbi_alloc_fail_at(0, false);
        nb_recipe_free(&r);
        assert_true(nbt_in_use() <= memory);
        assert_int_equal(open_files(), files);
        if (st != NB_OK && st != NB_NOMEM)
            fail_msg("allocation %d: %s: %s", (int)k, nb_status_text(st), err.message);
        if (!is_whole(out, 2) && !is_whole(out, 4))
            fail_msg("allocation %d: no checkpoint is whole", (int)k);
        if (all || k % 16 == 0)
            check_recovery(w, out, &whole, k);
        if (calls < k) {
            assert_int_equal(st, NB_OK);
            print_message("%d allocations\n", (int)k - 1);
            break;
        }
    }
    nbi_free(base);
    nbi_free(out);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call),
        cmocka_unit_test(waits_for_room),
        cmocka_unit_test(gives_up),
        cmocka_unit_test(every_allocation),
    };
    return cmocka_run_group_tests(tests, setup_in_memory, teardown);
}
