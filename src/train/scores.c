/* SPDX-License-Identifier: MIT */
#include "train/scores.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/json.h"
#include "base/strbuf.h"
#include "base/strmap.h"

/* A text as numbers of words: equal words, equal numbers. */
typedef struct words {
    nbi_strbuf text; /* in lower case, one space between words */
    NBI_ARRAY(uint32_t) ids;
} words;

static void free_words(words *w)
{
    nbi_strbuf_free(&w->text);
    nbi_array_free(&w->ids);
}

/* The byte or bytes at s as a character of a word, 0 for what stands between words. Outside ASCII
 * only two letters have one in a-z as their lower case: the capital I with a dot, whose dot becomes
 * a mark of its own and so ends the word, and the Kelvin sign. */
static char word_char(const char *s, size_t left, size_t *used, bool *ends)
{
    const unsigned char c = (unsigned char)s[0];
    *used = 1;
    *ends = false;
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
        return (char)c;
    if (c >= 'A' && c <= 'Z')
        return (char)(c - 'A' + 'a');
    if (left >= 2 && memcmp(s, "\xC4\xB0", 2) == 0) {
        *used = 2;
        *ends = true;
        return 'i';
    }
    if (left >= 3 && memcmp(s, "\xE2\x84\xAA", 3) == 0) {
        *used = 3;
        return 'k';
    }
    return 0;
}

static void cut_words(words *w, const char *s, size_t n)
{
    bool inside = false;
    for (size_t i = 0, used; i < n; i += used) {
        bool ends;
        const char c = word_char(s + i, n - i, &used, &ends);
        if (c && !inside && w->text.n)
            nbi_strbuf_putc(&w->text, ' ');
        if (c)
            nbi_strbuf_putc(&w->text, c);
        inside = c && !ends;
    }
}

/* Numbers for the words of one text; `known` is shared by both. */
static bool number_words(words *w, nbi_strmap *known)
{
    const char *s = nbi_strbuf_str(&w->text), *end = s + w->text.n;
    if (w->text.failed)
        return false;
    while (s < end) {
        const size_t n = strcspn(s, " ");
        int64_t id = (int64_t)known->n;
        if (!nbi_strmap_get(known, s, n, &id) && !nbi_strmap_put(known, s, n, id, NULL))
            return false;
        if (!nbi_array_push(&w->ids, (uint32_t)id))
            return false;
        s += n + (s + n < end);
    }
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double f_measure(size_t hits, size_t answered, size_t wanted)
{
    if (hits == 0)
        return 0;
    const double p = (double)hits / (double)answered, r = (double)hits / (double)wanted;
    return 2 * p * r / (p + r);
}

/* Runs of `size` (1 or 2) words as sorted keys. */
static uint64_t *sorted_runs(const words *w, size_t size, size_t *n)
{
    *n = w->ids.n >= size ? w->ids.n - size + 1 : 0;
    uint64_t *v = nbi_alloc(NBI_MEM_OTHER, (*n + 1) * sizeof(*v));
    for (size_t i = 0; v && i < *n; i++)
        v[i] = size == 1 ? w->ids.v[i] : (uint64_t)w->ids.v[i] << 32 | w->ids.v[i + 1];
    if (v)
        qsort(v, *n, sizeof(*v), compare_u64);
    return v;
}

/* Elements that two sorted lists have in common, each as often as both have it. */
static size_t count_common(const uint64_t *a, size_t na, const uint64_t *b, size_t nb)
{
    size_t i = 0, j = 0, hits = 0;
    while (i < na && j < nb) {
        hits += a[i] == b[j];
        const bool a_goes = a[i] <= b[j], b_goes = b[j] <= a[i];
        i += a_goes;
        j += b_goes;
    }
    return hits;
}

static bool rouge_n(const words *a, const words *w, size_t size, double *f)
{
    size_t na, nw;
    uint64_t *x = sorted_runs(a, size, &na), *y = sorted_runs(w, size, &nw);
    if (x && y)
        *f = f_measure(count_common(x, na, y, nw), na, nw);
    const bool ok = x && y;
    nbi_free(x);
    nbi_free(y);
    return ok;
}

/* best[j]: longest common subsequence of the words of `a` so far and the first j of `w`. */
static bool rouge_l(const words *a, const words *w, double *f)
{
    uint32_t *best = nbi_calloc(NBI_MEM_OTHER, w->ids.n + 1, sizeof(*best));
    if (!best)
        return false;
    for (size_t i = 0; i < a->ids.n; i++)
        for (uint32_t j = 0, corner = 0; j < w->ids.n; j++) {
            const uint32_t above = best[j + 1];
            if (a->ids.v[i] == w->ids.v[j])
                best[j + 1] = corner + 1;
            else if (best[j] > above)
                best[j + 1] = best[j];
            corner = above;
        }
    *f = f_measure(best[w->ids.n], a->ids.n, w->ids.n);
    nbi_free(best);
    return true;
}

nb_status nbi_rouge_of(const char *answer, size_t answer_len, const char *wanted, size_t wanted_len,
                       nbi_rouge *out, nb_error *err)
{
    words a = {0}, w = {0};
    nbi_strmap known = {0};
    *out = (nbi_rouge){0};
    cut_words(&a, answer, answer_len);
    cut_words(&w, wanted, wanted_len);
    const bool ok = number_words(&a, &known) && number_words(&w, &known) &&
                    rouge_n(&a, &w, 1, &out->rouge1) && rouge_n(&a, &w, 2, &out->rouge2) &&
                    rouge_l(&a, &w, &out->rougel);
    nbi_strmap_free(&known);
    free_words(&a);
    free_words(&w);
    return ok ? NB_OK : nbi_fail_nomem(err, "words", answer_len + wanted_len);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void strip(const char **s, size_t *n)
{
    while (*n > 0 && is_space(**s)) {
        ++*s;
        --*n;
    }
    while (*n > 0 && is_space((*s)[*n - 1]))
        --*n;
}

bool nbi_exact_match(const char *answer, size_t answer_len, const char *wanted, size_t wanted_len)
{
    strip(&answer, &answer_len);
    strip(&wanted, &wanted_len);
    return answer_len == wanted_len && memcmp(answer, wanted, wanted_len) == 0;
}

nb_status nbi_is_json(const char *answer, size_t len, bool *is, nb_error *err)
{
    nbi_arena arena;
    nbi_json *v;
    strip(&answer, &len);
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    const nb_status st = nbi_json_parse(&arena, "answer", answer, len, &v, err);
    nbi_arena_free(&arena);
    *is = st == NB_OK;
    return st == NB_NOMEM ? st : NB_OK;
}
