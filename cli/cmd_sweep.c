/* SPDX-License-Identifier: MIT */
/* Variants of a recipe over one base model, one after the other, ranked. */
#include "commands.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_AXES = 8, MAX_VALUES = 64, MAX_VARIANTS = 256 };

/* A key with several values. */
typedef struct axis {
    size_t arg; /* index of the flag */
    const char *key;
    char *text; /* owns the values */
    const char *values[MAX_VALUES];
    size_t n;
} axis;

typedef struct variant {
    char *name, *dir; /* "lora_r=8,learning_rate=1e-4"; its output folder */
    nb_train_result result;
    nb_status status;
    nb_error error;
} variant;

typedef struct sweep {
    const cli_args *args;
    axis axes[MAX_AXES];
    size_t n_axes, n;  /* n: variants */
    char *output_dir;  /* of the recipe, which the variants' folders are in */
    variant *variants; /* [n] */
    cli_arg *v;        /* [args->n] flags of the variant at hand */
    size_t *order;     /* [n] variants, best first */
    size_t done;
} sweep;

/* Keys whose value may hold commas are no axes. */
static bool is_axis(const cli_arg *a)
{
    static const char *const scalar[] = {"N", "X", "bool", "NAME"};
    nb_recipe_key key;
    if (!a->key || !strchr(a->value, ','))
        return false;
    for (size_t i = 0; nb_recipe_key_at(i, &key); i++) {
        if (strcmp(key.name, a->key) != 0)
            continue;
        for (size_t j = 0; j < sizeof scalar / sizeof *scalar; j++)
            if (strcmp(key.type, scalar[j]) == 0)
                return true;
        return strchr(key.type, '|') != NULL;
    }
    return false;
}

static nb_status split(axis *x, const cli_arg *a, nb_error *err)
{
    x->key = a->key;
    x->text = strdup(a->value);
    if (!x->text)
        return cli_fail(err, NB_NOMEM, "out of memory");
    for (char *s = x->text; s; x->n++) {
        char *comma = strchr(s, ',');
        if (comma)
            *comma = '\0';
        if (!*s || x->n == MAX_VALUES)
            return cli_fail(err, NB_USAGE,
                            "sweep: --%s %s: expected up to %d values with commas between them",
                            a->key, a->value, MAX_VALUES);
        x->values[x->n] = s;
        s = comma ? comma + 1 : NULL;
    }
    return NB_OK;
}

static nb_status find_axes(sweep *s, nb_error *err)
{
    const cli_args *a = s->args;
    s->n = 1;
    for (size_t i = 0; i < a->n; i++) {
        if (!is_axis(&a->v[i]))
            continue;
        if (s->n_axes == MAX_AXES)
            return cli_fail(err, NB_USAGE, "sweep: more than %d keys with several values",
                            MAX_AXES);
        axis *x = &s->axes[s->n_axes++];
        x->arg = i;
        nb_status st = split(x, &a->v[i], err);
        if (st != NB_OK)
            return st;
        s->n *= x->n;
        if (s->n > MAX_VARIANTS)
            return cli_fail(err, NB_USAGE, "sweep: more than %d variants", MAX_VARIANTS);
    }
    if (s->n_axes == 0)
        return cli_fail(err, NB_USAGE,
                        "sweep: give at least one key several values, such as --learning_rate "
                        "1e-4,2e-4 --lora_r 8,16");
    return NB_OK;
}

/* The flags of variant i; the last key changes fastest. */
static void choose(sweep *s, size_t i)
{
    memcpy(s->v, s->args->v, s->args->n * sizeof *s->v);
    for (size_t k = s->n_axes; k-- > 0;) {
        const axis *x = &s->axes[k];
        s->v[x->arg].value = x->values[i % x->n];
        i /= x->n;
    }
}

static nb_status recipe_of(sweep *s, size_t i, nb_recipe **r, nb_error *err)
{
    cli_args a = *s->args;
    choose(s, i);
    a.v = s->v;
    return cli_recipe(&a, true, r, err);
}

