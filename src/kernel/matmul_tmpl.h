/* SPDX-License-Identifier: MIT */
/* matmul, qmatmul and decode over the panels of gemm_tmpl.h. */
#ifndef NB_MATMUL_TMPL_H
#define NB_MATMUL_TMPL_H

#include <assert.h>
#include "kernel/gemm_tmpl.h"
#include "kernel/variants.h"

/* Block sizes: an A block and a B micro-panel stay in the first two cache levels; KC is part of the
 * result (partial sums are added to c), so it depends on nothing. */
enum { KC = 256, MC = 16 * NBI_MR, NC = 1024, DOT_ROWS = 8, DOT_K = 1024, DOT_COLS = 4 };

_Static_assert(((size_t)MC + NC + NBI_W) * KC * sizeof(float) <= NB_SCRATCH_BYTES, "scratch");
_Static_assert(((size_t)DOT_ROWS + DOT_COLS) * DOT_K * sizeof(float) <= NB_SCRATCH_BYTES,
               "scratch");

/* c[m, n] (= or +=) alpha * a[m, k] * b[n, k]^T */
typedef struct product {
    nb_queue *q;
    operand a, b;
    int64_t m, n, k;
    float *c;
    int64_t ldc;
    float alpha;
    bool add;
} product;

static void clear_rows(const product *g)
{
    if (g->add)
        return;
    for (int64_t i = 0; i < g->m; i++)
        memset(g->c + i * g->ldc, 0, (size_t)g->n * sizeof(float));
}

/* The part [m0, m1) x [n0, n1) on one thread. */
static void product_part(const product *g, int64_t m0, int64_t m1, int64_t n0, int64_t n1,
                         void *scratch)
{
    float *pa = scratch, *pb = pa + MC * KC, *tmp = pb + NC * KC;
    for (int64_t j = n0; j < n1; j += NC) {
        int64_t jn = min_i64(NC, n1 - j);
        for (int64_t k = 0; k < g->k; k += KC) {
            int64_t kn = min_i64(KC, g->k - k);
            if (g->b.w)
                pack_weight(&g->b, j, jn, k, kn, NBI_NR, tmp, pb);
            else
                pack(&g->b, j, jn, k, kn, NBI_NR, pb);
            for (int64_t i = m0; i < m1; i += MC) {
                int64_t in = min_i64(MC, m1 - i);
                pack(&g->a, i, in, k, kn, NBI_MR, pa);
                multiply_panels(in, jn, kn, pa, pb, g->c + i * g->ldc + j, g->ldc, g->alpha,
                                g->add || k > 0);
            }
        }
    }
}

