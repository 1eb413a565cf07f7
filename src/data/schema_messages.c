/* SPDX-License-Identifier: MIT */
/* messages: conversations of {"role", "content"}, rendered by the tokenizer's chat template. */
#include <string.h>
#include "base/fail.h"
#include "data/messages.h"

static nb_status member(const nbi_row *row, const char *field, size_t i, const nbi_json *m,
                        const char *name, const char **text, size_t *len, nb_error *err)
{
    const nbi_json *v = nbi_json_get(m, name);
    if (!v)
        return nbi_row_fail(row, field, err, "message %zu has no \"%s\"", i, name);
    if (v->type != NBI_JT_STRING)
        return nbi_row_fail(row, field, err, "\"%s\" of message %zu is %s, expected a text", name,
                            i, nbi_json_type_text(v));
    *text = v->text;
    *len = v->text_len;
    return NB_OK;
}

nb_status nbi_messages_read(const nbi_row *row, const char *field, nbi_message_list *list,
                            nb_error *err)
{
    const nbi_json *v = nbi_json_get(row->v, field);
    if (!v || v->type != NBI_JT_ARRAY || v->n == 0)
        return nbi_row_fail(row, field, err, "found %s, expected a list of messages",
                            !v                        ? "nothing"
                            : v->type == NBI_JT_ARRAY ? "an empty list"
                                                      : nbi_json_type_text(v));
    size_t i = 0;
    for (const nbi_json *m = v->first; m; m = m->next, i++) {
        nbi_message msg = {0};
        size_t role_len = 0;
        if (m->type != NBI_JT_OBJECT)
            return nbi_row_fail(row, field, err,
                                "message %zu is %s, expected {\"role\": ..., \"content\": ...}", i,
                                nbi_json_type_text(m));
        if (!nbi_json_is_null(nbi_json_get(m, "tool_calls")))
            return nbi_row_fail(row, field, err,
                                "message %zu has \"tool_calls\", which this version "
                                "does not render",
                                i);
        NBI_TRY(member(row, field, i, m, "role", &msg.role, &role_len, err));
        if (strlen(msg.role) != role_len)
            return nbi_row_fail(row, field, err, "\"role\" of message %zu holds a NUL character",
                                i);
        NBI_TRY(member(row, field, i, m, "content", &msg.content, &msg.content_len, err));
        if (!nbi_array_push(list, msg))
            return nbi_fail_nomem(err, row->path, sizeof msg);
    }
    return NB_OK;
}

nb_status nbi_messages_refuse_tools(const nbi_row *row, nb_error *err)
{
    const nbi_json *v = nbi_json_get(row->v, "tools");
    if (nbi_json_is_null(v) || (v->type == NBI_JT_ARRAY && v->n == 0) ||
        (v->type == NBI_JT_STRING && v->text_len == 0))
        return NB_OK;
    return nbi_row_fail(row, "tools", err, "tool descriptions are not rendered by this version");
}

nb_status nbi_messages_render(const nbi_layout *l, const nbi_row *row, const nbi_message_list *list,
                              nbi_rendering *out, nb_error *err)
{
    nb_status st = nbi_chat_render(l->tok, list->v, list->n, false, &out->chat, err);
    if (st != NB_OK)
        return nbi_fail_prefix(err, st, "%s:%lld", row->path, (long long)row->line);
    nbi_strbuf_add(&out->text, nbi_strbuf_str(&out->chat.text), out->chat.text.n);
    out->mask = l->train_on == NB_TRAIN_ALL ? NBI_MASK_ALL : NBI_MASK_SPANS;
    bool last = l->train_on == NB_TRAIN_LAST && out->chat.n_spans > 0;
    out->spans = out->chat.spans + (last ? out->chat.n_spans - 1 : 0);
    out->n_spans = last ? 1 : out->chat.n_spans;
    return NB_OK;
}

static nb_status render(const nbi_layout *l, const nbi_row *row, nbi_rendering *out, nb_error *err)
{
    nbi_message_list list = {0};
    nb_status st = nbi_messages_refuse_tools(row, err);
    if (st == NB_OK)
        st = nbi_messages_read(row, "messages", &list, err);
    if (st == NB_OK)
        st = nbi_messages_render(l, row, &list, out, err);
    nbi_array_free(&list);
    return st;
}

static nb_status prepare(nbi_layout *l, const nbi_row *first, nb_error *err)
{
    (void)first;
    (void)err;
    if (l->train_on == NB_TRAIN_COMPLETION)
        l->train_on = NB_TRAIN_ASSISTANT;
    return NB_OK;
}

const nbi_schema nbi_schema_messages = {
    .format = NB_DATA_MESSAGES,
    .name = "messages",
    .needs = "\"messages\", a list of {\"role\", \"content\"}",
    .train_on = NB_TRAIN_ASSISTANT,
    .needs_tokenizer = true,
    .fields = {{.name = "messages", .list = true}},
    .prepare = prepare,
    .render = render,
};
