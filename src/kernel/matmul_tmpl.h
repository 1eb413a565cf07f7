/* SPDX-License-Identifier: MIT */
/* matmul, qmatmul and decode over the panels of gemm_tmpl.h. */
#ifndef NB_MATMUL_TMPL_H
#define NB_MATMUL_TMPL_H

#include <assert.h>
#include "kernel/gemv_tmpl.h"
#include "kernel/variants.h"

/* Block sizes: an A block and a B micro-panel stay in the first two cache levels; KC is part of the
 * result (partial sums are added to c), so it depends on nothing. */
enum { KC = 256, MC = 16 * NBI_MR, NC = 1024 };
/* A bf16 result is summed in an f32 tile and rounded once: its size. */
enum { TILE_ROWS = 8 * MC, TILE_COLS = 256 };
/* Columns of such a tile in a product of few rows. */
enum { GEMV_TILE = 16384 };

_Static_assert(((size_t)MC + NC + NBI_W) * KC * sizeof(float) <= NB_SCRATCH_BYTES, "scratch");
_Static_assert((((size_t)MC + TILE_COLS + NBI_W) * KC + (size_t)TILE_ROWS * TILE_COLS) *
                       sizeof(float) <=
                   NB_SCRATCH_BYTES,
               "scratch");
_Static_assert(sizeof(gemv_scratch) + sizeof(float) * GEMV_ROWS * GEMV_TILE <= NB_SCRATCH_BYTES,
               "scratch");

/* alpha * a[m, k] * b[cols, k]^T, a part of columns [col0, col0 + cols) of a product's result. */
typedef struct term {
    operand a, b;
    int64_t k, col0, cols;
    float alpha;
} term;

/* c[m, n] (= or +=) first + the terms of low rank, in this order. */
typedef struct product {
    nb_queue *q;
    int64_t m, n;
    void *c;
    int64_t ldc;
    bool narrow; /* c is bf16 */
    bool add;
    term first; /* all columns */
    const nb_lowrank *extra;
    int64_t n_extra, row0; /* row0: of the low-rank terms' h */
} product;

/* Term i: 0 the first, then those of low rank. */
static term term_at(const product *g, int64_t i)
{
    if (i == 0)
        return g->first;
    const nb_lowrank *e = &g->extra[i - 1];
    term t = {.a = strided(e->h + g->row0 * e->ldh, e->ldh, 1),
              .b = strided(e->l, e->l_rs, e->l_cs),
              .k = e->r,
              .col0 = e->col0,
              .cols = e->cols,
              .alpha = e->alpha};
    t.a.bf16 = t.b.bf16 = g->first.b.bf16;
    return t;
}

/* A part of the result that is summed in f32: rows [m0, m1), columns [n0, n1), element (i, j) at
 * c[(i - m0)*ldc + j - n0]. Either the result itself or a tile of scratch. */
typedef struct region {
    int64_t m0, m1, n0, n1;
    float *c;
    int64_t ldc;
} region;

static region region_begin(const product *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                           float *tile)
{
    region p = {m0, m1, n0, n1, tile, n1 - n0};
    if (!g->narrow) {
        p.c = (float *)g->c + m0 * g->ldc + n0;
        p.ldc = g->ldc;
    } else if (g->add) {
        for (int64_t i = m0; i < m1; i++)
            read_bf16((const uint16_t *)g->c + i * g->ldc + n0, n1 - n0, tile + (i - m0) * p.ldc);
    }
    return p;
}

static void region_end(const product *g, const region *p)
{
    for (int64_t i = p->m0; g->narrow && i < p->m1; i++) {
        const float *from = p->c + (i - p->m0) * p->ldc;
        uint16_t *to = (uint16_t *)g->c + i * g->ldc + p->n0;
        for (int64_t j = 0; j < p->n1 - p->n0; j += NBI_W) {
            const int l = (int)min_i64(NBI_W, p->n1 - p->n0 - j);
            vf_store_bf16_n(to + j, vf_load_n(from + j, l), l);
        }
    }
}

