/* SPDX-License-Identifier: MIT */
/* Weights of every kind for kernel tests. Include after kernel_util.h. */
#ifndef NBT_WEIGHT_UTIL_H
#define NBT_WEIGHT_UTIL_H

typedef enum kind {
    K_F32,
    K_BF16,
    K_F16,
    K_NF4,
    K_FP4,
    K_NF4_DQ,
    K_FP4_64,
    K_NF4_256_DQ,
    K_COUNT
} kind;

static bool is_fp4(kind kd)
{
    return kd == K_FP4 || kd == K_FP4_64;
}

static bool is_nested(kind kd)
{
    return kd == K_NF4_DQ || kd == K_NF4_256_DQ;
}

static int64_t block_of(kind kd)
{
    return kd == K_FP4 ? 32 : kd == K_NF4_256_DQ ? 256 : 64;
}

/* A weight of some kind with the memory behind it and its values in plain f32. */
typedef struct weight {
    nb_qtensor t;
    void *data;
    float *absmax, *nested_absmax, *map, *plain;
    uint8_t *absmax_codes;
} weight;

static float code_value(const nb_qtensor *t, int64_t f)
{
    const uint8_t byte = ((const uint8_t *)t->data)[f / 2];
    return t->book[f % 2 ? byte & 15 : byte >> 4];
}

static void make_dense(weight *w, kind kd, const float *x, size_t n)
{
    static const nb_dtype dtypes[] = {NB_DT_F32, NB_DT_BF16, NB_DT_F16};
    w->t.kind = NB_QK_DENSE;
    w->t.dtype = dtypes[kd];
    w->data = nbi_alloc(NBI_MEM_OTHER, n * 4);
    for (size_t i = 0; i < n; i++) {
        if (kd == K_F32)
            ((float *)w->data)[i] = w->plain[i] = x[i];
        else {
            uint16_t h = kd == K_BF16 ? nb_f32_to_bf16(x[i]) : nb_f32_to_f16(x[i]);
            ((uint16_t *)w->data)[i] = h;
            w->plain[i] = kd == K_BF16 ? nb_bf16_to_f32(h) : nb_f16_to_f32(h);
        }
    }
    w->t.data = w->data;
}

static void make_4bit(weight *w, kind kd, const float *x, int64_t n, int64_t block, nb_queue *q,
                      const nb_kernels *k)
{
    const int64_t blocks = (n + block - 1) / block;
    w->t.kind = is_fp4(kd) ? NB_QK_FP4 : NB_QK_NF4;
    w->t.dtype = NB_DT_F32;
    w->t.block = block;
    memcpy(w->t.book, is_fp4(kd) ? nb_book_fp4 : nb_book_nf4, sizeof(w->t.book));
    w->t.data = w->data = nbi_calloc(NBI_MEM_OTHER, 1, (size_t)(n + 1) / 2);
    w->t.absmax = w->absmax = nbt_floats((size_t)blocks);
    nb_quantize4_args a = {q, w->t.kind, NB_DT_F32, x, n, block, w->data, w->absmax};
    k->quantize4(&a);
    if (is_nested(kd)) {
        w->map = nbt_floats(256);
        nb_dynamic_map_signed(w->map);
        w->absmax_codes = nbi_calloc(NBI_MEM_OTHER, 1, (size_t)blocks);
        w->nested_absmax = nbt_floats((size_t)(blocks + 255) / 256);
        float offset = nb_quant_mean(w->absmax, blocks);
        nb_quantize8_args b = {q,      w->absmax, blocks,          256,
                               w->map, offset,    w->absmax_codes, w->nested_absmax};
        k->quantize8(&b);
        w->t.absmax = NULL;
        w->t.absmax_codes = w->absmax_codes;
        w->t.nested_absmax = w->nested_absmax;
        w->t.nested_book = w->map;
        w->t.nested_block = 256;
        w->t.nested_offset = offset;
    }
    for (int64_t i = 0; i < n; i++) {
        volatile float scale = w->absmax[i / block]; /* volatile: two roundings */
        if (is_nested(kd)) {
            volatile float product =
                w->map[w->absmax_codes[i / block]] * w->nested_absmax[i / block / 256];
            scale = product + w->t.nested_offset;
        }
        w->plain[i] = code_value(&w->t, i) * scale;
    }
}

NBT_UNUSED static weight make(kind kd, int64_t n, int64_t kk, nb_queue *q, const nb_kernels *k)
{
    weight w = {0};
    float *x = nbt_random((size_t)(n * kk), 7, 0.1);
    w.plain = nbt_floats((size_t)(n * kk));
    w.t.n = n;
    w.t.k = kk;
    if (kd <= K_F16)
        make_dense(&w, kd, x, (size_t)(n * kk));
    else
        make_4bit(&w, kd, x, n * kk, block_of(kd), q, k);
    nbi_free(x);
    return w;
}

NBT_UNUSED static void drop(weight *w)
{
    nbi_free(w->data);
    nbi_free(w->absmax);
    nbi_free(w->nested_absmax);
    nbi_free(w->map);
    nbi_free(w->absmax_codes);
    nbi_free(w->plain);
}

#endif
