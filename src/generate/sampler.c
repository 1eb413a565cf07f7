/* SPDX-License-Identifier: MIT */
#include "generate/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include "base/alloc.h"
#include "base/fail.h"
#include "base/rng.h"

typedef struct candidate {
    int32_t id;
    float score; /* the best has 0 */
    double p;    /* relative to the best: exp(score) */
} candidate;

struct nb_sampler {
    nb_sampler_options o;
    int64_t vocab;
    candidate *list;     /* [vocab] */
    float *scratch;      /* [vocab] for the selection of the k-th best */
    unsigned char *seen; /* [vocab] */
    nbi_rng rng;
};

void nb_sampler_options_default(nb_sampler_options *o)
{
    *o = (nb_sampler_options){.top_p = 1.0, .repetition_penalty = 1.0};
}

nb_status nb_sampler_options_check(const nb_sampler_options *o, nb_error *err)
{
    if (!(o->temperature >= 0.0) || !isfinite(o->temperature))
        return nbi_fail(err, NB_CONFIG, "temperature is %g, but must be 0 (greedy) or more",
                        o->temperature);
    if (o->top_k < 0)
        return nbi_fail(err, NB_CONFIG, "top_k is %lld, but must be 0 (off) or more",
                        (long long)o->top_k);
    if (!(o->top_p > 0.0 && o->top_p <= 1.0))
        return nbi_fail(err, NB_CONFIG, "top_p is %g, but must be above 0 and at most 1", o->top_p);
    if (!(o->min_p >= 0.0 && o->min_p <= 1.0))
        return nbi_fail(err, NB_CONFIG, "min_p is %g, but must be between 0 and 1", o->min_p);
    if (!(o->repetition_penalty > 0.0) || !isfinite(o->repetition_penalty))
        return nbi_fail(err, NB_CONFIG, "repetition_penalty is %g, but must be above 0",
                        o->repetition_penalty);
    return NB_OK;
}

nb_status nb_sampler_open(nb_sampler **out, const nb_sampler_options *o, int64_t vocab,
                          nb_error *err)
{
    *out = NULL;
    NBI_TRY(nb_sampler_options_check(o, err));
    nb_sampler *s = nbi_calloc(NBI_MEM_OTHER, 1, sizeof *s);
    if (!s)
        return nbi_fail_nomem(err, "sampler", sizeof *s);
    s->o = *o;
    s->vocab = vocab;
    s->list = nbi_calloc(NBI_MEM_OTHER, (size_t)vocab, sizeof *s->list);
    s->scratch = nbi_calloc(NBI_MEM_OTHER, (size_t)vocab, sizeof *s->scratch);
    s->seen = nbi_calloc(NBI_MEM_OTHER, (size_t)vocab, 1);
    nbi_rng_init(&s->rng, o->seed, NBI_RNG_SAMPLE, 0);
    if (!s->list || !s->scratch || !s->seen) {
        nb_sampler_close(&s);
        return nbi_fail_nomem(err, "sampler", (unsigned long long)vocab * sizeof(candidate));
    }
    *out = s;
    return NB_OK;
}

void nb_sampler_close(nb_sampler **s)
{
    if (!s || !*s)
        return;
    nbi_free((*s)->list);
    nbi_free((*s)->scratch);
    nbi_free((*s)->seen);
    nbi_free(*s);
    *s = NULL;
}

void nb_sampler_see(nb_sampler *s, int32_t id)
{
    if (id >= 0 && id < s->vocab)
        s->seen[id] = 1;
}

/* Fills the list with the scores after penalty and temperature; returns the index of the best, -1
 * when there is none. */
static int64_t make_scores(nb_sampler *s, const float *logits)
{
    float penalty = (float)s->o.repetition_penalty;
    int64_t best = 0;
    for (int64_t i = 0; i < s->vocab; i++) {
        float z = logits[i];
        if (isnan(z))
            return -1;
        if (s->seen[i] && penalty != 1.0f)
            z = z < 0.0f ? z * penalty : z / penalty;
        s->list[i] = (candidate){.id = (int32_t)i, .score = z};
        if (z > s->list[best].score)
            best = i;
    }
    const float top = s->list[best].score;
    if (!isfinite(top))
        return -1;
    /* the best moves to 0, so that no temperature, however low, makes it infinite */
    const double scale = s->o.temperature > 0.0 ? fmin(1.0 / s->o.temperature, DBL_MAX) : 1.0;
    for (int64_t i = 0; i < s->vocab; i++)
        s->list[i].score = (float)(((double)s->list[i].score - (double)top) * scale);
    return best;
}

/* The k-th largest of v[n], 1 <= k <= n; reorders v (Hoare's selection). */
static float kth_largest(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0, hi = n - 1, at = k - 1;
    while (lo < hi) {
        float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] > pivot)
                i++;
            while (v[j] < pivot)
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (at <= j)
            hi = j;
        else if (at >= i)
            lo = i;
        else
            break;
    }
    return v[at];
}

/* Keeps the candidates for which score >= least; order stays. */
static int64_t keep_scores(candidate *list, int64_t n, float least)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (list[i].score >= least)
            list[kept++] = list[i];
    return kept;
}

static int64_t keep_probable(candidate *list, int64_t n, double least)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (list[i].p >= least)
            list[kept++] = list[i];
    return kept;
}

static int best_first(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static double total(const candidate *list, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += list[i].p;
    return sum;
}

/* Keeps the best candidates up to the one with which their probability reaches top_p. */
static int64_t keep_nucleus(candidate *list, int64_t n, double top_p)
{
    double sum = total(list, n), before = 0.0;
    /* what is below this cannot be kept, since all of it together is less than 1 - top_p */
    n = keep_probable(list, n, (1.0 - top_p) * sum / (double)n);
    qsort(list, (size_t)n, sizeof *list, best_first);
    int64_t kept = 0;
    while (kept < n && (kept == 0 || before < top_p * sum))
        before += list[kept++].p;
    return kept;
}

int32_t nb_sampler_pick(nb_sampler *s, const float *logits)
{
    int64_t best = make_scores(s, logits), n = s->vocab;
    if (best < 0 || s->o.temperature == 0.0)
        return (int32_t)best;
    if (s->o.top_k > 0 && s->o.top_k < n) {
        for (int64_t i = 0; i < n; i++)
            s->scratch[i] = s->list[i].score;
        n = keep_scores(s->list, n, kth_largest(s->scratch, n, s->o.top_k));
    }
    for (int64_t i = 0; i < n; i++)
        s->list[i].p = exp((double)s->list[i].score);
    if (s->o.top_p < 1.0)
        n = keep_nucleus(s->list, n, s->o.top_p);
    if (s->o.min_p > 0.0)
        n = keep_probable(s->list, n, s->o.min_p);

    double at = nbi_rng_f64(&s->rng) * total(s->list, n), sum = 0.0;
    int32_t last = s->list[0].id;
    for (int64_t i = 0; i < n; i++) {
        if (s->list[i].p > 0.0)
            last = s->list[i].id;
        sum += s->list[i].p;
        if (at < sum)
            break;
    }
    return last;
}
