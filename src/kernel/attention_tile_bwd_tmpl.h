/* SPDX-License-Identifier: MIT */
/* Gradient of attention in bf16 on tiles: probabilities are computed again from the log sums.
 *
 * A task is a key head and a range of its keys, whose sums of dk and dv stay in scratch memory.
 * When the range is the whole segment it makes dq as well; else dq comes from tasks of its own,
 * over sets of query tiles, at the price of computing scores twice. Each sum has the same terms in
 * the same order either way, hence the same bits for any number of threads. */
#ifndef NB_ATTENTION_TILE_BWD_TMPL_H
#define NB_ATTENTION_TILE_BWD_TMPL_H

#include "kernel/attention_grad_tmpl.h"

/* dq of a tile: the scale was left out of the gradients of scores. */
static void write_query(const nb_attention_bwd_args *b, const query_work *w)
{
    float factor[ROWS_BWD];
    for (int i = 0; i < ROWS_BWD; i++)
        factor[i] = b->fwd.scale;
    write_lanes(&w->t, w->dq, factor, b->dq, b->fwd.ldq);
}

static void write_sums(const nb_attention_args *a, const key_work *w, const float *sums,
                       float scale, void *to, int64_t ld)
{
    const int64_t p = padded(a);
    for (int64_t j = w->j0; j < w->j1; j++) {
        const int64_t i = j - w->j0;
        const float *from = sums + i / KEYS * KEYS * p + i % KEYS * STRIP;
        uint16_t *row = (uint16_t *)to + (w->s->k_row0 + j) * ld + w->group * a->p;
        for (int64_t c = 0; c < a->p; c += NBI_W)
            vf_store_bf16_n(row + c, vf_load(from + c / STRIP * KEYS * STRIP + c % STRIP) * scale,
                            (int)min_i64(NBI_W, a->p - c));
    }
}

/* A range of keys against all queries of its key head. */
static void key_task(const nb_attention_bwd_args *b, key_work *k, bool want_query, float *scratch)
{
    const nb_attention_args *a = &b->fwd;
    const tile_cut cut = cut_segment(a, k->s, ROWS_BWD, false);
    const size_t floats = (size_t)(round_up(k->j1 - k->j0, KEYS) * padded(a));
    grad_pipeline l;
    query_work w = {0};
    take_pipeline(&l, true, &scratch);
    take_query(&w, a, true, want_query, &scratch);
    take_keys(k, a, k->j1 - k->j0, want_query, true, &scratch);
    pack_keys(a, k);
    memset(k->dk, 0, floats * sizeof(float));
    memset(k->dv, 0, floats * sizeof(float));
    for (int64_t u = 0; u < cut.sets * cut.per_set; u++) {
        w.t = tile_of_group(a, k->s, &cut, k->group, u);
        const int64_t end = min_i64(k->j1, rows_limit(&w.t, w.t.n));
        if (want_query)
            memset(w.dq, 0, (size_t)(ROWS_BWD * padded(a)) * sizeof(float));
        bool packed = false;
        for (int64_t j = k->j0; j < end; j += KEYS) {
            if (tile_seen(&w.t, j, min_i64(KEYS, end - j)) == HIDDEN)
                continue;
            if (!packed)
                pack_query(b, &w);
            packed = true;
            pair_gradients(&l, &w, k, j);
        }
        grad_flush(&l);
        if (want_query)
            write_query(b, &w);
    }
    write_sums(a, k, k->dk, a->scale, b->dk, a->ldk);
    write_sums(a, k, k->dv, 1.0f, b->dv, a->ldv);
}

/* dq of up to SET_BWD tiles: each block of keys is packed once for all. */
static void query_task(const nb_attention_bwd_args *b, query_work *w, int count, float *scratch)
{
    const nb_attention_args *a = &b->fwd;
    grad_pipeline l;
    key_work k = {.s = w[0].t.s, .group = w[0].t.group};
    int64_t limit = 0;
    take_pipeline(&l, false, &scratch);
    take_keys(&k, a, KEYS, true, false, &scratch);
    for (int i = 0; i < count; i++) {
        take_query(&w[i], a, false, true, &scratch);
        pack_query(b, &w[i]);
        memset(w[i].dq, 0, (size_t)(ROWS_BWD * padded(a)) * sizeof(float));
        limit = max_i64(limit, rows_limit(&w[i].t, w[i].t.n));
    }
    for (k.j0 = 0; k.j0 < limit; k.j0 += KEYS) {
        bool packed = false;
        k.j1 = min_i64(limit, k.j0 + KEYS);
        for (int i = 0; i < count; i++) {
            const int64_t end = min_i64(k.j1, rows_limit(&w[i].t, w[i].t.n));
            if (end <= k.j0 || tile_seen(&w[i].t, k.j0, end - k.j0) == HIDDEN)
                continue;
            if (!packed)
                pack_keys(a, &k);
            packed = true;
            pair_gradients(&l, &w[i], &k, k.j0);
        }
        grad_flush(&l); /* the keys are packed over */
    }
    for (int i = 0; i < count; i++)
        write_query(b, &w[i]);
}

/* How the work is cut: `range` keys a task; segments that fit into one make dq along with it if
 * `whole`. */
typedef struct grad_plan {
    int64_t range;
    bool whole;
} grad_plan;

