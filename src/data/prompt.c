/* SPDX-License-Identifier: MIT */
#include "data/prompt.h"

#include <string.h>

#include "base/fail.h"
#include "data/messages.h"

static bool ends(const char *text, size_t len, const char *part, bool front)
{
    size_t n = part ? strlen(part) : 0;
    return n > 0 && len >= n && memcmp(front ? text : text + len - n, part, n) == 0;
}

static const char *token_text(const nb_tokenizer *tok, int32_t id)
{
    return id >= 0 ? nb_tokenizer_token(tok, id) : NULL;
}

nb_status nb_prompt_of_text(const nb_tokenizer *tok, const char *text, size_t len, int special,
                            int32_t **ids, size_t *n, nb_error *err)
{
    nb_encoding e = {0};
    int32_t eos = nb_tokenizer_eos(tok);
    if (special < 0)
        special = !(nb_tokenizer_adds_bos(tok) &&
                    ends(text, len, token_text(tok, nb_tokenizer_bos(tok)), true));
    *ids = NULL;
    *n = 0;
    nb_status st = nb_tokenizer_encode(tok, text, len, special ? NB_ENCODE_SPECIAL : 0u, &e, err);
    /* What a post-processor puts at the end belongs behind the answer. */
    if (st == NB_OK && special && e.n > 0 && eos >= 0 && e.ids[e.n - 1] == eos &&
        !ends(text, len, token_text(tok, eos), false))
        e.n--;
    if (st == NB_OK) {
        *ids = nbi_alloc(NBI_MEM_IO, (e.n + 1) * sizeof **ids);
        if (!*ids)
            st = nbi_fail_nomem(err, "a prompt", e.n * sizeof **ids);
    }
    if (st == NB_OK && e.n > 0)
        memcpy(*ids, e.ids, e.n * sizeof **ids);
    if (st == NB_OK)
        *n = e.n;
    nb_encoding_free(&e);
    return st;
}

/* Gives an object a text member unless it has one of this name. */
static nb_status add_member(nbi_arena *arena, nbi_json *object, const char *key, const char *text,
                            nb_error *err)
{
    nbi_json *m = nbi_json_get(object, key);
    if (!nbi_json_is_null(m))
        return NB_OK;
    nbi_json *next = m ? m->next : NULL;
    bool add = !m;
    if (add)
        m = nbi_arena_alloc(arena, sizeof *m, _Alignof(nbi_json));
    if (!m)
        return nbi_fail_nomem(err, "a prompt", sizeof *m);
    *m = (nbi_json){.type = NBI_JT_STRING,
                    .text = text,
                    .text_len = strlen(text),
                    .key = key,
                    .key_len = strlen(key),
                    .next = next};
    if (!add)
        return NB_OK;
    nbi_json **end = &object->first;
    while (*end)
        end = &(*end)->next;
    *end = m;
    object->n++;
    return NB_OK;
}

/* Of a template the column that comes last holds the answer. */
typedef struct columns {
    const char *answer, *question; /* question: the other one; NULL unless there is just one */
} columns;

enum { MAX_COLUMNS = 64 };

static bool is_variable(const nb_data_config *c, const char *name)
{
    for (size_t i = 0; i < c->n_template_vars; i++)
        if (strcmp(c->template_vars[i].name, name) == 0)
            return true;
    return false;
}

static nb_status template_columns(const nb_data_config *c, nbi_arena *arena, columns *out,
                                  nb_error *err)
{
    const char *names[MAX_COLUMNS];
    size_t n = 0, last = 0;
    *out = (columns){NULL, NULL};
    for (const char *s = c->template_text; s && (s = strchr(s, '{')) != NULL;) {
        const char *close = strchr(s, '}');
        if (s[1] == '{' || !close) {
            s += close ? 2 : 1;
            continue;
        }
        char *name = nbi_arena_strndup(arena, s + 1, (size_t)(close - s - 1));
        if (!name)
            return nbi_fail_nomem(err, "template", (size_t)(close - s));
        s = close + 1;
        if (is_variable(c, name))
            continue;
        for (last = 0; last < n && strcmp(names[last], name) != 0;)
            last++;
        if (last == MAX_COLUMNS)
            return NB_OK;
        if (last == n)
            names[n++] = name;
    }
    *out = (columns){n ? names[last] : NULL, n == 2 ? names[1 - last] : NULL};
    return NB_OK;
}

