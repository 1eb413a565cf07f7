/* SPDX-License-Identifier: MIT */
/* Tables behind text/unicode.h; written by tools/gen_unicode_tables.py. */
#ifndef NBI_UNICODE_TABLES_H
#define NBI_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct nbi_uni_range {
    uint32_t first, last;
} nbi_uni_range;

typedef struct nbi_uni_lower_run {
    uint32_t first, last, stride;
    int32_t delta;
} nbi_uni_lower_run;

extern const uint32_t nbi_uni_runs[];
extern const size_t nbi_uni_runs_n;
extern const nbi_uni_range nbi_uni_han[];
extern const size_t nbi_uni_han_n;
extern const nbi_uni_range nbi_uni_punct_not[];
extern const size_t nbi_uni_punct_not_n;
extern const nbi_uni_range nbi_uni_punct_only[];
extern const size_t nbi_uni_punct_only_n;
extern const nbi_uni_range nbi_uni_digits_only[];
extern const size_t nbi_uni_digits_only_n;
extern const nbi_uni_range nbi_uni_marks_not[];
extern const size_t nbi_uni_marks_not_n;
extern const nbi_uni_range nbi_uni_marks_only[];
extern const size_t nbi_uni_marks_only_n;
extern const nbi_uni_range nbi_uni_normal[];
extern const size_t nbi_uni_normal_n;
extern const nbi_uni_range nbi_uni_second[];
extern const size_t nbi_uni_second_n;
extern const nbi_uni_lower_run nbi_uni_lower_runs[];
extern const size_t nbi_uni_lower_runs_n;

#endif
