/* SPDX-License-Identifier: MIT */
/* text: a finished text in one column. */
#include "base/fail.h"
#include "data/schema.h"

static nb_status prepare(nbi_layout *l, const nbi_row *first, nb_error *err)
{
    (void)first;
    if (l->train_on == NB_TRAIN_ALL || l->config->response_template)
        return NB_OK;
    return nbi_fail(err, NB_CONFIG,
                    "train_on: format text does not know where the answer begins; give "
                    "response_template (the text in front of it) or train_on: all");
}

static nb_status render(const nbi_layout *l, const nbi_row *row, nbi_rendering *out, nb_error *err)
{
    const char *column = l->config->text_column ? l->config->text_column : "text", *text;
    size_t n;
    nbi_schema named = nbi_schema_text;
    nbi_strbuf needs = {0};
    nbi_strbuf_printf(&needs, "\"%s\" (key text_column names another one)", column);
    named.needs = nbi_strbuf_str(&needs);
    nb_status st = nbi_row_text(&named, row, column, false, &text, &n, err);
    nbi_strbuf_free(&needs);
    if (st != NB_OK)
        return st;
    nbi_strbuf_add(&out->text, text, n);
    out->special = out->append_eos = true;
    /* as the reference stack cuts: a BOS of the post-processor goes, one that the text spells stays
     */
    out->mask = NBI_MASK_ALL;
    if (l->train_on != NB_TRAIN_ALL)
        nbi_mask_after(out, l->config->response_template);
    return NB_OK;
}

const nbi_schema nbi_schema_text = {
    .format = NB_DATA_TEXT,
    .name = "text",
    .needs = "\"text\"",
    .train_on = NB_TRAIN_ALL,
    .needs_tokenizer = true,
    .string_answer = true,
    .fields = {{.name = "text", .text = true}},
    .prepare = prepare,
    .render = render,
};
