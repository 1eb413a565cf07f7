/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void log_plain(void *user, nb_log_level level, const char *line)
{
    (void)user;
    fprintf(stderr, "%s%s\n", level == NB_LOG_WARN ? "warning: " : "", line);
}

const nb_log cli_log = {log_plain, NULL};

void cli_progress_init(cli_progress *p)
{
    memset(p, 0, sizeof *p);
    p->live = isatty(STDERR_FILENO);
}

void cli_progress_end(cli_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}

void cli_progress_log(void *user, nb_log_level level, const char *line)
{
    cli_progress_end(user);
    log_plain(NULL, level, line);
}

static void duration(double seconds, char buf[24])
{
    if (!(seconds >= 0 && seconds < 1e8)) {
        snprintf(buf, 24, "-");
        return;
    }
    long s = (long)(seconds + 0.5);
    if (s >= 3600)
        snprintf(buf, 24, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(buf, 24, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(buf, 24, "%lds", s);
}

static void print_line(const nb_train_progress *s)
{
    char left[24];
    duration(s->seconds_left, left);
    fprintf(
        stderr,
        "step %lld/%lld  epoch %.2f  loss %.4f  grad_norm %.3f  lr %.3g  %.0f tokens/s  %s left\n",
        (long long)s->step, (long long)s->total_steps, s->epoch, s->loss, s->grad_norm,
        s->learning_rate, s->tokens_per_second, left);
}

static void draw_live(cli_progress *p, const nb_train_progress *s)
{
    struct winsize w = {0};
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
    char left[24], text[200], bar[64];
    duration(s->seconds_left, left);
    snprintf(text, sizeof text, " %lld/%lld  loss %.4f  lr %.2g  %.0f tok/s  ETA %s",
             (long long)s->step, (long long)s->total_steps, s->loss, s->learning_rate,
             s->tokens_per_second, left);
    int room = columns - (int)strlen(text) - 3;
    room = room > 40 ? 40 : room;
    bar[0] = '\0';
    if (room >= 8 && s->total_steps > 0) {
        int full = (int)((double)room * (double)s->step / (double)s->total_steps);
        full = full > room ? room : full;
        bar[0] = '[';
        memset(bar + 1, '.', (size_t)room);
        memset(bar + 1, '#', (size_t)(full < 0 ? 0 : full));
        bar[room + 1] = ']';
        bar[room + 2] = '\0';
    }
    fprintf(stderr, "\r\033[K%s%.*s", bar, columns - 1, text);
    p->shown = true;
    fflush(stderr);
}

void cli_progress_step(void *user, const nb_train_progress *s)
{
    cli_progress *p = user;
    if (!isnan(s->eval_loss)) {
        cli_progress_end(p);
        fprintf(stderr, "step %lld/%lld  eval_loss %.4f  perplexity %.3f\n", (long long)s->step,
                (long long)s->total_steps, s->eval_loss, exp(s->eval_loss));
        return;
    }
    if (!p->live) {
        if (s->logged)
            print_line(s);
        return;
    }
    double now = clock_seconds();
    if (now - p->last < 0.1 && s->step < s->total_steps)
        return;
    p->last = now;
    draw_live(p, s);
}
