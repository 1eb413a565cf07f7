/* SPDX-License-Identifier: MIT */
#include "args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

nb_status cli_fail(nb_error *err, nb_status code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->message, sizeof err->message, fmt, ap);
    va_end(ap);
    err->code = code;
    return code;
}

static const cli_option *own_option(const cli_command *c, const char *name)
{
    for (const cli_option *o = c->options; o && o->name; o++)
        if (strcmp(o->name, name) == 0)
            return o;
    return NULL;
}

/* Type of a flag of this command; NULL when there is no such flag. */
static const char *flag_type(const cli_command *c, const char *name)
{
    const cli_option *o = own_option(c, name);
    if (o)
        return o->type;
    nb_recipe_key key;
    for (size_t i = 0; c->recipe && nb_recipe_key_at(i, &key); i++)
        if (strcmp(key.name, name) == 0)
            return key.type;
    return NULL;
}

static void consider(const char *name, const char *known, size_t *best, const char **nearest)
{
    size_t d = nb_name_distance(name, known);
    if (d < *best) {
        *best = d;
        *nearest = known;
    }
}

/* The flag that a wrong one most likely stands for; NULL when none is near. */
static const char *nearest_flag(const cli_command *c, const char *name)
{
    const char *nearest = NULL;
    size_t best = strlen(name) / 3 + 1;
    nb_recipe_key key;
    for (size_t i = 0; c->recipe && nb_recipe_key_at(i, &key); i++)
        consider(name, key.name, &best, &nearest);
    for (const cli_option *o = c->options; o && o->name; o++)
        consider(name, o->name, &best, &nearest);
    consider(name, "help", &best, &nearest);
    return nearest;
}

static nb_status unknown_flag(const cli_command *c, const char *name, nb_error *err)
{
    const char *nearest = nearest_flag(c, name);
    return cli_fail(err, NB_USAGE, "%s: unknown flag --%s%s%s%s (nibble %s --help lists all)",
                    c->name, name, nearest ? "; did you mean --" : "", nearest ? nearest : "",
                    nearest ? "?" : "", c->name);
}

static bool is_boolean_text(const char *s)
{
    static const char *const words[] = {"true", "false", "yes", "no", "on", "off", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(s, words[i]) == 0)
            return true;
    return false;
}

/* "--prompt --json": a flag that forgot its value, not a value. */
static bool is_known_flag(const cli_command *c, const char *s)
{
    char name[64];
    size_t n = 0;
    if (s[0] != '-' || s[1] != '-')
        return false;
    for (s += 2; *s && *s != '=' && n + 1 < sizeof name; s++)
        name[n++] = *s == '-' ? '_' : *s;
    name[n] = '\0';
    return strcmp(name, "help") == 0 || flag_type(c, name) != NULL;
}

/* --max-steps is --max_steps; a value may follow after '='. */
static const char *split_flag(char *s)
{
    char *eq = strchr(s, '=');
    if (eq)
        *eq = '\0';
    for (char *p = s; *p; p++)
        if (*p == '-')
            *p = '_';
    return eq ? eq + 1 : NULL;
}

/* One flag, with its value from the same or the next word; *i moves to the last word used. */
static nb_status parse_flag(cli_args *a, int argc, char **argv, int *i, nb_error *err)
{
    const cli_command *c = a->command;
    char *name = argv[*i] + 2;
    const char *value = split_flag(name), *type = flag_type(c, name);
    bool boolean = type && strcmp(type, "bool") == 0, more = *i + 1 < argc;
    /* Aliases of recipe keys are not in the table of names; the recipe decides about them. */
    if (!type && !c->recipe)
        return unknown_flag(c, name, err);
    if (!value && boolean && !(more && is_boolean_text(argv[*i + 1])))
        value = "true";
    if (!value && (!more || is_known_flag(c, argv[*i + 1])))
        return type ? cli_fail(err, NB_USAGE, "%s: --%s needs a value (%s)", c->name, name, type)
                    : unknown_flag(c, name, err);
    if (!value)
        value = argv[++*i];
    if (boolean && own_option(c, name) && !is_boolean_text(value))
        return cli_fail(err, NB_USAGE, "%s: --%s: expected true or false, found '%.40s'", c->name,
                        name, value);
    a->v[a->n++] = (cli_arg){name, value};
    return NB_OK;
}

static nb_status add_word(cli_args *a, size_t *words, const char *s, nb_error *err)
{
    const cli_command *c = a->command;
    if (++*words > c->max_words)
        return cli_fail(err, NB_USAGE, "%s: '%.80s' is one word too many (usage: nibble %s%s%s)",
                        c->name, s, c->name, *c->words ? " " : "", c->words);
    a->v[a->n++] = (cli_arg){NULL, s};
    return NB_OK;
}

