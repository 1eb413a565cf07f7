/* SPDX-License-Identifier: MIT */
/* Reads pieces of rows of a weight as f32: one decoder per kind, any alignment. */
#ifndef NB_PANEL_TMPL_H
#define NB_PANEL_TMPL_H

#include "kernel/vec.h"
#include "tensor/qtensor.h"

static inline void read_f32(const float *src, int64_t n, float *out)
{
    memcpy(out, src, (size_t)n * sizeof(float));
}

static inline void read_bf16(const uint16_t *src, int64_t n, float *out)
{
    int64_t i = 0;
    for (; i + NBI_W <= n; i += NBI_W)
        vf_store(out + i, vf_load_bf16(src + i));
    for (; i < n; i++)
        out[i] = nb_bf16_to_f32(src[i]);
}

static inline void read_f16(const uint16_t *src, int64_t n, float *out)
{
    int64_t i = 0;
    for (; i + NBI_W <= n; i += NBI_W)
        vf_store(out + i, vf_load_f16(src + i));
    for (; i < n; i++)
        out[i] = nb_f16_to_f32(src[i]);
}

/* Elements f..f+n-1 of the flat codes, all in one block of scale s. */
static inline void decode4_run(const uint8_t *codes, const float book[16], int64_t f, int64_t n,
                               float s, float *out)
{
    if (n > 0 && (f & 1)) {
        *out++ = book[codes[f >> 1] & 15] * s;
        f++;
        n--;
    }
    const uint8_t *p = codes + (f >> 1);
    int64_t i = 0;
    for (; i + NBI_W <= n; i += NBI_W, p += NBI_W / 2)
        vf_store(out + i, vf_lookup4(p, book) * vf_set1(s));
    for (; i + 2 <= n; i += 2, p++) {
        out[i] = book[*p >> 4] * s;
        out[i + 1] = book[*p & 15] * s;
    }
    if (i < n)
        out[i] = book[*p >> 4] * s;
}

static inline void decode4(const nb_qtensor *w, int64_t f, int64_t n, float *out)
{
    const int shift = __builtin_ctzll((unsigned long long)w->block);
    while (n > 0) {
        int64_t b = f >> shift, run = ((b + 1) << shift) - f;
        run = run < n ? run : n;
        decode4_run(w->data, w->book, f, run, nb_qtensor_absmax(w, b), out);
        f += run;
        out += run;
        n -= run;
    }
}

/* out[n] = W[row, col..col+n-1] in f32. */
static inline void decode_row(const nb_qtensor *w, int64_t row, int64_t col, int64_t n, float *out)
{
    int64_t f = row * w->k + col;
    if (w->kind != NB_QK_DENSE)
        decode4(w, f, n, out);
    else if (w->dtype == NB_DT_F32)
        read_f32((const float *)w->data + f, n, out);
    else if (w->dtype == NB_DT_BF16)
        read_bf16((const uint16_t *)w->data + f, n, out);
    else
        read_f16((const uint16_t *)w->data + f, n, out);
}

#endif
