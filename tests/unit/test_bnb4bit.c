/* SPDX-License-Identifier: MIT */
/* 4-bit layers that contradict themselves are refused. The valid ones are compared bit for bit in
 * tests/oracle. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/rng.h"
#include "format/bnb4bit.h"
#include "tensor/codebook.h"

#define W "p.weight"
#define STATE ".quant_state.bitsandbytes__nf4"

/* Layer [3, 50], 150 elements, blocks of 64: 75 bytes, 3 blocks; nested: 1 group. */
static uint8_t codes[80], scale_codes[3] = {1, 200, 255};
static float absmax[3] = {0.5f, 0.25f, 1.0f}, nested_absmax[1] = {0.5f}, nested_map[256], nan16[16];
static const char plain_state[] =
    "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [3, 50]}";
static const char nested_state[] =
    "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [3, 50], "
    "\"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": 0.125}";

static char *dir, *path;

static int setup(void **state)
{
    (void)state;
    dir = nbt_tmpdir();
    path = nbt_join(dir, "x.safetensors");
    nb_dynamic_map_signed(nested_map);
    for (int i = 0; i < 16; i++)
        nan16[i] = i == 3 ? NAN : 0.5f;
    for (int i = 0; i < 80; i++)
        codes[i] = (uint8_t)(i * 37);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbi_free(path);
    nbt_tmpdir_remove(dir);
    return 0;
}

enum { CODES, ABSMAX, MAP, JSON, NESTED_ABSMAX, NESTED_MAP, EXTRA };

typedef struct layer {
    nb_st_entry e[7];
    size_t n;
} layer;

static layer make(bool nested)
{
    const char *json = nested ? nested_state : plain_state;
    layer l = {{{W, NB_DT_U8, 2, {75, 1}, codes},
                {W ".absmax", NB_DT_F32, 1, {3}, absmax},
                {W ".quant_map", NB_DT_F32, 1, {16}, nb_book_nf4},
                {W STATE, NB_DT_U8, 1, {(int64_t)strlen(json)}, json},
                {W ".nested_absmax", NB_DT_F32, 1, {1}, nested_absmax},
                {W ".nested_quant_map", NB_DT_F32, 1, {256}, nested_map},
                {NULL, NB_DT_U8, 1, {1}, codes}},
               nested ? 6 : 4};
    if (nested)
        l.e[ABSMAX] = (nb_st_entry){W ".absmax", NB_DT_U8, 1, {3}, scale_codes};
    return l;
}

static nb_status read_layer(const layer *l, nb_qtensor *out, nbi_arena *keep, nb_safetensors **st,
                            nb_error *result)
{
    nb_error err = {0};
    nb_st_entry e[7];
    size_t n = 0;
    for (size_t i = 0; i < 7; i++)
        if (l->e[i].name && (i < l->n || i == EXTRA))
            e[n++] = l->e[i];
    NBT_OK(nb_safetensors_write(path, e, n, NULL, NULL, &err));
    NBT_OK(nb_safetensors_open(st, path, &err));
    return nb_bnb4bit_read(*st, W, keep, out, result);
}

static void refused(const layer *l, nb_status code, const char *part)
{
    nb_error err = {0};
    nb_qtensor w;
    nb_safetensors *st = NULL;
    nbi_arena keep;
    nbi_arena_init(&keep, NBI_MEM_SCALES);
    NBT_FAILS(code, part, read_layer(l, &w, &keep, &st, &err));
    nb_safetensors_close(&st);
    nbi_arena_free(&keep);
}

static void refused_json(const char *json, nb_status code, const char *part)
{
    layer l = make(strstr(json, "nested_offset") != NULL);
    l.e[JSON].shape[0] = (int64_t)strlen(json);
    l.e[JSON].data = json;
    refused(&l, code, part);
}

