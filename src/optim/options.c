/* SPDX-License-Identifier: MIT */
#include "optim/options.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include "base/fail.h"
#include "base/json.h"
#include "base/nearest.h"

static bool takes(const nbi_option *o, unsigned kind)
{
    return (o->kinds & kind) != 0;
}

static nb_status unknown(const nbi_option_table *t, unsigned kind, const char *kind_name,
                         const char *name, nb_error *err)
{
    nbi_nearest near = {.name = name};
    char list[300] = "";
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (!takes(&t->v[i], kind))
            continue;
        nbi_nearest_offer(&near, t->v[i].name);
        if (n < sizeof(list))
            n += (size_t)snprintf(list + n, sizeof(list) - n, "%s%s", n ? ", " : "", t->v[i].name);
    }
    if (n == 0)
        return nbi_fail(err, NB_CONFIG, "%s: %s takes no options, found \"%.100s\"", t->key,
                        kind_name, name);
    return nbi_fail(err, NB_CONFIG, "%s: %s has no option \"%.100s\"%s%s%s; it takes %s", t->key,
                    kind_name, name, near.best ? "; did you mean \"" : "",
                    near.best ? near.best : "", near.best ? "\"?" : "", list);
}

static nb_status wrong(const nbi_option_table *t, const nbi_option *o, const char *value,
                       const char *expected, nb_error *err)
{
    return nbi_fail(err, NB_CONFIG, "%s: %s: found \"%.100s\", expected %s", t->key, o->name, value,
                    expected);
}

static bool read_number(const char *text, size_t len, const nbi_option *o, double *x)
{
    char copy[64];
    while (len > 0 && *text == ' ')
        text++, len--;
    while (len > 0 && text[len - 1] == ' ')
        len--;
    if (len == 0 || len >= sizeof(copy))
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    const nbi_json v = {.type = NBI_JT_SCALAR, .text = copy, .text_len = len};
    if (!nbi_json_to_f64(&v, x) || !isfinite(*x))
        return false;
    return *x >= o->min && *x <= o->max && (o->type != NBI_OPTION_WHOLE || *x == floor(*x));
}

static nb_status store_number(const nbi_option_table *t, const nbi_option *o, void *field,
                              const char *value, nb_error *err)
{
    char expected[80];
    double x;
    if (read_number(value, strlen(value), o, &x)) {
        memcpy(field, &x, sizeof(x));
        return NB_OK;
    }
    snprintf(expected, sizeof(expected), "a %snumber from %g to %g",
             o->type == NBI_OPTION_WHOLE ? "whole " : "", o->min, o->max);
    return wrong(t, o, value, expected, err);
}

static nb_status store_bool(const nbi_option_table *t, const nbi_option *o, void *field,
                            const char *value, nb_error *err)
{
    static const char *const words[] = {"false", "0", "no", "true", "1", "yes"};
    for (int i = 0; i < 6; i++)
        if (strcasecmp(value, words[i]) == 0) {
            const bool b = i >= 3;
            memcpy(field, &b, sizeof(b));
            return NB_OK;
        }
    return wrong(t, o, value, "true or false", err);
}

static nb_status store_pair(const nbi_option_table *t, const nbi_option *o, void *field,
                            const char *value, nb_error *err)
{
    const char *begin = value + strspn(value, " (["), *comma = strchr(begin, ',');
    double x[2];
    if (comma && read_number(begin, (size_t)(comma - begin), o, &x[0]) &&
        read_number(comma + 1, strcspn(comma + 1, ")]"), o, &x[1])) {
        memcpy(field, x, sizeof(x));
        return NB_OK;
    }
    return wrong(t, o, value, "two numbers such as (0.9, 0.99)", err);
}

static nb_status store_word(const nbi_option_table *t, const nbi_option *o, void *field,
                            const char *value, nb_error *err)
{
    char expected[100];
    size_t n = (size_t)snprintf(expected, sizeof(expected), "one of");
    for (int i = 0; o->words[i]; i++) {
        if (strcmp(value, o->words[i]) == 0) {
            memcpy(field, &i, sizeof(i));
            return NB_OK;
        }
        n += (size_t)snprintf(expected + n, sizeof(expected) - n, " %s", o->words[i]);
    }
    return wrong(t, o, value, expected, err);
}

nb_status nbi_option_store(const nbi_option_table *t, unsigned kind, const char *kind_name,
                           void *record, const char *name, const char *value, nb_error *err)
{
    const nbi_option *o = t->v;
    while (o < t->v + t->n && !(takes(o, kind) && strcmp(o->name, name) == 0))
        o++;
    if (o == t->v + t->n)
        return unknown(t, kind, kind_name, name, err);
    void *field = (char *)record + o->offset;
    if (strcmp(value, "None") == 0 || strcmp(value, "null") == 0)
        return NB_OK;
    switch (o->type) {
    case NBI_OPTION_BOOL:
        return store_bool(t, o, field, value, err);
    case NBI_OPTION_PAIR:
        return store_pair(t, o, field, value, err);
    case NBI_OPTION_WORD:
        return store_word(t, o, field, value, err);
    case NBI_OPTION_NUMBER:
    case NBI_OPTION_WHOLE:
        break;
    }
    return store_number(t, o, field, value, err);
}
