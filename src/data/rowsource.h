/* SPDX-License-Identifier: MIT */
/* A file of rows: where each row lies, and each row as a JSON object, whatever the file's format.
 */
#ifndef NBI_ROWSOURCE_H
#define NBI_ROWSOURCE_H

#include <signal.h>
#include "base/array.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mapfile.h"

#define NBI_ROW_MAX_BYTES ((size_t)64 << 20) /* a JSON line, a CSV field */
#define NBI_CSV_MAX_COLUMNS ((size_t)4096)

typedef enum nbi_file_kind { NBI_FILE_JSONL, NBI_FILE_JSON, NBI_FILE_CSV } nbi_file_kind;

typedef struct nbi_cell {
    const char *text; /* NUL-terminated */
    size_t len;
} nbi_cell;

typedef struct nbi_record {
    int64_t line;          /* 1-based line where it begins */
    size_t begin, end;     /* JSON: bytes of the file */
    const nbi_cell *cells; /* CSV: one for each column */
} nbi_record;

typedef struct nbi_rowsource {
    nbi_file_kind kind;
    nbi_mapfile map; /* map.path names the file in messages */
    NBI_ARRAY(nbi_record) records;
    nbi_cell *columns; /* CSV */
    size_t n_columns;
    size_t max_rows; /* records beyond are not looked at */
    nbi_arena arena; /* CSV texts */
    const volatile sig_atomic_t *stop;
} nbi_rowsource;

/* Finds the rows of a file (at most max_rows, 0: all): CSV when the name ends in .csv or .tsv, else
 * by the first character: "[" a JSON list of objects, "{" one object a line, anything else CSV.
 * Blank lines are no rows. `stop` (may be NULL) is polled for each row. NB_DATA names file and
 * line.
 */
nb_status nbi_rowsource_open(nbi_rowsource *s, const char *path, int64_t max_rows,
                             const volatile sig_atomic_t *stop, const nb_log *log,
                             nb_error *err) NB_MUST_CHECK;
void nbi_rowsource_close(nbi_rowsource *s);
/* Row i as an object in `arena`; texts of CSV rows stay in the source. Thread safe. */
nb_status nbi_rowsource_row(const nbi_rowsource *s, size_t i, nbi_arena *arena, nbi_json **row,
                            nb_error *err) NB_MUST_CHECK;

/* NB_INTERRUPTED when *stop is set. */
nb_status nbi_rowsource_poll(const nbi_rowsource *s, nb_error *err) NB_MUST_CHECK;

/* A text of lines: {text, len}. */
typedef struct nbi_lines {
    const char *text;
    size_t len, pos;
    int64_t line; /* 1-based number of the present line */
} nbi_lines;

/* The next line that holds more than white space, without its end; false when there is none. */
bool nbi_lines_next(nbi_lines *l, const char **s, size_t *len);

/* The parts; each fills `records`. */
nb_status nbi_jsonl_scan(nbi_rowsource *s, nb_error *err) NB_MUST_CHECK;
nb_status nbi_json_list_scan(nbi_rowsource *s, nb_error *err) NB_MUST_CHECK;
nb_status nbi_csv_scan(nbi_rowsource *s, const nb_log *log, nb_error *err) NB_MUST_CHECK;

#endif
