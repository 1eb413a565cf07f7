/* SPDX-License-Identifier: MIT */
/* Small helpers for all tests. Include after cmocka.h. */
#ifndef NBT_TESTUTIL_H
#define NBT_TESTUTIL_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/alloc.h"
#include "base/mapfile.h"
#include "base/safefile.h"
#include "base/strbuf.h"
#include "nibble/status.h"

#define NBT_UNUSED __attribute__((unused))
#define NBT_SKIP 77 /* exit code of a skipped test program */

/* NBT_OK(call(..., &err)) with a local `nb_error err`: fails the test and prints the message. */
#define NBT_OK(expr)                                                                               \
    do {                                                                                           \
        nb_status nbt_st_ = (expr);                                                                \
        if (nbt_st_ != NB_OK) {                                                                    \
            print_error("%s:%d: %s: %s: %s\n", __FILE__, __LINE__, #expr, nb_status_text(nbt_st_), \
                        err.message);                                                              \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* NBT_FAILS(NB_FORMAT, "part of the message", call(..., &err)) with a local `nb_error err`; the
 * part may be "". */
#define NBT_FAILS(code_, part, expr)                                                               \
    do {                                                                                           \
        const char *nbt_part_ = (part);                                                            \
        memset(&err, 0, sizeof(err));                                                              \
        nb_status nbt_st_ = (expr);                                                                \
        if (nbt_st_ != (code_) || err.code != (code_) || !strstr(err.message, nbt_part_)) {        \
            print_error("%s:%d: %s: expected %s with \"%s\", got %s: %s\n", __FILE__, __LINE__,    \
                        #expr, nb_status_text(code_), nbt_part_ ? nbt_part_ : "",                  \
                        nb_status_text(nbt_st_), err.message);                                     \
            fail();                                                                                \
        }                                                                                          \
    } while (0)

/* ---- places ---- */

/* Folder with the reference data, or NULL; a test program without it prints why and returns
 * NBT_SKIP. */
NBT_UNUSED static const char *nbt_oracle(void)
{
    const char *p = getenv("NIBBLE_ORACLE");
    return p && p[0] ? p : NULL;
}

/* For main() of tests in tests/oracle: `if (!nbt_oracle_or_skip()) return NBT_SKIP;` */
NBT_UNUSED static const char *nbt_oracle_or_skip(void)
{
    const char *p = nbt_oracle();
    if (!p)
        printf("skipped: NIBBLE_ORACLE does not name the folder with the reference data\n");
    return p;
}

/* dir/name into a new string (nbi_free). */
NBT_UNUSED static char *nbt_join(const char *dir, const char *name)
{
    char *p = nbi_path_join(dir, name);
    if (!p)
        abort();
    return p;
}

/* Path below the checkout, e.g. nbt_source("tests/golden/x.json"); new string (nbi_free). */
NBT_UNUSED static char *nbt_source(const char *name)
{
    const char *root = getenv("NIBBLE_SOURCE_ROOT");
    return nbt_join(root && root[0] ? root : ".", name);
}

/* Path of a file in tests/golden; new string (nbi_free). */
NBT_UNUSED static char *nbt_golden(const char *name)
{
    char *dir = nbt_source("tests/golden"), *p = nbt_join(dir, name);
    nbi_free(dir);
    return p;
}

/* ---- temporary folder ---- */

/* New empty folder; give it to nbt_tmpdir_remove. */
NBT_UNUSED static char *nbt_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    nbi_strbuf b = {0};
    nbi_strbuf_printf(&b, "%s/nibble-test-XXXXXX", base && base[0] ? base : P_tmpdir);
    if (b.failed || !mkdtemp(b.s)) {
        print_error("cannot make a temporary folder\n");
        abort();
    }
    return b.s;
}

NBT_UNUSED static void nbt_tmpdir_remove(char *dir)
{
    nb_error err;
    NBT_OK(nbi_remove_tree(dir, &err));
    nbi_free(dir);
}

NBT_UNUSED static void nbt_write(const char *path, const void *data, size_t n)
{
    nb_error err;
    NBT_OK(nbi_write_file(path, data, n, &err));
}

NBT_UNUSED static void nbt_write_text(const char *path, const char *text)
{
    nbt_write(path, text, strlen(text));
}

/* Whole file, NUL-terminated (nbi_free); len may be NULL. */
NBT_UNUSED static char *nbt_read(const char *path, size_t *len)
{
    nb_error err;
    char *text = NULL;
    size_t n = 0;
    NBT_OK(nbi_read_file(path, (size_t)1 << 31, &text, &n, &err));
    if (len)
        *len = n;
    return text;
}

/* ---- numbers ---- */

NBT_UNUSED static double nbt_max_abs_f32(const float *a, const float *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (isnan(d))
            return d;
        if (d > worst)
            worst = d;
    }
    return worst;
}

NBT_UNUSED static double nbt_max_abs_f64(const double *a, const double *b, size_t n)
{
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        if (isnan(d))
            return d;
        if (d > worst)
            worst = d;
    }
    return worst;
}

/* |a - b| / |b| in the Euclidean norm, b being the reference; |a - b| where b is zero. */
NBT_UNUSED static double nbt_rel_norm_f32(const float *a, const float *b, size_t n)
{
    double diff = 0, ref = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        diff += d * d;
        ref += (double)b[i] * (double)b[i];
    }
    return sqrt(diff) / (ref > 0 ? sqrt(ref) : 1.0);
}

NBT_UNUSED static double nbt_rel_norm_f64(const double *a, const double *b, size_t n)
{
    double diff = 0, ref = 0;
    for (size_t i = 0; i < n; i++) {
        diff += (a[i] - b[i]) * (a[i] - b[i]);
        ref += b[i] * b[i];
    }
    return sqrt(diff) / (ref > 0 ? sqrt(ref) : 1.0);
}

/* Fails when measured > allowed or is NaN; prints both. */
NBT_UNUSED static void nbt_within(const char *what, double measured, double allowed)
{
    if (!(measured <= allowed)) {
        print_error("%s: deviation %.3g, allowed %.3g\n", what, measured, allowed);
        fail();
    }
}

/* ---- leaks ---- */

/* Bytes in use over all tags; the same before and after what must not leak. */
NBT_UNUSED static size_t nbt_in_use(void)
{
    size_t n = 0;
    for (int t = 0; t < NBI_MEMTAG_COUNT; t++)
        n += nbi_mem_current((nbi_memtag)t);
    return n;
}

#endif
