/* SPDX-License-Identifier: MIT */
#include "text/regex.h"

#include <string.h>
#include "base/fail.h"
#include "text/unicode.h"

/* A class takes about 15 kB; published patterns stay below 200 kB. */
#define MAX_EXPANDED ((size_t)2 << 20)

typedef struct expander {
    nbi_strbuf *out;
    const char *p; /* the pattern */
    size_t n, i;
    const char *where;
    nb_error *err;
} expander;

static nb_status refuse(expander *x, const char *what)
{
    return nbi_fail(x->err, NB_UNSUPPORTED,
                    "%s: regular expression: %s is not supported (byte %zu of \"%.*s\")", x->where,
                    what, x->i, (int)(x->n > 200 ? 200 : x->n), x->p);
}

static nb_status check_size(expander *x)
{
    return x->out->n <= MAX_EXPANDED
               ? NB_OK
               : nbi_fail(x->err, NB_LIMIT,
                          "%s: regular expression with too many classes of characters (byte %zu "
                          "of \"%.*s\")",
                          x->where, x->i, (int)(x->n > 200 ? 200 : x->n), x->p);
}

static void put_range(expander *x, uint32_t first, uint32_t last)
{
    if (first >= 0xD800 && first <= 0xDFFF)
        first = 0xE000;
    if (last >= 0xD800 && last <= 0xDFFF)
        last = 0xD7FF;
    /* always written as a range, so that a hyphen that follows stays a plain one */
    if (first <= last)
        nbi_strbuf_printf(x->out, "\\x{%X}-\\x{%X}", (unsigned)first, (unsigned)last);
}

static void put_set(expander *x, uint32_t set)
{
    size_t pos = 0;
    nbi_uni_span s;
    while (nbi_uni_next_span(set, &pos, &s))
        put_range(x, s.first, s.last);
}

static void put_han(expander *x, bool complement)
{
    size_t pos = 0;
    nbi_uni_span s;
    uint32_t from = 0;
    while (nbi_uni_next_han(&pos, &s)) {
        if (!complement)
            put_range(x, s.first, s.last);
        else if (s.first > from)
            put_range(x, from, s.first - 1);
        from = s.last + 1;
    }
    if (complement)
        put_range(x, from, 0x10FFFF);
}

/* A set of characters: of the table, the script Han, or hexadecimal digits. */
typedef struct charset {
    enum { SET_TABLE, SET_HAN, SET_HEX } kind;
    uint32_t set;
    bool negated;
} charset;

static void put_charset(expander *x, charset c, bool in_class)
{
    bool complement = in_class && c.negated;
    if (!in_class)
        nbi_strbuf_puts(x->out, c.negated ? "[^" : "[");
    if (c.kind == SET_HEX) {
        if (complement) {
            put_range(x, 0, '0' - 1);
            put_range(x, '9' + 1, 'A' - 1);
            put_range(x, 'F' + 1, 'a' - 1);
            put_range(x, 'f' + 1, 0x10FFFF);
        } else {
            nbi_strbuf_puts(x->out, "0-9A-Fa-f");
        }
    } else if (c.kind == SET_HAN) {
        put_han(x, complement);
    } else {
        put_set(x, complement ? ~c.set : c.set);
    }
    if (!in_class)
        nbi_strbuf_putc(x->out, ']');
}

static bool set_by_letter(char letter, charset *c)
{
    *c = (charset){SET_TABLE, 0, letter >= 'A' && letter <= 'Z'};
    switch (letter | 0x20) {
    case 's':
        c->set = NBI_SET_SPACE;
        return true;
    case 'w':
        c->set = NBI_SET_WORD;
        return true;
    case 'd':
        c->set = 1u << NBI_CAT_ND;
        return true;
    case 'h':
        c->kind = SET_HEX;
        return true;
    default:
        return false;
    }
}

