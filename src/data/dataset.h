/* SPDX-License-Identifier: MIT */
/* Data sets: files of rows to token ids and labels. */
#ifndef NB_DATASET_H
#define NB_DATASET_H

#include "base/arena.h"
#include "base/array.h"
#include "base/log.h"
#include "nibble/tokenizer.h"
#include <signal.h>
#include <stdint.h>

#define NB_LABEL_IGNORE (-100)

/* X(enum, recipe spelling) */
#define NB_DATA_FORMAT_MAP(X)                                                                      \
    X(AUTO, "auto")                                                                                \
    X(ALPACA, "alpaca")                                                                            \
    X(MESSAGES, "messages")                                                                        \
    X(PROMPT_COMPLETION, "prompt_completion")                                                      \
    X(TEXT, "text")                                                                                \
    X(TOKENIZED, "tokenized")                                                                      \
    X(TEMPLATE, "template")                                                                        \
    X(INSTRUCTION, "instruction")
typedef enum nb_data_format {
#define NB_DATA_FORMAT_ENUM(name, text) NB_DATA_##name,
    NB_DATA_FORMAT_MAP(NB_DATA_FORMAT_ENUM)
#undef NB_DATA_FORMAT_ENUM
} nb_data_format;

/* What carries loss. DEFAULT: the answer wherever the format knows one, everything for plain text.
 */
typedef enum nb_train_on {
    NB_TRAIN_DEFAULT,
    NB_TRAIN_COMPLETION, /* the answer and its eos */
    NB_TRAIN_ASSISTANT,  /* what the template's generation blocks cover */
    NB_TRAIN_LAST,       /* only the last assistant turn */
    NB_TRAIN_ALL
} nb_train_on;

typedef struct nb_template_var {
    const char *name, *value;
} nb_template_var;

/* Settings of one data set; strings are borrowed and outlive the load. */
typedef struct nb_data_config {
    nb_data_format format;
    const char *template_text; /* format TEMPLATE: "{column}" fields, "{{" and "}}" for braces */
    const nb_template_var *template_vars;
    size_t n_template_vars;
    const char *text_column; /* format TEXT; NULL: "text" */
    const char
        *response_template; /* TEXT and TEMPLATE: with train_on completion the loss starts after
                             * its last occurrence; NULL: TEMPLATE: at the last {column} field */
    nb_train_on train_on;
    int64_t max_seq_length; /* 0: no limit */
    bool truncate_left;
    bool empty_labels_error; /* on_empty_labels: error */
    bool mask_eos; /* labels of every eos become -100 (what a collator with pad = eos does) */
    int add_special_tokens; /* -1: as the format says (a text that spells its BOS keeps one); 0, 1
                             */
    bool no_eos;            /* append_eos: false: answers and texts get no eos */
    bool keep_text;         /* keep the rendered text of each example */
    int64_t max_rows;       /* 0: all */
    int64_t choice;         /* rows of multiple choice: see choices.h; 0: they are none */
    const volatile sig_atomic_t *stop; /* polled while rows are read; NULL: none */
} nb_data_config;

typedef struct nb_example {
    int32_t *ids;
    int32_t *labels; /* not shifted; NB_LABEL_IGNORE: no loss */
    int64_t n;
    int64_t n_trained; /* labels that carry loss after the shift: at positions >= 1 */
    int64_t row;       /* 0-based data row in its file */
    int64_t line;      /* 1-based line where the row begins */
    char *text;        /* rendered text when keep_text, else NULL; NUL after text_len bytes */
    size_t text_len;   /* may hold NULs of the row */
    bool truncated;
    const char *dropped; /* NULL: used; else the reason, a constant text */
} nb_example;

typedef struct nb_dataset {
    char *path;
    nb_data_format format; /* the one found when AUTO was asked */
    nb_example *rows;      /* used rows first to last in file order */
    size_t n;
    nb_example *dropped; /* dropped ones, with reason */
    size_t n_dropped;
    int64_t total_tokens, trained_tokens, max_tokens, n_truncated;
    char sha256[65]; /* of the file */
    nbi_arena arena; /* holds ids, labels, texts */
} nb_dataset;

/* A row is used when it has a label anywhere, as in the reference stack; a single token that is its
 * own label therefore counts as a row with n_trained 0, and a batch may have no target at all.
 *
 * Loads, renders and tokenises a whole file (.jsonl, .json array, .csv; decided by content and
 * name). `tok` may be NULL for pre-tokenised rows. `vocab` > 0: ids are checked against it. No row
 * is ever dropped silently: one log line with the count, and each in `dropped`. NB_DATA names file,
 * line and field; none left is always an error. NB_INTERRUPTED: *config->stop was set. */
nb_status nb_dataset_load(nb_dataset **out, const char *path, const nb_data_config *config,
                          const nb_tokenizer *tok, int64_t vocab, const nb_log *log,
                          nb_error *err) NB_MUST_CHECK;
void nb_dataset_close(nb_dataset **d);
/* Moves a part of the rows (n_rows > 0 rows, else the fraction) drawn at random by `seed` into a
 * new data set; both keep file order. */
nb_status nb_dataset_split(nb_dataset *d, int64_t n_rows, double fraction, uint64_t seed,
                           nb_dataset **part, nb_error *err) NB_MUST_CHECK;
const char *nb_data_format_name(nb_data_format f);

#endif
