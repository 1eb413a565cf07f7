/* SPDX-License-Identifier: MIT */
#include "data/mask.h"

#include <string.h>
#include "base/fail.h"

void nbi_masker_free(nbi_masker *m)
{
    nb_encoding_free(&m->text);
    nb_encoding_free(&m->prompt);
    nbi_array_free(&m->labels);
}

static bool starts_with(const nbi_strbuf *b, const char *s)
{
    size_t n = strlen(s);
    return n > 0 && b->n >= n && !memcmp(b->s, s, n);
}

/* Only the answer counts: a prompt that ends with eos before an empty answer still gets one. */
static void append_eos(const nbi_layout *l, nbi_rendering *r, bool special)
{
    size_t n = l->eos_text ? strlen(l->eos_text) : 0;
    size_t from = r->mask == NBI_MASK_PREFIX && !r->separate_prompt ? r->prompt_len : 0;
    if (n == 0 || !r->append_eos || l->config->no_eos || (special && l->special_ends))
        return;
    if (r->text.n - from < n || memcmp(r->text.s + r->text.n - n, l->eos_text, n) != 0)
        nbi_strbuf_add(&r->text, l->eos_text, n);
}

/* The post-processor's part in this row: asked for, or as the format says unless the text brings
 * its own BOS. */
static bool wants_special(const nbi_layout *l, const nbi_rendering *r, bool *spelled_bos)
{
    *spelled_bos =
        l->bos_text && nb_tokenizer_adds_bos(l->tok) && starts_with(&r->text, l->bos_text);
    if (l->config->add_special_tokens >= 0) {
        *spelled_bos = *spelled_bos && !l->config->add_special_tokens;
        return l->config->add_special_tokens > 0;
    }
    return r->special && !*spelled_bos;
}

static size_t common_prefix(const nb_encoding *a, const nb_encoding *b)
{
    size_t n = a->n < b->n ? a->n : b->n, i = 0;
    while (i < n && a->ids[i] == b->ids[i])
        i++;
    return i;
}

/* Whether text [begin, end) touches a span: only the first span that ends behind `begin` can. */
static bool in_spans(const nbi_rendering *r, int64_t begin, int64_t end)
{
    size_t lo = 0, hi = r->n_spans;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if ((int64_t)r->spans[mid].end <= begin)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->n_spans && end > (int64_t)r->spans[lo].begin;
}

/* Tokens that touch a span. Tokens without text (from the post-processor) touch none. */
static void mask_spans(const nbi_rendering *r, const nb_encoding *e, int32_t *labels)
{
    for (size_t i = 0; i < e->n; i++) {
        bool trained = in_spans(r, e->offsets[2 * i], e->offsets[2 * i + 1]);
        labels[i] = trained ? e->ids[i] : NB_LABEL_IGNORE;
    }
}

static nb_status encode(const nbi_layout *l, nbi_rendering *r, nbi_masker *m, nbi_masked *out,
                        nb_error *err)
{
    NBI_TRY(nbi_strbuf_check(&r->text, err)); /* prompt_len holds only for a whole text */
    bool special = wants_special(l, r, &out->spelled_bos);
    append_eos(l, r, special);
    NBI_TRY(nbi_strbuf_check(&r->text, err));
    unsigned flags = (special ? NB_ENCODE_SPECIAL : 0u);
    unsigned offsets = r->mask == NBI_MASK_SPANS ? NB_ENCODE_OFFSETS : 0u;
    NBI_TRY(nb_tokenizer_encode(l->tok, nbi_strbuf_str(&r->text), r->text.n, flags | offsets,
                                &m->text, err));
    m->labels.n = 0;
    if (!nbi_array_reserve(&m->labels, m->text.n))
        return nbi_fail_nomem(err, "labels", m->text.n * sizeof(int32_t));
    size_t masked = 0;
    bool all = l->train_on == NB_TRAIN_ALL || r->mask == NBI_MASK_ALL;
    if (!all && r->mask == NBI_MASK_PREFIX) {
        const nbi_strbuf *b = r->separate_prompt ? &r->chat_prompt.text : &r->text;
        NBI_TRY(nb_tokenizer_encode(l->tok, nbi_strbuf_str(b),
                                    r->separate_prompt ? b->n : r->prompt_len, flags, &m->prompt,
                                    err));
        masked = common_prefix(&m->prompt, &m->text);
    } else if (!all && r->mask == NBI_MASK_NONE) {
        masked = m->text.n;
    }
    int32_t *labels = m->labels.v;
    m->labels.n = m->text.n;
    for (size_t i = 0; i < m->text.n; i++)
        labels[i] = i < masked ? NB_LABEL_IGNORE : m->text.ids[i];
    if (!all && r->mask == NBI_MASK_SPANS)
        mask_spans(r, &m->text, labels);
    out->ids = m->text.ids;
    out->labels = labels;
    out->n = (int64_t)m->text.n;
    return NB_OK;
}

/* Cuts ids[n] and labels[n] in place to max_seq_length. */
static void cut(const nbi_layout *l, const nbi_rendering *r, int32_t *ids, int32_t *labels,
                nbi_masked *out)
{
    int64_t max = l->config->max_seq_length, skip = out->n - max;
    if (max <= 0 || skip <= 0)
        return;
    out->truncated = true;
    out->n = max;
    if (!l->config->truncate_left)
        return;
    /* the row keeps its BOS where the format says so or the text itself spells it */
    bool bos = (r->keep_bos || out->spelled_bos) && l->bos >= 0 && ids[0] == l->bos;
    size_t keep = bos ? 1 : 0, n = (size_t)max - keep;
    memmove(ids + keep, ids + keep + skip, n * sizeof *ids);
    memmove(labels + keep, labels + keep + skip, n * sizeof *labels);
}

nb_status nbi_mask_row(const nbi_layout *l, nbi_rendering *r, nbi_masker *m, nbi_masked *out,
                       nb_error *err)
{
    *out = (nbi_masked){0};
    if (!r->has_ids) {
        NBI_TRY(encode(l, r, m, out, err));
        cut(l, r, m->text.ids, m->labels.v, out);
    } else {
        out->ids = r->ids.v;
        out->labels = r->labels.v;
        out->n = (int64_t)r->ids.n;
        cut(l, r, r->ids.v, r->labels.v, out);
    }
    int32_t *labels = r->has_ids ? r->labels.v : m->labels.v;
    for (int64_t i = 0; i < out->n; i++) {
        if (l->config->mask_eos && l->eos >= 0 && out->ids[i] == l->eos)
            labels[i] = NB_LABEL_IGNORE;
        if (labels[i] == NB_LABEL_IGNORE)
            continue;
        out->any_label = true;
        out->n_trained += i > 0;
    }
    return NB_OK;
}
