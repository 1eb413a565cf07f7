/* SPDX-License-Identifier: MIT */
/* Names of optimizers and of their options, as HF's Trainer spells them. */
#include <stdio.h>
#include <string.h>
#include "base/fail.h"
#include "base/nearest.h"
#include "optim/optim_kinds.h"
#include "optim/options.h"

static const nb_optim_choice choices[] = {
    {"adamw_torch", &nbi_optim_adamw, false},
    {"adamw_torch_fused", &nbi_optim_adamw, false},
    {"adamw_hf", &nbi_optim_adamw, false},
    {"adamw", &nbi_optim_adamw, false},
    {"adamw_8bit", &nbi_optim_adamw8, false},
    {"adamw_bnb_8bit", &nbi_optim_adamw8, false},
    {"paged_adamw", &nbi_optim_adamw, true},
    {"paged_adamw_32bit", &nbi_optim_adamw, true},
    {"paged_adamw_8bit", &nbi_optim_adamw8, true},
    {"adam", &nbi_optim_adam, false},
    {"sgd", &nbi_optim_sgd, false},
    {"lion", &nbi_optim_lion, false},
    {"lion_32bit", &nbi_optim_lion, false},
    {"lion_8bit", &nbi_optim_lion8, false},
    {"paged_lion", &nbi_optim_lion, true},
    {"paged_lion_32bit", &nbi_optim_lion, true},
    {"paged_lion_8bit", &nbi_optim_lion8, true},
    {"adafactor", &nbi_optim_adafactor, false},
};
#define N_CHOICES (sizeof(choices) / sizeof(*choices))

const nb_optim_choice *nb_optim_find(const char *name)
{
    for (size_t i = 0; i < N_CHOICES; i++)
        if (strcmp(name, choices[i].name) == 0)
            return &choices[i];
    return NULL;
}

void nb_optim_list(char *buf, size_t size)
{
    size_t n = 0;
    if (size)
        buf[0] = 0;
    for (size_t i = 0; i < N_CHOICES && n < size; i++) {
        int k = snprintf(buf + n, size - n, "%s%s", i ? ", " : "", choices[i].name);
        n += k > 0 ? (size_t)k : 0;
    }
}

nb_status nb_optim_choose(const nb_optim_choice **choice, const char *name, nb_error *err)
{
    char names[400];
    nbi_nearest near = {.name = name};
    *choice = nb_optim_find(name);
    if (*choice)
        return NB_OK;
    for (size_t i = 0; i < N_CHOICES; i++)
        nbi_nearest_offer(&near, choices[i].name);
    nb_optim_list(names, sizeof(names));
    return nbi_fail(err, NB_CONFIG, "optim: \"%.100s\" is not known%s%s%s; expected one of %s",
                    name, near.best ? "; did you mean \"" : "", near.best ? near.best : "",
                    near.best ? "\"?" : "", names);
}

/* The record that options are stored in: betas and eps are the config's. */
#define FIELD(f) offsetof(nb_optim_config, f)
#define ADAM NBI_TAKES_ADAM
#define LION NBI_TAKES_LION
#define SGD NBI_TAKES_SGD
#define ADAFACTOR NBI_TAKES_ADAFACTOR
#define BELOW_1 0.999999999

static const nbi_option option_list[] = {
    {"betas", ADAM | LION, NBI_OPTION_PAIR, FIELD(beta1), 0, BELOW_1, {NULL}},
    {"beta1", ADAM | LION, NBI_OPTION_NUMBER, FIELD(beta1), 0, BELOW_1, {NULL}},
    {"beta2", ADAM | LION, NBI_OPTION_NUMBER, FIELD(beta2), 0, BELOW_1, {NULL}},
    {"eps", ADAM, NBI_OPTION_NUMBER, FIELD(eps), 0, 1, {NULL}},
    {"momentum", SGD, NBI_OPTION_NUMBER, FIELD(o.momentum), 0, BELOW_1, {NULL}},
    {"dampening", SGD, NBI_OPTION_NUMBER, FIELD(o.dampening), 0, 1, {NULL}},
    {"nesterov", SGD, NBI_OPTION_BOOL, FIELD(o.nesterov), 0, 0, {NULL}},
    {"eps", ADAFACTOR, NBI_OPTION_PAIR, FIELD(o.factor_eps), 0, 1, {NULL}},
    {"clip_threshold", ADAFACTOR, NBI_OPTION_NUMBER, FIELD(o.clip_threshold), 1e-9, 1e9, {NULL}},
    {"decay_rate", ADAFACTOR, NBI_OPTION_NUMBER, FIELD(o.decay_rate), -100, 0, {NULL}},
    {"beta1", ADAFACTOR, NBI_OPTION_NUMBER, FIELD(o.first_moment), 0, BELOW_1, {NULL}},
    {"scale_parameter", ADAFACTOR, NBI_OPTION_BOOL, FIELD(o.scale_parameter), 0, 0, {NULL}},
    {"relative_step", ADAFACTOR, NBI_OPTION_BOOL, FIELD(o.relative_step), 0, 0, {NULL}},
    {"warmup_init", ADAFACTOR, NBI_OPTION_BOOL, FIELD(o.warmup_init), 0, 0, {NULL}},
};
_Static_assert(FIELD(beta2) == FIELD(beta1) + sizeof(double), "betas are a pair");
static const nbi_option_table options = {"optim_args", option_list,
                                         sizeof(option_list) / sizeof(*option_list)};

/* As HF's Trainer: adafactor follows learning_rate and its schedule unless told otherwise. */
static const nb_optim_options defaults = {
    .factor_eps = {1e-30, 1e-3}, .clip_threshold = 1, .decay_rate = -0.8};

/* Length of "name=value" up to the comma that ends it; one inside brackets does not. */
static size_t mapping_length(const char *s)
{
    int depth = 0;
    size_t n = 0;
    for (; s[n] && (s[n] != ',' || depth > 0); n++)
        depth += (s[n] == '(' || s[n] == '[') - (s[n] == ')' || s[n] == ']');
    return n;
}

static nb_status store_mapping(nb_optim_config *c, const nb_optim_choice *choice, const char *s,
                               size_t n, nb_error *err)
{
    char text[160];
    size_t k = 0;
    for (size_t i = 0; i < n && k + 1 < sizeof(text); i++)
        if (s[i] != ' ')
            text[k++] = s[i];
    text[k] = 0;
    char *value = strchr(text, '=');
    if (!value || value == text)
        return nbi_fail(err, NB_CONFIG,
                        "optim_args: found \"%.100s\", expected name=value, several with commas",
                        text);
    *value++ = 0;
    return nbi_option_store(&options, choice->kind->bit, choice->name, c, text, value, err);
}

static nb_status check_options(const nb_optim_options *o, nb_error *err)
{
    if (o->nesterov && (o->momentum == 0 || o->dampening != 0))
        return nbi_fail(err, NB_CONFIG,
                        "optim_args: nesterov needs a momentum above 0 and no dampening");
    if (o->warmup_init && !o->relative_step)
        return nbi_fail(err, NB_CONFIG, "optim_args: warmup_init needs relative_step=true");
    return NB_OK;
}

nb_status nb_optim_settle(nb_optim_config *c, const nb_optim_choice *choice, nb_error *err)
{
    c->o = defaults;
    for (const char *s = c->args; s && s[strspn(s, " ")];) {
        const size_t n = mapping_length(s);
        NBI_TRY(store_mapping(c, choice, s, n, err));
        s += n + (s[n] == ',');
    }
    return check_options(&c->o, err);
}
