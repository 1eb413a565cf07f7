/* SPDX-License-Identifier: MIT */
/* The post-processors of tokenizer.json: special tokens around the text, trimmed offsets. */
#include "base/fail.h"
#include "text/component.h"
#include "text/unicode.h"
#include "text/vocab.h"

/* ---- ByteLevel: offsets without the blanks around a token ---- */

typedef struct trim {
    bool on, add_prefix_space;
} trim;

static nb_status load_trim_fields(nbi_load *l, const nbi_json *v, trim *p)
{
    p->on = p->add_prefix_space = true;
    NBI_TRY(nbi_load_bool(l, v, "trim_offsets", &p->on));
    return nbi_load_bool(l, v, "add_prefix_space", &p->add_prefix_space);
}

static nb_status load_trim(nbi_load *l, const nbi_json *v, const void **param)
{
    trim *p;
    NBI_TRY(nbi_load_alloc(l, sizeof *p, (void **)&p));
    *param = p;
    return load_trim_fields(l, v, p);
}

static bool is_blank(const char *s)
{
    uint32_t cp = nbi_utf8_get(s);
    return cp == nbi_byte_char(' ') || nbi_uni_is_space(cp);
}

/* What the token stands for as the model saw it: the vocabulary's text, or, for an added token, the
 * part of the text it took, with the white space it swallowed. */
static nbi_view token_text(const nbi_run *run, const nbi_token *t)
{
    if (t->piece < run->pieces.n) {
        const nbi_piece *p = &run->pieces.v[t->piece];
        return (nbi_view){run->text.s + p->begin, NULL, p->end - p->begin, 0};
    }
    const nbi_vocab_entry *e = nbi_vocab_at(run->vocab, t->id);
    return (nbi_view){e ? e->s : "", NULL, e ? e->n : 0, 0};
}

/* Moves by k characters of the original, not beyond `limit`. */
static uint32_t forward(const nbi_run *run, uint32_t at, size_t k, uint32_t limit)
{
    for (; k > 0 && at < limit; k--)
        at += (uint32_t)nbi_utf8_len(run->original[at]);
    return at < limit ? at : limit;
}

static uint32_t backward(const nbi_run *run, uint32_t at, size_t k, uint32_t limit)
{
    for (; k > 0 && at > limit; k--) {
        do
            at--;
        while (at > limit && ((unsigned char)run->original[at] & 0xC0) == 0x80);
    }
    return at;
}

static void trim_token(const nbi_run *run, const trim *p, nbi_token *t, bool first)
{
    nbi_view s = token_text(run, t);
    size_t lead = 0, trail = 0, i = 0;
    for (; i < s.n && is_blank(s.s + i); i += nbi_utf8_len(s.s[i]))
        lead++;
    for (size_t end = s.n; end > 0; trail++) {
        do
            end--;
        while (end > 0 && ((unsigned char)s.s[end] & 0xC0) == 0x80);
        if (!is_blank(s.s + end))
            break;
    }
    if (t->end > run->original_len || t->begin > t->end)
        return;
    /* one blank in front of the text is the one that was added */
    if (lead == 1 && p->add_prefix_space && (first || t->begin == 0))
        lead = 0;
    t->begin = forward(run, t->begin, lead, t->end);
    t->end = backward(run, t->end, trail, t->begin);
}

static void trim_all(const trim *p, nbi_run *run)
{
    for (size_t i = 0; p->on && run->text.track && i < run->tokens.n; i++)
        trim_token(run, p, &run->tokens.v[i], i == 0);
}

static nb_status run_trim(const void *param, nbi_run *run, bool add_special)
{
    (void)add_special;
    trim_all(param, run);
    return NB_OK;
}

/* ---- TemplateProcessing, BertProcessing, RobertaProcessing ---- */

/* In order: ids to insert, with TEXT where the text's tokens go. */
enum { TEXT = -1 };

typedef struct frame {
    trim trim; /* RobertaProcessing only */
    size_t n;
    int32_t ids[];
} frame;

static nb_status put(nbi_run *run, nbi_token t)
{
    return nbi_array_push(&run->more_tokens, t) ? NB_OK : nbi_run_nomem(run);
}

static nb_status run_frame(const void *param, nbi_run *run, bool add_special)
{
    const frame *p = param;
    trim_all(&p->trim, run);
    run->more_tokens.n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->ids[i] != TEXT) {
            if (add_special)
                NBI_TRY(put(run, (nbi_token){p->ids[i], 0, 0, UINT32_MAX}));
            continue;
        }
        for (size_t k = 0; k < run->tokens.n; k++)
            NBI_TRY(put(run, run->tokens.v[k]));
    }
    nbi_tokens t = run->tokens;
    run->tokens = run->more_tokens;
    run->more_tokens = t;
    return NB_OK;
}

static nb_status new_frame(nbi_load *l, size_t n, frame **p, const void **param)
{
    NBI_TRY(nbi_load_alloc(l, sizeof **p + n * sizeof(*p)->ids[0], (void **)p));
    *param = *p;
    return NB_OK;
}