static bool set_by_name(const char *name, charset *c)
{
    static const struct {
        const char *name;
        uint32_t set;
    } table[] = {
        {"l", NBI_SET_L},
        {"letter", NBI_SET_L},
        {"lu", 1u << NBI_CAT_LU},
        {"uppercaseletter", 1u << NBI_CAT_LU},
        {"ll", 1u << NBI_CAT_LL},
        {"lowercaseletter", 1u << NBI_CAT_LL},
        {"lt", 1u << NBI_CAT_LT},
        {"titlecaseletter", 1u << NBI_CAT_LT},
        {"lm", 1u << NBI_CAT_LM},
        {"modifierletter", 1u << NBI_CAT_LM},
        {"lo", 1u << NBI_CAT_LO},
        {"otherletter", 1u << NBI_CAT_LO},
        {"m", NBI_SET_M},
        {"mark", NBI_SET_M},
        {"n", NBI_SET_N},
        {"number", NBI_SET_N},
        {"nd", 1u << NBI_CAT_ND},
        {"decimalnumber", 1u << NBI_CAT_ND},
        {"nl", 1u << NBI_CAT_NL},
        {"letternumber", 1u << NBI_CAT_NL},
        {"no", 3u << NBI_CAT_NO},
        {"othernumber", 3u << NBI_CAT_NO},
        {"p", NBI_SET_P},
        {"punctuation", NBI_SET_P},
        {"pc", 1u << NBI_CAT_PC},
        {"connectorpunctuation", 1u << NBI_CAT_PC},
        {"s", NBI_SET_S},
        {"symbol", NBI_SET_S},
        {"z", 1u << NBI_CAT_Z},
        {"separator", 1u << NBI_CAT_Z},
        {"c", NBI_SET_C},
        {"other", NBI_SET_C},
        {"space", NBI_SET_SPACE},
        {"word", NBI_SET_WORD},
        {"digit", 1u << NBI_CAT_ND},
    };
    for (size_t k = 0; k < sizeof table / sizeof table[0]; k++) {
        if (strcmp(table[k].name, name) == 0) {
            c->kind = SET_TABLE;
            c->set = table[k].set;
            return true;
        }
    }
    if (strcmp(name, "han") == 0 || strcmp(name, "script=han") == 0) {
        c->kind = SET_HAN;
        return true;
    }
    return false;
}

