/* SPDX-License-Identifier: MIT */
/* Helpers around nb_status: record an error, pass one on. */
#ifndef NBI_FAIL_H
#define NBI_FAIL_H

#include <stddef.h>
#include "nibble/status.h"

/* Fills *err (may be NULL) and returns `code`. `fmt` makes the whole line; see nb_error. Control
 * characters in the formatted text are shown as \xNN so that a hostile file name or field cannot
 * touch the terminal. Too long text is cut with "...". */
nb_status nbi_fail(nb_error *err, nb_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* As nbi_fail with strerror(errno_value) appended as ": text"; ENOMEM becomes NB_NOMEM, ENOENT and
 * ENOTDIR NB_NOTFOUND, everything else NB_IO. */
nb_status nbi_fail_errno(nb_error *err, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " in front of the message already in *err; returns err->code. err may be NULL. */
nb_status nbi_fail_prefix(nb_error *err, nb_status code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* What parsers report as NB_FORMAT becomes `code`, in *err (may be NULL) too; any other status
 * stays as it is. */
nb_status nbi_fail_format_as(nb_error *err, nb_status st, nb_status code);
/* The one message for a failed allocation. */
nb_status nbi_fail_nomem(nb_error *err, const char *what, unsigned long long bytes);

/* Copies s into out[cap] (cap >= 8) as one harmless line: control characters, ill-formed UTF-8 and
 * overrides of the writing direction as \xNN a byte, cut with "..." between characters. */
void nbi_fail_clean(char *out, size_t cap, const char *s);

/* Return from the calling function with the status of `expr` unless it is NB_OK. */
#define NBI_TRY(expr)                                                                              \
    do {                                                                                           \
        nb_status nbi_try_status_ = (expr);                                                        \
        if (nbi_try_status_ != NB_OK)                                                              \
            return nbi_try_status_;                                                                \
    } while (0)

/* The same inside a function with a clean-up label; needs a variable `nb_status st`. */
#define NBI_TRY_GOTO(expr, label)                                                                  \
    do {                                                                                           \
        st = (expr);                                                                               \
        if (st != NB_OK)                                                                           \
            goto label;                                                                            \
    } while (0)

#endif
