/* SPDX-License-Identifier: MIT */
#include "text/aligned.h"

#include <string.h>
#include "base/alloc.h"
#include "base/fail.h"
#include "base/utf8.h"

void nbi_aligned_free(nbi_aligned *t)
{
    nbi_free(t->s);
    nbi_free(t->a);
    *t = (nbi_aligned){0};
}

static bool grow(nbi_aligned *t, size_t extra)
{
    if (t->failed)
        return false;
    if (extra <= t->cap - t->n)
        return true;
    size_t want = t->n + extra;
    size_t cap = t->cap + t->cap / 2 + 64;
    if (cap < want)
        cap = want;
    char *s = cap <= UINT32_MAX ? nbi_realloc(NBI_MEM_IO, t->s, cap) : NULL;
    if (!s) {
        t->failed = true;
        return false;
    }
    t->s = s;
    if (t->track) {
        nbi_align *a = nbi_realloc(NBI_MEM_IO, t->a, cap * sizeof *a);
        if (!a) {
            t->failed = true;
            return false;
        }
        t->a = a;
    }
    t->cap = cap;
    return true;
}

void nbi_aligned_add(nbi_aligned *t, const char *s, size_t n, nbi_align same)
{
    if (n == 0 || !grow(t, n))
        return;
    memcpy(t->s + t->n, s, n);
    if (t->track) {
        for (size_t i = 0; i < n; i++)
            t->a[t->n + i] = same;
    }
    t->n += n;
}

void nbi_aligned_copy(nbi_aligned *t, const nbi_view *v, size_t begin, size_t end)
{
    size_t n = end - begin;
    if (begin >= end || !grow(t, n))
        return;
    memcpy(t->s + t->n, v->s + begin, n);
    if (t->track)
        memcpy(t->a + t->n, v->a + begin, n * sizeof *t->a);
    t->n += n;
}

nb_status nbi_aligned_check(const nbi_aligned *t, nb_error *err)
{
    return t->failed ? nbi_fail_nomem(err, "text being tokenised", t->cap) : NB_OK;
}

static nbi_align alignment_at(const nbi_rewrite *r, bool inserted)
{
    const nbi_view *in = r->in;
    if (!in->a)
        return (nbi_align){0, 0};
    if (inserted ? r->pos < 1 : in->n == 0)
        return (nbi_align){in->orig, in->orig};
    size_t i = inserted ? r->pos - 1 : r->pos;
    return in->a[i < in->n ? i : in->n - 1];
}

void nbi_rewrite_skip(nbi_rewrite *r, size_t k)
{
    for (; k > 0 && r->pos < r->in->n; k--)
        r->pos += nbi_utf8_len(r->in->s[r->pos]);
}

void nbi_rewrite_put(nbi_rewrite *r, const char *s, size_t len, int64_t change)
{
    nbi_aligned_add(r->out, s, len, alignment_at(r, change > 0));
    if (change <= 0)
        nbi_rewrite_skip(r, 1 + (size_t)-change);
}

void nbi_rewrite_put_cp(nbi_rewrite *r, uint32_t cp, int64_t change)
{
    char buf[4];
    size_t n = nbi_utf8_encode(cp, buf);
    nbi_rewrite_put(r, buf, n, change);
}

uint32_t nbi_utf8_get(const char *s)
{
    const unsigned char *u = (const unsigned char *)s;
    if (u[0] < 0x80)
        return u[0];
    if (u[0] < 0xE0)
        return (uint32_t)(u[0] & 0x1F) << 6 | (u[1] & 0x3Fu);
    if (u[0] < 0xF0)
        return (uint32_t)(u[0] & 0x0F) << 12 | (uint32_t)(u[1] & 0x3F) << 6 | (u[2] & 0x3Fu);
    return (uint32_t)(u[0] & 0x07) << 18 | (uint32_t)(u[1] & 0x3F) << 12 |
           (uint32_t)(u[2] & 0x3F) << 6 | (u[3] & 0x3Fu);
}
