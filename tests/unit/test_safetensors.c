/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "st_testutil.h"
#include "tensor/half.h"

#define T(name, dtype, shape, b, e)                                                                \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #b "," #e "]}"
#define BODY(fields) "{\"a\":{" fields "}}"
#define AUTO UINT64_MAX

typedef struct header_case {
    const char *what, *header;
    size_t data;
    uint64_t length; /* AUTO: the right one */
    nb_status status;
    const char *part; /* of the message */
} header_case;

static const header_case cases[] = {
    /* valid */
    {"empty", "{}", 0, AUTO, NB_OK, ""},
    {"blanks behind", "{}      ", 0, AUTO, NB_OK, ""},
    {"one tensor", "{" T("a", "F32", "[2,2]", 0, 16) "}", 16, AUTO, NB_OK, ""},
    {"metadata", "{\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}}", 0, AUTO, NB_OK, ""},
    {"metadata empty", "{\"__metadata__\":{}}", 0, AUTO, NB_OK, ""},
    {"scalar", "{" T("a", "F32", "[]", 0, 4) "}", 4, AUTO, NB_OK, ""},
    {"zero size", "{" T("a", "F32", "[0]", 0, 0) "}", 0, AUTO, NB_OK, ""},
    {"zero size between",
     "{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[0,7]", 4, 4) "," T("c", "U8", "[2]", 4,
                                                                         6) "}",
     6, AUTO, NB_OK, ""},
    {"zero sizes at one place", "{" T("a", "U8", "[0]", 0, 0) "," T("b", "I64", "[3,0]", 0, 0) "}",
     0, AUTO, NB_OK, ""},
    {"not in order", "{" T("a", "U8", "[2]", 4, 6) "," T("b", "F32", "[1]", 0, 4) "}", 6, AUTO,
     NB_OK, ""},
    {"rank 8", "{" T("a", "U8", "[1,1,1,1,1,1,1,2]", 0, 2) "}", 2, AUTO, NB_OK, ""},
    {"unaligned", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "F64", "[1]", 1, 9) "}", 9, AUTO, NB_OK,
     ""},
    {"all types",
     "{" T("a", "BF16", "[1]", 0, 2) "," T("b", "F16", "[1]", 2, 4) "," T(
         "c", "BOOL", "[1]", 4, 5) "," T("d", "F8_E4M3", "[1]", 5, 6) "," T("e", "I16", "[1]", 6,
                                                                            8) "}",
     8, AUTO, NB_OK, ""},
    {"escaped name", "{" T("\\u0061\\n", "U8", "[1]", 0, 1) "}", 1, AUTO, NB_OK, ""},
    {"fields in other order", BODY("\"data_offsets\":[0,1],\"shape\":[1],\"dtype\":\"U8\""), 1,
     AUTO, NB_OK, ""},

    /* length */
    {"length 0", "{}", 0, 0, NB_FORMAT, "'{'"},
    {"length beyond the file", "{}", 0, 3, NB_FORMAT, "only 2 bytes follow"},
    {"length at the limit, beyond the file", "{}", 0, 100000000, NB_FORMAT, "bytes follow"},
    {"length above the limit", "{}", 0, 100000001, NB_FORMAT, "limit"},
    {"length 2^40", "{}", 0, 1ull << 40, NB_FORMAT, "limit"},
    {"length 2^63", "{}", 0, 1ull << 63, NB_FORMAT, "limit"},
    {"length 2^64-8", "{}", 0, UINT64_MAX - 7, NB_FORMAT, "limit"},
    {"length cuts the header", "{}  ", 0, 1, NB_FORMAT, ""},
    {"length includes data", "{" T("a", "U8", "[4]", 0, 4) "}", 4, 59, NB_FORMAT, ""},

    /* JSON */
    {"list", "[]", 0, AUTO, NB_FORMAT, "'{'"},
    {"blank in front", " {}", 0, AUTO, NB_FORMAT, "'{'"},
    {"byte order mark", "\xef\xbb\xbf{}", 0, AUTO, NB_FORMAT, "'{'"},
    {"text behind", "{}x", 0, AUTO, NB_FORMAT, ""},
    {"second object", "{}{}", 0, AUTO, NB_FORMAT, ""},
    {"not closed", "{", 0, AUTO, NB_FORMAT, ""},
    {"comma at the end", "{" T("a", "U8", "[1]", 0, 1) ",}", 1, AUTO, NB_FORMAT, ""},
    {"ill-formed UTF-8 name", "{" T("\xff", "U8", "[1]", 0, 1) "}", 1, AUTO, NB_FORMAT, ""},
    {"NUL in a name", "{" T("a\\u0000b", "U8", "[1]", 0, 1) "}", 1, AUTO, NB_FORMAT, ""},
    {"same name twice", "{" T("a", "U8", "[1]", 0, 1) "," T("a", "U8", "[1]", 1, 2) "}", 2, AUTO,
     NB_FORMAT, "twice"},
    {"same name twice, no bytes", "{" T("a", "U8", "[0]", 0, 0) "," T("a", "U8", "[0]", 0, 0) "}",
     0, AUTO, NB_FORMAT, "twice"},
    {"same name by escape", "{" T("a", "U8", "[1]", 0, 1) "," T("\\u0061", "U8", "[1]", 1, 2) "}",
     2, AUTO, NB_FORMAT, "twice"},

    /* metadata */
    {"metadata twice", "{\"__metadata__\":{},\"__metadata__\":{}}", 0, AUTO, NB_FORMAT, "twice"},
    {"metadata number", "{\"__metadata__\":{\"a\":1}}", 0, AUTO, NB_FORMAT, "text"},
    {"metadata null value", "{\"__metadata__\":{\"a\":null}}", 0, AUTO, NB_FORMAT, "text"},
    {"metadata nested", "{\"__metadata__\":{\"a\":{}}}", 0, AUTO, NB_FORMAT, "text"},
    {"metadata list", "{\"__metadata__\":[]}", 0, AUTO, NB_FORMAT, "object"},
    {"metadata null", "{\"__metadata__\":null}", 0, AUTO, NB_FORMAT, "object"},
    {"metadata key twice", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"1\"}}", 0, AUTO, NB_FORMAT,
     "twice"},

    /* fields */
    {"tensor is a number", "{\"a\":1}", 0, AUTO, NB_FORMAT, "object"},
    {"tensor is null", "{\"a\":null}", 0, AUTO, NB_FORMAT, "object"},
    {"nothing", "{\"a\":{}}", 0, AUTO, NB_FORMAT, "dtype"},
    {"only a shape", "{\"a\":{\"shape\":[4]}}", 16, AUTO, NB_FORMAT, "dtype"},
    {"no dtype", BODY("\"shape\":[4],\"data_offsets\":[0,16]"), 16, AUTO, NB_FORMAT, "dtype"},
    {"no shape", BODY("\"dtype\":\"F32\",\"data_offsets\":[0,16]"), 16, AUTO, NB_FORMAT, "shape"},
    {"no offsets", BODY("\"dtype\":\"F32\",\"shape\":[4]"), 16, AUTO, NB_FORMAT, "data_offsets"},
    {"unknown field", BODY("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1"), 1,
     AUTO, NB_FORMAT, "unknown field"},
    {"field twice", BODY("\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]"),
     1, AUTO, NB_FORMAT, "twice"},
    {"unknown dtype", "{" T("a", "F33", "[1]", 0, 4) "}", 4, AUTO, NB_FORMAT, "F33"},
    {"dtype in lower case", "{" T("a", "f32", "[1]", 0, 4) "}", 4, AUTO, NB_FORMAT, "dtype"},
    {"dtype of torch", "{" T("a", "float32", "[1]", 0, 4) "}", 4, AUTO, NB_FORMAT, "dtype"},
    {"empty dtype", "{" T("a", "", "[1]", 0, 4) "}", 4, AUTO, NB_FORMAT, "dtype"},
    {"dtype is a number", BODY("\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,1]"), 1, AUTO,
     NB_FORMAT, "string"},

    /* shape */
    {"shape is a number", "{" T("a", "U8", "1", 0, 1) "}", 1, AUTO, NB_FORMAT, "list"},
    {"shape null", "{" T("a", "U8", "null", 0, 1) "}", 1, AUTO, NB_FORMAT, "list"},
    {"negative dimension", "{" T("a", "U8", "[-1]", 0, 1) "}", 1, AUTO, NB_FORMAT, "non-negative"},
    {"two negative dimensions", "{" T("a", "U8", "[-1,-1]", 0, 1) "}", 1, AUTO, NB_FORMAT,
     "non-negative"},
    {"minus zero", "{" T("a", "U8", "[-0]", 0, 0) "}", 0, AUTO, NB_FORMAT, "non-negative"},
    {"dimension with a point", "{" T("a", "U8", "[1.0]", 0, 1) "}", 1, AUTO, NB_FORMAT, "integer"},
    {"dimension with exponent", "{" T("a", "U8", "[1e0]", 0, 1) "}", 1, AUTO, NB_FORMAT, "integer"},
    {"dimension as text", "{" T("a", "U8", "[\"1\"]", 0, 1) "}", 1, AUTO, NB_FORMAT, "integer"},
    {"nested shape", "{" T("a", "U8", "[[1]]", 0, 1) "}", 1, AUTO, NB_FORMAT, "integer"},
    {"leading zero", "{" T("a", "U8", "[01]", 0, 1) "}", 1, AUTO, NB_FORMAT, ""},
    {"rank 9", "{" T("a", "U8", "[1,1,1,1,1,1,1,1,1]", 0, 1) "}", 1, AUTO, NB_FORMAT,
     "8 dimensions"},
    {"dimension 2^64", "{" T("a", "U8", "[18446744073709551616]", 0, 0) "}", 0, AUTO, NB_FORMAT,
     "integer"},
    {"dimension 2^63", "{" T("a", "U8", "[9223372036854775808]", 0, 0) "}", 0, AUTO, NB_FORMAT,
     "integer"},
    {"product wraps to 4", "{" T("a", "U8", "[4194305,4194305,211106198978564]", 0, 4) "}", 4, AUTO,
     NB_FORMAT, "overflows"},
    {"product wraps to 0", "{" T("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0, AUTO,
     NB_FORMAT, "overflows"},
    {"bytes wrap to 0", "{" T("a", "F32", "[4611686018427387904]", 0, 0) "}", 0, AUTO, NB_FORMAT,
     "overflows"},
    {"bytes wrap to 8", "{" T("a", "F64", "[2305843009213693953]", 0, 8) "}", 8, AUTO, NB_FORMAT,
     "overflows"},
    {"zero dimension with bytes", "{" T("a", "F32", "[0,4]", 0, 16) "}", 16, AUTO, NB_FORMAT,
     "span"},

    /* offsets */
    {"offsets a number", BODY("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":1"), 1, AUTO,
     NB_FORMAT, "list"},
    {"one offset", BODY("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]"), 1, AUTO, NB_FORMAT,
     ""},
    {"three offsets", BODY("\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,2]"), 1, AUTO,
     NB_FORMAT, "two"},
    {"negative offset", "{" T("a", "U8", "[1]", -1, 0) "}", 1, AUTO, NB_FORMAT, "non-negative"},
    {"offsets turned round", "{" T("a", "U8", "[1]", 1, 0) "}", 1, AUTO, NB_FORMAT, "not inside"},
    {"end beyond the data", "{" T("a", "U8", "[2]", 0, 2) "}", 1, AUTO, NB_FORMAT, "not inside"},
    {"both beyond the data", "{" T("a", "U8", "[1]", 9, 10) "}", 1, AUTO, NB_FORMAT, "not inside"},
    {"huge offsets", "{" T("a", "U8", "[1]", 9223372036854775806, 9223372036854775807) "}", 1, AUTO,
     NB_FORMAT, "not inside"},
    {"offsets of 2^64", "{" T("a", "U8", "[1]", 0, 18446744073709551617) "}", 1, AUTO, NB_FORMAT,
     "integer"},
    {"too few bytes", "{" T("a", "F32", "[2]", 0, 4) "}", 4, AUTO, NB_FORMAT, "span"},
    {"too many bytes", "{" T("a", "F32", "[1]", 0, 8) "}", 8, AUTO, NB_FORMAT, "span"},
    {"hole in front", "{" T("a", "U8", "[1]", 1, 2) "}", 2, AUTO, NB_FORMAT, "hole"},
    {"hole between", "{" T("a", "U8", "[1]", 0, 1) "," T("b", "U8", "[1]", 2, 3) "}", 3, AUTO,
     NB_FORMAT, "hole"},
    {"bytes behind", "{" T("a", "U8", "[1]", 0, 1) "}", 2, AUTO, NB_FORMAT, "end at byte"},
    {"bytes without tensors", "{}", 1, AUTO, NB_FORMAT, "end at byte"},
    {"overlap", "{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 1, 3) "}", 3, AUTO, NB_FORMAT,
     "overlap"},
    {"same place", "{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 0, 2) "}", 2, AUTO,
     NB_FORMAT, "overlap"},
    {"no bytes inside another", "{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[0]", 1, 1) "}", 2,
     AUTO, NB_FORMAT, "overlap"},
};

