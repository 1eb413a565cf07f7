/* SPDX-License-Identifier: MIT */
#ifndef NBI_SHA256_H
#define NBI_SHA256_H

#include <stddef.h>
#include "nibble/status.h"

/* Lower-case hexadecimal digest with NUL. */
nb_status nbi_sha256_hex(const void *data, size_t n, char hex[65], nb_error *err) NB_MUST_CHECK;
nb_status nbi_sha256_file(const char *path, char hex[65], nb_error *err) NB_MUST_CHECK;

#endif
