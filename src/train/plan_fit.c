/* SPDX-License-Identifier: MIT */
/* Settings under which a run would fit its memory or its time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/quantity.h"
#include "train/plan.h"

const nbi_change nbi_no_change = {.max_length = -1,
                                  .batch = -1,
                                  .max_tokens = -1,
                                  .lora_r = -1,
                                  .checkpointing = -2,
                                  .optim = NULL,
                                  .method = -1};

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- a plan under a change ---- */

static int longest_first(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Tokens of the `batch` longest rows when each is cut to `cap`. */
static int64_t longest_rows(const nb_dataset *d, int64_t batch, int64_t cap)
{
    int64_t *n = nbi_calloc(NBI_MEM_SCRATCH, d->n + 1, sizeof(*n)), sum = 0;
    if (!n)
        return cap * batch;
    for (size_t i = 0; i < d->n; i++)
        n[i] = smaller(d->rows[i].n, cap);
    qsort(n, d->n, sizeof(*n), longest_first);
    for (size_t i = 0; i < d->n && (int64_t)i < batch; i++)
        sum += n[i];
    nbi_free(n);
    return sum;
}

int64_t nbi_plan_max_rows(const nbi_plan *p, const nbi_change *c)
{
    const nb_recipe *r = p->r;
    bool same = c->max_length < 0 && c->batch < 0 && c->max_tokens < 0;
    int64_t cap = c->max_length < 0 ? INT32_MAX : c->max_length;
    int64_t batch = c->batch < 0 ? r->batch : c->batch, rows;
    int64_t budget = c->max_tokens < 0 ? r->max_tokens_per_batch : c->max_tokens;
    int64_t longest = smaller(p->length, cap);
    if (p->data && same)
        rows = nbi_batching_max_tokens(p->batching);
    else if (r->packing && budget > 0)
        rows = larger(budget, longest);
    else if (r->packing)
        rows = batch * larger(longest, smaller(p->batching ? p->batching->pack_tokens : 0, cap));
    else
        rows = p->data ? longest_rows(p->data, batch, cap) : batch * longest;
    if (!r->packing && budget > 0)
        rows = smaller(rows, larger(budget, longest));
    if (p->data && r->packing)
        rows = smaller(rows, p->data->total_tokens);
    return nbi_plan_n_evals(p) ? larger(rows, smaller(nbi_eval_sets_longest(p->evals), cap)) : rows;
}

static void apply(const nbi_plan *p, const nbi_change *c, nbi_plan_spec *s, nb_lora_config *lora)
{
    *s = p->spec;
    *lora = *p->spec.lora; /* its lists are borrowed */
    s->lora = lora;
    s->max_rows = nbi_plan_max_rows(p, c);
    if (c->lora_r > 0)
        lora->r = c->lora_r;
    if (c->checkpointing > -2)
        s->checkpointing = c->checkpointing;
    if (c->optim)
        s->optim = c->optim;
    s->cached = s->cached || c->cached;
    if (c->free)
        s->limit = UINT64_MAX;
    if (c->method >= 0) {
        s->method = (nb_method)c->method;
        s->quant.load_in_4bit = s->method == NB_METHOD_QLORA;
        if (s->quant.load_in_4bit)
            s->quant.double_quant = true;
        lora->all_linear = lora->all_linear || lora->targets.n == 0;
    }
}

static void cut(nbi_token_sums *s, const nb_dataset *d, int64_t window, int64_t cap, double times)
{
    nbi_token_sums now = {0};
    for (size_t i = 0; i < d->n; i++) {
        double n = (double)smaller(d->rows[i].n, cap);
        double part = n / (double)larger(d->rows[i].n, 1);
        double seen = window > 0 && (double)window < n ? (double)window : n;
        if (d->rows[i].n_trained == 0)
            continue;
        now.rows += times;
        now.tokens += times * n;
        now.trained += times * (double)d->rows[i].n_trained * part;
        now.squares += times * n * seen;
    }
    *s = now;
}

static void cut_evals(const nbi_plan *p, int64_t cap, nbi_workload *w)
{
    nbi_token_sums all = {0};
    for (size_t i = 0; i < nbi_plan_n_evals(p); i++) {
        nbi_token_sums one = {0};
        cut(&one, p->evals->v[i].data, p->config.sliding_window, cap, 1);
        all.rows += one.rows;
        all.tokens += one.tokens;
        all.trained += one.trained;
        all.squares += one.squares;
    }
    w->eval = all;
}

/* The same epochs over rows cut to a length. */
static void cut_work(const nbi_plan *p, int64_t cap, nbi_workload *w)
{
    int64_t window = p->config.sliding_window;
    if (!p->data) {
        double part = (double)cap / (double)p->length;
        w->run.tokens *= part;
        w->run.trained *= part;
        w->run.squares *= part * part;
        return;
    }
    nbi_token_sums one = {0};
    nbi_token_sums_add(&one, p->data, window, 1);
    cut(&w->run, p->data, window, cap, w->run.rows / fmax(one.rows, 1));
    cut_evals(p, cap, w);
}

nb_status nbi_plan_changed(const nbi_plan *p, const nbi_change *c, nbi_memory_plan *m,
                           nbi_time_plan *t, nb_error *err)
{
    nbi_plan_spec s;
    nb_lora_config lora;
    nbi_workload w = p->work;
    apply(p, c, &s, &lora);
    nb_status st = nbi_memory_plan_make(m, &s, err);
    *t = (nbi_time_plan){0};
    if (st != NB_OK || !(p->rates.products > 0))
        return st;
    if (c->max_length > 0)
        cut_work(p, c->max_length, &w);
    nbi_time_plan_make(t, m, &p->config, s.method == NB_METHOD_FULL, &w, &p->rates);
    return NB_OK;
}

/* ---- searching ---- */

typedef struct search {
    const nbi_plan *p;
    nbi_proposal *v;
    size_t n;
    bool by_time; /* fit the budget instead of the limit */
} search;

static bool measure(const search *s, const nbi_change *c, nbi_proposal *out)
{
    nbi_memory_plan m;
    nbi_time_plan t;
    if (nbi_plan_changed(s->p, c, &m, &t, NULL) != NB_OK)
        return false;
    out->peak = m.peak;
    out->run = t.run;
    out->stream = m.stream;
    nbi_memory_plan_free(&m);
    return true;
}

static bool within(const search *s, const nbi_proposal *v)
{
    return s->by_time ? v->run <= s->p->budget : v->peak <= s->p->limit;
}

/* Adds the change to the proposals when it fits. */
static bool offer(search *s, const nbi_change *c, const char *text)
{
    nbi_proposal v = {.peak = 0};
    if (s->n == NBI_MAX_PROPOSALS || !measure(s, c, &v) || !within(s, &v))
        return false;
    snprintf(v.text, sizeof(v.text), "%s", text);
    s->v[s->n++] = v;
    return true;
}

/* The largest value from 1 to below `now`, times `unit`, that fits in *field of `c`; 0: none. */
static int64_t largest_fit(search *s, nbi_change *c, int64_t *field, int64_t now, int64_t unit)
{
    int64_t low = 0, high = (now - 1) / unit;
    nbi_proposal v;
    while (low < high) {
        int64_t mid = high - (high - low) / 2;
        *field = mid * unit;
        if (measure(s, c, &v) && within(s, &v))
            low = mid;
        else
            high = mid - 1;
    }
    *field = low * unit;
    return low * unit;
}

static void offer_checkpointing(search *s)
{
    nbi_change c = nbi_no_change;
    if (s->p->spec.checkpointing != 0)
        return;
    c.checkpointing = -1;
    offer(s, &c, "gradient_checkpointing: auto");
}

static void offer_batch(search *s)
{
    nbi_change c = nbi_no_change;
    const nb_recipe *r = s->p->r;
    char text[160];
    int64_t budget = r->max_tokens_per_batch;
    if (r->packing && budget > 0) {
        int64_t n = largest_fit(s, &c, &c.max_tokens, budget, 64);
        snprintf(text, sizeof(text), "max_tokens_per_batch: %lld", (long long)n);
        if (n > 0)
            offer(s, &c, text);
        return;
    }
    int64_t n = largest_fit(s, &c, &c.batch, r->batch, 1);
    if (n <= 0)
        return;
    int64_t whole = r->batch * r->accumulation;
    snprintf(text, sizeof(text),
             "per_device_train_batch_size: %lld, gradient_accumulation_steps: %lld", (long long)n,
             (long long)((whole + n - 1) / n));
    offer(s, &c, text);
}

static void offer_length(search *s)
{
    nbi_change c = nbi_no_change;
    char text[160];
    int64_t n = largest_fit(s, &c, &c.max_length, s->p->length, s->p->length > 128 ? 32 : 1);
    if (n < 16)
        return;
    snprintf(text, sizeof(text), "max_seq_length: %lld", (long long)n);
    offer(s, &c, text);
}

static void offer_optimizer(search *s)
{
    static const char *const names[] = {"adamw_8bit", "paged_adamw_8bit"};
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        nbi_change c = nbi_no_change;
        char text[160];
        c.optim = names[i];
        snprintf(text, sizeof(text), "optim: %s", names[i]);
        if (strcmp(names[i], s->p->spec.optim) != 0 && offer(s, &c, text))
            return;
    }
}

