/* SPDX-License-Identifier: MIT */
/* The decoders of tokenizer.json: from the texts of tokens back to text. */
#include "base/fail.h"
#include "base/utf8.h"
#include "text/component.h"
#include "text/decoder_words.h"
#include "text/text_pattern.h"

/* ---- ByteLevel ---- */

static nb_status run_byte_level(const void *param, const nbi_strings *in, nbi_strings *out,
                                nb_error *err)
{
    (void)param;
    nbi_strbuf bytes = {0};
    for (size_t i = 0; i < in->ends.n; i++) {
        size_t n, mark = bytes.n;
        const char *s = nbi_string_at(in, i, &n);
        for (size_t k = 0; k < n; k += nbi_utf8_len(s[k])) {
            int b = nbi_char_byte(nbi_utf8_get(s + k));
            if (b < 0) { /* not a byte-level token: taken as it is */
                if (!bytes.failed)
                    bytes.n = mark;
                nbi_strbuf_add(&bytes, s, n);
                break;
            }
            nbi_strbuf_putc(&bytes, (char)b);
        }
    }
    nb_status st = nbi_strbuf_check(&bytes, err);
    if (st == NB_OK)
        nbi_utf8_sanitize(&out->text, nbi_strbuf_str(&bytes), bytes.n);
    nbi_strbuf_free(&bytes);
    return st == NB_OK ? nbi_strings_end(out, err) : st;
}

