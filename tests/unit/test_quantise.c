/* SPDX-License-Identifier: MIT */
/* 4-bit folders and the quantised cache: the same weights as quantising in memory, and what happens
 * to damaged, touched and useless caches. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include "testutil.h"
#include "base/io.h"
#include "model/model.h"
#include "tensor/half.h"

static const char config[] =
    "{\"model_type\":\"qwen2\",\"hidden_size\":24,\"num_hidden_layers\":2,\"num_attention_heads\":"
    "4,\"num_key_value_heads\":2,\"intermediate_size\":33,\"vocab_size\":50,\"eos_token_id\":2,"
    "\"initializer_range\":0.05,\"torch_dtype\":\"float32\"}";

static char *dir, *source, *cache;
static int notes, warnings;
static char last_warning[1000];

static void count(void *user, nb_log_level level, const char *line)
{
    (void)user;
    notes += level == NB_LOG_INFO;
    warnings += level == NB_LOG_WARN;
    if (level == NB_LOG_WARN)
        snprintf(last_warning, sizeof last_warning, "%s", line);
}

static const nb_log counting = {count, NULL};

static void make_source(nb_dtype dtype, uint64_t seed)
{
    nb_error err = {0};
    char *path = nbt_join(dir, "config.json");
    nbt_write_text(path, config);
    NBT_OK(nbi_remove_tree(source, &err));
    NBT_OK(nb_model_init(path, source, seed, dtype, &err));
    nbi_free(path);
}

static int setup(void **state)
{
    (void)state;
    dir = nbt_tmpdir();
    source = nbt_join(dir, "source");
    cache = nbt_join(dir, "cache");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nbi_free(source);
    nbi_free(cache);
    nbt_tmpdir_remove(dir);
    return 0;
}

static nb_model_load how(nb_qkind kind, bool dq, const char *kept)
{
    return (nb_model_load){
        .threads = 2,
        .quant = {.load_in_4bit = true, .kind = kind, .double_quant = dq, .nested_block = 32},
        .quantized_cache = kept};
}

static nb_model *open_ok(const char *where, const nb_model_load *h)
{
    nb_error err = {0};
    nb_model *m = NULL;
    notes = warnings = 0;
    NBT_OK(nb_model_open(&m, where, h, &counting, &err));
    return m;
}

static void same_tensor(const nb_qtensor *a, const nb_qtensor *b)
{
    const int64_t elements = a->n * a->k;
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->k, b->k);
    assert_int_equal(a->block, b->block);
    assert_memory_equal(a->book, b->book, sizeof a->book);
    assert_memory_equal(a->data, b->data, (size_t)(elements + 1) / 2);
    for (int64_t i = 0; i * a->block < elements; i++)
        assert_true(nb_qtensor_absmax(a, i) == nb_qtensor_absmax(b, i));
}

/* Every weight of two models is the same, bit for bit. */
static void same_model(const nb_model *a, const nb_model *b)
{
    assert_int_equal(a->n_sites, b->n_sites);
    for (size_t i = 0; i + 1 < a->n_sites; i++)
        same_tensor(&a->sites[i].linear->w, &b->sites[i].linear->w);
    const nb_qtensor *x = &a->head.w, *y = &b->head.w;
    assert_int_equal(x->dtype, y->dtype);
    assert_memory_equal(x->data, y->data, (size_t)(x->n * x->k) * nb_dtype_size(x->dtype));
    assert_memory_equal(a->embed, b->embed,
                        (size_t)(a->config.vocab * a->config.hidden) *
                            nb_dtype_size(a->embed_dtype));
    for (int64_t l = 0; l < a->config.layers; l++) {
        const size_t d = (size_t)a->config.hidden * sizeof(float);
        assert_memory_equal(a->blocks[l].attn_norm, b->blocks[l].attn_norm, d);
        assert_memory_equal(a->blocks[l].q.bias, b->blocks[l].q.bias, d);
    }
}

static const struct {
    nb_qkind kind;
    bool dq;
    nb_dtype dtype;
} variants[] = {{NB_QK_NF4, true, NB_DT_BF16},
                {NB_QK_NF4, false, NB_DT_F16},
                {NB_QK_FP4, true, NB_DT_F32},
                {NB_QK_FP4, false, NB_DT_BF16}};
