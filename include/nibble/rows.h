/* SPDX-License-Identifier: MIT */
/* Small helpers for programs that read and print JSON lines. */
#ifndef NIBBLE_ROWS_H
#define NIBBLE_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "nibble/status.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* A file of JSON lines, read whole. Blank lines are skipped. */
typedef struct nb_rows nb_rows;
nb_status nb_rows_open(nb_rows **out, const char *path, nb_error *err) NB_MUST_CHECK;
void nb_rows_close(nb_rows **r);
/* 1-based number of the line that the last call gave. */
int64_t nb_rows_line(const nb_rows *r);
/* The string member `field` of the next line's object; *end when there is no line left. The text is
 * valid until the next call. NB_DATA names file, line and field. */
nb_status nb_rows_next_text(nb_rows *r, const char *field, const char **text, size_t *len,
                            bool *end, nb_error *err) NB_MUST_CHECK;
/* The next line as a list of ids: a list itself, or the member "ids" or "input_ids" of an object.
 */
nb_status nb_rows_next_ids(nb_rows *r, const int32_t **ids, size_t *n, bool *end,
                           nb_error *err) NB_MUST_CHECK;
/* The next line's object as JSON text. */
nb_status nb_rows_next_object(nb_rows *r, const char **json, size_t *len, bool *end,
                              nb_error *err) NB_MUST_CHECK;

/* Text as a JSON string literal with everything beyond ASCII escaped (nb_free). NULL: no memory. */
char *nb_json_quote(const char *text, size_t len);
/* A number as nibble writes it in JSON: shortest text that reads back, "NaN" and "Infinity" quoted.
 */
char *nb_json_number(double v, char buf[40]);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
