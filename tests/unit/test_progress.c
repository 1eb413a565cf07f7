/* SPDX-License-Identifier: MIT */
/* The live line: it fits every width, what matters stays longest, and only a terminal gets escape
 * codes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include "testutil.h"
#include "../../cli/progress.h"

static const nb_train_progress some = {.step = 120,
                                       .total_steps = 400,
                                       .epoch = 0.96,
                                       .loss = 0.38774,
                                       .grad_norm = 1,
                                       .learning_rate = 0.0011,
                                       .tokens_per_second = 16650,
                                       .seconds = 6.5,
                                       .seconds_left = 15.2,
                                       .eval_loss = NAN,
                                       .logged = true};

static void fits(void **state)
{
    (void)state;
    char text[256], small[30];
    nb_train_progress s = some;
    for (int columns = 1; columns <= 250; columns++) {
        cli_progress_text(&s, 97e6, 0.054, columns, text, sizeof text);
        assert_true((int)strlen(text) <= (columns > 1 ? columns - 1 : 0));
        for (const char *c = text; *c; c++)
            assert_true(*c >= ' ' && *c < 127);
        if (columns >= 9)
            assert_non_null(strstr(text, "120/400"));
    }
    cli_progress_text(&s, 97e6, 0.054, 200, text, sizeof text);
    assert_string_equal(text,
                        "[############............................] 120/400  epoch 0.96/3.2  loss "
                        "0.3877  lr 0.0011  16650 tok/s  93 MiB  step 54 ms  epoch ends in "
                        "0s  15s left");
    cli_progress_text(&s, 97e6, 0.054, 40, text, sizeof text);
    assert_string_equal(text, "120/400  loss 0.3877  15s left");
    /* numbers that are not finite, and nothing known yet */
    s.loss = NAN, s.tokens_per_second = INFINITY, s.seconds_left = NAN, s.epoch = 0, s.step = 0;
    cli_progress_text(&s, 0, 0, 200, text, sizeof text);
    assert_non_null(strstr(text, "loss nan"));
    s.total_steps = INT64_MAX, s.step = INT64_MAX, s.seconds_left = 1e300, s.loss = -1e300;
    cli_progress_text(&s, 1e300, 1e300, 200, text, sizeof text);
    cli_progress_text(&s, 1e300, 1e300, 200, small, sizeof small);
    assert_true(strlen(small) < sizeof small);
}

/* What `progress` prints to a file descriptor that takes the place of stderr. */
static void print_to(int fd, const char *term)
{
    cli_progress p;
    nb_train_progress s = some;
    const int saved = dup(2);
    setenv("TERM", term, 1);
    assert_true(dup2(fd, 2) == 2);
    cli_progress_init(&p);
    for (s.step = 398; s.step <= s.total_steps; s.step++)
        cli_progress_step(&p, &s);
    cli_progress_log(&p, NB_LOG_NOTE, "a line");
    s.eval_loss = 1.5;
    cli_progress_step(&p, &s);
    cli_progress_end(&p);
    fflush(stderr);
    assert_true(dup2(saved, 2) == 2);
    close(saved);
}

static size_t read_all(int fd, char *buf, size_t n)
{
    size_t at = 0;
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (ssize_t got; at + 1 < n && (got = read(fd, buf + at, n - 1 - at)) > 0;)
        at += (size_t)got;
    buf[at] = 0;
    return at;
}

static void elsewhere(void **state)
{
    (void)state;
    static char text[20000];
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    print_to(ends[1], "xterm");
    close(ends[1]);
    read_all(ends[0], text, sizeof text);
    close(ends[0]);
    assert_null(strchr(text, '\033'));
    assert_null(strchr(text, '\r'));
    assert_non_null(strstr(text, "step 400/400  epoch 0.96  loss 0.3877"));
    assert_non_null(strstr(text, "a line\n"));
    assert_non_null(strstr(text, "loss 1.5000  perplexity 4.482\n"));
}

static void on_a_terminal(void **state)
{
    (void)state;
    static char text[20000];
    const struct winsize size = {.ws_row = 24, .ws_col = 60};
    int master = posix_openpt(O_RDWR | O_NOCTTY), slave = -1;
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0)
        slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size) != 0)
        skip();
    print_to(slave, "xterm");
    read_all(master, text, sizeof text);
    assert_non_null(strstr(text, "\033[K"));
    assert_non_null(strstr(text, "398/400"));
    /* no drawing is wider than the terminal, and each begins at the left edge */
    for (const char *s = strchr(text, '\r'); s; s = strchr(s + 1, '\r'))
        if (s[1] != '\n')
            assert_true(strcspn(s + 1, "\033\r\n") < 60);
    print_to(slave, "dumb");
    read_all(master, text, sizeof text);
    assert_null(strchr(text, '\033'));
    close(slave);
    close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fits), cmocka_unit_test(elsewhere),
                                       cmocka_unit_test(on_a_terminal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
