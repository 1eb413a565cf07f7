/* SPDX-License-Identifier: MIT */
/* Sizes and times as people write them. */
#ifndef NBI_QUANTITY_H
#define NBI_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

/* "6GiB", "6G" (the same), "6GB" (10^9), "6000 MB", "1.5T", plain bytes, or "80%" of `whole`. False
 * when it is none of these, or zero, or beyond 2^62. */
bool nbi_parse_bytes(const char *s, uint64_t whole, uint64_t *bytes);
/* "90m", "2h", "1h30m", "1d", "45s", plain seconds. False when it is none of these or zero. */
bool nbi_parse_duration(const char *s, double *seconds);

/* "812.4 MiB", "6.10 GiB" */
char *nbi_format_bytes(double bytes, char buf[32]);
/* "1.2 s", "45 s", "12 min", "3.4 h", "2.1 days" */
char *nbi_format_duration(double seconds, char buf[32]);
/* "1,234,567" */
char *nbi_format_grouped(int64_t n, char buf[32]);

#endif