enum { VARIANTS = sizeof variants / sizeof *variants };

static void folders(void **state)
{
    (void)state;
    nb_error err = {0};
    char *into = nbt_join(dir, "four");
    for (int i = 0; i < VARIANTS; i++) {
        make_source(variants[i].dtype, 3);
        nb_model_load h = how(variants[i].kind, variants[i].dq, NULL);
        NBT_OK(nbi_make_dirs(into, &err));
        NBT_OK(nb_model_quantise(source, into, &h, NULL, &err));
        nb_model_load plain = {.threads = 1};
        nb_model *a = open_ok(source, &h), *b = open_ok(into, &plain);
        assert_true(b->config.has_quant && b->quant.double_quant == variants[i].dq);
        same_model(a, b);
        nb_model_close(&a);
        nb_model_close(&b);
        NBT_FAILS(NB_CONFIG, "quantised already", nb_model_quantise(into, into, &h, NULL, &err));
        NBT_OK(nbi_remove_tree(into, &err));
    }
    nbi_free(into);
}

/* Opens with the cache and compares with quantising in memory. */
static void check_cached(nb_qkind kind, bool dq, int want_notes, int want_warnings)
{
    nb_model_load plain = how(kind, dq, NULL), kept = how(kind, dq, cache);
    nb_model *a = open_ok(source, &plain), *b = open_ok(source, &kept);
    assert_int_equal(notes, want_notes);
    assert_int_equal(warnings, want_warnings);
    same_model(a, b);
    nb_model_close(&a);
    nb_model_close(&b);
}

static void cached(void **state)
{
    (void)state;
    nb_error err = {0};
    for (int i = 0; i < VARIANTS; i++) {
        make_source(variants[i].dtype, 4);
        check_cached(variants[i].kind, variants[i].dq, 1, 0); /* "keeping" */
        check_cached(variants[i].kind, variants[i].dq, 0, 0);
    }
    make_source(variants[0].dtype, 5); /* other weights in the same place */
    check_cached(NB_QK_NF4, true, 1, 0);
    NBT_OK(nbi_remove_tree(cache, &err));
}

/* The one entry of the cache. */
static char *entry_file(const char *name)
{
    nb_error err = {0};
    char **names, *path = NULL;
    size_t n;
    NBT_OK(nbi_list_dir(cache, &names, &n, &err));
    for (size_t i = 0; i < n; i++) {
        if (strstr(names[i], "-nf4-")) {
            char *folder = nbt_join(cache, names[i]);
            assert_null(path);
            path = nbt_join(folder, name);
            nbi_free(folder);
        }
    }
    nbi_list_dir_free(names, n);
    assert_non_null(path);
    return path;
}

static uint64_t inode(const char *path)
{
    struct stat st;
    assert_int_equal(nbi_io_stat(path, &st), 0);
    return (uint64_t)st.st_ino;
}

