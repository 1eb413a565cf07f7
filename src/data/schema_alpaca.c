/* SPDX-License-Identifier: MIT */
/* instruction, input, output: Stanford's text, and the short layout without its sentence. */
#include <string.h>
#include "base/fail.h"
#include "data/schema.h"

#define WITH_INPUT                                                                                 \
    "Below is an instruction that describes a task, paired with an input that provides further "   \
    "context. Write a response that appropriately completes the request.\n\n"
#define WITHOUT_INPUT                                                                              \
    "Below is an instruction that describes a task. Write a response that appropriately "          \
    "completes the request.\n\n"

/* The layouts differ only in the sentences before and the end of the heading of the answer. */
typedef struct words {
    const char *with_input, *without_input, *answer;
} words;

/* Fields of relatives of this format that would change the text. */
static nb_status refuse_extras(const nbi_schema *s, const nbi_row *row, nb_error *err)
{
    static const char *const extra[] = {"history", "system"};
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++) {
        const nbi_json *v = nbi_json_get(row->v, extra[i]);
        bool empty = nbi_json_is_null(v) || (v->type == NBI_JT_STRING && v->text_len == 0) ||
                     (v->type == NBI_JT_ARRAY && v->n == 0);
        if (!empty)
            return nbi_row_fail(row, extra[i], err,
                                "format %s has no place for it; turn the rows into format messages",
                                s->name);
    }
    return NB_OK;
}

static nb_status render(const nbi_schema *s, const words *w, const nbi_row *row, nbi_rendering *out,
                        nb_error *err)
{
    const char *instruction, *input, *output;
    size_t n_instruction, n_input, n_output;
    NBI_TRY(nbi_row_text(s, row, "instruction", false, &instruction, &n_instruction, err));
    NBI_TRY(nbi_row_text(s, row, "input", true, &input, &n_input, err));
    NBI_TRY(nbi_row_text(s, row, "output", false, &output, &n_output, err));
    NBI_TRY(refuse_extras(s, row, err));
    nbi_strbuf *b = &out->text;
    nbi_strbuf_puts(b, n_input ? w->with_input : w->without_input);
    nbi_strbuf_puts(b, "### Instruction:\n");
    nbi_strbuf_add(b, instruction, n_instruction);
    if (n_input) {
        nbi_strbuf_puts(b, "\n\n### Input:\n");
        nbi_strbuf_add(b, input, n_input);
    }
    nbi_strbuf_puts(b, w->answer);
    out->prompt_len = b->n;
    nbi_strbuf_add(b, output, n_output);
    out->mask = NBI_MASK_PREFIX;
    out->special = out->append_eos = true;
    return NB_OK;
}

static nb_status render_alpaca(const nbi_layout *l, const nbi_row *row, nbi_rendering *out,
                               nb_error *err)
{
    static const words w = {WITH_INPUT, WITHOUT_INPUT, "\n\n### Response:"};
    (void)l;
    return render(&nbi_schema_alpaca, &w, row, out, err);
}

static nb_status render_instruction(const nbi_layout *l, const nbi_row *row, nbi_rendering *out,
                                    nb_error *err)
{
    static const words w = {"", "", "\n\n### Response:\n"};
    (void)l;
    return render(&nbi_schema_instruction, &w, row, out, err);
}

#define NEEDS "\"instruction\" and \"output\" (\"input\" may be missing)"

const nbi_schema nbi_schema_alpaca = {
    .format = NB_DATA_ALPACA,
    .name = "alpaca",
    .needs = NEEDS,
    .train_on = NB_TRAIN_COMPLETION,
    .needs_tokenizer = true,
    .string_answer = true,
    .fields = {{.name = "instruction", .text = true}, {.name = "output", .text = true}},
    .render = render_alpaca,
};

const nbi_schema nbi_schema_instruction = {
    .format = NB_DATA_INSTRUCTION,
    .name = "instruction",
    .needs = NEEDS,
    .train_on = NB_TRAIN_COMPLETION,
    .needs_tokenizer = true,
    .string_answer = true,
    .render = render_instruction,
};
