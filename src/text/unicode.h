/* SPDX-License-Identifier: MIT */
/* Character classes as tokenizer.json files mean them. Three versions of Unicode meet in that
 * format: regular expressions use 16, normal forms 9, letter case and white space the newest. */
#ifndef NBI_UNICODE_H
#define NBI_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Categories of the table; the numbers are those of tools/gen_unicode_tables.py. */
enum {
    NBI_CAT_LU,
    NBI_CAT_LL,
    NBI_CAT_LT,
    NBI_CAT_LM,
    NBI_CAT_LO,
    NBI_CAT_M,
    NBI_CAT_ND,
    NBI_CAT_NL,
    NBI_CAT_NO,
    NBI_CAT_NQ, /* other numbers that \w of regular expressions takes */
    NBI_CAT_PC,
    NBI_CAT_PX,
    NBI_CAT_SA, /* symbols that are alphabetic */
    NBI_CAT_SX,
    NBI_CAT_Z,
    NBI_CAT_CW, /* control characters that are white space */
    NBI_CAT_CJ, /* join controls */
    NBI_CAT_CX
};

/* Sets of categories, to be tested by nbi_uni_is. */
#define NBI_SET_L 0x1Fu
#define NBI_SET_M (1u << NBI_CAT_M)
#define NBI_SET_N (0xFu << NBI_CAT_ND)
#define NBI_SET_P (3u << NBI_CAT_PC)
#define NBI_SET_S (3u << NBI_CAT_SA)
#define NBI_SET_SPACE (3u << NBI_CAT_Z)
#define NBI_SET_C (7u << NBI_CAT_CW)
/* \w of the regular expressions in the file */
#define NBI_SET_WORD                                                                               \
    (NBI_SET_L | NBI_SET_M | 1u << NBI_CAT_ND | 1u << NBI_CAT_NL | 1u << NBI_CAT_NQ |              \
     1u << NBI_CAT_PC | 1u << NBI_CAT_SA)
/* \w where the format's own components say "word": by the definition of UTS #18 */
#define NBI_SET_WORD18 ((NBI_SET_WORD & ~(1u << NBI_CAT_NQ)) | 1u << NBI_CAT_CJ)

typedef struct nbi_uni_span {
    uint32_t first, last;
} nbi_uni_span;

int nbi_uni_category(uint32_t cp);
static inline bool nbi_uni_is(uint32_t cp, uint32_t set)
{
    return (set >> nbi_uni_category(cp) & 1) != 0;
}
/* Enumerates a set as maximal ascending ranges: start with *pos = 0; false at the end. */
bool nbi_uni_next_span(uint32_t set, size_t *pos, nbi_uni_span *out);
/* The same for the script Han. */
bool nbi_uni_next_han(size_t *pos, nbi_uni_span *out);

/* What the pre-tokenizers Punctuation and BertPreTokenizer take for punctuation. */
bool nbi_uni_is_punct(uint32_t cp);
/* What the pre-tokenizer Digits takes for a digit. */
bool nbi_uni_is_digit(uint32_t cp);
bool nbi_uni_is_space(uint32_t cp);
/* Combining marks of Unicode 9 (normalizer StripAccents). */
bool nbi_uni_is_mark9(uint32_t cp);
/* Lower case into out[2]; returns 1 or 2. */
int nbi_uni_lower(uint32_t cp, uint32_t out[2]);

/* ---- normal forms of Unicode 9; later characters stay as they are ---- */

/* Can cp change, or change a neighbour, in any normal form? (May say yes too often.) */
bool nbi_uni_normal_active(uint32_t cp);
/* Full canonical (or compatibility) decomposition, not reordered; returns the count, 1..18. */
#define NBI_UNI_MAX_DECOMPOSED 18
int nbi_uni_decompose(uint32_t cp, bool compat, uint32_t out[NBI_UNI_MAX_DECOMPOSED]);
int nbi_uni_combining_class(uint32_t cp);
/* Primary composite of a and b, 0 if there is none. */
uint32_t nbi_uni_compose(uint32_t a, uint32_t b);

#endif