/* The columns of a part that a term adds to; false when there are none. */
static bool region_columns(const region *p, const term *t, int64_t *n0, int64_t *n1)
{
    *n0 = p->n0 > t->col0 ? p->n0 : t->col0;
    *n1 = min_i64(p->n1, t->col0 + t->cols);
    return *n0 < *n1;
}

static void region_clear(const region *p)
{
    for (int64_t i = 0; i < p->m1 - p->m0; i++)
        memset(p->c + i * p->ldc, 0, (size_t)(p->n1 - p->n0) * sizeof(float));
}

/* c (= or +=) a term, at most NC columns (TILE_COLS of a tile). */
static void term_region(const term *t, const region *p, bool add, float *pa, float *pb, float *tmp)
{
    int64_t n0, n1;
    if (!region_columns(p, t, &n0, &n1))
        return;
    if (t->k == 0 && !add)
        region_clear(p);
    for (int64_t k = 0; k < t->k; k += KC) {
        int64_t kn = min_i64(KC, t->k - k);
        if (t->b.w)
            pack_weight(&t->b, n0, n1 - n0, k, kn, NBI_NR, tmp, pb);
        else
            pack(&t->b, n0 - t->col0, n1 - n0, k, kn, NBI_NR, pb);
        for (int64_t i = p->m0; i < p->m1; i += MC) {
            int64_t in = min_i64(MC, p->m1 - i);
            pack(&t->a, i, in, k, kn, NBI_MR, pa);
            multiply_panels(in, n1 - n0, kn, pa, pb, p->c + (i - p->m0) * p->ldc + n0 - p->n0,
                            p->ldc, t->alpha, add || k > 0);
        }
    }
}

/* The part [m0, m1) x [n0, n1) on one thread. */
static void product_part(const product *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                         void *scratch)
{
    const int64_t cols = g->narrow ? TILE_COLS : NC, rows = g->narrow ? TILE_ROWS : m1 - m0;
    float *pa = scratch, *pb = pa + MC * KC, *tmp = pb + cols * KC, *tile = tmp + NBI_W * KC;
    for (int64_t j = n0; j < n1; j += cols)
        for (int64_t i = m0; i < m1; i += rows) {
            region p = region_begin(g, i, min_i64(m1, i + rows), j, min_i64(n1, j + cols), tile);
            for (int64_t e = 0; e <= g->n_extra; e++) {
                const term t = term_at(g, e);
                term_region(&t, &p, g->add || e > 0, pa, pb, tmp);
            }
            region_end(g, &p);
        }
}

/* How to cut m x n into tm x tn parts: least work of the largest part, packing included. */
static void choose_grid(const product *g, int threads, int *tm_out, int *tn_out)
{
    double best = 0;
    *tm_out = *tn_out = 0;
    const operand *b = &g->first.b;
    const double decode = b->w && b->w->kind != NB_QK_DENSE ? 1.0 : 0.4;
    for (int tm = 1; tm <= threads; tm++) {
        if (threads % tm != 0)
            continue;
        int tn = threads / tm;
        double mt = (double)round_up((g->m + tm - 1) / tm, NBI_MR);
        double nt = (double)round_up((g->n + tn - 1) / tn, NBI_NR);
        double cost = mt * nt / NBI_NR + 0.4 * mt * (1.0 + nt / NC) + decode * nt;
        if (*tm_out == 0 || cost < best) {
            best = cost;
            *tm_out = tm;
            *tn_out = tn;
        }
    }
}

/* Part i of `parts` of [0, n), cut at multiples of `unit`. */
static void cut(int64_t n, int64_t unit, int i, int parts, int64_t *from, int64_t *to)
{
    int64_t units = (n + unit - 1) / unit;
    *from = min_i64(n, units * i / parts * unit);
    *to = min_i64(n, units * (i + 1) / parts * unit);
}

