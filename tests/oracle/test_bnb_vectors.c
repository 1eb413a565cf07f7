/* SPDX-License-Identifier: MIT */
/* Quantised vectors of bitsandbytes: codes, scales and restored values bit for bit. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "kernel/kernel_util.h"

typedef struct vectors {
    nb_safetensors *st;
    nbi_arena arena;
    nbi_json *cases;
} vectors;

static vectors load(const char *stem)
{
    nb_error err;
    vectors v = {0};
    char name[200], *path;
    snprintf(name, sizeof(name), "bnb/%s.safetensors", stem);
    path = nbt_join(nbt_oracle(), name);
    NBT_OK(nb_safetensors_open(&v.st, path, &err));
    nbi_free(path);
    snprintf(name, sizeof(name), "bnb/%s.json", stem);
    path = nbt_join(nbt_oracle(), name);
    nbi_arena_init(&v.arena, NBI_MEM_OTHER);
    NBT_OK(nbi_json_parse_file(&v.arena, path, (size_t)1 << 24, &v.cases, &err));
    nbi_free(path);
    return v;
}

static void unload(vectors *v)
{
    nb_safetensors_close(&v->st);
    nbi_arena_free(&v->arena);
}

static const nb_st_tensor *find(const vectors *v, const char *name, const char *part)
{
    char full[300];
    snprintf(full, sizeof(full), "%s%s", name, part);
    const nb_st_tensor *t = nb_safetensors_find(v->st, full);
    if (!t)
        print_error("no tensor %s\n", full);
    assert_non_null(t);
    return t;
}

static const char *text(const nbi_json *c, const char *key)
{
    const char *s = NULL;
    size_t len;
    assert_true(nbi_json_to_str(nbi_json_get(c, key), &s, &len));
    return s;
}

static int64_t number(const nbi_json *c, const char *key)
{
    int64_t n = 0;
    assert_true(nbi_json_to_i64(nbi_json_get(c, key), &n));
    return n;
}

/* A copy aligned for any dtype. */
static void *aligned_copy(const nb_st_tensor *t)
{
    void *p = nbi_alloc(NBI_MEM_OTHER, t->bytes + 1);
    memcpy(p, t->data, t->bytes);
    return p;
}

static size_t elements(const nb_st_tensor *t)
{
    return t->bytes / nb_dtype_size(t->dtype);
}

/* Number of places where decoded values, cast to the dtype of `want`, have other bits. */
static size_t differences(const float *got, const nb_st_tensor *want)
{
    size_t n = 0;
    for (size_t i = 0; i < elements(want); i++) {
        const char *at = (const char *)want->data + i * nb_dtype_size(want->dtype);
        if (want->dtype == NB_DT_F32) {
            n += memcmp(at, &got[i], 4) != 0;
        } else {
            uint16_t h = want->dtype == NB_DT_BF16 ? nb_f32_to_bf16(got[i]) : nb_f32_to_f16(got[i]);
            n += memcmp(at, &h, 2) != 0;
        }
    }
    return n;
}

static void set_book(nb_qtensor *t, bool nf4)
{
    t->kind = nf4 ? NB_QK_NF4 : NB_QK_FP4;
    memcpy(t->book, nf4 ? nb_book_nf4 : nb_book_fp4, sizeof(t->book));
}

static void test_tables(void **state)
{
    (void)state;
    nb_error err;
    nb_safetensors *st;
    char *path = nbt_join(nbt_oracle(), "bnb/q4_tables.safetensors");
    NBT_OK(nb_safetensors_open(&st, path, &err));
    nbi_free(path);
    assert_memory_equal(nb_safetensors_find(st, "nf4.code")->data, nb_book_nf4, 64);
    assert_memory_equal(nb_safetensors_find(st, "fp4.code")->data, nb_book_fp4, 64);
    assert_memory_equal(nb_safetensors_find(st, "nf4.sorted_thresholds")->data, nb_thresholds_nf4,
                        60);
    assert_memory_equal(nb_safetensors_find(st, "fp4.sorted_thresholds")->data, nb_thresholds_fp4,
                        60);
    for (int i = 0; i < 16; i++) {
        assert_true(nb_st_value(nb_safetensors_find(st, "nf4.sorted_order"), i) ==
                    (double)nb_sorted_code_nf4[i]);
        assert_true(nb_st_value(nb_safetensors_find(st, "fp4.sorted_order"), i) ==
                    (double)nb_sorted_code_fp4[i]);
    }
    nb_safetensors_close(&st);
}

