/* SPDX-License-Identifier: MIT */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include "base/checked.h"
#include "base/utf8.h"

void nbi_json_writer_init(nbi_json_writer *w, nbi_strbuf *out, int indent, bool ascii)
{
    memset(w, 0, sizeof(*w));
    w->out = out;
    w->indent = indent;
    w->ascii = ascii;
    w->first[0] = true;
}

static void new_line(nbi_json_writer *w)
{
    nbi_strbuf_putc(w->out, '\n');
    for (int i = 0; i < w->depth * w->indent; i++)
        nbi_strbuf_putc(w->out, ' ');
}

/* Whatever has to stand before a key or a value. */
static void separate(nbi_json_writer *w)
{
    if (w->after_key) {
        w->after_key = false;
        return;
    }
    if (w->depth == 0)
        return;
    if (!w->first[w->depth])
        nbi_strbuf_puts(w->out, w->indent > 0 ? "," : ", ");
    w->first[w->depth] = false;
    if (w->indent > 0)
        new_line(w);
}

static void open_container(nbi_json_writer *w, char c)
{
    separate(w);
    nbi_strbuf_putc(w->out, c);
    if (w->depth == NBI_JSON_MAX_DEPTH) {
        w->out->failed = true;
        return;
    }
    w->first[++w->depth] = true;
}

static void close_container(nbi_json_writer *w, char c)
{
    if (w->depth == 0) {
        w->out->failed = true;
        return;
    }
    bool empty = w->first[w->depth--];
    if (!empty && w->indent > 0)
        new_line(w);
    nbi_strbuf_putc(w->out, c);
}

void nbi_jw_object(nbi_json_writer *w)
{
    open_container(w, '{');
}

void nbi_jw_object_end(nbi_json_writer *w)
{
    close_container(w, '}');
}

void nbi_jw_array(nbi_json_writer *w)
{
    open_container(w, '[');
}

void nbi_jw_array_end(nbi_json_writer *w)
{
    close_container(w, ']');
}

static void put_escaped(nbi_strbuf *out, uint32_t cp)
{
    if (cp > 0xFFFF) {
        cp -= 0x10000;
        nbi_strbuf_printf(out, "\\u%04x\\u%04x", 0xD800 + (cp >> 10), 0xDC00 + (cp & 0x3FF));
    } else {
        nbi_strbuf_printf(out, "\\u%04x", cp);
    }
}

static bool stands_for_itself(const nbi_json_writer *w, unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\' && c < 0x80 && (c != 0x7F || !w->ascii);
}

static void put_string(nbi_json_writer *w, const char *s, size_t len)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    nbi_strbuf *out = w->out;
    nbi_strbuf_putc(out, '"');
    for (size_t i = 0; i < len;) {
        size_t run = i;
        while (run < len && stands_for_itself(w, (unsigned char)s[run]))
            run++;
        nbi_strbuf_add(out, s + i, run - i);
        i = run;
        if (i == len)
            break;
        uint32_t cp;
        i += nbi_utf8_decode(s + i, len - i, &cp);
        const char *p = cp > 0 && cp < 0x80 ? strchr(from, (int)cp) : NULL;
        if (cp == 0xFFFFFFFF)
            cp = 0xFFFD;
        if (p) {
            nbi_strbuf_putc(out, '\\');
            nbi_strbuf_putc(out, to[p - from]);
        } else if (cp < 0x80 || w->ascii) {
            put_escaped(out, cp);
        } else {
            char utf8[4];
            nbi_strbuf_add(out, utf8, nbi_utf8_encode(cp, utf8));
        }
    }
    nbi_strbuf_putc(out, '"');
}

static void put_key(nbi_json_writer *w, const char *key, size_t len)
{
    separate(w);
    put_string(w, key, len);
    nbi_strbuf_puts(w->out, ": ");
    w->after_key = true;
}

void nbi_jw_key(nbi_json_writer *w, const char *key)
{
    put_key(w, key, strlen(key));
}

void nbi_jw_str(nbi_json_writer *w, const char *s)
{
    nbi_jw_strn(w, s, strlen(s));
}

void nbi_jw_strn(nbi_json_writer *w, const char *s, size_t len)
{
    separate(w);
    put_string(w, s, len);
}

