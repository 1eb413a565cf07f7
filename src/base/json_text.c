/* SPDX-License-Identifier: MIT */
#include "base/json_text.h"

#include "base/fail.h"

enum { SHORT_LIST = 8 };

static void print_list(nbi_strbuf *out, const nbi_json *v)
{
    for (const nbi_json *e = v->first; e; e = e->next)
        nbi_strbuf_printf(out, " %s", e->text ? e->text : "");
    nbi_strbuf_puts(out, "\n");
}

static bool is_nested(const nbi_json *v)
{
    return v->type == NBI_JT_OBJECT || (v->type == NBI_JT_ARRAY && v->n > SHORT_LIST);
}

static void print_value(nbi_strbuf *out, const nbi_json *v, int depth)
{
    nbi_strbuf_printf(out, "%*s", 2 * depth, "");
    if (v->key)
        nbi_strbuf_printf(out, "%s:", v->key);
    if (is_nested(v))
        nbi_strbuf_puts(out, "\n");
    else if (v->type == NBI_JT_ARRAY)
        print_list(out, v);
    else if (v->type == NBI_JT_BOOL)
        nbi_strbuf_printf(out, " %s\n", v->boolean ? "yes" : "no");
    else
        nbi_strbuf_printf(out, "%s%s\n", v->key ? " " : "", v->text ? v->text : "none");
}

void nbi_json_text(nbi_strbuf *out, const nbi_json *v)
{
    const nbi_json *stack[NBI_JSON_MAX_DEPTH + 1]; /* next sibling to print at each depth */
    int depth = 0;
    stack[0] = v->first;
    while (depth >= 0) {
        const nbi_json *m = stack[depth];
        if (!m) {
            depth--;
            continue;
        }
        stack[depth] = m->next;
        print_value(out, m, depth);
        if (is_nested(m) && depth < NBI_JSON_MAX_DEPTH)
            stack[++depth] = m->first;
    }
}

nb_status nbi_json_present(nbi_strbuf *out, bool json, nb_error *err)
{
    NBI_TRY(nbi_strbuf_check(out, err));
    if (json) {
        nbi_strbuf_putc(out, '\n');
        return nbi_strbuf_check(out, err);
    }
    nbi_arena arena;
    nbi_json *tree = NULL;
    nbi_strbuf text = {0};
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = nbi_json_parse(&arena, "report", out->s, out->n, &tree, err);
    if (st == NB_OK) {
        nbi_json_text(&text, tree);
        st = nbi_strbuf_check(&text, err);
    }
    nbi_arena_free(&arena);
    nbi_strbuf_free(out);
    *out = text;
    return st;
}