static void q4_case(const vectors *v, const nbi_json *c, const nbt_level *l)
{
    const char *name = text(c, "case");
    const nb_st_tensor *in = find(v, text(c, "input"), ""), *packed = find(v, name, ".packed");
    const nb_st_tensor *absmax = find(v, name, ".absmax"), *dequant = find(v, name, ".dequant");
    const int64_t n = (int64_t)elements(in), block = number(c, "blocksize");
    nb_qtensor t = {.n = 1, .k = n, .block = block};
    set_book(&t, nbi_json_equals(nbi_json_get(c, "quant_type"), "nf4"));
    void *x = aligned_copy(in);
    uint8_t *codes = nbi_calloc(NBI_MEM_OTHER, 1, packed->bytes + 1);
    float *scale = nbi_calloc(NBI_MEM_OTHER, 1, absmax->bytes + 1);
    float *out = nbt_floats((size_t)n);
    nb_quantize4_args a = {l->q, t.kind, in->dtype, x, n, block, codes, scale};
    l->k.quantize4(&a);
    size_t bad_codes = 0, bad_scales = 0;
    for (size_t i = 0; i < packed->bytes; i++)
        bad_codes += codes[i] != ((const uint8_t *)packed->data)[i];
    bad_scales = differences(scale, absmax);
    t.data = packed->data;
    t.absmax = scale;
    nb_decode_args d = {l->q, &t, 0, 1, 0, n, out, n};
    l->k.decode(&d);
    size_t bad_values = differences(out, dequant);
    if (bad_codes + bad_scales + bad_values > 0 || l->i == 0)
        print_message("%s %s: %zu bytes of codes, %zu scales, %zu values differ\n", name,
                      l->k.decode_variant, bad_codes, bad_scales, bad_values);
    assert_true(bad_codes == 0 && bad_scales == 0 && bad_values == 0);
    nbi_free(x);
    nbi_free(codes);
    nbi_free(scale);
    nbi_free(out);
}

static void test_q4(void **state)
{
    (void)state;
    vectors v = load("q4_vectors");
    assert_true(v.cases->n > 0);
    NBT_FOR_LEVELS(l, 2)
    {
        for (const nbi_json *c = v.cases->first; c; c = c->next)
            q4_case(&v, c, &l);
    }
    unload(&v);
}

static void test_q8(void **state)
{
    (void)state;
    vectors v = load("q8_vectors");
    float map[256];
    nb_dynamic_map_signed(map);
    assert_memory_equal(find(&v, "map.signed_dynamic", "")->data, map, sizeof(map));
    NBT_FOR_LEVELS(l, 2)
    {
        for (const nbi_json *c = v.cases->first; c; c = c->next) {
            const char *name = text(c, "case");
            const nb_st_tensor *in = find(&v, name, ".input"),
                               *want = find(&v, name, ".codes_exact");
            const nb_st_tensor *absmax = find(&v, name, ".absmax");
            const bool is_signed = nbi_json_equals(nbi_json_get(c, "map"), "signed");
            const int64_t n = (int64_t)elements(in), block = number(c, "blocksize");
            const float *book = is_signed ? map : find(&v, "map.unsigned_dynamic", "")->data;
            float *x = nbt_floats((size_t)n), *scale = nbi_calloc(NBI_MEM_OTHER, 1, absmax->bytes);
            uint8_t *codes = nbi_calloc(NBI_MEM_OTHER, 1, (size_t)n);
            nb_st_to_f32(in, 0, n, x);
            nb_quantize8_args a = {l.q, x, n, block, book, 0.0f, codes, scale};
            l.k.quantize8(&a);
            size_t bad = 0;
            for (int64_t i = 0; i < n; i++)
                bad += codes[i] != ((const uint8_t *)want->data)[i];
            const size_t bad_scales = differences(scale, absmax);
            if (bad + bad_scales > 0 || l.i == 0)
                print_message("%s: %zu codes, %zu scales differ\n", name, bad, bad_scales);
            assert_true(bad == 0 && bad_scales == 0);
            nbi_free(x);
            nbi_free(scale);
            nbi_free(codes);
        }
    }
    unload(&v);
}

