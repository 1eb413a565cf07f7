/* SPDX-License-Identifier: MIT */
#include "text/text_pattern.h"

#include "base/fail.h"

nb_status nbi_pattern_load(nbi_load *l, const nbi_json *v, nbi_pattern *p)
{
    *p = (nbi_pattern){0};
    const nbi_json *m = nbi_json_get(v, "pattern");
    if (nbi_json_get(m, "String")) {
        NBI_TRY(nbi_load_string(l, m, "String", &p->literal, &p->literal_len));
        if (p->literal_len > 0)
            return NB_OK;
        p->literal = NULL; /* matches between all characters, as the empty expression does */
        return nbi_load_regex(l, "", 0, &p->re);
    }
    if (nbi_json_get(m, "Regex")) {
        const char *text;
        size_t len;
        NBI_TRY(nbi_load_string(l, m, "Regex", &text, &len));
        return nbi_load_regex(l, text, len, &p->re);
    }
    return nbi_load_fail(l, m ? m : v, "\"pattern\" must be {\"String\": ...} or {\"Regex\": ...}");
}

static bool next_char_match(const nbi_pattern *p, const char *s, size_t n, size_t pos,
                            size_t *begin, size_t *end)
{
    while (pos < n) {
        size_t len = nbi_utf8_len(s[pos]);
        if (p->is(nbi_utf8_get(s + pos))) {
            *begin = pos;
            *end = pos + len;
            return true;
        }
        pos += len;
    }
    return false;
}

nb_status nbi_pattern_next(const nbi_pattern *p, nbi_regex_run *run, const char *s, size_t n,
                           size_t *pos, bool *after_match, bool *found, size_t *begin, size_t *end,
                           nb_error *err)
{
    *found = false;
    while (*pos <= n) {
        if (p->literal) {
            const char *hit = memmem(s + *pos, n - *pos, p->literal, p->literal_len);
            *found = hit != NULL;
            if (hit) {
                *begin = (size_t)(hit - s);
                *end = *begin + p->literal_len;
            }
        } else if (p->is) {
            *found = next_char_match(p, s, n, *pos, begin, end);
        } else {
            NBI_TRY(nbi_regex_find(p->re, run, s, n, *pos, found, begin, end, err));
        }
        if (!*found) {
            *pos = n + 1;
            return NB_OK;
        }
        if (*begin < *end || !*after_match || *begin != *pos) {
            *pos = *end;
            *after_match = true;
            return NB_OK;
        }
        /* an empty match right behind the last one: step over one character */
        *found = false;
        *after_match = false;
        *pos += *pos < n ? nbi_utf8_len(s[*pos]) : 1;
    }
    return NB_OK;
}

nb_status nbi_behavior_load(nbi_load *l, const nbi_json *v, const char *key, nbi_behavior *b)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const nbi_json *m = nbi_json_get(v, key);
    if (!m)
        return NB_OK;
    for (int i = 0; i < 5; i++) {
        if (nbi_json_equals(m, names[i])) {
            *b = (nbi_behavior)i;
            return NB_OK;
        }
    }
    return nbi_load_fail(l, m,
                         "\"%s\" must be Removed, Isolated, MergedWithPrevious, MergedWithNext or "
                         "Contiguous",
                         key);
}

static nb_status add_match(nbi_run *run, size_t begin, size_t end, bool match)
{
    nbi_match m = {begin, end, match, false};
    return nbi_array_push(&run->matches, m) ? NB_OK : nbi_run_nomem(run);
}

/* Fills run->matches with parts that cover s[0..n). */
static nb_status find_all(nbi_run *run, const nbi_pattern *p, const char *s, size_t n, bool invert)
{
    size_t pos = 0, prev = 0, begin = 0, end = 0;
    bool after = false, found;
    run->matches.n = 0;
    for (;;) {
        NBI_TRY(
            nbi_pattern_next(p, &run->regex, s, n, &pos, &after, &found, &begin, &end, run->err));
        if (!found)
            break;
        if (prev != begin)
            NBI_TRY(add_match(run, prev, begin, invert));
        NBI_TRY(add_match(run, begin, end, !invert));
        prev = end;
    }
    return prev != n ? add_match(run, prev, n, invert) : NB_OK;
}

static void merge_contiguous(nbi_matches *m)
{
    bool previous = false;
    size_t k = 0;
    for (size_t i = 0; i < m->n; i++) {
        nbi_match x = m->v[i];
        if (x.match == previous && k > 0)
            m->v[k - 1].end = x.end;
        else
            m->v[k++] = x;
        previous = x.match;
    }
    m->n = k;
}

static void merge_with_previous(nbi_matches *m)
{
    bool previous = false;
    size_t k = 0;
    for (size_t i = 0; i < m->n; i++) {
        nbi_match x = m->v[i];
        if (x.match && !previous && k > 0)
            m->v[k - 1].end = x.end;
        else
            m->v[k++] = x;
        previous = x.match;
    }
    m->n = k;
}

static void merge_with_next(nbi_matches *m)
{
    bool previous = false;
    size_t k = m->n; /* results grow downwards from the end */
    for (size_t i = m->n; i-- > 0;) {
        nbi_match x = m->v[i];
        if (x.match && !previous && k < m->n)
            m->v[k].begin = x.begin;
        else
            m->v[--k] = x;
        previous = x.match;
    }
    memmove(m->v, m->v + k, (m->n - k) * sizeof *m->v);
    m->n -= k;
}

static void apply_behavior(nbi_matches *m, nbi_behavior b)
{
    switch (b) {
    case NBI_SPLIT_REMOVED:
        for (size_t i = 0; i < m->n; i++)
            m->v[i].drop = m->v[i].match;
        break;
    case NBI_SPLIT_ISOLATED:
        break;
    case NBI_SPLIT_MERGED_WITH_PREVIOUS:
        merge_with_previous(m);
        break;
    case NBI_SPLIT_MERGED_WITH_NEXT:
        if (m->n > 0)
            merge_with_next(m);
        break;
    case NBI_SPLIT_CONTIGUOUS:
        merge_contiguous(m);
        break;
    }
}

nb_status nbi_run_split(nbi_run *run, const nbi_pattern *p, nbi_behavior b, bool invert)
{
    run->more.n = 0;
    for (size_t i = 0; i < run->pieces.n; i++) {
        nbi_piece piece = run->pieces.v[i];
        if (piece.id >= 0) {
            NBI_TRY(nbi_run_push_piece(run, piece));
            continue;
        }
        NBI_TRY(find_all(run, p, run->text.s + piece.begin, piece.end - piece.begin, invert));
        apply_behavior(&run->matches, b);
        for (size_t k = 0; k < run->matches.n; k++) {
            nbi_match m = run->matches.v[k];
            if (m.drop || m.begin >= m.end)
                continue;
            nbi_piece part = {piece.begin + m.begin, piece.begin + m.end, piece.orig, -1};
            if (run->text.track)
                part.orig = run->text.a[part.begin].begin;
            NBI_TRY(nbi_run_push_piece(run, part));
        }
    }
    nbi_run_swap_pieces(run);
    return NB_OK;
}
