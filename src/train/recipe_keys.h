/* SPDX-License-Identifier: MIT */
/* The one table of recipe keys, their other spellings, and keys that are accepted without effect.
 */
#ifndef NBI_RECIPE_KEYS_H
#define NBI_RECIPE_KEYS_H

#include "base/json.h"
#include "train/recipe.h"

typedef enum nbi_key_type {
    NBI_KEY_TEXT,
    NBI_KEY_BOOL,
    NBI_KEY_INT, /* int64_t, uint64_t or int by `size` */
    NBI_KEY_FLOAT,
    NBI_KEY_STEPS,    /* double: a whole number from 1, or a part of all below 1 */
    NBI_KEY_CHOICE,   /* an enum or bool by `size` */
    NBI_KEY_TEXTS,    /* list of char * */
    NBI_KEY_INTS,     /* list of int64_t */
    NBI_KEY_PATTERNS, /* map of regular expressions to numbers */
    NBI_KEY_FILES,    /* eval_sets: a file, or a map of names to files */
    NBI_KEY_PROMPTS,  /* sample_prompts: a file, or a list of texts */
    NBI_KEY_VARS,     /* map of names to texts: data_config.template_vars */
    NBI_KEY_OPTIONS,  /* const char *: map of names to numbers and words, as a JSON object */
    NBI_KEY_MODULES   /* lora targets or excluded ones: "all-linear", names, or one regular
                       * expression */
} nbi_key_type;

typedef struct nbi_choice {
    const char *text;
    int value;
} nbi_choice;

typedef struct nbi_key {
    const char *name, *group;
    nbi_key_type type;
    size_t offset, size;       /* of the field */
    double min, max;           /* numbers */
    const nbi_choice *choices; /* ends with NULL; the first text of a value is the one written */
    const char *type_text;     /* for help */
    const char *value;         /* the default as text; NULL: the field stays zero */
    const char *value_text;    /* what help shows instead of `value` */
    const char *help;
} nbi_key;

extern const nbi_key nbi_keys[];
extern const size_t nbi_keys_n;

typedef struct nbi_alias {
    const char *name, *key;
} nbi_alias;
extern const nbi_alias nbi_aliases[];
extern const size_t nbi_aliases_n;

/* A key of other tools: any value is accepted (or only those in `allowed`), and one line says `why`
 * nothing follows from it. A value that is not allowed is refused, with `why` if there is one. */
typedef struct nbi_silent_key {
    const char *name;
    const char
        *allowed;    /* NULL: anything; else values separated by blanks, "-" for null or empty */
    const char *why; /* NULL: said by nobody, it changes nothing anywhere */
} nbi_silent_key;
extern const nbi_silent_key nbi_silent_keys[];
extern const size_t nbi_silent_keys_n;

/* Index of a key by its own name, -1 when there is none. */
int nbi_key_index(const char *name);
/* Index by name or alias. */
int nbi_key_find(const char *name);
/* The known key that a wrong one most likely stands for; NULL when none is near. */
const char *nbi_key_nearest(const char *name);

typedef struct nbi_key_state {
    uint32_t generation;  /* 0: default */
    const char *spelling; /* the name it was set by */
} nbi_key_state;

/* One line to be said; in the recipe's arena. */
typedef struct nb_recipe_note {
    struct nb_recipe_note *next;
    nb_log_level level;
    const char *text;
} nb_recipe_note;

/* Appends a line unless the same one is there. */
nb_status nbi_recipe_note(nb_recipe *r, nb_log_level level, nb_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Converts a value into the field of the recipe; null sets the default. `where` ("file:3", "--key")
 * opens the message. NB_CONFIG. */
nb_status nbi_key_store(nb_recipe *r, const nbi_key *k, const nbi_json *v, const char *where,
                        nb_error *err) NB_MUST_CHECK;
/* Sets a field to the table's default. */
nb_status nbi_key_reset(nb_recipe *r, const nbi_key *k, nb_error *err) NB_MUST_CHECK;
/* Frees what the field owns. */
void nbi_key_clear(nb_recipe *r, const nbi_key *k);
/* Writes the field's value. */
void nbi_key_write(const nb_recipe *r, const nbi_key *k, nbi_json_writer *w);

/* Derives settings that were not given and checks combinations; appends notes. */
nb_status nbi_recipe_check(nb_recipe *r, nb_error *err) NB_MUST_CHECK;

#endif
