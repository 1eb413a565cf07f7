/* SPDX-License-Identifier: MIT */
/* Checked arithmetic for every number that comes from a file or a user (docs: rule R1). */
#ifndef NBI_CHECKED_H
#define NBI_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Each returns false on overflow and then leaves *r unspecified. */
static inline bool nbi_add_size(size_t a, size_t b, size_t *r)
{
    return !__builtin_add_overflow(a, b, r);
}
static inline bool nbi_mul_size(size_t a, size_t b, size_t *r)
{
    return !__builtin_mul_overflow(a, b, r);
}
static inline bool nbi_add_i64(int64_t a, int64_t b, int64_t *r)
{
    return !__builtin_add_overflow(a, b, r);
}
static inline bool nbi_mul_i64(int64_t a, int64_t b, int64_t *r)
{
    return !__builtin_mul_overflow(a, b, r);
}
/* Strict decimal: digits only (no sign, space, or empty text), overflow detected. */
bool nbi_parse_u64(const char *s, size_t len, uint64_t *r);
/* Strict decimal with an optional leading '-'. */
bool nbi_parse_i64(const char *s, size_t len, int64_t *r);
/* A JSON/YAML number ("2e-4", "1", "-0.5", ".5", "inf" and "nan" refused); locale independent and
 * correctly rounded. */
bool nbi_parse_f64(const char *s, size_t len, double *r);

#endif
