/* SPDX-License-Identifier: MIT */
#include "train/event_hook.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"

extern char **environ;

struct nbi_event_hook {
    const char *command;
    const nb_log *log;
    bool said; /* that it fails */
    pid_t running[NBI_EVENTS_RUNNING];
    int n;
};

nbi_event_hook *nbi_event_hook_open(const char *command, const nb_log *log)
{
    nbi_event_hook *h = nbi_calloc(NBI_MEM_OTHER, 1, sizeof(*h));
    if (h) {
        h->command = command;
        h->log = log;
    }
    return h;
}

static void say(nbi_event_hook *h, const char *what, int value)
{
    if (!h->said)
        nbi_log(h->log, NB_LOG_WARN,
                "on_event: the command %s (%d); said once, the training goes on", what, value);
    h->said = true;
}

/* Takes the commands that ended off the list, so that none stays as a zombie. */
static void collect(nbi_event_hook *h)
{
    int kept = 0;
    for (int i = 0; i < h->n; i++) {
        int status = 0;
        const pid_t got = waitpid(h->running[i], &status, WNOHANG);
        if (got == 0 || (got < 0 && errno == EINTR))
            h->running[kept++] = h->running[i];
        else if (got > 0 && WIFSIGNALED(status))
            say(h, "was ended by a signal", WTERMSIG(status));
        else if (got > 0 && WEXITSTATUS(status) != 0)
            say(h, "failed with its exit code", WEXITSTATUS(status));
    }
    h->n = kept;
}

/* A process group of its own, so that a Ctrl-C for the run does not end its message; signals as a
 * shell expects them. */
static int spawn(const nbi_event_hook *h, int input, pid_t *pid)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attr;
    sigset_t reset, none;
    char shell[] = "sh", option[] = "-c";
    char *argv[] = {shell, option, (char *)(uintptr_t)h->command, NULL};
    int e = posix_spawn_file_actions_init(&files);
    if (e != 0)
        return e;
    e = posix_spawnattr_init(&attr);
    if (e == 0) {
        sigemptyset(&none);
        sigemptyset(&reset);
        sigaddset(&reset, SIGPIPE);
        sigaddset(&reset, SIGINT);
        sigaddset(&reset, SIGTERM);
        sigaddset(&reset, SIGHUP);
        (void)posix_spawnattr_setsigdefault(&attr, &reset);
        (void)posix_spawnattr_setsigmask(&attr, &none);
        (void)posix_spawnattr_setpgroup(&attr, 0);
        (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
                                                  POSIX_SPAWN_SETPGROUP);
        e = posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
        if (e == 0)
            e = posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
        if (e == 0)
            e = posix_spawn(pid, "/bin/sh", &files, &attr, argv, environ);
        posix_spawnattr_destroy(&attr);
    }
    posix_spawn_file_actions_destroy(&files);
    return e;
}

/* The text lies in the pipe before the command is there: nothing can block, and as the reading end
 * is still open here, no signal is raised whatever the command does. */
static int start(nbi_event_hook *h, const char *text, size_t n)
{
    int ends[2];
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return errno;
    int e = write(ends[1], text, n) == (ssize_t)n ? 0 : EMSGSIZE;
    close(ends[1]);
    /* the command reads as from a file */
    if (e == 0 && fcntl(ends[0], F_SETFL, 0) != 0)
        e = errno;
    if (e == 0)
        e = spawn(h, ends[0], &pid);
    close(ends[0]);
    if (e == 0)
        h->running[h->n++] = pid;
    return e;
}

void nbi_event_hook_send(nbi_event_hook *h, const char *text, size_t n)
{
    if (!h)
        return;
    collect(h);
    if (h->n == NBI_EVENTS_RUNNING) {
        say(h, "does not end; events are dropped while too many run", h->n);
        return;
    }
    const int e = n <= NBI_EVENT_MAX ? start(h, text, n) : EMSGSIZE;
    if (e != 0) {
        if (!h->said)
            nbi_log(h->log, NB_LOG_WARN, "on_event: the command cannot be started: %s; said once",
                    strerror(e));
        h->said = true;
    }
}

void nbi_event_hook_close(nbi_event_hook **h)
{
    if (!h || !*h)
        return;
    const double until = nbi_clock() + NBI_EVENT_WAIT;
    const struct timespec nap = {.tv_nsec = 10000000};
    collect(*h);
    while ((*h)->n && nbi_clock() < until) {
        nanosleep(&nap, NULL);
        collect(*h);
    }
    if ((*h)->n)
        say(*h, "still runs and is left alone", (*h)->n);
    nbi_free(*h);
    *h = NULL;
}
