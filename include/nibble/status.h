/* SPDX-License-Identifier: MIT */
/* Status codes and the error record that every fallible function of nibble fills. */
#ifndef NIBBLE_STATUS_H
#define NIBBLE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif
#if defined(__GNUC__)
#pragma GCC visibility push(default)
#endif

/* X(name, exit code of the program, short text). The one list: enum, texts, exit codes and the
 * table in the documentation come from it. */
#define NB_STATUS_MAP(X)                                                                           \
    X(OK, 0, "ok")                                                                                 \
    X(INTERNAL, 1, "internal error")                                                               \
    X(USAGE, 2, "wrong command line")                                                              \
    X(CONFIG, 3, "wrong setting")                                                                  \
    X(DATA, 4, "wrong data set")                                                                   \
    X(FORMAT, 5, "damaged or invalid file")                                                        \
    X(UNSUPPORTED, 6, "not supported")                                                             \
    X(NOMEM, 7, "out of memory")                                                                   \
    X(IO, 8, "input/output error")                                                                 \
    X(NOTFOUND, 9, "file not found")                                                               \
    X(NUMERIC, 10, "non-finite numbers")                                                           \
    X(BUSY, 11, "in use by another run")                                                           \
    X(MISMATCH, 12, "parts that do not belong together")                                           \
    X(LIMIT, 13, "limit exceeded")                                                                 \
    X(INTERRUPTED, 130, "interrupted")

typedef enum nb_status {
#define NB_STATUS_ENUM(name, exit_code, text) NB_##name,
    NB_STATUS_MAP(NB_STATUS_ENUM)
#undef NB_STATUS_ENUM
} nb_status;

/* What went wrong. `message` is one line without a final line feed that says what, where (file,
 * line or byte, tensor, field), what was found, and what to do. The caller owns the record;
 * functions that return NB_OK leave it untouched. */
typedef struct nb_error {
    nb_status code;
    char message[1000];
    int os_error; /* errno where the system refused something, else 0 */
} nb_error;

#if defined(__GNUC__)
#define NB_MUST_CHECK __attribute__((warn_unused_result))
#else
#define NB_MUST_CHECK
#endif

/* "ok", "wrong setting", ...; never NULL, also for numbers that are no status. */
const char *nb_status_text(nb_status s);
/* Exit code of the program for a status, 0..255; distinct for each status. */
int nb_status_exit_code(nb_status s);
/* "0.1.0" */
const char *nb_version(void);

#if defined(__GNUC__)
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