/* The columns [n0, n1) of a product of few rows. */
static void gemv_part(const product *g, int64_t n0, int64_t n1, void *scratch)
{
    gemv_scratch *z = scratch;
    float *tile = (float *)(z + 1);
    const int64_t cols = g->narrow ? GEMV_TILE : n1 - n0;
    for (int64_t j = n0; j < n1; j += cols) {
        region p = region_begin(g, 0, g->m, j, min_i64(n1, j + cols), tile);
        for (int64_t e = 0; e <= g->n_extra; e++) {
            const term t = term_at(g, e);
            int64_t from, to;
            if (!region_columns(&p, &t, &from, &to))
                continue;
            if (t.k == 0 && !g->add && e == 0)
                region_clear(&p);
            gemv(&t.a, &t.b, g->m, from - t.col0, to - from, t.k, t.alpha, g->add || e > 0,
                 p.c + from - p.n0, p.ldc, z);
        }
        region_end(g, &p);
    }
}

static void run_product(const product *g)
{
    if (g->m == 0 || g->n == 0)
        return;
    const operand *b = &g->first.b;
    const int threads = nb_queue_threads(g->q, g->m * g->n / 8 * g->first.k / 4);
    if (g->m <= GEMV_ROWS && (b->w ? !b->swap : b->cs == 1)) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++) {
            int64_t n0, n1;
            cut(g->n, NBI_W, t, threads, &n0, &n1);
            gemv_part(g, n0, n1, nb_queue_scratch(g->q, t));
        }
        return;
    }
    int tm, tn;
    choose_grid(g, threads, &tm, &tn);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int t = 0; t < threads; t++) {
        int64_t m0, m1, n0, n1;
        cut(g->m, NBI_MR, t / tn, tm, &m0, &m1);
        cut(g->n, NBI_NR, t % tn, tn, &n0, &n1);
        if (m0 < m1 && n0 < n1)
            product_part(g, m0, m1, n0, n1, nb_queue_scratch(g->q, t));
    }
}

void NBI_ISA(matmul)(const nb_matmul_args *a)
{
    assert(a->m >= 0 && a->n >= 0 && a->k >= 0);
    product g = {.q = a->q,
                 .m = a->m,
                 .n = a->n,
                 .c = a->c,
                 .ldc = a->ldc,
                 .narrow = a->c_dtype == NB_DT_BF16,
                 .add = a->accumulate,
                 .first = {.a = strided_as(a->a, a->a_dtype, a->a_rs, a->a_cs),
                           .b = strided_as(a->b, a->b_dtype, a->b_rs, a->b_cs),
                           .k = a->k,
                           .cols = a->n,
                           .alpha = a->alpha}};
    g.first.a.bf16 = g.first.b.bf16 = a->compute == NB_COMPUTE_BF16;
    run_product(&g);
}

static void qmatmul_groups(const nb_qmatmul_args *a)
{
    for (int64_t i = 0; i < a->n_groups; i++) {
        const nb_qgroup *s = &a->groups[i];
        assert(s->w_row0 >= 0 && s->w_rows >= 0 && s->w_row0 + s->w_rows <= s->w->n);
        const bool narrow_x = a->x_dtype == NB_DT_BF16, narrow_y = a->y_dtype == NB_DT_BF16;
        const void *x = element(a->x, narrow_x, s->row0 * a->ldx);
        product g = {.q = a->q,
                     .m = s->rows,
                     .n = a->backward ? s->w->k : s->w_rows,
                     .c = (unsigned char *)a->y + s->row0 * a->ldy * (narrow_y ? 2 : 4),
                     .ldc = a->ldy,
                     .narrow = narrow_y,
                     .add = a->accumulate,
                     .first = {.a = strided_as(x, a->x_dtype, a->ldx, 1),
                               .k = a->backward ? s->w_rows : s->w->k,
                               .alpha = 1.0f},
                     .extra = a->extra,
                     .n_extra = a->n_extra,
                     .row0 = s->row0};
        g.first.cols = g.n;
        g.first.b.w = s->w;
        g.first.b.row0 = s->w_row0;
        g.first.b.swap = a->backward;
        g.first.a.bf16 = g.first.b.bf16 = a->compute == NB_COMPUTE_BF16;
        run_product(&g);
    }
}

void NBI_ISA(qmatmul)(const nb_qmatmul_args *a)
{
    for (; a; a = a->next)
        qmatmul_groups(a);
}

void NBI_ISA(decode)(const nb_decode_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->cols)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        decode_row(a->w, a->row0 + r, a->col0, a->cols, a->out + r * a->ldo);
}

#endif