void nbi_jw_raw(nbi_json_writer *w, const char *json_text)
{
    separate(w);
    nbi_strbuf_puts(w->out, json_text);
}

void nbi_jw_i64(nbi_json_writer *w, int64_t v)
{
    separate(w);
    nbi_strbuf_printf(w->out, "%lld", (long long)v);
}

void nbi_jw_f64(nbi_json_writer *w, double v)
{
    char buf[32];
    nbi_format_f64(buf, v);
    if (isfinite(v))
        nbi_jw_raw(w, buf);
    else
        nbi_jw_str(w, buf);
}

void nbi_jw_f32(nbi_json_writer *w, float v)
{
    char buf[32];
    nbi_format_f32(buf, v);
    if (isfinite(v))
        nbi_jw_raw(w, buf);
    else
        nbi_jw_str(w, buf);
}

void nbi_jw_bool(nbi_json_writer *w, bool v)
{
    nbi_jw_raw(w, v ? "true" : "false");
}

void nbi_jw_null(nbi_json_writer *w)
{
    nbi_jw_raw(w, "null");
}

/* A plain YAML scalar goes out as the JSON number or boolean that it spells, else as a string. */
static void put_scalar(nbi_json_writer *w, const nbi_json *v)
{
    nbi_json_reader r;
    nbi_json_event ev, end;
    nbi_json_reader_init(&r, NULL, v->text, v->text_len);
    bool literal = nbi_json_next(&r, &ev, NULL) == NB_OK && r.depth == 0 && ev != NBI_JSON_STRING &&
                   nbi_json_next(&r, &end, NULL) == NB_OK;
    nbi_json_reader_free(&r);
    if (literal)
        nbi_jw_raw(w, v->text);
    else
        nbi_jw_strn(w, v->text, v->text_len);
}

static void put_leaf(nbi_json_writer *w, const nbi_json *v)
{
    if (v->type == NBI_JT_NULL)
        nbi_jw_null(w);
    else if (v->type == NBI_JT_BOOL)
        nbi_jw_bool(w, v->boolean);
    else if (v->type == NBI_JT_NUMBER)
        nbi_jw_raw(w, v->text);
    else if (v->type == NBI_JT_STRING)
        nbi_jw_strn(w, v->text, v->text_len);
    else
        put_scalar(w, v);
}

void nbi_jw_tree(nbi_json_writer *w, const nbi_json *v)
{
    const nbi_json *stack[NBI_JSON_MAX_DEPTH + 1]; /* open containers from the outside in */
    int depth = 0;
    const nbi_json *at = v;
    while (at) {
        if (at->key && depth > 0)
            put_key(w, at->key, at->key_len);
        if (at->type == NBI_JT_OBJECT || at->type == NBI_JT_ARRAY) {
            if (depth == NBI_JSON_MAX_DEPTH) {
                w->out->failed = true;
                return;
            }
            open_container(w, at->type == NBI_JT_OBJECT ? '{' : '[');
            stack[depth++] = at;
            if (at->first) {
                at = at->first;
                continue;
            }
        } else {
            put_leaf(w, at);
        }
        /* up to the next container that has a member left */
        for (;;) {
            if (depth == 0)
                return;
            if (at != stack[depth - 1] && at->next) {
                at = at->next;
                break;
            }
            at = stack[--depth];
            close_container(w, at->type == NBI_JT_OBJECT ? '}' : ']');
            if (depth > 0 && at->next) {
                at = at->next;
                break;
            }
        }
    }
}

/* Digits and exponent of "d.ddde+xx" as printf makes it; the decimal point may be that of any
 * locale. */
static size_t split_scientific(const char *text, char *digits, int *exp)
{
    size_t n = 0;
    int64_t e = 0;
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    digits[n] = 0;
    if (*p == 'e') {
        bool minus = p[1] == '-';
        p += 2;
        nbi_parse_i64(p, strlen(p), &e);
        e = minus ? -e : e;
    }
    *exp = (int)e;
    return n;
}

