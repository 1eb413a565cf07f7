/* SPDX-License-Identifier: MIT */
/* What is known of a run, for pages and tables: read from train_log.jsonl, of a finished run or of
 * one that goes on, or borrowed from the run in this process. */
#ifndef NBI_RUN_RECORD_H
#define NBI_RUN_RECORD_H

#include "base/json.h"
#include "train/history.h"

/* Bytes by tag after some update. */
typedef struct nbi_memory_sample {
    int64_t step;
    size_t bytes[NBI_MEMTAG_COUNT];
} nbi_memory_sample;

typedef struct nbi_run_record {
    const char *name;           /* as the user named it */
    const nbi_json *header;     /* first line of the log; NULL: not there */
    const nbi_history *history; /* never NULL after opening */
    const char *state;          /* "finished", "going on", ...; NULL: by the history */

    /* only of a run in this process; else zero */
    const nbi_memory_sample *memory;
    size_t n_memory;
    const char *const *warnings;
    size_t n_warnings;
    double foretold_seconds; /* after the first logged step */
    const nbi_json *samples; /* list of the lines of samples.jsonl; NULL: none */

    nbi_arena arena; /* owns the name and the header that were read */
    nbi_arena sample_arena;
    nbi_history own;
} nbi_run_record;

/* An empty record. */
void nbi_run_record_begin(nbi_run_record *r);
/* Reads a log: `path` is the file or the folder that holds train_log.jsonl. A torn last line (of a
 * run that is being written, or was killed) is left out; entries that a later start of the run went
 * back behind are dropped. NB_NOTFOUND, NB_FORMAT with the line. Close in any case. */
nb_status nbi_run_record_read(nbi_run_record *r, const char *path, nb_error *err) NB_MUST_CHECK;
/* The log's text; `path` for messages. */
nb_status nbi_run_record_parse(nbi_run_record *r, const char *path, const char *text, size_t n,
                               nb_error *err) NB_MUST_CHECK;
/* Reads dir/samples.jsonl when there is one; a damaged one is left out. */
void nbi_run_record_samples(nbi_run_record *r, const char *dir);
void nbi_run_record_close(nbi_run_record *r);

/* ---- what it says ---- */

typedef struct nbi_point {
    double x, y; /* step, value */
} nbi_point;
typedef NBI_ARRAY(nbi_point) nbi_points;

/* The values of a name, step by step. */
nb_status nbi_points_of(const nbi_run_record *r, const char *name, nbi_points *out,
                        nb_error *err) NB_MUST_CHECK;
/* Keeps at most `max` (>= 4) points: in each of max / 2 equal parts the lowest and the highest, so
 * that no peak is lost; points that are not finite count as the highest. */
void nbi_points_thin(nbi_points *p, size_t max);

/* eval_loss, or the loss of a named set: eval_<name>_loss. */
bool nbi_is_eval_loss(const char *name);

/* The figures of a run; NaN or -1 where they are not known. */
typedef struct nbi_run_summary {
    const char *state;
    int64_t steps, total_steps;
    double epoch, epochs;
    double loss_first, loss_last;
    const char *eval_name; /* the set that the next ones are of: the first; NULL: none */
    double eval_first, eval_best, eval_last;
    int64_t eval_best_step;
    double seconds, tokens_per_second, learning_rate;
    double peak_bytes, planned_bytes;
    double trainable, parameters;
} nbi_run_summary;

void nbi_run_summarise(const nbi_run_record *r, nbi_run_summary *s);
/* A setting of the first line; NULL: none. */
const nbi_json *nbi_run_setting(const nbi_run_record *r, const char *key);
/* A text or number as shown to people, "" for null; lists and maps as JSON. Appended to `out`. */
void nbi_run_show_value(const nbi_json *v, nbi_strbuf *out);

#endif
