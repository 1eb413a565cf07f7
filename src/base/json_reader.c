/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <string.h>
#include "base/fail.h"
#include "base/utf8.h"

enum {
    AT_START,     /* one value */
    AT_DONE,      /* nothing but white space */
    AT_OBJ_FIRST, /* key or } */
    AT_OBJ_NEXT,  /* , or } */
    AT_OBJ_VALUE, /* value of the key just read */
    AT_ARR_FIRST, /* value or ] */
    AT_ARR_NEXT,  /* , or ] */
    AT_ERROR
};

void nbi_json_reader_init(nbi_json_reader *r, const char *name, const void *buf, size_t len)
{
    memset(r, 0, sizeof(*r));
    r->name = name ? name : "JSON text";
    r->buf = len > 0 ? buf : "";
    r->len = len;
    r->state = AT_START;
    if (len >= 3 && memcmp(buf, "\xEF\xBB\xBF", 3) == 0)
        r->pos = 3;
}

void nbi_json_reader_free(nbi_json_reader *r)
{
    nbi_strbuf_free(&r->scratch);
}

static nb_status bad(nbi_json_reader *r, size_t at, const char *what, nb_error *err)
{
    r->state = AT_ERROR;
    if (at >= r->len)
        return nbi_fail(err, NB_FORMAT, "%s: byte %zu: %s, found the end of the text", r->name,
                        r->len, what);
    unsigned char c = (unsigned char)r->buf[at];
    if (c > 0x20 && c < 0x7F)
        return nbi_fail(err, NB_FORMAT, "%s: byte %zu: %s, found '%c'", r->name, at, what, c);
    return nbi_fail(err, NB_FORMAT, "%s: byte %zu: %s, found byte 0x%02X", r->name, at, what, c);
}

static nb_status no_memory(nbi_json_reader *r, nb_error *err)
{
    r->state = AT_ERROR;
    return nbi_fail_nomem(err, r->name, r->scratch.n);
}

static void skip_space(nbi_json_reader *r)
{
    size_t i = r->pos;
    while (i < r->len &&
           (r->buf[i] == ' ' || r->buf[i] == '\n' || r->buf[i] == '\r' || r->buf[i] == '\t'))
        i++;
    r->pos = i;
}

/* Number of leading bytes that stand for themselves in a string: no quote, backslash, control
 * character or byte above 0x7F. Eight at a time; the tests on the whole word may only err towards
 * "something special here". */
static size_t plain_run(const char *s, size_t len)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = UINT64_C(0x8080808080808080);
    size_t i = 0;
    for (; len - i >= 8; i += 8) {
        uint64_t w, quote, slash, special;
        memcpy(&w, s + i, 8);
        quote = w ^ (ones * '"');
        slash = w ^ (ones * '\\');
        special = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | (w - ones * 0x20) | w;
        if (special & high)
            break;
    }
    for (; i < len; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c == '"' || c == '\\' || c < 0x20 || c >= 0x80)
            break;
    }
    return i;
}

/* Moves *at over well-formed text that needs no unescaping. */
static nb_status scan_text(nbi_json_reader *r, size_t *at, nb_error *err)
{
    size_t i = *at;
    for (;;) {
        i += plain_run(r->buf + i, r->len - i);
        if (i >= r->len || (unsigned char)r->buf[i] < 0x80)
            break;
        uint32_t cp;
        size_t step = nbi_utf8_decode(r->buf + i, r->len - i, &cp);
        if (cp == 0xFFFFFFFF)
            return bad(r, i, "expected UTF-8", err);
        i += step;
    }
    *at = i;
    if (i >= r->len)
        return bad(r, i, "expected the end of a string", err);
    if ((unsigned char)r->buf[i] < 0x20)
        return bad(r, i, "control characters in strings must be escaped", err);
    return NB_OK;
}

static bool hex4(const nbi_json_reader *r, size_t at, uint32_t *v)
{
    uint32_t x = 0;
    if (r->len - at < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        unsigned char c = (unsigned char)r->buf[at + i];
        unsigned d;
        if (c >= '0' && c <= '9')
            d = c - '0';
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            d = (c | 0x20u) - 'a' + 10;
        else
            return false;
        x = x << 4 | d;
    }
    *v = x;
    return true;
}