static void table(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "x.safetensors");
    size_t before = nbt_in_use(), refused = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const header_case *c = &cases[i];
        nb_error err = {0};
        nb_safetensors *st = NULL;
        nbt_put_st(path, c->header, strlen(c->header), c->length, c->data);
        nb_status s = nb_safetensors_open(&st, path, &err);
        if (s != c->status || (s != NB_OK && (!strstr(err.message, c->part) || st))) {
            print_error("%s: got %s: %s\n", c->what, nb_status_text(s), err.message);
            fail();
        }
        if (s == NB_OK) {
            nbt_st_invariants(st, c->data);
            NBT_OK(nb_safetensors_check(st, &err));
        }
        refused += s != NB_OK;
        nb_safetensors_close(&st);
        assert_int_equal(nbt_in_use(), before);
    }
    assert_true(refused >= 40);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static const char seed[] =
    "{\"__metadata__\":{\"format\":\"pt\"}," T("a.weight", "F32", "[3,5]", 0, 60) "," T(
        "b", "BF16", "[7]", 60, 74) "," T("c", "U8", "[0]", 74, 74) "," T("d\\u00e4", "I64", "[]",
                                                                          74, 82) "}   ";

/* The file cut at every byte, with the length as it was and with one that fits. */
static void truncation(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "x.safetensors");
    size_t h = sizeof seed - 1, n = 8 + h + 82;
    nb_error err = {0};
    nb_safetensors *st = NULL;
    nbt_put_st(path, seed, h, AUTO, 82);
    char *whole = nbt_read(path, NULL);
    NBT_OK(nb_safetensors_open(&st, path, &err));
    nb_safetensors_close(&st);
    for (size_t cut = 0; cut < n; cut++) {
        nbt_put(path, whole, cut, NULL, 0);
        NBT_FAILS(NB_FORMAT, "x.safetensors", nb_safetensors_open(&st, path, &err));
    }
    for (size_t cut = 0; cut < h - 3; cut++) { /* the last three bytes are blanks */
        nbt_put_st(path, seed, cut, AUTO, 82);
        NBT_FAILS(NB_FORMAT, "x.safetensors", nb_safetensors_open(&st, path, &err));
    }
    nbi_free(whole);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static nb_status fill(void *user, size_t e, int64_t i0, int64_t n, void *buf, nb_error *err)
{
    (void)err;
    size_t *calls = user;
    ++*calls;
    assert_int_equal(e, 2);
    for (int64_t i = 0; i < n; i++)
        ((float *)buf)[i] = (float)(i0 + i);
    return NB_OK;
}