static void valid(void **state)
{
    (void)state;
    for (int nested = 0; nested < 2; nested++) {
        nb_error err = {0};
        nb_qtensor w;
        nb_safetensors *st = NULL;
        nbi_arena keep;
        nbi_strbuf b = {0};
        layer l = make(nested);
        nbi_arena_init(&keep, NBI_MEM_SCALES);
        NBT_OK(read_layer(&l, &w, &keep, &st, &err));
        assert_true(nb_bnb4bit_present(st, W));
        assert_false(nb_bnb4bit_present(st, "p"));
        assert_false(nb_bnb4bit_present(st, "q.weight"));
        assert_true(w.kind == NB_QK_NF4 && w.dtype == NB_DT_BF16 && w.n == 3 && w.k == 50);
        for (int i = 0; i < 3; i++)
            assert_true(nb_qtensor_absmax(&w, i) ==
                        (nested ? nested_map[scale_codes[i]] * 0.5f + 0.125f : absmax[i]));
        assert_int_equal((uintptr_t)(nested ? w.nested_absmax : w.absmax) % 4, 0);
        nb_bnb4bit_state_json(&w, &b);
        assert_string_equal(b.s, nested ? nested_state : plain_state);
        nbi_strbuf_free(&b);
        nb_safetensors_close(&st);
        nbi_arena_free(&keep);
    }
}

static void broken_tensors(void **state)
{
    (void)state;
    layer l = make(false);
    l.e[EXTRA].name = W ".scale";
    refused(&l, NB_FORMAT, "unknown part");
    l.e[EXTRA].name = W ".quant_state.bitsandbytes__fp4";
    refused(&l, NB_FORMAT, "second quant_state");
    l = make(false);
    l.e[JSON].name = W ".quant_state.bitsandbytes__int3";
    refused(&l, NB_UNSUPPORTED, "nf4, fp4");
    l = make(false);
    l.e[JSON].name = W ".quant_state.bitsandbytes__fp4";
    refused(&l, NB_FORMAT, "quant_type");
    static const char *const lacking[] = {"codes", "absmax", "quant_map", "quant_state"};
    for (int i = 0; i < 4; i++) {
        l = make(false);
        l.e[i].name = NULL;
        refused(&l, NB_FORMAT, lacking[i]);
    }
    l = make(false);
    l.e[CODES].shape[0] = 74;
    refused(&l, NB_FORMAT, "74 bytes");
    l.e[CODES].shape[0] = 76;
    refused(&l, NB_FORMAT, "76 bytes");
    l = make(false);
    l.e[CODES] = (nb_st_entry){W, NB_DT_U8, 2, {25, 3}, codes};
    refused(&l, NB_FORMAT, "one column");
    l = make(false);
    l.e[ABSMAX].shape[0] = 2;
    refused(&l, NB_FORMAT, "F32 [3]");
    l = make(false);
    l.e[ABSMAX] = (nb_st_entry){W ".absmax", NB_DT_U8, 1, {3}, scale_codes};
    refused(&l, NB_FORMAT, "F32 [3]");
    l = make(false);
    l.e[ABSMAX].data = (const float[]){1.0f, INFINITY, 1.0f};
    refused(&l, NB_FORMAT, "NaN or infinity");
    l = make(false);
    l.e[MAP].data = nan16;
    refused(&l, NB_FORMAT, "NaN or infinity");
    l = make(false);
    l.e[MAP].shape[0] = 15;
    refused(&l, NB_FORMAT, "F32 [16]");
    l = make(false);
    l.e[JSON].dtype = NB_DT_I8;
    refused(&l, NB_FORMAT, "U8");
    l = make(false);
    l.e[EXTRA] = (nb_st_entry){W ".nested_absmax", NB_DT_F32, 1, {1}, nested_absmax};
    refused(&l, NB_FORMAT, "no double quantisation");
}

static void broken_nested(void **state)
{
    (void)state;
    layer l = make(true);
    l.e[NESTED_ABSMAX].name = NULL;
    refused(&l, NB_FORMAT, "nested_absmax");
    l = make(true);
    l.e[NESTED_MAP].name = NULL;
    refused(&l, NB_FORMAT, "nested_quant_map");
    l = make(true);
    l.e[NESTED_MAP].shape[0] = 255;
    refused(&l, NB_FORMAT, "F32 [256]");
    l = make(true);
    l.e[NESTED_ABSMAX].data = (const float[]){NAN};
    refused(&l, NB_FORMAT, "NaN or infinity");
    l = make(true);
    l.e[ABSMAX].shape[0] = 1;
    refused(&l, NB_FORMAT, "U8 [3]");
    l = make(true);
    l.e[ABSMAX] = (nb_st_entry){W ".absmax", NB_DT_F32, 1, {3}, absmax};
    refused(&l, NB_FORMAT, "U8 [3]");
}

#define S(type, block, dtype, shape, more)                                                         \
    "{\"quant_type\":\"" type "\",\"blocksize\":" block ",\"dtype\":\"" dtype                      \
    "\",\"shape\":" shape more "}"