nb_status cli_args_parse(cli_args *a, const cli_command *c, int argc, char **argv, nb_error *err)
{
    size_t words = 0;
    memset(a, 0, sizeof *a);
    a->command = c;
    a->v = calloc((size_t)argc + 1, sizeof *a->v);
    if (!a->v)
        return cli_fail(err, NB_NOMEM, "out of memory");
    bool words_only = false;
    nb_status st = NB_OK;
    for (int i = 0; st == NB_OK && i < argc; i++) {
        char *s = argv[i];
        if (words_only || s[0] != '-' || !s[1])
            st = add_word(a, &words, s, err);
        else if (strcmp(s, "--") == 0)
            words_only = true;
        else if (strcmp(s, "-h") == 0 || strcmp(s, "--help") == 0)
            a->help = true;
        else if (s[1] != '-')
            st = cli_fail(err, NB_USAGE, "%s: flags are spelled --name, found '%.80s'", c->name, s);
        else
            st = parse_flag(a, argc, argv, &i, err);
    }
    return st;
}

const char *cli_get(const cli_args *a, const char *key)
{
    for (size_t i = a->n; i-- > 0;)
        if (a->v[i].key && strcmp(a->v[i].key, key) == 0)
            return a->v[i].value;
    return NULL;
}

bool cli_flag(const cli_args *a, const char *key)
{
    const char *s = cli_get(a, key);
    return s && strcmp(s, "false") != 0 && strcmp(s, "no") != 0 && strcmp(s, "off") != 0 &&
           strcmp(s, "0") != 0;
}

nb_status cli_int(const cli_args *a, const char *key, int64_t min, int64_t max, int64_t *r,
                  nb_error *err)
{
    const char *s = cli_get(a, key);
    if (!s)
        return NB_OK;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (end == s || *end || errno || v < min || v > max)
        return cli_fail(err, NB_USAGE,
                        "--%s: expected a whole number from %lld to %lld, found '%s'", key,
                        (long long)min, (long long)max, s);
    *r = v;
    return NB_OK;
}

nb_status cli_double(const cli_args *a, const char *key, double min, double max, double *r,
                     nb_error *err)
{
    const char *s = cli_get(a, key);
    if (!s)
        return NB_OK;
    char *end;
    double v = strtod(s, &end);
    if (end == s || *end || !(v >= min && v <= max))
        return cli_fail(err, NB_USAGE, "--%s: expected a number from %g to %g, found '%s'", key,
                        min, max, s);
    *r = v;
    return NB_OK;
}

const char *cli_word(const cli_args *a, size_t i)
{
    for (size_t j = 0; j < a->n; j++)
        if (!a->v[j].key && i-- == 0)
            return a->v[j].value;
    return NULL;
}

/* The recipe names its own nearest key; an option of the command may be nearer still. */
static nb_status set_key(const cli_args *a, nb_recipe *r, const cli_arg *arg, nb_error *err)
{
    nb_status st = nb_recipe_set(r, arg->key, arg->value, err);
    if (st != NB_CONFIG || flag_type(a->command, arg->key))
        return st;
    const char *nearest = nearest_flag(a->command, arg->key);
    bool own = nearest && own_option(a->command, nearest);
    return own ? unknown_flag(a->command, arg->key, err) : st;
}

nb_status cli_recipe(const cli_args *a, bool file, nb_recipe **r, nb_error *err)
{
    nb_status st = nb_recipe_new(r, err);
    const char *path = file ? cli_word(a, 0) : NULL;
    if (st == NB_OK && path)
        st = nb_recipe_read(*r, path, err);
    for (size_t i = 0; st == NB_OK && i < a->n; i++)
        if (a->v[i].key && !own_option(a->command, a->v[i].key))
            st = set_key(a, *r, &a->v[i], err);
    return st;
}

static void help_line(const char *name, const char *type, const char *text, const char *value)
{
    char left[80];
    if (strcmp(type, "bool") == 0)
        snprintf(left, sizeof left, "--%s", name);
    else
        snprintf(left, sizeof left, "--%s %s", name, type);
    printf("  %-38s %s", left, text);
    if (value && *value)
        printf(" [%s]", value);
    printf("\n");
}

void cli_help(const cli_command *c)
{
    printf("usage: nibble %s%s%s%s\n\n%s\n", c->name, *c->words ? " " : "", c->words,
           c->options || c->recipe ? " [--flag value ...]" : "", c->text);
    if (c->options && c->options->name) {
        printf("\nflags:\n");
        for (const cli_option *o = c->options; o->name; o++)
            help_line(o->name, o->type, o->help, NULL);
    }
    if (!c->recipe)
        return;
    nb_recipe_key key;
    const char *group = "";
    printf("\nrecipe keys (in the YAML file or as flags; a flag wins):\n");
    for (size_t i = 0; nb_recipe_key_at(i, &key); i++) {
        if (strcmp(group, key.group) != 0)
            printf("\n %s\n", key.group);
        group = key.group;
        help_line(key.name, key.type, key.help, key.default_text);
    }
}
