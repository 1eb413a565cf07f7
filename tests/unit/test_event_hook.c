/* SPDX-License-Identifier: MIT */
/* on_event: what the command reads, commands that fail, hang or never read, and no zombie after. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include "testutil.h"
#include "train/event_hook.h"

typedef struct said {
    int n;
    char last[400];
} said;

static void keep(void *user, nb_log_level level, const char *line)
{
    said *s = user;
    assert_int_equal(level, NB_LOG_WARN);
    snprintf(s->last, sizeof s->last, "%s", line);
    s->n++;
}

static void no_children(void)
{
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void send_text(nbi_event_hook *h, const char *text)
{
    nbi_event_hook_send(h, text, strlen(text));
}

static void arrives(void **state)
{
    (void)state;
    said s = {0};
    nb_log log = {keep, &s};
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "it's"), command[600];
    /* by the environment: the path needs no quoting */
    setenv("EVENT_FILE", path, 1);
    snprintf(command, sizeof command, "cat >>\"$EVENT_FILE\"");
    nbi_event_hook *h = nbi_event_hook_open(command, &log);
    send_text(h, "{\"event\": \"start\"}\n");
    nbi_event_hook_close(&h);
    assert_null(h);
    h = nbi_event_hook_open(command, &log);
    static char large[NBI_EVENT_MAX + 1];
    memset(large, 'x', sizeof large);
    nbi_event_hook_send(h, large, NBI_EVENT_MAX);
    nbi_event_hook_close(&h);
    size_t n;
    char *text = nbt_read(path, &n);
    assert_int_equal(n, 19 + NBI_EVENT_MAX);
    assert_memory_equal(text, "{\"event\": \"start\"}\nxxx", 22);
    assert_int_equal(s.n, 0);
    no_children();
    h = nbi_event_hook_open(command, &log);
    nbi_event_hook_send(h, large, sizeof large);
    nbi_event_hook_close(&h);
    assert_int_equal(s.n, 1);
    nbi_free(text);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void fails(void **state)
{
    (void)state;
    static const char *const commands[][2] = {{"exit 3", "exit code (3)"},
                                              {"no-such-command-anywhere 2>/dev/null", "(127)"},
                                              {"kill -KILL $$", "signal (9)"}};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        said s = {0};
        nb_log log = {keep, &s};
        nbi_event_hook *h = nbi_event_hook_open(commands[i][0], &log);
        for (int k = 0; k < 3; k++)
            send_text(h, "{}\n");
        nbi_event_hook_close(&h);
        assert_int_equal(s.n, 1); /* said once */
        if (!strstr(s.last, commands[i][1]))
            fail_msg("%s", s.last);
        no_children();
    }
    nbi_event_hook_send(NULL, "", 0);
}

/* Commands that never read and run on do not hold the run up; nor does a closed pipe. */
static void hangs(void **state)
{
    (void)state;
    said s = {0};
    nb_log log = {keep, &s};
    signal(SIGPIPE, SIG_DFL);
    nbi_event_hook *h = nbi_event_hook_open("exec <&-; exec sleep 1", &log);
    for (int i = 0; i < NBI_EVENTS_RUNNING + 3; i++)
        send_text(h, "{\"event\": \"eval\"}\n");
    assert_int_equal(s.n, 1);
    assert_non_null(strstr(s.last, "does not end"));
    nbi_event_hook_close(&h);
    assert_int_equal(s.n, 1);
    no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(arrives), cmocka_unit_test(fails),
                                       cmocka_unit_test(hangs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
