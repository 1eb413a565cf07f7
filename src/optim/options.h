/* SPDX-License-Identifier: MIT */
/* Options by name with values as text, as in lr_scheduler_kwargs and optim_args: one table each
 * says which kind takes which. Private to optim/. */
#ifndef NBI_OPTIONS_H
#define NBI_OPTIONS_H

#include <stddef.h>
#include "nibble/status.h"

typedef enum nbi_option_type {
    NBI_OPTION_NUMBER, /* double */
    NBI_OPTION_WHOLE,  /* double with an integral value */
    NBI_OPTION_BOOL,   /* bool */
    NBI_OPTION_PAIR,   /* double [2]: "(0.9, 0.99)" */
    NBI_OPTION_WORD    /* int: number of the word */
} nbi_option_type;

typedef struct nbi_option {
    const char *name;
    unsigned kinds; /* a bit for each kind that takes it */
    nbi_option_type type;
    size_t offset;        /* of the field in the record */
    double min, max;      /* of numbers, both allowed */
    const char *words[4]; /* ends with NULL */
} nbi_option;

typedef struct nbi_option_table {
    const char *key; /* of the recipe, opens messages: "optim_args" */
    const nbi_option *v;
    size_t n;
} nbi_option_table;

/* Stores one value. "None" and "null" leave the field as it is. NB_CONFIG names key, option, what
 * was found and what is expected; for an unknown name the nearest one that `kind` (named kind_name)
 * takes. */
nb_status nbi_option_store(const nbi_option_table *t, unsigned kind, const char *kind_name,
                           void *record, const char *name, const char *value,
                           nb_error *err) NB_MUST_CHECK;

#endif