static void round_trip(void **state)
{
    (void)state;
    enum { BIG = 700001 };
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "x.safetensors");
    uint16_t half[6];
    int64_t scalar = -3;
    size_t calls = 0;
    nb_error err = {0};
    for (int i = 0; i < 6; i++)
        half[i] = nb_f32_to_bf16((float)i * 0.5f);
    const nb_st_entry e[] = {{"n\"\xc3\xa4\n", NB_DT_BF16, 2, {2, 3}, half},
                             {"none", NB_DT_F32, 2, {0, 3}, NULL},
                             {"big", NB_DT_F32, 1, {BIG}, NULL},
                             {"scalar", NB_DT_I64, 0, {0}, &scalar}};
    NBT_OK(nb_safetensors_write(path, e, 4, fill, &calls, &err));
    assert_int_equal(calls, 3);
    nb_safetensors *st = NULL;
    NBT_OK(nb_safetensors_open(&st, path, &err));
    nbt_st_invariants(st, 12 + 4 * (size_t)BIG + 8);
    assert_int_equal(nb_safetensors_count(st), 4);
    assert_string_equal(nb_safetensors_metadata(st, "format"), "pt");
    assert_null(nb_safetensors_metadata(st, "other"));
    const nb_st_tensor *t = nb_safetensors_find(st, "n\"\xc3\xa4\n");
    assert_non_null(t);
    assert_int_equal((uintptr_t)t->data % 8, 0);
    float f[6];
    nb_st_to_f32(t, 1, 5, f);
    for (int i = 1; i < 6; i++) {
        assert_true(f[i - 1] == (float)i * 0.5f);
        assert_true(nb_st_value(t, i) == i * 0.5);
    }
    t = nb_safetensors_find(st, "big");
    for (int64_t i = 0; i < BIG; i += 997)
        assert_true(nb_st_value(t, i) == (double)i);
    nb_safetensors_release(st, t);
    assert_true(nb_st_value(t, BIG - 1) == BIG - 1);
    assert_true(nb_st_value(nb_safetensors_find(st, "scalar"), 0) == -3);
    assert_null(nb_safetensors_find(st, "bi"));
    assert_null(nb_safetensors_find(st, "bigg"));
    size_t first, count;
    nb_safetensors_prefix(st, "n", &first, &count);
    assert_int_equal(count, 2);
    assert_string_equal(nb_safetensors_named(st, first + 1)->name, "none");
    nb_safetensors_prefix(st, "", &first, &count);
    assert_int_equal(count, 4);
    nb_safetensors_prefix(st, "x", &first, &count);
    assert_int_equal(count, 0);
    nb_safetensors_close(&st);
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void writer_refusals(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "x.safetensors");
    float v[2] = {0};
    nb_error err;
    nb_st_entry e[] = {{"a", NB_DT_F32, 1, {1}, v}, {"a", NB_DT_F32, 1, {1}, v}};
    NBT_FAILS(NB_INTERNAL, "twice", nb_safetensors_write(path, e, 2, NULL, NULL, &err));
    e[1] = (nb_st_entry){"b", NB_DT_F32, 2, {1ll << 40, 1ll << 40}, v};
    NBT_FAILS(NB_INTERNAL, "impossible", nb_safetensors_write(path, e, 2, NULL, NULL, &err));
    e[1] = (nb_st_entry){"b", NB_DT_F32, 1, {1}, NULL};
    NBT_FAILS(NB_INTERNAL, "no data", nb_safetensors_write(path, e, 2, NULL, NULL, &err));
    assert_false(nbi_path_exists(path)); /* nothing half-made stays */
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

