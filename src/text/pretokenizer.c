/* SPDX-License-Identifier: MIT */
/* The pre-tokenizers of tokenizer.json. */
#include "base/fail.h"
#include "base/utf8.h"
#include "text/component.h"
#include "text/normal_form.h"
#include "text/text_pattern.h"
#include "text/unicode.h"

typedef struct split {
    nbi_pattern pattern;
    nbi_behavior behavior;
    bool invert;
} split;

static nb_status new_split(nbi_load *l, split **p, const void **param)
{
    NBI_TRY(nbi_load_alloc(l, sizeof **p, (void **)p));
    *param = *p;
    return NB_OK;
}

static nb_status run_split(const void *param, nbi_run *run)
{
    const split *p = param;
    return nbi_run_split(run, &p->pattern, p->behavior, p->invert);
}

static nb_status load_split(nbi_load *l, const nbi_json *v, const void **param)
{
    split *p;
    NBI_TRY(new_split(l, &p, param));
    if (!nbi_json_get(v, "behavior"))
        return nbi_load_fail(l, v, "Split without a \"behavior\"");
    NBI_TRY(nbi_behavior_load(l, v, "behavior", &p->behavior));
    NBI_TRY(nbi_load_bool(l, v, "invert", &p->invert));
    return nbi_pattern_load(l, v, &p->pattern);
}

static nb_status load_punctuation(nbi_load *l, const nbi_json *v, const void **param)
{
    split *p;
    NBI_TRY(new_split(l, &p, param));
    p->pattern.is = nbi_uni_is_punct;
    p->behavior = NBI_SPLIT_ISOLATED;
    return nbi_behavior_load(l, v, "behavior", &p->behavior);
}

static nb_status load_digits(nbi_load *l, const nbi_json *v, const void **param)
{
    split *p;
    bool individual = false;
    NBI_TRY(new_split(l, &p, param));
    NBI_TRY(nbi_load_bool(l, v, "individual_digits", &individual));
    p->pattern.is = nbi_uni_is_digit;
    p->behavior = individual ? NBI_SPLIT_ISOLATED : NBI_SPLIT_CONTIGUOUS;
    return NB_OK;
}

static nb_status load_whitespace_split(nbi_load *l, const nbi_json *v, const void **param)
{
    (void)v;
    split *p;
    NBI_TRY(new_split(l, &p, param));
    p->pattern.is = nbi_uni_is_space;
    p->behavior = NBI_SPLIT_REMOVED;
    return NB_OK;
}

static nb_status load_delimiter(nbi_load *l, const nbi_json *v, const void **param)
{
    split *p;
    NBI_TRY(new_split(l, &p, param));
    p->behavior = NBI_SPLIT_REMOVED;
    uint32_t cp;
    NBI_TRY(nbi_load_char(l, v, "delimiter", &cp));
    return nbi_load_string(l, v, "delimiter", &p->pattern.literal, &p->pattern.literal_len);
}

/* Whitespace: runs of word characters and runs of anything else that is no white space. */
static int whitespace_class(uint32_t cp)
{
    return nbi_uni_is(cp, NBI_SET_WORD18) ? 1 : nbi_uni_is_space(cp) ? 0 : 2;
}

static nb_status run_whitespace(const void *param, nbi_run *run)
{
    (void)param;
    run->more.n = 0;
    for (size_t i = 0; i < run->pieces.n; i++) {
        nbi_piece p = run->pieces.v[i];
        if (p.id >= 0) {
            NBI_TRY(nbi_run_push_piece(run, p));
            continue;
        }
        for (size_t k = p.begin; k < p.end;) {
            nbi_piece part = {k, k, run->text.track ? run->text.a[k].begin : 0, -1};
            int c = whitespace_class(nbi_utf8_get(run->text.s + k));
            while (k < p.end && whitespace_class(nbi_utf8_get(run->text.s + k)) == c)
                k += nbi_utf8_len(run->text.s[k]);
            part.end = k;
            if (c != 0)
                NBI_TRY(nbi_run_push_piece(run, part));
        }
    }
    nbi_run_swap_pieces(run);
    return NB_OK;
}

static nb_status run_bert(const void *param, nbi_run *run)
{
    (void)param;
    nbi_pattern space = {.is = nbi_uni_is_space}, punct = {.is = nbi_uni_is_punct};
    NBI_TRY(nbi_run_split(run, &space, NBI_SPLIT_REMOVED, false));
    return nbi_run_split(run, &punct, NBI_SPLIT_ISOLATED, false);
}

/* ---- ByteLevel ---- */

typedef struct byte_level {
    bool add_prefix_space, use_regex;
    nbi_pattern words;
} byte_level;

