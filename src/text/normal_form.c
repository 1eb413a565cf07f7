/* SPDX-License-Identifier: MIT */
#include "text/normal_form.h"

#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "text/unicode.h"

/* A character on its way: what it replaces (see nbi_rewrite) is carried along through reordering
 * and composition, because that is what decides the offsets of the result. */
typedef struct mark {
    uint32_t cp;
    int32_t change;
    int ccc;
} mark;

/* A starter and the marks that follow it. */
typedef struct former {
    nbi_rewrite out;
    bool compose, have_starter;
    NBI_ARRAY(mark) marks; /* pending, in text order, all with ccc > 0 */
    mark starter;
} former;

/* Stable sort by combining class. Runs of marks are short in text; a merge sort keeps hostile input
 * from taking quadratic time. */
static bool sort_marks(former *f)
{
    size_t n = f->marks.n;
    mark *v = f->marks.v;
    bool sorted = true;
    for (size_t i = 1; i < n && sorted; i++)
        sorted = v[i - 1].ccc <= v[i].ccc;
    if (sorted)
        return true;
    mark *t = nbi_alloc(NBI_MEM_IO, n * sizeof *t);
    if (!t)
        return false;
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t a = 0; a < n; a += 2 * width) {
            size_t m = a + width < n ? a + width : n, e = a + 2 * width < n ? a + 2 * width : n;
            size_t i = a, j = m, k = a;
            while (i < m || j < e)
                t[k++] = j >= e || (i < m && v[i].ccc <= v[j].ccc) ? v[i++] : v[j++];
        }
        memcpy(v, t, n * sizeof *t);
    }
    nbi_free(t);
    return true;
}

/* Composes the pending marks with their starter as far as they are not blocked. */
static void compose_marks(former *f)
{
    size_t k = 0;
    int last = 0; /* class of the last mark that stayed; 0: none */
    for (size_t i = 0; i < f->marks.n; i++) {
        mark m = f->marks.v[i];
        uint32_t c = last < m.ccc ? nbi_uni_compose(f->starter.cp, m.cp) : 0;
        if (c) {
            f->starter.cp = c;
            f->starter.change += m.change - 1;
        } else {
            f->marks.v[k++] = m;
            last = m.ccc;
        }
    }
    f->marks.n = k;
}

static void put(former *f, mark m)
{
    nbi_rewrite_put_cp(&f->out, m.cp, m.change);
}

/* Sorts the pending marks and, for the composed forms, joins them with their starter. */
static bool settle(former *f)
{
    if (!sort_marks(f))
        return false;
    if (f->compose && f->have_starter)
        compose_marks(f);
    return true;
}

static void emit(former *f)
{
    if (f->have_starter)
        put(f, f->starter);
    for (size_t i = 0; i < f->marks.n; i++)
        put(f, f->marks.v[i]);
    f->marks.n = 0;
    f->have_starter = false;
}

/* One decomposed character. */
static bool feed(former *f, uint32_t cp, int32_t change)
{
    mark m = {cp, change, nbi_uni_combining_class(cp)};
    if (m.ccc > 0)
        return nbi_array_push(&f->marks, m);
    if (!settle(f))
        return false;
    if (f->compose && f->have_starter && f->marks.n == 0) {
        uint32_t c = nbi_uni_compose(f->starter.cp, cp);
        if (c) {
            f->starter.cp = c;
            f->starter.change += change - 1;
            return true;
        }
    }
    emit(f);
    f->starter = m;
    f->have_starter = true;
    return true;
}

static bool is_active(const nbi_view *in)
{
    for (size_t i = 0; i < in->n; i += nbi_utf8_len(in->s[i])) {
        if ((unsigned char)in->s[i] >= 0xC2 && nbi_uni_normal_active(nbi_utf8_get(in->s + i)))
            return true;
    }
    return false;
}

nb_status nbi_normal_form(const nbi_view *in, nbi_aligned *out, bool compat, bool compose,
                          nb_error *err)
{
    if (!is_active(in)) {
        nbi_aligned_copy(out, in, 0, in->n);
        return NB_OK;
    }
    former f = {.out = {in, 0, out}, .compose = compose};
    bool ok = true;
    for (size_t i = 0; i < in->n && ok; i += nbi_utf8_len(in->s[i])) {
        uint32_t d[NBI_UNI_MAX_DECOMPOSED];
        int n = nbi_uni_decompose(nbi_utf8_get(in->s + i), compat, d);
        for (int k = 0; k < n && ok; k++)
            ok = feed(&f, d[k], k > 0);
    }
    ok = ok && settle(&f);
    if (ok)
        emit(&f);
    nbi_array_free(&f.marks);
    return ok ? NB_OK : nbi_fail_nomem(err, "normalising text", in->n);
}
