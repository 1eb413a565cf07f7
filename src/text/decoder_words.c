/* SPDX-License-Identifier: MIT */
/* Decoders that put blanks between words: WordPiece, CTC, BPEDecoder. */
#include "text/decoder_words.h"

#include "base/fail.h"

static void add_replaced(nbi_strbuf *out, const char *s, size_t n, const char *from, size_t from_n,
                         const char *to)
{
    const char *hit;
    while (from_n > 0 && n > 0 && (hit = memmem(s, n, from, from_n)) != NULL) {
        size_t before = (size_t)(hit - s);
        nbi_strbuf_add(out, s, before);
        nbi_strbuf_puts(out, to);
        s = hit + from_n;
        n -= before + from_n;
    }
    nbi_strbuf_add(out, s, n);
}

/* English spacing, one rule after the other. *a holds the text before and after; *b is scratch. */
static void clean_up(nbi_strbuf *a, nbi_strbuf *b)
{
    static const char *const rules[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                           {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                           {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                           {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        nbi_strbuf t = *a;
        nbi_strbuf_clear(b);
        add_replaced(b, nbi_strbuf_str(&t), t.n, rules[i][0], strlen(rules[i][0]), rules[i][1]);
        *a = *b;
        *b = t;
        if (a->failed)
            return;
    }
}

typedef struct words {
    const char *mark; /* prefix, suffix, or word delimiter */
    size_t mark_n;
    const char *pad;
    size_t pad_n;
    bool cleanup;
} words;

static nb_status new_words(nbi_load *l, const nbi_json *v, const char *key, words **p,
                           const void **param)
{
    NBI_TRY(nbi_load_alloc(l, sizeof **p, (void **)p));
    *param = *p;
    NBI_TRY(nbi_load_bool(l, v, "cleanup", &(*p)->cleanup));
    return nbi_load_string(l, v, key, &(*p)->mark, &(*p)->mark_n);
}

nb_status nbi_load_wordpiece(nbi_load *l, const nbi_json *v, const void **param)
{
    words *p;
    return new_words(l, v, "prefix", &p, param);
}

nb_status nbi_load_bpe(nbi_load *l, const nbi_json *v, const void **param)
{
    words *p;
    return new_words(l, v, "suffix", &p, param);
}

nb_status nbi_load_ctc(nbi_load *l, const nbi_json *v, const void **param)
{
    words *p;
    NBI_TRY(new_words(l, v, "word_delimiter_token", &p, param));
    return nbi_load_string(l, v, "pad_token", &p->pad, &p->pad_n);
}

static void wordpiece_one(const words *p, const char *s, size_t n, bool first, nbi_strbuf *a)
{
    nbi_strbuf_clear(a);
    if (!first) {
        if (n >= p->mark_n && memcmp(s, p->mark, p->mark_n) == 0) {
            s += p->mark_n;
            n -= p->mark_n;
        } else {
            nbi_strbuf_putc(a, ' ');
        }
    }
    nbi_strbuf_add(a, s, n);
}

nb_status nbi_decode_wordpiece(const void *param, const nbi_strings *in, nbi_strings *out,
                               nb_error *err)
{
    const words *p = param;
    nbi_strbuf a = {0}, b = {0};
    nb_status st = NB_OK;
    for (size_t i = 0; i < in->ends.n && st == NB_OK; i++) {
        size_t n;
        const char *s = nbi_string_at(in, i, &n);
        wordpiece_one(p, s, n, i == 0, &a);
        if (p->cleanup)
            clean_up(&a, &b);
        st = nbi_strbuf_check(&a, err);
        nbi_strbuf_add(&out->text, nbi_strbuf_str(&a), a.n);
        if (st == NB_OK)
            st = nbi_strings_end(out, err);
    }
    nbi_strbuf_free(&a);
    nbi_strbuf_free(&b);
    return st;
}

nb_status nbi_decode_ctc(const void *param, const nbi_strings *in, nbi_strings *out, nb_error *err)
{
    const words *p = param;
    nbi_strbuf a = {0}, b = {0};
    nb_status st = NB_OK;
    for (size_t i = 0; i < in->ends.n && st == NB_OK; i++) {
        size_t n, before_n = 0;
        const char *s = nbi_string_at(in, i, &n);
        const char *before = i ? nbi_string_at(in, i - 1, &before_n) : NULL;
        if (before && before_n == n && memcmp(before, s, n) == 0)
            continue; /* repeated tokens count once */
        nbi_strbuf_clear(&a);
        add_replaced(&a, s, n, p->pad, p->pad_n, "");
        if (p->cleanup) {
            clean_up(&a, &b);
            nbi_strbuf_clear(&b);
            add_replaced(&b, nbi_strbuf_str(&a), a.n, p->mark, p->mark_n, " ");
            nbi_strbuf t = a;
            a = b;
            b = t;
        }
        st = nbi_strbuf_check(&a, err);
        nbi_strbuf_add(&out->text, nbi_strbuf_str(&a), a.n);
        if (st == NB_OK && a.n > 0)
            st = nbi_strings_end(out, err);
    }
    nbi_strbuf_free(&a);
    nbi_strbuf_free(&b);
    return st;
}

nb_status nbi_decode_bpe(const void *param, const nbi_strings *in, nbi_strings *out, nb_error *err)
{
    const words *p = param;
    for (size_t i = 0; i < in->ends.n; i++) {
        size_t n;
        const char *s = nbi_string_at(in, i, &n);
        add_replaced(&out->text, s, n, p->mark, p->mark_n, i + 1 == in->ends.n ? "" : " ");
        NBI_TRY(nbi_strings_end(out, err));
    }
    return NB_OK;
}
