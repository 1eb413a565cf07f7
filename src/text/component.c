/* SPDX-License-Identifier: MIT */
#include "text/component.h"

#include <stdarg.h>
#include <stdio.h>
#include "base/fail.h"
#include "base/utf8.h"
#include "text/bpe.h"

enum { MAX_SEQUENCE_DEPTH = 8, MAX_COMPONENTS = 256 };

nb_status nbi_load_fail(nbi_load *l, const nbi_json *v, const char *fmt, ...)
{
    char what[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return nbi_fail(l->err, NB_FORMAT, "%s: byte %zu: %s", l->where, l->base + (v ? v->offset : 0),
                    what);
}

nb_status nbi_load_alloc(nbi_load *l, size_t size, void **out)
{
    *out = nbi_arena_alloc(l->arena, size, 16);
    if (!*out)
        return nbi_fail_nomem(l->err, "the tokenizer", size);
    memset(*out, 0, size);
    return NB_OK;
}

nb_status nbi_load_regex(nbi_load *l, const char *pattern, size_t len, const nbi_regex **out)
{
    nbi_regex *re = NULL;
    NBI_TRY(nbi_regex_compile(&re, pattern, len, l->where, l->err));
    if (!nbi_array_push(l->regexes, re)) {
        nbi_regex_free(re);
        return nbi_fail_nomem(l->err, "the tokenizer", sizeof re);
    }
    *out = re;
    return NB_OK;
}

nb_status nbi_load_string(nbi_load *l, const nbi_json *v, const char *key, const char **s,
                          size_t *len)
{
    const nbi_json *m = nbi_json_get(v, key);
    if (!m || m->type != NBI_JT_STRING)
        return nbi_load_fail(l, m ? m : v, "\"%s\" must be a string", key);
    *s = nbi_arena_strndup(l->arena, m->text, m->text_len);
    *len = m->text_len;
    return *s ? NB_OK : nbi_fail_nomem(l->err, "the tokenizer", m->text_len);
}

nb_status nbi_load_char(nbi_load *l, const nbi_json *v, const char *key, uint32_t *cp)
{
    const nbi_json *m = nbi_json_get(v, key);
    if (!m || m->type != NBI_JT_STRING || m->text_len == 0 ||
        nbi_utf8_decode(m->text, m->text_len, cp) != m->text_len)
        return nbi_load_fail(l, m ? m : v, "\"%s\" must be a string of one character", key);
    return NB_OK;
}

nb_status nbi_load_bool(nbi_load *l, const nbi_json *v, const char *key, bool *r)
{
    const nbi_json *m = nbi_json_get(v, key);
    if (!nbi_json_is_null(m) && !nbi_json_to_bool(m, r))
        return nbi_load_fail(l, m, "\"%s\" must be true or false", key);
    return NB_OK;
}

static nb_status unknown_kind(nbi_load *l, const nbi_stage *stage, const nbi_json *type)
{
    char known[600];
    size_t n = 0;
    known[0] = '\0';
    for (size_t i = 0; i < stage->n && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, ", %s", stage->kinds[i].type);
    return nbi_fail(l->err, NB_UNSUPPORTED,
                    "%s: byte %zu: %s \"%.100s\" is not supported (supported: Sequence%s)",
                    l->where, l->base + type->offset, stage->name, type->text, known);
}

static nb_status load_sequence(nbi_components *list, const nbi_stage *stage, const nbi_json *v,
                               nbi_load *l)
{
    const nbi_json *children = nbi_json_get(v, stage->children);
    if (!children || children->type != NBI_JT_ARRAY)
        return nbi_load_fail(l, v, "Sequence without the list \"%s\"", stage->children);
    if (l->depth >= MAX_SEQUENCE_DEPTH)
        return nbi_load_fail(l, v, "Sequences nested too deep");
    l->depth++;
    for (const nbi_json *c = children->first; c; c = c->next)
        NBI_TRY(nbi_components_load(list, stage, c, l));
    l->depth--;
    return NB_OK;
}

nb_status nbi_components_load(nbi_components *list, const nbi_stage *stage, const nbi_json *v,
                              nbi_load *l)
{
    if (nbi_json_is_null(v))
        return NB_OK;
    if (v->type != NBI_JT_OBJECT)
        return nbi_load_fail(l, v, "\"%s\" must be an object or null", stage->name);
    const nbi_json *type = nbi_json_get(v, "type");
    if (!type || type->type != NBI_JT_STRING)
        return nbi_load_fail(l, v, "%s without a \"type\"", stage->name);
    if (nbi_json_equals(type, "Sequence"))
        return load_sequence(list, stage, v, l);
    nbi_component c = {0};
    for (size_t i = 0; i < stage->n; i++) {
        if (nbi_json_equals(type, stage->kinds[i].type))
            c.kind = &stage->kinds[i];
    }
    if (!c.kind)
        return unknown_kind(l, stage, type);
    if (list->n >= MAX_COMPONENTS)
        return nbi_load_fail(l, v, "more than %d components", MAX_COMPONENTS);
    if (c.kind->load)
        NBI_TRY(c.kind->load(l, v, &c.param));
    if (!nbi_array_push(list, c))
        return nbi_fail_nomem(l->err, "the tokenizer", sizeof c);
    return NB_OK;
}

/* ---- running ---- */

void nbi_run_free(nbi_run *run)
{
    nbi_aligned_free(&run->text);
    nbi_aligned_free(&run->next);
    nbi_array_free(&run->pieces);
    nbi_array_free(&run->more);
    nbi_array_free(&run->matches);
    nbi_array_free(&run->tokens);
    nbi_array_free(&run->more_tokens);
    nbi_regex_run_free(&run->regex);
    nbi_bpe_run_free(run->bpe);
    nbi_free(run->cache);
}

nb_status nbi_run_nomem(nbi_run *run)
{
    return nbi_fail_nomem(run->err, "text being tokenised", run->original_len);
}

nb_status nbi_run_push_piece(nbi_run *run, nbi_piece p)
{
    return nbi_array_push(&run->more, p) ? NB_OK : nbi_run_nomem(run);
}

nb_status nbi_run_rewrite(nbi_run *run, nbi_rewrite_fn *fn, const void *param)
{
    nbi_aligned_clear(&run->next);
    run->next.track = run->text.track;
    run->more.n = 0;
    for (size_t i = 0; i < run->pieces.n; i++) {
        nbi_piece p = run->pieces.v[i];
        nbi_view in = {run->text.s + p.begin, run->text.track ? run->text.a + p.begin : NULL,
                       p.end - p.begin, p.orig};
        size_t begin = run->next.n;
        if (p.id >= 0)
            nbi_aligned_copy(&run->next, &in, 0, in.n);
        else
            NBI_TRY(fn(param, run, &in, &run->next));
        p.begin = begin;
        p.end = run->next.n;
        if (p.begin < p.end)
            NBI_TRY(nbi_run_push_piece(run, p));
        NBI_TRY(nbi_aligned_check(&run->next, run->err));
        if (nbi_grown_too_far(run->next.n, run->original_len))
            return nbi_fail(run->err, NB_LIMIT,
                            "the tokenizer rewrites %zu bytes of text to more than %zu",
                            run->original_len, run->next.n);
    }
    nbi_aligned t = run->text;
    run->text = run->next;
    run->next = t;
    nbi_run_swap_pieces(run);
    return NB_OK;
}

nb_status nbi_strings_end(nbi_strings *l, nb_error *err)
{
    NBI_TRY(nbi_strbuf_check(&l->text, err));
    if (!nbi_array_push(&l->ends, l->text.n))
        return nbi_fail_nomem(err, "decoding", l->text.n);
    return NB_OK;
}

void nbi_strings_free(nbi_strings *l)
{
    nbi_strbuf_free(&l->text);
    nbi_array_free(&l->ends);
}

/* ---- the byte alphabet ---- */

/* Printable Latin-1 characters stand for themselves, the other bytes, in order, for U+0100.. */
static bool printable(unsigned b)
{
    return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
}

uint32_t nbi_byte_char(unsigned char byte)
{
    unsigned b = byte;
    if (printable(b))
        return b;
    if (b <= 0x20)
        return 0x100 + b;
    return b <= 0xA0 ? 0x100 + 0x21 + (b - 0x7F) : 0x100 + 0x43;
}

int nbi_char_byte(uint32_t cp)
{
    if (cp < 0x100)
        return printable(cp) ? (int)cp : -1;
    if (cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp <= 0x142)
        return (int)(cp - 0x121 + 0x7F);
    return cp == 0x143 ? 0xAD : -1;
}

nb_status nbi_rewrite_bytes(const void *param, nbi_run *run, const nbi_view *in, nbi_aligned *out)
{
    (void)param;
    (void)run;
    nbi_rewrite r = {in, 0, out};
    for (size_t i = 0; i < in->n;) {
        size_t len = nbi_utf8_len(in->s[i]);
        for (size_t k = 0; k < len && i + k < in->n; k++)
            nbi_rewrite_put_cp(&r, nbi_byte_char((unsigned char)in->s[i + k]), k > 0);
        i += len;
    }
    return NB_OK;
}