/* How to cut m x n into tm x tn parts: least work of the largest part, packing included. */
static void choose_grid(const product *g, int threads, int *tm_out, int *tn_out)
{
    double best = 0;
    *tm_out = *tn_out = 0;
    const double decode = g->b.w && g->b.w->kind != NB_QK_DENSE ? 1.0 : 0.4;
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

/* c[i][j] (+)= alpha * x_i . b_j for nx rows of x and nb rows of b, n values each. */
NBI_INLINE void dot_block(const int nx, const int nb, int64_t n, const float *x,
                          const float *const *b, float *c, int64_t ldc, float alpha, bool add)
{
    vf s[2][DOT_COLS];
#pragma GCC unroll 2
    for (int i = 0; i < nx; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nb; j++)
            s[i][j] = vf_zero();
    for (int64_t t = 0; t < n; t += NBI_W) {
        const int l = (int)min_i64(NBI_W, n - t);
        const bool whole = l == NBI_W;
        vf u[2];
#pragma GCC unroll 2
        for (int i = 0; i < nx; i++)
            u[i] = vf_load(x + i * DOT_K + t); /* zeros behind the end */
#pragma GCC unroll 4
        for (int j = 0; j < nb; j++) {
            const vf v = whole ? vf_load(b[j] + t) : vf_load_n(b[j] + t, l);
#pragma GCC unroll 2
            for (int i = 0; i < nx; i++)
                s[i][j] = vf_fma(u[i], v, s[i][j]);
        }
    }
#pragma GCC unroll 2
    for (int i = 0; i < nx; i++)
#pragma GCC unroll 4
        for (int j = 0; j < nb; j++) {
            const float sum = alpha * vf_sum(s[i][j]);
            c[i * ldc + j] = add ? c[i * ldc + j] + sum : sum;
        }
}

/* Row j of b from index k on: where it is, or read into `row`. */
static const float *dot_row(const product *g, int64_t j, int64_t k, int64_t n, float *row)
{
    if (g->b.w)
        decode_row(g->b.w, g->b.row0 + j, k, n, row);
    else if (!g->b.bf16)
        return g->b.p + j * g->b.rs + k;
    else
        memcpy(row, g->b.p + j * g->b.rs + k, (size_t)n * sizeof(float));
    for (int64_t t = 0; g->b.bf16 && t < n; t += NBI_W) {
        const int l = (int)min_i64(NBI_W, n - t);
        vf_store_n(row + t, vf_round_bf16(vf_load_n(row + t, l)), l);
    }
    return row;
}

/* Few rows (generation): rows of b are read once and multiplied with all rows of a by dot
 * products, without panels. One partial sum per DOT_K indices. */
static void dot_part(const product *g, int64_t n0, int64_t n1, void *scratch)
{
    float *x = scratch, *rows = x + DOT_ROWS * DOT_K;
    for (int64_t k = 0; k < g->k; k += DOT_K) {
        const int64_t n = min_i64(DOT_K, g->k - k);
        const bool add = g->add || k > 0;
        for (int64_t i = 0; i < g->m; i++)
            for (int64_t t = 0; t < round_up(n, NBI_W); t++) {
                float v = t < n ? g->a.p[i * g->a.rs + (k + t) * g->a.cs] : 0.0f;
                x[i * DOT_K + t] = g->a.bf16 ? nb_round_bf16(v) : v;
            }
        for (int64_t j = n0; j < n1; j += DOT_COLS) {
            const int64_t jn = min_i64(DOT_COLS, n1 - j);
            const float *b[DOT_COLS];
            for (int64_t r = 0; r < jn; r++)
                b[r] = dot_row(g, j + r, k, n, rows + r * DOT_K);
            float *c = g->c + j;
            int64_t i = 0;
            for (; i + 2 <= g->m && jn == DOT_COLS; i += 2)
                dot_block(2, DOT_COLS, n, x + i * DOT_K, b, c + i * g->ldc, g->ldc, g->alpha, add);
            for (; i < g->m && jn == DOT_COLS; i++)
                dot_block(1, DOT_COLS, n, x + i * DOT_K, b, c + i * g->ldc, g->ldc, g->alpha, add);
            for (; i < g->m; i++)
                for (int64_t r = 0; r < jn; r++)
                    dot_block(1, 1, n, x + i * DOT_K, b + r, c + i * g->ldc + r, g->ldc, g->alpha,
                              add);
        }
    }
}

static void run_product(const product *g)
{
    if (g->m == 0 || g->n == 0)
        return;
    if (g->k == 0) {
        clear_rows(g);
        return;
    }
    const int threads = nb_queue_threads(g->q, g->m * g->n / 8 * g->k / 4);
    if (g->m <= DOT_ROWS && (g->b.w ? !g->b.swap : g->b.cs == 1)) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int t = 0; t < threads; t++) {
            int64_t n0, n1;
            cut(g->n, NBI_W, t, threads, &n0, &n1);
            dot_part(g, n0, n1, nb_queue_scratch(g->q, t));
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
                 .a = strided(a->a, a->a_rs, a->a_cs),
                 .b = strided(a->b, a->b_rs, a->b_cs),
                 .m = a->m,
                 .n = a->n,
                 .k = a->k,
                 .c = a->c,
                 .ldc = a->ldc,
                 .alpha = a->alpha,
                 .add = a->accumulate};
    g.a.bf16 = g.b.bf16 = a->compute == NB_COMPUTE_BF16;
    run_product(&g);
}

void NBI_ISA(qmatmul)(const nb_qmatmul_args *a)
{
    for (int64_t i = 0; i < a->n_groups; i++) {
        const nb_qgroup *s = &a->groups[i];
        assert(s->w_row0 >= 0 && s->w_rows >= 0 && s->w_row0 + s->w_rows <= s->w->n);
        product g = {.q = a->q,
                     .a = strided(((const float *)a->x) + s->row0 * a->ldx, a->ldx, 1),
                     .m = s->rows,
                     .n = a->backward ? s->w->k : s->w_rows,
                     .k = a->backward ? s->w_rows : s->w->k,
                     .c = ((float *)a->y) + s->row0 * a->ldy,
                     .ldc = a->ldy,
                     .alpha = 1.0f,
                     .add = a->accumulate};
        g.b.w = s->w;
        g.b.row0 = s->w_row0;
        g.b.swap = a->backward;
        g.a.bf16 = g.b.bf16 = a->compute == NB_COMPUTE_BF16;
        run_product(&g);
    }
}

void NBI_ISA(decode)(const nb_decode_args *a)
{
#pragma omp parallel for num_threads(nb_queue_threads(a->q, a->rows * a->cols)) schedule(static)
    for (int64_t r = 0; r < a->rows; r++)
        decode_row(a->w, a->row0 + r, a->col0, a->cols, a->out + r * a->ldo);
}

#endif