/* *at stands behind "\u"; joins surrogate pairs, lone ones become U+FFFD in the encoder. */
static nb_status unescape_unicode(nbi_json_reader *r, size_t *at, nb_error *err)
{
    uint32_t hi, lo;
    char out[4];
    if (!hex4(r, *at, &hi))
        return bad(r, *at, "expected four hexadecimal digits after \\u", err);
    *at += 4;
    if (hi >= 0xD800 && hi <= 0xDBFF && r->len - *at >= 6 && r->buf[*at] == '\\' &&
        r->buf[*at + 1] == 'u' && hex4(r, *at + 2, &lo) && lo >= 0xDC00 && lo <= 0xDFFF) {
        hi = 0x10000 + ((hi - 0xD800) << 10) + (lo - 0xDC00);
        *at += 6;
    }
    nbi_strbuf_add(&r->scratch, out, nbi_utf8_encode(hi, out));
    return NB_OK;
}

/* *at stands on the backslash. */
static nb_status unescape(nbi_json_reader *r, size_t *at, nb_error *err)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    size_t i = *at + 1;
    char c = i < r->len ? r->buf[i] : 0;
    if (c == 'u') {
        i++;
        NBI_TRY(unescape_unicode(r, &i, err));
    } else {
        const char *p = c ? strchr(from, c) : NULL;
        if (!p)
            return bad(r, i, "expected one of \" \\ / b f n r t u after a backslash", err);
        nbi_strbuf_putc(&r->scratch, to[p - from]);
        i++;
    }
    *at = i;
    return NB_OK;
}

/* pos stands on the opening quote. */
static nb_status read_string(nbi_json_reader *r, nb_error *err)
{
    size_t start = r->pos + 1, i = start;
    NBI_TRY(scan_text(r, &i, err));
    if (r->buf[i] == '"') {
        r->text = r->buf + start;
        r->text_len = i - start;
        r->pos = i + 1;
        return NB_OK;
    }
    nbi_strbuf_clear(&r->scratch);
    nbi_strbuf_add(&r->scratch, r->buf + start, i - start);
    while (r->buf[i] == '\\') {
        NBI_TRY(unescape(r, &i, err));
        start = i;
        NBI_TRY(scan_text(r, &i, err));
        nbi_strbuf_add(&r->scratch, r->buf + start, i - start);
    }
    if (r->scratch.failed)
        return no_memory(r, err);
    r->text = r->scratch.s;
    r->text_len = r->scratch.n;
    r->pos = i + 1;
    return NB_OK;
}

static size_t digits(const nbi_json_reader *r, size_t i)
{
    while (i < r->len && r->buf[i] >= '0' && r->buf[i] <= '9')
        i++;
    return i;
}

static nb_status read_number(nbi_json_reader *r, nb_error *err)
{
    size_t start = r->pos, i = start, d;
    i += r->buf[i] == '-';
    d = digits(r, i);
    if (d == i)
        return bad(r, i, "expected a digit", err);
    if (r->buf[i] == '0' && d - i > 1)
        return bad(r, i + 1, "a number must not start with 0", err);
    i = d;
    if (i < r->len && r->buf[i] == '.') {
        d = digits(r, i + 1);
        if (d == i + 1)
            return bad(r, d, "expected a digit after the decimal point", err);
        i = d;
    }
    if (i < r->len && (r->buf[i] == 'e' || r->buf[i] == 'E')) {
        i++;
        i += i < r->len && (r->buf[i] == '+' || r->buf[i] == '-');
        d = digits(r, i);
        if (d == i)
            return bad(r, i, "expected a digit in the exponent", err);
        i = d;
    }
    r->text = r->buf + start;
    r->text_len = i - start;
    r->pos = i;
    return NB_OK;
}

static nb_status read_word(nbi_json_reader *r, const char *word, nb_error *err)
{
    size_t n = strlen(word);
    if (r->len - r->pos < n || memcmp(r->buf + r->pos, word, n) != 0)
        return bad(r, r->pos, "expected a value", err);
    r->pos += n;
    return NB_OK;
}

static void value_done(nbi_json_reader *r)
{
    if (r->depth == 0)
        r->state = AT_DONE;
    else
        r->state = r->stack[r->depth] == '{' ? AT_OBJ_NEXT : AT_ARR_NEXT;
}

static nb_status open_container(nbi_json_reader *r, nb_error *err)
{
    unsigned char c = (unsigned char)r->buf[r->pos];
    if (r->depth == NBI_JSON_MAX_DEPTH) {
        r->state = AT_ERROR;
        return nbi_fail(err, NB_FORMAT, "%s: byte %zu: nested deeper than %d levels", r->name,
                        r->pos, NBI_JSON_MAX_DEPTH);
    }
    r->stack[++r->depth] = c;
    r->state = c == '{' ? AT_OBJ_FIRST : AT_ARR_FIRST;
    r->pos++;
    return NB_OK;
}