/* The fields of a row that hold the question and the answer, NULL where the format has none. */
static nb_status find_columns(const nb_data_config *c, nbi_arena *arena, columns *out,
                              nb_error *err)
{
    *out = (columns){NULL, NULL};
    switch (c->format) {
    case NB_DATA_ALPACA:
    case NB_DATA_INSTRUCTION:
        *out = (columns){"output", "instruction"};
        return NB_OK;
    case NB_DATA_PROMPT_COMPLETION:
        *out = (columns){"completion", "prompt"};
        return NB_OK;
    case NB_DATA_TEMPLATE:
        return template_columns(c, arena, out, err);
    default:
        return NB_OK;
    }
}

nb_status nbi_prompt_answer_field(const nb_data_config *config, nbi_arena *arena, const char **name,
                                  nb_error *err)
{
    columns col;
    NBI_TRY(find_columns(config, arena, &col, err));
    *name = col.answer;
    return NB_OK;
}

static nb_status no_prompt(const nb_data_config *c, nb_error *err)
{
    return nbi_fail(err, NB_UNSUPPORTED,
                    "rows of format %s have no prompt to answer; give the text to continue (prompt)"
                    " or its token ids (prompt_ids)",
                    nb_data_format_name(c->format));
}

/* A conversation up to its last user turn. */
static nb_status chat_prompt(const nb_data_config *c, const nb_tokenizer *tok, const nbi_row *row,
                             const char *field, int32_t **ids, size_t *n, nb_error *err)
{
    nbi_message_list list = {0};
    nbi_rendered out = {0};
    nb_status st = nbi_messages_read(row, field, &list, err);
    while (st == NB_OK && list.n > 0 && !strcmp(list.v[list.n - 1].role, "assistant"))
        list.n--;
    if (st == NB_OK && list.n == 0)
        st = nbi_row_fail(row, field, err, "no message stands before the answer");
    if (st == NB_OK)
        st = nbi_chat_render(tok, list.v, list.n, true, &out, err);
    if (st == NB_OK)
        st = nb_prompt_of_text(tok, nbi_strbuf_str(&out.text), out.text.n,
                               c->add_special_tokens > 0, ids, n, err);
    nbi_rendered_free(&out);
    nbi_array_free(&list);
    return st;
}

/* A blank at the end of a prompt usually becomes part of the first token of the answer ("_so", not
 * "_" and "so"), and then training never shows the blank as a token of its own. Leaves out what an
 * answer that begins with a letter would change. */
static nb_status drop_open_blank(const nb_tokenizer *tok, const char *text, size_t len, int special,
                                 const int32_t *ids, size_t *n, nb_error *err)
{
    nbi_strbuf probe = {0};
    int32_t *with = NULL;
    size_t n_with = 0, same = 0;
    if (len == 0 || text[len - 1] != ' ')
        return NB_OK;
    nbi_strbuf_add(&probe, text, len);
    nbi_strbuf_putc(&probe, 'a');
    nb_status st = nbi_strbuf_check(&probe, err);
    if (st == NB_OK)
        st = nb_prompt_of_text(tok, probe.s, probe.n, special, &with, &n_with, err);
    while (st == NB_OK && same < *n && same < n_with && ids[same] == with[same])
        same++;
    if (st == NB_OK && same > 0)
        *n = same;
    nbi_free(with);
    nbi_strbuf_free(&probe);
    return st;
}

