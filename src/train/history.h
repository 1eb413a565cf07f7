/* SPDX-License-Identifier: MIT */
/* What a run has logged so far: entries of named numbers, in the order in which they were made.
 * trainer_state.json, the event files, the report and the table at the end are all made of it, and
 * a resumed run goes on with that of its checkpoint. */
#ifndef NBI_HISTORY_H
#define NBI_HISTORY_H

#include "base/arena.h"
#include "base/array.h"
#include "base/json.h"
#include "nibble/status.h"

typedef enum nbi_entry_kind {
    NBI_ENTRY_TRAIN,   /* a logged step: loss, grad_norm, learning_rate, ... */
    NBI_ENTRY_EVAL,    /* an evaluation: eval_loss, ... */
    NBI_ENTRY_TROUBLE, /* a step that gave a jump of the loss, or numbers that are not finite */
    NBI_ENTRY_END      /* the last one: train_loss, train_runtime, ... */
} nbi_entry_kind;

/* A number by the name it has in the files, which is the Trainer's where the Trainer has one. */
typedef struct nbi_entry_number {
    const char *name; /* each name once: equal pointers for equal names of one history */
    double value;     /* may be NaN or infinite: shown as such */
    bool count;       /* a whole number: written without a decimal point */
} nbi_entry_number;

typedef struct nbi_entry {
    nbi_entry_kind kind;
    int64_t step; /* updates done */
    double epoch;
    size_t first, n; /* numbers.v[first .. first + n) */
} nbi_entry;

typedef struct nbi_history {
    nbi_arena arena; /* the names */
    NBI_ARRAY(const char *) names;
    NBI_ARRAY(nbi_entry) entries;
    NBI_ARRAY(nbi_entry_number) numbers;
} nbi_history;

void nbi_history_init(nbi_history *h);
void nbi_history_free(nbi_history *h);
/* Begins an entry; its numbers follow one by one. */
nb_status nbi_history_begin(nbi_history *h, nbi_entry_kind kind, int64_t step, double epoch,
                            nb_error *err) NB_MUST_CHECK;
/* `name` is copied. */
nb_status nbi_history_add(nbi_history *h, const char *name, double value, bool count,
                          nb_error *err) NB_MUST_CHECK;
/* The entry begun last; NULL when there is none. */
const nbi_entry *nbi_history_last(const nbi_history *h);
/* The value of a name in an entry; NaN when it has none. */
double nbi_history_value(const nbi_history *h, const nbi_entry *e, const char *name);
/* One of them as a member of a JSON object. */
void nbi_history_write(nbi_json_writer *w, const nbi_entry_number *v);

#endif