static nb_status close_container(nbi_json_reader *r, nbi_json_event *ev)
{
    *ev = r->stack[r->depth] == '{' ? NBI_JSON_OBJECT_END : NBI_JSON_ARRAY_END;
    r->offset = r->pos++;
    r->depth--;
    value_done(r);
    return NB_OK;
}

static nb_status read_value(nbi_json_reader *r, nbi_json_event *ev, nb_error *err)
{
    char c = r->pos < r->len ? r->buf[r->pos] : 0;
    r->offset = r->pos;
    switch (c) {
    case '{':
    case '[':
        *ev = c == '{' ? NBI_JSON_OBJECT_BEGIN : NBI_JSON_ARRAY_BEGIN;
        return open_container(r, err);
    case '"':
        *ev = NBI_JSON_STRING;
        NBI_TRY(read_string(r, err));
        break;
    case 't':
        *ev = NBI_JSON_TRUE;
        NBI_TRY(read_word(r, "true", err));
        break;
    case 'f':
        *ev = NBI_JSON_FALSE;
        NBI_TRY(read_word(r, "false", err));
        break;
    case 'n':
        *ev = NBI_JSON_NULL;
        NBI_TRY(read_word(r, "null", err));
        break;
    default:
        if (c != '-' && (c < '0' || c > '9'))
            return bad(r, r->pos, "expected a value", err);
        *ev = NBI_JSON_NUMBER;
        NBI_TRY(read_number(r, err));
        break;
    }
    value_done(r);
    return NB_OK;
}

/* The key, white space and colon. */
static nb_status read_key(nbi_json_reader *r, const char *expected, nbi_json_event *ev,
                          nb_error *err)
{
    if (r->pos >= r->len || r->buf[r->pos] != '"')
        return bad(r, r->pos, expected, err);
    r->offset = r->pos;
    NBI_TRY(read_string(r, err));
    if (r->text_len > 0 && memchr(r->text, 0, r->text_len)) {
        r->state = AT_ERROR;
        return nbi_fail(err, NB_FORMAT, "%s: byte %zu: a key must not hold a NUL character",
                        r->name, r->offset);
    }
    skip_space(r);
    if (r->pos >= r->len || r->buf[r->pos] != ':')
        return bad(r, r->pos, "expected ':' after a key", err);
    r->pos++;
    r->state = AT_OBJ_VALUE;
    *ev = NBI_JSON_KEY;
    return NB_OK;
}

static nb_status read_document_end(nbi_json_reader *r, nbi_json_event *ev, nb_error *err)
{
    if (r->pos < r->len)
        return bad(r, r->pos, "expected nothing after the document", err);
    r->offset = r->len;
    *ev = NBI_JSON_END;
    return NB_OK;
}

nb_status nbi_json_next(nbi_json_reader *r, nbi_json_event *ev, nb_error *err)
{
    skip_space(r);
    char c = r->pos < r->len ? r->buf[r->pos] : 0;
    r->text = NULL;
    r->text_len = 0;
    switch (r->state) {
    case AT_START:
    case AT_OBJ_VALUE:
        return read_value(r, ev, err);
    case AT_DONE:
        return read_document_end(r, ev, err);
    case AT_OBJ_FIRST:
        return c == '}' ? close_container(r, ev) : read_key(r, "expected a key or '}'", ev, err);
    case AT_ARR_FIRST:
        return c == ']' ? close_container(r, ev) : read_value(r, ev, err);
    case AT_OBJ_NEXT:
        if (c == '}')
            return close_container(r, ev);
        if (c != ',')
            return bad(r, r->pos, "expected ',' or '}'", err);
        r->pos++;
        skip_space(r);
        return read_key(r, "expected a key", ev, err);
    case AT_ARR_NEXT:
        if (c == ']')
            return close_container(r, ev);
        if (c != ',')
            return bad(r, r->pos, "expected ',' or ']'", err);
        r->pos++;
        skip_space(r);
        return read_value(r, ev, err);
    default:
        return nbi_fail(err, NB_FORMAT, "%s: read on after an error", r->name);
    }
}

bool nbi_json_text_is(const nbi_json_reader *r, const char *text)
{
    return r->text_len == strlen(text) && memcmp(r->text, text, r->text_len) == 0;
}

nb_status nbi_json_skip(nbi_json_reader *r, nb_error *err)
{
    int depth = r->depth;
    nbi_json_event ev;
    do {
        NBI_TRY(nbi_json_next(r, &ev, err));
        if (r->depth < depth || ev == NBI_JSON_END)
            return bad(r, r->offset, "expected a value", err);
    } while (r->depth > depth || ev == NBI_JSON_KEY);
    return NB_OK;
}
