/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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
    const char *term = getenv("TERM");
    p->live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
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

/* ---- the live line ---- */

/* Updates of one epoch, and what is left of the present one. */
static double epoch_steps_left(const nb_train_progress *s, double *epochs)
{
    const double each = s->epoch > 0 ? (double)s->step / s->epoch : 0;
    const double done = s->epoch - floor(s->epoch);
    *epochs = each > 0 ? (double)s->total_steps / each : 0;
    return done > 0 ? (1 - done) * each : 0;
}

enum { PARTS = 9, PART_MAX = 64, BAR_MIN = 10, BAR_MAX = 40 };

/* The parts in the order in which they stand, each with its rank: the highest leaves first. */
static void fill_parts(const nb_train_progress *s, double memory, double step_seconds,
                       char part[PARTS][PART_MAX])
{
    char left[24];
    double epochs = 0;
    const double steps_left = epoch_steps_left(s, &epochs);
    snprintf(part[0], PART_MAX, "%lld/%lld", (long long)s->step, (long long)s->total_steps);
    snprintf(part[1], PART_MAX, "loss %.4f", s->loss);
    duration(s->seconds_left, left);
    snprintf(part[2], PART_MAX, "%s left", left);
    snprintf(part[3], PART_MAX, "epoch %.2f/%.3g", s->epoch, epochs);
    snprintf(part[4], PART_MAX, "lr %.2g", s->learning_rate);
    snprintf(part[5], PART_MAX, "%.0f tok/s", s->tokens_per_second);
    part[6][0] = part[7][0] = part[8][0] = 0;
    if (memory > 0)
        snprintf(part[6], PART_MAX, "%.0f MiB", memory / 1048576);
    if (step_seconds > 0) {
        snprintf(part[7], PART_MAX, step_seconds < 1 ? "step %.0f ms" : "step %.1f s",
                 step_seconds < 1 ? step_seconds * 1e3 : step_seconds);
        duration(steps_left * step_seconds, left);
        if (steps_left > 0)
            snprintf(part[8], PART_MAX, "epoch ends in %s", left);
    }
}

static void put_bar(const nb_train_progress *s, int room, char bar[BAR_MAX + 4])
{
    const double part = s->total_steps > 0 ? (double)s->step / (double)s->total_steps : 0;
    const int full = (int)(room * fmin(fmax(part, 0), 1));
    bar[0] = '[';
    memset(bar + 1, '.', (size_t)room);
    memset(bar + 1, '#', (size_t)full);
    memcpy(bar + 1 + room, "] ", 3);
}

void cli_progress_text(const nb_train_progress *s, double memory, double step_seconds, int columns,
                       char *buf, size_t n)
{
    /* where each part stands in the line; the first ones are the last to leave */
    static const int order[PARTS] = {0, 3, 1, 4, 5, 6, 7, 8, 2};
    char part[PARTS][PART_MAX], bar[BAR_MAX + 4] = "";
    int shown = 0, length = 0, limit = columns - 1;
    size_t at = 0;
    fill_parts(s, memory, step_seconds, part);
    limit = limit < (int)n - 1 ? limit : (int)n - 1;
    for (; shown < PARTS; shown++) {
        const int more = part[shown][0] ? (int)strlen(part[shown]) + (shown ? 2 : 0) : 0;
        if (length + more > limit)
            break;
        length += more;
    }
    const int room = limit - length - 3;
    if (room >= BAR_MIN)
        put_bar(s, room > BAR_MAX ? BAR_MAX : room, bar);
    buf[0] = 0;
    at = (size_t)snprintf(buf, n, "%s", bar);
    for (int i = 0, first = 1; i < PARTS; i++) {
        if (order[i] >= shown || !part[order[i]][0])
            continue;
        at += (size_t)snprintf(buf + at, n - at, "%s%s", first ? "" : "  ", part[order[i]]);
        first = 0;
    }
}

/* Resident bytes of this process; 0 where the system does not tell. */
static double resident(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f)
        return 0;
    if (fscanf(f, "%*d %ld", &pages) != 1)
        pages = 0;
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* One write a drawing, the old line covered and its rest erased: nothing flickers. */
static void draw_live(cli_progress *p, const nb_train_progress *s)
{
    struct winsize w = {0};
    const int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
    char text[256], out[300];
    cli_progress_text(s, resident(), p->step_seconds, columns, text, sizeof text);
    const int n = snprintf(out, sizeof out, "\r%s\033[K", text);
    fwrite(out, 1, (size_t)n, stderr);
    fflush(stderr);
    p->shown = true;
}

/* A moving mean of the last steps; the first one of a process also loads things. */
static void take_time(cli_progress *p, const nb_train_progress *s, double now)
{
    const double each = (now - p->step_clock) / (double)(s->step - p->step);
    if (p->step > 0 && s->step > p->step)
        p->step_seconds = p->step_seconds > 0 ? 0.9 * p->step_seconds + 0.1 * each : each;
    p->step_clock = now;
    p->step = s->step;
}

void cli_progress_step(void *user, const nb_train_progress *s)
{
    cli_progress *p = user;
    if (!isnan(s->eval_loss)) {
        cli_progress_end(p);
        p->step = 0; /* what took place since the last step is not part of the next */
        fprintf(stderr, "step %lld/%lld  eval_%s%sloss %.4f  perplexity %.3f\n", (long long)s->step,
                (long long)s->total_steps, s->eval_set ? s->eval_set : "", s->eval_set ? "_" : "",
                s->eval_loss, exp(s->eval_loss));
        return;
    }
    if (!p->live) {
        if (s->logged)
            print_line(s);
        return;
    }
    const double now = clock_seconds();
    take_time(p, s, now);
    if (now - p->last < 0.1 && s->step < s->total_steps)
        return;
    p->last = now;
    draw_live(p, s);
}
