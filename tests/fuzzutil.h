/* SPDX-License-Identifier: MIT */
/* Damage to a text, the same in every run. Include after testutil.h. */
#ifndef NBT_FUZZUTIL_H
#define NBT_FUZZUTIL_H

#include "base/rng.h"

/* Changes s[n] in one to four places (s has room for `cap` bytes) with bytes of its own and the
 * given words; returns the new length. */
NBT_UNUSED static size_t nbt_mutate(nbi_rng *g, char *s, size_t n, size_t cap,
                                    const char *const *words, size_t n_words)
{
    int changes = 1 + (int)nbi_rng_below(g, 4);
    for (int i = 0; i < changes && n > 0; i++) {
        size_t at = nbi_rng_below(g, n), len = 1 + nbi_rng_below(g, 12);
        const char *w = words[nbi_rng_below(g, n_words)];
        if (len > n - at)
            len = n - at;
        switch (nbi_rng_below(g, 5)) {
        case 0: /* one byte */
            s[at] = (char)nbi_rng_u32(g);
            break;
        case 1: /* a part vanishes */
            memmove(s + at, s + at + len, n - at - len);
            n -= len;
            break;
        case 2: /* a word comes in */
            if (n + strlen(w) <= cap) {
                memmove(s + at + strlen(w), s + at, n - at);
                memcpy(s + at, w, strlen(w));
                n += strlen(w);
            }
            break;
        case 3: /* a digit, where there is one nearby */
            for (size_t k = at; k < n && k < at + 40; k++) {
                if (s[k] >= '0' && s[k] <= '9') {
                    s[k] = (char)('0' + nbi_rng_below(g, 10));
                    break;
                }
            }
            break;
        default: /* a part comes twice */
            if (n + len <= cap) {
                memmove(s + at + len, s + at, n - at);
                n += len;
            }
            break;
        }
    }
    return n;
}

/* Writes without the care of nbi_write_file, which syncs. */
NBT_UNUSED static void nbt_write_plainly(const char *path, const char *s, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(s, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

#endif