/* "key=value,key=value" of variant i, as far as it fits a file name. */
static nb_status name_variant(sweep *s, size_t i, nb_error *err)
{
    variant *v = &s->variants[i];
    char name[200] = "";
    choose(s, i);
    for (size_t k = 0, n = 0; k < s->n_axes && n < sizeof name; k++) {
        const cli_arg *a = &s->v[s->axes[k].arg];
        n += (size_t)snprintf(name + n, sizeof name - n, "%s%s=%s", k ? "," : "", a->key, a->value);
    }
    for (char *c = name; *c; c++)
        *c = *c == '/' ? '_' : *c;
    size_t size = strlen(s->output_dir) + sizeof name + 2;
    v->name = strdup(name);
    v->dir = malloc(size);
    if (!v->name || !v->dir)
        return cli_fail(err, NB_NOMEM, "out of memory");
    snprintf(v->dir, size, "%s/%s", s->output_dir, name);
    return NB_OK;
}

static nb_status read_output_dir(sweep *s, nb_error *err)
{
    nb_recipe *r = NULL;
    nb_status st = recipe_of(s, 0, &r, err);
    const char *dir = st == NB_OK ? nb_recipe_output_dir(r) : NULL;
    if (st == NB_OK && !dir)
        st = cli_fail(err, NB_CONFIG, "output_dir: not given; name the folder for the variants");
    if (st == NB_OK && !(s->output_dir = strdup(dir)))
        st = cli_fail(err, NB_NOMEM, "out of memory");
    nb_recipe_free(&r);
    return st;
}

/* Every variant is a valid recipe, or none is run. */
static nb_status check(sweep *s, nb_error *err)
{
    for (size_t i = 0; i < s->n; i++) {
        nb_recipe *r = NULL;
        nb_status st = name_variant(s, i, err);
        if (st == NB_OK)
            st = recipe_of(s, i, &r, err);
        if (st == NB_OK)
            st = nb_recipe_finish(r, NULL, err);
        nb_recipe_free(&r);
        if (st != NB_OK)
            return st;
    }
    return NB_OK;
}

static nb_status open_sweep(sweep *s, nb_error *err)
{
    nb_status st = find_axes(s, err);
    if (st != NB_OK)
        return st;
    s->v = malloc(s->args->n * sizeof *s->v);
    s->variants = calloc(s->n, sizeof *s->variants);
    s->order = calloc(s->n, sizeof *s->order);
    if (!s->v || !s->variants || !s->order)
        return cli_fail(err, NB_NOMEM, "out of memory");
    st = read_output_dir(s, err);
    return st == NB_OK ? check(s, err) : st;
}

static void close_sweep(sweep *s)
{
    for (size_t i = 0; s->variants && i < s->n; i++) {
        free(s->variants[i].name);
        free(s->variants[i].dir);
    }
    for (size_t i = 0; i < s->n_axes; i++)
        free(s->axes[i].text);
    free(s->variants);
    free(s->order);
    free(s->v);
    free(s->output_dir);
}

static nb_status run_variant(sweep *s, nb_base *base, size_t i, const nb_train_hooks *hooks,
                             nb_error *err)
{
    variant *v = &s->variants[i];
    nb_recipe *r = NULL;
    fprintf(stderr, "\nvariant %zu of %zu: %s\n", i + 1, s->n, v->name);
    nb_status st = recipe_of(s, i, &r, err);
    if (st == NB_OK)
        st = nb_recipe_set(r, "output_dir", v->dir, err);
    if (st == NB_OK)
        st = nb_train_with_base(base, r, hooks, &v->result, err);
    nb_recipe_free(&r);
    v->status = st;
    if (st != NB_OK)
        v->error = *err;
    return st;
}

/* What a variant is ranked by: the loss on other rows where there is one. */
static double score(const variant *v)
{
    const nb_train_result *r = &v->result;
    double x = isnan(r->eval_loss_after) ? r->last_loss : r->eval_loss_after;
    return v->status == NB_OK && !isnan(x) ? x : INFINITY;
}