static void offer_rank(search *s)
{
    nbi_change c = nbi_no_change;
    char text[160];
    if (s->p->spec.method == NB_METHOD_FULL || s->p->spec.lora->rank_pattern.n > 0 ||
        s->p->spec.from_adapter)
        return;
    int64_t n = largest_fit(s, &c, &c.lora_r, s->p->spec.lora->r, 1);
    while (n & (n - 1))
        n &= n - 1; /* ranks are powers of two by habit */
    c.lora_r = n;
    snprintf(text, sizeof(text), "lora_r: %lld", (long long)n);
    if (n >= 2)
        offer(s, &c, text);
}

static void offer_method(search *s)
{
    nbi_change c = nbi_no_change;
    if (s->p->spec.method == NB_METHOD_FULL) {
        c.method = NB_METHOD_LORA;
        offer(s, &c, "method: lora");
    }
    if (s->p->spec.method == NB_METHOD_QLORA || s->p->config.has_quant)
        return;
    c.method = NB_METHOD_QLORA;
    offer(s, &c, "load_in_4bit: true, bnb_4bit_use_double_quant: true (method qlora)");
}

/* Quantised weights that lie in a file need not stay in memory. */
static void offer_cache(search *s)
{
    nbi_change c = nbi_no_change;
    if (s->p->spec.method != NB_METHOD_QLORA || s->p->spec.cached || s->p->config.has_quant)
        return;
    c.cached = true;
    offer(s, &c, "quantized_cache: DIR");
}

