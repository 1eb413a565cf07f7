/* SPDX-License-Identifier: MIT */
#include "commands.h"
#include "sampling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HAVE_LIBEDIT
#include <editline/readline.h>
#endif

enum { MAX_TURNS = 512 };

typedef struct conversation {
    nb_chat_message v[MAX_TURNS];
    size_t n;
} conversation;

static void forget(conversation *c)
{
    for (size_t i = 0; i < c->n; i++)
        free((char *)c->v[i].content);
    c->n = 0;
}

static bool add(conversation *c, const char *role, const char *content)
{
    char *copy = strdup(content);
    if (!copy || c->n == MAX_TURNS) {
        free(copy);
        return false;
    }
    c->v[c->n++] = (nb_chat_message){role, copy};
    return true;
}

/* One line without its end, from malloc; NULL at the end of input. */
static char *read_line(void)
{
#ifdef HAVE_LIBEDIT
    if (isatty(STDIN_FILENO)) {
        char *s = readline("> ");
        if (s && *s)
            add_history(s);
        return s;
    }
#endif
    char *s = NULL;
    size_t cap = 0;
    ssize_t n = getline(&s, &cap, stdin);
    if (n < 0) {
        free(s);
        return NULL;
    }
    if (n > 0 && s[n - 1] == '\n')
        s[n - 1] = '\0';
    return s;
}

static nb_status turn(nb_generator *g, conversation *c, const char *line, const cli_args *a,
                      nb_error *err)
{
    nb_generate_options o;
    nb_generation out = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    const char *layout = "";
    nb_status st = cli_sampling(a, &o, err);
    if (st == NB_OK && !add(c, "user", line))
        st = cli_fail(err, NB_LIMIT, "the conversation is too long; /reset starts a new one");
    if (st == NB_OK)
        st = nb_prompt_chat(g, c->v, c->n, &ids, &n, &layout, err);
    if (st == NB_OK && c->n == 1 + (size_t)(strcmp(c->v[0].role, "system") == 0))
        fprintf(stderr, "(in the layout of %s)\n", layout);
    o.on_text = cli_stream_text;
    if (st == NB_OK)
        st = nb_generate_ids(g, ids, n, &o, &out, err);
    putchar('\n');
    /* An interrupted answer is part of the conversation too: turns must alternate. */
    if ((st == NB_OK || st == NB_INTERRUPTED) && !add(c, "assistant", out.text ? out.text : ""))
        st = cli_fail(err, NB_LIMIT, "the conversation is too long; /reset starts a new one");
    nb_generation_free(&out);
    nb_free(ids);
    return st;
}

static nb_status loop(nb_generator *g, const cli_args *a, nb_error *err)
{
    conversation c = {.n = 0};
    const char *system = cli_get(a, "system");
    nb_status st = NB_OK;
    char *line;
    if (isatty(STDIN_FILENO))
        fprintf(stderr, "/reset starts anew, /base and /adapter switch, /quit or Ctrl-D ends\n");
    if (system)
        add(&c, "system", system);
    while (st == NB_OK && (st = cli_output(err)) == NB_OK && (line = read_line()) != NULL) {
        if (strcmp(line, "/quit") == 0) {
            free(line);
            break;
        }
        if (strcmp(line, "/reset") == 0) {
            forget(&c);
            if (system)
                add(&c, "system", system);
        } else if (strcmp(line, "/base") == 0 || strcmp(line, "/adapter") == 0) {
            nb_generator_use_adapter(g, line[1] == 'a');
            if (!nb_generator_has_adapter(g))
                fprintf(stderr, "(there is no adapter)\n");
        } else if (*line) {
            cli_stop = 0;
            st = turn(g, &c, line, a, err);
            /* Ctrl-C ends the answer, not the conversation. */
            if (st == NB_INTERRUPTED)
                st = NB_OK;
        }
        free(line);
    }
    forget(&c);
    return st;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    nb_recipe *r = NULL;
    nb_generator *g = NULL;
    nb_status st = cli_recipe(a, false, &r, err);
    if (st == NB_OK)
        st = nb_generator_open(&g, r, &cli_log, err);
    if (st == NB_OK) {
        cli_catch_signals(false);
        st = loop(g, a, err);
    }
    nb_generator_close(&g);
    nb_recipe_free(&r);
    return st;
}

static const cli_option options[] = {
    {"system", "TEXT", "a system message in front"},
    CLI_SAMPLING_OPTIONS,
    {NULL, NULL, NULL},
};

const cli_command cmd_chat = {
    .name = "chat",
    .words = "",
    .summary = "talk to a model, with or without an adapter",
    .text = "  nibble chat --model DIR [--adapter DIR]\n"
            "Reads questions from the terminal, or one a line from a pipe.",
    .recipe = true,
    .options = options,
    .run = run,
};