static float f32_at(const nb_st_tensor *t, size_t i)
{
    return (float)nb_st_value(t, (int64_t)i);
}

static void dq_case(const vectors *v, const nbi_json *c, const nbt_level *l)
{
    const char *name = text(c, "case");
    const nb_st_tensor *in = find(v, name, ".input"), *packed = find(v, name, ".packed");
    const nb_st_tensor *plain = find(v, name, ".absmax_f32");
    const nb_st_tensor *stored = find(v, name, ".absmax_codes");
    const nb_st_tensor *exact = find(v, name, ".absmax_codes_exact");
    const nb_st_tensor *nested = find(v, name, ".nested_absmax");
    const nb_st_tensor *restored = find(v, name, ".absmax_restored");
    const nb_st_tensor *rows = find(v, name, ".dequant_first_64_rows");
    const size_t n = elements(in), blocks = elements(plain);
    const int64_t block = number(c, "blocksize"), outer = number(c, "nested_blocksize");
    nb_qtensor t = {.n = in->shape[0], .k = in->shape[1], .block = block, .nested_block = outer};
    set_book(&t, nbi_json_equals(nbi_json_get(c, "quant_type"), "nf4"));
    void *x = aligned_copy(in);
    uint8_t *codes = nbi_calloc(NBI_MEM_OTHER, 1, n),
            *scales = nbi_calloc(NBI_MEM_OTHER, 1, blocks);
    float *absmax = nbt_floats(blocks), *top = nbt_floats(elements(nested)), *out = nbt_floats(n);
    float map[256];

    /* writing */
    nb_quantize4_args a = {l->q, t.kind, in->dtype, x, (int64_t)n, block, codes, absmax};
    l->k.quantize4(&a);
    assert_memory_equal(codes, packed->data, packed->bytes);
    assert_true(differences(absmax, plain) == 0);
    nb_dynamic_map_signed(map);
    assert_memory_equal(find(v, "nested_quant_map", "")->data, map, sizeof(map));
    const float offset = f32_at(find(v, name, ".nested_offset"), 0);
    nb_quantize8_args b = {l->q, absmax, (int64_t)blocks, outer, map, offset, scales, top};
    l->k.quantize8(&b);
    assert_memory_equal(scales, exact->data, blocks);
    assert_true(differences(top, nested) == 0);
    /* the offset itself: an f32 mean of unknown order */
    const float mean = nb_quant_mean(absmax, (int64_t)blocks);
    const double ulps = fabs((double)mean - (double)offset) / (fabs((double)offset) * 0x1p-23);

    /* reading */
    t.data = packed->data;
    t.absmax_codes = stored->data;
    t.nested_absmax = top;
    t.nested_book = map;
    t.nested_offset = offset;
    size_t bad = 0;
    for (size_t i = 0; i < blocks; i++)
        bad += nb_qtensor_absmax(&t, (int64_t)i) != f32_at(restored, i);
    const int64_t shown = rows->shape[0];
    nb_decode_args d = {l->q, &t, 0, shown, 0, t.k, out, t.k};
    l->k.decode(&d);
    const size_t bad_values = differences(out, rows);
    if (bad + bad_values > 0 || l->i == 0)
        print_message("%s %s: %zu scales, %zu values differ; offset off by %.1f ulp\n", name,
                      l->k.decode_variant, bad, bad_values, ulps);
    assert_true(bad == 0 && bad_values == 0);
    nbt_within("offset in ulp", ulps, 4.0);
    nbi_free(x);
    nbi_free(codes);
    nbi_free(scales);
    nbi_free(absmax);
    nbi_free(top);
    nbi_free(out);
}

static void test_dq(void **state)
{
    (void)state;
    vectors v = load("dq_vectors");
    assert_true(v.cases->n > 0);
    NBT_FOR_LEVELS(l, 2)
    {
        for (const nbi_json *c = v.cases->first; c; c = c->next)
            dq_case(&v, c, &l);
    }
    unload(&v);
}

int main(void)
{
    if (!nbt_oracle_or_skip())
        return NBT_SKIP;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables), cmocka_unit_test(test_q4),
                                       cmocka_unit_test(test_q8), cmocka_unit_test(test_dq)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