static void broken_state(void **state)
{
    (void)state;
    refused_json("[]", NB_FORMAT, "object");
    refused_json("{", NB_FORMAT, "");
    refused_json("{}", NB_FORMAT, "quant_type");
    refused_json(S("nf4", "48", "float32", "[3,50]", ""), NB_FORMAT, "power of two");
    refused_json(S("nf4", "16", "float32", "[3,50]", ""), NB_FORMAT, "blocksize");
    refused_json(S("nf4", "0", "float32", "[3,50]", ""), NB_FORMAT, "blocksize");
    refused_json(S("nf4", "8192", "float32", "[3,50]", ""), NB_FORMAT, "blocksize");
    refused_json(S("nf4", "\"64\"", "float32", "[3,50]", ""), NB_FORMAT, "blocksize");
    refused_json(S("nf4", "64", "int8", "[3,50]", ""), NB_FORMAT, "dtype");
    refused_json(S("nf4", "64", "float32", "[150]", ""), NB_FORMAT, "two sizes");
    refused_json(S("nf4", "64", "float32", "[3,0]", ""), NB_FORMAT, "positive");
    refused_json(S("nf4", "64", "float32", "[-3,-50]", ""), NB_FORMAT, "positive");
    refused_json(S("nf4", "64", "float32", "[3,\"50\"]", ""), NB_FORMAT, "positive");
    refused_json(S("nf4", "64", "float32", "[4294967296,4294967296]", ""), NB_FORMAT, "overflows");
    refused_json(S("nf4", "64", "float32", "[3,52]", ""), NB_FORMAT, "75 bytes");
    refused_json(S("nf4", "32", "float32", "[3,50]", ""), NB_FORMAT, "F32 [5]");
    refused_json(S("nf4", "64", "float32", "[3,50]", ",\"nested_offset\":1"), NB_FORMAT, "nested");
    refused_json(S("nf4", "64", "float32", "[3,50]",
                   ",\"nested_offset\":1e300,\"nested_blocksize\":256,"
                   "\"nested_dtype\":\"float32\""),
                 NB_FORMAT, "nested_offset");
    refused_json(S("nf4", "64", "float32", "[3,50]",
                   ",\"nested_offset\":1,\"nested_blocksize\":100,\"nested_dtype\":\"float32\""),
                 NB_FORMAT, "nested_blocksize");
    refused_json(S("nf4", "64", "float32", "[3,50]",
                   ",\"nested_offset\":1,\"nested_blocksize\":256,\"nested_dtype\":\"float16\""),
                 NB_FORMAT, "nested");
}

/* Random changes of the state: what is accepted lies inside the file's tensors. */
static void mutated_state(void **state)
{
    (void)state;
    nbi_rng r;
    size_t accepted = 0, before = nbt_in_use();
    nbi_rng_init(&r, 5, NBI_RNG_SAMPLE, 1);
    for (int round = 0; round < 600; round++) {
        nb_error err = {0};
        nb_qtensor w;
        nb_safetensors *st = NULL;
        nbi_arena keep;
        layer l = make(round % 2);
        char json[256];
        size_t n = (size_t)l.e[JSON].shape[0];
        memcpy(json, l.e[JSON].data, n);
        for (int i = 0; i < 1 + round % 3; i++)
            json[nbi_rng_below(&r, n)] = "0123456789,:{}[]\"ab.-e"[nbi_rng_below(&r, 22)];
        l.e[JSON].data = json;
        nbi_arena_init(&keep, NBI_MEM_SCALES);
        nb_status s = read_layer(&l, &w, &keep, &st, &err);
        if (s == NB_OK) {
            accepted++;
            assert_int_equal((w.n * w.k + 1) / 2, 75);
            assert_int_equal((w.n * w.k + w.block - 1) / w.block, 3);
            for (int i = 0; i < 3; i++)
                assert_true(isfinite(nb_qtensor_absmax(&w, i)));
        } else {
            assert_true(s == NB_FORMAT || s == NB_UNSUPPORTED);
        }
        nb_safetensors_close(&st);
        nbi_arena_free(&keep);
    }
    assert_true(accepted > 0);
    assert_int_equal(nbt_in_use(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid),         cmocka_unit_test(broken_tensors),
        cmocka_unit_test(broken_nested), cmocka_unit_test(broken_state),
        cmocka_unit_test(mutated_state),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
