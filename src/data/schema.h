/* SPDX-License-Identifier: MIT */
/* Formats of rows: each turns a row into a text with what carries loss in it, or into ids. One file
 * a format and one line in the registry of schema.c. */
#ifndef NBI_SCHEMA_H
#define NBI_SCHEMA_H

#include "base/json.h"
#include "data/dataset.h"
#include "text/chat.h"

typedef struct nbi_row {
    const char *path;
    int64_t line;
    const nbi_json *v; /* object */
} nbi_row;

typedef struct nbi_template_part {
    enum { NBI_PART_LITERAL, NBI_PART_FIELD } kind;
    const char *text; /* LITERAL: the text; FIELD: the column's name, NUL-terminated */
    size_t len;
} nbi_template_part;

/* Settings of a data set, worked out once; read-only while rows are rendered. */
typedef struct nbi_layout {
    const nb_data_config *config;
    nb_train_on train_on; /* DEFAULT replaced by what the format means */
    const nb_tokenizer *tok;
    int32_t bos, eos;                /* -1: none */
    const char *bos_text, *eos_text; /* NULL: none */
    bool special_ends;               /* the post-processor itself puts an eos at the end */
    nbi_template_part *parts;        /* TEMPLATE; variables already put in */
    size_t n_parts, last_field;      /* index of the last FIELD part */
    nbi_arena arena;
} nbi_layout;

typedef enum nbi_mask_kind {
    NBI_MASK_NONE, /* nothing is trained; `reason` says why */
    NBI_MASK_ALL,
    NBI_MASK_PREFIX, /* all but the tokens that the text and its prompt alone have in common */
    NBI_MASK_SPANS   /* tokens that touch a span */
} nbi_mask_kind;

/* A rendered row; memory is reused from row to row. */
typedef struct nbi_rendering {
    nbi_mask_kind mask;
    const char *reason;
    nbi_strbuf text;
    size_t prompt_len;     /* PREFIX: the prompt is this much of the text, unless separate_prompt */
    bool separate_prompt;  /* PREFIX: the prompt is `chat_prompt` */
    bool append_eos;       /* unless the answer ends with it */
    bool special;          /* the post-processor runs */
    bool keep_bos;         /* cutting on the left leaves a BOS in front */
    const nbi_span *spans; /* SPANS: in text order, none inside another */
    size_t n_spans;
    nbi_rendered chat, chat_prompt;
    bool has_ids; /* ids and labels are given instead of a text */
    NBI_ARRAY(int32_t) ids, labels;
} nbi_rendering;

/* A field by which a format is found. */
typedef struct nbi_field {
    const char *name, *other; /* other: a second spelling, may be NULL */
    bool text, list;          /* its type; both: either, but that of the first field */
} nbi_field;

typedef struct nbi_schema {
    nb_data_format format;
    const char *name;
    const char *needs;    /* for messages: the fields */
    nb_train_on train_on; /* what DEFAULT means */
    bool needs_tokenizer;
    bool string_answer; /* ASSISTANT and LAST mean the same as COMPLETION */
    nbi_field
        fields[2]; /* a row that has them looks like this format; none: never found by itself */
    bool (*refuses)(const nbi_json *row); /* rows that look like it and are not; may be NULL */
    nb_status (*prepare)(nbi_layout *l, const nbi_row *first, nb_error *err); /* may be NULL */
    nb_status (*render)(const nbi_layout *l, const nbi_row *row, nbi_rendering *out, nb_error *err);
} nbi_schema;

extern const nbi_schema nbi_schema_alpaca, nbi_schema_instruction, nbi_schema_messages,
    nbi_schema_prompt_completion, nbi_schema_text, nbi_schema_tokenized, nbi_schema_template;

const nbi_schema *nbi_schema_find(nb_data_format f);
/* The format of a row by its fields; NULL when none fits. */
const nbi_schema *nbi_schema_guess(const nbi_json *row);
/* NB_DATA for a row that no format fits: names the nearest one with the field of another type. */
nb_status nbi_schema_unknown(const nbi_row *row, nb_error *err);
/* "a", "b", "c": the fields a row has, at most a few. */
void nbi_schema_fields(const nbi_json *row, nbi_strbuf *out);

/* The text of a field. Missing (optional: *text = "", *len = 0), null or of another type: NB_DATA
 * with file, line, field, what was found, what `s` needs and which format the row looks like. */
nb_status nbi_row_text(const nbi_schema *s, const nbi_row *row, const char *field, bool optional,
                       const char **text, size_t *len, nb_error *err) NB_MUST_CHECK;
/* NB_DATA "file:line: field "x": text". */
nb_status nbi_row_fail(const nbi_row *row, const char *field, nb_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* "a number", "a list", ... */
const char *nbi_json_type_text(const nbi_json *v);

/* Loss after the last occurrence of `marker` in the text; nothing when there is none. */
void nbi_mask_after(nbi_rendering *out, const char *marker);

#endif
