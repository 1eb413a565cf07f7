/* SPDX-License-Identifier: MIT */
/* Reading bitsandbytes folders and layers exactly; quantising while loading against folders that
 * the library wrote. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "testutil.h"
#include "base/json.h"
#include "format/bnb4bit.h"
#include "model/model.h"

static const char *root;

static char *below(const char *dir, const char *name)
{
    char *a = nbt_join(root, dir), *b = nbt_join(a, name);
    nbi_free(a);
    return b;
}

static int64_t elements(const nb_st_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

/* Elements of the decoded weight that are not bit for bit the expected ones. */
static int64_t decode_differs(const nb_exec *x, const nb_qtensor *w, const nb_st_tensor *want)
{
    int64_t n = w->n * w->k, differ = 0;
    assert_int_equal(elements(want), n);
    float *got = malloc((size_t)n * 4), *ref = malloc((size_t)n * 4);
    nb_decode_args a = {.q = x->q, .w = w, .rows = w->n, .cols = w->k, .out = got, .ldo = w->k};
    x->k.decode(&a);
    nb_st_to_f32(want, 0, n, ref);
    for (int64_t i = 0; i < n; i++)
        differ += got[i] != ref[i];
    free(got);
    free(ref);
    return differ;
}

static bool ends_with(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && strcmp(s + n - k, suffix) == 0;
}

/* Name of the one 4-bit weight of a file. */
static void weight_name(const nb_safetensors *st, char out[256])
{
    out[0] = '\0';
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const char *name = nb_safetensors_at(st, i)->name, *at = strstr(name, ".quant_state.");
        if (at)
            snprintf(out, 256, "%.*s", (int)(at - name), name);
    }
}

/* The JSON that would be written for the layer is the one that was read. */
static bool same_state(const nb_safetensors *st, const char *weight, const nb_qtensor *w)
{
    char name[400];
    snprintf(name, sizeof name, "%s.quant_state.bitsandbytes__%s", weight, nb_qkind_name(w->kind));
    const nb_st_tensor *t = nb_safetensors_find(st, name);
    nbi_strbuf b = {0};
    nb_bnb4bit_state_json(w, &b);
    bool same = t && b.n == t->bytes && memcmp(b.s, t->data, b.n) == 0;
    nbi_strbuf_free(&b);
    return same;
}

/* Codes and plain scales made here against those of the file. */
static int64_t requantise_differs(const nb_exec *x, const nb_qtensor *w,
                                  const nb_st_tensor *original)
{
    int64_t n = w->n * w->k, blocks = (n + w->block - 1) / w->block, differ = 0;
    uint8_t *codes = malloc((size_t)n / 2 + 1);
    float *absmax = malloc((size_t)blocks * 4);
    nb_quantize4_args a = {.q = x->q,
                           .kind = w->kind,
                           .dtype = original->dtype,
                           .x = original->data,
                           .n = n,
                           .block = w->block,
                           .codes = codes,
                           .absmax = absmax};
    x->k.quantize4(&a);
    for (int64_t i = 0; i < (n + 1) / 2; i++)
        differ += codes[i] != ((const uint8_t *)w->data)[i];
    for (int64_t i = 0; w->absmax && i < blocks; i++)
        differ += absmax[i] != w->absmax[i];
    free(codes);
    free(absmax);
    return differ;
}

static int64_t one_layer(const nb_exec *x, const char *file)
{
    nb_error err = {0};
    nb_safetensors *st = NULL, *expected = NULL;
    nbi_arena keep;
    nb_qtensor w;
    char weight[256], *path = below("bnb", file), name[300];
    nbi_arena_init(&keep, NBI_MEM_SCALES);
    NBT_OK(nb_safetensors_open(&st, path, &err));
    snprintf(name, sizeof name, "%.*s.expected.safetensors", (int)strlen(file) - 12, file);
    nbi_free(path);
    path = below("bnb", name);
    NBT_OK(nb_safetensors_open(&expected, path, &err));
    nbi_free(path);
    weight_name(st, weight);
    assert_true(nb_bnb4bit_present(st, weight));
    NBT_OK(nb_bnb4bit_read(st, weight, &keep, &w, &err));
    int64_t differ = decode_differs(x, &w, nb_safetensors_find(expected, "dequantised_weight_f32"));
    bool state = same_state(st, weight, &w);
    int64_t again = requantise_differs(x, &w, nb_safetensors_find(expected, "original_weight"));
    printf("%-58s %lldx%lld  decoded differently %lld  quantised differently %lld  state %s\n",
           file, (long long)w.n, (long long)w.k, (long long)differ, (long long)again,
           state ? "same" : "DIFFERENT");
    nb_safetensors_close(&st);
    nb_safetensors_close(&expected);
    nbi_arena_free(&keep);
    return differ + again + !state;
}

