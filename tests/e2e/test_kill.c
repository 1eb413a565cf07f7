/* SPDX-License-Identifier: MIT */
/* Processes that end anywhere: killed after each call of a save, killed or asked to stop at random
 * instants. The run that goes on ends as one that was left alone.
 * Everything runs with one thread, and each run that may end in a process of its own: OpenMP's
 * threads do not survive a fork. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include "testutil.h"
#include "train_util.h"
#include "tiny_world.h"
#include "resume_world.h"
#include "train/manifest.h"

static volatile sig_atomic_t stop_flag;

static void on_signal(int sig)
{
    (void)sig;
    stop_flag = 1;
}

typedef struct job {
    const char *out, *steps, *save_steps, *limit, *from;
    uint64_t kill_at; /* call after which the process ends; 0: none */
} job;

static nb_status do_job(const world *w, const job *j, nb_error *err)
{
    nb_train_hooks hooks = {.stop = &stop_flag};
    memset(err, 0, sizeof *err);
    return hard_train(w, j->out, &hooks, NULL, err, "max_steps", j->steps, "save_steps",
                      j->save_steps, "save_total_limit", j->limit, "logging_steps", "1",
                      "resume_from_checkpoint", j->from, NULL);
}

/* In a process of its own, which ends with 0 or the status' number. */
static pid_t start_job(const world *w, const job *j)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    nb_error err = {0};
    nbi_io_fail_at(j->kill_at, NBI_IO_FAULT_KILL, 0, false);
    _exit((int)do_job(w, j, &err));
}

/* Exit code, or -1 when the process was killed. */
static int end_of(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status)) {
        assert_int_equal(WTERMSIG(status), SIGKILL);
        return -1;
    }
    return WEXITSTATUS(status);
}

static bool is_whole(const char *out, int step)
{
    char *dir = step_dir(out, step);
    bool yes = nbi_manifest_check(dir, NULL) == NB_OK;
    nbi_free(dir);
    return yes;
}

/* ---- after each call ---- */

/* Two steps, a checkpoint that replaces the one before, and the result: at each instant one of the
 * two is whole, and every folder with a checkpoint's name is. */
static void after_each_call(void **state)
{
    world *w = *state;
    job j = {"", "4", "2", "0", "false", 0};
    char *base = place(w, "base"), *out = place(w, "calls");
    j.out = base;
    assert_int_equal(end_of(start_job(w, &j)), 0);
    const outcome whole = outcome_of(base, 4);
    j.out = out;
    j.limit = "1";
    j.from = "true";
    for (uint64_t k = 1;; k++) {
        begin_from(base, 2, out);
        j.kill_at = k;
        const int end = end_of(start_job(w, &j));
        const bool two = has_step(out, 2), four = has_step(out, 4);
        /* the old one may be half removed, but only once the new one is whole */
        if (four ? !is_whole(out, 4) : !two || !is_whole(out, 2))
            fail_msg("killed after call %d: no checkpoint is whole", (int)k);
        j.kill_at = 0;
        assert_int_equal(end_of(start_job(w, &j)), 0);
        const outcome o = outcome_of(out, 4);
        SAME_OUTCOME(o, whole);
        assert_int_equal(count_left(out), 0);
        if (end == 0) {
            print_message("%d calls\n", (int)k - 1);
            break;
        }
        assert_int_equal(end, -1);
    }
    nbi_free(base);
    nbi_free(out);
}

/* ---- at any time ---- */

static void pause_for(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    nanosleep(&t, NULL);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Sends the signal at random instants of a run of 24 steps that saves after each, until `n` hit;
 * when the run is through it begins again. */
static void at_random(world *w, int sig, int n, const char *name)
{
    nb_error err = {0};
    nbi_rng rng;
    char *base = place(w, "alone"), *out = place(w, name);
    job j = {base, "24", "1", "2", "false", 0};
    NBT_OK(nbi_remove_tree(base, &err));
    const double begin = now();
    assert_int_equal(end_of(start_job(w, &j)), 0);
    const double whole_run = now() - begin;
    const outcome whole = outcome_of(base, 24);
    nbi_rng_init(&rng, 11, NBI_RNG_SAMPLE, (uint64_t)sig);
    j.out = out;
    j.from = "true";
    for (int hits = 0, runs = 1; hits < n;) {
        pid_t pid = start_job(w, &j);
        pause_for(nbi_rng_f64(&rng) * whole_run * 0.6);
        kill(pid, sig);
        const int end = end_of(pid);
        hits += end != 0;
        if (end != 0)
            assert_int_equal(end, sig == SIGKILL ? -1 : (int)NB_INTERRUPTED);
        if (end != 0 && hits < n)
            continue;
        assert_int_equal(end_of(start_job(w, &j)), 0);
        const outcome o = outcome_of(out, 24);
        SAME_OUTCOME(o, whole);
        assert_int_equal(count_left(out), 0);
        if (hits >= n)
            print_message("%d hits in %d runs\n", hits, runs);
        runs++;
        NBT_OK(nbi_remove_tree(out, &err));
    }
    nbi_free(base);
    nbi_free(out);
}

static void killed_at_random(void **state)
{
    at_random(*state, SIGKILL, is_long("200 kills, else 40") ? 200 : 40, "kill");
}

static void stopped_at_random(void **state)
{
    at_random(*state, SIGTERM, is_long("200 stops, else 40") ? 200 : 40, "stop");
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGTERM, &sa, NULL); /* inherited, so that no signal comes before it */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_each_call),
        cmocka_unit_test(killed_at_random),
        cmocka_unit_test(stopped_at_random),
    };
    return cmocka_run_group_tests(tests, setup_in_memory, teardown);
}
