/* SPDX-License-Identifier: MIT */
/* template: a text with {column} fields, "{{" and "}}" for braces. */
#include <string.h>
#include "base/fail.h"
#include "data/schema.h"

typedef NBI_ARRAY(nbi_template_part) part_list;

static const nb_template_var *find_var(const nb_data_config *c, const char *name)
{
    for (size_t i = 0; i < c->n_template_vars; i++)
        if (!strcmp(c->template_vars[i].name, name))
            return &c->template_vars[i];
    return NULL;
}

static nb_status unknown_field(const nbi_row *first, const char *name, nb_error *err)
{
    nbi_strbuf found = {0};
    nbi_schema_fields(first->v, &found);
    nb_status st = nbi_fail(err, NB_CONFIG,
                            "template: {%s} is neither a column of %s nor in template_vars; the "
                            "columns are %s (write {{ and }} for braces)",
                            name, first->path, nbi_strbuf_str(&found));
    nbi_strbuf_free(&found);
    return st;
}

static nb_status add(nbi_layout *l, part_list *list, bool field, const char *text, size_t len,
                     nb_error *err)
{
    nbi_template_part part = {field ? NBI_PART_FIELD : NBI_PART_LITERAL,
                              nbi_arena_strndup(&l->arena, text, len), len};
    if (!part.text || !nbi_array_push(list, part))
        return nbi_fail_nomem(err, "template", len);
    return NB_OK;
}

static nb_status add_field(nbi_layout *l, const nbi_row *first, part_list *list, const char *text,
                           size_t len, nb_error *err)
{
    char *name = nbi_arena_strndup(&l->arena, text, len);
    if (!name)
        return nbi_fail_nomem(err, "template", len);
    const nb_template_var *var = find_var(l->config, name);
    bool column = nbi_json_get(first->v, name) != NULL;
    if (var && column)
        return nbi_fail(err, NB_CONFIG, "template_vars: \"%s\" is also a column of %s; rename it",
                        name, first->path);
    if (var)
        return add(l, list, false, var->value, strlen(var->value), err);
    return column ? add(l, list, true, name, len, err) : unknown_field(first, name, err);
}

static nb_status parse(nbi_layout *l, const nbi_row *first, part_list *list, nb_error *err)
{
    const char *s = l->config->template_text, *literal = s;
    while (*s) {
        if (*s != '{' && *s != '}') {
            s++;
            continue;
        }
        if (s[1] == *s) { /* doubled: one of them belongs to the literal */
            NBI_TRY(add(l, list, false, literal, (size_t)(s + 1 - literal), err));
            literal = s += 2;
            continue;
        }
        const char *close = *s == '{' ? strpbrk(s + 1, "{}") : NULL;
        if (!close || *close != '}' || close == s + 1)
            return nbi_fail(err, NB_CONFIG,
                            "template: a lone \"%c\" at character %zu; fields are {column}, braces "
                            "are written {{ and }}",
                            *s, (size_t)(s - l->config->template_text) + 1);
        NBI_TRY(add(l, list, false, literal, (size_t)(s - literal), err));
        NBI_TRY(add_field(l, first, list, s + 1, (size_t)(close - s - 1), err));
        literal = s = close + 1;
    }
    return add(l, list, false, literal, (size_t)(s - literal), err);
}

static nb_status keep(nbi_layout *l, const part_list *list, nb_error *err)
{
    bool found = false;
    l->parts = nbi_arena_alloc(&l->arena, list->n * sizeof *list->v, _Alignof(nbi_template_part));
    if (!l->parts)
        return nbi_fail_nomem(err, "template", list->n * sizeof *list->v);
    memcpy(l->parts, list->v, list->n * sizeof *list->v);
    l->n_parts = list->n;
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].kind == NBI_PART_FIELD) {
            l->last_field = i;
            found = true;
        }
    if (!found)
        return nbi_fail(err, NB_CONFIG,
                        "template: has no {column} field; every row would be the same");
    return NB_OK;
}

static nb_status prepare(nbi_layout *l, const nbi_row *first, nb_error *err)
{
    if (!l->config->template_text)
        return nbi_fail(err, NB_CONFIG,
                        "format: template needs the key template, for example "
                        "\"[INST] {question} [/INST] {answer}\"");
    part_list list = {0};
    nb_status st = parse(l, first, &list, err);
    if (st == NB_OK)
        st = keep(l, &list, err);
    nbi_array_free(&list);
    return st;
}

static nb_status render(const nbi_layout *l, const nbi_row *row, nbi_rendering *out, nb_error *err)
{
    for (size_t i = 0; i < l->n_parts; i++) {
        const nbi_template_part *p = &l->parts[i];
        if (p->kind == NBI_PART_LITERAL) {
            nbi_strbuf_add(&out->text, p->text, p->len);
            continue;
        }
        if (i == l->last_field)
            out->prompt_len = out->text.n;
        const nbi_json *v = nbi_json_get(row->v, p->text);
        if (v && v->type == NBI_JT_BOOL) {
            nbi_strbuf_puts(&out->text, v->boolean ? "true" : "false");
        } else if (v && v->type == NBI_JT_NUMBER) {
            nbi_strbuf_add(&out->text, v->text, v->text_len);
        } else {
            const char *text;
            size_t len;
            NBI_TRY(nbi_row_text(&nbi_schema_template, row, p->text, false, &text, &len, err));
            nbi_strbuf_add(&out->text, text, len);
        }
    }
    out->mask = NBI_MASK_PREFIX;
    out->special = out->append_eos = out->keep_bos = true;
    if (l->config->response_template && l->train_on != NB_TRAIN_ALL)
        nbi_mask_after(out, l->config->response_template);
    return NB_OK;
}

const nbi_schema nbi_schema_template = {
    .format = NB_DATA_TEMPLATE,
    .name = "template",
    .needs = "every {column} of the template",
    .train_on = NB_TRAIN_COMPLETION,
    .needs_tokenizer = true,
    .string_answer = true,
    .prepare = prepare,
    .render = render,
};