/* Keys whose operands and sums fit into scratch memory. */
static int64_t keys_that_fit(const nb_attention_args *a)
{
    const int64_t p = padded(a), fixed = ROOM_FLOATS + ROWS_BWD * (3 * p + 2);
    const int64_t room = (int64_t)(NB_SCRATCH_BYTES / sizeof(float)) - fixed;
    return room / (3 * p / 2 + 2 * p) / KEYS * KEYS;
}

static bool in_one(const grad_plan *g, const nb_attn_segment *s, int64_t fits)
{
    return g->whole && s->k_len <= fits;
}

/* Tasks of segment s: ranges of keys for each key head, then sets of query tiles. */
static int64_t tasks_of(const nb_attention_args *a, const nb_attn_segment *s, const grad_plan *g,
                        int64_t fits, int64_t *key_tasks)
{
    const tile_cut c = cut_segment(a, s, ROWS_BWD, false);
    const bool one = in_one(g, s, fits);
    *key_tasks = a->kv_heads * (one ? s->k_len > 0 : tiles(s->k_len, g->range));
    return *key_tasks + (one ? 0 : a->kv_heads * tiles(c.sets * c.per_set, SET_BWD));
}

static int64_t count_tasks(const nb_attention_args *a, const grad_plan *g, int64_t fits)
{
    int64_t n = 0, unused;
    for (int64_t i = 0; i < a->n_segments; i++)
        n += tasks_of(a, &a->segments[i], g, fits, &unused);
    return n;
}

/* Whole segments unless threads would wait for the last ones: scores twice cost about a third. */
static grad_plan plan_tasks(const nb_attention_args *a, int threads, int64_t fits)
{
    grad_plan g = {min_i64(fits, 512), true};
    const int64_t n = count_tasks(a, &g, fits);
    g.whole = 4 * n >= 3 * round_up(n, threads);
    while (g.range > KEYS && threads > 1 && count_tasks(a, &g, fits) < 4 * (int64_t)threads)
        g.range = round_up(g.range / 2, KEYS);
    return g;
}

static void do_task(const nb_attention_bwd_args *b, const grad_plan *g, int64_t fits, int64_t t,
                    float *scratch)
{
    const nb_attention_args *a = &b->fwd;
    for (int64_t i = 0; i < a->n_segments; i++) {
        const nb_attn_segment *s = &a->segments[i];
        int64_t keys;
        const int64_t n = tasks_of(a, s, g, fits, &keys);
        if (t >= n) {
            t -= n;
            continue;
        }
        if (t < keys) {
            const bool one = in_one(g, s, fits);
            const int64_t range = one ? s->k_len : g->range, per = keys / a->kv_heads;
            const int64_t j0 = t % per * range;
            key_work k = {.s = s, .group = t / per, .j0 = j0};
            k.j1 = min_i64(s->k_len, j0 + range);
            key_task(b, &k, one, scratch);
            return;
        }
        const tile_cut c = cut_segment(a, s, ROWS_BWD, false);
        const int64_t all = c.sets * c.per_set, per = tiles(all, SET_BWD);
        query_work w[SET_BWD] = {0};
        int count = 0;
        t -= keys;
        for (int64_t u = t % per * SET_BWD; u < all && count < SET_BWD; u++)
            w[count++].t = tile_of_group(a, s, &c, t / per, u);
        query_task(b, w, count, scratch);
        return;
    }
}

/* x . y of p values. */
static float dot_row(const uint16_t *x, const uint16_t *y, int64_t p)
{
    __m512 sum = _mm512_setzero_ps();
    for (int64_t c = 0; c < p; c += TILE_INNER) {
        const __mmask32 valid = valid_values(p, c);
        sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_maskz_loadu_epi16(valid, x + c),
                               (__m512bh)_mm512_maskz_loadu_epi16(valid, y + c));
    }
    return vf_sum((vf)sum);
}

/* delta = dout . out of all rows, before anything else. */
static void all_deltas(const nb_attention_bwd_args *b, int threads)
{
    const nb_attention_args *a = &b->fwd;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++)
        for (int64_t n = 0; n < a->n_segments; n++) {
            const nb_attn_segment *s = &a->segments[n];
            const int64_t from = s->q_row0 + s->q_len * part / threads;
            const int64_t to = s->q_row0 + s->q_len * (part + 1) / threads;
            for (int64_t row = from; row < to; row++)
                for (int64_t h = 0; h < a->heads; h++)
                    b->delta[row * a->heads + h] =
                        dot_row((const uint16_t *)a->out + row * a->ldo + h * a->p,
                                (const uint16_t *)b->dout + row * b->lddo + h * a->p, a->p);
        }
}

void NBI_ISA(attention_bwd)(const nb_attention_bwd_args *b)
{
    const nb_attention_args *a = &b->fwd;
    if (a->dtype == NB_DT_F32) {
        nbi_attention_bwd_avx512(b);
        return;
    }
    assert(a->dtype == NB_DT_BF16 && a->lse);
    assert(a->p > 0 && a->p <= PMAX && a->heads % a->kv_heads == 0);
    const int threads = nb_queue_threads(a->q_, attention_work(a));
    const int64_t fits = keys_that_fit(a);
    const grad_plan plan = plan_tasks(a, threads, fits);
    const int64_t count = count_tasks(a, &plan, fits);
    int64_t next = 0;
    all_deltas(b, threads);
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int part = 0; part < threads; part++) {
        multiply_begin();
        for (;;) {
            int64_t i;
#pragma omp atomic capture
            i = next++;
            if (i >= count)
                break;
            do_task(b, &plan, fits, i, nb_queue_scratch(a->q_, part));
        }
        multiply_end();
    }
}

#endif
