/* SPDX-License-Identifier: MIT */
#include "base/checked.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

bool nbi_parse_u64(const char *s, size_t len, uint64_t *r)
{
    uint64_t v = 0;
    if (len == 0)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned d = (unsigned)(unsigned char)s[i] - '0';
        if (d > 9 || __builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, d, &v))
            return false;
    }
    *r = v;
    return true;
}

bool nbi_parse_i64(const char *s, size_t len, int64_t *r)
{
    bool negative = len > 0 && s[0] == '-';
    uint64_t v;
    if (!nbi_parse_u64(s + negative, len - negative, &v))
        return false;
    if (v > (uint64_t)INT64_MAX + negative)
        return false;
    *r = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* A double is decided by its first 767 significant digits and whether anything follows. */
enum { MAX_DIGITS = 780, EXP_LIMIT = 100000000 };

typedef struct decimal {
    char digits[MAX_DIGITS + 40];
    size_t n;    /* significant digits kept */
    int64_t exp; /* value = digits * 10^exp */
    bool negative, sticky;
} decimal;

static void take_digit(decimal *d, char c, bool fraction)
{
    if (d->n == 0 && c == '0') {
        d->exp -= fraction;
    } else if (d->n < MAX_DIGITS) {
        d->digits[d->n++] = c;
        d->exp -= fraction;
    } else {
        d->sticky |= c != '0';
        d->exp += !fraction;
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* [+-] digits [. digits] [e [+-] digits] with at least one digit before the exponent. */
static bool scan_decimal(const char *s, size_t len, decimal *d)
{
    size_t i = 0, start;
    d->n = 0;
    d->exp = 0;
    d->sticky = false;
    d->negative = len > 0 && s[0] == '-';
    if (len > 0 && (s[0] == '-' || s[0] == '+'))
        i++;
    for (start = i; i < len && is_digit(s[i]); i++)
        take_digit(d, s[i], false);
    size_t count = i - start;
    if (i < len && s[i] == '.') {
        for (start = ++i; i < len && is_digit(s[i]); i++)
            take_digit(d, s[i], true);
        count += i - start;
    }
    if (count == 0)
        return false;
    if (i < len && (s[i] == 'e' || s[i] == 'E')) {
        int64_t e = 0;
        bool minus = ++i < len && s[i] == '-';
        if (i < len && (s[i] == '-' || s[i] == '+'))
            i++;
        if (i == len)
            return false;
        for (; i < len && is_digit(s[i]); i++)
            e = e < EXP_LIMIT ? 10 * e + (s[i] - '0') : e;
        d->exp += minus ? -e : e;
    }
    return i == len;
}

static double exact_power(int e)
{
    static const double p[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                               1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                               1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    return p[e];
}

bool nbi_parse_f64(const char *s, size_t len, double *r)
{
    decimal d;
    uint64_t m;
    double v = 0;
    if (!scan_decimal(s, len, &d))
        return false;
    if (d.n > 0 && d.n <= 19 && d.exp >= -22 && d.exp <= 22 && nbi_parse_u64(d.digits, d.n, &m) &&
        m <= (uint64_t)1 << 53) {
        /* both factors are exact, so the one rounding is the right one */
        v = d.exp < 0 ? (double)m / exact_power((int)-d.exp) : (double)m * exact_power((int)d.exp);
    } else if (d.n > 0) {
        locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        if (c == (locale_t)0)
            return false;
        if (d.sticky) {
            d.digits[d.n++] = '1';
            d.exp--;
        }
        snprintf(d.digits + d.n, 32, "e%lld", (long long)d.exp);
        v = strtod_l(d.digits, NULL, c);
        freelocale(c);
    }
    if (!isfinite(v))
        return false;
    *r = d.negative ? -v : v;
    return true;
}