static void number_values(void **state)
{
    (void)state;
    unsigned char raw[] = {0x38, 0x3c, 0xff, 0xff, 0x00, 0x3c, 0x01, 0x7e, 0x08, 0xc0};
    nb_st_tensor t = {.name = "t", .dtype = NB_DT_I8, .rank = 1, .shape = {10}, .data = raw};
    assert_true(nb_st_value(&t, 2) == -1);
    t.dtype = NB_DT_U8;
    assert_true(nb_st_value(&t, 2) == 255);
    t.dtype = NB_DT_F16;
    assert_true(nb_st_value(&t, 2) == 1.0); /* 0x3c00 */
    t.dtype = NB_DT_F8_E4M3;
    assert_true(nb_st_value(&t, 0) == 1.0);    /* 0x38 */
    assert_true(nb_st_value(&t, 6) == 0x1p-9); /* smallest subnormal */
    assert_true(nb_st_value(&t, 7) == 448.0);  /* largest */
    assert_true(nb_st_value(&t, 8) == 0x1p-6); /* smallest normal */
    assert_true(nb_st_value(&t, 9) == -2.0);   /* 0xc0 */
    assert_true(isnan(nb_st_value(&t, 2)));
    t.dtype = NB_DT_F8_E5M2;
    assert_true(nb_st_value(&t, 1) == 1.0); /* 0x3c */
}

