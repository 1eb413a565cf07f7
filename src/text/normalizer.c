/* SPDX-License-Identifier: MIT */
/* The normalizers of tokenizer.json. */
#include "base/fail.h"
#include "text/component.h"
#include "text/normal_form.h"
#include "text/text_pattern.h"
#include "text/unicode.h"

/* ---- Prepend ---- */

typedef struct literal {
    const char *s;
    size_t n;
} literal;

static nb_status load_prepend(nbi_load *l, const nbi_json *v, const void **param)
{
    literal *p;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    return nbi_load_string(l, v, "prepend", &p->s, &p->n);
}

/* All that is put in front belongs to the first character; nothing is put before nothing. */
nb_status nbi_prepend(const char *s, size_t n, const nbi_view *in, nbi_aligned *out)
{
    if (in->n > 0)
        nbi_aligned_add(out, s, n, in->a ? in->a[0] : (nbi_align){0, 0});
    nbi_aligned_copy(out, in, 0, in->n);
    return NB_OK;
}

static nb_status run_prepend(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)run;
    const literal *p = param;
    return nbi_prepend(p->s, p->n, in, out);
}

/* ---- Replace ---- */

typedef struct replace {
    nbi_pattern pattern;
    literal content;
} replace;

static nb_status load_replace(nbi_load *l, const nbi_json *v, const void **param)
{
    replace *p;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    NBI_TRY(nbi_load_string(l, v, "content", &p->content.s, &p->content.n));
    return nbi_pattern_load(l, v, &p->pattern);
}

static nb_status run_replace(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    const replace *p = param;
    size_t pos = 0, prev = 0, begin = 0, end = 0;
    bool after = false, found;
    for (;;) {
        NBI_TRY(nbi_pattern_next(&p->pattern, &run->regex, in->s, in->n, &pos, &after, &found,
                                 &begin, &end, run->err));
        if (!found)
            break;
        nbi_aligned_copy(out, in, prev, begin);
        /* the new text belongs to the last character of what it replaces */
        nbi_align a = {in->orig, in->orig};
        if (in->a && end > 0)
            a = in->a[end - 1];
        nbi_aligned_add(out, p->content.s, p->content.n, a);
        prev = end;
    }
    nbi_aligned_copy(out, in, prev, in->n);
    return NB_OK;
}

/* ---- Strip ---- */

typedef struct strip {
    bool left, right;
} strip;

static nb_status load_strip(nbi_load *l, const nbi_json *v, const void **param)
{
    strip *p;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    p->left = p->right = true;
    NBI_TRY(nbi_load_bool(l, v, "strip_left", &p->left));
    return nbi_load_bool(l, v, "strip_right", &p->right);
}

static nb_status run_strip(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)run;
    const strip *p = param;
    size_t begin = 0, end = in->n;
    while (p->left && begin < end && nbi_uni_is_space(nbi_utf8_get(in->s + begin)))
        begin += nbi_utf8_len(in->s[begin]);
    while (p->right && end > begin) {
        size_t k = end - 1;
        while (k > begin && ((unsigned char)in->s[k] & 0xC0) == 0x80)
            k--;
        if (!nbi_uni_is_space(nbi_utf8_get(in->s + k)))
            break;
        end = k;
    }
    nbi_aligned_copy(out, in, begin, end);
    return NB_OK;
}

/* ---- character by character ---- */

static nb_status run_lowercase(const void *param, nbi_run *run, const nbi_view *in,
                               nbi_aligned *out)
{
    (void)param;
    (void)run;
    nbi_rewrite r = {in, 0, out};
    for (size_t i = 0; i < in->n; i += nbi_utf8_len(in->s[i])) {
        uint32_t low[2];
        int n = nbi_uni_lower(nbi_utf8_get(in->s + i), low);
        for (int k = 0; k < n; k++)
            nbi_rewrite_put_cp(&r, low[k], k > 0);
    }
    return NB_OK;
}

static nb_status filter(const nbi_view *in, nbi_aligned *out, bool (*keep)(uint32_t))
{
    for (size_t i = 0; i < in->n;) {
        size_t len = nbi_utf8_len(in->s[i]);
        if (keep(nbi_utf8_get(in->s + i)))
            nbi_aligned_copy(out, in, i, i + len);
        i += len;
    }
    return NB_OK;
}

static bool not_a_mark(uint32_t cp)
{
    return !nbi_uni_is_mark9(cp);
}

static nb_status run_strip_accents(const void *param, nbi_run *run, const nbi_view *in,
                                   nbi_aligned *out)
{
    (void)param;
    (void)run;
    return filter(in, out, not_a_mark);
}

/* Nmt: some control characters vanish, some others and all line breaks become blanks. */
static bool nmt_drops(uint32_t cp)
{
    return (cp >= 1 && cp <= 8) || cp == 0xB || (cp >= 0xE && cp <= 0x1F) || cp == 0x7F ||
           cp == 0x8F || cp == 0x9F;
}

static bool nmt_blank(uint32_t cp)
{
    return cp == 9 || cp == 10 || cp == 12 || cp == 13 || cp == 0x1680 ||
           (cp >= 0x200B && cp <= 0x200F) || cp == 0x2028 || cp == 0x2029 || cp == 0x2581 ||
           cp == 0xFEFF || cp == 0xFFFD;
}

static nb_status run_nmt(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)param;
    (void)run;
    for (size_t i = 0; i < in->n;) {
        size_t len = nbi_utf8_len(in->s[i]);
        uint32_t cp = nbi_utf8_get(in->s + i);
        if (nmt_blank(cp))
            nbi_aligned_add(out, " ", 1, in->a ? in->a[i] : (nbi_align){0, 0});
        else if (!nmt_drops(cp))
            nbi_aligned_copy(out, in, i, i + len);
        i += len;
    }
    return NB_OK;
}

/* ---- normal forms ---- */

static nb_status run_nfc(const void *p, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)p;
    return nbi_normal_form(in, out, false, true, run->err);
}

static nb_status run_nfd(const void *p, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)p;
    return nbi_normal_form(in, out, false, false, run->err);
}

static nb_status run_nfkc(const void *p, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)p;
    return nbi_normal_form(in, out, true, true, run->err);
}

static nb_status run_nfkd(const void *p, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)p;
    return nbi_normal_form(in, out, true, false, run->err);
}

static const nbi_kind kinds[] = {
    {"Prepend", load_prepend, {.normalize = run_prepend}},
    {"Replace", load_replace, {.normalize = run_replace}},
    {"NFC", NULL, {.normalize = run_nfc}},
    {"NFD", NULL, {.normalize = run_nfd}},
    {"NFKC", NULL, {.normalize = run_nfkc}},
    {"NFKD", NULL, {.normalize = run_nfkd}},
    {"Strip", load_strip, {.normalize = run_strip}},
    {"StripAccents", NULL, {.normalize = run_strip_accents}},
    {"Lowercase", NULL, {.normalize = run_lowercase}},
    {"Nmt", NULL, {.normalize = run_nmt}},
    {"ByteLevel", NULL, {.normalize = nbi_rewrite_bytes}},
};

const nbi_stage nbi_stage_normalizer = {"normalizer", "normalizers", kinds,
                                        sizeof kinds / sizeof kinds[0]};
