/* SPDX-License-Identifier: MIT */
#include "text/unicode.h"

#include <utf8proc.h>
#include "text/unicode_tables.h"

/* Hangul syllables are composed by arithmetic (Unicode Standard, section 3.12). */
enum {
    HANGUL_S = 0xAC00,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11A7,
    HANGUL_NL = 19,
    HANGUL_NV = 21,
    HANGUL_NT = 28,
    HANGUL_NS = HANGUL_NL * HANGUL_NV * HANGUL_NT
};

static bool in_ranges(const nbi_uni_range *r, size_t n, uint32_t cp)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cp > r[mid].last)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && cp >= r[lo].first && cp <= r[lo].last;
}

int nbi_uni_category(uint32_t cp)
{
    size_t lo = 0, hi = nbi_uni_runs_n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (nbi_uni_runs[mid] >> 8 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return (int)(nbi_uni_runs[lo] & 0xFF);
}

bool nbi_uni_next_span(uint32_t set, size_t *pos, nbi_uni_span *out)
{
    size_t i = *pos;
    while (i < nbi_uni_runs_n && !(set >> (nbi_uni_runs[i] & 0xFF) & 1))
        i++;
    if (i >= nbi_uni_runs_n) {
        *pos = i;
        return false;
    }
    out->first = nbi_uni_runs[i] >> 8;
    while (i < nbi_uni_runs_n && (set >> (nbi_uni_runs[i] & 0xFF) & 1))
        i++;
    out->last = i < nbi_uni_runs_n ? (nbi_uni_runs[i] >> 8) - 1 : 0x10FFFF;
    *pos = i;
    return true;
}

bool nbi_uni_next_han(size_t *pos, nbi_uni_span *out)
{
    if (*pos >= nbi_uni_han_n)
        return false;
    *out = (nbi_uni_span){nbi_uni_han[*pos].first, nbi_uni_han[*pos].last};
    ++*pos;
    return true;
}

static bool ascii_punct(uint32_t cp)
{
    return (cp >= 0x21 && cp <= 0x2F) || (cp >= 0x3A && cp <= 0x40) || (cp >= 0x5B && cp <= 0x60) ||
           (cp >= 0x7B && cp <= 0x7E);
}

bool nbi_uni_is_punct(uint32_t cp)
{
    if (cp < 0x80)
        return ascii_punct(cp);
    if (nbi_uni_is(cp, NBI_SET_P))
        return !in_ranges(nbi_uni_punct_not, nbi_uni_punct_not_n, cp);
    return in_ranges(nbi_uni_punct_only, nbi_uni_punct_only_n, cp);
}

bool nbi_uni_is_digit(uint32_t cp)
{
    if (cp < 0x80)
        return cp >= '0' && cp <= '9';
    return nbi_uni_is(cp, NBI_SET_N) || in_ranges(nbi_uni_digits_only, nbi_uni_digits_only_n, cp);
}

bool nbi_uni_is_space(uint32_t cp)
{
    if (cp < 0x80)
        return cp == ' ' || (cp >= 9 && cp <= 13);
    return nbi_uni_is(cp, NBI_SET_SPACE);
}

bool nbi_uni_is_mark9(uint32_t cp)
{
    if (cp < 0x300)
        return false;
    if (nbi_uni_is(cp, NBI_SET_M))
        return !in_ranges(nbi_uni_marks_not, nbi_uni_marks_not_n, cp);
    return in_ranges(nbi_uni_marks_only, nbi_uni_marks_only_n, cp);
}

int nbi_uni_lower(uint32_t cp, uint32_t out[2])
{
    out[0] = cp;
    if (cp < 0x80) {
        if (cp >= 'A' && cp <= 'Z')
            out[0] = cp + 32;
        return 1;
    }
    if (cp == 0x130) {
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    size_t lo = 0, hi = nbi_uni_lower_runs_n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (nbi_uni_lower_runs[mid].first <= cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    const nbi_uni_lower_run *r = lo > 0 ? &nbi_uni_lower_runs[lo - 1] : NULL;
    if (r && cp <= r->last && (cp - r->first) % r->stride == 0)
        out[0] = (uint32_t)((int64_t)cp + r->delta);
    return 1;
}

static bool is_syllable(uint32_t cp)
{
    return cp >= HANGUL_S && cp < HANGUL_S + HANGUL_NS;
}

static bool has_normal_data(uint32_t cp)
{
    return in_ranges(nbi_uni_normal, nbi_uni_normal_n, cp);
}

bool nbi_uni_normal_active(uint32_t cp)
{
    if (cp < 0xA0)
        return false;
    return is_syllable(cp) || (cp >= HANGUL_V && cp < HANGUL_T + HANGUL_NT) ||
           has_normal_data(cp) || in_ranges(nbi_uni_second, nbi_uni_second_n, cp);
}

int nbi_uni_decompose(uint32_t cp, bool compat, uint32_t out[NBI_UNI_MAX_DECOMPOSED])
{
    out[0] = cp;
    if (is_syllable(cp)) {
        uint32_t s = cp - HANGUL_S, t = s % HANGUL_NT;
        out[0] = HANGUL_L + s / (HANGUL_NV * HANGUL_NT);
        out[1] = HANGUL_V + s % (HANGUL_NV * HANGUL_NT) / HANGUL_NT;
        out[2] = HANGUL_T + t;
        return t ? 3 : 2;
    }
    if (cp < 0xA0 || !has_normal_data(cp))
        return 1;
    utf8proc_int32_t buf[NBI_UNI_MAX_DECOMPOSED];
    int boundclass = 0;
    utf8proc_option_t opt = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, buf, NBI_UNI_MAX_DECOMPOSED,
                                                 opt, &boundclass);
    if (n < 1 || n > NBI_UNI_MAX_DECOMPOSED)
        return 1;
    for (int i = 0; i < (int)n; i++)
        out[i] = (uint32_t)buf[i];
    return (int)n;
}

int nbi_uni_combining_class(uint32_t cp)
{
    if (cp < 0x300 || !has_normal_data(cp))
        return 0;
    return utf8proc_get_property((utf8proc_int32_t)cp)->combining_class;
}

uint32_t nbi_uni_compose(uint32_t a, uint32_t b)
{
    if (a >= HANGUL_L && a < HANGUL_L + HANGUL_NL && b >= HANGUL_V && b < HANGUL_V + HANGUL_NV)
        return HANGUL_S + ((a - HANGUL_L) * HANGUL_NV + (b - HANGUL_V)) * HANGUL_NT;
    if (is_syllable(a) && (a - HANGUL_S) % HANGUL_NT == 0 && b > HANGUL_T &&
        b < HANGUL_T + HANGUL_NT)
        return a + (b - HANGUL_T);
    if (b < 0x300 || !in_ranges(nbi_uni_second, nbi_uni_second_n, b))
        return 0;
    utf8proc_int32_t pair[3] = {(utf8proc_int32_t)a, (utf8proc_int32_t)b, 0};
    if (utf8proc_normalize_utf32(pair, 2, UTF8PROC_COMPOSE | UTF8PROC_STABLE) != 1)
        return 0;
    uint32_t c = (uint32_t)pair[0];
    return has_normal_data(c) ? c : 0;
}