/* ---- folders ---- */

static void put_shard(const char *dir, const char *file, const char *name)
{
    char *path = nbt_join(dir, file);
    nbi_strbuf h = {0};
    nbi_strbuf_printf(&h, "{\"%s\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", name);
    nbt_put_st(path, h.s, h.n, AUTO, 3);
    nbi_strbuf_free(&h);
    nbi_free(path);
}

static void index_case(const char *dir, const char *text, nb_status expected, const char *part)
{
    char *path = nbt_join(dir, "model.safetensors.index.json");
    nb_safetensors *st = NULL;
    nb_error err = {0};
    size_t before = nbt_in_use();
    nbt_put(path, text, strlen(text), NULL, 0);
    if (expected == NB_OK) {
        NBT_OK(nb_safetensors_open_dir(&st, dir, "model", &err));
        assert_int_equal(nb_safetensors_count(st), 2);
        assert_non_null(strstr(nb_safetensors_find(st, "b")->path, "two.safetensors"));
    } else {
        NBT_FAILS(expected, part, nb_safetensors_open_dir(&st, dir, "model", &err));
        assert_null(st);
    }
    nb_safetensors_close(&st);
    assert_int_equal(nbt_in_use(), before);
    nbi_free(path);
}

static void sharded(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir();
    put_shard(dir, "one.safetensors", "a");
    put_shard(dir, "two.safetensors", "b");
    put_shard(dir, "again.safetensors", "a");
#define W(map) "{\"metadata\":{\"total_size\":6},\"weight_map\":" map "}"
    index_case(dir, W("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}"), NB_OK, "");
    index_case(dir, W("{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}"), NB_FORMAT,
               "should be");
    index_case(dir, W("{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}"), NB_FORMAT,
               "not in");
    index_case(dir,
               W("{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\",\"c\":"
                 "\"again.safetensors\"}"),
               NB_FORMAT, "twice");
    index_case(dir, W("{\"a\":\"one.safetensors\",\"b\":\"absent.safetensors\"}"), NB_NOTFOUND,
               "absent");
    index_case(dir, W("{\"a\":\"../one.safetensors\"}"), NB_FORMAT, "same folder");
    index_case(dir, W("{\"a\":\"/one.safetensors\"}"), NB_FORMAT, "same folder");
    index_case(dir, W("{\"a\":\"one.safetensors\\u0000\"}"), NB_FORMAT, "same folder");
    index_case(dir, W("{\"a\":\"one.bin\"}"), NB_FORMAT, "same folder");
    index_case(dir, W("{\"a\":1}"), NB_FORMAT, "name");
    index_case(dir, W("{}"), NB_FORMAT, "empty");
    index_case(dir, W("[]"), NB_FORMAT, "weight_map");
    index_case(dir, "{}", NB_FORMAT, "weight_map");
    index_case(dir, "[", NB_FORMAT, "");
    index_case(dir, W("{\"a\":\"one.safetensors\",\"a\":\"one.safetensors\"}"), NB_FORMAT, "");
    nbt_tmpdir_remove(dir);
}