/* Everything together, as far as it takes. */
static void offer_all(search *s)
{
    nbi_change c = nbi_no_change;
    nbi_strbuf text = {0};
    bool four = s->p->spec.quant.load_in_4bit || s->p->config.has_quant;
    if (s->p->r->packing && s->p->r->max_tokens_per_batch > 0)
        c.max_tokens = 1;
    c.batch = 1;
    c.checkpointing = -1;
    if (!four) {
        c.method = NB_METHOD_QLORA;
        nbi_strbuf_puts(&text, "load_in_4bit: true, bnb_4bit_use_double_quant: true, ");
    }
    if (!s->p->config.has_quant && !s->p->spec.cached) {
        c.cached = true;
        nbi_strbuf_puts(&text, "quantized_cache: DIR, ");
    }
    nbi_strbuf_puts(&text, c.max_tokens > 0 ? "packing: false, " : "");
    nbi_strbuf_puts(&text, "per_device_train_batch_size: 1");
    if (s->p->spec.checkpointing == 0)
        nbi_strbuf_puts(&text, ", gradient_checkpointing: auto");
    if (!offer(s, &c, nbi_strbuf_str(&text))) {
        c.optim = "paged_adamw_8bit";
        nbi_strbuf_puts(&text, ", optim: paged_adamw_8bit");
        int64_t n = largest_fit(s, &c, &c.max_length, s->p->length + 32, 32);
        if (n < s->p->length)
            nbi_strbuf_printf(&text, ", max_seq_length: %lld", (long long)n);
        if (n >= 16)
            offer(s, &c, nbi_strbuf_str(&text));
    }
    nbi_strbuf_free(&text);
}

