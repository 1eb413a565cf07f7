/* SPDX-License-Identifier: MIT */
#include "base/strbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/checked.h"
#include "base/fail.h"

/* Room for `extra` bytes and the NUL. */
static bool grow(nbi_strbuf *b, size_t extra)
{
    size_t need, want;
    if (b->failed)
        return false;
    if (extra < b->cap - b->n)
        return true;
    if (!nbi_add_size(b->n, extra, &need) || !nbi_add_size(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (!nbi_mul_size(b->cap, 2, &want) || want < need)
        want = need < 64 ? 64 : need;
    char *p = nbi_realloc(NBI_MEM_OTHER, b->s, want);
    if (!p) {
        b->failed = true;
        return false;
    }
    b->s = p;
    b->cap = want;
    return true;
}

void nbi_strbuf_add(nbi_strbuf *b, const char *s, size_t len)
{
    if (!grow(b, len))
        return;
    if (len > 0)
        memcpy(b->s + b->n, s, len);
    b->n += len;
    b->s[b->n] = 0;
}

void nbi_strbuf_puts(nbi_strbuf *b, const char *s)
{
    nbi_strbuf_add(b, s, strlen(s));
}

void nbi_strbuf_putc(nbi_strbuf *b, char c)
{
    if (!grow(b, 1))
        return;
    b->s[b->n++] = c;
    b->s[b->n] = 0;
}

void nbi_strbuf_printf(nbi_strbuf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (len < 0) {
        b->failed = true;
        return;
    }
    if (!grow(b, (size_t)len))
        return;
    va_start(ap, fmt);
    vsnprintf(b->s + b->n, (size_t)len + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)len;
}

const char *nbi_strbuf_str(const nbi_strbuf *b)
{
    return b->s && b->n > 0 ? b->s : "";
}

void nbi_strbuf_clear(nbi_strbuf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->s)
        b->s[0] = 0;
}

void nbi_strbuf_free(nbi_strbuf *b)
{
    nbi_free(b->s);
    memset(b, 0, sizeof(*b));
}

nb_status nbi_strbuf_check(const nbi_strbuf *b, nb_error *err)
{
    return b->failed ? nbi_fail_nomem(err, "text", b->n) : NB_OK;
}

bool nbi_ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}