static void layers(void **state)
{
    (void)state;
    nb_error err = {0};
    nb_exec x = {.compute = NB_COMPUTE_F32};
    char **names, *dir = nbt_join(root, "bnb");
    size_t n;
    int64_t bad = 0, cases = 0;
    nb_kernels_init(&x.k, nb_cpu_flags());
    NBT_OK(nb_queue_open(&x.q, 2, &err));
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        if (strncmp(names[i], "linear4bit_", 11) == 0 && ends_with(names[i], ".safetensors") &&
            !ends_with(names[i], ".expected.safetensors")) {
            bad += one_layer(&x, names[i]) != 0;
            cases++;
        }
    nbi_list_dir_free(names, n);
    nbi_free(dir);
    nb_queue_close(&x.q);
    assert_true(cases > 0);
    assert_int_equal(bad, 0);
}

static nb_model *open_model(const char *dir, const nb_quant_config *quant)
{
    nb_error err = {0};
    nb_model *m = NULL;
    nb_model_load how = {.threads = 2, .cpu_flags = nb_cpu_flags(), .compute = NB_COMPUTE_F32};
    if (quant)
        how.quant = *quant;
    NBT_OK(nb_model_open(&m, dir, &how, NULL, &err));
    return m;
}

/* The tensors of `file` named "<module>.weight<suffix>" against the model's decoded ones. */
static int64_t check_decoded(nb_model *m, const char *path, const char *suffix, int *compared)
{
    nb_error err = {0};
    nb_safetensors *st = NULL;
    int64_t differ = 0;
    *compared = 0;
    NBT_OK(nb_safetensors_open(&st, path, &err));
    for (size_t i = 0; i < nb_safetensors_count(st); i++) {
        const nb_st_tensor *t = nb_safetensors_at(st, i);
        char tail[64], module[256];
        snprintf(tail, sizeof tail, ".weight%s", suffix);
        if (!ends_with(t->name, tail))
            continue;
        snprintf(module, sizeof module, "%.*s", (int)(strlen(t->name) - strlen(tail)), t->name);
        nb_site *s = nb_model_site(m, module);
        assert_non_null(s);
        assert_int_not_equal(s->linear->w.kind, NB_QK_DENSE);
        differ += decode_differs(&m->exec, &s->linear->w, t);
        ++*compared;
    }
    nb_safetensors_close(&st);
    return differ;
}

typedef struct difference {
    int64_t codes, scales, nested, nested_far, nested_of;
    double offset;
} difference;

static int64_t blocks_of(const nb_qtensor *w)
{
    return (w->n * w->k + w->block - 1) / w->block;
}

static void compare_weights(const nb_qtensor *a, const nb_qtensor *b, difference *d)
{
    int64_t n = a->n * a->k, blocks = blocks_of(a);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->block, b->block);
    assert_true(a->n == b->n && a->k == b->k && !a->absmax == !b->absmax);
    assert_memory_equal(a->book, b->book, sizeof a->book);
    for (int64_t i = 0; i < (n + 1) / 2; i++)
        d->codes += ((const uint8_t *)a->data)[i] != ((const uint8_t *)b->data)[i];
    for (int64_t i = 0; a->absmax && i < blocks; i++)
        d->scales += a->absmax[i] != b->absmax[i];
    if (a->absmax)
        return;
    assert_memory_equal(a->nested_book, b->nested_book, 256 * sizeof(float));
    double off = fabs((double)a->nested_offset - (double)b->nested_offset);
    d->offset = fmax(d->offset, off / fabs((double)b->nested_offset));
    d->nested_of += blocks;
    for (int64_t i = 0; i < blocks; i++) {
        int step = abs(a->absmax_codes[i] - b->absmax_codes[i]);
        d->nested += step != 0;
        d->nested_far += step > 1;
    }
    /* nested_absmax moves by as much as the offset: at most 3 units in its last place or so */
    for (int64_t g = 0; g < (blocks + a->nested_block - 1) / a->nested_block; g++)
        d->scales += fabs((double)a->nested_absmax[g] - (double)b->nested_absmax[g]) >
                     4e-7 * (fabs((double)b->nested_absmax[g]) + fabs((double)b->nested_offset));
}

