/* SPDX-License-Identifier: MIT */
/* Deterministic mutation of valid safetensors files: whatever is accepted keeps what the reader
 * promises, everything else is refused with a message; nothing leaks. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "st_testutil.h"
#include "base/rng.h"

#define ROUNDS 20000
#define MAX_FILE 4096

typedef struct text {
    char s[MAX_FILE];
    size_t n;
} text;

static const struct {
    const char *header;
    size_t data;
} seeds[] = {
    {"{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],"
     "\"data_offsets\":[0,24]},\"b\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[24,24]},"
     "\"c\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[24,26]}}   ",
     26},
    {"{\"w\":{\"dtype\":\"I64\",\"shape\":[1,1,2],\"data_offsets\":[8,24]},"
     "\"v\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}",
     24},
    {"{\"x\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
     "\"y\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[4,8]},"
     "\"z\":{\"dtype\":\"F16\",\"shape\":[0,9],\"data_offsets\":[8,8]}}",
     8},
    {"{}", 0},
};

static const char *const pieces[] = {
    "0",
    "1",
    "2",
    "4",
    "8",
    "24",
    "-1",
    "1e3",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "4294967296",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "\"",
    "null",
    "true",
    " ",
    "\\u0000",
    "\\ud800",
    "\"F32\"",
    "\"U8\"",
    "\"dtype\"",
    "\"shape\"",
    "\"data_offsets\"",
    "\"__metadata__\"",
    "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},",
    "[[[[[[[[",
    "\xff",
    "\xc3\xa4"};

static void splice(text *t, size_t at, size_t del, const char *ins, size_t n)
{
    if (at > t->n)
        at = t->n;
    if (del > t->n - at)
        del = t->n - at;
    if (t->n - del + n > MAX_FILE - 64)
        return;
    memmove(t->s + at + n, t->s + at + del, t->n - at - del);
    memcpy(t->s + at, ins, n);
    t->n = t->n - del + n;
}

/* Length of the number at `at`, 0 if there is none. */
static size_t number_at(const text *t, size_t at)
{
    size_t n = 0;
    while (at + n < t->n && t->s[at + n] >= '0' && t->s[at + n] <= '9')
        n++;
    return n;
}

static void mutate(text *t, nbi_rng *r)
{
    char copy[64];
    size_t at = (size_t)nbi_rng_below(r, t->n + 1), len = (size_t)nbi_rng_below(r, 20);
    const char *piece = pieces[nbi_rng_below(r, sizeof pieces / sizeof *pieces)];
    switch (nbi_rng_below(r, 6)) {
    case 0: /* one bit */
        if (at < t->n)
            t->s[at] = (char)(t->s[at] ^ (1 << nbi_rng_below(r, 8)));
        return;
    case 1: /* out */
        splice(t, at, len, "", 0);
        return;
    case 2: /* in */
        splice(t, at, 0, piece, strlen(piece));
        return;
    case 3: /* twice */
        if (len > t->n - at)
            len = t->n - at;
        memcpy(copy, t->s + at, len);
        splice(t, (size_t)nbi_rng_below(r, t->n + 1), 0, copy, len);
        return;
    default: /* another number */
        while (at < t->n && number_at(t, at) == 0)
            at++;
        splice(t, at, number_at(t, at), piece, strlen(piece));
    }
}

static void one_round(const char *path, nbi_rng *r, size_t counts[2])
{
    size_t s = (size_t)nbi_rng_below(r, sizeof seeds / sizeof *seeds);
    text t = {.n = strlen(seeds[s].header)};
    size_t data = seeds[s].data;
    memcpy(t.s, seeds[s].header, t.n);
    for (uint64_t i = nbi_rng_below(r, 3); i < 3; i++)
        mutate(&t, r);
    if (nbi_rng_below(r, 8) == 0)
        data = (size_t)nbi_rng_below(r, 40);
    uint64_t length = UINT64_MAX;
    if (nbi_rng_below(r, 10) == 0)
        length = (uint64_t)t.n + nbi_rng_below(r, 9) - 4;
    else if (nbi_rng_below(r, 50) == 0)
        length = nbi_rng_u64(r) >> nbi_rng_below(r, 64);
    nbt_put_st(path, t.s, t.n, length, data);
    nb_error err = {0};
    nb_safetensors *st = NULL;
    nb_status got = nb_safetensors_open(&st, path, &err);
    counts[got == NB_OK]++;
    if (got == NB_OK) {
        size_t header = length == UINT64_MAX ? t.n : (size_t)length;
        nbt_st_invariants(st, t.n + data - header);
        nb_safetensors_close(&st);
    } else {
        assert_true(got == NB_FORMAT || got == NB_UNSUPPORTED);
        assert_null(st);
        assert_int_equal(err.code, got);
        assert_non_null(strstr(err.message, "fuzz.safetensors"));
    }
}

static void mutations(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "fuzz.safetensors");
    size_t counts[2] = {0, 0}, before = nbt_in_use();
    nbi_rng r;
    nbi_rng_init(&r, 20240613, NBI_RNG_SAMPLE, 1);
    for (int i = 0; i < ROUNDS; i++)
        one_round(path, &r, counts);
    assert_int_equal(nbt_in_use(), before);
    printf("%zu accepted, %zu refused\n", counts[1], counts[0]);
    assert_true(counts[1] > ROUNDS / 100 && counts[0] > ROUNDS / 2);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

/* Every bit of the length and of the header. */
static void single_bits(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "fuzz.safetensors");
    nbt_put_st(path, seeds[0].header, strlen(seeds[0].header), UINT64_MAX, seeds[0].data);
    size_t n;
    char *whole = nbt_read(path, &n);
    for (size_t bit = 0; bit < 8 * (n - seeds[0].data); bit++) {
        nb_error err = {0};
        nb_safetensors *st = NULL;
        whole[bit / 8] = (char)(whole[bit / 8] ^ (1 << bit % 8));
        nbt_put(path, whole, n, NULL, 0);
        if (nb_safetensors_open(&st, path, &err) == NB_OK)
            nbt_st_invariants(st, seeds[0].data);
        nb_safetensors_close(&st);
        whole[bit / 8] = (char)(whole[bit / 8] ^ (1 << bit % 8));
    }
    nbi_free(whole);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(mutations), cmocka_unit_test(single_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
