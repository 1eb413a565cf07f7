/* SPDX-License-Identifier: MIT */
#include "data/choices.h"

#include <string.h>
#include "base/fail.h"
#include "data/prompt.h"

static const nbi_json *find_list(const nbi_json *row)
{
    const nbi_json *v = nbi_json_get(row, "choices");
    v = v ? v : nbi_json_get(row, "options");
    return v && v->type == NBI_JT_ARRAY ? v : NULL;
}

bool nbi_choices_there(const nbi_json *row)
{
    return find_list(row) != NULL;
}

/* The choice that `v` names, -1 when none: by number, text or letter. */
static int64_t named_choice(const nbi_json *list, const nbi_json *v)
{
    int64_t i = 0, n = (int64_t)list->n;
    const char *s;
    size_t len;
    if (v->type == NBI_JT_NUMBER)
        return nbi_json_to_i64(v, &i) && i >= 0 && i < n ? i : -1;
    if (!nbi_json_to_str(v, &s, &len))
        return -1;
    for (const nbi_json *c = list->first; c; c = c->next, i++)
        if (c->text_len == len && memcmp(c->text, s, len) == 0)
            return i;
    if (len == 1 && s[0] >= 'A' && s[0] - 'A' < n)
        return s[0] - 'A';
    return -1;
}

nb_status nbi_choices_read(const nbi_row *row, nbi_choices *out, nb_error *err)
{
    static const char *const names[] = {"answer", "label", "correct"};
    const nbi_json *list = find_list(row->v), *v = NULL;
    const char *name = names[0];
    if (!list || list->n < 2)
        return nbi_row_fail(row, "choices", err, "expected a list of two texts or more");
    for (const nbi_json *c = list->first; c; c = c->next)
        if (c->type != NBI_JT_STRING || c->text_len == 0)
            return nbi_row_fail(row, "choices", err, "holds %s, expected texts that are not empty",
                                c->type == NBI_JT_STRING ? "an empty text" : nbi_json_type_text(c));
    for (size_t i = 0; i < sizeof(names) / sizeof(*names) && !v; i++)
        if ((v = nbi_json_get(row->v, names[i])) != NULL)
            name = names[i];
    *out = (nbi_choices){list, (int64_t)list->n, v ? named_choice(list, v) : -1};
    if (!v)
        return nbi_row_fail(row, name, err, "missing; it says which of the choices is right");
    if (out->right < 0)
        return nbi_row_fail(row, name, err,
                            "names none of the %zu choices: expected a number from 0, a letter "
                            "from A or the text of one",
                            list->n);
    return NB_OK;
}

nb_data_format nbi_choices_format(const nbi_json *row)
{
    static const struct {
        const char *field;
        nb_data_format format;
    } known[] = {{"messages", NB_DATA_MESSAGES},
                 {"prompt", NB_DATA_PROMPT_COMPLETION},
                 {"instruction", NB_DATA_ALPACA}};
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
        if (nbi_json_get(row, known[i].field))
            return known[i].format;
    return NB_DATA_AUTO;
}

static nbi_json *new_text(nbi_arena *arena, const char *key, const char *text, size_t len)
{
    nbi_json *v = nbi_arena_alloc(arena, sizeof(*v), _Alignof(nbi_json));
    if (v)
        *v = (nbi_json){.type = NBI_JT_STRING,
                        .text = text,
                        .text_len = len,
                        .key = key,
                        .key_len = strlen(key)};
    return v;
}

static void append(nbi_json *parent, nbi_json *child)
{
    nbi_json **end = &parent->first;
    while (*end)
        end = &(*end)->next;
    *end = child;
    parent->n++;
}

/* One more message of the assistant, as the last. */
static nb_status put_message(const nbi_row *row, nbi_arena *arena, nbi_json *object,
                             const nbi_json *choice, nb_error *err)
{
    nbi_json *list = nbi_json_get(object, "messages");
    if (!list || list->type != NBI_JT_ARRAY)
        return nbi_row_fail(row, "messages", err, "expected a list");
    nbi_json *message = nbi_arena_alloc(arena, sizeof(*message), _Alignof(nbi_json));
    nbi_json *role = new_text(arena, "role", "assistant", strlen("assistant"));
    nbi_json *content = new_text(arena, "content", choice->text, choice->text_len);
    if (!message || !role || !content)
        return nbi_fail_nomem(err, row->path, 3 * sizeof(*message));
    *message = (nbi_json){.type = NBI_JT_OBJECT};
    append(message, role);
    append(message, content);
    append(list, message);
    return NB_OK;
}

nb_status nbi_choices_put(const nb_data_config *c, const nbi_row *row, nbi_arena *arena,
                          nbi_json *object, nb_error *err)
{
    nbi_choices all;
    const char *field;
    NBI_TRY(nbi_choices_read(row, &all, err));
    const int64_t wanted = c->choice == NBI_CHOICE_RIGHT ? all.right : c->choice - 1;
    const nbi_json *choice = nbi_json_at(all.list, (size_t)(wanted < all.n ? wanted : all.n - 1));
    if (c->format == NB_DATA_MESSAGES)
        return put_message(row, arena, object, choice, err);
    NBI_TRY(nbi_prompt_answer_field(c, arena, &field, err));
    if (!field)
        return nbi_fail(err, NB_UNSUPPORTED,
                        "%s:%lld: rows of format %s have no answer that a choice could take the "
                        "place of",
                        row->path, (long long)row->line, nb_data_format_name(c->format));
    nbi_json *old = nbi_json_get(object, field);
    nbi_json *v = old ? old : new_text(arena, field, "", 0);
    if (!v)
        return nbi_fail_nomem(err, row->path, sizeof(*v));
    if (!old)
        append(object, v);
    v->type = NBI_JT_STRING;
    v->text = choice->text;
    v->text_len = choice->text_len;
    v->first = NULL;
    v->n = 0;
    return NB_OK;
}