static double value_of(const char *digits, size_t n, int exp)
{
    char text[48];
    double v = 0;
    int len = snprintf(text, sizeof(text), "%se%d", digits, exp - (int)n + 1);
    return nbi_parse_f64(text, (size_t)len, &v) ? v : INFINITY;
}

/* Next number of the same length; "99" becomes "10" with a greater exponent. */
static void increment(char *digits, size_t n, int *exp)
{
    for (size_t i = n; i-- > 0;) {
        if (digits[i]++ < '9')
            return;
        digits[i] = '0';
    }
    digits[0] = '1';
    ++*exp;
}

static bool reads_back(const char *digits, size_t n, int exp, double v, bool single)
{
    double x = value_of(digits, n, exp);
    return single ? (float)x == (float)v : x == v;
}

/* Shortest digits that read back to v > 0. */
static size_t shortest(double v, bool single, char *digits, int *exp)
{
    int max = single ? 9 : 17, frac;
    /* numbers with this many digits survive any normal value, so fewer need not be tried */
    int sure = single ? 6 : 15;
    bool subnormal = v < (single ? 0x1p-126 : 0x1p-1022);
    bool lopsided = frexp(v, &frac) == 0.5; /* a power of two: the gap above is twice that below */
    size_t n = 0;
    for (int p = subnormal ? 1 : sure; p <= max; p++) {
        char text[48];
        snprintf(text, sizeof(text), "%.*e", p - 1, v);
        n = split_scientific(text, digits, exp);
        if (reads_back(digits, n, *exp, v, single))
            break;
        if (lopsided) {
            char kept[24];
            int kept_exp = *exp;
            memcpy(kept, digits, n + 1);
            increment(digits, n, exp);
            if (reads_back(digits, n, *exp, v, single))
                break;
            memcpy(digits, kept, n + 1);
            *exp = kept_exp;
        }
    }
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = 0;
    return n;
}

static char *format(char buf[32], double v, bool single)
{
    char digits[24], *p = buf;
    int exp = 0;
    if (isnan(v))
        return strcpy(buf, "NaN");
    if (isinf(v))
        return strcpy(buf, v < 0 ? "-Infinity" : "Infinity");
    if (signbit(v))
        *p++ = '-';
    if (v == 0) {
        strcpy(p, "0.0");
        return buf;
    }
    int n = (int)shortest(fabs(v), single, digits, &exp);
    char text[64]; /* at most 24 are used */
    if (exp < -4 || exp >= 16)
        snprintf(text, sizeof(text), "%c%s%se%c%02d", digits[0], n > 1 ? "." : "", digits + 1,
                 exp < 0 ? '-' : '+', exp < 0 ? -exp : exp);
    else if (exp < 0)
        snprintf(text, sizeof(text), "0.%.*s%s", -exp - 1, "000", digits);
    else if (n <= exp + 1)
        snprintf(text, sizeof(text), "%s%.*s.0", digits, exp + 1 - n, "000000000000000");
    else
        snprintf(text, sizeof(text), "%.*s.%s", exp + 1, digits, digits + exp + 1);
    memcpy(p, text, strlen(text) + 1);
    return buf;
}

char *nbi_format_f64(char buf[32], double v)
{
    return format(buf, v, false);
}

char *nbi_format_f32(char buf[32], float v)
{
    return format(buf, (double)v, true);
}

/* ---- members ---- */

void nbi_jw_member_str(nbi_json_writer *w, const char *key, const char *text)
{
    nbi_jw_key(w, key);
    if (text)
        nbi_jw_str(w, text);
    else
        nbi_jw_null(w);
}

void nbi_jw_member_strn(nbi_json_writer *w, const char *key, const char *text, size_t len)
{
    nbi_jw_key(w, key);
    nbi_jw_strn(w, text, len);
}

void nbi_jw_member_i64(nbi_json_writer *w, const char *key, int64_t v)
{
    nbi_jw_key(w, key);
    nbi_jw_i64(w, v);
}

void nbi_jw_member_f64(nbi_json_writer *w, const char *key, double v)
{
    nbi_jw_key(w, key);
    nbi_jw_f64(w, v);
}

void nbi_jw_member_bool(nbi_json_writer *w, const char *key, bool v)
{
    nbi_jw_key(w, key);
    nbi_jw_bool(w, v);
}
