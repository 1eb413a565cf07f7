/* SPDX-License-Identifier: MIT */
/* The program: finds the command, prints errors, turns a status into an exit code. */
#include "args.h"
#include "commands.h"

#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const cli_command *const commands[] = {
    &cmd_train,  &cmd_sweep, &cmd_plan,    &cmd_eval,     &cmd_data,   &cmd_generate, &cmd_chat,
    &cmd_report, &cmd_init,  &cmd_inspect, &cmd_tokenize, &cmd_doctor, &cmd_quantize,
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

volatile sig_atomic_t cli_stop;

static volatile sig_atomic_t says_saving;

static void on_signal(int sig)
{
    static const char text[] = "\nstopping and saving; a second Ctrl-C ends at once\n";
    if (cli_stop && sig == SIGINT)
        _exit(nb_status_exit_code(NB_INTERRUPTED));
    cli_stop = 1;
    if (says_saving && sig == SIGINT && write(STDERR_FILENO, text, sizeof text - 1) < 0)
        says_saving = 0; /* nobody reads */
}

void cli_catch_signals(bool saves)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction sa, before;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    sigemptyset(&sa.sa_mask);
    says_saving = saves && isatty(STDERR_FILENO);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        /* nohup stays nohup */
        bool ignored = sigaction(signals[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN;
        if (signals[i] != SIGHUP || !ignored)
            sigaction(signals[i], &sa, NULL);
    }
}

static const char output_failed[] =
    "standard output could not be written (full disk or closed pipe)";

nb_status cli_output(nb_error *err)
{
    if (!ferror(stdout))
        return NB_OK;
    return cli_fail(err, NB_IO, "%s", output_failed);
}

/* A file opened later must not become the standard output of a caller that closed it. */
static void fill_standard_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0)
            return;
}

/* gcc's OpenMP spins for milliseconds at each barrier by default; when another program wants the
 * cores too, training becomes ten times slower. It reads its setting before main, so the program
 * starts itself once more with a short spin (2 % slower on idle cores). Who chose one keeps it. */
static void limit_spinning(char **argv)
{
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"))
        return;
    if (setenv("GOMP_SPINCOUNT", "10000", 1) == 0)
        execv("/proc/self/exe", argv); /* comes back only when that is not possible: as well */
}

bool cli_colour(void)
{
    const char *no = getenv("NO_COLOR");
    return isatty(STDOUT_FILENO) && !(no && *no);
}

static void usage(FILE *out)
{
    fprintf(
        out,
        "nibble %s: fine-tuning of language models (QLoRA, LoRA, full) in one native program\n\n"
        "usage: nibble COMMAND ...        nibble COMMAND --help\n\n",
        nb_version());
    for (int i = 0; i < N_COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(out, "\nexample: nibble train recipe.yaml --model DIR --data rows.jsonl\n");
}

static int finish(nb_status st, const nb_error *err)
{
    if (st != NB_OK)
        fprintf(stderr, "nibble: %s\n", err->message[0] ? err->message : nb_status_text(st));
    /* A full disk or a closed pipe shows only when the output is flushed. */
    bool flushed = fflush(stdout) == 0;
    if (st == NB_OK && (!flushed || ferror(stdout))) {
        fprintf(stderr, "nibble: %s\n", output_failed);
        st = NB_IO;
    }
    return nb_status_exit_code(st);
}

int main(int argc, char **argv)
{
    nb_error err = {NB_OK, ""};
    fill_standard_files();
    limit_spinning(argv);
    setlocale(LC_CTYPE, "");
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        usage(stderr);
        return nb_status_exit_code(NB_USAGE);
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return finish(NB_OK, &err);
    }
    if (strcmp(name, "--version") == 0) {
        printf("nibble %s\n", nb_version());
        return finish(NB_OK, &err);
    }
    for (int i = 0; i < N_COMMANDS; i++) {
        const cli_command *c = commands[i];
        if (strcmp(c->name, name) != 0)
            continue;
        if (argc == 3 && strcmp(argv[2], "--version") == 0) {
            printf("nibble %s\n", nb_version());
            return finish(NB_OK, &err);
        }
        cli_args a;
        nb_status st = cli_args_parse(&a, c, argc - 2, argv + 2, &err);
        if (st == NB_OK && a.help)
            cli_help(c);
        else if (st == NB_OK)
            st = c->run(&a, &err);
        free(a.v);
        return finish(st, &err);
    }
    cli_fail(&err, NB_USAGE, "there is no command '%s'; nibble --help lists them", name);
    return finish(NB_USAGE, &err);
}