static void other_files(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *none = nbt_join(dir, "none");
    char *bin = nbt_join(dir, "pytorch_model.bin"), *gguf = nbt_join(dir, "x.safetensors");
    nb_safetensors *st = NULL;
    nb_error err;
    NBT_FAILS(NB_NOTFOUND, "no such folder", nb_safetensors_open_dir(&st, none, "model", &err));
    NBT_FAILS(NB_NOTFOUND, "index.json", nb_safetensors_open_dir(&st, dir, "model", &err));
    nbt_put(bin, "PK\003\004xxxxxxxxxx", 14, NULL, 0);
    NBT_FAILS(NB_UNSUPPORTED, "pickle", nb_safetensors_open_dir(&st, dir, "model", &err));
    NBT_FAILS(NB_UNSUPPORTED, "pickle", nb_safetensors_open(&st, bin, &err));
    nbt_put(gguf, "PK\003\004xxxxxxxxxx", 14, NULL, 0);
    NBT_FAILS(NB_UNSUPPORTED, "pickle", nb_safetensors_open(&st, gguf, &err));
    nbt_put(gguf, "GGUF\3\0\0\0xxxxxxxx", 16, NULL, 0);
    NBT_FAILS(NB_UNSUPPORTED, "GGUF", nb_safetensors_open(&st, gguf, &err));
    nbt_put(gguf, "version https://git-lfs.github.com/spec/v1\n", 43, NULL, 0);
    NBT_FAILS(NB_FORMAT, "LFS", nb_safetensors_open(&st, gguf, &err));
    nbt_put(gguf, "", 0, NULL, 0);
    NBT_FAILS(NB_FORMAT, "too short", nb_safetensors_open(&st, gguf, &err));
    NBT_FAILS(NB_NOTFOUND, "none", nb_safetensors_open(&st, none, &err));
    nbi_free(none);
    nbi_free(bin);
    nbi_free(gguf);
    nbt_tmpdir_remove(dir);
}

/* Every allocation of opening and of writing fails once. */
static void no_memory(void **state)
{
    (void)state;
    char *dir = nbt_tmpdir(), *path = nbt_join(dir, "x.safetensors");
    nb_error err = {0};
    nbt_put_st(path, seed, sizeof seed - 1, AUTO, 82);
    size_t before = nbt_in_use();
    bool done = false;
    for (uint64_t k = 1; !done; k++) {
        nb_safetensors *st = NULL;
        assert_true(k < 1000);
        nbi_alloc_fail_at(k, false);
        nb_status s = nb_safetensors_open(&st, path, &err);
        done = nbi_alloc_count() < k;
        nbi_alloc_fail_at(0, false);
        if (!done)
            assert_int_equal(s, NB_NOMEM);
        nb_safetensors_close(&st);
        assert_int_equal(nbt_in_use(), before);
    }
    nbi_free(path);
    nbt_tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),         cmocka_unit_test(truncation),
        cmocka_unit_test(round_trip),    cmocka_unit_test(writer_refusals),
        cmocka_unit_test(number_values), cmocka_unit_test(sharded),
        cmocka_unit_test(other_files),   cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