size_t nbi_plan_fit_memory(const nbi_plan *p, nbi_proposal v[NBI_MAX_PROPOSALS])
{
    search s = {.p = p, .v = v};
    offer_checkpointing(&s);
    offer_batch(&s);
    offer_length(&s);
    offer_optimizer(&s);
    offer_rank(&s);
    offer_method(&s);
    offer_cache(&s);
    if (s.n == 0)
        offer_all(&s);
    return s.n;
}

/* ---- time ---- */

#define ONE_EVALUATION "eval_strategy: no, eval_on_start: false"

static void offer_part(search *s, const char *text, double n, double run)
{
    nbi_proposal v = {.peak = s->p->memory.peak, .run = run};
    if (n < 1 || s->n == NBI_MAX_PROPOSALS)
        return;
    snprintf(v.text, sizeof(v.text), "%s: %.0f", text, n);
    s->v[s->n++] = v;
}

/* Fewer updates or rows: the evaluations stay as long as they leave room; the last one always does.
 */
static void offer_fewer(search *s)
{
    const nbi_plan *p = s->p;
    const nbi_time_plan *t = &p->time;
    double evals = t->evaluation * p->work.evaluations, train = t->run - evals;
    double last = p->work.evaluations > 0 ? t->evaluation : 0;
    if (train <= 0)
        return;
    if (evals > last && train + last <= p->budget && s->n < NBI_MAX_PROPOSALS)
        s->v[s->n++] =
            (nbi_proposal){.text = ONE_EVALUATION, .peak = p->memory.peak, .run = train + last};
    double part = (p->budget - evals) / train, steps = floor(part * p->work.steps);
    if (steps < 1) {
        steps = floor((p->budget - last) / train * p->work.steps);
        offer_part(s, evals > last ? ONE_EVALUATION ", max_steps" : "max_steps", steps,
                   steps * t->step + last);
        return;
    }
    offer_part(s, "max_steps", steps, steps * t->step + evals);
    if (p->data && p->r->max_steps <= 0) {
        double all = (double)p->data->n, rows = floor(part * all);
        offer_part(s, "max_rows", rows, rows / all * train + evals);
    }
}

/* Time goes with the weights a token passes. */
static void offer_model(search *s)
{
    const nbi_plan *p = s->p;
    double n = (double)p->memory.parameters * p->budget / p->time.run;
    nbi_proposal v = {.peak = 0, .run = p->budget};
    if (s->n == NBI_MAX_PROPOSALS || n < 1e6)
        return;
    if (n >= 1e9)
        snprintf(v.text, sizeof(v.text), "model: one of about %.1fB parameters", n * 1e-9);
    else
        snprintf(v.text, sizeof(v.text), "model: one of about %.0fM parameters", n * 1e-6);
    s->v[s->n++] = v;
}

size_t nbi_plan_fit_time(const nbi_plan *p, nbi_proposal v[NBI_MAX_PROPOSALS])
{
    search s = {.p = p, .v = v, .by_time = true};
    if (!(p->time.run > p->budget))
        return 0;
    offer_fewer(&s);
    offer_length(&s);
    offer_rank(&s);
    offer_model(&s);
    return s.n;
}