/* Quantises `base` as `folder` says and compares all linear layers. */
static bool quantise_like(const char *label, const char *base, nb_model *folder)
{
    nb_quant_config q = folder->quant;
    nb_model *m = open_model(base, &q);
    difference d = {0};
    assert_int_equal(m->n_sites, folder->n_sites);
    for (size_t i = 0; i < m->n_sites; i++) {
        assert_string_equal(m->sites[i].name, folder->sites[i].name);
        if (folder->sites[i].linear->w.kind == NB_QK_DENSE)
            assert_int_equal(m->sites[i].linear->w.kind, NB_QK_DENSE);
        else
            compare_weights(&m->sites[i].linear->w, &folder->sites[i].linear->w, &d);
    }
    bool ok = d.codes == 0 && d.scales == 0 && d.nested_far == 0 && d.nested * 200 <= d.nested_of &&
              d.offset <= 1e-6;
    printf("%-40s quantised on load: codes differ %lld, scales %lld, scale codes %lld of %lld (by "
           "more "
           "than a step %lld), offset %.1e %s\n",
           label, (long long)d.codes, (long long)d.scales, (long long)d.nested,
           (long long)d.nested_of, (long long)d.nested_far, d.offset, ok ? "" : "TOO MUCH");
    nb_model_close(&m);
    return ok;
}

static bool one_qlora(const char *name)
{
    nb_error err = {0};
    nbi_arena arena;
    nbi_json *doc = NULL;
    const char *base = NULL;
    char sub[300];
    snprintf(sub, sizeof sub, "qlora/%s", name);
    char *folder = below(sub, "quantized_base"), *expected = below(sub, "dequantized.safetensors");
    char *json = below(sub, "expected.json");
    bool ok = true;
    if (nbi_path_exists(folder) && nbi_path_exists(expected)) {
        int compared;
        nb_model *m = open_model(folder, NULL);
        int64_t differ = check_decoded(m, expected, "", &compared);
        printf("%-40s %d tensors, decoded differently %lld\n", sub, compared, (long long)differ);
        nbi_arena_init(&arena, NBI_MEM_OTHER);
        NBT_OK(nbi_json_parse_file(&arena, json, (size_t)1 << 24, &doc, &err));
        NBT_OK(nbi_json_get_str(doc, json, "base", &base, &err));
        char *dense = nbt_join(root, base);
        ok = differ == 0 && compared > 0 && quantise_like(sub, dense, m);
        nbi_free(dense);
        nbi_arena_free(&arena);
        nb_model_close(&m);
    }
    nbi_free(folder);
    nbi_free(expected);
    nbi_free(json);
    return ok;
}

static void qlora(void **state)
{
    (void)state;
    nb_error err = {0};
    size_t n, bad = 0, before = nbt_in_use();
    char **names, *dir = nbt_join(root, "qlora");
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        bad += !one_qlora(names[i]);
    nbi_list_dir_free(names, n);
    nbi_free(dir);
    assert_int_equal(bad, 0);
    assert_int_equal(nbt_in_use(), before);
}

static bool one_story(const char *name)
{
    char sub[300];
    snprintf(sub, sizeof sub, "stories260k/quantised/%s", name);
    char *folder = nbt_join(root, sub), *expected = below(sub, "expected.safetensors");
    char *dense = nbt_join(root, "stories260k/model");
    nb_error err = {0};
    nb_model *m = NULL;
    nb_model_load how = {.threads = 2, .cpu_flags = nb_cpu_flags()};
    nb_status s = nb_model_open(&m, folder, &how, NULL, &err);
    bool ok = s == NB_OK;
    if (s == NB_UNSUPPORTED) {
        printf("%-40s refused: %s\n", sub, err.message);
        ok = strstr(err.message, "int8") != NULL;
    } else if (!ok) {
        printf("%-40s %s\n", sub, err.message);
    } else {
        int compared;
        int64_t differ = check_decoded(m, expected, ".dequant_f32", &compared);
        printf("%-40s %d tensors, decoded differently %lld\n", sub, compared, (long long)differ);
        ok = differ == 0 && compared > 0;
        /* only a folder made from the same f32 weights has the same codes */
        if (m->config.dtype == NB_DT_F32)
            ok = quantise_like(sub, dense, m) && ok;
        nb_model_close(&m);
    }
    nbi_free(folder);
    nbi_free(expected);
    nbi_free(dense);
    return ok;
}

static void stories(void **state)
{
    (void)state;
    nb_error err = {0};
    char **names, *dir = nbt_join(root, "stories260k/quantised");
    size_t n, bad = 0;
    NBT_OK(nbi_list_dir(dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        bad += !one_story(names[i]);
    nbi_list_dir_free(names, n);
    nbi_free(dir);
    assert_int_equal(bad, 0);
}

int main(void)
{
    root = nbt_oracle_or_skip();
    if (!root)
        return NBT_SKIP;
    const struct CMUnitTest tests[] = {cmocka_unit_test(layers), cmocka_unit_test(qlora),
                                       cmocka_unit_test(stories)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