static nb_status read_id(nbi_load *l, const nbi_json *v, const nbi_json *near, int32_t *id)
{
    int64_t x;
    if (!nbi_json_to_i64(v, &x) || x < 0 || x > NBI_VOCAB_MAX_ID)
        return nbi_load_fail(l, v ? v : near, "post_processor: expected a token id");
    *id = (int32_t)x;
    return NB_OK;
}

/* The ids behind a piece {"SpecialToken": {"id": name}}. */
static nb_status special_ids(nbi_load *l, const nbi_json *tokens, const nbi_json *piece,
                             const nbi_json **ids)
{
    const nbi_json *name = nbi_json_get(nbi_json_get(piece, "SpecialToken"), "id");
    if (!name || name->type != NBI_JT_STRING)
        return nbi_load_fail(l, piece,
                             "TemplateProcessing: a piece must be {\"SpecialToken\": "
                             "{\"id\": ...}} or {\"Sequence\": {\"id\": \"A\"}}");
    const nbi_json *entry = NULL;
    for (const nbi_json *t = tokens ? tokens->first : NULL; t && !entry; t = t->next) {
        if (t->key && t->key_len == name->text_len && memcmp(t->key, name->text, t->key_len) == 0)
            entry = t;
    }
    *ids = nbi_json_get(entry, "ids");
    if (!*ids || (*ids)->type != NBI_JT_ARRAY)
        return nbi_load_fail(l, name,
                             "TemplateProcessing: \"%.100s\" has no ids in "
                             "\"special_tokens\"",
                             name->text);
    return NB_OK;
}

/* Counts (with ids NULL) or writes the template. */
static nb_status walk_template(nbi_load *l, const nbi_json *v, const nbi_json *single, int32_t *ids,
                               size_t *n)
{
    const nbi_json *tokens = nbi_json_get(v, "special_tokens");
    bool text_seen = false;
    *n = 0;
    for (const nbi_json *piece = single->first; piece; piece = piece->next) {
        const nbi_json *sequence = nbi_json_get(piece, "Sequence"), *list = NULL;
        if (sequence) {
            if (!nbi_json_equals(nbi_json_get(sequence, "id"), "A"))
                return nbi_load_fail(l, sequence,
                                     "TemplateProcessing: \"single\" may only hold "
                                     "sequence A");
            /* a row of templates that double the text would double it beyond all memory */
            if (text_seen)
                return nbi_load_fail(l, sequence,
                                     "TemplateProcessing: \"single\" may hold sequence A only "
                                     "once");
            text_seen = true;
            if (ids)
                ids[*n] = TEXT;
            ++*n;
            continue;
        }
        NBI_TRY(special_ids(l, tokens, piece, &list));
        for (const nbi_json *id = list->first; id; id = id->next) {
            int32_t x = 0;
            NBI_TRY(read_id(l, id, list, &x));
            if (ids)
                ids[*n] = x;
            ++*n;
        }
    }
    return NB_OK;
}

static nb_status load_template(nbi_load *l, const nbi_json *v, const void **param)
{
    const nbi_json *single = nbi_json_get(v, "single");
    size_t n;
    frame *p;
    if (!single || single->type != NBI_JT_ARRAY)
        return nbi_load_fail(l, v, "TemplateProcessing: \"single\" must be a list of pieces");
    NBI_TRY(walk_template(l, v, single, NULL, &n));
    NBI_TRY(new_frame(l, n, &p, param));
    return walk_template(l, v, single, p->ids, &p->n);
}

/* ["token", id] */
static nb_status read_pair(nbi_load *l, const nbi_json *v, const char *key, int32_t *id)
{
    const nbi_json *pair = nbi_json_get(v, key);
    if (!pair || pair->type != NBI_JT_ARRAY || pair->n != 2)
        return nbi_load_fail(l, pair ? pair : v, "\"%s\" must be a token and its id", key);
    return read_id(l, nbi_json_at(pair, 1), pair, id);
}

static nb_status load_bert(nbi_load *l, const nbi_json *v, const void **param)
{
    frame *p;
    NBI_TRY(new_frame(l, 3, &p, param));
    p->n = 3;
    p->ids[1] = TEXT;
    NBI_TRY(read_pair(l, v, "cls", &p->ids[0]));
    return read_pair(l, v, "sep", &p->ids[2]);
}

static nb_status load_roberta(nbi_load *l, const nbi_json *v, const void **param)
{
    NBI_TRY(load_bert(l, v, param));
    return load_trim_fields(l, v, &((frame *)(uintptr_t)*param)->trim);
}

static const nbi_kind kinds[] = {
    {"TemplateProcessing", load_template, {.process = run_frame}},
    {"ByteLevel", load_trim, {.process = run_trim}},
    {"BertProcessing", load_bert, {.process = run_frame}},
    {"RobertaProcessing", load_roberta, {.process = run_frame}},
};

const nbi_stage nbi_stage_postprocessor = {"post_processor", "processors", kinds,
                                           sizeof kinds / sizeof kinds[0]};