/* The pattern of GPT-2, part of the definition of this pre-tokenizer. */
static const char gpt2_words[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static nb_status load_byte_level(nbi_load *l, const nbi_json *v, const void **param)
{
    byte_level *p;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    p->add_prefix_space = p->use_regex = true;
    NBI_TRY(nbi_load_bool(l, v, "add_prefix_space", &p->add_prefix_space));
    NBI_TRY(nbi_load_bool(l, v, "use_regex", &p->use_regex));
    return p->use_regex ? nbi_load_regex(l, gpt2_words, sizeof gpt2_words - 1, &p->words.re)
                        : NB_OK;
}

static nb_status prefix_space(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)param;
    (void)run;
    return nbi_prepend(" ", in->s[0] == ' ' ? 0 : 1, in, out);
}

static nb_status run_byte_level(const void *param, nbi_run *run)
{
    const byte_level *p = param;
    if (p->add_prefix_space)
        NBI_TRY(nbi_run_rewrite(run, prefix_space, NULL));
    if (p->use_regex)
        NBI_TRY(nbi_run_split(run, &p->words, NBI_SPLIT_ISOLATED, false));
    return nbi_run_rewrite(run, nbi_rewrite_bytes, NULL);
}

/* ---- Metaspace ---- */

typedef struct metaspace {
    nbi_pattern mark; /* the replacement character */
    enum scheme { SCHEME_ALWAYS, SCHEME_FIRST, SCHEME_NEVER } scheme;
    bool split;
} metaspace;

static nb_status load_scheme(nbi_load *l, const nbi_json *v, metaspace *p)
{
    static const char *const names[] = {"always", "first", "never"};
    const nbi_json *m = nbi_json_get(v, "prepend_scheme");
    bool prefix = true, found = m == NULL;
    for (int i = 0; m && i < 3; i++) {
        if (nbi_json_equals(m, names[i])) {
            p->scheme = (enum scheme)i;
            found = true;
        }
    }
    if (!found)
        return nbi_load_fail(l, m, "\"prepend_scheme\" must be always, first or never");
    /* older files have add_prefix_space instead */
    NBI_TRY(nbi_load_bool(l, v, "add_prefix_space", &prefix));
    if (!prefix && m && p->scheme != SCHEME_NEVER)
        return nbi_load_fail(l, m, "\"add_prefix_space\" false contradicts \"prepend_scheme\"");
    if (!prefix)
        p->scheme = SCHEME_NEVER;
    l->needs_alignment |= p->scheme == SCHEME_FIRST;
    return NB_OK;
}

static nb_status load_metaspace(nbi_load *l, const nbi_json *v, const void **param)
{
    metaspace *p;
    uint32_t cp;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    p->split = true;
    NBI_TRY(nbi_load_char(l, v, "replacement", &cp));
    NBI_TRY(nbi_load_string(l, v, "replacement", &p->mark.literal, &p->mark.literal_len));
    NBI_TRY(nbi_load_bool(l, v, "split", &p->split));
    return load_scheme(l, v, p);
}

static nb_status put_marks(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)run;
    const metaspace *p = param;
    size_t n = p->mark.literal_len;
    bool marked = in->s[0] == ' ' || (in->n >= n && memcmp(in->s, p->mark.literal, n) == 0);
    bool wanted = p->scheme == SCHEME_ALWAYS || (p->scheme == SCHEME_FIRST && in->orig == 0);
    nbi_align first = in->a ? in->a[0] : (nbi_align){0, 0};
    if (wanted && !marked)
        nbi_aligned_add(out, p->mark.literal, n, first);
    size_t prev = 0;
    for (size_t i = 0; i < in->n; i++) {
        if (in->s[i] != ' ')
            continue;
        nbi_aligned_copy(out, in, prev, i);
        nbi_aligned_add(out, p->mark.literal, n, in->a ? in->a[i] : first);
        prev = i + 1;
    }
    nbi_aligned_copy(out, in, prev, in->n);
    return NB_OK;
}

static nb_status run_metaspace(const void *param, nbi_run *run)
{
    const metaspace *p = param;
    NBI_TRY(nbi_run_rewrite(run, put_marks, p));
    return p->split ? nbi_run_split(run, &p->mark, NBI_SPLIT_MERGED_WITH_NEXT, false) : NB_OK;
}

static const nbi_kind kinds[] = {
    {"ByteLevel", load_byte_level, {.pretokenize = run_byte_level}},
    {"Split", load_split, {.pretokenize = run_split}},
    {"Metaspace", load_metaspace, {.pretokenize = run_metaspace}},
    {"Digits", load_digits, {.pretokenize = run_split}},
    {"Punctuation", load_punctuation, {.pretokenize = run_split}},
    {"Whitespace", NULL, {.pretokenize = run_whitespace}},
    {"WhitespaceSplit", load_whitespace_split, {.pretokenize = run_split}},
    {"CharDelimiterSplit", load_delimiter, {.pretokenize = run_split}},
    {"BertPreTokenizer", NULL, {.pretokenize = run_bert}},
};

const nbi_stage nbi_stage_pretokenizer = {"pre_tokenizer", "pretokenizers", kinds,
                                          sizeof kinds / sizeof kinds[0]};
