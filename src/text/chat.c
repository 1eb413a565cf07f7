/* SPDX-License-Identifier: MIT */
#include "text/chat.h"

#include <string.h>
#include "base/array.h"
#include "base/fail.h"
#include "base/sha256.h"

/* What a template sees. */
typedef struct chat_input {
    const char *bos, *eos; /* "" when the tokenizer has none */
    const nbi_message *messages;
    size_t n;
    bool add_generation_prompt;
} chat_input;

typedef nb_status render_fn(const chat_input *in, nbi_rendered *out, nb_error *err);

static void add(nbi_rendered *out, const char *s)
{
    nbi_strbuf_puts(&out->text, s);
}

static void add_content(nbi_rendered *out, const nbi_message *m)
{
    nbi_strbuf_add(&out->text, m->content, m->content_len);
}

static bool add_span(nbi_rendered *out, size_t begin)
{
    if (!nbi_array_grow_((void **)&out->spans, sizeof *out->spans, out->n_spans, &out->cap_spans,
                         1))
        return false;
    out->spans[out->n_spans++] = (nbi_span){begin, out->text.n};
    return true;
}

/* One message: `head`, the content, `tail`; with `trained` a span over content and tail. */
static nb_status add_message(nbi_rendered *out, const nbi_message *m, const char *head,
                             const char *tail, bool trained, nb_error *err)
{
    add(out, head);
    size_t begin = out->text.n;
    add_content(out, m);
    add(out, tail);
    if (trained && !add_span(out, begin))
        return nbi_fail_nomem(err, "a rendered chat", out->text.n);
    return NB_OK;
}

static nb_status unknown_role(const nbi_message *m, nb_error *err)
{
    return nbi_fail(err, NB_DATA, "chat template: unknown role: %.100s", m->role);
}

/* <|role|>, a line feed, the content, the end of sequence, a line feed. */
static nb_status render_role_lines(const chat_input *in, nbi_rendered *out, nb_error *err)
{
    add(out, in->bos);
    for (size_t i = 0; i < in->n; i++) {
        const nbi_message *m = &in->messages[i];
        bool assistant = strcmp(m->role, "assistant") == 0;
        const char *head = assistant                        ? "<|assistant|>\n"
                           : strcmp(m->role, "user") == 0   ? "<|user|>\n"
                           : strcmp(m->role, "system") == 0 ? "<|system|>\n"
                                                            : NULL;
        if (!head)
            return unknown_role(m, err);
        NBI_TRY(add_message(out, m, head, in->eos, assistant, err));
        add(out, "\n");
    }
    if (in->add_generation_prompt)
        add(out, "<|assistant|>\n");
    return NB_OK;
}

/* That of models/nibble-world: <|role|> and the content, an end of sequence after answers only. */
static nb_status render_world(const chat_input *in, nbi_rendered *out, nb_error *err)
{
    add(out, in->bos);
    for (size_t i = 0; i < in->n; i++) {
        const nbi_message *m = &in->messages[i];
        nb_status st;
        if (strcmp(m->role, "assistant") == 0)
            st = add_message(out, m, "<|assistant|>", in->eos, true, err);
        else if (strcmp(m->role, "user") == 0)
            st = add_message(out, m, "<|user|>", "", false, err);
        else if (strcmp(m->role, "system") == 0)
            st = add_message(out, m, "<|system|>", "", false, err);
        else
            return nbi_fail(err, NB_DATA,
                            "chat template: roles are system, user and assistant, found %.100s",
                            m->role);
        NBI_TRY(st);
    }
    if (in->add_generation_prompt)
        add(out, "<|assistant|>");
    return NB_OK;
}

/* Templates by the SHA-256 of their text, one final line feed not counted. */
static const struct {
    const char *sha256;
    render_fn *render;
} known[] = {
    {"8db7f2dc2d01a72aafca896f59919e2f21473e6354eb2efd3016cb9401b15d11", render_role_lines},
    {"96bc5f4615768711a0211c7f8911d706940a290b8d87e43dfe4d5bf9ec1f5031", render_world},
};

/* The function of the tokenizer's template, NULL when it is not known; hex gets its hash. */
static nb_status find(const nb_tokenizer *tok, char hex[65], render_fn **render, nb_error *err)
{
    const char *text = nb_tokenizer_chat_template(tok);
    size_t n = strlen(text);
    *render = NULL;
    if (n > 0 && text[n - 1] == '\n')
        n--;
    NBI_TRY(nbi_sha256_hex(text, n, hex, err));
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(hex, known[i].sha256) == 0)
            *render = known[i].render;
    }
    return NB_OK;
}

static const char *token_text(const nb_tokenizer *tok, int32_t id)
{
    const char *s = id >= 0 ? nb_tokenizer_token(tok, id) : NULL;
    return s ? s : "";
}

nb_status nbi_chat_render(const nb_tokenizer *tok, const nbi_message *messages, size_t n,
                          bool add_generation_prompt, nbi_rendered *out, nb_error *err)
{
    char hex[65];
    render_fn *render;
    if (!nb_tokenizer_chat_template(tok))
        return nbi_fail(err, NB_UNSUPPORTED,
                        "the tokenizer has no chat template; write one as the recipe key "
                        "\"template\"");
    NBI_TRY(find(tok, hex, &render, err));
    if (!render)
        return nbi_fail(err, NB_UNSUPPORTED,
                        "this chat template (SHA-256 %s) is not among the known ones; say with the "
                        "recipe key \"template\" how a row becomes text",
                        hex);
    nbi_strbuf_clear(&out->text);
    out->n_spans = 0;
    chat_input in = {token_text(tok, nb_tokenizer_bos(tok)), token_text(tok, nb_tokenizer_eos(tok)),
                     messages, n, add_generation_prompt};
    NBI_TRY(render(&in, out, err));
    return nbi_strbuf_check(&out->text, err);
}

void nbi_rendered_free(nbi_rendered *r)
{
    nbi_strbuf_free(&r->text);
    nbi_free(r->spans);
    *r = (nbi_rendered){0};
}

bool nbi_chat_supported(const nb_tokenizer *tok)
{
    char hex[65];
    render_fn *render;
    return nb_tokenizer_chat_template(tok) && find(tok, hex, &render, NULL) == NB_OK && render;
}