/* At the 'p' or 'P' of a property. */
static nb_status property(expander *x, bool in_class)
{
    charset c = {SET_TABLE, 0, x->p[x->i] == 'P'};
    char name[40];
    size_t begin = ++x->i, m = 0, end;
    if (begin < x->n && x->p[begin] == '{') {
        const char *close = memchr(x->p + begin, '}', x->n - begin);
        if (!close)
            return refuse(x, "an unfinished \\p{");
        end = (size_t)(close - x->p);
        begin++;
        x->i = end + 1;
    } else {
        if (begin >= x->n)
            return refuse(x, "an unfinished \\p");
        end = begin + 1;
        x->i = end;
    }
    if (begin < end && x->p[begin] == '^') {
        c.negated = !c.negated;
        begin++;
    }
    for (size_t k = begin; k < end; k++) {
        char ch = x->p[k];
        if (ch == ' ' || ch == '_' || ch == '-')
            continue;
        if (m + 1 >= sizeof name || ch <= 0x20 || ch > 0x7E)
            return refuse(x, "this property name");
        name[m++] = ch >= 'A' && ch <= 'Z' ? (char)(ch + 32) : ch;
    }
    name[m] = '\0';
    if (set_by_name(name, &c))
        put_charset(x, c, in_class);
    else
        nbi_strbuf_printf(x->out, "\\%c{%.*s}", c.negated ? 'P' : 'p', (int)(end - begin),
                          x->p + begin);
    return NB_OK;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* At the backslash. */
static nb_status escape(expander *x, bool in_class)
{
    if (++x->i >= x->n)
        return refuse(x, "a backslash at the end");
    char c = x->p[x->i];
    charset set;
    if (c == 'p' || c == 'P')
        return property(x, in_class);
    if (set_by_letter(c, &set)) {
        x->i++;
        put_charset(x, set, in_class);
        return NB_OK;
    }
    x->i++;
    if (c == 'v') { /* a class of its own in PCRE2 */
        nbi_strbuf_puts(x->out, "\\x0B");
    } else if (c == 'u') {
        size_t k = 0;
        while (k < 4 && x->i + k < x->n && is_hex(x->p[x->i + k]))
            k++;
        if (k < 4)
            return refuse(x, "\\u without four hexadecimal digits");
        nbi_strbuf_printf(x->out, "\\x{%.4s}", x->p + x->i);
        x->i += 4;
    } else if (!in_class && (c == 'b' || c == 'B')) {
        charset w = {SET_TABLE, NBI_SET_WORD, false};
        const char *parts[2][4] = {{"(?:(?<=", ")(?!", ")|(?<!", ")(?="},
                                   {"(?:(?<=", ")(?=", ")|(?<!", ")(?!"}};
        for (int k = 0; k < 4; k++) {
            nbi_strbuf_puts(x->out, parts[c == 'B'][k]);
            put_charset(x, w, false);
        }
        nbi_strbuf_puts(x->out, "))");
    } else if (c == 'X' || c == 'N' || c == 'O' || c == 'y' || c == 'Y' || c == 'G' || c == 'C' ||
               c == 'Q' || c == 'E' || c == 'M') {
        char what[3] = {'\\', c, '\0'};
        return refuse(x, what);
    } else {
        nbi_strbuf_putc(x->out, '\\');
        nbi_strbuf_putc(x->out, c);
    }
    return NB_OK;
}

/* Is p[i] a backslash that starts a set such as \w or \p{L}? */
static bool set_follows(const expander *x, size_t i)
{
    return i + 1 < x->n && x->p[i] == '\\' && strchr("pPsSwWdDhH", x->p[i + 1]);
}

/* At the '[' of a character class. */
static nb_status char_class(expander *x)
{
    nbi_strbuf_putc(x->out, '[');
    x->i++;
    if (x->i < x->n && x->p[x->i] == '^') {
        nbi_strbuf_putc(x->out, '^');
        x->i++;
    }
    for (bool first = true; x->i < x->n; first = false) {
        char c = x->p[x->i];
        if (c == ']' && !first) {
            nbi_strbuf_putc(x->out, ']');
            x->i++;
            return NB_OK;
        }
        if (c == '[')
            return refuse(x, x->i + 1 < x->n && x->p[x->i + 1] == ':' ? "a POSIX class"
                                                                      : "a nested class");
        if (c == '&' && x->i + 1 < x->n && x->p[x->i + 1] == '&')
            return refuse(x, "an intersection of classes");
        if (c == '\\') {
            NBI_TRY(check_size(x));
            NBI_TRY(escape(x, true));
            continue;
        }
        if (c == '-' && set_follows(x, x->i + 1))
            nbi_strbuf_putc(x->out, '\\');
        nbi_strbuf_putc(x->out, c);
        x->i++;
    }
    return refuse(x, "an unfinished class");
}

/* At a '(': option letters mean other things in the two syntaxes ("m" lets the dot match a line
 * feed, which PCRE2 calls "s"). */
static void group_start(expander *x)
{
    size_t k = x->i + 2;
    if (x->i + 1 < x->n && x->p[x->i + 1] == '?') {
        while (k < x->n && x->p[k] && strchr("imx-", x->p[k]))
            k++;
        if (k > x->i + 2 && k < x->n && (x->p[k] == ':' || x->p[k] == ')')) {
            for (; x->i < k; x->i++)
                nbi_strbuf_putc(x->out, x->p[x->i] == 'm' ? 's' : x->p[x->i]);
            return;
        }
    }
    nbi_strbuf_putc(x->out, '(');
    x->i++;
}

nb_status nbi_regex_expand(nbi_strbuf *out, const char *pattern, size_t len, const char *where,
                           nb_error *err)
{
    expander x = {out, pattern, len, 0, where, err};
    while (x.i < x.n) {
        char c = x.p[x.i];
        NBI_TRY(check_size(&x));
        if (c == '\\') {
            NBI_TRY(escape(&x, false));
        } else if (c == '[') {
            NBI_TRY(char_class(&x));
        } else if (c == '(') {
            group_start(&x);
        } else {
            nbi_strbuf_putc(out, c);
            x.i++;
        }
    }
    return nbi_strbuf_check(out, err);
}