static void rank(sweep *s)
{
    for (size_t i = 0; i < s->done; i++) {
        size_t at = i;
        for (; at > 0 && score(&s->variants[s->order[at - 1]]) > score(&s->variants[i]); at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

static void print_table(const sweep *s)
{
    size_t width = 7;
    for (size_t i = 0; i < s->n; i++)
        width = strlen(s->variants[i].name) > width ? strlen(s->variants[i].name) : width;
    printf("%4s  %-*s  %10s  %10s  %6s\n", "rank", (int)width, "variant", "eval loss", "loss",
           "steps");
    for (size_t i = 0; i < s->done; i++) {
        const variant *v = &s->variants[s->order[i]];
        char eval[32] = "-";
        if (v->status != NB_OK) {
            printf("%4s  %-*s  %s\n", "-", (int)width, v->name, v->error.message);
            continue;
        }
        if (!isnan(v->result.eval_loss_after))
            snprintf(eval, sizeof eval, "%.4f", v->result.eval_loss_after);
        printf("%4zu  %-*s  %10s  %10.4f  %6lld\n", i + 1, (int)width, v->name, eval,
               v->result.last_loss, (long long)v->result.steps);
    }
}

/* The page of the best ones. */
static nb_status write_page(const sweep *s, nb_error *err)
{
    const char *runs[NB_REPORT_RUNS_MAX];
    char path[4200];
    size_t n = 0;
    for (size_t i = 0; i < s->done && n < NB_REPORT_RUNS_MAX; i++)
        if (s->variants[s->order[i]].status == NB_OK)
            runs[n++] = s->variants[s->order[i]].dir;
    if (n == 0)
        return NB_OK;
    snprintf(path, sizeof path, "%s/sweep.html", s->output_dir);
    nb_status st = nb_report_write(runs, n, path, err);
    if (st == NB_OK)
        printf("best: %s\nwrote %s\n", runs[0], path);
    return st;
}

/* All variants; one that fails is told in the table, and its status is the sweep's. */
static nb_status run_all(sweep *s, nb_error *err)
{
    nb_base *base = NULL;
    nb_status first = NB_OK;
    nb_error why = {NB_OK, ""};
    cli_progress progress;
    cli_progress_init(&progress);
    nb_log log = {cli_progress_log, &progress};
    nb_train_hooks hooks = {cli_progress_step, &progress, &cli_stop, &log};
    nb_status st = nb_base_new(&base, err);
    for (size_t i = 0; st == NB_OK && i < s->n && first != NB_INTERRUPTED; i++) {
        nb_error mine = {NB_OK, ""};
        nb_status one = run_variant(s, base, i, &hooks, &mine);
        cli_progress_end(&progress);
        s->done++;
        if (one != NB_OK && (first == NB_OK || one == NB_INTERRUPTED)) {
            first = one;
            why = mine;
        }
    }
    nb_base_close(&base);
    if (st != NB_OK)
        return st;
    rank(s);
    print_table(s);
    st = write_page(s, err);
    if (first != NB_OK)
        *err = why;
    return first != NB_OK ? first : st;
}

static nb_status run(const cli_args *a, nb_error *err)
{
    sweep s = {.args = a};
    nb_status st = open_sweep(&s, err);
    if (st == NB_OK) {
        cli_catch_signals(true);
        st = run_all(&s, err);
    }
    close_sweep(&s);
    return st;
}

const cli_command cmd_sweep = {
    .name = "sweep",
    .words = "[RECIPE.yaml]",
    .max_words = 1,
    .summary = "train variants of a recipe over one loaded base, and rank them",
    .text = "  nibble sweep recipe.yaml --learning_rate 1e-4,2e-4,4e-4 --lora_r 8,16\n"
            "runs every combination into a folder of its own inside output_dir, prints them by\n"
            "evaluation loss (by training loss without rows to evaluate), and writes sweep.html.",
    .recipe = true,
    .run = run,
};