/* ---- ByteFallback ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* "<0xAB>" or -1 */
static int byte_token(const char *s, size_t n)
{
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    int hi = hex_digit(s[3]), lo = hex_digit(s[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

static nb_status end_bytes(nbi_strbuf *run, nbi_strings *out, nb_error *err)
{
    NBI_TRY(nbi_strbuf_check(run, err));
    size_t n = run->n;
    if (n == 0)
        return NB_OK;
    if (nbi_utf8_check(run->s, n) == n) {
        nbi_strbuf_add(&out->text, run->s, n);
        NBI_TRY(nbi_strings_end(out, err));
    } else {
        for (size_t i = 0; i < n; i++) {
            nbi_strbuf_puts(&out->text, "\xEF\xBF\xBD");
            NBI_TRY(nbi_strings_end(out, err));
        }
    }
    nbi_strbuf_clear(run);
    return NB_OK;
}

static nb_status run_byte_fallback(const void *param, const nbi_strings *in, nbi_strings *out,
                                   nb_error *err)
{
    (void)param;
    nbi_strbuf run = {0};
    nb_status st = NB_OK;
    for (size_t i = 0; i < in->ends.n && st == NB_OK; i++) {
        size_t n;
        const char *s = nbi_string_at(in, i, &n);
        int b = byte_token(s, n);
        if (b >= 0) {
            nbi_strbuf_putc(&run, (char)b);
            continue;
        }
        st = end_bytes(&run, out, err);
        if (st == NB_OK) {
            nbi_strbuf_add(&out->text, s, n);
            st = nbi_strings_end(out, err);
        }
    }
    if (st == NB_OK)
        st = end_bytes(&run, out, err);
    nbi_strbuf_free(&run);
    return st;
}

/* ---- Fuse ---- */

static nb_status run_fuse(const void *param, const nbi_strings *in, nbi_strings *out, nb_error *err)
{
    (void)param;
    nbi_strbuf_add(&out->text, nbi_strbuf_str(&in->text), in->text.n);
    return nbi_strings_end(out, err);
}

/* ---- Replace ---- */

typedef struct replace {
    nbi_pattern pattern;
    const char *content;
    size_t content_n;
} replace;

static nb_status load_replace(nbi_load *l, const nbi_json *v, const void **param)
{
    replace *p;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    NBI_TRY(nbi_load_string(l, v, "content", &p->content, &p->content_n));
    return nbi_pattern_load(l, v, &p->pattern);
}

static nb_status replace_one(const replace *p, nbi_regex_run *run, const char *s, size_t n,
                             nbi_strings *out, nb_error *err)
{
    size_t pos = 0, prev = 0, begin = 0, end = 0;
    bool after = false, found = n > 0;
    while (found) {
        NBI_TRY(nbi_pattern_next(&p->pattern, run, s, n, &pos, &after, &found, &begin, &end, err));
        if (!found)
            break;
        nbi_strbuf_add(&out->text, s + prev, begin - prev);
        nbi_strbuf_add(&out->text, p->content, p->content_n);
        prev = end;
    }
    nbi_strbuf_add(&out->text, s + prev, n - prev);
    return nbi_strings_end(out, err);
}

static nb_status run_replace(const void *param, const nbi_strings *in, nbi_strings *out,
                             nb_error *err)
{
    nbi_regex_run run = {0};
    nb_status st = NB_OK;
    for (size_t i = 0; i < in->ends.n && st == NB_OK; i++) {
        size_t n;
        const char *s = nbi_string_at(in, i, &n);
        st = replace_one(param, &run, s, n, out, err);
    }
    nbi_regex_run_free(&run);
    return st;
}

/* ---- Strip ---- */

typedef struct strip {
    const char *content; /* one character */
    size_t content_n;
    size_t start, stop;
} strip;

static nb_status load_count(nbi_load *l, const nbi_json *v, const char *key, size_t *r)
{
    int64_t x;
    const nbi_json *m = nbi_json_get(v, key);
    if (!nbi_json_to_i64(m, &x) || x < 0 || x > INT32_MAX)
        return nbi_load_fail(l, m ? m : v, "\"%s\" must be a whole number", key);
    *r = (size_t)x;
    return NB_OK;
}

static nb_status load_strip(nbi_load *l, const nbi_json *v, const void **param)
{
    strip *p;
    uint32_t cp;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    NBI_TRY(nbi_load_char(l, v, "content", &cp));
    NBI_TRY(nbi_load_string(l, v, "content", &p->content, &p->content_n));
    NBI_TRY(load_count(l, v, "start", &p->start));
    return load_count(l, v, "stop", &p->stop);
}

static nb_status run_strip(const void *param, const nbi_strings *in, nbi_strings *out,
                           nb_error *err)
{
    const strip *p = param;
    for (size_t i = 0; i < in->ends.n; i++) {
        size_t n, c = p->content_n;
        const char *s = nbi_string_at(in, i, &n);
        for (size_t k = 0; k < p->start && n >= c && memcmp(s, p->content, c) == 0; k++) {
            s += c;
            n -= c;
        }
        for (size_t k = 0; k < p->stop && n >= c && memcmp(s + n - c, p->content, c) == 0; k++)
            n -= c;
        nbi_strbuf_add(&out->text, s, n);
        NBI_TRY(nbi_strings_end(out, err));
    }
    return NB_OK;
}

/* ---- Metaspace ---- */

typedef struct metaspace {
    const char *mark;
    size_t mark_n;
    bool prefix;
} metaspace;

static nb_status load_metaspace(nbi_load *l, const nbi_json *v, const void **param)
{
    metaspace *p;
    uint32_t cp;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    p->prefix = true;
    NBI_TRY(nbi_load_char(l, v, "replacement", &cp));
    NBI_TRY(nbi_load_string(l, v, "replacement", &p->mark, &p->mark_n));
    NBI_TRY(nbi_load_bool(l, v, "add_prefix_space", &p->prefix));
    if (nbi_json_equals(nbi_json_get(v, "prepend_scheme"), "never"))
        p->prefix = false;
    return NB_OK;
}

static nb_status run_metaspace(const void *param, const nbi_strings *in, nbi_strings *out,
                               nb_error *err)
{
    const metaspace *p = param;
    for (size_t i = 0; i < in->ends.n; i++) {
        size_t n;
        const char *s = nbi_string_at(in, i, &n);
        while (n > 0) {
            size_t len = nbi_utf8_len(*s);
            if (n >= p->mark_n && memcmp(s, p->mark, p->mark_n) == 0) {
                len = p->mark_n;
                if (i > 0 || !p->prefix)
                    nbi_strbuf_putc(&out->text, ' ');
            } else {
                nbi_strbuf_add(&out->text, s, len);
            }
            s += len;
            n -= len;
        }
        NBI_TRY(nbi_strings_end(out, err));
    }
    return NB_OK;
}

static const nbi_kind kinds[] = {
    {"ByteLevel", NULL, {.decode = run_byte_level}},
    {"Replace", load_replace, {.decode = run_replace}},
    {"ByteFallback", NULL, {.decode = run_byte_fallback}},
    {"Fuse", NULL, {.decode = run_fuse}},
    {"Strip", load_strip, {.decode = run_strip}},
    {"Metaspace", load_metaspace, {.decode = run_metaspace}},
    {"WordPiece", nbi_load_wordpiece, {.decode = nbi_decode_wordpiece}},
    {"BPEDecoder", nbi_load_bpe, {.decode = nbi_decode_bpe}},
    {"CTC", nbi_load_ctc, {.decode = nbi_decode_ctc}},
};

const nbi_stage nbi_stage_decoder = {"decoder", "decoders", kinds, sizeof kinds / sizeof kinds[0]};