static nb_status text_prompt(const nb_data_config *c, const nb_tokenizer *tok, nbi_row *row,
                             nbi_json *object, nbi_arena *arena, int32_t **ids, size_t *n,
                             nb_error *err)
{
    const nbi_schema *schema = nbi_schema_find(c->format);
    columns col;
    if (!schema || c->format == NB_DATA_TOKENIZED)
        return no_prompt(c, err);
    NBI_TRY(find_columns(c, arena, &col, err));
    if (col.answer)
        NBI_TRY(add_member(arena, object, col.answer, "", err));
    /* A finished text without a mark of its answer is its own prompt. */
    bool whole = c->format == NB_DATA_TEXT && !c->response_template;
    nbi_layout layout = {.config = c,
                         .train_on = whole ? NB_TRAIN_ALL : NB_TRAIN_COMPLETION,
                         .tok = tok,
                         .bos = nb_tokenizer_bos(tok),
                         .eos = nb_tokenizer_eos(tok)};
    layout.bos_text = token_text(tok, layout.bos);
    layout.eos_text = token_text(tok, layout.eos);
    nbi_rendering r = {0};
    nbi_arena_init(&layout.arena, NBI_MEM_OTHER);
    nb_status st = schema->prepare ? schema->prepare(&layout, row, err) : NB_OK;
    if (st == NB_OK)
        st = schema->render(&layout, row, &r, err);
    if (st == NB_OK)
        st = nbi_strbuf_check(&r.text, err);
    if (st == NB_OK && r.mask == NBI_MASK_NONE)
        st = nbi_fail(err, NB_DATA, "%s:%lld: %s", row->path, (long long)row->line, r.reason);
    else if (st == NB_OK && !whole && r.mask != NBI_MASK_PREFIX)
        st = no_prompt(c, err);
    int special = c->add_special_tokens >= 0 ? c->add_special_tokens : r.special ? -1 : 0;
    if (st == NB_OK)
        st = nb_prompt_of_text(tok, nbi_strbuf_str(&r.text), whole ? r.text.n : r.prompt_len,
                               special, ids, n, err);
    if (st == NB_OK && !whole) {
        st = drop_open_blank(tok, nbi_strbuf_str(&r.text), r.prompt_len, special, *ids, n, err);
        if (st != NB_OK) {
            nbi_free(*ids);
            *ids = NULL;
        }
    }
    nbi_strbuf_free(&r.text);
    nbi_rendered_free(&r.chat);
    nbi_rendered_free(&r.chat_prompt);
    nbi_arena_free(&layout.arena);
    return st;
}

nb_status nb_prompt_of_row(const nb_data_config *c, const nb_tokenizer *tok, const char *path,
                           int64_t line, const char *json, size_t len, int32_t **ids, size_t *n,
                           nb_error *err)
{
    nbi_arena arena;
    nbi_json *v = NULL;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_error mine = {NB_OK, ""};
    nb_status st = nbi_json_parse(&arena, "JSON", json, len, &v, &mine);
    nbi_row row = {path, line, v};
    if (st != NB_OK)
        st = nbi_fail(err, st == NB_FORMAT ? NB_DATA : st, "%s:%lld: %s", path, (long long)line,
                      mine.message);
    else if (v->type != NBI_JT_OBJECT)
        st = nbi_fail(err, NB_DATA, "%s:%lld: expected an object with the fields of format %s",
                      path, (long long)line, nb_data_format_name(c->format));
    const nbi_json *prompt = nbi_json_get(v, "prompt");
    if (st == NB_OK && c->format == NB_DATA_MESSAGES)
        st = chat_prompt(c, tok, &row, "messages", ids, n, err);
    else if (st == NB_OK && c->format == NB_DATA_PROMPT_COMPLETION && prompt &&
             prompt->type == NBI_JT_ARRAY)
        st = chat_prompt(c, tok, &row, "prompt", ids, n, err);
    else if (st == NB_OK)
        st = text_prompt(c, tok, &row, v, &arena, ids, n, err);
    nbi_arena_free(&arena);
    return st;
}

/* The row that holds nothing but the question. */
static nb_status question_row(const nb_data_config *c, const char *question, nbi_strbuf *out,
                              nb_error *err)
{
    nbi_arena arena;
    nbi_json_writer w;
    columns col;
    nbi_arena_init(&arena, NBI_MEM_OTHER);
    nb_status st = find_columns(c, &arena, &col, err);
    nbi_json_writer_init(&w, out, 0, false);
    nbi_jw_object(&w);
    if (c->format == NB_DATA_MESSAGES) {
        nbi_jw_key(&w, "messages");
        nbi_jw_array(&w);
        nbi_jw_object(&w);
        nbi_jw_key(&w, "role");
        nbi_jw_str(&w, "user");
        nbi_jw_key(&w, "content");
        nbi_jw_str(&w, question);
        nbi_jw_object_end(&w);
        nbi_jw_array_end(&w);
    } else if (col.question) {
        nbi_jw_key(&w, col.question);
        nbi_jw_str(&w, question);
    }
    nbi_jw_object_end(&w);
    if (st == NB_OK && !col.question && c->format != NB_DATA_MESSAGES)
        st = no_prompt(c, err);
    nbi_arena_free(&arena);
    return st == NB_OK ? nbi_strbuf_check(out, err) : st;
}

nb_status nb_prompt_of_question(const nb_data_config *c, const nb_tokenizer *tok,
                                const char *question, int32_t **ids, size_t *n, nb_error *err)
{
    nbi_strbuf row = {0};
    nb_status st = question_row(c, question, &row, err);
    if (st == NB_OK)
        st = nb_prompt_of_row(c, tok, "question", 1, row.s, row.n, ids, n, err);
    nbi_strbuf_free(&row);
    return st;
}