static void change_time(const char *path)
{
    const struct timespec t[2] = {{1000, 0}, {1000, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
}

static void damaged(void **state)
{
    (void)state;
    nb_error err = {0};
    make_source(NB_DT_BF16, 6);
    NBT_OK(nbi_remove_tree(cache, &err));
    check_cached(NB_QK_NF4, true, 1, 0);
    char *weights = entry_file("model.safetensors"), *note = entry_file("cache.json");

    /* touched, but the same: read through, used */
    uint64_t before = inode(weights);
    change_time(weights);
    check_cached(NB_QK_NF4, true, 0, 0);
    assert_true(inode(weights) == before);

    /* one bit */
    size_t n;
    char *data = nbt_read(weights, &n);
    data[n - 9] ^= 4;
    nbt_write(weights, data, n);
    check_cached(NB_QK_NF4, true, 0, 1);
    assert_non_null(strstr(last_warning, "differs from what was written"));
    check_cached(NB_QK_NF4, true, 0, 0);

    /* cut short */
    nbt_write(weights, data, n / 2);
    check_cached(NB_QK_NF4, true, 0, 1);
    nbi_free(data);

    /* notes that are none, or those of another model */
    nbt_write_text(note, "{");
    check_cached(NB_QK_NF4, true, 0, 1);
    char *text = nbt_read(note, &n);
    const size_t digit = strlen("{\"source\": \"") + 40;
    text[digit] = text[digit] == 'a' ? 'b' : 'a';
    nbt_write(note, text, n);
    check_cached(NB_QK_NF4, true, 0, 1);
    assert_non_null(strstr(last_warning, "another model"));
    check_cached(NB_QK_NF4, true, 0, 0);
    nbi_free(text);
    nbi_free(weights);
    nbi_free(note);
    NBT_OK(nbi_remove_tree(cache, &err));
}

static void useless(void **state)
{
    (void)state;
    nb_error err = {0};
    make_source(NB_DT_BF16, 7);
    nbt_write_text(cache, "a file in its place");
    check_cached(NB_QK_NF4, true, 1, 1);
    assert_non_null(strstr(last_warning, "not used"));
    assert_int_equal(nbi_io_unlink(cache), 0);

    /* what is wrong with the source is an error, and leaves nothing */
    char *path = nbt_join(source, "model.safetensors");
    size_t n;
    char *data = nbt_read(path, &n);
    for (size_t i = n - 4000; i < n - 3900; i++)
        data[i] = (char)0xff;
    nbt_write(path, data, n);
    nb_model *m = NULL;
    nb_model_load kept = how(NB_QK_NF4, true, cache);
    NBT_FAILS(NB_NUMERIC, "NaN or infinity", nb_model_open(&m, source, &kept, NULL, &err));
    char **names;
    NBT_OK(nbi_list_dir(cache, &names, &n, &err));
    assert_int_equal(n, 1); /* the source's hash */
    assert_non_null(strstr(names[0], ".source"));
    nbi_list_dir_free(names, n);
    nbi_free(data);
    nbi_free(path);
    NBT_OK(nbi_remove_tree(cache, &err));
}

/* Each file operation fails once: the model opens all the same or an error comes back, nothing
 * leaks, and the next start is whole. */
static void faults(void **state)
{
    (void)state;
    nb_error err = {0};
    make_source(NB_DT_BF16, 8);
    nb_model_load kept = how(NB_QK_NF4, true, cache);
    for (uint64_t k = 1;; k++) {
        size_t before = nbt_in_use();
        nb_model *m = NULL;
        NBT_OK(nbi_remove_tree(cache, &err));
        nbi_io_fail_at(k, NBI_IO_FAULT_ERRNO, 28, false); /* ENOSPC */
        nb_status s = nb_model_open(&m, source, &kept, NULL, &err);
        bool reached = nbi_io_count() >= k;
        nbi_io_fail_at(0, NBI_IO_FAULT_ERRNO, 0, false);
        assert_true((s == NB_OK) == (m != NULL));
        nb_model_close(&m);
        assert_int_equal(nbt_in_use(), before);
        if (!reached)
            break;
        nb_model *a = open_ok(source, &kept);
        assert_int_equal(warnings, 0);
        nb_model_close(&a);
    }
}

static void no_memory(void **state)
{
    (void)state;
    nb_error err = {0};
    make_source(NB_DT_BF16, 9);
    nb_model_load kept = how(NB_QK_NF4, true, cache);
    for (uint64_t k = 1; k < 4000; k++) {
        size_t before = nbt_in_use();
        nb_model *m = NULL;
        if (k % 7 == 0)
            NBT_OK(nbi_remove_tree(cache, &err));
        nbi_alloc_fail_at(k, false);
        nb_status s = nb_model_open(&m, source, &kept, NULL, &err);
        bool reached = nbi_alloc_count() >= k;
        nbi_alloc_fail_at(0, false);
        assert_true(s == NB_OK || s == NB_NOMEM);
        nb_model_close(&m);
        assert_int_equal(nbt_in_use(), before);
        if (!reached)
            return;
    }
    fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(folders), cmocka_unit_test(cached),
                                       cmocka_unit_test(damaged), cmocka_unit_test(useless),
                                       cmocka_unit_test(faults),  cmocka_unit_test(no_memory)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
