/* SPDX-License-Identifier: MIT */
#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/utf8.h"

#define ELLIPSIS "..."

static bool harmless(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7F && cp < 0xA0) || cp == 0xFFFFFFFF)
        return false;
    /* line and paragraph separators; overrides of the writing direction */
    return !(cp >= 0x2028 && cp <= 0x202E) && !(cp >= 0x2066 && cp <= 0x2069);
}

void nbi_fail_clean(char *out, size_t cap, const char *s)
{
    static const char hex[] = "0123456789abcdef";
    size_t len = strlen(s), n = 0, cut = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        size_t step = nbi_utf8_decode(s + i, len - i, &cp);
        bool plain = harmless(cp);
        size_t need = plain ? step : 4 * step;
        if (n + sizeof(ELLIPSIS) <= cap)
            cut = n;
        if (n + need >= cap) {
            memcpy(out + cut, ELLIPSIS, sizeof(ELLIPSIS));
            return;
        }
        for (size_t k = 0; k < step; k++) {
            unsigned char c = (unsigned char)s[i + k];
            if (plain) {
                out[n++] = (char)c;
            } else {
                out[n++] = '\\';
                out[n++] = 'x';
                out[n++] = hex[c >> 4];
                out[n++] = hex[c & 15];
            }
        }
        i += step;
    }
    out[n] = 0;
}

/* Longer than a message can be, so that what is cut off here would be cut off anyway. */
enum { RAW_SIZE = 4 * sizeof(((nb_error *)0)->message) };

/* "prefix" or "prefix: rest"; what does not fit would be cut from the message anyway. */
static void set(nb_error *err, nb_status code, int os_error, const char *prefix, const char *rest)
{
    char both[2 * RAW_SIZE];
    size_t n = strlen(prefix), m = rest ? strlen(rest) : 0;
    memcpy(both, prefix, n + 1);
    if (rest) {
        memcpy(both + n, ": ", 2);
        m = m < RAW_SIZE - 3 ? m : RAW_SIZE - 3;
        memcpy(both + n + 2, rest, m);
        both[n + 2 + m] = 0;
    }
    err->code = code;
    err->os_error = os_error;
    nbi_fail_clean(err->message, sizeof(err->message), both);
}

nb_status nbi_fail(nb_error *err, nb_status code, const char *fmt, ...)
{
    if (err) {
        char raw[RAW_SIZE];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(raw, sizeof(raw), fmt, ap);
        va_end(ap);
        set(err, code, 0, raw, NULL);
    }
    return code;
}

nb_status nbi_fail_errno(nb_error *err, int errno_value, const char *fmt, ...)
{
    nb_status code = NB_IO;
    if (errno_value == ENOMEM)
        code = NB_NOMEM;
    else if (errno_value == ENOENT || errno_value == ENOTDIR)
        code = NB_NOTFOUND;
    if (err) {
        char raw[RAW_SIZE];
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(raw, sizeof(raw), fmt, ap);
        va_end(ap);
        set(err, code, errno_value, raw, strerror(errno_value));
    }
    return code;
}

nb_status nbi_fail_prefix(nb_error *err, nb_status code, const char *fmt, ...)
{
    if (!err)
        return code;
    char raw[RAW_SIZE], old[sizeof(err->message)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof(raw), fmt, ap);
    va_end(ap);
    memcpy(old, err->message, sizeof(old));
    set(err, err->code, err->os_error, raw, old);
    return err->code;
}

nb_status nbi_fail_format_as(nb_error *err, nb_status st, nb_status code)
{
    if (st != NB_FORMAT)
        return st;
    if (err)
        err->code = code;
    return code;
}

nb_status nbi_fail_nomem(nb_error *err, const char *what, unsigned long long bytes)
{
    return nbi_fail(err, NB_NOMEM, "out of memory: %llu bytes for %s", bytes, what);
}
