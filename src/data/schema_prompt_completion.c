/* SPDX-License-Identifier: MIT */
/* prompt, completion: two texts, or two lists of messages. */
#include "base/fail.h"
#include "data/messages.h"

static nb_status render_texts(const nbi_layout *l, const nbi_row *row, nbi_rendering *out,
                              nb_error *err)
{
    const nbi_schema *s = &nbi_schema_prompt_completion;
    const char *prompt, *completion;
    size_t n_prompt, n_completion;
    (void)l;
    NBI_TRY(nbi_row_text(s, row, "prompt", false, &prompt, &n_prompt, err));
    NBI_TRY(nbi_row_text(s, row, "completion", false, &completion, &n_completion, err));
    nbi_strbuf_add(&out->text, prompt, n_prompt);
    nbi_strbuf_add(&out->text, completion, n_completion);
    out->prompt_len = n_prompt;
    out->mask = NBI_MASK_PREFIX;
    out->special = out->append_eos = true;
    return NB_OK;
}

static nb_status render_lists(const nbi_layout *l, const nbi_row *row, nbi_message_list *list,
                              nbi_rendering *out, nb_error *err)
{
    NBI_TRY(nbi_messages_refuse_tools(row, err));
    NBI_TRY(nbi_messages_read(row, "prompt", list, err));
    size_t n_prompt = list->n;
    NBI_TRY(nbi_messages_read(row, "completion", list, err));
    NBI_TRY(nbi_messages_render(l, row, list, out, err));
    if (l->train_on != NB_TRAIN_COMPLETION)
        return NB_OK;
    nb_status st = nbi_chat_render(l->tok, list->v, n_prompt, true, &out->chat_prompt, err);
    if (st != NB_OK)
        return nbi_fail_prefix(err, st, "%s:%lld: prompt", row->path, (long long)row->line);
    out->mask = NBI_MASK_PREFIX;
    out->separate_prompt = true;
    return NB_OK;
}

static nb_status render(const nbi_layout *l, const nbi_row *row, nbi_rendering *out, nb_error *err)
{
    const nbi_json *v = nbi_json_get(row->v, "prompt");
    if (!v || v->type != NBI_JT_ARRAY)
        return render_texts(l, row, out, err);
    nbi_message_list list = {0};
    nb_status st = render_lists(l, row, &list, out, err);
    nbi_array_free(&list);
    return st;
}

/* Rated completions are not to be imitated as they are. */
static bool is_rated(const nbi_json *row)
{
    const nbi_json *label = nbi_json_get(row, "label");
    return label && label->type == NBI_JT_BOOL;
}

const nbi_schema nbi_schema_prompt_completion = {
    .format = NB_DATA_PROMPT_COMPLETION,
    .name = "prompt_completion",
    .needs = "\"prompt\" and \"completion\"",
    .train_on = NB_TRAIN_COMPLETION,
    .needs_tokenizer = true,
    .fields = {{.name = "prompt", .text = true, .list = true},
               {.name = "completion", .text = true, .list = true}},
    .refuses = is_rated,
    .render = render,
};
